"""Are the call trees that two observers saw of the same traffic the same, but for chance?

Neither sees what the other sees: each watches traffic of its own. So it must be known what may differ between two
runs of a kernel that does all right:

* *How work is cut into pieces.* One poll of the backlog may take two packets or two polls one each; a segment that
  finds its socket in use waits, and whoever lets go of the socket works it off: in a softirq, in ``tcp_sendmsg``, in
  ``tcp_recvmsg``. Therefore trees are cut where such a piece of work begins (:data:`PIECES`), and what is compared is
  the piece.
* *How many segments TCP sends, and why just then.* Acknowledgements are held back, merged, sent by a timer. Where
  there is TCP, a piece must occur, not as often; and what TCP itself decides (trees of ``tcp_*``) is not compared as
  a whole. Its edges are, as all edges are. How many segments TCP puts into one buffer follows from the round trip that
  it measured, and how many of them a queue gives at once from how slow the machine is, so where there are several
  (:data:`BATCHES`), equal ones one after another are told once.
* *What comes by itself*: a timer, an interrupt, a copy that goes another way. It does not come each time.

Hence the rule, for each shape of a tree in a scenario: the lowest and the highest number of times that the one saw it
in any of its runs, and the same of the other, must overlap. An error in building trees comes back with every run, so
that its shape stays without a counterpart however often both look; what chance did goes away when they look again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from tests.guest.ftrace import Call, cut

PIECES = frozenset({"__netif_receive_skb", "__netif_receive_skb_one_core", "tcp_v4_do_rcv", "__tcp_transmit_skb"})
"""Where the work on one packet begins that may be done by one or another: a packet out of a poll
(net/core/dev.c:process_backlog), a segment out of a softirq or out of a socket's backlog
(net/ipv4/tcp_ipv4.c:tcp_v4_rcv, net/core/sock.c:__release_sock), a segment that TCP sends whatever was the cause."""

WAITING = frozenset({"tcp_add_backlog"})
"""Told of a segment that waits, whose piece of work comes later; the piece that hands it over is the same without."""

ASIDE = frozenset({("xfrm_state_find", "sk_filter_trim_cap")})
"""Edges to buffers that are no IPv4 packets, which kpath leaves out: a state that is missing is asked for by netlink
(net/xfrm/xfrm_state.c:km_query), and the key daemon's socket may have a filter."""

TUNNELS = ("dev_hard_start_xmit", "ip_tunnel_xmit", "ipgre_xmit", "ipip_tunnel_xmit")
"""Who is seen to call a tunnel's driver, or is one."""

KEPT = frozenset((tunnel, "ip_route_output_flow") for tunnel in TUNNELS)
"""Edges to the look-up of a tunnel's outer route. A tunnel keeps that route for each CPU, and what was kept in the very
jiffy in which the tunnel learned of its peer does not count (net/core/dst_cache.c:dst_cache_per_cpu_get): so whether
the packet after it looks again follows from how fast an observer lets the machine be, which is alike in all its runs.
"""

BATCHES = frozenset({"xfrm_output_gso", "__qdisc_run", "validate_xmit_skb_list", "dev_hard_start_xmit"})
"""Who does the same for each of some packets, of which there may be more or fewer: segments of a buffer
(net/xfrm/xfrm_output.c:xfrm_output_gso), and what a queue has and gives at once
(net/sched/sch_generic.c:try_bulk_dequeue_skb)."""

TCP = "tcp_v4_rcv"
"""Who sees this has seen TCP."""

POLLS = frozenset({"net_rx_action", "__napi_poll", "process_backlog"})
"""A poll that finds nothing: how often another CPU is woken for packets that are gone by then is chance."""

QUEUES = frozenset({"net_tx_action", "__qdisc_run"})
"""A queue that is run when nothing in it is due. netem's packets wait for a timer (net/sched/sch_api.c:qdisc_watchdog),
but whoever queues the next one takes what is due by then: who is first follows from how much an observer slows down
the machine, which is alike in all of its runs. What is taken out of a queue is compared, as all else."""

Edge = tuple[str, str]
Tree = tuple[str, tuple["Tree", ...]]


@dataclass(slots=True)
class Sight:
    """What one of the two saw of one run of a scenario: edges from caller to callee, and pieces of work."""

    edges: Counter[Edge] = field(default_factory=Counter)
    trees: Counter[Tree] = field(default_factory=Counter)


class Difference(NamedTuple):
    """A shape, and how often each of the two saw it, run by run."""

    tree: Tree
    mine: tuple[int, ...]
    theirs: tuple[int, ...]

    def __str__(self) -> str:
        head = f"kpath saw this {_times(self.mine)}, the tracer {_times(self.theirs)}:"
        return "\n".join([head, *outline(self.tree)])


def sight(roots: Iterable[Call], begin: Collection[str], without: Collection[str]) -> Sight:
    """The sight of these trees, which are cut to pieces.

    ``begin``: functions that begin a tree, whatever they stand in. ``without``: functions that are edges, but in no
    tree. A function alone is no tree: polls that find nothing, socket filters of netlink.
    """
    seen = Sight()
    whole = cut(roots, begin)
    for root in whole:
        seen.edges["", root.name] += 1
        seen.edges.update((call.name, child.name) for call in root.walk() for child in call.children)
    for piece in cut(whole, PIECES):
        seen.trees.update(tree for tree in _trees(piece, without) if tree[1])
    return seen


def _trees(call: Call, without: Collection[str]) -> Iterator[Tree]:
    inside = (child for child in call.children if (call.name, child.name) not in ASIDE | KEPT)
    below = tuple(t for child in inside for t in _trees(child, without))
    if call.name in BATCHES:
        below = tuple(tree for tree, _ in groupby(below))
    if call.name in without or call.name in WAITING:
        yield from below
    else:
        yield (call.name, below)


def names(tree: Tree) -> set[str]:
    """All functions of a tree."""
    return {tree[0]}.union(*map(names, tree[1]))


def differences(mine: Sequence[Sight], theirs: Sequence[Sight]) -> list[Difference]:
    """The shapes that chance does not explain (see above); both must have looked at least once."""
    tcp = any(TCP in edge for sight in (*mine, *theirs) for edge in sight.edges)
    found: list[Difference] = []
    for tree in dict.fromkeys(tree for sight in (*mine, *theirs) for tree in sight.trees):
        if names(tree) <= QUEUES:
            continue
        a = tuple(sight.trees[tree] for sight in mine)
        b = tuple(sight.trees[tree] for sight in theirs)
        if tcp or names(tree) <= POLLS:
            apart = not tree[0].startswith("tcp_") and ((min(a) > 0 and not any(b)) or (min(b) > 0 and not any(a)))
        else:
            apart = max(a) < min(b) or max(b) < min(a)
        if apart:
            found.append(Difference(tree, a, b))
    return found


def outline(tree: Tree, depth: int = 1) -> Iterator[str]:
    """A tree, indented."""
    yield "  " * depth + tree[0]
    for child in tree[1]:
        yield from outline(child, depth + 1)


def _times(counts: tuple[int, ...]) -> str:
    return " and ".join(map(str, counts)) + " times"
