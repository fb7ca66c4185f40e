"""The vocabulary of conditions: the names that may follow ``when``, and what each means.

A name that ends in ``==`` or ``has`` takes an argument: ``dst->input == ip_forward`` is the term ``dst->input
==`` with the argument ``ip_forward``. The model has a predicate over a packet's facts for what it can see; a
name that is not here is legal in anybody's document, and is reported as not evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kpath.flow.document import Condition, Document, Term

CONDITIONS: dict[str, str] = {
    # Pointers: the argument is a function.
    "dst->input ==": "the route of the packet was made for input by this function",
    "dst->output ==": "the route, or the IPsec bundle, of the packet puts it out by this function",
    "ipprot->handler ==": "the transport protocol of the packet is handled by this function",
    "rx_handler ==": "the device (a port of a bridge, a slave of a bond) gives its frames to this function",
    "neigh->output ==": "the neighbour puts packets out by this function",
    "hh->hh_output ==": "the cached header puts packets out by this function",
    "kernel has": "the running kernel has this function (looked up in its symbols)",
    "kernel lacks": "the running kernel has no such function",
    # The frame and the packet.
    "ether type ==": "skb->protocol, as IPv4, ARP, VLAN",
    "ip protocol ==": "the protocol field of the IP header: TCP, UDP, ICMP, IGMP, ESP, AH, IPIP, GRE",
    "icmp type ==": "the type field of the ICMP header, by name",
    "fragment": "the packet is a fragment (offset or more-fragments set)",
    "last fragment missing came": "with this fragment the datagram is complete",
    "ip options": "the IP header is longer than 20 bytes",
    "router alert": "the header has the router alert option",
    "multicast destination": "the destination address is multicast",
    "broadcast or multicast": "the route is for a broadcast or multicast destination",
    "ttl exceeded": "TTL is 1 or less on arrival at ip_forward",
    "GSO": "skb_is_gso: the buffer stands for several segments",
    "checksum to do": "ip_summed is CHECKSUM_PARTIAL",
    # Routes.
    "no route": "the buffer has no dst (or only one that carries metadata) when the function looks",
    "route cached": "the cache of routes had the answer (gone in 3.6)",
    "same destination as before": "in a list, the buffer before had the same destination and source interface",
    "early demux": "sysctl ip_early_demux and that of the protocol are on, the packet is no fragment and has no route",
    "unicast route through another host": "the lookup gave RTN_UNICAST and forwarding is on",
    "local route": "the lookup gave RTN_LOCAL or RTN_BROADCAST, or the flag RTCF_LOCAL is set",
    "no way there": "no route, or an unreachable or prohibiting one",
    "nexthop has a cached route": "the nexthop keeps a dst that is still valid",
    "loopback device": "the device of the route is the loopback device",
    "multicast routing": "the route is RTN_MULTICAST and the device forwards multicast",
    "should redirect": "the route says that the sender has a nearer gateway (IPSKB_DOREDIRECT)",
    "longer than the MTU, DF set": "longer than the MTU, not to be fragmented, not GSO within the MTU",
    "fragment needed": "longer than the MTU of the route and not GSO",
    "segments too big": "GSO, and its segments are longer than the MTU of the route",
    "rerouted": "IPSKB_REROUTED is set: the packet was at POST_ROUTING before",
    "policy after NAT": "at ip_finish_output dst->xfrm is set, for a policy found after source NAT",
    # Sockets.
    "socket has no valid route": "sk_dst_cache is empty or its check failed",
    "dst obsolete": "dst->obsolete is set, so the dst must be checked before use (always, since 3.6)",
    "dst check fails": "dst->ops->check returned NULL",
    "socket options": "the socket has IP options",
    "connected": "the socket is connected and its route is valid",
    "corked": "MSG_MORE or UDP_CORK: data wait for more",
    "data pending": "the socket has data waiting from a corked send",
    "header included": "IP_HDRINCL: the sender wrote the IP header",
    "head of the queue": "the segment is the one that is to be sent next",
    "forced push": "half of the window that was ever offered is waiting",
    "socket busy": "the socket is in use by a process",
    "listening": "the state is LISTEN",
    "established": "the state is ESTABLISHED",
    "time wait": "the segment belongs to a connection in TIME_WAIT",
    "request socket": "the segment belongs to a connection that is being opened (NEW_SYN_RECV)",
    "socket found": "the lookup, or early demux, gave a socket",
    "SYN": "the segment has SYN and not ACK",
    "raw socket": "a raw socket wants this protocol",
    "encapsulation socket": "the UDP socket decapsulates (ESP in UDP, and other tunnels)",
    "clone": "the segment is kept for retransmission, so a clone is sent",
    "clone in flight": "an earlier clone of the segment is still on its way",
    # IPsec.
    "dst->xfrm": "the dst on the buffer belongs to a transform",
    "policy exists": "a policy for this direction is installed, or the default is to block",
    "policy or secpath": "policies are installed for this direction, or the packet came through IPsec",
    "transforms to apply": "the policy asks for transforms and states for them were found",
    "bundle found": "a bundle for this policy and flow was made before",
    "socket policy": "the socket has a policy of its own",
    "tunnel mode": "the transform is in tunnel mode",
    "transport mode": "the transform is in transport mode",
    "protocol known": "flow.proto is not 0, so policies can be looked up",
    "async crypto": "encryption or decryption finishes in another context (-EINPROGRESS)",
    "offloaded": "the device does the work: ESP or packet offload",
    # Neighbour.
    "neighbour connected": "nud_state is NUD_CONNECTED: its address is known and fresh",
    "cached header": "the neighbour (formerly the route) has a cached link-layer header",
    "no neighbour entry": "the address is not in the table of neighbours",
    "address known": "the address of the neighbour is known; otherwise the packet waits in arp_queue",
    "no address needed": "the device has no link-layer addresses (loopback, tun, NOARP)",
    # Hooks, taps, devices.
    "hook registered": "some function is registered at this hook in this namespace",
    "tap": "somebody listens for all frames (AF_PACKET), in 2.6 on packet_type_all",
    "RPS to another CPU": "receive packet steering chose another CPU",
    "GRO not possible": "the device, or the state of the packet, does not permit GRO",
    "merges": "the packet continues one that GRO holds",
    "batch full or poll ends": "napi->gro_normal_batch packets are waiting, or the poll is over",
    "VLAN tagged": "a VLAN tag stands in the header or in skb->vlan_tci",
    "ingress classifier": "clsact, an ingress qdisc or tcx is attached for receiving",
    "egress classifier": "clsact or tcx is attached for sending",
    "netdev ingress hook": "an nftables ingress chain is attached to the device",
    "netdev egress hook": "an nftables egress chain is attached to the device",
    "generic XDP": "an XDP program runs in the stack instead of the driver",
    "cgroup program": "a BPF program watches the egress of the control group",
    "queueing discipline": "the device has a qdisc with a queue",
    "qdisc can be bypassed": "the qdisc is empty and permits it",
    "header room short": "the buffer lacks room for the link-layer header",
    "lightweight tunnel": "the route has an encapsulation",
    "loop back": "members of the group on this host want a copy",
    "another CPU allocated it": "the buffer was allocated on another CPU, and is freed there",
    "last reference": "nobody else uses the buffer",
    "to this host": "the frame is for the bridge itself",
    "port known": "the forwarding table of the bridge knows the port",
    # Results.
    "no protocol handler": "neither a handler nor a raw socket takes the protocol",
    "no socket": "no socket wants it",
    "returned 1": "the function before returned 1: the hook accepted, the caller goes on",
}

DECISIONS: dict[str, str] = {
    "dst->input": "deliver here, forward, or give up",
    "dst->output": "plain output, multicast output, or IPsec",
    "ether type": "which protocol receives the frame",
    "ip protocol": "which transport protocol receives the packet",
    "kernel": "kernels differ; which function this one has",
    "neigh->output": "how the neighbour puts packets out",
    "rx_handler": "whether a bridge or bond takes the frame",
}
"""Labels of ``by`` that the model knows as decisions; any other label is a caption for the reader."""


def is_known(term: Term) -> bool:
    """Whether the name of a term is in the vocabulary. ``X == f`` for any other pointer is known by its form.

    A term ``pointer == function`` is judged by the frame that follows when the pointer itself is no recorded
    fact."""
    return term.name in CONDITIONS or (term.name.endswith(" ==") and bool(term.argument))


def meaning(term: Term) -> str:
    """One line on the name of the term; raises KeyError when it is unknown."""
    if term.name not in CONDITIONS and is_known(term):
        return f"the pointer {term.name.removesuffix(' ==')} holds this function"
    return CONDITIONS[term.name]


def terms(document: Document) -> Iterable[tuple[Term, int]]:
    """Every term of every condition with its line in the file."""
    for _, step in document.walk():
        if step.condition is not None:
            for term in step.condition.terms:
                yield term, step.at


def unknown(document: Document) -> list[tuple[Term, int]]:
    """The terms that no predicate can evaluate, with their lines."""
    return [(term, at) for term, at in terms(document) if not is_known(term)]


_WITH_ARGUMENT = re.compile(r"(?P<name>kernel has|kernel lacks|.+? ==) (?P<argument>.+)")


def parse_condition(text: str) -> Condition:
    """``not A and B == c`` as a Condition. Raises ValueError when a term is empty."""
    found = []
    for part in text.split(" and "):
        words = " ".join(part.split())
        negated = words.startswith("not ")
        words = words.removeprefix("not ").strip() if negated else words
        if not words or words in ("not", "and"):
            raise ValueError("a condition is empty")
        match = _WITH_ARGUMENT.fullmatch(words)
        found.append(Term(match["name"], match["argument"], negated) if match else Term(words, "", negated))
    return Condition(tuple(found))
