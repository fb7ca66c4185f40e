"""A comparison as plain data, for ``--json`` (docs/compare.md)."""

from __future__ import annotations

from typing import Any

from kpath.compare.changes import Changes, as_data
from kpath.compare.outcome import Outcome, Path, Scenario
from kpath.compare.steps import Table
from kpath.model.coverage import State
from kpath.model.verdict import Finding, Judgement


def data(outcome: Outcome, changes: Changes | None = None) -> dict[str, Any]:
    """Everything that a comparison found."""
    result: dict[str, Any] = {
        "status": int(outcome.status),
        "verdict": outcome.status.name.lower(),
        "documents": list(outcome.documents),
        "kernels": outcome.kernels,
        "passes": outcome.passes,
        "scenarios": [_scenario(scenario, outcome) for scenario in outcome.scenarios],
        "not_played": [{"name": one.name, "reason": one.reason, "failed": one.failed} for one in outcome.left],
        "coverage": [_coverage(kernel, document, steps) for (kernel, document), steps in outcome.steps.items()],
        "evolutions": {
            document: {
                function: {"of": one.of, "why": one.text, "changes": list(one.changes)}
                for function, one in known.items()
            }
            for document, known in outcome.evolutions.items()
        },
    }
    if changes is not None:
        result["changes"] = as_data(changes)
    return result


def _scenario(scenario: Scenario, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "theme": scenario.theme,
        "file": scenario.file,
        "kernel": scenario.kernel,
        "status": int(scenario.status),
        "passes": scenario.passes,
        "lost": scenario.lost,
        "doubts": scenario.doubts,
        "verdicts": {document: str(scenario.verdict(document)) for document in outcome.documents},
        "exercises": [
            {"document": one.document, "name": one.name, "state": str(one.state or "no such step"),
             "lines": list(one.lines), "failed": one.failed}
            for one in scenario.exercised
        ],
        "paths": [_path(path) for path in scenario.paths],
    }  # fmt: skip


def _path(path: Path) -> dict[str, Any]:
    return {
        "path": path.title,
        "count": path.count,
        "packets": path.journeys,
        "judgements": [_judgement(judgement) for judgement in path.judgements],
    }


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "document": judgement.document,
        "verdict": str(judgement.verdict),
        "reasons": list(judgement.reasons),
        "findings": [_finding(finding) for finding in judgement.findings],
        "witnessed": len(judgement.evidence.witnessed),
        "implied": len(judgement.evidence.implied),
        "silent": len(judgement.evidence.silent),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "step": finding.step,
        "message": finding.message,
        "expected": list(finding.expected),
        "documented": list(finding.lines),
        "facts": finding.facts,
        "kernel": finding.source,
        "known": list(finding.known),
    }


def _coverage(kernel: str, document: str, steps: Table) -> dict[str, Any]:
    share = steps.share
    return {
        "kernel": kernel,
        "document": document,
        "percent": round(share.percent, 2),
        "seen": share.seen,
        "visible": share.of,
        "steps": [
            {"flow": row.flow, "line": row.at, "function": row.function, "via": row.via, "state": str(row.state),
             "count": row.count, "reason": row.reason if row.state is State.INVISIBLE else ""}
            for row in steps
        ],
    }  # fmt: skip
