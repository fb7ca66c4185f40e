"""Invariants: what holds on every path, whatever the document says.

Each is a small function over the tree of a traversal that yields what breaks it. They say nothing where packets were
not read, and leave alone what code of others (hook functions, classifiers, XDP) may do to a packet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kpath.capture.schema import Class
from kpath.model.seen import Seen, Tree
from kpath.model.view import CaptureView

ACCEPT, STOLEN, DROPPED = 1, 0, -1
"""What nf_hook_slow returned, reduced to its sign."""

REWRITERS = frozenset({
    "nf_hook_slow", "__dev_queue_xmit", "dev_queue_xmit", "__netif_receive_skb", "__netif_receive_skb_one_core",
    "__netif_receive_skb_core", "netif_receive_skb", "tcf_classify", "do_xdp_generic", "lwtunnel_output",
    "lwtunnel_xmit", "sch_direct_xmit", "netif_rx", "__netif_rx", "netif_rx_internal", "enqueue_to_backlog",
    "dev_qdisc_enqueue",
})  # fmt: skip
"""After these somebody's own code (netfilter, a classifier, a BPF program, a queue that corrupts on purpose) may have
written to the packet."""

TUNNELS = frozenset({
    "xfrm_output", "xfrm_output2", "xfrm_output_resume", "xfrm_outer_mode_output", "esp_output", "esp_output_head",
    "esp_output_tail", "ah_output", "ipcomp_output", "xfrm4_output", "__xfrm4_output", "xfrm_input",
    "xfrm_input_resume", "esp_input", "esp_input_done2", "ah_input", "ipcomp_input", "xfrm4_rcv",
    "xfrm4_esp_rcv", "xfrm4_ah_rcv",
    "xfrm4_rcv_encap", "xfrm4_udp_encap_rcv", "xfrm_rcv_cb", "gre_rcv", "ipip_rcv", "tunnel4_rcv", "ip_tunnel_rcv",
    "ipip_tunnel_xmit", "ipgre_xmit", "ip_tunnel_xmit", "xfrmi_xmit", "gro_cells_receive", "dev_hard_start_xmit",
    "udp_queue_rcv_one_skb",
})  # fmt: skip
"""After these the header in front may be another one."""

OPTIONS = frozenset({"ip_forward_options", "ip_rcv_finish_core", "ip_rcv", "ip_forward", "ip_forward_finish"})
"""After these a source route may have changed the destination."""

COPIED = "__copy_skb_header"
"""With this frame a copy begins, whose header is that of its original."""

ENDS = frozenset({Class.END})
FREEING = frozenset({Class.END, Class.RELEASE})

NETWORK = frozenset({Class.IP, Class.NEIGHBOUR})
"""Classes of frames that are part of a packet's way; a buffer that was freed is not seen in them again."""


class Broken(NamedTuple):
    """Where an invariant does not hold, and how."""

    seen: Seen
    message: str


@dataclass(frozen=True, slots=True)
class Invariant:
    """One named check."""

    name: str
    check: Callable[[Tree, CaptureView], Iterator[Broken]]

    @property
    def doc(self) -> str:
        """What must hold."""
        return (self.check.__doc__ or "").strip()


INVARIANTS: list[Invariant] = []
_Check = Callable[[Tree, CaptureView], Iterator[Broken]]


def _invariant(name: str) -> Callable[[_Check], _Check]:
    def add(check: _Check) -> _Check:
        INVARIANTS.append(Invariant(name, check))
        return check

    return add


@_invariant("nothing after free")
def nothing_after_free(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """A buffer that was freed is not seen on its way again."""
    freed: set[int] = set()
    for seen in tree.walk():
        if seen.life < 0:
            continue
        if seen.facts.cls in NETWORK and seen.life in freed:
            yield Broken(seen, f"the buffer was freed before it came to {seen.name}")
            freed.discard(seen.life)
        elif seen.facts.cls in ENDS:
            freed.add(seen.life)


@_invariant("one end")
def one_end(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """A buffer is freed at most once."""
    freed: set[int] = set()
    for seen in tree.walk():
        if seen.life >= 0 and seen.facts.cls in ENDS:
            if seen.life in freed:
                yield Broken(seen, "the buffer was freed a second time")
            freed.add(seen.life)


@_invariant("nothing after a hook's drop")
def nothing_after_hook_drop(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """After a hook has dropped or kept a packet nothing else happens to it on that stack but its freeing."""
    for root in tree.roots:
        frames = list(root.walk())
        for index, hook in enumerate(frames):
            if hook.facts.verdict not in (STOLEN, DROPPED) or hook.life < 0:
                continue
            # What the hook's functions did themselves comes before its verdict.
            for seen in frames[index + sum(1 for _ in hook.walk()) :]:
                if seen.life == hook.life and seen.facts.cls in NETWORK | {Class.HOOK}:
                    did = "dropped" if hook.facts.verdict == DROPPED else "kept"
                    yield Broken(seen, f"a hook had {did} the packet before it came to {seen.name}")
                    break


def _copied_in_queues(tree: Tree) -> set[int]:
    """Buffers that a queue made: duplicates and segments, which it may corrupt as it may its original (netem).

    5.10 has no dev_qdisc_enqueue: there its caller stands for it. A copy with nothing around may be a queue's, too."""
    queues = (seen for seen in tree.walk() if seen.name in ("dev_qdisc_enqueue", "__dev_queue_xmit"))
    copies = [*tree.roots, *(inner for queue in queues for inner in queue.walk())]
    return {copy.life for copy in copies if copy.name == COPIED}


@_invariant("TTL")
def ttl_falls_by_one_on_forward(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """The TTL falls by exactly one in ip_forward (or in multicast forwarding), and nowhere else."""
    forwarding: dict[int, int | None] = {}  # buffer -> how far its TTL has changed since ip_forward
    queued = _copied_in_queues(tree)
    for seen in tree.walk():
        step, before = seen.facts.ttl_step, seen.facts.before
        if not before:
            continue
        if seen.life in forwarding:
            so_far = forwarding[seen.life]
            total = None if so_far is None or step is None else so_far + step
            forwarding[seen.life] = total
            if seen.name in _FORWARDED or seen.facts.hook == FORWARD:
                del forwarding[seen.life]
                if total not in (-1, None):
                    yield Broken(seen, f"the TTL changed by {total:+d} in ip_forward")
            elif total not in (0, -1, None):
                del forwarding[seen.life]
                yield Broken(seen, f"the TTL changed by {total:+d} in ip_forward")
        elif before == COPIED and seen.life in queued:
            continue
        elif step and before not in REWRITERS | TUNNELS | _MULTICAST and seen.name not in TUNNELS:
            yield Broken(seen, f"the TTL changed by {step:+d} between {before} and {seen.name}")
        if seen.name == "ip_forward":
            forwarding[seen.life] = 0


FORWARD = 2
"""NF_INET_FORWARD."""
_FORWARDED = frozenset({"ip_forward_finish", "ip_forward_options", "ip_output", "xfrm4_output", "ip_mc_output"})
_MULTICAST = frozenset({"ip_mr_input", "ip_mr_forward", "ipmr_queue_xmit", "ipmr_queue_fwd_xmit"})


@_invariant("addresses")
def addresses_change_only_where_they_may(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """Addresses change only in a hook, a classifier, a tunnel, IPsec, or by a source route."""
    queued = _copied_in_queues(tree)
    for seen in tree.walk():
        before = seen.facts.before
        if not seen.facts.readdressed or before in REWRITERS | TUNNELS | OPTIONS or seen.name in TUNNELS:
            continue
        if before == COPIED and seen.life in queued:
            continue
        yield Broken(seen, f"an address changed between {before} and {seen.name}")


@_invariant("IPsec after a lookup")
def ipsec_only_with_bundle(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """A packet goes into IPsec output only with a route that a policy lookup made (dst->xfrm is set)."""
    for seen in tree.walk():
        if seen.name == "xfrm_output" and seen.own and seen.facts.dst_output and not seen.facts.xfrm:
            yield Broken(seen, "the packet came to xfrm_output with a route that belongs to no transform")


@_invariant("time")
def time_runs_forward(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """No frame is entered before the frame that it is in."""
    for seen in tree.walk():
        if seen.facts.backwards:
            yield Broken(seen, f"{seen.name} was entered before the frame around it")


@_invariant("hook order")
def hooks_in_order(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """A buffer with one header comes to the IPv4 hooks in the order of the path."""
    last: dict[int, int] = {}
    for seen in tree.walk():
        facts = seen.facts
        if seen.life < 0:
            continue
        if facts.readdressed or seen.name in TUNNELS or facts.rerouted:
            last.pop(seen.life, None)
        if facts.pf != 2 or facts.hook not in _RANK:
            continue
        rank = _RANK[facts.hook]
        before = last.get(seen.life)
        if before is not None and before > rank and not (before == 4 and rank == 4):
            yield Broken(seen, f"{_NAMES[facts.hook]} was asked after {_NAMES[_HOOK_OF[before]]}")
        last[seen.life] = rank


_RANK = {0: 0, 1: 3, 2: 2, 3: 1, 4: 4}
"""PRE_ROUTING or LOCAL_OUT, then FORWARD, or LOCAL_IN; POST_ROUTING is last."""
_HOOK_OF = {rank: hook for hook, rank in _RANK.items()}
_NAMES = {0: "PRE_ROUTING", 1: "LOCAL_IN", 2: "FORWARD", 3: "LOCAL_OUT", 4: "POST_ROUTING"}


@_invariant("caller")
def callers_have_frames(tree: Tree, view: CaptureView) -> Iterator[Broken]:
    """The function that made a call is the frame around, if that function is probed."""

    def walk(seen: Seen, around: Seen | None) -> Iterator[Broken]:
        facts = seen.facts
        if around is not None and facts.caller and not facts.orphan and view.attached(facts.caller):
            expected = around.facts.caller if facts.tail else around.name
            if facts.caller != expected:
                yield Broken(seen, f"{facts.caller} called {seen.name}, but the frame around it is {around.name}")
        for child in seen.children:
            yield from walk(child, seen)

    for root in tree.roots:
        yield from walk(root, None)


def check(tree: Tree, view: CaptureView) -> Iterator[tuple[Invariant, Broken]]:
    """All that is broken."""
    for invariant in INVARIANTS:
        for broken in invariant.check(tree, view):
            yield invariant, broken
