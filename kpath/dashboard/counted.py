"""Paths that the kernel counts: what is known of each, and how they go into the dashboard's counts.

The kernel's counters begin anew with each capture; here they go on, for the view may go from one mode to the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kpath.capture.looks import Account, Look, Told
from kpath.capture.tables import Facts, Loss
from kpath.dashboard import signature
from kpath.dashboard.aggregate import EXAMPLES, Aggregates, Rate
from kpath.dashboard.digest import Packet, Pass, began, digest, endpoints
from kpath.dashboard.referee import Opinions
from kpath.dashboard.snapshot import Counting
from kpath.model.check import Checker
from kpath.model.counted import Shown, show
from kpath.report.counted import Row, json_of, quantile
from kpath.trace.knowledge import Knowledge

TRIES = 4
"""Records of one path that are judged until one is seen with nothing missed meanwhile."""
SAMPLES = 2
"""Further packets of one path that are taken from one look, so that a flood's samples take no more than their share."""
LATEST = 200
"""Sampled packets in the list of packets."""


@dataclass(slots=True)
class Path:
    """One path: counts up to now, and the record that stands for all of it."""

    shown: Shown | None = None
    words: tuple[str, ...] = ()
    tries: int = 0
    cut: bool = False
    hidden: bool = False
    """Of ARP, which nobody asked for."""
    count: int = 0
    rate: float = 0.0
    """Packets a second, between the last two looks."""
    buckets: Any = 0
    """As in :data:`kpath.capture.paths.PATH`."""
    last: int = 0
    rates: Rate = field(default_factory=Rate)
    packets: deque[Packet] = field(default_factory=lambda: deque(maxlen=EXAMPLES))
    slowest: Packet | None = None
    variants: tuple[int, ...] = ()
    """Numbers of the exact paths of its passes; those of events count up from 1, these down from -1."""
    functions: tuple[tuple[str, ...], ...] = ()
    """Of each pass."""
    before: tuple[int, Any] = (0, 0)
    """Count and buckets of earlier captures."""
    unjudged: tuple[Told, Sequence[Loss]] | None = None
    """The record, and what was missed, as long as there is no checker."""


class Counted:
    """Takes in looks. ``digests``: keep packets of each path as the dashboard shows them. ``arp``: show ARP, too."""

    def __init__(self, checker: Checker | None, *, digests: bool = False, arp: bool = False) -> None:
        self.checker = checker
        self.knowledge = Knowledge(packets_only=True)
        self.paths: dict[int, Path] = {}
        self.last: Look | None = None
        self.latest: deque[Packet] = deque(maxlen=LATEST)
        self._opinions = Opinions(checker) if checker and digests else None
        self._digests, self._arp = digests, arp
        self._number = self._variant = 0
        self._rate = Rate()
        self._before = _Past()

    def take(self, look: Look) -> list[int]:
        """Take in a look; returns the paths that were judged anew."""
        for chunk in look.tables:
            if isinstance(chunk, Facts):
                self.knowledge.add_facts(chunk.values)
            else:
                self.knowledge.add(chunk)
        judged = []
        sampled: dict[int, int] = {}
        for told in look.records:
            if self._judge(told, look):
                judged.append(told.path)
            elif self._digests and told.timed and sampled.get(told.path, 0) < SAMPLES:
                sampled[told.path] = sampled.get(told.path, 0) + 1
                self._sample(told, look)
        before = self.last.account.counted + self.last.account.unlisted if self.last else 0
        since = self.last.when if self.last else look.when
        self._rate.spread(since, look.when, look.account.counted + look.account.unlisted - before)
        seconds = (look.when - since) / 1e9
        for row in look.paths:
            path = self.paths.setdefault(int(row["hash"]), Path())
            count = path.before[0] + int(row["count"])
            path.rate = (count - path.count) / seconds if seconds else 0.0
            if count == path.count:
                continue
            path.rates.spread(since, look.when, count - path.count)
            path.count, path.buckets = count, path.before[1] + row["buckets"].astype(np.int64)
            path.last = max(path.last, int(row["last"]))
        self.last = look
        return judged

    def close(self) -> None:
        """The capture is over; another one may come, whose counters begin with 0."""
        if self.last is None:
            return
        for path in self.paths.values():
            path.before, path.rate = (path.count, path.buckets), 0.0
        self._before = self._before.and_then(self.last)
        self.last = None

    def resume(self, number: int) -> None:
        """Another capture begins. Packets with numbers up to this one are known already."""
        self._number = max(self._number, number)

    def judge_by(self, checker: Checker) -> None:
        """From now on there is this checker; what came without one is judged now."""
        if checker is self.checker:
            return
        self.checker = checker
        self._opinions = Opinions(checker) if self._digests else None
        for path in self.paths.values():
            if path.unjudged is not None:
                (told, losses), path.unjudged = path.unjudged, None
                self._show(told, path, losses, again=bool(path.packets))

    @property
    def number(self) -> int:
        """The highest number of a packet so far."""
        return self._number

    def _judge(self, told: Told, look: Look) -> bool:
        path = self.paths.setdefault(told.path, Path())
        settled = path.shown is not None and not path.shown.losses
        if settled or path.tries >= TRIES:
            return False
        path.tries += 1
        path.unjudged = (told, look.losses) if self.checker is None and self._digests else None
        return self._show(told, path, look.losses)

    def _show(self, told: Told, path: Path, losses: Sequence[Loss], again: bool = False) -> bool:
        found = show(told.events, told.skb, told.timed, self.knowledge, self.checker, losses, told.cut)
        if found is None:
            return False
        header = found.journey.header
        path.shown, path.cut = found, told.cut
        path.hidden = header is not None and bool(header.arp_op) and not self._arp
        path.words = tuple(signature.in_words(t, self.knowledge) for t, _ in found.passes)
        if self._digests and found.passes and not path.hidden:
            path.functions = tuple(
                tuple({node.frame.name for _, node in signature.walk(t.roots)}) for t, _ in found.passes
            )
            if len(path.variants) != len(found.passes):
                path.variants = tuple(self._variant - n - 1 for n in range(len(found.passes)))
                self._variant -= len(found.passes)
            packet = self._packet(told, found, path, None)
            self._judge_again(path, packet)
            if not again:
                self._keep(told, path, packet)
        return True

    def _judge_again(self, path: Path, like: Packet) -> None:
        """What was said of the path before, without a checker or where something was missed, is said no more."""

        def again(old: Packet) -> Packet:
            if [one.variant for one in old.passes] != [one.variant for one in like.passes]:
                return old
            pairs = zip(old.passes, like.passes, strict=True)
            passes = tuple(replace(one, opinions=new.opinions, judged=new.judged) for one, new in pairs)
            return replace(old, passes=passes)

        for kept in (path.packets, self.latest):
            for at, packet in enumerate(kept):
                kept[at] = again(packet)
        path.slowest = again(path.slowest) if path.slowest is not None else None

    def _sample(self, told: Told, look: Look) -> None:
        """Another packet of a path that is judged: its times are its own, what documents say is said of the path."""
        path = self.paths[told.path]
        if not path.packets or told.cut != path.cut:
            return
        found = show(told.events, told.skb, True, self.knowledge, None, look.losses)
        like = path.packets[-1]
        if found is not None and len(found.passes) == len(like.passes):
            self._keep(told, path, self._packet(told, found, path, like))

    def _keep(self, told: Told, path: Path, packet: Packet) -> None:
        if told.timed and path.packets and not path.packets[-1].timed:
            path.packets.clear()
        path.packets.append(packet)
        self.latest.append(packet)
        if told.timed and (path.slowest is None or packet.last - packet.begin > path.slowest.last - path.slowest.begin):
            path.slowest = packet

    def _packet(self, told: Told, shown: Shown, path: Path, like: Packet | None) -> Packet:
        self._number += 1
        passes: list[Pass] = []
        times: list[int] = []
        begin = began([t for t, _ in shown.passes])
        for number, (traversal, judged) in enumerate(shown.passes):
            opinions = like.passes[number].opinions if like else None
            if like is None and self._opinions is not None:
                opinions = tuple(self._opinions.of(traversal, judged))
            first = traversal.frames[0].time
            before = max((t for t in times if t <= first), default=begin)
            passes.append(
                digest(traversal, self.knowledge, begin, before, path.variants[number], opinions, timed=told.timed)
            )
            times += [frame.time for frame in traversal.frames]
        words = endpoints(shown.journey)
        return Packet(self._number, words, 0, told.begin, told.last, tuple(passes), timed=told.timed)

    # ---- what is shown ----

    @property
    def arp(self) -> int:
        """ARP packets that were counted, and are not shown."""
        return sum(path.count for path in self.paths.values() if path.hidden)

    def rows(self) -> list[Row]:
        """For a table of text, and for a file."""
        found = []
        for number, path in list(self.paths.items()):  # a file is written by another thread
            if not path.count or path.hidden:
                continue
            judged = [judgements for _, judgements in path.shown.passes] if path.shown and self.checker else []
            remark = "" if path.shown else "(its hops have not come up)"
            if path.cut:
                remark = "(more hops than are kept)"
            quantiles = quantile(path.buckets, 0.5), quantile(path.buckets, 0.99)
            found.append(Row(number, path.words, path.count, path.rate, *quantiles, judged, remark))
        return found

    def as_json(self) -> list[Mapping[str, object]]:
        """The same as JSON objects, the commonest path first."""
        return [json_of(row) for row in sorted(self.rows(), key=lambda row: -row.count)]

    def fold(self, into: Aggregates) -> None:
        """Add all that was counted so far to counts that are made anew for each snapshot."""
        for path in self.paths.values():
            if not path.count or not path.packets:
                continue
            for variant, functions in zip(path.variants, path.functions, strict=True):
                into.learn(variant, functions)
            into.fold_counted(
                path.packets, path.slowest, path.count, path.last, path.rates, middles(path.buckets)
            )
        account = self.counting()
        into.add_counted(account.packets + account.unlisted, self._rate, self.latest)

    def counting(self) -> Counting:
        """The account, over all captures of this mode."""
        look = self.last
        past = self._before.and_then(look) if look else self._before
        unknown = sum(path.count for path in self.paths.values() if not (path.packets or path.hidden))
        a = look.account if look else None
        return Counting(
            packets=past.counted - self.arp,
            arp=self.arp,
            unlisted=past.unlisted,
            transient=past.transient,
            passed=past.passed,
            cut=past.cut,
            no_room=past.no_packet,
            unknown=unknown,
            missed=past.missed,
            under_way=max(0, a.born - a.ended) if a else 0,
            paths=sum(path.count > 0 and not path.hidden for path in self.paths.values()),
            governed=look.governed if look else None,
        )


@dataclass(frozen=True, slots=True)
class _Past:
    """Sums over captures."""

    counted: int = 0
    unlisted: int = 0
    transient: int = 0
    passed: int = 0
    cut: int = 0
    no_packet: int = 0
    missed: int = 0

    def and_then(self, look: Look) -> _Past:
        account: Account = look.account
        names = ("counted", "unlisted", "transient", "passed", "cut", "no_packet")
        more = {name: getattr(self, name) + getattr(account, name) for name in names}
        return _Past(**more, missed=self.missed + sum(sum(loss.missed.values()) for loss in look.losses))


def middles(buckets: Any) -> Sequence[tuple[int, int]]:
    """What the kernel's buckets hold: a duration in the middle of each (ns), and how many packets took about that."""
    return [(_middle(int(at)), int(buckets[at])) for at in np.flatnonzero(buckets)]


def _middle(at: int) -> int:
    log, half = divmod(at, 2)
    return round((1 << log) * (1.25 + half / 2))
