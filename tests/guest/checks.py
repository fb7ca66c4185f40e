"""What the journeys of each scenario must look like, on every kernel.

The tests in guests ask this of what they have just seen, those without a kernel of what was recorded.
"""

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


@check("ping", "ping-socket")
def ping(seen: Seen) -> None:
    """One journey there, one back, and nothing else."""
    assert len(seen.journeys) == 2
    to_and_fro(seen, ICMP, seen.one(ICMP, NEAR), seen.one(ICMP, FAR))


@check("ping-cold")
def ping_cold(seen: Seen) -> None:
    """Two neighbours are asked for because of the request; the packet waits, and is still one journey."""
    request, reply = seen.one(ICMP, NEAR), seen.one(ICMP, FAR)
    assert [w[:4] for w in seen.ways(request)] == [w[:4] for w in (OUT, OVER, IN)]
    to_and_fro(seen, ICMP, request, reply)
    asked, answered = seen.arp(1), seen.arp(2)
    assert len(asked) == len(answered) == 2 and len(seen.journeys) == 6
    for question, answer in zip(asked, answered, strict=True):
        assert seen.traversals(question)[0].cause is request
        assert seen.traversals(answer)[0].cause is question
        assert [w[0] for w in seen.ways(question)] == [w[0] for w in seen.ways(answer)] == ["output", "receive"]
    for t in seen.traversals(request)[:2]:
        in_order(names(t), "neigh_resolve_output", "__neigh_event_send", "neigh_resolve_output", "dev_hard_start_xmit")


@check("udp-open", "udp-cork", "options", "qdisc", "tap")
def udp_open(seen: Seen) -> None:
    """One journey, to the socket."""
    journey = seen.one(UDP)
    assert seen.ways(journey) == [OUT, OVER, IN] and len(seen.journeys) == 1
    sent, over, got = seen.traversals(journey)
    in_order(names(sent), "udp_send_skb", "ip_send_skb", "ip_output", "ip_finish_output2", "dev_hard_start_xmit")
    # A corked datagram goes when the cork is taken out, by a socket option.
    assert sent.roots[0].frame.name in ("udp_sendmsg", "udp_push_pending_frames", "udp_send_skb")
    forwarded(seen, over)
    in_order(names(got), "ip_rcv", "ip_local_deliver", "ip_protocol_deliver_rcu", "udp_rcv", "udp_queue_rcv_one_skb")
    assert got.end.where == "udp_rcv"


@check("udp-closed")
def udp_closed(seen: Seen) -> None:
    """Dropped for want of a socket, and answered."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, OVER, LOST_IN] and len(seen.journeys) == 2
    reason(seen, seen.traversals(journey)[2], "NO_SOCKET")
    assert "__icmp_send" in names(seen.traversals(journey)[2])
    assert seen.ways(answer) == [OUT_BACK, OVER_BACK, IN_BACK]
    assert seen.traversals(answer)[0].cause is journey
    assert "icmp_unreach" in names(seen.traversals(answer)[2])


@check("raw")
def raw(seen: Seen) -> None:
    """Nobody speaks this protocol."""
    journey, answer = seen.one(NOBODY), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, OVER, LOST_IN]
    reason(seen, seen.traversals(journey)[2], "IP_NOPROTO")
    assert seen.ways(answer) == [OUT_BACK, OVER_BACK, IN_BACK]
    assert seen.traversals(answer)[0].cause is journey


@check("tcp", "tcp-bulk")
def tcp(seen: Seen) -> None:
    """Each segment is a journey, through the router to the other side."""
    there, back = seen.packets(TCP, NEAR), seen.packets(TCP, FAR)
    assert len(there) + len(back) == len(seen.journeys) >= 8
    for journey in there:
        assert seen.ways(journey) == [OUT, OVER, IN]
        assert seen.traversals(journey)[2].end.where == "tcp_v4_rcv"
    for journey in back:
        assert seen.ways(journey) == [OUT_BACK, OVER_BACK, IN_BACK]
    syn, synack = there[0], back[0]
    assert syn.header and syn.header.tcp_flags == 0x02 and synack.header and synack.header.tcp_flags == 0x12
    assert seen.traversals(syn)[0].roots[0].frame.name == "tcp_v4_connect"
    assert seen.traversals(synack)[0].cause is syn
    for journey in seen.journeys:
        forwarded(seen, seen.traversals(journey)[1])


@check("tcp-refused")
def tcp_refused(seen: Seen) -> None:
    """SYN, RST."""
    syn, rst = seen.packets(TCP, NEAR)[0], seen.packets(TCP, FAR)[0]
    assert rst.header and rst.header.tcp_flags & 0x04
    reason(seen, seen.traversals(syn)[2], "NO_SOCKET")
    assert seen.traversals(rst)[0].cause is syn
    assert seen.ways(rst) == [OUT_BACK, OVER_BACK, IN_BACK]


@check("tcp-retransmit")
def tcp_retransmit(seen: Seen) -> None:
    """Each transmission of a segment is a journey; one is lost in the router, the last one arrives."""
    sent = [j for j in seen.packets(TCP, NEAR) if j.header and j.header.tcp_flags & 0x08]
    assert len(sent) >= 2
    assert seen.ways(sent[0])[1][0] == "receive" and seen.ways(sent[0])[-1][4] == "dropped"
    assert seen.ways(sent[-1]) == [OUT, OVER, IN]


@check("ttl-expired")
def ttl_expired(seen: Seen) -> None:
    """ip_forward drops it, and the router says so."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, ("forward", "router", "ra", "", "dropped")]
    reason(seen, seen.traversals(journey)[1], "IP_INHDR")
    assert seen.ways(answer) == [("output", "router", "", "ra", "sent"), IN_BACK]
    assert seen.traversals(answer)[0].cause is journey


@check("no-route", "prohibit")
def no_route(seen: Seen) -> None:
    """ip_error drops it, and the router says so."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, ("receive", "router", "ra", "", "dropped")]
    assert "ip_error" in names(seen.traversals(journey)[1])
    assert seen.ways(answer) == [("output", "router", "", "ra", "sent"), IN_BACK]
    assert seen.traversals(answer)[0].cause is journey


@check("blackhole", "not-forwarding")
def blackhole(seen: Seen) -> None:
    """Dropped without a word."""
    journey = seen.one(UDP)
    assert seen.ways(journey) == [OUT, ("receive", "router", "ra", "", "dropped")]
    assert len(seen.journeys) == 1


@check("pmtu")
def pmtu(seen: Seen) -> None:
    """Too big: dropped before it is forwarded, and answered."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, ("forward", "router", "ra", "", "dropped")]
    reason(seen, seen.traversals(journey)[1], "PKT_TOO_BIG")
    assert seen.traversals(answer)[0].cause is journey


@check("fragments")
def fragments(seen: Seen) -> None:
    """One journey: sent in three parts, each forwarded, put together at the end."""
    journey = seen.one(UDP)
    ways = seen.ways(journey)
    assert len(seen.journeys) == 1
    assert ways.count(OUT) == 1 and ways.count(OVER) == 3 and len(ways) == 7
    ends = sorted(t.end.how for t in seen.traversals(journey) if t.direction == "receive")
    assert ends == ["delivered", "merged", "merged"]


@check("fragments-router")
def fragments_router(seen: Seen) -> None:
    """One journey; the router makes two of it."""
    journey = seen.one(UDP)
    ways = seen.ways(journey)
    assert ways[:2] == [OUT, OVER] and len(ways) == 4
    over = seen.traversals(journey)[1]
    assert names(over).count("dev_hard_start_xmit") == 2 and "ip_do_fragment" in names(over)


@check("nft-accept")
def nft_accept(seen: Seen) -> None:
    """All hooks, in order."""
    request = seen.packets(ICMP, NEAR)[0]
    verdicts = hooks(seen.traversals(request)[1])
    assert verdicts == [(PRE_ROUTING, ACCEPT), (FORWARD, ACCEPT), (POST_ROUTING, ACCEPT)]
    local, answer = seen.packets(ICMP, NEAR)[1], seen.one(ICMP, ROUTER)
    assert hooks(seen.traversals(local)[1]) == [(PRE_ROUTING, ACCEPT), (LOCAL_IN, ACCEPT)]
    assert hooks(seen.traversals(answer)[0]) == [(LOCAL_OUT, ACCEPT), (POST_ROUTING, ACCEPT)]


def _dropped_by_hook(seen: Seen, hook: int, where: int) -> None:
    journey = seen.one(UDP)
    dropped = seen.traversals(journey)[where]
    assert len(seen.journeys) == 1 and dropped.end.how == "dropped"
    reason(seen, dropped, "NETFILTER_DROP")
    last, verdict = hooks(dropped)[-1]
    assert last == hook and verdict is not None and verdict < 0


@check("nft-drop")
def nft_drop(seen: Seen) -> None:
    """FORWARD says no."""
    _dropped_by_hook(seen, FORWARD, 1)


@check("nft-drop-input")
def nft_drop_input(seen: Seen) -> None:
    """LOCAL_IN says no."""
    _dropped_by_hook(seen, LOCAL_IN, 2)


@check("nft-drop-output")
def nft_drop_output(seen: Seen) -> None:
    """LOCAL_OUT says no."""
    _dropped_by_hook(seen, LOCAL_OUT, 0)


@check("nft-masquerade")
def nft_masquerade(seen: Seen) -> None:
    """The addresses change on the way; it stays one journey."""
    request = seen.one(ICMP, NEAR)
    assert seen.ways(request) == [OUT, OVER, IN]
    sources = {f.event.saddr for f in seen.traversals(request)[2].frames if f.event.saddr}
    assert sources == {int.from_bytes(socket.inet_aton("10.2.0.2"))}


@check("loopback")
def loopback(seen: Seen) -> None:
    """Out and in again, by lo."""
    for journey in seen.journeys:
        assert [w[:4] for w in seen.ways(journey)] == [("output", "near", "", "lo"), ("receive", "near", "lo", "")]


@check("multicast")
def multicast(seen: Seen) -> None:
    """Out of the device and, in a copy, back to this host; and a report."""
    ways = seen.ways(seen.one(UDP))
    assert OUT in ways and IN_BACK in ways
    report = seen.packets(IGMP)[0]
    assert seen.ways(report)[0] == OUT
    starts = {n.frame.name for n in nodes(seen.traversals(report)[0].roots)}
    assert starts & {"igmp_ifc_timer_expire", "igmpv3_sendpack"}


@check("esp-tunnel")
def esp_tunnel(seen: Seen) -> None:
    """One journey from end to end, although it travels inside another packet on the way."""
    request = seen.one(ICMP, NEAR)
    ways = [w[:4] for w in seen.ways(request)]
    assert ways == [OUT[:4], OVER[:4], IN[:4], IN[:4]]
    over, outer, inner = seen.traversals(request)[1:]
    in_order(names(over), "ip_forward", "xfrm4_output", "xfrm_output", "esp_output", "ip_output", "dev_hard_start_xmit")
    in_order(names(outer), "xfrm4_esp_rcv", "xfrm_input", "esp_input")
    assert outer.end.how == "handed on" and inner.end.where == "icmp_rcv"


@check("bridge")
def bridge(seen: Seen) -> None:
    """The bridge has a traversal of its own."""
    request = seen.packets(ICMP)[0]
    assert [w[1] for w in seen.ways(request)] == ["b1", "sw", "b2"]
    assert "br_handle_frame_finish" in names(seen.traversals(request)[1])


@check("nics-ping", "nics-udp")
def nics(seen: Seen) -> None:
    """Real drivers: a poll, GRO, and the other card's transmit function."""
    assert seen.journeys
    for journey in seen.journeys:
        sent, got = seen.traversals(journey)
        assert seen.way(sent)[3] in ("eth0", "eth1") and seen.way(sent)[4] == "sent"
        assert {seen.way(sent)[3], seen.way(got)[2]} == {"eth0", "eth1"}
        assert {"e1000_xmit_frame", "start_xmit"} & set(names(sent))
        assert {"napi_gro_receive", "gro_receive_skb"} & set(names(got))


@check("nics-tcp")
def nics_tcp(seen: Seen) -> None:
    """Every segment arrives in one piece or merged by GRO."""
    merged = 0
    for journey in seen.packets(TCP):
        got = [t for t in seen.traversals(journey) if t.direction == "receive"]
        assert got, f"journey {journey.number} does not arrive: {seen.ways(journey)}"
        merged += any("skb_gro_receive" in names(t) for t in got)
    assert merged, "GRO merged nothing"
