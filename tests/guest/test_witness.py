"""The call trees are right: ftrace's function_graph tracer, which knows when each function returns, sees the same ones.

kpath and the tracer cannot run at once, because the tracer replaces the return addresses that kpath reads. So each
scenario is played twice, in the same order and in new namespaces, and what chance may change from one run to the next
must not count: :mod:`tests.guest.likeness` says what that is. Where the two differ, both look again, kpath with a new
session, for a mistake in building trees is made again and chance is not. And every edge from caller to callee that
kpath ever had must be known to the tracer, or be evident from the return address or from the kernel's code
(:mod:`tests.guest.reach`); this holds for all takes and is not asked again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from kpath.capture.program import Sizes
from kpath.capture.schema import Class
from kpath.capture.session import Options
from kpath.kernel.text import KernelText
from kpath.lab import scenarios, topology
from kpath.trace.frames import Frame
from kpath.trace.knowledge import Knowledge, plain
from tests.guest import ftrace
from tests.guest.conftest import RING, Player, Recorded, note
from tests.guest.likeness import PIECES, Edge, Sight, differences, sight
from tests.guest.reach import Reach
from tests.guest.tracing import Tracing

LIFE = frozenset({Class.COPY, Class.RELEASE, Class.END})
"""Their events are told only of packets that kpath follows; the tracer sees those of all buffers (netlink's, UNIX')."""

ROUNDS = 3
"""How often the tracer looks at what is not settled, each time that kpath has looked."""

LOOKS = 3
"""How often kpath looks at what is not settled, the first recording included."""

SHOWN = 10
"""Differences."""


class Claim(NamedTuple):
    """An edge that its return address alone does not prove; the addresses are those of parent and caller."""

    parent: str
    child: str
    caller: str
    parent_at: int
    caller_at: int

    def __str__(self) -> str:
        return f"{self.parent} -> {self.child}, called from {self.caller}"


@dataclass(slots=True, repr=False)
class Case:
    """What both saw of one scenario, run by run."""

    mine: list[Sight] = field(default_factory=list)
    theirs: list[Sight] = field(default_factory=list)
    claims: set[Claim] = field(default_factory=set)
    calls: int = 0
    failure: str = ""


class Court:
    """Hears kpath and the tracer on all scenarios."""

    def __init__(self, recorded: Recorded) -> None:
        attached = [p for p in recorded.probes if p.program]
        classes = {plain(p.symbol): p.planned.cls for p in attached}
        self.symbols = {p.symbol for p in attached}
        self.functions: set[str] = set()
        self.reach = Reach(
            KernelText.open(recorded.symbols), recorded.symbols, {p.address for p in recorded.probes if p.program}
        )
        self._roots = {name for name, cls in classes.items() if cls is Class.ROOT}
        self._life = {name for name, cls in classes.items() if cls in LIFE}
        self.cases: dict[str, Case] = {}

    def sight(self, roots: Iterable[ftrace.Call]) -> Sight:
        """What these trees are when they are compared."""
        return sight(roots, self._roots, self._life)

    def hear(self, name: str, frames: Sequence[Frame], knowledge: Knowledge) -> None:
        """kpath has seen this."""
        case = self.cases.setdefault(name, Case())
        case.mine.append(self.sight(calls_of(frames)))
        case.calls += len(frames)
        case.claims |= {claim(f, f.parent, knowledge) for f in frames if f.parent and not evident(f, knowledge)}

    def witness(self, names: Iterable[str]) -> None:
        """The tracer looks at these scenarios, until they are settled or it has had its turns."""
        with ftrace.FunctionGraph(self.symbols) as graph, scenarios.lab() as lab:
            self.functions = graph.functions
            left = list(names)
            for _ in range(ROUNDS):
                for name in left:
                    self._look(name, graph, lab)
                left = [name for name in left if not self.settled(name)]

    def _look(self, name: str, graph: ftrace.FunctionGraph, lab: scenarios.Lab) -> None:
        case = self.cases[name]
        try:
            scenarios.play(scenarios.SCENARIOS[name], lab, graph.begin, graph.end)
        except Exception as error:
            case.failure = repr(error)
            return
        if graph.lost:
            note(f"{name}: the tracer lost {graph.lost}")
            return
        case.theirs.append(self.sight(ftrace.parse(graph.text, plain)))

    def known(self) -> set[Edge]:
        """All edges that the tracer has seen."""
        return {edge for case in self.cases.values() for s in case.theirs for edge in s.edges}

    def unproved(self, name: str) -> list[Claim]:
        """Edges of kpath that nobody else has seen, and that the code does not explain."""
        known = self.known()
        unseen = (c for c in self.cases[name].claims if (c.parent, c.child) not in known)
        return sorted(c for c in unseen if not self.reach.leads(c.parent_at, c.caller_at))

    def question(self, name: str) -> str:
        """What is left to ask."""
        case = self.cases[name]
        found = [] if is_chance(name) or not case.theirs else differences(case.mine, case.theirs)
        return "\n".join(map(str, [*self.unproved(name), *found[:SHOWN]]))

    def settled(self, name: str) -> bool:
        """Is there nothing left to ask?"""
        case = self.cases[name]
        if not case.theirs or self.unproved(name):
            return False
        return is_chance(name) or not differences(case.mine, case.theirs)


def is_chance(name: str) -> bool:
    """Are no two runs of the scenario alike? So it is where much happens at once, or real cards interrupt."""
    which = scenarios.SCENARIOS[name]
    return which.busy or which.topology is topology.cards


def calls_of(frames: Sequence[Frame]) -> list[ftrace.Call]:
    """kpath's frames as the tracer would tell them."""
    calls = {f.index: ftrace.Call(f.name) for f in frames}
    for f in frames:
        if f.parent is not None:
            calls[f.parent.index].children.append(calls[f.index])
    return [calls[f.index] for f in frames if f.parent is None]


def evident(frame: Frame, knowledge: Knowledge) -> bool:
    """Does the return address lie in the parent's code, or (a tail jump) is the jump there?"""
    assert frame.parent is not None
    if frame.tail:
        return knowledge.may_jump(frame.parent.name, frame.name) is True
    return frame.caller == frame.parent.name


def claim(frame: Frame, parent: Frame, knowledge: Knowledge) -> Claim:
    """What kpath says about a frame."""
    at = knowledge.start
    return Claim(parent.name, frame.name, frame.caller, at(parent.event.ip), at(frame.event.caller))


@pytest.fixture(scope="module")
def seen(recorded: Recorded) -> dict[str, list[Frame]]:
    """kpath's frames of all scenarios."""
    return {name: recorded.frames(take) for name, take in recorded.takes.items()}


@pytest.fixture(scope="module")
def court(recorded: Recorded, seen: dict[str, list[Frame]]) -> Court:
    """The same scenarios as the tracer saw them, once kpath has let go of the kernel, and again where they differ."""
    found = Court(recorded)
    for name, frames in seen.items():
        found.hear(name, frames, recorded.knowledge)
    left = [name for name in recorded.takes if name not in NOT_YET]
    for look in range(LOOKS):
        if look:
            look_again(found, left)
        found.witness(left)
        left = [name for name in left if not found.settled(name)]
        if not left:
            break
        for name in left:
            note(f"{name} is not settled after {look + 1} of {LOOKS} looks\n{found.question(name)}")
    summary(found)
    return found


def look_again(court: Court, names: Iterable[str]) -> None:
    """A new session of kpath, and these scenarios once more."""
    with Tracing(Options(sizes=Sizes(ring_bytes=RING))) as trace:
        player = Player(trace)
        player.record(scenarios.SCENARIOS[name] for name in names)
        for name, take in player.takes.items():
            court.hear(name, trace.frames(take), trace.knowledge)


def summary(court: Court) -> None:
    """What was compared, for the record, where the guest's output goes."""
    cases = court.cases.values()
    kinds = {edge for case in cases for s in case.mine for edge in s.edges}
    known = len(kinds & court.known())
    trees = sum(sum(case.mine[0].trees.values()) for case in cases)
    same = sum(max((sum((case.mine[0].trees & s.trees).values()) for s in case.theirs), default=0) for case in cases)
    if "KPATH_OUT" in os.environ:
        Path(os.environ["KPATH_OUT"], "witness.txt").write_text(
            f"{sum(case.calls for case in cases)} calls; {known} of {len(kinds)} kinds of edges were seen by "
            f"function_graph, too; {same} of {trees} trees are the same\n"
        )


NOT_YET = frozenset({
    "ah-transport", "bond", "established-only", "fragments-local", "icmp-timestamp",
    "ipcomp", "iptables-accept", "iptables-drop", "iptables-legacy-accept", "iptables-legacy-dnat",
    "iptables-legacy-drop", "iptables-legacy-masquerade", "macvlan", "mark-forward", "mark-output",
    "mark-socket", "multicast-forward", "neighbour-failed", "neighbour-reachable", "neighbour-stale",
    "nft-dnat-output", "nft-drop-postrouting", "nft-drop-prerouting", "nft-queue", "nft-redirect", "nft-snat",
    "nics-tcp-no-gro", "ping-options", "pmtu-learned", "qdisc-delayed", "qdisc-full", "raw-header",
    "tap-sender", "tc-egress-drop", "tc-ingress-drop", "tc-pass", "tc-redirect", "tcp-abort", "too-big-local",
    "udp-connected", "udp-segment", "unreachable", "xdp-drop", "xdp-pass", "xdp-redirect", "xfrm-block-in",
    "xfrm-block-out",
})  # fmt: skip
"""Nobody has compared these with the tracer yet; they are checked by what they must look like."""

NAMES = [name for name in scenarios.SCENARIOS if name not in NOT_YET]


@pytest.mark.parametrize("name", [n for n in NAMES if not is_chance(n)])
def test_trees_are_the_tracer_s(recorded: Recorded, court: Court, name: str) -> None:
    """Every piece of work has the same tree, as often as the tracer saw it."""
    recorded.take(name)
    case = court.cases[name]
    assert case.theirs, case.failure or "the tracer lost events each time"
    found = differences(case.mine, case.theirs)
    assert not found, "\n".join(map(str, found[:SHOWN]))


@pytest.mark.parametrize("name", NAMES)
def test_no_edge_is_made_up(recorded: Recorded, court: Court, name: str) -> None:
    """The tracer has seen each of kpath's edges, too, or it needs no witness."""
    recorded.take(name)
    odd = court.unproved(name)
    assert not odd, "\n".join(map(str, odd))


@pytest.mark.parametrize(
    ("parent", "child", "possible"),
    [
        ("tcp_sendmsg", "tcp_write_xmit", True),
        ("tcp_recvmsg", "tcp_write_xmit", True),  # by tcp_release_cb, a pointer
        ("tcp_delack_timer", "tcp_send_ack", True),
        ("tcp_recvmsg", "ip_forward", False),
        ("igmp_ifc_timer_expire", "tcp_v4_rcv", False),
        ("neigh_timer_handler", "ip_local_deliver", False),
        ("ip_rcv_core", "ip_output", False),
        ("ip_forward", "tcp_v4_do_rcv", False),
        ("udp_rcv", "tcp_write_xmit", False),
        ("consume_skb", "ip_rcv", False),
    ],
)
def test_the_code_says_yes_and_no(recorded: Recorded, court: Court, parent: str, child: str, possible: bool) -> None:
    """Only few edges need the code, so that what it says is asked of some whose answer is known."""
    at = {p.name: p.address for p in recorded.probes if p.program}
    assert court.reach.leads(at[parent], at[child]) is possible


@pytest.mark.parametrize("name", NAMES)
def test_no_caller_is_missing(recorded: Recorded, seen: dict[str, list[Frame]], name: str) -> None:
    """A frame whose caller was probed has that caller as its parent."""
    recorded.take(name)
    assert not [f for f in seen[name] if f.orphan]


def test_the_tracer_knows_the_functions(court: Court) -> None:
    """The witness is worth something only if it looks at the same functions."""
    assert len(court.symbols & court.functions) > 0.95 * len(court.symbols)


@pytest.mark.parametrize("name", ["ping", "udp-closed", "fragments"])
def test_a_wrong_parent_would_be_found(
    recorded: Recorded, court: Court, seen: dict[str, list[Frame]], name: str
) -> None:
    """Each frame in turn is hung one level too high, as it would be if a caller were taken for returned."""
    recorded.take(name)
    case = court.cases[name]
    assert not differences(case.mine, case.theirs)
    frames = seen[name]
    tried = 0
    for frame in frames:
        parent = frame.parent
        if parent is None or parent.parent is None or frame.name in PIECES or LIFE & {frame.cls, parent.cls}:
            continue
        grandparent = parent.parent
        tried += 1
        frame.parent = grandparent
        try:
            wrong = court.sight(calls_of(frames))
        finally:
            frame.parent = parent
        assert differences([wrong], case.theirs), f"{frame.name} under {grandparent.name} instead of {parent.name}"
    assert tried > 20
