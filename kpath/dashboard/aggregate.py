"""Counts of what packets did: folded in one packet at a time, read as frozen snapshots."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from kpath.dashboard.digest import Packet, Pass
from kpath.dashboard.histogram import Histogram
from kpath.dashboard.judge import Finding
from kpath.dashboard.snapshot import CHAIN, OTHER_PATHS, DropRow, FindingRow, Omitted, PathRow, Snapshot
from kpath.dashboard.theme import WORST_FIRST

K = TypeVar("K")

MAX_PATHS = 2000
MAX_ROWS = 500
"""Most rows of the tables of drops and of findings."""
RECENT = 500
"""Packets in the list of packets."""
EXAMPLES = 8
"""Packets kept for each path."""

WINDOW = 5
"""Seconds over which a rate is taken."""
_SECOND = 1_000_000_000


class Rate:
    """How many a second, over the last WINDOW seconds of the stream."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def add(self, when: int, count: float = 1) -> None:
        """Count at a time (ns)."""
        second = when // _SECOND
        self._seconds[second] = self._seconds.get(second, 0) + count
        if len(self._seconds) > 4 * WINDOW:
            self._seconds = {k: v for k, v in self._seconds.items() if k > second - 2 * WINDOW}

    def spread(self, begin: int, end: int, count: int) -> None:
        """Count what came evenly between two times (ns)."""
        if end <= begin:
            self.add(end, count)
            return
        begin = max(begin, end - 2 * WINDOW * _SECOND)
        for second in range(begin // _SECOND, end // _SECOND + 1):
            part = min(end, (second + 1) * _SECOND) - max(begin, second * _SECOND)
            self.add(second * _SECOND, count * part / (end - begin))

    def merge(self, other: Rate) -> None:
        """Count what another one counted, too."""
        for second, count in other._seconds.items():
            self._seconds[second] = self._seconds.get(second, 0) + count

    def at(self, now: int, started: int) -> float:
        """A second, at ``now``; ``started`` is when counting began (ns)."""
        last = now // _SECOND
        seconds = min(float(WINDOW), max(1.0, (now - started) / _SECOND))
        return sum(n for second, n in self._seconds.items() if last - WINDOW < second <= last) / seconds

    def copy(self) -> Rate:
        """One that counts on by itself."""
        other = Rate()
        other._seconds = dict(self._seconds)
        return other


@dataclass(slots=True)
class _Path:
    newest: Pass
    slowest: tuple[int, Packet]
    count: int = 0
    counted: int = 0
    rate: Rate = field(default_factory=Rate)
    latency: Histogram = field(default_factory=Histogram)
    last: int = 0
    variants: set[int] = field(default_factory=set)
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    judged: int = 0
    examples: deque[Packet] = field(default_factory=lambda: deque(maxlen=EXAMPLES))

    def copy(self) -> _Path:
        return replace(
            self,
            rate=self.rate.copy(),
            latency=self.latency.copy(),
            variants=set(self.variants),
            verdicts={document: counts.copy() for document, counts in self.verdicts.items()},
            examples=self.examples.copy(),
        )

    def fold(self, packet: Packet, one: Pass) -> None:
        self.newest = one
        self.count += 1
        self.rate.add(packet.last)
        self.latency.add(one.latency)
        self.last = max(self.last, packet.last)
        self.variants.add(one.variant)
        self.judged += one.judged
        for opinion in one.opinions:
            self.verdicts.setdefault(opinion.document, Counter())[opinion.verdict] += 1
        if packet.detailed and (not self.examples or self.examples[-1] is not packet):
            self.examples.append(packet)
        if one.latency > self.slowest[0] and (packet.detailed or not self.slowest[1].detailed):
            self.slowest = one.latency, packet

    def row(self, key: tuple[str, str], now: int, started: int) -> PathRow:
        return PathRow(
            netns=key[0],
            words=key[1],
            count=self.count,
            rate=self.rate.at(now, started),
            p50=self.latency.percentile(0.5),
            p99=self.latency.percentile(0.99),
            last=self.last,
            end=self.newest.end,
            end_how=self.newest.end_how,
            variants=len(self.variants),
            verdicts=tuple((document, worst_first(counts)) for document, counts in self.verdicts.items()),
            judged=self.judged,
            examples=tuple(self.examples) or (self.slowest[1],),
            slowest=self.slowest[1],
            counted=self.counted,
            latencies=self.latency.doublings() if self.counted else (),
        )

    def fold_counted(
        self, packets: Sequence[Packet], slowest: Packet | None, count: int, last: int, rate: Rate,
        took: Iterable[tuple[int, int]],
    ) -> None:  # fmt: skip
        newest = packets[-1]
        if last >= self.last:
            self.newest, self.last = newest.passes[-1], last
        self.count += count
        self.counted += count
        self.rate.merge(rate)
        for duration, many in took:
            self.latency.add(duration, many)
        self.variants.add(newest.passes[0].variant)
        if all(one.judged for one in newest.passes):
            self.judged += count
        for document in dict.fromkeys(o.document for one in newest.passes for o in one.opinions):
            found = Counter(o.verdict for one in newest.passes for o in one.opinions if o.document == document)
            self.verdicts.setdefault(document, Counter())[worst_first(found)[0][0]] += count
        self.examples.extend(packets)
        if slowest is not None and slowest.last - slowest.begin > self.slowest[0]:
            self.slowest = slowest.last - slowest.begin, slowest


@dataclass(slots=True)
class _Tally:
    """One row of the tables of drops and findings."""

    words: str
    example: Packet
    finding: Finding | None = None
    count: int = 0
    last: int = 0
    rate: Rate = field(default_factory=Rate)

    def copy(self) -> _Tally:
        return replace(self, rate=self.rate.copy())

    def fold(
        self, packet: Packet, one: Pass, finding: Finding | None, count: int, last: int, rate: Rate | None
    ) -> None:
        self.count += count
        self.last = max(self.last, last)
        if rate is None:
            self.rate.add(last)
        else:
            self.rate.merge(rate)
        self.words = one.words
        if packet.detailed or not self.example.detailed:
            self.example, self.finding = packet, finding


class Aggregates:
    """The counts. ``started`` (ns) is when the capture began."""

    def __init__(self, started: int = 0) -> None:
        self.started = started
        self.packets = self.passes = 0
        self.omitted = Omitted()
        self._paths: dict[tuple[str, str], _Path] = {}
        self._drops: dict[tuple[str, str, str], _Tally] = {}
        self._findings: dict[tuple[str, bool, str], _Tally] = {}
        self._recent: deque[Packet] = deque(maxlen=RECENT)
        self._verdicts: dict[str, Counter[str]] = {}
        self._variants: Counter[int] = Counter()
        self._functions: dict[int, tuple[str, ...]] = {}
        self._witnessed: dict[str, Counter[str]] = {}
        self._went_by: dict[str, Counter[str]] = {}
        self._rate = Rate()

    def learn(self, variant: int, functions: Iterable[str]) -> None:
        """The functions of an exact path, once for all passes that take it."""
        if variant not in self._functions:
            self._functions[variant] = tuple(set(functions))

    def fold(self, packet: Packet, has_judge: bool = False) -> None:
        """Count one packet with all its passes."""
        if not self.packets and not self.started:
            self.started = packet.begin
        self.packets += 1
        self._rate.add(packet.last)
        self._recent.append(packet)
        unjudged = sum(not one.judged for one in packet.passes) if has_judge else 0
        if unjudged or not packet.detailed:
            self._omit(details=int(not packet.detailed), verdicts=unjudged)
        for one in packet.passes:
            self._pass(packet, one)

    def skip(self, when: int, packets: int = 1) -> None:
        """Packets that are only counted, because there are too many."""
        self.packets += packets
        self._rate.add(when, packets)
        self._omit(packets=packets)

    def fold_counted(
        self, packets: Sequence[Packet], slowest: Packet | None, count: int, last: int, rate: Rate,
        took: Iterable[tuple[int, int]],
    ) -> None:  # fmt: skip
        """Count so many packets that the kernel counted on one path; the newest of ``packets`` tells what path that is.

        ``took`` says how many took how long (ns). Their number is not added to that of all packets.
        """
        newest = packets[-1]
        key = self._key((newest.passes[0].netns, CHAIN.join(one.words for one in newest.passes)), count)
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = _Path(newest.passes[-1], (-1, newest))
        path.fold_counted(packets, slowest, count, last, rate, took)
        self.passes += count * len(newest.passes)
        for one in newest.passes:
            self._variants[one.variant] += count
            self._note(newest, one, count, last, rate)

    def add_counted(self, packets: int, rate: Rate, recent: Iterable[Packet]) -> None:
        """So many packets were counted, at this rate; these are the last ones of which more is known."""
        self.packets += packets
        self._rate.merge(rate)
        self._recent.extend(recent)

    def _omit(self, **more: int) -> None:
        self.omitted = replace(self.omitted, **{name: getattr(self.omitted, name) + n for name, n in more.items()})

    def _pass(self, packet: Packet, one: Pass) -> None:
        self.passes += 1
        self._variants[one.variant] += 1
        key = self._key(one.key)
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = _Path(one, (-1, packet))
        path.fold(packet, one)
        self._note(packet, one, 1, packet.last, None)

    def _key(self, key: tuple[str, str], count: int = 1) -> tuple[str, str]:
        if key in self._paths or len(self._paths) < MAX_PATHS:
            return key
        self._omit(paths=count)
        return "", OTHER_PATHS

    def _note(self, packet: Packet, one: Pass, count: int, last: int, rate: Rate | None) -> None:
        """What so many passes like this one, the last at ``last`` (ns), show beside their path."""

        def tally(table: dict[K, _Tally], key: K, finding: Finding | None = None) -> None:
            row = table.get(key)
            if row is None:
                if len(table) >= MAX_ROWS:
                    self._omit(rows=count)
                    return
                row = table[key] = _Tally(one.words, packet, finding)
            row.fold(packet, one, finding, count, last, rate)

        if one.end_how == "dropped":
            tally(self._drops, (one.netns, one.end_reason, one.end_place))
        for opinion in one.opinions:
            self._verdicts.setdefault(opinion.document, Counter())[opinion.verdict] += count
            for steps, often in ((self._witnessed, opinion.witnessed), (self._went_by, Counter(opinion.passed))):
                if often:
                    sums = steps.setdefault(opinion.document, Counter())
                    for step, times in often.items():
                        sums[step] += times * count
            for finding in opinion.divergences:
                tally(self._findings, (opinion.document, True, finding.title), finding)
            for finding in opinion.evolutions:
                tally(self._findings, (opinion.document, False, finding.title), finding)

    def snapshot(self, now: int, behind: int = 0) -> Snapshot:
        """The picture at ``now`` (ns); what only the stream knows is for the caller to fill in.

        ``behind``: what was counted last is so much older than ``now`` (ns); rates are those of that time.
        """
        then = now - behind
        return Snapshot(
            now=now,
            started=self.started,
            packets=self.packets,
            passes=self.passes,
            packet_rate=self._rate.at(then, self.started),
            verdicts=MappingProxyType({d: MappingProxyType(dict(worst_first(c))) for d, c in self._verdicts.items()}),
            paths=tuple(path.row(key, then, self.started) for key, path in self._paths.items()),
            recent=tuple(self._recent),
            drops=tuple(
                DropRow(*key, t.count, t.rate.at(then, self.started), t.last, t.words, t.example)
                for key, t in self._drops.items()
            ),
            findings=tuple(
                FindingRow(key[0], t.finding, key[1], t.count, t.last, t.words, t.example)
                for key, t in self._findings.items()
                if t.finding is not None
            ),
            functions=MappingProxyType(self._seen()),
            witnessed=MappingProxyType({d: MappingProxyType(dict(c)) for d, c in self._witnessed.items()}),
            passed=MappingProxyType({d: MappingProxyType(dict(c)) for d, c in self._went_by.items()}),
            omitted=self.omitted,
        )

    def _seen(self) -> dict[str, int]:
        seen: Counter[str] = Counter()
        for variant, count in self._variants.items():
            for function in self._functions.get(variant, ()):
                seen[function] += count
        return dict(seen)

    def copy(self) -> Aggregates:
        """The same counts, to be counted on apart from these: a place to come back to."""
        other = copy(self)
        other._paths = {key: path.copy() for key, path in self._paths.items()}
        other._drops = {key: tally.copy() for key, tally in self._drops.items()}
        other._findings = {key: tally.copy() for key, tally in self._findings.items()}
        other._recent = self._recent.copy()
        other._verdicts = {document: counts.copy() for document, counts in self._verdicts.items()}
        other._variants = self._variants.copy()
        other._witnessed = {document: counts.copy() for document, counts in self._witnessed.items()}
        other._went_by = {document: counts.copy() for document, counts in self._went_by.items()}
        other._rate = self._rate.copy()
        return other


def worst_first(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    """Verdicts with their counts, the one that wants attention most first."""
    return tuple((verdict, counts[verdict]) for verdict in WORST_FIRST if counts[verdict])
