"""A comparison as SARIF 2.1.0: each finding stands at the line of the document that the kernel did not follow.

The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kpath import __version__
from kpath.compare.outcome import Outcome
from kpath.flow import Document
from kpath.model import decisions, invariants
from kpath.model.verdict import Finding, Verdict
from kpath.report.compare import explanation
from kpath.report.words import printable

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_DOCUMENTS = "kpath/flow/documents"
"""Where the documents that come with kpath stand in its repository."""
_CITED = re.compile(r"^(?P<document>.+?):(?P<line>\d+)(?: \((?P<source>[^:]+):(?P<spans>[\d,-]+)\))?$")

_OWN_RULES = {
    "document": "The kernel takes a step that the document does not have, or leaves one out that it has.",
    "exercise": "A scenario did not exercise a step that it declares.",
    "coverage": "Less of the document was exercised than demanded.",
    "inconclusive": "Nothing can be said of a path, because something was lost while it was recorded.",
}


def sarif(outcome: Outcome, documents: Sequence[Document], paths: Mapping[str, str]) -> dict[str, Any]:
    """The log, as plain data. ``paths``: document → the file that the user named, for documents of his own."""
    places = _Places(documents, paths)
    results = [*_divergences(outcome, places), *_shortfalls(outcome, places), *_doubts(outcome, places)]
    rules = _rules([result["ruleId"] for result in results])
    numbers = {rule["id"]: number for number, rule in enumerate(rules)}
    for result in results:
        result["ruleIndex"] = numbers[result["ruleId"]]
    driver = {"name": "kpath", "version": __version__, "semanticVersion": __version__, "rules": rules}
    if len(__version__.split(".")) != 3:
        del driver["semanticVersion"]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "exitCode": int(outcome.status)}],
        "results": results,
        "properties": {"kernels": outcome.kernels, "scenarios": len(outcome.scenarios), "passes": outcome.passes},
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


class _Places:
    """Where lines of documents and of their sources stand."""

    def __init__(self, documents: Sequence[Document], paths: Mapping[str, str]) -> None:
        self._files: dict[str, str] = {}
        for document in documents:
            own = paths.get(document.name)
            self._files[document.name] = _uri(own) if own else f"{_DOCUMENTS}/{document.name}.flow"
            if document.source:
                folder = self._files[document.name].rpartition("/")[0]
                self._files[document.source] = f"{folder}/{document.source}".lstrip("/") if own is None else (
                    f"{folder}/{document.source}" if folder else document.source
                )  # fmt: skip

    def at(self, name: str, line: int | None = None, end: int | None = None, function: str = "") -> dict[str, Any]:
        """A location in a file of this document or source."""
        physical: dict[str, Any] = {"artifactLocation": {"uri": self._files.get(name, name)}}
        if line is not None:
            physical["region"] = {"startLine": line} | ({"endLine": end} if end and end > line else {})
        location: dict[str, Any] = {"physicalLocation": physical}
        if function:
            location["logicalLocations"] = [{"name": printable(function), "kind": "function"}]
        return location

    def of(self, document: str, finding: Finding) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The first line that a finding cites; and the others, with the lines of the source text."""
        places: list[dict[str, Any]] = []
        sources: list[dict[str, Any]] = []
        for cited in finding.lines:
            match = _CITED.match(cited)
            if match is None:
                continue
            places.append(self.at(match["document"], int(match["line"]), function=finding.step))
            for span in (match["spans"] or "").split(",") if match["source"] else ():
                first, _, last = span.partition("-")
                sources.append(self.at(match["source"], int(first), int(last) if last else None))
        if not places:
            places = [self.at(document, 1, function=finding.step)]
        return places[0], [*places[1:], *sources]


def _uri(path: str) -> str:
    """Relative where it lies below the working directory, as services want it that show the file beside the result."""
    full = Path(path).resolve()
    try:
        return full.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return full.as_uri()


def _result(rule: str, message: str, location: dict[str, Any], key: str, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(f"{rule}\0{key}".encode()).hexdigest()[:32]
    return {
        "ruleId": rule,
        "level": "error",
        "kind": "fail",
        "message": {"text": printable_lines(message)},
        "locations": [location],
        "partialFingerprints": {"kpath/v1": digest},
        **more,
    }


def printable_lines(text: str) -> str:
    """As kpath.report.words.printable, with line ends left."""
    return "\n".join(map(printable, text.split("\n")))


def _divergences(outcome: Outcome, places: _Places) -> list[dict[str, Any]]:
    results = []
    for divergence in outcome.divergences():
        finding = divergence.finding
        location, related = places.of(divergence.document, finding)
        names = divergence.scenarios
        text = [f"{finding.step}: {finding.message}."]
        text += [f"{label}: {part}" for label, part in explanation(finding)]
        seen = f"{divergence.passes} passes of packets in {', '.join(names)}"
        text.append(f"Linux {', '.join(divergence.kernels)}; {seen}")
        key = f"{divergence.document}\0{finding.check}\0{finding.step}\0{finding.message}"
        result = _result(finding.check.replace(" ", "-"), "\n".join(text), location, key)
        if related:
            result["relatedLocations"] = [{"id": number, **one} for number, one in enumerate(related, 1)]
        result["properties"] = {
            "kernels": list(divergence.kernels), "scenarios": names, "passes": divergence.passes,
            "path": printable(divergence.places[0][1].title),
        }  # fmt: skip
        results.append(result)
    return results


def _shortfalls(outcome: Outcome, places: _Places) -> list[dict[str, Any]]:
    results = []
    for scenario in outcome.scenarios:
        for one in scenario.missing:
            where = places.at(one.document, one.lines[0] if one.lines else 1, function=one.name)
            text = f"{scenario.name} declares that it exercises it: {one}. Linux {scenario.kernel}"
            results.append(_result("exercise", text, where, f"{scenario.name}\0{one.document}\0{one.name}"))
    for kernel, document, share in outcome.short():
        text = f"{share.percent:.1f} % of the steps that can be seen on Linux {kernel} were exercised, "
        text += f"{share.seen} of {share.of}; {outcome.least:g} % were demanded"
        results.append(_result("coverage", text, places.at(document, 1), document))
    return results


def _doubts(outcome: Outcome, places: _Places) -> list[dict[str, Any]]:
    """Open questions: no failures, but a reader should know of them."""
    found: dict[tuple[str, str], list[str]] = {}
    for scenario, _, judgement in outcome.walk():
        if judgement.verdict is Verdict.INCONCLUSIVE:
            for reason in judgement.reasons:
                found.setdefault((judgement.document, reason), []).append(scenario.name)
    results = []
    for (document, reason), names in found.items():
        text = f"inconclusive: {reason} (in {', '.join(dict.fromkeys(names))})"
        where = places.at(document, 1)
        result = _result("inconclusive", text, where, f"{document}\0{reason}")
        results.append(result | {"level": "none", "kind": "open"})
    return results


def _rules(used: Sequence[str]) -> list[dict[str, Any]]:
    """A rule for each check that found something, with what must hold."""
    texts = dict(_OWN_RULES)
    texts |= {one.name.replace(" ", "-"): one.doc for one in invariants.INVARIANTS}
    for decision in decisions.DECISIONS:
        texts[decision.name.replace(" ", "-")] = f"{decision.doc} Kernel: {decision.source}".strip()
    return [
        {"id": id, "shortDescription": {"text": " ".join(texts.get(id, id).split())}} for id in dict.fromkeys(used)
    ]


def text(log: dict[str, Any]) -> str:
    """As it is written to a file."""
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"
