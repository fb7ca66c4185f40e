"""Frames that a document does not place: why each may stand in a traversal all the same.

Three kinds. *Evolution*: the lineage names the function as what a documented one became, or as what lies between two
documented ones today. *Detail*: below the document's level. *Outside*: beyond what the document treats (before its
first step or after its last); inside such a frame the document may be entered anywhere. The last two are data,
``data/scope.toml``, each group with its reason. Any other function is unexplained, and makes a divergence; only of
documents that do not come with kpath nothing is known, and there it is outside.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from kpath.flow import BUILT_IN, Document, Lineage
from kpath.flow.citation import Basis, Citation, of_builds, of_commits, of_sources
from kpath.flow.lineage import Arrow, Became, Entry
from kpath.trace.knowledge import plain


class Standing(StrEnum):
    """How a frame stands to a document that does not place it."""

    EVOLUTION = "evolution"
    DETAIL = "detail"
    OUTSIDE = "outside"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a function that the document does not place may be seen; ``of`` is the documented function it belongs to."""

    standing: Standing
    text: str
    of: str = ""
    citations: tuple[Citation, ...] = ()
    """What it rests on."""

    @property
    def changes(self) -> tuple[str, ...]:
        """The citations as a person reads them."""
        return tuple(map(str, self.citations))


_FOREIGN = Reason(Standing.OUTSIDE, "a document of somebody's own: nothing is said of functions that it does not name")
_UNKNOWN = Reason(Standing.UNEXPLAINED, "neither the document, nor its lineage or scope, knows this function")


@dataclass(frozen=True, slots=True)
class Group:
    """One group of ``scope.toml``."""

    standing: Standing
    documents: tuple[str, ...]
    """Names of documents; empty for all."""
    reason: str
    functions: tuple[str, ...]


class ScopeError(Exception):
    """The scope data contradict themselves."""


class Scope:
    """What may be seen beside the steps of one document."""

    def __init__(
        self, document: Document, lineage: Lineage, groups: Iterable[Group] | None = None, kernel: str = ""
    ) -> None:
        """``kernel``: release and build of the one that is looked at, for evidence of what its compiler did."""
        self._reasons: dict[str, Reason] = {}
        self._default = _UNKNOWN if document.name in BUILT_IN else _FOREIGN
        placed = document.functions()
        for group in load() if groups is None else groups:
            if not group.documents or document.name in group.documents:
                for function in group.functions:
                    own = lineage.entries.get(function)
                    known = of_sources(own) if own is not None else ()
                    self._reasons.setdefault(function, Reason(group.standing, group.reason, citations=known))
        # The lineage's word counts more than a list's, unless the list says that the document stops there.
        evolved: dict[str, Reason] = {}
        for name in placed:
            entry = lineage.entries.get(name)
            if entry is None:
                continue
            text = entry.story or f"{name} is {entry.became.value}"
            for symbol in (*entry.symbols, *entry.inside):
                function = plain(symbol)
                rests = _of_entry(entry, lineage.entries.get(function), kernel)
                evolved.setdefault(function, Reason(Standing.EVOLUTION, text, name, rests))
        for arrow in lineage.arrows.values():
            if arrow.caller in placed:
                for symbol in arrow.through:
                    function = plain(symbol)
                    rests = _of_arrow(arrow, lineage.entries.get(function))
                    evolved.setdefault(function, Reason(Standing.EVOLUTION, arrow.why, arrow.callee, rests))
        for function, reason in evolved.items():
            own = lineage.entries.get(function)
            if own is not None and own.changes:
                # Documented elsewhere, with the change that brought it: that says more than what it took over here.
                rests = (*of_commits(own.changes), *of_sources(own))
                reason = Reason(Standing.EVOLUTION, own.story or own.does, reason.of, rests)
            listed = self._reasons.get(function)
            if listed is None or listed.standing is not Standing.OUTSIDE:
                self._reasons[function] = reason

    def of(self, function: str) -> Reason:
        """Why a frame of this function may be seen; UNEXPLAINED when nothing says so."""
        return self._reasons.get(function) or self._default

    def names(self, function: str) -> bool:
        """Whether something is known of the function: it is not judged as one that nobody said anything of."""
        return function in self._reasons


def _of_entry(old: Entry, function: Entry | None, kernel: str) -> tuple[Citation, ...]:
    """Why ``function`` may stand for ``old``: the changes, since when it exists, and what became of the old one."""
    found = of_commits(old.changes) + (of_sources(function) if function is not None else ())
    if old.became in (Became.INLINED, Became.REMOVED):
        found += of_sources(old) + of_builds(old, kernel)
    return tuple(dict.fromkeys(found))


def _of_arrow(arrow: Arrow, function: Entry | None) -> tuple[Citation, ...]:
    found = of_commits(arrow.changes) + (of_sources(function) if function is not None else ())
    return found + ((Citation(Basis.RELEASE, arrow.evidence),) if arrow.evidence else ())


@cache
def load() -> tuple[Group, ...]:
    """The groups of ``data/scope.toml``. Raises ScopeError when one is not understood."""
    text = resources.files("kpath.model").joinpath("data/scope.toml").read_text("utf-8")
    groups = []
    for number, data in enumerate(tomllib.loads(text).get("group", []), 1):
        try:
            groups.append(
                Group(
                    Standing(data["kind"]), tuple(data["documents"]), data["reason"], tuple(data["functions"].split())
                )
            )
        except (KeyError, ValueError) as error:
            raise ScopeError(f"scope.toml: group {number}: {error}") from error
    return tuple(groups)
