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
    changes: tuple[str, ...] = ()


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

    def __init__(self, document: Document, lineage: Lineage, groups: Iterable[Group] | None = None) -> None:
        self._reasons: dict[str, Reason] = {}
        self._default = _UNKNOWN if document.name in BUILT_IN else _FOREIGN
        placed = document.functions()
        for group in load() if groups is None else groups:
            if not group.documents or document.name in group.documents:
                for function in group.functions:
                    self._reasons.setdefault(function, Reason(group.standing, group.reason))
        # The lineage's word counts more than a list's, unless the list says that the document stops there.
        evolved: dict[str, Reason] = {}
        for name in placed:
            entry = lineage.entries.get(name)
            if entry is None:
                continue
            changes = tuple(str(change) for change in entry.changes)
            text = entry.story or f"{name} is {entry.became.value}"
            for symbol in (*entry.symbols, *entry.inside):
                evolved.setdefault(plain(symbol), Reason(Standing.EVOLUTION, text, name, changes))
        for arrow in lineage.arrows.values():
            if arrow.caller in placed:
                changes = tuple(str(change) for change in arrow.changes)
                for symbol in arrow.through:
                    evolved.setdefault(plain(symbol), Reason(Standing.EVOLUTION, arrow.why, arrow.callee, changes))
        for function, reason in evolved.items():
            own = lineage.entries.get(function)
            if own is not None and own.changes:
                # Documented elsewhere, with the change that brought it: that says more than what it took over here.
                changes = tuple(str(change) for change in own.changes)
                reason = Reason(Standing.EVOLUTION, own.story or own.does, reason.of, changes)
            known = self._reasons.get(function)
            if known is None or known.standing is not Standing.OUTSIDE:
                self._reasons[function] = reason

    def of(self, function: str) -> Reason:
        """Why a frame of this function may be seen; UNEXPLAINED when nothing says so."""
        return self._reasons.get(function) or self._default


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
