"""Journeys are cut into traversals: one pass each through the stack of one network namespace.

A traversal begins where a device, a tunnel or a queue hands the packet to the stack, or where the packet is made, and
ends where it leaves: delivered, sent, dropped, merged. Its tree holds the packet's own frames, the frames around them
(polls, system calls, TCP's functions without a packet) and what they called on the packet's behalf.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kpath.capture.schema import Class, Flag
from kpath.trace.frames import Drop, Event, Frame
from kpath.trace.lives import NO_LOSS, SOCKET_QUEUES, Journey, Life

ENTRANCES = frozenset({
    "netif_rx", "__netif_rx", "netif_rx_internal", "enqueue_to_backlog", "netif_receive_skb", "__netif_receive_skb",
    "__netif_receive_skb_one_core", "napi_gro_receive", "gro_receive_skb", "dev_gro_receive", "ip_rcv", "ip_rcv_core",
    "gro_cells_receive",
})  # fmt: skip
"""Functions at which a packet that has left the stack enters it again."""

DRIVERS = frozenset({"veth_xmit", "loopback_xmit", "tun_net_xmit", "e1000_xmit_frame", "start_xmit"})
"""What a generic XDP program redirects goes to the driver at once (net/core/dev.c:generic_xdp_tx)."""
EXITS = DRIVERS | {"dev_hard_start_xmit", "gro_cells_receive", "dev_loopback_xmit", "ip_mc_finish_output"}
"""Functions after which an entrance is a new traversal."""

MAKERS = frozenset({
    "icmp_reply", "__icmp_send", "icmp_send", "tcp_v4_send_reset", "ip_send_unicast_reply", "arp_solicit",
    "arp_process", "tcp_conn_request", "ip_rt_send_redirect", "tcp_v4_conn_request",
})  # fmt: skip
"""Functions that have one packet as their argument and make another: they stand in the trees of both."""

HANDLERS = frozenset({
    "tcp_v4_rcv", "udp_rcv", "icmp_rcv", "igmp_rcv", "raw_rcv", "xfrm4_esp_rcv", "xfrm4_ah_rcv", "xfrm4_ipcomp_rcv",
    "gre_rcv", "ipip_rcv", "tunnel4_rcv", "arp_rcv",
})  # fmt: skip
"""Protocol handlers: who a delivered packet is delivered to."""

UNSEEN = "a frame's caller was not seen (event lost, or a probe missed it)"
"""Why a traversal is partial."""


@dataclass(frozen=True, slots=True)
class End:
    """How a traversal ended.

    ``how`` is delivered, sent, dropped, merged, handed on (to another traversal on the way, such as IPsec's second
    round), copied away, freed, or open (it goes on after what was seen). ``where`` is a protocol handler, a device's
    ifindex as text, or who freed it; ``reason`` the kernel's name of the drop reason ("" where it has none); ``place``
    the address that dropped it.
    """

    how: str
    where: str = ""
    reason: str = ""
    place: int = 0


@dataclass(eq=False, slots=True)
class Node:
    """A frame in the tree of one traversal. ``own``: it has the traversal's packet; else it stands around it."""

    frame: Frame
    own: bool
    children: list[Node] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Traversal:
    """One pass of one packet through one namespace's stack."""

    journey: Journey
    life: Life
    frames: list[Frame]
    roots: list[Node] = field(default_factory=list)
    end: End = End("open")
    partial: list[str] = field(default_factory=list)
    passed_over: bool = False
    """Others, which are not followed, were handled within its frames: what was called for this one is not known."""
    cause: Journey | None = None

    @property
    def netns(self) -> int:
        """Inode number of the network namespace; 0 if no frame tells."""
        return next((int(f.event.netns) for f in self.frames if f.event.netns), 0)

    @property
    def entered(self) -> bool:
        """Did it come in from a device (or was it made here)?"""
        return self.frames[0].name in ENTRANCES or any(f.name == "ip_rcv" for f in self.frames[:12])

    @property
    def direction(self) -> str:
        """receive, forward or output."""
        names = {f.name for f in self.frames}
        if not self.entered:
            return "output"
        return "forward" if names & {"ip_forward", "ip_mr_input", "br_forward", "br_flood"} else "receive"

    @property
    def device_in(self) -> int:
        """ifindex of the device it came in by, 0 for a local packet."""
        if not self.entered:
            return 0
        return next((int(f.event.ifindex) for f in self.frames if f.event.ifindex), 0)

    @property
    def device_out(self) -> int:
        """ifindex of the device it left by, 0 if it did not."""
        sent = [f for f in self.frames if f.name == "dev_hard_start_xmit"]
        if not sent and self.end.how == "sent":
            return int(self.end.where)
        return int(sent[-1].event.ifindex) if sent else 0

    @property
    def header(self) -> Event | None:
        """The first event of this traversal that shows the header."""
        return next((f.event for f in self.frames if f.event.saddr or f.event.daddr), None)


def traversals(journey: Journey) -> list[Traversal]:
    """The traversals of a journey in the order of time, each with its tree."""
    found: list[Traversal] = []
    home: dict[int, Traversal] = {}  # frame index -> traversal
    again: list[tuple[Life, list[Frame]]] = []
    for life in sorted(journey.lives, key=lambda life: life.frames[0].index if life.frames else 0):
        for number, segment in enumerate(_segments(life)):
            if number and segment[0].cls is Class.COPY:
                again.append((life, segment))
                continue
            made_in = _home_of_source(life, segment[0], home) if life.derived and not number else None
            _settle(journey, life, segment, made_in, found, home)
    for life, segment in again:  # whose original may have begun after them
        _settle(journey, life, segment, _home_of_original(journey, segment[0], home), found, home)
    for traversal in found:
        traversal.frames.sort(key=lambda f: f.index)
        _build_tree(traversal, home)
        traversal.end = _end(traversal)
        _judge_completeness(traversal)
    return sorted(found, key=lambda t: t.frames[0].index)


def _settle(
    journey: Journey,
    life: Life,
    segment: list[Frame],
    made_in: Traversal | None,
    found: list[Traversal],
    home: dict[int, Traversal],
) -> None:
    """A segment becomes part of the traversal that it was made in, or one of its own."""
    if made_in is not None:
        made_in.frames += segment
        traversal = made_in
    else:
        traversal = Traversal(journey, life, list(segment))
        found.append(traversal)
    home.update((frame.index, traversal) for frame in segment)


def _home_of_source(life: Life, first: Frame, home: dict[int, Traversal]) -> Traversal | None:
    """The traversal in which this buffer was made: where its source was at that time."""
    if life.made_by is not None and life.made_by.index in home:
        return home[life.made_by.index]
    if life.source is None:
        return None
    before = (f for f in reversed(life.source.frames) if f.index < first.index)
    return next((home[f.index] for f in before if f.index in home), None)


def _home_of_original(journey: Journey, first: Frame, home: dict[int, Traversal]) -> Traversal | None:
    """The traversal of the packet whose fragment a buffer becomes that was a fragment before (_reused)."""
    if first.cls is not Class.COPY:
        return None
    originals = (life for life in journey.lives if life.skb == first.event.other)
    frames = (f for life in originals for f in life.frames if f.index < first.index and f.index in home)
    last = max(frames, key=lambda f: f.index, default=None)
    return None if last is None else home[last.index]


def _reused(frame: Frame, current: list[Frame]) -> bool:
    """Does a buffer that waited in the list of a reassembled packet go out again as a fragment of that?

    ip_do_fragment takes the buffers of the list as they are when they have the right size (net/ipv4/ip_output.c).
    """
    return frame.name == "ip_copy_metadata" and bool(current)


def _segments(life: Life) -> list[list[Frame]]:
    segments: list[list[Frame]] = []
    current: list[Frame] = []
    left = False
    for frame in life.frames:
        if (left and frame.name in ENTRANCES) or _reused(frame, current):
            segments.append(current)
            current, left = [], False
        elif left and frame.cls in (Class.IP, Class.HOOK) and not any(f.name in EXITS for f in frame.ancestors()):
            # Handed to a tunnel device and back: goes on in the same pass (the outer header).
            left = False
        current.append(frame)
        left = left or frame.name in EXITS
    if current:
        segments.append(current)
    return segments


# ---- the tree ----


def _build_tree(traversal: Traversal, home: dict[int, Traversal]) -> None:
    own = {frame.index for frame in traversal.frames}
    included: dict[int, Frame] = {frame.index: frame for frame in traversal.frames}
    for frame in traversal.frames:
        _include_around(frame, traversal, home, included)
    for frame in list(included.values()):
        if frame.index in own:
            if frame.name in MAKERS and _made_another(frame, traversal.journey):
                continue  # what it called stands in the tree of the packet that it made
            for child in frame.children:
                if _pure(child):
                    included.update((f.index, f) for f in child.walk())
        elif not _passed_over(frame):  # else whose helpers they are is not known
            _include_helpers(frame, own, included)
    traversal.passed_over = any(map(_passed_over, included.values()))
    nodes = {index: Node(included[index], index in own) for index in sorted(included)}
    for index, node in nodes.items():
        parent = _parent_in(included[index], nodes)
        if parent is None:
            traversal.roots.append(node)
        else:
            parent.children.append(node)
    traversal.roots.sort(key=_first_own)


def _first_own(node: Node) -> int:
    """Index of the first frame of the packet itself in this tree: what is around it began long before it came."""
    waiting, own = [node], []
    for each in waiting:  # grows while it is read
        if each.own:
            own.append(each.frame.index)
        else:
            waiting += each.children
    return min(own, default=node.frame.index)


def _parent_in(frame: Frame, nodes: dict[int, Node]) -> Node | None:
    """The nearest ancestor that stands in this tree; none beyond a frame that belongs to another pass or packet."""
    for ancestor in frame.ancestors():
        if ancestor.index in nodes:
            return nodes[ancestor.index]
        if ancestor.life is not None and ancestor.life.journey is not None:
            return None
    return None


def _made_another(frame: Frame, journey: Journey) -> bool:
    return any(f.life is not None and f.life.journey not in (None, journey) for f in frame.walk())


def _include_around(
    frame: Frame, traversal: Traversal, home: dict[int, Traversal], included: dict[int, Frame]
) -> None:
    """The frames around: up to the bottom of the stack, or to where another packet (or pass) is handled."""
    made = False  # by a maker whose packet is not known (a compiler's clone without BTF: icmp_reply on 5.10)
    for ancestor in frame.ancestors():
        if ancestor.index in included:
            return
        other = ancestor.life
        if other is not None and other.journey is not None:
            if other.journey is not traversal.journey and (made or ancestor.name in MAKERS):
                if ancestor.name in MAKERS:
                    included[ancestor.index] = ancestor
                if frame is traversal.frames[0]:
                    traversal.cause = other.journey
            elif ancestor.index in home and ancestor.name in MAKERS:
                included[ancestor.index] = ancestor
            return
        made = made or ancestor.name in MAKERS
        included[ancestor.index] = ancestor


def _pure(frame: Frame) -> bool:
    """Is there no packet in this frame and all that it called?"""
    return frame.life is None and all(_pure(child) for child in frame.children)


def _passed_over(around: Frame) -> bool:
    """Were packets that are not followed handled in between, unseen?"""
    return bool(around.event.flags & Flag.CUT) or any(child.event.flags & Flag.CUT for child in around.children)


def _include_helpers(around: Frame, own: set[int], included: dict[int, Frame]) -> None:
    """What a frame around the packet called for it: the calls since the packet before, up to this packet's frames."""
    waiting: list[Frame] = []
    mine_before = False
    for child in around.children:
        if _pure(child):
            if child.index not in included:
                waiting.append(child)
            continue
        mine = any(f.index in own for f in child.walk()) or child.index in included
        if mine:
            for helper in waiting:
                included.update((f.index, f) for f in helper.walk())
        waiting = []
        mine_before = mine
    if mine_before:
        for helper in waiting:
            included.update((f.index, f) for f in helper.walk())


# ---- the end ----


def _end(traversal: Traversal) -> End:
    """The main buffer's end, or, when that is only a change of buffers, the end of what it became."""
    main = _end_of(traversal.life, traversal)
    others = [life for life in traversal.journey.lives if life is not traversal.life]
    others.sort(key=lambda life: life.frames[0].index if life.frames else 0)
    parts = [_end_of(life, traversal) for life in others if any(f.life is life for f in traversal.frames)]
    if main.how in ("merged", "copied away", "freed", "open"):
        return next((e for e in parts if e.how in ("delivered", "sent", "dropped")), main)
    if main.how == "dropped":
        # A raw socket got its copy, and nobody else wanted the packet: the kernel calls that a drop too.
        copy = next((e for e in parts if e.how == "delivered" and e.where == "raw_rcv"), None)
        if copy:
            return End("delivered", copy.where, main.reason, main.place)
    return main


def _end_of(life: Life, traversal: Traversal) -> End:
    frames = [f for f in traversal.frames if f.life is life]
    if not frames:
        return End("open")
    last_segment = life.frames[-1] is frames[-1]
    names = {f.name for f in frames}
    if last_segment and life.drop is not None and _is_loss(life, life.drop):
        return End("dropped", reason=life.drop.name, place=life.drop.place)
    if life.merged and any(f.cls is Class.MERGE for f in frames):
        return End("merged")
    if "dev_hard_start_xmit" in names:
        sent = next(f for f in reversed(frames) if f.name == "dev_hard_start_xmit")
        return End("sent", str(sent.event.ifindex))
    if names & DRIVERS:
        redirected = next(f for f in reversed(frames) if f.name in DRIVERS)
        return End("sent", str(redirected.event.ifindex))
    handler = next((f.name for f in reversed(frames) if f.name in HANDLERS), "")
    if names & _ANOTHER_PASS and not _delivered_since(frames):
        return End("handed on", handler)
    if handler and (life.ended or names & SOCKET_QUEUES or not last_segment):
        return End("delivered", handler)
    if names & SOCKET_QUEUES:
        return End("delivered", "packet_rcv")
    if "ip_defrag" in names and (life.ended or not last_segment):
        return End("merged")
    if names & {"ip_do_fragment", "__skb_gso_segment"} and life.ended:
        return End("copied away")
    if "validate_xmit_skb" in names and life.ended:
        # Out of a queue in a list, whose first packet alone is seen at the driver's door.
        queued = next(f for f in reversed(frames) if f.name == "validate_xmit_skb")
        return End("sent", str(queued.event.ifindex))
    return End("freed", frames[-1].caller) if life.ended else End("open")


_ANOTHER_PASS = frozenset({"gro_cells_receive", "xfrm_trans_queue", "xfrm_trans_queue_net"})
"""Here a packet waits for its next pass: as a tunnel's, or, out of ESP in transport mode, at once at its handler."""


def _delivered_since(frames: list[Frame]) -> bool:
    """Did a protocol's handler take the packet after it had waited for that?"""
    waited = max(place for place, frame in enumerate(frames) if frame.name in _ANOTHER_PASS)
    return any(frame.name in HANDLERS for frame in frames[waited:])


def _is_loss(life: Life, drop: Drop) -> bool:
    """Is the packet lost? The kernel counts some buffers as dropped whose packet goes on, or has gone.

    Some have a reason that says so (SKB_CONSUMED on 6.12). A fragment goes with the packet that it became part of
    (skb_release_data, 6.1). Drivers free what they have sent by dev_kfree_skb_any, which is a drop to 5.10: then the
    buffer is let go of outside the call that handed it to the driver. A socket that is closed throws away what nobody
    read; that was delivered (a FIN stays there often).
    """
    if drop.name in ("CONSUMED", "QUEUE_PURGE"):
        return False
    last = [f for f in life.frames[-3:] if f.cls in (Class.RELEASE, Class.END)]
    if drop.by in NO_LOSS or any(f.caller in NO_LOSS for f in last):
        return False
    sent = any(f.name == "dev_hard_start_xmit" for f in life.frames)
    inside = any(a.name == "dev_hard_start_xmit" for f in last for a in f.ancestors())
    return not sent or inside or _entered_after_sending(life)


def _entered_after_sending(life: Life) -> bool:
    names = [f.name for f in life.frames]
    return any(n in ENTRANCES for n in names[len(names) - names[::-1].index("dev_hard_start_xmit") :])


def _judge_completeness(traversal: Traversal) -> None:
    first = traversal.frames[0]
    if any(f.orphan for f in traversal.frames):
        traversal.partial.append(UNSEEN)
    if any(f.event.flags & Flag.LATE for f in traversal.frames):
        traversal.partial.append("it matched the filter only when it had changed; what was before is not known")
    begun = first.parent is not None or first.cls in (Class.ROOT, Class.ORIGIN, Class.COPY) or first.name in ENTRANCES
    if not begun and traversal.roots[0].frame.cls is not Class.ROOT:
        # Nothing is known of what was below on this stack: the packet may have come from anywhere.
        traversal.partial.append("it was under way before its first event")
