"""What checks are made of: the journeys that were seen, and words for them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kpath.trace.frames import Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.traversal import Node, Traversal, traversals

ICMP, IGMP, TCP, UDP, ESP, NOBODY = 1, 2, 6, 17, 50, 253
PRE_ROUTING, LOCAL_IN, FORWARD, LOCAL_OUT, POST_ROUTING = range(5)
ACCEPT = 1

NEAR, FAR, ROUTER = "10.1.0.1", "10.2.0.1", "10.1.0.2"

# What a traversal is, in a line: (direction, namespace without prefix, device in, device out, how it ended).
Way = tuple[str, str, str, str, str]

OUT: Way = ("output", "near", "", "va", "sent")
OVER: Way = ("forward", "router", "ra", "rb", "sent")
OUT_BACK: Way = ("output", "far", "", "vb", "sent")
OVER_BACK: Way = ("forward", "router", "rb", "ra", "sent")
IN: Way = ("receive", "far", "vb", "", "delivered")
IN_BACK: Way = ("receive", "near", "va", "", "delivered")
LOST_IN: Way = ("receive", "far", "vb", "", "dropped")


@dataclass(frozen=True, slots=True)
class Seen:
    """The journeys of one scenario, in the order of their first sight."""

    journeys: Sequence[Journey]
    knowledge: Knowledge
    cut: dict[int, list[Traversal]] = field(default_factory=dict)

    @property
    def reasons(self) -> bool:
        """Does this kernel name why it drops (since 5.17)?"""
        return bool(self.knowledge.drop_reasons)

    def traversals(self, journey: Journey) -> list[Traversal]:
        """Its traversals."""
        if journey.number not in self.cut:
            self.cut[journey.number] = traversals(journey)
        return self.cut[journey.number]

    def packets(self, protocol: int, source: str = "") -> list[Journey]:
        """Journeys of a protocol from an address."""
        want = int.from_bytes(socket.inet_aton(source)) if source else 0
        return [
            j for j in self.journeys
            if (h := j.header) and not h.arp_op and h.proto == protocol and want in (0, h.saddr)
        ]  # fmt: skip

    def asked_for(self) -> list[Journey]:
        """Without what a neighbour's timer asks by itself (net/core/neighbour.c:neigh_timer_handler), and its answer.

        An entry that a scenario before this one used is probed seconds later.
        """
        timed = [j for j in self.arp(1) if self.traversals(j)[0].cause is None]
        return [j for j in self.journeys if j not in timed and self.traversals(j)[0].cause not in timed]

    def amount(self, number: int) -> None:
        """There were so many journeys, and no other but what timers may add."""
        told = [f"{j.number}: {_words(j)} {self.ways(j)}" for j in self.journeys]
        assert number in (len(told), len(self.asked_for())), (
            f"{len(told)} journeys instead of {number}:\n" + "\n".join(told)
        )

    def arp(self, operation: int) -> list[Journey]:
        """ARP requests (1) or replies (2)."""
        return [j for j in self.journeys if (h := j.header) and h.arp_op == operation]

    def one(self, protocol: int, source: str = "") -> Journey:
        """The only journey of a protocol from an address."""
        found = self.packets(protocol, source)
        assert len(found) == 1, f"{len(found)} journeys instead of one: {[self.ways(j) for j in found]}"
        return found[0]

    def way(self, traversal: Traversal) -> Way:
        """The traversal in a line."""
        know, netns = self.knowledge, traversal.netns
        return (
            traversal.direction,
            know.namespace(netns).removeprefix("kp-"),
            know.device(netns, traversal.device_in),
            know.device(netns, traversal.device_out),
            traversal.end.how,
        )

    def ways(self, journey: Journey) -> list[Way]:
        """All its traversals, each in a line."""
        return [self.way(t) for t in self.traversals(journey)]


def _words(journey: Journey) -> str:
    if journey.header is None:
        return "no header"
    h = journey.header
    ends = " → ".join(socket.inet_ntoa(a.to_bytes(4)) for a in (h.saddr, h.daddr))
    return f"ARP {h.arp_op} {ends}" if h.arp_op else f"protocol {h.proto} {ends}"


def names(traversal: Traversal) -> list[str]:
    """The functions in its tree, in order; also those that do not tell the packet (modules' on 5.10, without BTF)."""
    return [f.name for f in sorted((n.frame for n in nodes(traversal.roots)), key=lambda f: f.index)]


def nodes(roots: Iterable[Node]) -> Iterable[Node]:
    """All nodes of a tree."""
    for root in roots:
        yield root
        yield from nodes(root.children)


def hooks(traversal: Traversal) -> list[tuple[int, int | None]]:
    """Hooks in the order in which they ran, with their verdicts."""
    return [(f.event.hook, f.verdict) for f in traversal.frames if f.event.hook != 255]


def in_order(found: Sequence[str], *wanted: str) -> None:
    """These functions occur, in this order."""
    rest = iter(found)
    missing = [name for name in wanted if name not in rest]
    assert not missing, f"{missing} not in its place in {list(found)}"


def reason(seen: Seen, traversal: Traversal, *wanted: str) -> None:
    """It was dropped for this reason (one of several: kernels sharpen them), where kernels have reasons."""
    assert traversal.end.how == "dropped", traversal.end
    assert traversal.end.reason in (wanted if seen.reasons else ("",)), traversal.end


def whole(seen: Seen) -> None:
    """What holds for all: complete, one tree a place, callers before what they call."""
    assert seen.journeys, "nothing was seen"
    for journey in seen.journeys:
        for t in seen.traversals(journey):
            what = f"journey {journey.number}, {seen.way(t)}"
            assert not t.partial, f"{what}: {t.partial}"
            assert t.end.how not in ("open", "freed"), f"{what}: {t.end}"
            own = [n.frame.index for n in nodes(t.roots) if n.own]
            assert sorted(own) == [f.index for f in t.frames], f"{what}: its frames are not each once in its tree"
            for node in nodes(t.roots):
                for child in node.children:
                    assert child.frame.index > node.frame.index, f"{what}: {child.frame} before {node.frame}"
                    assert child.frame.time >= node.frame.time, f"{what}: {child.frame} before {node.frame}"
                    assert _under(child.frame, node.frame), f"{what}: {child.frame} is not below {node.frame}"


def _under(frame: Frame, above: Frame) -> bool:
    return any(a is above for a in frame.ancestors())


def forwarded(seen: Seen, traversal: Traversal) -> None:
    """The router's part, without hooks in use but conntrack's, if any."""
    found = names(traversal)
    in_order(
        found, "ip_rcv", "ip_rcv_core", "ip_route_input_noref", "ip_forward", "ip_output", "ip_finish_output2",
        "__dev_queue_xmit", "dev_hard_start_xmit",
    )  # fmt: skip
    assert found.count("ip_forward") == 1
    tree = {n.frame.name: n.frame for n in nodes(traversal.roots)}
    assert "ip_rcv" in [a.name for a in tree["ip_forward"].ancestors()]
    assert "ip_forward" in [a.name for a in tree["ip_output"].ancestors()]
    sent = [a.name for a in tree["dev_hard_start_xmit"].ancestors()]
    assert "ip_output" in sent or "neigh_update" in sent  # the latter when it had to wait for its neighbour


def to_and_fro(seen: Seen, protocol: int, there: Journey, back: Journey) -> None:
    """A packet through the router, and the one that answers it."""
    assert seen.ways(there) == [OUT, OVER, IN]
    assert seen.ways(back) == [OUT_BACK, OVER_BACK, IN_BACK]
    forwarded(seen, seen.traversals(there)[1])
    forwarded(seen, seen.traversals(back)[1])
    assert seen.traversals(back)[0].cause is there


CHECKS: dict[str, Callable[[Seen], None]] = {}


def check(*scenarios: str) -> Callable[[Callable[[Seen], None]], Callable[[Seen], None]]:
    """Registers what is asked of these scenarios."""

    def register(function: Callable[[Seen], None]) -> Callable[[Seen], None]:
        for name in scenarios:
            CHECKS[name] = function
        return function

    return register
