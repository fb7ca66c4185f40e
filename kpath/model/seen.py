"""A traversal as the model sees it: a tree of frames with the facts that decisions rest on, and nothing else.

Addresses, lengths and times are reduced to what the model asks of them (longer than the MTU, TTL one lower than
before), so that two packets which took the same path for the same reasons give equal trees. Verdicts are computed once
for each distinct tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kpath.capture.schema import Class, Flag
from kpath.trace.frames import Event, Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import SOCKET_QUEUES
from kpath.trace.traversal import Node, Traversal

NO_HOOK = 255
DF, MORE_FRAGMENTS, OFFSET = 0x4000, 0x2000, 0x1FFF
"""Bits of the IP header's fragment field, host order."""
REROUTED = 1 << 4
"""IPSKB_REROUTED (include/net/ip.h)."""

KEEPERS = SOCKET_QUEUES | {
    "tcp_add_backlog", "gro_cells_receive", "xfrm_trans_queue", "xfrm_trans_queue_net", "nf_queue", "ip_defrag",
}  # fmt: skip
"""Functions that may keep the packet for later: for the frames around them it has then come to its end."""


class Facts(NamedTuple):
    """What one frame shows, reduced to what decisions and invariants ask."""

    cls: int = int(Class.FRAME)
    caller: str = ""
    """Function that the return address lies in."""
    tail: bool = False
    orphan: bool = False
    dst_input: str = ""
    dst_output: str = ""
    xfrm: bool = False
    header: bool = False
    ether: int = 0
    proto: int = 0
    hook: int = NO_HOOK
    pf: int = 0
    verdict: int | None = None
    """1 accepted, 0 stolen or queued, -1 dropped; None when the return was not seen."""
    okfn: str = ""
    over_mtu: bool | None = None
    """Longer than the MTU of the route's device; None when there is no route."""
    gso: bool = False
    df: bool = False
    fragment: bool = False
    was_fragments: bool = False
    """Reassembled: IPCB's frag_max_size is set."""
    rerouted: bool = False
    nud: int = 0
    ttl_expired: bool = False
    """TTL 1 or less."""
    ttl_step: int | None = None
    """TTL minus that of the same packet's frame before; None when there is nothing to compare."""
    readdressed: bool = False
    """Source or destination differ from those of the same buffer's frame before."""
    before: str = ""
    """The same buffer's frame before, which the two facts above compare with."""
    backwards: bool = False
    """Entered before its parent, or before its elder sibling."""
    dropped: str | None = None
    """The kernel reported a drop while this was the buffer's last frame: the reason's name."""
    arp: int = 0
    kept: bool = False
    """The function may keep the packet, and nothing of this buffer follows in this traversal but its freeing."""


@dataclass(eq=False, slots=True)
class Seen:
    """One frame in the tree. ``life`` numbers the buffers in the order of sight, -1 for a frame without packet.

    ``own``: it has the traversal's packet. ``complete``: everything that it was seen to call stands in this tree
    (a poll calls for other packets too).
    """

    name: str
    own: bool = True
    complete: bool = True
    life: int = 0
    facts: Facts = field(default_factory=Facts)
    children: list[Seen] = field(default_factory=list)
    frame: Frame | None = None
    ends: bool = False
    """Here or below a buffer came to its end, was put away, or was seen for the last time: the frames around may lack
    what would have come then."""

    def walk(self) -> Iterator[Seen]:
        """This frame and all below it, in the order of time."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def pure(self) -> bool:
        """Is there no packet here nor below?"""
        return not any(seen.own for seen in self.walk())

    def settle(self) -> bool:
        """Work out ``ends`` here and below; returns it."""
        below = [child.settle() for child in self.children]
        self.ends = ends_here(self) or any(below)
        return self.ends

    def __repr__(self) -> str:
        return f"<Seen {self.name}>"


@dataclass(eq=False, slots=True)
class Tree:
    """A whole traversal. ``cut``: for each root, whether what called it is known but belongs to another packet, or is
    unknowable (a softirq's first frame), so that a document may be entered in the middle."""

    roots: list[Seen]
    cut: list[bool]
    end: str = "open"
    orphaned: bool = False
    above: list[tuple[str, ...]] = field(default_factory=list)
    """For each root, the functions that it was called in, nearest first, as far as they are known."""
    goes_on: bool = False
    """Nobody saw what became of the packet: the frames in which it was seen last may go on after what was seen."""

    def settle(self) -> None:
        """Work out ``ends`` of all frames."""
        for root in self.roots:
            root.settle()
            last: Seen | None = root if self.goes_on else None
            while last is not None:
                last.ends = True
                last = last.children[-1] if last.children else None

    def __post_init__(self) -> None:
        if not self.above:
            self.above = [() for _ in self.roots]

    def walk(self) -> Iterator[Seen]:
        """All frames in the order of time, root by root."""
        for root in self.roots:
            yield from root.walk()

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for traversals on which the model cannot tell a difference."""
        parts: list[object] = [self.end, self.orphaned, self.goes_on, *self.cut, *self.above]
        stack: list[tuple[int, Seen]] = [(0, root) for root in reversed(self.roots)]
        while stack:
            depth, seen = stack.pop()
            parts.append((depth, seen.name, seen.own, seen.complete, seen.life, seen.facts))
            stack += [(depth + 1, child) for child in reversed(seen.children)]
        return tuple(parts)


def ends_here(seen: Seen) -> bool:
    """Did a buffer of this traversal come to its end in this very frame, or was it put away?"""
    facts = seen.facts
    return facts.dropped is not None or facts.cls in (Class.END, Class.MERGE) or facts.verdict in (0, -1) or facts.kept


def observe(traversal: Traversal, knowledge: Knowledge) -> Tree:
    """The traversal's tree of facts."""
    return _Observer(traversal, knowledge).tree()


class _Observer:
    def __init__(self, traversal: Traversal, knowledge: Knowledge) -> None:
        self._traversal = traversal
        self._know = knowledge
        self._lives: dict[int, int] = {}
        self._before: dict[int, tuple[str, Event]] = {}
        self._facts: dict[int, Facts] = {}
        self._included: set[int] = set()
        self._last: dict[int, int] = {}
        """For each buffer the last frame that it went through: freeing is not one."""

    def tree(self) -> Tree:
        nodes = [node for root in self._traversal.roots for node in _walk(root)]
        self._included = {node.frame.index for node in nodes}
        for node in nodes:
            frame = node.frame
            if (
                node.own
                and frame.cls not in (Class.END, Class.RELEASE, Class.COPY)
                and frame.name != "sk_filter_trim_cap"
            ):
                self._last[id(frame.life)] = max(frame.index, self._last.get(id(frame.life), -1))
        for node in sorted(nodes, key=lambda n: n.frame.index):
            self._facts[node.frame.index] = self._read(node)
        roots = [self._seen(root) for root in self._traversal.roots]
        unknown = self._know.packets_only
        cut = [unknown or r.frame.parent is not None or r.frame.cls is Class.ROOT for r in self._traversal.roots]
        above = [_above(root.frame) for root in self._traversal.roots]
        orphaned = any(s.facts.orphan for root in roots for s in root.walk())
        tree = Tree(roots, cut, self._traversal.end.how, orphaned, above, self._goes_on())
        tree.settle()
        return tree

    def _goes_on(self) -> bool:
        """Has nobody seen what became of the packet, or of the buffer that it was in when it was seen last?"""
        last = max(self._traversal.frames, key=lambda frame: frame.index)
        life = last.life
        return self._traversal.end.how == "open" or (not life.ended and life.frames[-1] is last)

    def _life(self, frame: Frame) -> int:
        return self._lives.setdefault(id(frame.life), len(self._lives)) if frame.life is not None else -1

    def _read(self, node: Node) -> Facts:
        frame, e, know = node.frame, node.frame.event, self._know
        header = bool(e.flags & Flag.HEADER) and not e.arp_op and e.cls != Class.ORIGIN
        step: int | None = None
        readdressed, before = False, ""
        if header and node.own:
            key = id(frame.life)
            known = self._before.get(key)
            if known is not None:
                before = known[0]
                readdressed = (known[1].saddr, known[1].daddr) != (e.saddr, e.daddr)
                if not readdressed and (known[1].proto, known[1].ip_id) == (e.proto, e.ip_id):
                    step = int(e.ttl) - int(known[1].ttl)
            self._before[key] = (frame.name, e)
        has_dst = bool(e.dst_input or e.dst_output)
        meaningful = e.skb and e.cls not in (Class.ORIGIN, Class.END, Class.RELEASE, Class.FRAME, Class.ROOT)
        fragment = int(e.frag_off) & (MORE_FRAGMENTS | OFFSET)
        return Facts(
            cls=int(e.cls),
            caller=frame.caller,
            tail=frame.tail,
            orphan=frame.orphan,
            dst_input=know.function(e.dst_input) if meaningful else "",
            dst_output=know.function(e.dst_output) if meaningful else "",
            xfrm=bool(meaningful and e.dst_xfrm),
            header=header,
            ether=int(e.protocol) if meaningful else 0,
            proto=int(e.proto) if header else 0,
            hook=int(e.hook),
            pf=int(e.pf),
            verdict=None if frame.verdict is None else (frame.verdict > 0) - (frame.verdict < 0),
            okfn=know.function(e.arg) if e.cls == Class.HOOK else "",
            over_mtu=bool(e.len > e.mtu) if meaningful and has_dst and e.mtu else None,
            gso=bool(meaningful and e.gso_size),
            df=bool(header and int(e.frag_off) & DF),
            fragment=bool(header and fragment),
            was_fragments=bool(e.cls == Class.IP and e.frag_max),
            rerouted=bool(e.cls == Class.IP and e.ipcb & REROUTED),
            nud=int(e.nud_state),
            ttl_expired=header and e.ttl <= 1,
            ttl_step=step,
            readdressed=readdressed,
            before=before,
            backwards=self._backwards(frame),
            dropped=_dropped(frame),
            arp=int(e.arp_op),
            kept=node.own and frame.name in KEEPERS and self._last.get(id(frame.life), -1) == frame.index,
        )

    @staticmethod
    def _backwards(frame: Frame) -> bool:
        parent = frame.parent
        if parent is None:
            return False
        return frame.time < parent.time

    def _seen(self, node: Node) -> Seen:
        frame = node.frame
        return Seen(
            name=frame.name,
            own=node.own,
            complete=all(child.index in self._included for child in frame.children),
            life=self._life(frame),
            facts=self._facts[frame.index],
            children=[self._seen(child) for child in node.children],
            frame=frame,
        )


def _above(frame: Frame) -> tuple[str, ...]:
    """The names of the frames around, nearest first, after the function that the return address lies in."""
    names = [frame.caller] if frame.caller and not frame.tail else []
    while frame.parent is not None:
        frame = frame.parent
        names.append(frame.name)
    return tuple(names)


def _dropped(frame: Frame) -> str | None:
    if frame.drop is None or frame.drop.name == "CONSUMED":
        return None
    return frame.drop.name


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)
