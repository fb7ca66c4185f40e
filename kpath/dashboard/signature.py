"""Which path a pass took: exactly, for telling paths apart, and in words, for people.

``exact`` is the sequence of frames with the facts that decide; two passes with the same one took the same path.
``in_words`` names the stations: ``receive eth0 → forward → ESP tunnel → eth1``. Passes with the same words make one
row of the table of paths, however many exact paths that stands for.
"""

from __future__ import annotations

from collections.abc import Iterator

from kpath.capture.schema import Class
from kpath.report import words
from kpath.trace.frames import Event, Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import Node, Traversal

ARROW = " → "

_HOOK, _WITH_HEADER = int(Class.HOOK), (int(Class.IP), int(Class.HOOK))

ORIGINS: tuple[tuple[str, str], ...] = (
    ("__tcp_retransmit_skb", "TCP retransmit"),
    ("tcp_v4_send_reset", "TCP reset"),
    ("tcp_v4_connect", "TCP connect"),
    ("tcp_connect", "TCP connect"),
    ("tcp_v4_send_synack", "TCP accept"),
    ("tcp_conn_request", "TCP accept"),
    ("tcp_send_fin", "TCP close"),
    ("tcp_send_active_reset", "TCP reset"),
    ("tcp_send_ack", "TCP ack"),
    ("__tcp_send_ack", "TCP ack"),
    ("ip_send_unicast_reply", "TCP reset"),
    ("udp_sendmsg", "UDP send"),
    ("udp_send_skb", "UDP send"),
    ("udp_push_pending_frames", "UDP send"),
    ("raw_sendmsg", "raw send"),
    ("ping_v4_sendmsg", "ping send"),
    ("icmp_reply", "ICMP reply"),
    ("__icmp_send", "ICMP error"),
    ("icmp_send", "ICMP error"),
    ("ip_rt_send_redirect", "ICMP redirect"),
    ("igmp_send_report", "IGMP report"),
    ("igmpv3_sendpack", "IGMP report"),
    ("arp_solicit", "ARP request"),
    ("arp_process", "ARP reply"),
    ("tcp_sendmsg_locked", "TCP send"),
    ("__tcp_transmit_skb", "TCP send"),
    ("packet_sendmsg", "packet socket send"),
)
"""What a local packet's tree begins with, the most telling first."""

STATIONS: dict[str, str] = {
    "vlan_do_receive": "VLAN",
    "bond_handle_frame": "bond",
    "macvlan_handle_frame": "macvlan",
    "br_handle_frame": "bridge",
    "br_dev_xmit": "bridge",
    "br_flood": "flood",
    "tcf_classify": "tc",
    "ip_defrag": "reassembly",
    "ip_forward": "forward",
    "ip_mr_input": "multicast routing",
    "ip_mr_output": "multicast routing",
    "ip_error": "no route",
    "ip_do_fragment": "fragments",
    "__skb_gso_segment": "segments",
    "ipip_tunnel_xmit": "IPIP tunnel",
    "ipgre_xmit": "GRE tunnel",
    "xfrm4_ipcomp_rcv": "IPComp",
    "xfrm4_udp_encap_rcv": "UDP encapsulation",
    "tunnel4_rcv": "IPIP tunnel",
    "ipip_rcv": "IPIP tunnel",
    "gre_rcv": "GRE tunnel",
    "__neigh_event_send": "neighbour",
    "dev_qdisc_enqueue": "qdisc",
    "dev_loopback_xmit": "loop back",
    "nf_queue": "userspace",
    "lwtunnel_xmit": "light tunnel",
}
"""Functions that stand for a station of the way. Those that need a look at the packet are in ``_station``."""

_TRANSFORMS = {"esp_output": "ESP", "ah_output": "AH", "ipcomp_output": "IPComp"}
_UNDOING = {"esp_input": "ESP", "ah_input": "AH", "ipcomp_input": "IPComp"}

_HANDLERS = {
    "tcp_v4_rcv": "TCP",
    "udp_rcv": "UDP",
    "icmp_rcv": "ICMP",
    "igmp_rcv": "IGMP",
    "raw_rcv": "raw socket",
    "packet_rcv": "packet socket",
    "arp_rcv": "ARP",
    "xfrm4_esp_rcv": "ESP",
    "xfrm4_ah_rcv": "AH",
    "xfrm4_ipcomp_rcv": "IPComp",
    "ipip_rcv": "IPIP tunnel",
    "tunnel4_rcv": "IPIP tunnel",
    "gre_rcv": "GRE tunnel",
}


def exact(traversal: Traversal, know: Knowledge) -> tuple[object, ...]:
    """Equal for passes that took the same path: frames, who called whom, hooks and verdicts, pointers, end."""
    parts: list[object] = [traversal.netns, traversal.device_in, traversal.device_out, traversal.end]
    for depth, node in walk(traversal.roots):
        frame, e = node.frame, node.frame.event
        parts.append((depth, frame.name, node.own, frame.tail))
        if e.cls == _HOOK:
            parts.append((e.pf, e.hook, frame.verdict))
        elif e.dst_input:
            parts.append((know.function(e.dst_input), know.function(e.dst_output), bool(e.dst_xfrm)))
    return tuple(parts)


def walk(roots: list[Node]) -> Iterator[tuple[int, Node]]:
    """The nodes of a pass with their depth, in the order in which they are shown."""
    stack = [(0, root) for root in reversed(roots)]
    while stack:
        depth, node = stack.pop()
        yield depth, node
        stack += [(depth + 1, child) for child in reversed(node.children)]


def in_words(traversal: Traversal, know: Knowledge) -> str:
    """The stations of a pass, from where it came to where it went."""
    stations = [_begin(traversal, know)]
    addresses = _Addresses()
    for _, node in walk(traversal.roots):
        if not node.own:
            continue
        for station in (*addresses.change(node.frame), _station(node.frame, traversal)):
            if station and station != stations[-1]:
                stations.append(station)
    last = _end(traversal, know)
    if last and last != stations[-1]:
        stations.append(last)
    return ARROW.join(stations) + _fate(traversal)


def _begin(traversal: Traversal, know: Knowledge) -> str:
    if traversal.entered:
        device = words.printable(know.device(traversal.netns, traversal.device_in))
        return f"receive {device}".rstrip()
    names = {node.frame.name for _, node in walk(traversal.roots)}
    other = "copy" if traversal.frames[0].event.cls == Class.COPY else "output"
    return next((text for name, text in ORIGINS if name in names), other)


def _station(frame: Frame, traversal: Traversal) -> str:
    if frame.event.cls == _HOOK and frame.verdict is not None and frame.verdict < 1:
        return f"{words.hook_name(frame.event.pf, frame.event.hook)} {words.verdict_name(frame.verdict)}"
    if frame.name in _TRANSFORMS:
        return f"{_TRANSFORMS[frame.name]} {_mode(frame, traversal)}".rstrip()
    if frame.name in _UNDOING:
        names = {f.name for f in traversal.frames}
        mode = "transport" if "xfrm4_transport_finish" in names else "tunnel" if "gro_cells_receive" in names else ""
        return f"{_UNDOING[frame.name]} {mode}".rstrip()
    return STATIONS.get(frame.name, "")


def _mode(transform: Frame, traversal: Traversal) -> str:
    """Tunnel or transport: does the packet have other addresses after the transform than before?"""
    before = after = None
    for frame in traversal.frames:
        e = frame.event
        if not (e.saddr or e.daddr) or e.arp_op or frame.event.cls not in _WITH_HEADER:
            continue
        if frame.index < transform.index:
            before = e
        elif e.proto in (50, 51, 108):
            after = e
            break
    if before is None or after is None:
        return ""
    return "transport" if (before.saddr, before.daddr) == (after.saddr, after.daddr) else "tunnel"


class _Addresses:
    """Notices that addresses were translated: another address in an otherwise same packet."""

    def __init__(self) -> None:
        self._before: dict[int, Event] = {}

    def change(self, frame: Frame) -> list[str]:
        e = frame.event
        if e.cls not in _WITH_HEADER or e.arp_op or not e.tot_len or not (e.saddr or e.daddr):
            return []
        known = self._before.get(id(frame.life))
        self._before[id(frame.life)] = e
        if known is None or (known.proto, known.ip_id) != (e.proto, e.ip_id) or known.tot_len != e.tot_len:
            return []
        return ["DNAT"] * (known.daddr != e.daddr) + ["SNAT"] * (known.saddr != e.saddr)


def _end(traversal: Traversal, know: Knowledge) -> str:
    end = traversal.end
    if end.how == "sent":
        return words.printable(know.device(traversal.netns, int(end.where)))
    if end.how == "delivered":
        return handler(end.where)
    if end.how == "handed on" and end.where:
        label = handler(end.where)
        return "" if label in ("ESP", "AH", "IPComp") else label
    if end.how == "dropped":
        names = [f.name for f in traversal.frames if f.name in _HANDLERS and not f.name.startswith("xfrm4")]
        return handler(names[-1]) if names and traversal.direction == "receive" else ""
    return ""


def _fate(traversal: Traversal) -> str:
    end = traversal.end
    if end.how == "dropped":
        return f" ✗ {words.printable(end.reason) or 'dropped'}"
    return {"merged": " (merged)", "copied away": " (replaced by its parts)", "freed": " (freed)", "open": " …"}.get(
        end.how, ""
    )


def handler(function: str) -> str:
    """A protocol handler as a person calls it."""
    return _HANDLERS.get(function, function)
