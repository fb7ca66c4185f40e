"""Decisions: which way the kernel must go, computed from the facts at a hop.

A document allows both ways at a fork; a decision says which one this packet had to take. Each is a small function: from
a frame, and what it was seen to do, to an opinion. It has none where the facts are not all at hand, or where another
CPU may change them between kpath's look and the kernel's. Each cites the kernel's source; the document's line is that
of the step at which it speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kpath.capture.schema import Class
from kpath.model.seen import Seen

Subtree = Callable[[Seen], bool]


class Wrong(NamedTuple):
    """The kernel went another way than the facts say."""

    seen: Seen
    """The frame at which it went the wrong way."""
    expected: str
    did: str
    facts: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One fork of the path. ``at``: functions at which it is looked at; ``source``: where the kernel decides."""

    name: str
    at: frozenset[str]
    source: str
    judge: Callable[[Seen], Wrong | None]

    @property
    def doc(self) -> str:
        """What it decides."""
        return (self.judge.__doc__ or "").strip()


DECISIONS: list[Decision] = []

INPUTS = frozenset({"ip_local_deliver", "ip_forward", "ip_error", "ip_mr_input"})
OUTPUTS = frozenset({"ip_output", "ip_mc_output", "xfrm4_output"})
HANDLERS: dict[str, tuple[int, ...]] = {
    "tcp_v4_rcv": (6,),
    "udp_rcv": (17,),
    "icmp_rcv": (1,),
    "igmp_rcv": (2,),
    "xfrm4_esp_rcv": (50,),
    "xfrm4_ah_rcv": (51,),
    "xfrm4_ipcomp_rcv": (108,),
    "gre_rcv": (47,),
    "tunnel4_rcv": (4,),
}
"""Handler → IP protocols (net_protocol tables: net/ipv4/af_inet.c, xfrm4_protocol.c, gre_demux.c, tunnel4.c)."""
RESOLVED = 0x80 | 0x40 | 0x02 | 0x08 | 0x10
"""NUD_PERMANENT, NOARP, REACHABLE (together NUD_CONNECTED), DELAY, PROBE: include/net/neighbour.h."""


def _decision(
    name: str, at: str, source: str
) -> Callable[[Callable[[Seen], Wrong | None]], Callable[[Seen], Wrong | None]]:
    def add(judge: Callable[[Seen], Wrong | None]) -> Callable[[Seen], Wrong | None]:
        DECISIONS.append(Decision(name, frozenset(at.split()), source, judge))
        return judge

    return add


def below(seen: Seen, *names: str) -> Seen | None:
    """The first frame of these functions inside, for the same buffer (or without one)."""
    for child in seen.children:
        for inner in child.walk():
            if inner.name in names and inner.life in (seen.life, -1):
                return inner
    return None


@_decision("dst->input", " ".join(sorted(INPUTS)), "include/net/dst.h:dst_input")
def input_by_dst(seen: Seen) -> Wrong | None:
    """The function that takes a routed packet is the one that its route's ``input`` holds."""
    held = seen.facts.dst_input
    if not seen.own or held == seen.name or held not in INPUTS:
        return None
    if (held, seen.name) == ("ip_mr_input", "ip_local_deliver"):
        return None  # the router is in the group, too (net/ipv4/ipmr.c:ip_mr_input)
    return Wrong(seen, held, seen.name, f"dst->input is {held}")


@_decision("dst->output", " ".join(sorted(OUTPUTS)), "include/net/dst.h:dst_output")
def output_by_dst(seen: Seen) -> Wrong | None:
    """The function that puts a packet out is the one that its route's ``output`` holds."""
    held = seen.facts.dst_output
    if not seen.own or held == seen.name or held not in OUTPUTS:
        return None
    return Wrong(seen, held, seen.name, f"dst->output is {held}")


@_decision("IPsec or not", "xfrm4_output ip_output", "net/xfrm/xfrm_policy.c:xfrm_bundle_create")
def transform_by_dst(seen: Seen) -> Wrong | None:
    """A packet goes through xfrm4_output exactly if its route belongs to a transform."""
    facts = seen.facts
    if not seen.own or facts.dst_output != seen.name:
        return None
    if seen.name == "xfrm4_output" and not facts.xfrm:
        return Wrong(seen, "ip_output", seen.name, "dst->xfrm is not set")
    if seen.name == "ip_output" and facts.xfrm:
        return Wrong(seen, "xfrm4_output", seen.name, "dst->xfrm is set")
    return None


@_decision("ether type", "ip_rcv ip_rcv_core arp_rcv", "net/core/dev.c:deliver_ptype_list_skb")
def receiver_by_ether_type(seen: Seen) -> Wrong | None:
    """skb->protocol chooses the receiver: 0x0800 IPv4, 0x0806 ARP."""
    ether = seen.facts.ether
    if not seen.own or not ether:
        return None
    if (seen.name == "arp_rcv") == (ether == 0x0806) and (seen.name == "arp_rcv" or ether == 0x0800):
        return None
    expected = {0x0800: "ip_rcv", 0x0806: "arp_rcv"}.get(ether, "another protocol")
    return Wrong(seen, expected, seen.name, f"skb->protocol is {ether:#06x}")


@_decision("ip protocol", " ".join(HANDLERS), "net/ipv4/ip_input.c:ip_protocol_deliver_rcu")
def handler_by_protocol(seen: Seen) -> Wrong | None:
    """The IP header's protocol chooses the transport handler."""
    facts = seen.facts
    if not seen.own or not facts.header or facts.proto in HANDLERS[seen.name]:
        return None
    expected = next((name for name, protocols in HANDLERS.items() if facts.proto in protocols), "another handler")
    return Wrong(seen, expected, seen.name, f"the IP protocol is {facts.proto}")


@_decision("route lookup", "ip_route_input_noref", "net/ipv4/ip_input.c:ip_rcv_finish_core")
def lookup_without_route(seen: Seen) -> Wrong | None:
    """A received packet that has a route already (loopback, early demux) is not looked up."""
    held = seen.facts.dst_input
    if not seen.own or held not in INPUTS or not seen.facts.header:
        return None
    return Wrong(seen, held, seen.name, f"the packet has a route, its dst->input is {held}")


@_decision("TTL", "ip_forward", "net/ipv4/ip_forward.c:ip_forward")
def forward_by_ttl(seen: Seen) -> Wrong | None:
    """A packet whose TTL is 1 or less is not forwarded."""
    if not seen.own or not seen.facts.header or not seen.facts.ttl_expired:
        return None
    on = below(seen, "ip_forward_finish")
    return Wrong(on, "a drop", on.name, "its TTL was 1 or less at ip_forward") if on else None


@_decision("forward too big", "ip_forward", "net/ipv4/ip_forward.c:ip_exceeds_mtu")
def forward_by_size(seen: Seen) -> Wrong | None:
    """A packet with DF that is longer than the next MTU, and no GSO packet, is not forwarded."""
    facts = seen.facts
    if not seen.own or not facts.header or not (facts.df and facts.over_mtu) or facts.gso or facts.xfrm:
        return None
    on = below(seen, "ip_forward_finish")
    return Wrong(on, "a drop", on.name, "it has DF set and is longer than the MTU") if on else None


@_decision("fragment or not", "__ip_finish_output", "net/ipv4/ip_output.c:__ip_finish_output")
def fragment_by_size(seen: Seen) -> Wrong | None:
    """A packet that is longer than the MTU, and no GSO packet, goes to ip_fragment; a GSO packet is segmented first."""
    facts = seen.facts
    if not seen.own or facts.over_mtu is None or facts.xfrm:
        return None
    direct = next((c for c in seen.children if c.name == "ip_finish_output2" and c.life == seen.life), None)
    if facts.over_mtu and not facts.gso and direct is not None:
        return Wrong(direct, "ip_fragment", direct.name, "it is longer than the MTU and not GSO")
    return None


@_decision("fragment GSO", "ip_fragment ip_do_fragment", "net/ipv4/ip_output.c:__ip_finish_output")
def gso_is_segmented_first(seen: Seen) -> Wrong | None:
    """A GSO packet is never cut into fragments before it is segmented."""
    facts = seen.facts
    if not seen.own or not facts.gso:
        return None
    return Wrong(seen, "ip_finish_output2", seen.name, "it is GSO")


@_decision("DF", "ip_fragment", "net/ipv4/ip_output.c:ip_fragment")
def fragment_by_df(seen: Seen) -> Wrong | None:
    """A packet without DF is cut, not refused."""
    facts = seen.facts
    if not seen.own or not facts.header or facts.df or facts.was_fragments:
        return None
    refused = below(seen, "__icmp_send", "icmp_send")
    if refused is None or below(seen, "ip_do_fragment"):
        return None
    return Wrong(refused, "ip_do_fragment", refused.name, "DF is not set")


@_decision("reassembly", "ip_local_deliver", "net/ipv4/ip_input.c:ip_local_deliver")
def defragment_fragments(seen: Seen) -> Wrong | None:
    """A fragment is put to the others before it is delivered, and a whole packet is not."""
    facts = seen.facts
    if not seen.own or not facts.header:
        return None
    held = next((c for c in seen.children if c.name == "ip_defrag"), None)
    on = next((c for c in seen.children if c.name in ("ip_local_deliver_finish", "nf_hook_slow")), None)
    if facts.fragment and held is None and on is not None:
        return Wrong(on, "ip_defrag", on.name, "it is a fragment")
    if not facts.fragment and held is not None:
        return Wrong(held, "ip_local_deliver_finish", held.name, "it is no fragment")
    return None


@_decision("rerouted", "ip_output", "net/ipv4/ip_output.c:ip_output")
def rerouted_skips_the_hook(seen: Seen) -> Wrong | None:
    """A packet that was at POST_ROUTING before (IPSKB_REROUTED) is not asked again."""
    if not seen.own or not seen.facts.rerouted:
        return None
    asked = next((c for c in seen.children if c.name == "nf_hook_slow" and c.facts.hook == 4), None)
    return Wrong(asked, "ip_finish_output", "POST_ROUTING", "IPSKB_REROUTED is set") if asked else None


@_decision("neighbour", "neigh_resolve_output", "net/core/neighbour.c:neigh_event_send")
def resolve_by_state(seen: Seen) -> Wrong | None:
    """A neighbour whose address is known is not asked for: __neigh_event_send is for the other states.

    The state may change between two looks, so this speaks only when both frames saw one in which it is known."""
    event = next((c for c in seen.children if c.name == "__neigh_event_send"), None)
    if event is None or not (seen.facts.nud & RESOLVED and event.facts.nud & RESOLVED):
        return None
    return Wrong(event, "__dev_queue_xmit", event.name, f"nud_state is {seen.facts.nud:#x}: the address is known")


@_decision("hook of the caller", "nf_hook_slow", "include/linux/netfilter.h:NF_HOOK")
def continuation_of_the_hook(seen: Seen) -> Wrong | None:
    """The continuation that a hook is given belongs to the hook."""
    expected = _OKFNS.get((seen.facts.pf, seen.facts.hook))
    if expected is None or seen.facts.okfn not in _ALL_OKFNS or seen.facts.okfn in expected:
        return None
    return Wrong(seen, " or ".join(sorted(expected)), seen.facts.okfn, f"hook {seen.facts.hook}")


_OKFNS: dict[tuple[int, int], frozenset[str]] = {
    (2, 0): frozenset({"ip_rcv_finish", "xfrm4_rcv_encap_finish"}),
    (2, 1): frozenset({"ip_local_deliver_finish"}),
    (2, 2): frozenset({"ip_forward_finish", "ipmr_forward_finish"}),
    (2, 3): frozenset({"dst_output"}),
    (2, 4): frozenset({"ip_finish_output", "ip_mc_finish_output", "__xfrm4_output", "xfrm_output2"}),
}
_ALL_OKFNS = frozenset().union(*_OKFNS.values())


def judge(roots: list[Seen]) -> Iterator[tuple[Decision, Wrong]]:
    """All that decisions have against a tree, in the order of time."""
    for root in roots:
        for seen in root.walk():
            if seen.facts.cls in (Class.END, Class.RELEASE):
                continue
            for decision in _AT.get(seen.name, ()):
                wrong = decision.judge(seen)
                if wrong is not None:
                    yield decision, wrong


_AT: dict[str, list[Decision]] = {}
for _each in DECISIONS:
    for _name in _each.at:
        _AT.setdefault(_name, []).append(_each)
