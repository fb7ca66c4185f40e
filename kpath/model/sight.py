"""Which steps of a document have frames on the kernel at hand: document, lineage and what was probed."""

from __future__ import annotations

from dataclasses import dataclass

from kpath.flow import Became, Entry, Graph, Guard, How, Kind, Lineage, Node, Resolution
from kpath.flow.lineage import Arrow, Change
from kpath.flow.resolve import resolve
from kpath.model.view import CaptureView
from kpath.trace.knowledge import plain


@dataclass(frozen=True, slots=True)
class Sight:
    """How one step is seen. ``labels``: functions whose frames are this step. ``silent``: it may happen without a
    frame; ``gone``: it may be missing with all that is inside it."""

    labels: frozenset[str]
    silent: bool
    gone: bool = False
    implied: frozenset[str] = frozenset()
    """Functions whose frames inside prove that it happened."""
    reason: str = ""
    """Why it is silent, for people."""


class Sights:
    """The sight of every step of one document on one kernel."""

    def __init__(self, graph: Graph, lineage: Lineage, view: CaptureView) -> None:
        self._graph = graph
        self._lineage = lineage
        self._view = view
        self._placed = {name for node in graph.frames() for name in graph.functions(node.id)}
        self._drawn: dict[str, set[str]] = {}
        for node in graph.frames():
            self._drawn.setdefault(node.owner, set()).update(graph.functions(node.id))
        self._resolutions: dict[str, Resolution] = {}
        self._sights: dict[str, Sight] = {}
        for node in graph.frames():
            self._sights[node.id] = self._sight(node)
        self.labels = frozenset().union(*(sight.labels for sight in self._sights.values()))
        """Every function that is a step here."""

    def of(self, id: str) -> Sight:
        """The sight of a frame step."""
        return self._sights[id]

    def resolution(self, function: str) -> Resolution:
        """How a documented function is seen on this kernel."""
        if function not in self._resolutions:
            entry = self._lineage.entries.get(function)
            if entry is None:  # somebody's own document: nothing is known but the name
                entry = Entry(function, "", Became.SAME, frame=(function,))
            self._resolutions[function] = resolve(entry, self._view, self._placed)
        return self._resolutions[function]

    def arrows(self, id: str) -> list[Arrow]:
        """What became of the arrow to this step since the document's kernel."""
        owner = self._graph.nodes[id].owner
        if not owner:
            return []
        callers = self._graph.functions(owner)
        found = (self._lineage.arrow(c, f) for c in callers for f in self._graph.functions(id))
        # A document that draws the new way itself needs no help.
        drawn = self._drawn.get(owner, set())
        return [arrow for arrow in found if arrow is not None and not drawn.intersection(arrow.through)]

    def _sight(self, node: Node) -> Sight:
        labels: set[str] = set()
        implied: set[str] = set()
        silent = node.step.open
        reasons: list[str] = []
        functions = self._graph.functions(node.id)
        for function in functions:
            resolution = self.resolution(function)
            if self._view.attached(function):
                labels.add(function)  # whatever the lineage knows, this kernel has frames of it
            if resolution.how is How.FRAME:
                labels |= {plain(symbol) for symbol in resolution.symbols}
            elif resolution.how is How.IMPLIED:
                implied |= {plain(symbol) for symbol in resolution.symbols}
            if resolution.certain:
                continue
            if resolution.how is How.NEVER and self._view.absent(function) and len(functions) > 1:
                continue  # it stands for other kernels
            silent = True
            reasons.append(self._why(resolution))
        if not labels:
            silent = True
        gone = False
        for arrow in self.arrows(node.id):
            if arrow.what in (Change.REPLACED, Change.REMOVED):
                silent = True
                reasons.append(arrow.why)
            gone = gone or arrow.what is Change.REMOVED
        return Sight(frozenset(labels), silent, gone, frozenset(implied), "; ".join(dict.fromkeys(reasons)))

    def _why(self, resolution: Resolution) -> str:
        """The reason, corrected for functions outside the probe plan: of them nothing is known here."""
        if resolution.how is How.NEVER and "has no symbol" in resolution.reason:
            function = resolution.function
            if function not in self._view.planned:
                return f"{function} has no probe in kpath's plan"
            return f"{function}: {self._view.planned[function] or 'not seen'}"
        return f"{resolution.function}: {resolution.reason}"

    def excluded(self, node: Node) -> bool:
        """Does a guard say that this kernel does not have the step (``when kernel has tc_run``)?"""
        for guard in node.guards:
            for term in guard.condition.terms:
                if term.name not in ("kernel has", "kernel lacks"):
                    continue
                known = self._known(term.argument)
                if known is None:
                    continue
                holds = (known != (term.name == "kernel lacks")) != term.negated
                if guard.holds and not holds:
                    return True
                if not guard.holds and holds and len(guard.condition.terms) == 1:
                    return True
        return False

    def _known(self, symbol: str) -> bool | None:
        if self._view.has_symbol(symbol):
            return True
        return False if self._view.absent(symbol) else None

    def undecided(self, guard: Guard) -> bool:
        """Does it ask for a symbol of which nothing is known here?"""
        terms = guard.condition.terms
        return any(t.name in ("kernel has", "kernel lacks") and self._known(t.argument) is None for t in terms)

    def successors(self, id: str) -> frozenset[str]:
        """All symbols that are this step in any kernel: one of them directly inside another is the same step."""
        names: set[str] = set()
        for function in self._graph.functions(id):
            entry = self._lineage.entries.get(function)
            if entry is not None:
                names |= {plain(symbol) for symbol in (*entry.frame, *entry.frames) if symbol not in self._placed}
        return frozenset(names)


HOOKS: dict[str, tuple[int, int]] = {
    "PRE_ROUTING": (2, 0),
    "LOCAL_IN": (2, 1),
    "FORWARD": (2, 2),
    "LOCAL_OUT": (2, 3),
    "POST_ROUTING": (2, 4),
    "ARP_IN": (3, 0),
    "ARP_OUT": (3, 1),
    "ARP_FORWARD": (3, 2),
    "NETDEV_INGRESS": (5, 0),
    "NETDEV_EGRESS": (5, 1),
    "BRIDGE_PRE_ROUTING": (7, 0),
    "BRIDGE_LOCAL_IN": (7, 1),
    "BRIDGE_FORWARD": (7, 2),
    "BRIDGE_LOCAL_OUT": (7, 3),
    "BRIDGE_POST_ROUTING": (7, 4),
}
"""Family and number of each hook: include/uapi/linux/netfilter.h, netfilter_arp.h, netfilter_bridge.h."""

HOOK_NAMES: dict[tuple[int, int], str] = {numbers: name for name, numbers in HOOKS.items()}


def hook_name(pf: int, hook: int) -> str:
    """The document's name of a hook, or its numbers."""
    return HOOK_NAMES.get((pf, hook), f"hook {hook} of family {pf}")


def is_hook(kind: Kind) -> bool:
    """Whether the step is seen as a frame of nf_hook_slow."""
    return kind is Kind.HOOK
