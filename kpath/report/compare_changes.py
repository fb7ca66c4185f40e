"""What has changed between two sets of recordings, for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from kpath.compare.changes import QUANTILES, Changes, Latency, Lone, Pair, Step, Why
from kpath.compare.statistics import fewest
from kpath.report.words import printable

_MOST = 20
_PLACES = 3


def render(changes: Changes) -> Iterator[Text]:
    """Paths new, gone, and changed in share or latency; then each step that differs, with its lineage."""
    before, after = map(printable, changes.kernels)
    yield Text(f"changes from {before} to {after}", style="bold")
    for names, side in zip(changes.alone, ("first", "second"), strict=True):
        if names:
            yield Text(f"  only in the {side}: {printable(', '.join(names))}")
    yield from _lone("+ new", "green", changes.new)
    yield from _lone("- gone", "red", changes.gone)
    changed = [pair for pair in changes.same if pair.changed]
    for pair in changed[:_MOST]:
        yield from _pair(pair)
    if len(changed) > _MOST:
        yield Text(f"    and {len(changed) - _MOST} more (--json has all)", style="dim")
    yield Text(_summary(changes, len(changed)))
    for step in changes.steps:
        yield from _step(step, (before, after))


def _lone(label: str, style: str, lones: list[Lone]) -> Iterator[Text]:
    for lone in lones[:_MOST]:
        line = Text(f"  {label:<7}", style=style)
        line.append(f"{lone.count} x {printable(lone.path)}", style="default")
        other = f"none of {lone.of} on the other side"
        line.append(f"  [{printable(lone.scenario)}: {lone.share:.0%}; {other}]", style="dim")
        yield line
    if len(lones) > _MOST:
        yield Text(f"    and {len(lones) - _MOST} more (--json has all)", style="dim")


def _pair(pair: Pair) -> Iterator[Text]:
    parts = []
    if pair.share_changed:
        parts.append(f"share {pair.shares[0]:.1%} → {pair.shares[1]:.1%}")
    parts += [_latency(latency) for latency in pair.latencies]
    line = Text("  ~      ", style="yellow").append(f"{printable(pair.path)}  ", style="default")
    yield line.append(f"[{printable(pair.scenario)}, {pair.counts[0]} and {pair.counts[1]} passes]", style="dim")
    yield Text(f"           {'; '.join(parts)}")


def _latency(latency: Latency) -> str:
    name = f"p{latency.p * 100:g}"
    if latency.before is None or latency.after is None:
        return f"{name} too few passes (needs {fewest(latency.p)} on both sides)"
    return f"{name} {_us(latency.before)} → {_us(latency.after)}" + ("" if latency.changed else " (may be chance)")


def _us(ns: float) -> str:
    return f"{ns / 1000:,.1f} µs"


def _summary(changes: Changes, changed: int) -> str:
    told = dict.fromkeys(QUANTILES, 0)
    for pair in changes.same:
        for latency in pair.latencies:
            told[latency.p] += latency.before is not None and latency.after is not None
    enough = ", ".join(f"p{p * 100:g} of {count}" for p, count in told.items())
    return (
        f"  {len(changes.same)} paths on both sides, {changed} changed in share or latency, {len(changes.new)} new, "
        f"{len(changes.gone)} gone; enough passes to compare {enough}"
    )


_WHY = {
    Why.ABSENT: "{other} does not have it",
    Why.UNSEEN: "{other} does not show it there ({detail})",
    Why.UNKNOWN: "nothing is known of it on {other}",
    Why.BEHAVIOUR: "{other} shows it elsewhere: packets go another way",
}


def _step(step: Step, kernels: tuple[str, str]) -> Iterator[Text]:
    other = kernels[1 - step.side] if kernels[0] != kernels[1] else ("the first", "the second")[1 - step.side]
    mark, style = ("+", "green") if step.side else ("-", "red")
    why = _WHY[step.why].format(other=other, detail=step.detail)
    style = f"bold {style}" if step.why is Why.BEHAVIOUR else style
    paths = f"on {len(step.places)} path{'s' * (len(step.places) != 1)}"
    head = Text(f"  {mark} {printable(step.function)} ", style=style)
    yield head.append(f"{paths}: {printable(why)}", style="not bold default")
    if step.lineage:
        yield Text(f"      {printable(step.lineage)}", style="dim")
    for commit in step.commits[:3]:
        yield Text(f"      {printable(commit)}", style="dim")
    if step.why is Why.BEHAVIOUR:
        for scenario, path in step.places[:_PLACES]:
            yield Text(f"      {printable(scenario)}: {printable(path)}", style="dim")
