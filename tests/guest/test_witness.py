"""The call trees are right: ftrace's function_graph tracer, which knows when each function returns, sees the same ones.

kpath and the tracer cannot run at once, because the tracer replaces the return addresses that kpath reads. So each
scenario is played twice, in the same order and in new namespaces. Where nothing depends on chance, the trees must be
the same, all of them, each as often. Where it does (which CPU polls when, what GRO merges), each edge from caller to
callee that kpath has must be known to the tracer, or be evident from the return address or from the code itself.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from kpath.capture.schema import Class, Kind
from kpath.lab import scenarios
from kpath.trace.frames import Frame, FrameBuilder, events_of
from kpath.trace.knowledge import plain
from tests.guest import ftrace
from tests.guest.conftest import Recorded
from tests.guest.tracing import Take

LIFE = frozenset({Class.COPY, Class.RELEASE, Class.END})
"""Their events are told only of packets that kpath follows; the tracer sees those of all buffers (netlink's, UNIX')."""

ROUNDS = 3
"""How often the tracer may look at a scenario until its trees are those that kpath saw."""

CHANCE = frozenset({"tcp-bulk", "tcp-retransmit", "nics-ping", "nics-udp", "nics-tcp"})
"""Besides the busy ones: where the size of segments, timers, or interrupts of cards decide."""

KNOWN = frozenset({
    ("tcp_sendmsg", "tcp_write_xmit"), ("tcp_recvmsg", "tcp_write_xmit"), ("tcp_close", "tcp_write_xmit"),
    ("tcp_tasklet_func", "tcp_write_xmit"), ("tcp_tsq_workfn", "tcp_write_xmit"),
    ("tcp_write_timer", "tcp_write_xmit"), ("tcp_write_timer", "tcp_retransmit_skb"),
    ("tcp_write_timer", "__tcp_retransmit_skb"), ("tcp_retransmit_skb", "__tcp_retransmit_skb"),
    ("tcp_retransmit_skb", "__tcp_transmit_skb"), ("tcp_retransmit_skb", "__sk_dst_check"),
    ("tcp_delack_timer", "tcp_send_ack"), ("tcp_delack_timer", "__tcp_send_ack"),
    ("tcp_v4_rcv", "ip_send_unicast_reply"), ("ip_protocol_deliver_rcu", "consume_skb"),
})  # fmt: skip
"""What one run has and the next one has not, through functions without probes: small queues (tcp_release_cb,
tcp_tsq_handler), timers, answers to late segments. Read in the kernel's source."""

SHOWN = 200
"""Lines of a difference."""

Edge = tuple[str, str]
Tree = tuple[str, tuple["Tree", ...]]


@dataclass(slots=True)
class View:
    """The calls of one scenario: edges and trees as often as they were seen."""

    edges: Counter[Edge] = field(default_factory=Counter)
    trees: Counter[Tree] = field(default_factory=Counter)


@dataclass(slots=True)
class Witness:
    """What the tracer saw of each scenario, round by round."""

    views: dict[str, list[View]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)

    def all_edges(self) -> set[Edge]:
        """Edges of all scenarios."""
        return {edge for views in self.views.values() for view in views for edge in view.edges}


class Shapes:
    """Makes comparable what the two saw: the same functions only, and trees without the ends of buffers' lives."""

    def __init__(self, recorded: Recorded) -> None:
        attached = [p for p in recorded.probes if p.program]
        self.classes = {plain(p.symbol): p.planned.cls for p in attached}
        self.symbols = {p.symbol for p in attached}
        self.roots = {name for name, cls in self.classes.items() if cls is Class.ROOT}

    def frames(self, take: Take, recorded: Recorded) -> list[Frame]:
        """All frames of a take."""
        builder = FrameBuilder(recorded.knowledge)
        events = take.events[np.lexsort((take.events["seq"], take.events["time"]))]
        return [builder.entry(e) for e in events_of(events) if e.kind == Kind.ENTRY]

    def of_frames(self, frames: list[Frame]) -> View:
        """kpath's view. A root begins a tree, whatever it stands in (a poll in net_rx_action)."""
        view = View(Counter((f.parent.name if f.parent else "", f.name) for f in frames))
        view.trees.update(t for f in frames if f.parent is None for t in self._trees(f))
        return self._without_lone(view)

    def of_calls(self, calls: Iterable[ftrace.Call]) -> View:
        """The tracer's view."""
        view = View()
        for root in ftrace.cut(calls, self.roots):
            view.edges["", root.name] += 1
            view.edges.update((call.name, child.name) for call in root.walk() for child in call.children)
            view.trees.update(self._trees(root))
        return self._without_lone(view)

    def _trees(self, call: Frame | ftrace.Call) -> Iterator[Tree]:
        below = tuple(t for child in call.children for t in self._trees(child))
        if self.classes.get(call.name) in LIFE:
            yield from below
        else:
            yield (call.name, below)

    @staticmethod
    def _without_lone(view: View) -> View:
        """A function alone is no edge: polls that find nothing, socket filters of netlink."""
        for tree in [t for t in view.trees if not t[1]]:
            del view.trees[tree]
        return view


@pytest.fixture(scope="module")
def shapes(recorded: Recorded) -> Shapes:
    """How to compare."""
    return Shapes(recorded)


@pytest.fixture(scope="module")
def seen(recorded: Recorded, shapes: Shapes) -> dict[str, list[Frame]]:
    """kpath's frames of all scenarios."""
    return {name: shapes.frames(take, recorded) for name, take in recorded.takes.items()}


@pytest.fixture(scope="module")
def witness(recorded: Recorded, shapes: Shapes, seen: dict[str, list[Frame]]) -> Witness:
    """The same scenarios as the tracer saw them, once kpath has let go of the kernel."""
    found = Witness()
    with ftrace.FunctionGraph(shapes.symbols) as graph, scenarios.lab() as lab:
        found.functions = graph.functions
        for name in recorded.takes:
            wanted = shapes.of_frames(seen[name])
            views = found.views[name] = []
            for _ in range(ROUNDS):
                try:
                    scenarios.play(scenarios.SCENARIOS[name], lab, graph.begin, graph.end)
                except Exception as error:
                    found.failures[name] = repr(error)
                    break
                views.append(shapes.of_calls(ftrace.parse(graph.text, plain)))
                if views[-1].trees == wanted.trees or (is_chance(name) and set(wanted.edges) <= set(views[-1].edges)):
                    break
    summary(seen, shapes, found)
    return found


def is_chance(name: str) -> bool:
    """Does the scenario depend on chance?"""
    return scenarios.SCENARIOS[name].busy or name in CHANCE


def summary(seen: dict[str, list[Frame]], shapes: Shapes, witness: Witness) -> None:
    """What was compared, for the record, where the guest's output goes."""
    calls = trees = same = 0
    kinds: set[Edge] = set()
    for name, frames in seen.items():
        view = shapes.of_frames(frames)
        calls += len(frames)
        trees += sum(view.trees.values())
        same += max((sum((view.trees & v.trees).values()) for v in witness.views[name]), default=0)
        kinds |= view.edges.keys()
    witnessed = len(kinds & witness.all_edges())
    if "KPATH_OUT" in os.environ:
        Path(os.environ["KPATH_OUT"], "witness.txt").write_text(
            f"{calls} calls; {witnessed} of {len(kinds)} kinds of edges were seen by function_graph, too; "
            f"{same} of {trees} trees are the same\n"
        )


NAMES = list(scenarios.SCENARIOS)


@pytest.mark.parametrize("name", [n for n in NAMES if not is_chance(n)])
def test_trees_are_the_tracer_s(
    recorded: Recorded, shapes: Shapes, seen: dict[str, list[Frame]], witness: Witness, name: str
) -> None:
    """Every tree, as often as the tracer saw it."""
    recorded.take(name)
    assert name not in witness.failures, witness.failures[name]
    mine = shapes.of_frames(seen[name]).trees
    theirs = [view.trees for view in witness.views[name]]
    assert mine in theirs, "\n".join(islice(difference(mine, theirs[-1]), SHOWN))


@pytest.mark.parametrize("name", NAMES)
def test_no_edge_is_made_up(
    recorded: Recorded, shapes: Shapes, seen: dict[str, list[Frame]], witness: Witness, name: str
) -> None:
    """The tracer has seen each of kpath's edges, too, or it needs no witness."""
    recorded.take(name)
    known = witness.all_edges()
    edges = {(f.parent.name, f.name, f.caller) for f in seen[name] if f.parent and not evident(f, recorded)}
    odd = sorted(edge for edge in edges if edge[:2] not in known | KNOWN)
    assert not odd, "\n".join(f"{parent} -> {child}, called from {caller}" for parent, child, caller in odd)


@pytest.mark.parametrize("name", NAMES)
def test_no_caller_is_missing(recorded: Recorded, seen: dict[str, list[Frame]], name: str) -> None:
    """A frame whose caller was probed has that caller as its parent."""
    recorded.take(name)
    assert not [f for f in seen[name] if f.orphan]


def test_the_tracer_knows_the_functions(shapes: Shapes, witness: Witness) -> None:
    """The witness is worth something only if it looks at the same functions."""
    assert len(shapes.symbols & witness.functions) > 0.95 * len(shapes.symbols)


def evident(frame: Frame, recorded: Recorded) -> bool:
    """Does the return address lie in the parent's code, or (a tail jump) is the jump there?"""
    assert frame.parent is not None
    if frame.tail:
        return recorded.knowledge.may_jump(frame.parent.name, frame.name) is True
    return frame.caller == frame.parent.name


def difference(mine: Counter[Tree], theirs: Counter[Tree]) -> Iterator[str]:
    """The trees that only one has."""
    for title, trees in (("only kpath:", mine - theirs), ("only function_graph:", theirs - mine)):
        for tree, count in trees.items():
            yield f"{title} {count} times"
            yield from outline(tree, 1)


def outline(tree: Tree, depth: int) -> Iterator[str]:
    """A tree, indented."""
    yield "  " * depth + tree[0]
    for child in tree[1]:
        yield from outline(child, depth + 1)
