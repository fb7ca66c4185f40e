"""What a document lets come next after one of its steps: the legal frontier, in words."""

from __future__ import annotations

from collections.abc import Collection

from kpath.flow import Kind
from kpath.model.automaton import Config, Machine
from kpath.report.words import printable

RETURN = "return"
MOST = 5
"""How many functions are named."""


class Frontiers:
    """Answers for one document on one kernel; each step is looked at once."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._around: dict[str, list[str]] = {}
        for name, body in machine.graph.bodies.items():
            for position in body.positions:
                self._around.setdefault(position, []).append(name)
        self._known: dict[str, tuple[str, ...]] = {}

    def after(self, ids: Collection[str], taken: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """What may come after a frame that was one of these steps; first what the path has (``taken``)."""
        words = dict.fromkeys(word for id in ids for word in self._of(id) if word != RETURN)
        ordered = sorted(words, key=lambda word: taken.isdisjoint(word.split(" | ")))
        more = ("…",) if len(ordered) > MOST else ()
        last = (RETURN,) if any(RETURN in self._of(id) for id in ids) else ()
        return (*ordered[:MOST], *more, *last)

    def _of(self, id: str) -> tuple[str, ...]:
        if id not in self._known:
            words = self._words(((self._machine.body_of(id), None),))
            if words in ((), (RETURN,)):
                # It calls nothing that the document knows: what comes after it, then.
                after = (self._words(((body, id),)) for body in self._around.get(id, ()))
                words = tuple(dict.fromkeys(word for found in after for word in found))
            self._known[id] = words
        return self._known[id]

    def _words(self, config: Config) -> tuple[str, ...]:
        machine, words = self._machine, []
        for id in machine.expected([config]):
            step = machine.graph.nodes[id].step
            hook = step.kind is Kind.HOOK
            words.append(f"hook {step.name}" if hook else " | ".join(sorted(machine.labels(id))))
        if machine.closure(config).accepting:
            words.append(RETURN)
        return tuple(dict.fromkeys(map(printable, words)))
