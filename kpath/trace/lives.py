"""Lives and journeys: which frames belong to one packet.

A *life* is one buffer from its first sight to its end: ``(skb address, birth)``. A *journey* is one packet: lives that
clones, fragments, segments, reassembly, GRO and wires tie together. A buffer that TCP keeps in order to send it again
is no packet: each transmission of it is a journey of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from kpath.capture.schema import Class, Flag
from kpath.trace.frames import Drop, Event, Frame

WIRE_NS = 2_000_000_000
"""How long (ns) a packet may be on a wire between two devices of this machine."""
REASSEMBLY_NS = 30_000_000_000
"""How long (ns) fragments wait for each other (net.ipv4.ipfrag_time)."""

MANY_LIVES = 50_000
"""More open lives than this, and those that were silent for long are forgotten."""

SOCKET_QUEUES = frozenset({
    "tcp_queue_rcv", "__udp_enqueue_schedule_skb", "__sock_queue_rcv_skb", "sock_queue_rcv_skb",
    "sock_queue_rcv_skb_reason", "tcp_data_queue",
})  # fmt: skip
"""Functions that put a packet into a socket's queue: from there on it is the application's.

A segment that came before its turn goes through no tcp_queue_rcv: tcp_data_queue keeps it in the socket's other queue
(net/ipv4/tcp_input.c:tcp_data_queue_ofo), or lets go of it, which is seen. Once it was read its buffer may wait long
for the CPU that made it (net/core/skbuff.c:skb_attempt_defer_free, 5.19), so its end says nothing of when.
"""

NO_LOSS = frozenset({
    "skb_release_data", "sk_stream_kill_queues", "inet_sock_destruct", "skb_queue_purge", "__skb_queue_purge",
    "skb_queue_purge_reason", "tcp_write_queue_purge", "xfrm_output_gso",
})  # fmt: skip
"""Who lets go of buffers whose packets were not lost by that; xfrm_output_gso has cut it into segments, which go on."""

_ON_THE_WAY = frozenset({Class.ORIGIN, Class.IP, Class.HOOK, Class.NEIGHBOUR})
"""What a packet in an application's hands never meets again: its address was freed unseen and is used again."""


@dataclass(eq=False, slots=True)
class Life:
    """One buffer, from first sight to its end. ``source`` is what it was made from by a copy."""

    skb: int
    birth: int
    frames: list[Frame] = field(default_factory=list)
    header: Event | None = None
    source: Life | None = None
    made_by: Frame | None = None
    copies: int = 0
    transmission: int = 0
    drop: Drop | None = None
    ended: bool = False
    queued: bool = False
    merged: bool = False
    validated: tuple[int, int] | None = None
    journey: Journey | None = None

    @property
    def last(self) -> int:
        """Time of its last event, ns."""
        return self.frames[-1].time if self.frames else self.birth

    @property
    def derived(self) -> bool:
        """Did this life begin inside another one of the same journey (clone, fragment, segment)?"""
        return self.source is not None and self.source.journey is self.journey


@dataclass(eq=False, slots=True)
class Journey:
    """One packet: all its lives. ``number`` counts journeys in the order of first sight."""

    number: int
    lives: list[Life] = field(default_factory=list)
    last: int = 0

    @property
    def first(self) -> int:
        """Time of first sight, ns."""
        return min(life.frames[0].time for life in self.lives if life.frames)

    @property
    def header(self) -> Event | None:
        """The first event that shows the packet's header, None if there is none."""
        shown = [life.header for life in self.lives if life.header is not None]
        return min(shown, key=lambda e: e.time) if shown else None

    @property
    def settled(self) -> bool:
        """Is each buffer at its end, or in the hands of an application?"""
        return all(life.ended or life.queued for life in self.lives)

    def wanted(self, *, arp: bool) -> bool:
        """Is this a packet that the user asked for? What merely shared a stack with one comes up unmatched."""
        header = self.header
        if header is None or (header.arp_op and not arp):
            return False
        return any(frame.event.flags & Flag.MATCHED for frame in self.frames())

    def let_go(self) -> None:
        """Cut a journey that has been dealt with off from its frames.

        Packets that shared a poll or a system call hold on to each other by its tree, and these to those before: in the
        end the first packet would be kept for the last. What is still asked of a finished life is its last event.
        """
        for life in self.lives:
            life.frames = [replace(last, parent=None, children=[], life=None) for last in life.frames[-1:]]
            life.source = life.made_by = None
        self.lives = []

    def frames(self) -> Iterator[Frame]:
        """Frames of all lives, not in the order of time."""
        for life in self.lives:
            yield from life.frames


def _wire_keys(e: Event) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What tells a packet on a wire: with its transport header, and without, for drivers that leave that in a page."""
    short = (e.saddr, e.daddr, e.proto, e.ip_id, e.frag_off & 0x3FFF)
    return (*short, e.sport, e.dport, e.l4), short


class Lives:
    """Sorts frames into lives and lives into journeys."""

    def __init__(self) -> None:
        self.current: dict[int, Life] = {}
        self.journeys: dict[int, Journey] = {}
        self._next = 1
        self._wire: dict[tuple[int, ...], deque[tuple[Event, Life]]] = {}
        self._fragments: dict[tuple[int, ...], tuple[int, Life]] = {}

    def frame(self, frame: Frame) -> Life | None:
        """Note a frame with a packet; returns its life."""
        event = frame.event
        life = self.life(event)
        if life is None:
            return None
        frame.life = life
        life.frames.append(frame)
        if frame.cls is Class.COPY:
            self._copied(life, frame)
        elif frame.cls is Class.MERGE:
            self._merged(life, event)
        elif life.header is None and (event.flags & Flag.HEADER or event.arp_op) and frame.cls is not Class.ORIGIN:
            self._first_header(life, frame)
        if frame.name == "ip_defrag" and event.flags & Flag.HEADER:
            self._reassembled(life, event)
        elif frame.name in ("validate_xmit_skb", "dev_hard_start_xmit") and event.flags & Flag.HEADER:
            self._sent(life, frame)
        elif frame.name in SOCKET_QUEUES:
            life.queued = True
        elif frame.cls is Class.END:
            life.ended = True
            if self.current.get(event.skb) is life:
                del self.current[event.skb]
        if life.journey is not None:
            life.journey.last = event.time
        return life

    def drop(self, event: Event, reason: str, by: str = "") -> Life | None:
        """Note that the kernel dropped this packet, for a reason (its name or ""), in a function; returns its life."""
        life = self.life(event)
        if life is None:
            return None
        life.drop = Drop(event, reason, event.caller, by)
        if life.header is None and event.flags & Flag.HEADER:
            life.header = event
            self._ensure_journey(life)
        if life.frames and by not in NO_LOSS:
            life.frames[-1].drop = life.drop
        if life.journey is not None:
            life.journey.last = event.time
        return life

    def life(self, event: Event) -> Life | None:
        """The life that an event belongs to; begins it if it is new."""
        if not event.skb:
            return None
        life = self.current.get(event.skb)
        if (
            life is None
            or (life.birth != event.birth and event.birth)
            or (life.queued and event.cls in _ON_THE_WAY)
        ):
            life = self.current[event.skb] = Life(event.skb, event.birth)
        return life

    def other(self, event: Event) -> Life | None:
        """The life of the second buffer of a copy or a merge, None when it is not known."""
        return self.current.get(event.other)

    # ---- links ----

    def _ensure_journey(self, life: Life) -> Journey:
        if life.journey is None:
            journey = life.journey = Journey(self._next, [life], life.frames[-1].time if life.frames else 0)
            self.journeys[journey.number] = journey
            self._next += 1
        return life.journey

    def join(self, one: Life, other: Life) -> None:
        """Two buffers are one packet."""
        keep, gone = self._ensure_journey(one), self._ensure_journey(other)
        if keep is gone:
            return
        if keep.number > gone.number:
            keep, gone = gone, keep
        for life in gone.lives:
            life.journey = keep
        keep.lives += gone.lives
        gone.lives = []
        keep.last = max(keep.last, gone.last)
        self.journeys.pop(gone.number, None)

    def _copied(self, life: Life, frame: Frame) -> None:
        event = frame.event
        original = self.other(event)
        if original is None or (event.arg and original.birth != event.arg):
            return
        original.copies += 1
        if original.header is not None:
            if life.source is None:
                life.source, life.made_by = original, frame
            self.join(original, life)
        elif life.source is None:
            # A buffer without a header that is copied is TCP's own: the copy is the packet.
            life.source, life.made_by, life.transmission = original, frame, original.copies

    def _merged(self, life: Life, event: Event) -> None:
        into = self.other(event)
        life.merged = True
        if into is not None:
            self.join(into, life)

    def _first_header(self, life: Life, frame: Frame) -> None:
        life.header = frame.event
        self._ensure_journey(life)
        if life.source is not None and life.source.header is not None:
            self.join(life.source, life)
            return
        for ancestor in frame.ancestors():
            if ancestor.name == "ip_do_fragment" and ancestor.life is not None and ancestor.life is not life:
                life.source, life.made_by = ancestor.life, ancestor
                self.join(ancestor.life, life)
                return
        self._from_wire(life, frame)

    def _sent(self, life: Life, frame: Frame) -> None:
        """On its way to a wire. A queue hands packets to the driver as a list, whose first alone is seen there."""
        event = frame.event
        again = frame.name == "dev_hard_start_xmit" and life.validated == (event.netns, event.ifindex)
        life.validated = None if frame.name == "dev_hard_start_xmit" else (event.netns, event.ifindex)
        if not again:
            for key in _wire_keys(event):
                self._wire.setdefault(key, deque(maxlen=64)).append((event, life))

    def _from_wire(self, life: Life, frame: Frame) -> None:
        """Sent by one of this machine's devices, received by another: the same packet in another buffer."""
        e = frame.event
        full, short = _wire_keys(e)
        waiting = self._wire.get(full if any(full[len(short) :]) else short)
        while waiting:
            sent, sender = waiting.popleft()
            if sender is life or sender.journey is life.journey or e.time - sent.time > WIRE_NS:
                continue
            if e.time >= sent.time and (sent.netns, sent.ifindex) != (e.netns, e.ifindex):
                self.join(sender, life)
            else:
                waiting.appendleft((sent, sender))
            return

    def _reassembled(self, life: Life, e: Event) -> None:
        key = (e.netns, e.saddr, e.daddr, e.proto, e.ip_id)
        known = self._fragments.get(key)
        if known and e.time - known[0] < REASSEMBLY_NS and known[1].journey is not None:
            self.join(known[1], life)
        else:
            self._fragments[key] = (e.time, life)

    # ---- the end ----

    def finished(self, now: int, linger: int, idle: int) -> list[Journey]:
        """Takes out the journeys that are settled for ``linger`` ns or silent for ``idle`` ns; oldest first."""
        done = [j for j in self.journeys.values() if now - j.last > (linger if j.settled else idle)]
        for journey in done:
            del self.journeys[journey.number]
        if done:
            self._forget_old(now)
        return sorted(done, key=lambda j: j.number)

    def _forget_old(self, now: int) -> None:
        for key in [k for k, q in self._wire.items() if not q or now - q[-1][0].time > WIRE_NS]:
            del self._wire[key]
        for fragment in [k for k, (t, _) in self._fragments.items() if now - t > REASSEMBLY_NS]:
            del self._fragments[fragment]
        if len(self.current) > MANY_LIVES:
            # Buffers in sockets, and those whose end was missed: what was silent for long is let go of.
            for skb in [k for k, life in self.current.items() if now - life.last > REASSEMBLY_NS]:
                del self.current[skb]
