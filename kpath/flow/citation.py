"""What a statement about a kernel's history rests on: a commit, a bound between releases, or how a kernel was built.

A commit is cited only where its hash and subject were read in the kernel's history or in mail and changelogs. What
no commit is known for is bounded by the sources of the releases in TREES. What a compiler did has no commit at all:
there the evidence is the symbol table of a kernel, or who is seen to call whom on the kernel at hand.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from itertools import pairwise

from kpath.flow.lineage import Became, Commit, Entry

TREES: tuple[str, ...] = ("2.6.21", "2.6.32", "3.10", "4.19", "5.10", "6.1", "6.12", "6.18")
"""The releases whose sources were compared (``trees`` of the lineage), oldest first."""


class Basis(StrEnum):
    """What a citation is."""

    COMMIT = "commit"
    RELEASE = "release"
    """Sources of two releases differ, or a release's source has it."""
    BUILD = "build"
    """What the compiler made of the source, in kernels that are named."""


@dataclass(frozen=True, slots=True)
class Citation:
    """One piece of evidence, as a person reads it."""

    basis: Basis
    text: str

    def __str__(self) -> str:
        return self.text


def of_commits(changes: Iterable[Commit]) -> tuple[Citation, ...]:
    """A citation for each commit: hash, subject, release."""
    return tuple(Citation(Basis.COMMIT, str(change)) for change in changes)


def of_sources(entry: Entry) -> tuple[Citation, ...]:
    """Since which release the source has the function as it is; nothing when it was not looked up."""
    states = [tuple(tree.split(" ", 1)) for tree in entry.trees]
    if not states:
        return ()
    if len(states) == 1:
        (first, state) = states[0]
        return (Citation(Basis.RELEASE, f"{entry.name}: {state} in the source of {first} already"),)
    told = []
    for (_, before), (release, state) in pairwise(states):
        last = TREES[TREES.index(release) - 1]
        told.append(f"{before} in {last}, {state} in {release}")
    return (Citation(Basis.RELEASE, f"{entry.name}: {'; '.join(told)} (their sources)"),)


def of_builds(entry: Entry, kernel: str = "") -> tuple[Citation, ...]:
    """In which kernels an inlined function has no symbol. ``kernel``: release and build of the one at hand."""
    if entry.became is not Became.INLINED:
        return ()
    without = [build for build, names in builds().items() if entry.name in names]
    if kernel in without:
        return (Citation(Basis.BUILD, f"{kernel}: no symbol {entry.name}"),)
    if not without:
        return ()
    releases = ", ".join(build.split(" ")[0] for build in without)
    return (Citation(Basis.BUILD, f"no symbol {entry.name} in {releases}"),)


def seen_from(function: str, caller: str, kernel: str) -> Citation:
    """The return address of a function's frame, as evidence of where its caller's code stands."""
    return Citation(Basis.BUILD, f"{kernel or 'the kernel at hand'}: {function} is called from {caller}")


@cache
def builds() -> Mapping[str, frozenset[str]]:
    """Release and build of each kernel whose symbols were looked up → inlined functions without a symbol in it."""
    text = resources.files("kpath.flow").joinpath("data/builds.toml").read_text("utf-8")
    return {build: frozenset(data["without"].split()) for build, data in tomllib.loads(text).items()}
