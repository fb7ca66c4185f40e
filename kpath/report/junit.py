"""A comparison as JUnit XML, the form in which CI services show tests: a case for each scenario and document."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from kpath.compare.outcome import Outcome, Scenario
from kpath.model.verdict import Finding, Verdict
from kpath.report.compare import explanation

_MOST = 5
"""Paths that are explained in one case."""


def junit(outcome: Outcome) -> bytes:
    """The document, in UTF-8. Diverging is a failure, inconclusive an error, what was not played is skipped."""
    root = ET.Element("testsuites", name="kpath compare")
    for kernel in outcome.kernels or [""]:
        suite = ET.SubElement(root, "testsuite", name=_clean(f"Linux {kernel}" if kernel else "not played"))
        for scenario in outcome.scenarios:
            if scenario.kernel == kernel:
                _scenario(suite, scenario, outcome)
        _coverage(suite, kernel, outcome)
        _total(suite)
    left = outcome.left
    if left:
        suite = root[0] if len(root) == 1 else ET.SubElement(root, "testsuite", name="not played")
        for one in left:
            case = _case(suite, _group(one.theme), one.name)
            ET.SubElement(case, "error" if one.failed else "skipped", message=_clean(one.reason))
        _total(suite)
    for name in ("tests", "failures", "errors"):  # the schema of Jenkins has no skipped here
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _group(theme: str) -> str:
    return f"kpath.{theme}" if theme else "kpath"


def _case(suite: ET.Element, group: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_clean(group), name=_clean(name))


def _scenario(suite: ET.Element, scenario: Scenario, outcome: Outcome) -> None:
    group = _group(scenario.theme)
    for document in outcome.documents:
        case = _case(suite, group, f"{scenario.name} against {document}")
        verdict = scenario.verdict(document)
        if verdict is Verdict.DIVERGES:
            message, text = _paths(scenario, document, verdict)
            ET.SubElement(case, "failure", type="diverges", message=_clean(message)).text = _clean(text)
        elif verdict is Verdict.INCONCLUSIVE:
            message, text = _paths(scenario, document, verdict)
            ET.SubElement(case, "error", type="inconclusive", message=_clean(message)).text = _clean(text)
        elif verdict is Verdict.NOT_COVERED:
            ET.SubElement(case, "skipped", message="the document covers none of these paths")
        ET.SubElement(case, "system-out").text = _clean(
            f"{scenario.file}: " + ", ".join(f"{count} {kind}" for kind, count in scenario.totals(document).items())
        )
    if scenario.exercised:
        case = _case(suite, group, f"{scenario.name} exercises what it declares")
        if scenario.missing:
            text = "\n".join(map(str, scenario.missing))
            kind = "error" if scenario.lost else "failure"
            told = ET.SubElement(case, kind, type="not exercised", message=_clean(str(scenario.missing[0])))
            told.text = _clean(text)
    if scenario.doubts:
        case = _case(suite, group, f"{scenario.name} can be judged")
        ET.SubElement(case, "error", type="inconclusive", message=_clean("; ".join(scenario.doubts)))


def _paths(scenario: Scenario, document: str, verdict: Verdict) -> tuple[str, str]:
    """What is wrong in a line, and each path of this verdict explained."""
    told: list[str] = []
    message = str(verdict)
    for path in scenario.paths:
        for judgement in path.judgements:
            if judgement.document != document or judgement.verdict is not verdict:
                continue
            if not told:
                message = _line(judgement.findings[0]) if judgement.findings else "; ".join(judgement.reasons)
            packets = ", ".join(map(str, path.journeys))
            lines = [f"{path.count} x {path.title} (packets {packets} of {scenario.file})", *judgement.reasons]
            for finding in judgement.findings[:_MOST]:
                lines += ["  " + _line(finding), *(f"    {label}: {part}" for label, part in explanation(finding))]
            told.append("\n".join(lines))
    return message, "\n\n".join(told[:_MOST])


def _line(finding: Finding) -> str:
    return f"at {finding.step}: {finding.message}"


def _coverage(suite: ET.Element, kernel: str, outcome: Outcome) -> None:
    if outcome.least is None:
        return
    low = {(of, document) for of, document, _ in outcome.short()}
    for (of, document), steps in outcome.steps.items():
        if of != kernel:
            continue
        case = _case(suite, "kpath.coverage", document)
        share = steps.share
        said = f"{share.percent:.1f} % of the steps that can be seen, {share.seen} of {share.of}"
        if (of, document) in low:
            ET.SubElement(case, "failure", type="coverage", message=f"{said}: less than {outcome.least:g} %")
        ET.SubElement(case, "system-out").text = said


def _total(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))


def _clean(text: str) -> str:
    """What XML 1.0 cannot hold replaced; names of devices and files are anybody's."""
    return "".join(c if c in "\t\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
