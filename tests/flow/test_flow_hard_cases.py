"""Call trees as today's kernels make them are read by the documents; and wrong ones are not.

The reader here is as small as can be: the model proper is another package. It takes the semantics of the manual
literally: a step that cannot be seen on the kernel is passed in silence, frames that the document does not name are
looked through, hooks may be absent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from kpath.flow import Change, Graph, How, Kind, Lineage, load, resolve
from kpath.flow.resolve import Symbols

DATA = Path(__file__).parent / "data"


@dataclass
class Frame:
    name: str
    calls: list[Frame] = field(default_factory=list)


def tree(text: str) -> Frame:
    """Indented names as a tree of frames."""
    top = Frame("")
    stack = [(-1, top)]
    for line in text.splitlines():
        if line.strip():
            indent = len(line) - len(line.lstrip())
            while stack[-1][0] >= indent:
                stack.pop()
            frame = Frame(line.strip())
            stack[-1][1].calls.append(frame)
            stack.append((indent, frame))
    (root,) = top.calls
    return root


class Reader:
    """Whether a tree of frames is one that a document allows."""

    def __init__(self, document: str, kernel: str) -> None:
        self.graph = Graph.of(load(document))
        view = Symbols(json.loads((DATA / "symbols.json").read_text("utf-8"))[kernel].split())
        self.lineage = Lineage.load()
        named = self.graph.document.functions()
        self.seen = {
            name: resolution
            for node in self.graph.frames()
            for name in self.graph.functions(node.id)
            if (resolution := resolve(self.lineage.of(name), view, named)).how is How.FRAME
        }
        self.known = {symbol for resolution in self.seen.values() for symbol in resolution.symbols} | {"nf_hook_slow"}
        self.busy: set[tuple[str, int, int]] = set()

    def accepts(self, root: Frame) -> bool:
        return any(
            root.name in self._symbols(start) and len(calls := self._visible(root)) in self._body(start, calls, 0)
            for start in self.graph.roots.values()
        )

    def _visible(self, frame: Frame) -> list[Frame]:
        """The frames inside this one that the document names."""
        return [inner for call in frame.calls for inner in ([call] if call.name in self.known else self._visible(call))]

    def _symbols(self, id: str) -> set[str]:
        return {s for name in self.graph.functions(id) if name in self.seen for s in self.seen[name].symbols}

    def _changed(self, id: str) -> Change | None:
        """What the lineage says of the arrow to this step, if its caller and callee have changed."""
        owner = self.graph.nodes[id].owner
        found = {
            arrow.what
            for caller in self.graph.functions(owner)
            for callee in self.graph.functions(id)
            if (arrow := self.lineage.arrow(caller, callee)) is not None
        }
        return next(iter(found), None)

    def _body(self, id: str, frames: list[Frame], begin: int) -> set[int]:
        """The places up to which the inside of a step may have read ``frames``, from ``begin`` on."""
        key = (self.graph.body(id).owner, begin, len(frames))
        if key in self.busy:
            return set()
        self.busy.add(key)
        body = self.graph.body(id)
        done = {begin} if body.nullable else set()
        states = {(position, end) for position in body.first for end in self._step(position, frames, begin)}
        reached = set(states)
        while states:
            states = {
                (after, end)
                for position, at in states
                for after in body.after(position)
                for end in self._step(after, frames, at)
            } - reached
            reached |= states
        self.busy.discard(key)
        return done | {end for position, end in reached if body.may_return(position)}

    def _step(self, id: str, frames: list[Frame], at: int) -> set[int]:
        step = self.graph.nodes[id].step
        here = frames[at] if at < len(frames) else None
        if step.kind is Kind.HOOK:
            return {at, at + 1} if here is not None and here.name == "nf_hook_slow" else {at}
        if not step.is_frame or step.kind is Kind.QUEUE:
            return {at}
        found: set[int] = set()
        symbols = self._symbols(id)
        if here is not None and here.name in symbols:
            calls = self._visible(here)
            if len(calls) in self._body(id, calls, 0):
                found.add(at + 1)
        if step.open:  # a function that the document does not name, so its frame is looked through
            found.add(at)
        changed = self._changed(id)
        if changed is Change.REMOVED:
            found.add(at)
        if changed is Change.REPLACED or not all(
            name in self.seen and self.seen[name].certain for name in self.graph.functions(id)
        ):
            found |= self._body(id, frames, at)
        return found


@cache
def reader(document: str, kernel: str) -> Reader:
    return Reader(document, kernel)


OUT = """
{0}ip_output
{0}  nf_hook_slow
{0}  ip_finish_output
{0}    __ip_finish_output
{0}      ip_finish_output2
{0}        __dev_queue_xmit
{0}          netdev_core_pick_tx
{0}          validate_xmit_skb
{0}          dev_hard_start_xmit
{0}            veth_xmit
"""


def out(indent: int) -> str:
    return OUT.format(" " * indent)


FORWARD = f"""
ip_rcv
  ip_rcv_core
  nf_hook_slow
  ip_rcv_finish_core.constprop.0
    ip_route_input_noref
      ip_route_input_slow
        fib_table_lookup
        fib_validate_source
          __fib_validate_source
            fib_table_lookup
        rt_dst_alloc
  ip_forward
    nf_hook_slow
    ip_forward_finish
{out(6)}"""

LISTED = """
netif_receive_skb_list_internal
  __netif_receive_skb_list_core
    __netif_receive_skb_core.constprop.0
    ip_list_rcv
      ip_rcv_core
      ip_sublist_rcv
        nf_hook_slow_list
          nf_hook_slow
        ip_rcv_finish_core.constprop.0
          tcp_v4_early_demux
        ip_sublist_rcv_finish
          ip_local_deliver
            ip_local_deliver_finish
              ip_protocol_deliver_rcu
                raw_local_deliver
                tcp_v4_rcv
                  tcp_v4_do_rcv
                    tcp_rcv_established
                      tcp_queue_rcv
"""

TUNNEL = f"""
ip_forward
  __xfrm_route_forward
    xfrm_lookup_with_ifid
      xfrm_policy_lookup_bytype
      xfrm_expand_policies.constprop.0
      xfrm_resolve_and_create_bundle
        xfrm_state_find
        xfrm4_dst_lookup
          __xfrm4_dst_lookup
            ip_route_output_key_hash
              ip_route_output_key_hash_rcu
                fib_table_lookup
        xfrm4_fill_dst
  ip_forward_finish
    xfrm4_output
      nf_hook_slow
      __xfrm4_output
        xfrm_output
          xfrm_output_resume
            xfrm_outer_mode_output
            xfrm_replay_overflow
            esp_output
              esp_output_head
              esp_output_tail
            skb_dst_pop
            __ip_local_out
              ip_send_check
              nf_hook_slow
{out(12)}"""

FRAGMENTS = """
ip_forward
  ip_forward_finish
    ip_output
      ip_finish_output
        __ip_finish_output
          ip_fragment.constprop.0
            ip_do_fragment
              ip_finish_output2
                __dev_queue_xmit
                  validate_xmit_skb
                  dev_hard_start_xmit
              ip_finish_output2
                neigh_resolve_output
                  __dev_queue_xmit
                    validate_xmit_skb
                    dev_hard_start_xmit
"""

RETRANSMISSION = f"""
tcp_retransmit_skb
  __tcp_retransmit_skb
    __tcp_transmit_skb
      skb_clone
      ip_queue_xmit
        __ip_queue_xmit
          __sk_dst_check
            ipv4_dst_check
          ip_local_out
            __ip_local_out
              ip_send_check
{out(12)}"""

SYN_ACK = f"""
ip_local_deliver_finish
  ip_protocol_deliver_rcu
    raw_local_deliver
    tcp_v4_rcv
      __inet_lookup_established
      __inet_lookup_listener
      tcp_v4_do_rcv
        tcp_rcv_state_process
          tcp_v4_conn_request
            tcp_conn_request
              inet_csk_route_req
                ip_route_output_flow
                  ip_route_output_key_hash_rcu
              tcp_v4_send_synack
                tcp_make_synack
                ip_build_and_send_pkt
                  __ip_local_out
                    ip_send_check
{out(18)}"""

DATAGRAM = f"""
udp_sendmsg
  ip_route_output_flow
    ip_route_output_key_hash_rcu
      fib_table_lookup
    xfrm_lookup_route
      xfrm_lookup_with_ifid
        xfrm_policy_lookup_bytype
  ip_make_skb
    __ip_append_data
    __ip_make_skb
  udp_send_skb
    ip_send_skb
      __ip_local_out
        ip_send_check
        nf_hook_slow
{out(6)}"""

WAITS = """
ip_finish_output2
  __neigh_create
  neigh_resolve_output
    __neigh_event_send
      arp_solicit
        arp_send_dst
          arp_create
          arp_xmit
            __dev_queue_xmit
              validate_xmit_skb
              dev_hard_start_xmit
"""

PING = f"""
ip_local_deliver
  ip_local_deliver_finish
    ip_protocol_deliver_rcu
      raw_local_deliver
      icmp_rcv
        icmp_echo
          icmp_reply
            ip_route_output_flow
              ip_route_output_key_hash_rcu
            icmp_push_reply
              ip_append_data
                __ip_append_data
              ip_push_pending_frames
                __ip_make_skb
                __ip_local_out
                  ip_send_check
{out(16)}"""

TODAY = {
    "forward": FORWARD,
    "list": LISTED,
    "tunnel": TUNNEL,
    "fragments": FRAGMENTS,
    "retransmission": RETRANSMISSION,
    "SYN-ACK": SYN_ACK,
    "datagram": DATAGRAM,
    "waits for ARP": WAITS,
    "ping": PING,
}


@pytest.mark.parametrize("case", TODAY)
def test_todays_document_reads(case: str) -> None:
    assert reader("linux-6", "6.12").accepts(tree(TODAY[case]))


def part(case: str, root: str) -> str:
    """The tree of a case from one of its frames on."""
    return root + TODAY[case].partition(root)[2]


@pytest.mark.parametrize(
    ("case", "root"),
    [
        ("forward", "ip_rcv\n"),
        ("tunnel", "ip_forward\n"),
        ("fragments", "ip_forward\n"),
        ("ping", "ip_local_deliver\n"),
        ("retransmission", "__tcp_transmit_skb\n"),
        ("SYN-ACK", "tcp_v4_rcv\n"),
        ("datagram", "udp_sendmsg\n"),
        ("list", "netif_receive_skb_list_internal\n"),
    ],
)
def test_the_document_of_2011_reads(case: str, root: str) -> None:
    assert reader("linux-2.6.21.1", "6.12").accepts(tree(part(case, root)))


@pytest.mark.parametrize("root", ["__tcp_transmit_skb\n", "ip_queue_xmit\n", "ip_output\n"])
def test_the_document_of_2013_reads(root: str) -> None:
    assert reader("linux-2.6.32.27", "6.12").accepts(tree(part("retransmission", root)))


@pytest.mark.parametrize(
    ("case", "what", "instead"),
    [
        ("forward", "  ip_rcv_core\n", ""),
        ("forward", "    ip_forward_finish\n", "    ip_forward_finish\n    ip_forward_finish\n"),
        ("forward", "  ip_forward\n", "  ip_local_deliver\n"),
        ("forward", "      ip_route_input_slow\n", "      ip_output\n"),
        ("forward", "          ip_finish_output2", "          ip_forward"),
        ("tunnel", "              ip_send_check\n", ""),
        ("tunnel", "xfrm_output_resume", "ip_output"),
        (
            "fragments",
            "              ip_finish_output2\n                neigh",
            "              ip_output\n                neigh",
        ),
        ("SYN-ACK", "tcp_make_synack\n", "tcp_make_synack\n                tcp_make_synack\n"),
        ("datagram", "  udp_send_skb\n", "  ip_queue_xmit\n"),
    ],
)
def test_what_is_wrong_is_not_read(case: str, what: str, instead: str) -> None:
    assert what in TODAY[case]
    assert not reader("linux-6", "6.12").accepts(tree(TODAY[case].replace(what, instead, 1)))
