"""Paths that the kernel counted, with a verdict each: a record of one packet is judged, for all that took its path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from kpath.capture.schema import Class
from kpath.capture.tables import Loss
from kpath.model.check import Checker, span
from kpath.model.verdict import Judgement, Verdict
from kpath.trace.assemble import Assembler
from kpath.trace.frames import Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.traversal import Traversal, traversals


@dataclass(eq=False, slots=True)
class Shown:
    """What one record shows: the packet's passes, each with what the documents say of it.

    ``losses`` tells that a probe was missed, or a table found full, while the packet lived: then the record may lack a
    hop, and no verdict on it is more than inconclusive.
    """

    journey: Journey
    passes: list[tuple[Traversal, list[Judgement]]] = field(default_factory=list)
    losses: bool = False
    timed: bool = False


def show(
    events: Any, skb: int, timed: bool, knowledge: Knowledge, checker: Checker | None, losses: Iterable[Loss],
    cut: bool = False,
) -> Shown | None:  # fmt: skip
    """Judge one record. ``events`` and ``skb`` as :class:`kpath.capture.unfold.Unfolder` gives them; None if it shows
    no packet. ``cut``: it had more hops than these."""
    assembler = Assembler(knowledge)
    journeys = assembler.feed(events) + assembler.flush()
    own = [j for j in journeys if any(life.skb == skb for life in j.lives)]
    if not own:
        return None
    lost = list(losses)
    found = Shown(own[-1], timed=timed)
    for traversal in traversals(own[-1]):
        if not any(f.event.skb == skb for f in traversal.frames):
            continue  # where the original went before it was copied is told by its own record
        begin, end = span(traversal)
        over = [loss for loss in lost if loss.start <= end and loss.end >= begin]
        found.losses |= bool(over)
        judged = checker.judge(traversal, knowledge, over) if checker else []
        why = CUT if cut else _unseen(traversal, skb)
        found.passes.append((traversal, [_weakened(j, traversal, why) for j in judged]))
    return found


def _unseen(traversal: Traversal, skb: int) -> str:
    """What of this pass another record shows, in words."""
    others = {f.cls for f in traversal.frames if f.event.skb != skb}
    # A buffer that TCP keeps goes nowhere itself; any other original has a way of its own.
    return "the packet that it was copied from went on by itself" if others & _ON_THE_WAY else ""


_ON_THE_WAY = {Class.IP, Class.LINK, Class.HOOK, Class.NEIGHBOUR}
CUT = "the packet had more hops than are kept"
BETWEEN = "functions without a packet are not seen when paths are counted, and one stands between"


def _weakened(judgement: Judgement, traversal: Traversal, why: str) -> Judgement:
    """A divergence may be due to what this mode does not see: then it is none."""
    if judgement.verdict is not Verdict.DIVERGES:
        return judgement
    frames = {frame.name: frame for frame in traversal.frames if _over_a_gap(frame)}
    if not why and any(f.step in frames for f in judgement.findings):
        why = BETWEEN
    return replace(judgement, verdict=Verdict.INCONCLUSIVE, reasons=(*judgement.reasons, why)) if why else judgement


def _over_a_gap(frame: Frame) -> bool:
    """Does a function without an event stand between this frame and the one around it, here or further out?"""
    for one in (frame, *frame.ancestors()):
        around = one.parent
        if around is not None and not one.tail and one.caller not in ("", around.name):
            return True
    return False


