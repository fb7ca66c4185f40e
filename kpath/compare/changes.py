"""Two sets of recordings against each other: paths that are new or gone, how often, how fast, and by what functions.

Only what was seen from beginning to end is compared, scenario by scenario. A step that differs is explained by what
the two kernels show: one that a kernel lacks or that it has inlined says nothing of packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from kpath.compare.ancestry import Ancestry
from kpath.compare.outcome import Scenario
from kpath.compare.profile import Key, Profile, Row
from kpath.compare.statistics import apart, proportion, quantile

QUANTILES = (0.5, 0.99)


class Why(StrEnum):
    """Why a function is seen on one side only."""

    ABSENT = "the other kernel does not have it"
    UNSEEN = "the other kernel has it, but does not show it"
    UNKNOWN = "the other recording says nothing of it"
    BEHAVIOUR = "both kernels show it: packets go another way"


@dataclass(frozen=True, slots=True)
class Step:
    """A function, or a hook, that is called on the same path on one side only."""

    function: str
    side: int
    """0: only in the first, 1: only in the second."""
    why: Why
    detail: str
    """Why the other kernel does not show it, in its planner's words."""
    lineage: str
    commits: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    """Scenario and path."""


@dataclass(frozen=True, slots=True)
class Latency:
    """A quantile (ns) on both sides. ``changed``: the intervals have nothing in common."""

    p: float
    before: float | None
    after: float | None
    """None: too few passes."""
    changed: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A path on both sides."""

    scenario: str
    path: str
    counts: tuple[int, int]
    shares: tuple[float, float]
    """Of the scenario's passes, 0 to 1."""
    share_changed: bool
    latencies: tuple[Latency, ...]

    @property
    def changed(self) -> bool:
        """By more than chance?"""
        return self.share_changed or any(latency.changed for latency in self.latencies)


@dataclass(frozen=True, slots=True)
class Lone:
    """A path on one side only."""

    scenario: str
    path: str
    count: int
    share: float
    of: int
    """Passes of the scenario on the other side, which did not take it."""


@dataclass(slots=True)
class Changes:
    """What differs between two sets of recordings."""

    kernels: tuple[str, str]
    """What each was recorded on, releases with commas between them."""
    new: list[Lone] = field(default_factory=list)
    gone: list[Lone] = field(default_factory=list)
    same: list[Pair] = field(default_factory=list)
    """Paths on both sides, changed in share or latency or not."""
    steps: list[Step] = field(default_factory=list)
    alone: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    """Scenarios that only one side has."""


def compare(before: Sequence[Scenario], after: Sequence[Scenario], ancestry: Ancestry | None = None) -> Changes:
    """What has changed. Scenarios belong together by their names; if each side is one recording, those two do."""
    changes = Changes((_kernels(before), _kernels(after)))
    if len(before) == len(after) == 1:
        pairs = [(before[0], after[0])]
    else:
        others = {scenario.name: scenario for scenario in after}
        names = {scenario.name for scenario in before}
        pairs = [(scenario, others[scenario.name]) for scenario in before if scenario.name in others]
        changes.alone = (
            [scenario.name for scenario in before if scenario.name not in others],
            [scenario.name for scenario in after if scenario.name not in names],
        )
    seen = _seen(before), _seen(after)
    steps = _Steps(ancestry or Ancestry(), seen)
    for one, other in pairs:
        name = one.name if one.name == other.name else f"{one.name} → {other.name}"
        _pair(name, one.profile, other.profile, changes, steps)
    changes.steps = steps.found()
    return changes


def _kernels(scenarios: Iterable[Scenario]) -> str:
    return ", ".join(dict.fromkeys(scenario.kernel for scenario in scenarios))


def _seen(scenarios: Iterable[Scenario]) -> set[str]:
    return set().union(*(scenario.profile.seen for scenario in scenarios))


def _pair(name: str, before: Profile, after: Profile, changes: Changes, steps: _Steps) -> None:
    with_reasons = before.reasons and after.reasons
    old, old_parts = before.merged(with_reasons)
    new, new_parts = after.merged(with_reasons)
    totals = sum(row.count for row in old.values()), sum(row.count for row in new.values())
    for key in dict.fromkeys((*old, *new)):
        a, b = old.get(key), new.get(key)
        if a is None and b is not None:
            if key not in old_parts:
                changes.new.append(Lone(name, text(key), b.count, b.count / totals[1], totals[0]))
        elif b is None and a is not None:
            if key not in new_parts:
                changes.gone.append(Lone(name, text(key), a.count, a.count / totals[0], totals[1]))
        elif a is not None and b is not None:
            changes.same.append(_both(name, key, (a, b), totals))
            steps.add((name, text(key)), (a, b), (before, after))


def text(key: Key) -> str:
    """A path in words."""
    return f"{key.words} {key.reason}".rstrip()


def _both(name: str, key: Key, rows: tuple[Row, Row], totals: tuple[int, int]) -> Pair:
    counts = rows[0].count, rows[1].count
    shares = counts[0] / totals[0], counts[1] / totals[1]
    changed = apart(proportion(counts[0], totals[0]), proportion(counts[1], totals[1]))
    return Pair(name, text(key), counts, shares, changed, tuple(_latency(rows, p) for p in QUANTILES))


def _latency(rows: tuple[Row, Row], p: float) -> Latency:
    a, b = quantile(rows[0].latencies, p), quantile(rows[1].latencies, p)
    changed = a is not None and b is not None and apart((a.low, a.high), (b.low, b.high))
    return Latency(p, a.value if a else None, b.value if b else None, changed)


class _Steps:
    """Gathers functions that one side calls on a path and the other never does."""

    def __init__(self, ancestry: Ancestry, seen: tuple[set[str], set[str]]) -> None:
        """``seen``: the functions that each side has on any path."""
        self._ancestry = ancestry
        self._seen = seen
        self._found: dict[tuple[str, int], tuple[Why, str, list[tuple[str, str]]]] = {}

    def add(self, place: tuple[str, str], rows: tuple[Row, Row], profiles: tuple[Profile, Profile]) -> None:
        for side in (0, 1):
            for function in rows[side].functions:
                if function in rows[1 - side].functions:
                    continue
                why, detail = self._why(function, profiles[1 - side], 1 - side)
                if why is Why.BEHAVIOUR and function in profiles[side].aside:
                    continue
                known = self._found.setdefault((function, side), (why, detail, []))
                known[2].append(place)

    def _why(self, function: str, other: Profile, side: int) -> tuple[Why, str]:
        """Why the other side does not show the function. That it calls it nowhere may be a compiler's doing."""
        if function in other.absent:
            return Why.ABSENT, other.unseen.get(function, "")
        if function in other.unseen:
            return Why.UNSEEN, other.unseen[function]
        if function.startswith("hook "):
            return Why.BEHAVIOUR, ""
        if function not in other.probed:
            return Why.UNKNOWN, ""
        if function in self._seen[side] and not self._ancestry.partial(function):
            return Why.BEHAVIOUR, ""
        return Why.UNSEEN, "it is probed, but seen on no path: inlined where it would be called, or not called"

    def found(self) -> list[Step]:
        """Those that say something of packets first, then by how many paths they concern."""
        steps = []
        for (function, side), (why, detail, places) in self._found.items():
            lineage, commits = self._ancestry.of(function.removeprefix("hook "))
            steps.append(Step(function, side, why, detail, lineage, commits, tuple(places)))
        return sorted(steps, key=lambda step: (step.why is not Why.BEHAVIOUR, -len(step.places), step.function))


def as_data(changes: Changes) -> Mapping[str, object]:
    """The changes as plain data, for JSON."""
    return {
        "kernels": list(changes.kernels),
        "only_in_first": changes.alone[0],
        "only_in_second": changes.alone[1],
        "new": [_lone(lone) for lone in changes.new],
        "gone": [_lone(lone) for lone in changes.gone],
        "same": [
            {
                "scenario": pair.scenario,
                "path": pair.path,
                "counts": list(pair.counts),
                "shares": list(pair.shares),
                "share_changed": pair.share_changed,
                "latencies_ns": [
                    {"quantile": one.p, "first": one.before, "second": one.after, "changed": one.changed}
                    for one in pair.latencies
                ],
            }
            for pair in changes.same
        ],
        "steps": [
            {
                "function": step.function,
                "only_in": "second" if step.side else "first",
                "why": step.why.name.lower(),
                "detail": step.detail,
                "lineage": step.lineage,
                "commits": list(step.commits),
                "paths": [{"scenario": scenario, "path": path} for scenario, path in step.places],
            }
            for step in changes.steps
        ],
    }


def _lone(lone: Lone) -> dict[str, object]:
    return {
        "scenario": lone.scenario, "path": lone.path, "count": lone.count, "share": lone.share, "others": lone.of
    }  # fmt: skip
