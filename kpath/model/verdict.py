"""Verdicts: what is said of one traversal against one document, and on what evidence.

Soundness before sharpness: what was lost, missed or not seen from the beginning turns a divergence into *partial* or
*inconclusive*, never the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kpath.capture.tables import Loss
from kpath.model.scope import Reason


class Verdict(StrEnum):
    """What a document has to say of a traversal; the worst last."""

    NOT_COVERED = "not covered"
    """No frame of it is a step of the document."""
    CONFORMS = "conforms"
    PARTIAL = "partial"
    """As far as it was seen: it began before or ended after the capture, or enters the document in the middle."""
    INCONCLUSIVE = "inconclusive"
    """Events were lost or probes missed while it lived, so nothing can be said."""
    DIVERGES = "diverges"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a path.

    ``check`` is "document" for the document itself, else the name of a decision or invariant. ``step`` is the function
    at which it went wrong, ``index`` the number of its frame in the tree (in the order of time; -1 at the end).
    """

    check: str
    step: str
    message: str
    index: int = -1
    expected: tuple[str, ...] = ()
    """What could have come, as a person reads it."""
    lines: tuple[str, ...] = ()
    """Where the document says so: ``document:line``, and the lines of its source."""
    facts: str = ""
    source: str = ""
    """Kernel source, ``file:function``."""
    known: tuple[str, ...] = ()
    """What the lineage knows of the functions concerned."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on. Steps are ids of the document's graph."""

    witnessed: tuple[str, ...] = ()
    """Steps whose frames were seen."""
    targets: frozenset[tuple[str, str]] = frozenset()
    """Step and the function that it was."""
    implied: tuple[str, ...] = ()
    """Steps without a frame of their own that a frame proves."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """Steps that were passed unseen → why they cannot be seen here."""
    beside: Mapping[str, int] = field(default_factory=dict)
    """Functions seen that the document does not place → how often."""

    def __str__(self) -> str:
        text = f"{len(self.witnessed)} steps witnessed"
        if self.implied:
            text += f", {len(self.implied)} implied"
        return text + (f", {len(self.silent)} not visible here" if self.silent else "")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one traversal."""

    document: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why it is partial or inconclusive."""
    findings: tuple[Finding, ...] = ()
    """What is wrong, the first wrong step first. Also kept when losses make the verdict inconclusive."""
    evidence: Evidence = field(default_factory=Evidence)
    evolutions: tuple[tuple[str, Reason], ...] = ()
    """Function → why it is there although the document does not place it; each function once."""
    signature: int = 0
    """A number for the path: equal for equal paths of one run."""


def weaken(judgement: Judgement, partial: Iterable[str], losses: Iterable[Loss]) -> Judgement:
    """The judgement of a path, given how completely this very packet was seen."""
    if judgement.verdict is Verdict.NOT_COVERED:
        return judgement
    lost = [describe(loss) for loss in losses]
    if lost:
        return replace(judgement, verdict=Verdict.INCONCLUSIVE, reasons=(*judgement.reasons, *dict.fromkeys(lost)))
    reasons = tuple(dict.fromkeys(partial))
    if reasons and judgement.verdict is not Verdict.INCONCLUSIVE:
        return replace(judgement, verdict=Verdict.PARTIAL, reasons=(*judgement.reasons, *reasons))
    return judgement


def describe(loss: Loss) -> str:
    """What was lost, in one clause."""
    parts = []
    if loss.lost:
        cpus = ", ".join(map(str, sorted(loss.lost)))
        parts.append(f"{sum(loss.lost.values())} events were lost on CPU {cpus}")
    if loss.missed:
        some = ", ".join(sorted(loss.missed)[:3])
        parts.append(f"{sum(loss.missed.values())} hits were missed ({some})")
    return " and ".join(parts) or "something was lost"
