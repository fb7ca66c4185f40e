"""What a document lets come next after one of its steps: the legal frontier, in words."""

from __future__ import annotations

from collections.abc import Iterable

from kpath.model.automaton import Config, Machine
from kpath.model.explain import Explainer
from kpath.report.words import printable

MOST = 5
"""How many functions are named."""


class Frontiers:
    """Answers for one document on one kernel; each step is looked at once."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._explainer = Explainer(machine)
        self._around: dict[str, list[str]] = {}
        for name, body in machine.graph.bodies.items():
            for position in body.positions:
                self._around.setdefault(position, []).append(name)
        self._known: dict[str, tuple[str, ...]] = {}

    def after(self, ids: Iterable[str]) -> tuple[str, ...]:
        """What may come after a frame that was one of these steps."""
        words = dict.fromkeys(word for id in ids for word in self._of(id))
        often = [word for word in words if word not in ("return", "...")]
        more = ("…",) if len(often) > MOST or "..." in words else ()
        return (*often[:MOST], *more, *(("return",) if "return" in words else ()))

    def _of(self, id: str) -> tuple[str, ...]:
        if id not in self._known:
            words = self._words(((self._machine.body_of(id), None),))
            if words in ((), ("return",)):
                # It calls nothing that the document knows: what comes after it, then.
                after = (self._words(((body, id),)) for body in self._around.get(id, ()))
                words = tuple(dict.fromkeys(word for found in after for word in found))
            self._known[id] = tuple(map(printable, words))
        return self._known[id]

    def _words(self, config: Config) -> tuple[str, ...]:
        return tuple(self._explainer.expected(config)[0])
