"""Packets, places and ends in words; everything that comes out of a capture is made safe to print here."""

from __future__ import annotations

import ipaddress

from kpath.capture.schema import Class
from kpath.trace.frames import Event, Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.traversal import Traversal

HOOKS = {2: ("PRE_ROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POST_ROUTING"), 5: ("INGRESS", "EGRESS")}
"""Names of hooks by netfilter family: 2 is IPv4, 5 is a device (include/uapi/linux/netfilter.h)."""
_FAMILIES = {1: "inet", 3: "arp", 7: "bridge"}
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 4: "IPIP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 51: "AH", 108: "IPComp"}
_ICMP = {
    0: "echo reply",
    3: "unreachable",
    5: "redirect",
    8: "echo request",
    11: "time exceeded",
    12: "parameter problem",
}
_UNREACHABLE = {0: "net", 1: "host", 2: "protocol", 3: "port", 4: "fragmentation needed", 13: "prohibited"}
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
NUD = {
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}
"""Neighbour states (include/uapi/linux/neighbour.h)."""

INTERRUPT_STACKS = 1 << 16
"""A stack below this number is a CPU's interrupt stack, above it is the address of a task's."""


def printable(text: str) -> str:
    """The text with everything that could steer a terminal replaced; names of devices and processes are anybody's."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def address(value: int) -> str:
    """An IPv4 address."""
    return str(ipaddress.IPv4Address(value))


def hook_name(pf: int, hook: int) -> str:
    """``FORWARD``, or ``bridge hook 2`` for a family whose hooks have other names."""
    names = HOOKS.get(pf, ())
    return names[hook] if hook < len(names) else f"{_FAMILIES.get(pf, f'family {pf}')} hook {hook}"


def verdict_name(value: int | None) -> str:
    """What ``nf_hook_slow`` returned: 1 goes on, 0 is stolen or queued, negative is dropped (its errno)."""
    if value is None:
        return "verdict not seen"
    if value == 1:
        return "accept"
    return "drop" if value < 0 else "stolen or queued"


def _icmp(kind: int, code: int) -> str:
    words = _ICMP.get(kind, f"type {kind}")
    return f"{_UNREACHABLE.get(code, f'code {code}')} {words}" if kind == 3 else words


def packet(e: Event) -> str:
    """One line that says which packet this is."""
    if e.arp_op:
        asks = e.arp_op == 1
        return f"ARP who has {address(e.daddr)}, asks {address(e.saddr)}" if asks else f"ARP {address(e.saddr)} is here"
    offset = (e.frag_off & 0x1FFF) * 8
    name = _PROTOCOLS.get(e.proto, f"protocol {e.proto}")
    ports = e.proto in (6, 17) and not offset
    source = address(e.saddr) + (f":{e.sport}" if ports else "")
    target = address(e.daddr) + (f":{e.dport}" if ports else "")
    words = [f"{source} → {target}", name]
    if e.proto == 1 and not offset:
        words.append(_icmp(e.sport >> 8, e.sport & 0xFF))
        if e.sport >> 8 in (0, 8):
            words.append(f"seq {e.l4 & 0xFFFF}")
    if e.proto == 6 and not offset:
        flags = [n for bit, n in enumerate(_TCP_FLAGS) if e.tcp_flags >> bit & 1]
        words.append(",".join(flags) or "no flags")
        words.append(f"seq {e.l4}")
    if e.frag_off & 0x3FFF:
        words.append(f"fragment at {offset}")
    return " ".join(words)


def endpoints(e: Event) -> str:
    """The same, of a packet of which no more than addresses, protocol and ports is known."""
    name = _PROTOCOLS.get(e.proto, f"protocol {e.proto}")
    ports = e.proto in (6, 17) and (e.sport or e.dport)
    if e.arp_op:
        return packet(e)
    source = address(e.saddr) + (f":{e.sport}" if ports else "")
    target = address(e.daddr) + (f":{e.dport}" if ports else "")
    return f"{source} → {target} {name}"


def best_header(journey: Journey) -> Event | None:
    """The first header whose transport part was filled in; early on, ports are not written yet."""
    known = journey.header
    if known is None or known.arp_op:
        return known
    frames = sorted(journey.frames(), key=lambda f: f.index)
    complete = (f.event for f in frames if f.cls in (Class.IP, Class.LINK, Class.HOOK) and f.event.tot_len)
    return next((e for e in complete if e.saddr or e.daddr), known)


def length(e: Event) -> int:
    """Bytes of the IP packet."""
    return int(e.tot_len or e.len)


def where(frame: Frame, know: Knowledge) -> str:
    """On which CPU and whose stack a frame ran."""
    e = frame.event
    if e.stack < INTERRUPT_STACKS:
        return f"cpu {e.cpu}, softirq"
    comm = printable(know.comms.get(e.pid, ""))
    return f"cpu {e.cpu}, {comm or 'thread'} {e.pid}"


def headline(t: Traversal, know: Knowledge) -> str:
    """Direction, namespace and devices of a traversal."""
    netns = t.netns
    words = [t.direction, printable(know.namespace(netns)) if netns else "namespace unknown"]
    if t.device_in:
        words.append(f"in {printable(know.device(netns, t.device_in))}")
    if t.device_out:
        words.append(f"out {printable(know.device(netns, t.device_out))}")
    return " · ".join(words)


def ending(t: Traversal, know: Knowledge) -> str:
    """How a traversal ended."""
    end = t.end
    if end.how == "dropped":
        reason = f": {printable(end.reason)}" if end.reason else ""
        return f"dropped{reason} at {printable(know.place(end.place))}"
    if end.how == "sent":
        return f"sent on {printable(know.device(t.netns, int(end.where)))}"
    if end.how == "delivered":
        rest = f" (a copy; the rest was dropped: {printable(end.reason)})" if end.place else ""
        return f"delivered to {end.where}{rest}"
    return {
        "merged": "merged into another packet",
        "handed on": f"handed on for another pass ({end.where or 'tunnel'})",
        "copied away": "replaced by its parts",
        "freed": f"freed by {end.where}",
        "open": "still under way when the capture ended",
    }[end.how]
