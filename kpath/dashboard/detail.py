"""One packet's life as lines: each step with its time, the time since the step before as a bar, what was decided there,
and the document's line."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial

from rich.text import Text

from kpath.capture.plan import PLAN_BY_NAME
from kpath.dashboard import theme, units
from kpath.dashboard.digest import NO_TIME, Packet, Pass, Step
from kpath.dashboard.judge import Opinion
from kpath.dashboard.rows import Row, fixed
from kpath.report.words import verdict_name

BAR = 5
"""Cells of the bar of the time since the step before; full for the longest in a pass."""

StepKey = tuple[int, int]
"""Number of the pass and of the step in it: where the cursor stands."""


def rows(packet: Packet, document: str, about: Collection[int] = ()) -> list[Row]:
    """All lines of a packet; the cursor stands on steps only.

    ``document`` is whose lines are cited; ``about`` are the numbers of the passes that the user asked for.
    """
    out: list[Row] = []
    for number, one in enumerate(packet.passes):
        longest = max((step.gap for step in one.steps[1:]), default=0)
        out.append(fixed((number, "head"), _head(one, number in about), stop=False))
        opinion = opinion_of(one, document)
        marks = _marks(one, document)
        wanted = dict(_wanted(one))
        for place, step in enumerate(one.steps):
            if step.index in wanted:
                out.append(fixed((number, f"expected {place}"), wanted[step.index], stop=False))
            cite = opinion.cites.get(step.index, "") if opinion else ""
            draw = partial(_line, step, longest, marks.get(step.index, ""), cite)
            out.append(Row((number, place), f"{step.function} {' '.join(step.pointers)} {step.drop}", draw))
        if not one.steps:
            text = Text("  (its steps were not kept: there was too much; see ? for what is kept)", theme.FAINT)
            out.append(fixed((number, "left out"), text, stop=False))
        out += [fixed((number, f"end {n}"), text, stop=False) for n, text in enumerate(_ending(one))]
    return out


def opinion_of(one: Pass, document: str) -> Opinion | None:
    """What a document says of a pass."""
    return next((opinion for opinion in one.opinions if opinion.document == document), None)


def _head(one: Pass, asked: bool) -> Text:
    text = Text("◆ " if asked else "◇ ", theme.SKY)
    text.append(one.headline, f"bold {theme.SKY}")
    text.append(f"  {one.words}", theme.FAINT)
    if one.latency != NO_TIME:
        text.append(f"  {units.duration(one.latency)}", theme.FAINT)
    return text


def _marks(one: Pass, document: str) -> dict[int, str]:
    """Frame index → ✗ for a divergence from any document, Δ for an evolution since the one that is cited."""
    opinion = opinion_of(one, document)
    out = {f.frame: "Δ" for f in opinion.evolutions if f.frame is not None} if opinion else {}
    return out | {f.frame: "✗" for other in one.opinions for f in other.divergences if f.frame is not None}


def _wanted(one: Pass) -> Iterator[tuple[int, Text]]:
    """For each frame that diverges a line above it: what should stand there."""
    for opinion in one.opinions:
        for finding in opinion.divergences:
            if finding.frame is not None and finding.expected:
                text = Text(" " * (9 + 1 + BAR))
                text.append(" ┄ ", theme.STYLES[theme.DIVERGES])
                text.append(f"expected {' | '.join(finding.expected[:3])}", theme.GREEN)
                text.append(f"  {opinion.document}; but was:", theme.FAINT)
                yield finding.frame, text


_MARK_STYLES = {"✗": theme.STYLES[theme.DIVERGES], "Δ": theme.PURPLE}


def _line(step: Step, longest: int, mark: str, cite: str, width: int) -> Text:
    narrow = width < 100
    text = Text()
    if step.at == NO_TIME:
        text.append(" " * (9 + 1 + BAR))
    else:
        text.append(f"{step.at / 1000:9.1f} ", theme.SKY)
        text.append(units.bar(step.gap / longest if longest else 0, BAR), theme.ORANGE)
    text.append(f" {mark or ' '} ", _MARK_STYLES.get(mark, ""))
    text.append((" " if narrow else "  ") * step.depth)
    style = theme.VERMILION if mark == "✗" else "" if step.own else theme.FAINT
    text.append(step.function, f"bold {style}" if mark else style)
    if step.hook:
        text.append(f" {step.hook}", theme.PURPLE)
        said = theme.STYLES[theme.DIVERGES] if step.stopped else theme.GREEN
        text.append(f" → {step.verdict}", theme.FAINT if step.verdict == verdict_name(None) else said)
    if step.drop:
        text.append(f"  ✗ {step.drop}", theme.STYLES[theme.DIVERGES])
    if step.caller:
        text.append(f"  ← {step.caller}", theme.FAINT)
    if step.pointers:
        text.append(f"  {' '.join(step.pointers)}", theme.YELLOW)
    if step.where:
        text.append(f"  [{step.where}]", theme.FAINT)
    if cite:
        return _with_cite(text, cite, width)
    return text


def _with_cite(text: Text, cite: str, width: int) -> Text:
    """The document's line stands at the right edge; a tree that is in its way is cut there."""
    room = width - len(cite) - 2
    if text.cell_len > room:
        text.truncate(room, overflow="ellipsis")
    else:
        text.append(" " * (room - text.cell_len))
    text.append(f"  {cite}", theme.GREEN)
    return text


def _ending(one: Pass) -> Iterator[Text]:
    arrow = Text(" " * 11 + "⇒ ", theme.FAINT)
    yield arrow + Text(one.end, theme.end_style(one.end_how))
    for why in one.incomplete:
        yield Text(f"{' ' * 11}~ incomplete: {why}", theme.YELLOW)
    for opinion in one.opinions:
        text = Text(" " * 11)
        text.append(f"{theme.SYMBOLS[opinion.verdict]} {opinion.verdict}", theme.STYLES[opinion.verdict])
        text.append(f"  {opinion.document}", theme.INK)
        if opinion.evolutions:
            text.append(f"  Δ{len(opinion.evolutions)} explained by the lineage", theme.PURPLE)
        yield text
        for why in opinion.reasons:
            yield Text(f"{' ' * 13}{why}", theme.FAINT)
        for finding in opinion.divergences:
            yield Text(f"{' ' * 13}✗ {finding.title}", theme.STYLES[theme.DIVERGES])


def inspect(packet: Packet, key: object, document: str = "") -> list[Text]:
    """More about the step at the cursor; ``document`` is the one that says what may come next."""
    place = _find(packet, key)
    if place is None:
        return []
    one, step = place
    text = Text(step.function, f"bold {theme.INK}")
    planned = PLAN_BY_NAME.get(step.function)
    if planned is not None:
        text.append(f"  {planned.why}", f"not bold {theme.INK}")
    out = [text, _when(step, packet.timed)]
    said = [f"{step.hook} → {step.verdict}"] if step.hook else []
    said += [*step.pointers, *([f"dropped: {step.drop}"] if step.drop else [])]
    said += [f"called by {step.caller}"] if step.caller else []
    if said:
        out.append(Text("  ".join(said), theme.YELLOW))
    out += list(_found(one, step, "✗"))
    opinion = opinion_of(one, document)
    if opinion is not None and (nexts := opinion.nexts.get(step.index)):
        words = ", ".join(nexts[:-1]) + " or " + nexts[-1] if len(nexts) > 1 else nexts[0]
        out.append(Text("expected next ", theme.FAINT).append(words, theme.GREEN).append(f"  {document}", theme.FAINT))
    out += list(_found(one, step, "Δ"))
    cited = [f"{o.document} {o.cites[step.index]}" for o in one.opinions if step.index in o.cites]
    if cited:
        out.append(Text("written in " + ", ".join(cited), theme.GREEN))
    return out


def _when(step: Step, timed: bool) -> Text:
    if not timed:
        return Text("when is not known: the hops of this packet were not timed (those of one in 64 are)", theme.FAINT)
    if step.at == NO_TIME:
        return Text("was running before the packet came", theme.FAINT)
    text = Text(f"{step.at / 1000:.1f} µs since it began", theme.SKY)
    text.append(f", {units.duration(step.gap)} since the step before", theme.ORANGE)
    if step.where:
        text.append(f"  [{step.where}]", theme.FAINT)
    if step.tail:
        text.append("  jumped to, not called", theme.YELLOW)
    if not step.own:
        text.append("  around the packet", theme.FAINT)
    return text


def _found(one: Pass, step: Step, mark: str) -> Iterator[Text]:
    """What documents say of a step: ✗ what diverges, Δ what the lineage explains."""
    for opinion in one.opinions:
        for finding in opinion.divergences if mark == "✗" else opinion.evolutions:
            if finding.frame == step.index:
                yield Text(f"{mark} {opinion.document}: {finding.title}", _MARK_STYLES[mark])
                yield from (Text(f"  {more}", theme.INK) for more in finding.lines)


def _find(packet: Packet, key: object) -> tuple[Pass, Step] | None:
    match key:
        case (int(number), int(place)):
            one = packet.passes[number] if number < len(packet.passes) else None
            return (one, one.steps[place]) if one is not None and place < len(one.steps) else None
    return None
