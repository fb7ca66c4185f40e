"""The table of paths."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from rich.text import Text

from kpath.dashboard import theme, units
from kpath.dashboard.digest import Packet, Pass
from kpath.dashboard.look import Look, namespaces_width
from kpath.dashboard.rows import Cell, Column, Row, line
from kpath.dashboard.snapshot import CHAIN, PathRow, Snapshot

_WIDE = 130
"""From here on there is room for a verdict for each document."""


class Paths:
    """Which ways packets take, how often, how fast, and whether they should."""

    name = "Paths"
    sorts = ("count", "rate", "p50", "p99", "last", "verdict", "words")

    def badge(self, snapshot: Snapshot) -> str:
        """How many paths."""
        return units.count(len(snapshot.paths)) if snapshot.paths else ""

    def columns(self, snapshot: Snapshot, look: Look) -> Sequence[Column]:
        """A verdict for each document where there is room, else that of the chosen one."""
        out = [Column("count", "COUNT", 6, right=True), Column("rate", "/S", 5, right=True)]
        out += [Column("p50", "P50", 7, right=True), Column("p99", "P99", 7, right=True)]
        out.append(Column("last", "LAST", 5, 96, right=True))
        if snapshot.counting is not None:
            out.insert(2, Column("share", "SHARE", 5, 90, right=True))
        if look.judged:
            several = len(look.documents) > 1
            out.append(Column("verdict", "V", 2, until=_WIDE if several else 1 << 16))
            if several:
                names = [(document.name, document.name.removeprefix("linux-")) for document in look.documents]
                out += [Column(f"in {name}", short, max(7, len(short)), _WIDE) for name, short in names]
        if width := namespaces_width(snapshot):
            out.append(Column("netns", "SPACE", width))
        out.append(Column("words", "PATH", 0, way=True))
        out.append(Column("end", "END OF THE NEWEST", 34, 130))
        return out

    def rows(self, snapshot: Snapshot, look: Look) -> list[Row]:
        """One for each path."""
        columns = self.columns(snapshot, look)
        sort, descending = look.sort.get(self.name, (self.sorts[0], True))
        ordered = sorted(snapshot.paths, key=lambda row: row.key)
        ordered.sort(key=lambda row: _sort_key(row, sort, look), reverse=descending)
        return [Row(row.key, _searchable(row), partial(_draw, columns, row, snapshot, look)) for row in ordered]

    def inspect(self, key: Hashable, snapshot: Snapshot, look: Look) -> list[Text]:
        """The whole of the words, and what the columns had no room for."""
        row = next((row for row in snapshot.paths if row.key == key), None)
        if row is None:
            return []
        title = Text(f"{row.netns}: " if row.netns else "", theme.FAINT)
        title.append(row.words, f"bold {theme.INK}")
        exact = units.plural(row.variants, "exact path")
        last = f"on {exact}, last {units.age(snapshot.now - row.last)}"
        times = f"half within {units.duration(row.p50)}, 99 % within {units.duration(row.p99)}"
        title.append(f"  ⇒ {row.end}", f"not bold {theme.end_style(row.end_how)}")
        if row.counted:
            return [title, _counted(row, snapshot, last), _times(row, times), *_verdicts(row)]
        return [title, Text(f"{units.plural(row.count, 'pass', 'passes')} {last}; {times}"), *_verdicts(row)]

    def packets(self, key: Hashable, snapshot: Snapshot) -> tuple[Packet, ...]:
        """The last ones that took it, and first of all the slowest."""
        row = next((row for row in snapshot.paths if row.key == key), None)
        if row is None:
            return ()
        rest = tuple(packet for packet in row.examples if packet.number != row.slowest.number)
        return (row.slowest, *rest) if row.slowest.detailed else row.examples

    def concerns(self, key: Hashable, one: Pass) -> bool:
        """It took this path, or is a part of it."""
        match key:
            case (str(), str(words)) if CHAIN in words:
                return one.words in words.split(CHAIN)
        return one.key == key

    def begin(self, key: Hashable, one: Pass) -> int:
        """It is about the whole way."""
        return 0

    def empty(self, snapshot: Snapshot, look: Look) -> str:
        """Nothing yet."""
        return "No packet has come to its end yet." if not snapshot.state else "There are no packets."


def _counted(row: PathRow, snapshot: Snapshot, last: str) -> Text:
    text = Text(f"{units.plural(row.count, 'packet')}, {units.share(_share(row, snapshot))} of all, {last}")
    if row.counted < row.count:
        text.append(f"; {row.count - row.counted:,} were seen event by event", theme.FAINT)
    return text


def _times(row: PathRow, words: str) -> Text:
    """How many packets took how long, a bar for each doubling."""
    text = Text(f"{words}  ")
    if row.latencies:
        text.append(f"{units.duration(row.latencies[0][0])} ", theme.FAINT)
        text.append(units.bars([count for _, count in row.latencies]), theme.ORANGE)
        text.append(f" {units.duration(2 * row.latencies[-1][0])}", theme.FAINT)
    return text


def _share(row: PathRow, snapshot: Snapshot) -> float:
    """Of the packets that the kernel counted."""
    whole = snapshot.counting.packets if snapshot.counting is not None else 0
    return row.counted / whole if whole else 0.0


def _verdicts(row: PathRow) -> list[Text]:
    """A line for the documents that say the same."""
    same: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for document, counts in row.verdicts:
        same.setdefault(tuple(counts), []).append(document)
    out = []
    for counts, documents in same.items():
        text = Text(" ".join(documents), theme.FAINT)
        for verdict, count in counts:
            text.append(f"  {theme.SYMBOLS[verdict]} {verdict} {count:,}", theme.STYLES[verdict])
        out.append(text)
    return out


def _verdict(row: PathRow, document: str) -> tuple[tuple[str, int], ...]:
    return next((counts for name, counts in row.verdicts if name == document), ())


def _sort_key(row: PathRow, sort: str, look: Look) -> Any:
    if sort == "verdict":
        counts = _verdict(row, look.name)
        return -theme.WORST_FIRST.index(counts[0][0]) if counts else -len(theme.WORST_FIRST)
    return getattr(row, sort)


def _searchable(row: PathRow) -> str:
    verdicts = " ".join(verdict for _, counts in row.verdicts for verdict, _ in counts)
    return f"{row.netns} {row.words} {row.end} {verdicts}"


def _draw(columns: Sequence[Column], row: PathRow, snapshot: Snapshot, look: Look, width: int) -> Text:
    cells: dict[str, Cell] = {
        "count": (units.count(row.count), "bold"),
        "rate": (units.rate(row.rate), ""),
        "share": (units.share(_share(row, snapshot)) if row.counted else "·", theme.FAINT),
        "p50": (units.duration(row.p50), ""),
        "p99": (units.duration(row.p99), ""),
        "last": (units.age(snapshot.now - row.last), theme.FAINT),
        "netns": (row.netns, theme.FAINT),
        "words": (row.words, theme.VERMILION if row.end_how == "dropped" else ""),
        "end": (row.end, theme.end_style(row.end_how)),
        "verdict": _mark(_verdict(row, look.name)),
    }
    for document, counts in row.verdicts:
        text = " ".join(f"{theme.SYMBOLS[verdict]}{count:,}" for verdict, count in counts)
        cells[f"in {document}"] = (text, theme.STYLES[counts[0][0]] if counts else "")
    return line(columns, width, cells)


def _mark(counts: Sequence[tuple[str, int]]) -> Cell:
    """The verdict that wants attention most; ``+`` when not all have the same."""
    if not counts:
        return theme.SYMBOLS[""], theme.STYLES[""]
    verdict = counts[0][0]
    return theme.SYMBOLS[verdict] + ("+" if len(counts) > 1 else ""), theme.STYLES[verdict]
