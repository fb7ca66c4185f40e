"""Chunks of a capture become digested packets: assembled, named, judged. Runs in the aggregating thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from kpath.capture.tables import Facts, Footer
from kpath.dashboard import signature
from kpath.dashboard.digest import Packet, Pass, began, digest, packet
from kpath.dashboard.judge import Judge, JudgeMaker, Opinion
from kpath.trace.assemble import Assembler
from kpath.trace.lives import Journey
from kpath.trace.traversal import Traversal, traversals

MAX_VARIANTS = 20_000
"""Exact paths told apart; all others count as one more."""
SAMPLE = 16
"""When busy, one in so many packets of a known path keeps its steps and is judged."""

FULL, BUSY = 0, 1
"""How much is done for a packet: everything; or words and counts, with details of new paths and of a sample."""


class Observer(Protocol):
    """Whoever counts along, for another purpose than the view; called by the aggregating thread."""

    def packet(self, traversals: Sequence[Traversal], verdicts: Sequence[tuple[str, str]]) -> None:
        """A packet has come to its end. ``verdicts`` are (document, verdict), for each pass that was judged."""
        ...

    def skipped(self) -> None:
        """A packet was only counted, because there were too many."""
        ...


class Pipeline:
    """One capture's way from chunks to packets.

    ``arp``: ARP packets are shown as packets of their own. ``effort`` may be set at any time. ``observe`` is told of
    each packet. Journeys without a
    header, and those that did not match the filter, are left out as in ``kpath watch``.
    """

    def __init__(
        self, judge_maker: JudgeMaker | None = None, *, arp: bool = False, observe: Observer | None = None
    ) -> None:
        self.observe = observe
        self.assembler = Assembler()
        self.judge: Judge | None = judge_maker(self.assembler) if judge_maker else None
        self.effort = FULL
        self.footer: Footer | None = None
        self.probes: tuple[int, int] | None = None
        """How many planned functions are attached and silent, as told last: modules may be loaded meanwhile."""
        self.learned: dict[int, tuple[str, ...]] = {}
        """Functions of each exact path, by its number."""
        self.number = 0
        """The highest number of a packet so far."""
        self._judge_maker = judge_maker
        self._arp = arp
        self._offset = 0
        self._past = Counter[str]()
        self._variants: dict[tuple[object, ...], int] = {}
        self._turn = 0

    def renew(self, number: int, judge_maker: JudgeMaker | None = None) -> None:
        """The capture is over, and what comes next is of another one, whose packets get numbers from here on."""
        self._past = Counter(lost=self.lost, missed=self.missed, full=self.full, events=self.events)
        self.footer = None
        self.assembler = Assembler()
        self._judge_maker = self._judge_maker or judge_maker
        self.judge = self._judge_maker(self.assembler) if self._judge_maker else None
        self._offset = self.number = max(self.number, number)

    @property
    def events(self) -> int:
        """Events so far."""
        return self._past["events"] + self.assembler.events

    def take(self, chunk: object) -> list[Journey]:
        """Feed one chunk; returns the journeys that are finished now and are to be shown."""
        if isinstance(chunk, Footer):
            self.footer = chunk
        elif isinstance(chunk, Facts):
            self.learn(chunk)
        return self._wanted(self.assembler.feed(chunk))

    def learn(self, chunk: Facts) -> None:
        """How many functions are probed."""
        if isinstance(states := chunk.values.get("probe_states"), Mapping):
            counts = {state: count for state, count in states.items() if isinstance(count, int)}
            attached = counts.pop("attached", 0)
            self.probes = attached, sum(counts.values())

    def tick(self, now: int) -> list[Journey]:
        """The clock (CLOCK_MONOTONIC, ns) went on."""
        return self._wanted(self.assembler.tick(now))

    def flush(self) -> list[Journey]:
        """The stream is over."""
        return self._wanted(self.assembler.flush())

    def packets(self, journeys: Iterable[Journey]) -> Iterator[Packet]:
        """Digests, one by one, so that whoever asks can stop."""
        for journey in journeys:
            yield self.packet(journey)

    def packet(self, journey: Journey) -> Packet:
        """The digest of one journey, which is then let go: what it was made of would keep all before it."""
        know = self.assembler.knowledge
        passes = traversals(journey)
        begin = began(passes)
        numbers = [self._variant(one) for one in passes]
        self._turn += 1
        whole = self.effort == FULL or self._turn % SAMPLE == 0 or any(new for _, new in numbers)
        digests: list[Pass] = []
        times: list[int] = []
        for one, (number, _) in zip(passes, numbers, strict=True):
            # Passes may overlap: a copy is delivered while the original goes on.
            first = one.frames[0].time
            before = max((t for t in times if t <= first), default=begin)
            opinions = self._opinions(one) if whole else None
            digests.append(digest(one, know, begin, before, number, opinions, steps=whole))
            times += [frame.time for frame in one.frames]
        if self.observe is not None:
            self.observe.packet(passes, [(o.document, o.verdict) for one in digests for o in one.opinions])
        found = packet(journey, digests, begin, passes[0].cause, self._offset)
        self.number = max(self.number, found.number)
        journey.let_go()
        return found

    @property
    def lost(self) -> int:
        """Events lost so far: what the kernel side tells, or, where it has not told yet, the holes in the numbers."""
        told = sum(sum(loss.lost.values()) for loss in self.assembler.losses)
        found = sum(sum(gap.lost.values()) for gap in self.assembler.gaps)
        final = sum(self.footer.lost.values()) if self.footer else 0
        return self._past["lost"] + max(told, found, final)

    @property
    def missed(self) -> int:
        """Hits so far at which a probe did not run."""
        told = sum(sum(loss.missed.values()) for loss in self.assembler.losses)
        return self._past["missed"] + max(told, sum(self.footer.missed.values()) if self.footer else 0)

    @property
    def full(self) -> int:
        """Packets and stacks so far for which the kernel side's tables had no room."""
        told = sum(sum(loss.tables.values()) for loss in self.assembler.losses)
        return self._past["full"] + max(told, sum(self.footer.tables.values()) if self.footer else 0)

    def _wanted(self, journeys: Iterable[Journey]) -> list[Journey]:
        return [journey for journey in journeys if journey.wanted(arp=self._arp)]

    def _variant(self, one: Traversal) -> tuple[int, bool]:
        """The number of the exact path, and whether it is new."""
        path = signature.exact(one, self.assembler.knowledge)
        known = self._variants.get(path)
        if known is not None:
            return known, False
        if len(self._variants) >= MAX_VARIANTS:
            return 0, False
        number = self._variants[path] = len(self._variants) + 1
        self.learned[number] = tuple({node.frame.name for _, node in signature.walk(one.roots)})
        return number, True

    def _opinions(self, one: Traversal) -> list[Opinion] | None:
        return list(self.judge.judge(one)) if self.judge is not None else None
