"""Divergences in words: from an alignment to findings that name the step, the document's line and the reason."""

from __future__ import annotations

from dataclasses import replace

from kpath.flow import Kind, Node
from kpath.model.alignment import Aligner, Alignment, Move, What
from kpath.model.automaton import Config, Machine
from kpath.model.scope import Standing
from kpath.model.seen import NO_HOOK, Seen, Tree
from kpath.model.sight import hook_name
from kpath.model.verdict import Finding

MOST = 6
"""How many alternatives a finding names."""


def title(seen: Seen) -> str:
    """A frame as a person reads it: its function, or the hook that it is."""
    if seen.name == "nf_hook_slow" and seen.facts.hook != NO_HOOK:
        return f"hook {hook_name(seen.facts.pf, seen.facts.hook)}"
    return seen.name


def cite(machine: Machine, node: Node) -> str:
    """``linux-6:120``, with the lines of the source text when the document transcribes one."""
    where = f"{machine.document.name}:{node.step.at}"
    lines = ",".join(str(span) for span in node.step.lines)
    return f"{where} ({machine.document.source}:{lines})" if lines else where


class Explainer:
    """Explains why a tree does not follow the document."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._aligner = Aligner(machine)

    def findings(self, tree: Tree) -> list[Finding]:
        """What is wrong, the first wrong step first; empty when nothing is."""
        alignment = self._aligner.tree(tree)
        return self.of(alignment, tree) if alignment is not None else [self.unread(tree)]

    def unread(self, tree: Tree) -> Finding:
        """Only where the reading stops: for trees that are wrong in so many places that no alignment is looked for."""
        machine = self._machine
        machine.forget()
        order = {id(seen): number for number, seen in enumerate(tree.walk())}
        for index, root in enumerate(tree.roots):
            body = machine.begin(tree, index)
            if machine.reads_root(body, root) is None:
                seen = self._innermost(root) or root
                message = f"{title(seen)} cannot be read as a step, and much else is wrong"
                return Finding("document", title(seen), message, order.get(id(seen), -1), facts=_facts(seen))
        return Finding("document", "", "it does not follow the document")

    def _innermost(self, seen: Seen) -> Seen | None:
        """The first frame, from below, that is no step anywhere with what it called."""
        for child in seen.children:
            found = self._innermost(child)
            if found is not None:
                return found
        nodes = self._machine.graph.frames()
        fitting = [node.id for node in nodes if seen.name in self._machine.labels(node.id)]
        if not fitting or any(self._machine.match(id, seen)[0] for id in fitting):
            return None
        return seen

    def of(self, alignment: Alignment, tree: Tree) -> list[Finding]:
        """The findings of an alignment."""
        order = {id(seen): number for number, seen in enumerate(tree.walk())}
        return [self._finding(move, order) for move in alignment.moves]

    def expected(self, at: Config) -> tuple[list[str], list[str]]:
        """What may come after a configuration, in words, and where the document says so."""
        words: list[str] = []
        lines: list[str] = []
        for id in self._machine.expected([at]):
            node = self._machine.graph.nodes[id]
            name = (
                f"hook {node.step.name}"
                if node.step.kind is Kind.HOOK
                else " | ".join(sorted(self._machine.labels(id)))
            )
            if name not in words:
                words.append(name)
                lines.append(cite(self._machine, node))
        if self._machine.closure(at).accepting:
            words.append("return")
        return words[:MOST] + (["..."] if len(words) > MOST else []), lines[:MOST]

    def _inward(self, move: Move) -> Move:
        """Where the frame itself would fit, and it is what it called that does not: that, in this frame."""
        while move.what is What.UNEXPECTED and move.seen is not None:
            seen = move.seen
            edges = self._machine.closure(move.at).by_name.get(seen.name, ())
            bodies = [self._machine.body_of(edge.id) for edge in edges if not edge.hook]
            stops = [stop for body in bodies if (stop := self._machine.stops(body, seen)) is not None]
            if not stops:
                break
            child, at = stops[0]
            move = replace(move, seen=child, inside=seen, at=at)
        return move

    def _finding(self, move: Move, order: dict[int, int]) -> Finding:
        machine = self._machine
        move = self._inward(move)
        words, lines = self.expected(move.at)
        around = title(move.inside) if move.inside is not None else "the bottom of the stack"
        if move.what is What.MISSING:
            node = machine.graph.nodes[move.step]
            name = " | ".join(sorted(machine.labels(move.step))) or node.step.label
            then = f"went on to {title(move.seen)}" if move.seen is not None else "returned"
            message = f"{name} is missing in {around}, which {then}"
            lines = [cite(machine, node)]
            words = [name]
            step = name
        else:
            assert move.seen is not None or move.inside is not None
            seen = move.seen
            step = title(seen) if seen is not None else around
            message = f"{step} is not expected in {around}"
            if seen is not None and seen.name not in machine.sights.labels | {"nf_hook_slow"}:
                reason = machine.scope.of(seen.name)
                if reason.standing is Standing.UNEXPLAINED:
                    message += ": " + reason.text
            if move.seen is None:
                message = f"what {around} did cannot be read"
        around_it = machine.graph.nodes.get(move.at[0][0])
        if not lines and around_it is not None:
            lines = [cite(machine, around_it)]
        index = order.get(id(move.seen), -1) if move.seen is not None else -1
        return Finding(
            check="document",
            step=step,
            message=message,
            index=index,
            expected=tuple(words),
            lines=tuple(lines),
            facts=_facts(move.seen),
            known=tuple(self._known(move)),
        )

    def _known(self, move: Move) -> list[str]:
        """The lineage's word on the functions concerned."""
        names = [move.seen.name] if move.seen is not None else []
        if move.step:
            names += self._machine.graph.functions(move.step)
        found = []
        for name in dict.fromkeys(names):
            entry = self._machine.lineage.entries.get(name)
            if entry is not None and entry.story:
                found.append(f"{name}: {entry.story}")
        return found


def _facts(seen: Seen | None) -> str:
    """The facts at the frame, as far as they say where it should go."""
    if seen is None:
        return ""
    facts = seen.facts
    parts = []
    if facts.dst_input:
        parts.append(f"dst->input {facts.dst_input}")
    if facts.dst_output:
        parts.append(f"dst->output {facts.dst_output}")
    if facts.xfrm:
        parts.append("dst->xfrm set")
    if facts.verdict is not None:
        parts.append(f"verdict {({1: 'accept', 0: 'kept', -1: 'drop'})[facts.verdict]}")
    if facts.caller:
        parts.append(f"called by {facts.caller}")
    return ", ".join(parts)
