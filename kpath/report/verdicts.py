"""What the documents say of a traversal, in a few lines and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from kpath.model.verdict import Finding, Judgement, Verdict
from kpath.report.words import printable

MARKS: dict[Verdict, tuple[str, str]] = {
    Verdict.CONFORMS: ("✓", "green"),
    Verdict.DIVERGES: ("✗", "bold red"),
    Verdict.PARTIAL: ("~", "yellow"),
    Verdict.INCONCLUSIVE: ("?", "yellow"),
    Verdict.NOT_COVERED: ("-", "dim"),
}
"""A sign and a style for each verdict; the sign alone says it too."""


def lines(judgements: Sequence[Judgement]) -> list[Text]:
    """One line for all documents that the path conforms to, and the explanation of each other verdict."""
    out: list[Text] = []
    agreed = [j for j in judgements if j.verdict is Verdict.CONFORMS]
    if agreed:
        mark, style = MARKS[Verdict.CONFORMS]
        told = ", ".join(f"{j.document} ({len(j.evidence.witnessed)} steps seen)" for j in agreed)
        out.append(Text("            ") + Text(f"{mark} conforms to {told}", style=style))
    for judgement in judgements:
        if judgement.verdict not in (Verdict.CONFORMS, Verdict.NOT_COVERED):
            out += _explained(judgement)
    return out


def _explained(judgement: Judgement) -> list[Text]:
    mark, style = MARKS[judgement.verdict]
    reasons = ": " + "; ".join(map(printable, judgement.reasons)) if judgement.reasons else ""
    out = [Text("            ") + Text(f"{mark} {judgement.document}: {judgement.verdict}{reasons}", style=style)]
    if judgement.verdict is Verdict.DIVERGES:
        out += [line for finding in judgement.findings[:3] for line in _finding(finding, style)]
    return out


def _finding(finding: Finding, style: str) -> list[Text]:
    indent = " " * 14
    out = [Text(indent) + Text(f"at {finding.step}: {printable(finding.message)}", style=style)]
    if finding.expected:
        out.append(Text(f"{indent}  expected: {printable(', '.join(finding.expected[:4]))}"))
    if finding.facts:
        out.append(Text(f"{indent}  facts: {printable(finding.facts)}"))
    if finding.lines:
        out.append(Text(f"{indent}  documented: {', '.join(finding.lines)}", style="dim"))
    if finding.source:
        out.append(Text(f"{indent}  kernel: {finding.source}", style="dim"))
    out += [Text(f"{indent}  known: {printable(known)}", style="dim") for known in finding.known[:2]]
    return out


def as_json(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """For each document its verdict, the reasons, the findings and the evidence."""
    return [
        {
            "document": j.document,
            "verdict": str(j.verdict),
            "reasons": list(j.reasons),
            "findings": [
                {
                    "check": f.check,
                    "step": f.step,
                    "message": f.message,
                    "expected": list(f.expected),
                    "documented": list(f.lines),
                    "facts": f.facts,
                }
                for f in j.findings
            ],
            "witnessed": len(j.evidence.witnessed),
            "implied": len(j.evidence.implied),
            "silent": len(j.evidence.silent),
            "evolutions": sorted(name for name, _ in j.evolutions),
        }
        for j in judgements
    ]
