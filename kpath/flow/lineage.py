"""What became of each documented function. The data are ``data/lineage*.toml``, ``evolution.toml``,
``commits.toml``."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from kpath.flow.errors import LineageError

FILES: tuple[str, ...] = ("lineage.toml", "lineage-6.toml")


class Became(StrEnum):
    """What a function is today, compared with the kernel of its document."""

    SAME = "same"
    RENAMED = "renamed"
    SPLIT = "split"
    INLINED = "inlined"
    MOVED = "moved"
    REMOVED = "removed"
    MACRO = "macro"
    NEVER = "never"
    """No kernel had it: a slip of the author."""


class Found(StrEnum):
    """Where hash and subject of a commit were read. What was read nowhere is not cited."""

    HISTORY = "history"
    """In the kernel's git history, with the first tag that has it."""
    MAIL = "mail"
    """In mail, changelogs or copies of the history; the release is that of the merge window after its date."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that changed a documented function."""

    hash: str
    release: str
    subject: str
    effect: str
    found: Found

    def __str__(self) -> str:
        return f'{self.hash} "{self.subject}", {self.release}'


@dataclass(frozen=True, slots=True)
class Entry:
    """One function's lineage. The fields are those of ``lineage.toml``, which says what each means."""

    name: str
    does: str
    became: Became
    story: str = ""
    frame: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    implied: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    fact: str = ""
    changes: tuple[Commit, ...] = ()
    trees: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()
    unverified: bool = False

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol that the entry names as a probe or a witness."""
        return (*self.frame, *self.frames, *self.implied)


class Change(StrEnum):
    """What happened to an arrow."""

    BETWEEN = "between"
    """Documented functions may lie between caller and callee now."""
    REPLACED = "replaced"
    """The callee has no frame here; what was inside it is inside ``through``, or inside the caller."""
    REMOVED = "removed"
    """Neither the callee nor its inside happens here."""
    REPEATED = "repeated"
    """The callee happens once for each part of the packet now, where it happened once."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow of a document that today's kernels draw otherwise. ``callee`` may be a hook or an
    assignment."""

    caller: str
    callee: str
    what: Change
    why: str
    through: tuple[str, ...] = ()
    changes: tuple[Commit, ...] = ()
    evidence: str = ""


class Lineage:
    """All entries and arrows. Get the built-in one with :meth:`load`."""

    def __init__(self, entries: Iterable[Entry], arrows: Iterable[Arrow] = ()) -> None:
        self.entries: dict[str, Entry] = {entry.name: entry for entry in entries}
        self.arrows: dict[tuple[str, str], Arrow] = {(arrow.caller, arrow.callee): arrow for arrow in arrows}

    @classmethod
    def load(cls) -> Lineage:
        """The lineage that comes with kpath. Raises LineageError when its files contradict themselves."""
        return _load()

    def of(self, function: str) -> Entry:
        """The entry of a documented function; raises LineageError, with names that come close, for any
        other."""
        entry = self.entries.get(function)
        if entry is None:
            near = self.close(function)
            hint = f"; close to it: {', '.join(near)}" if near else ""
            raise LineageError(f"no document names the function {function!r}{hint}")
        return entry

    def close(self, function: str) -> list[str]:
        """Up to five documented names that resemble this one."""
        inside = [name for name in self.entries if len(function) > 3 and function in name]
        near = difflib.get_close_matches(function, self.entries, n=5, cutoff=0.6)
        return list(dict.fromkeys([*near, *inside]))[:5]

    def arrow(self, caller: str, callee: str) -> Arrow | None:
        """What happened to this arrow since its document; None when nothing did."""
        return self.arrows.get((caller, callee))

    def successors(self, function: str) -> tuple[str, ...]:
        """The functions that are this one today, in any kernel: itself and all candidates for its frame."""
        entry = self.entries.get(function)
        if entry is None:
            return (function,)
        return tuple(dict.fromkeys((function, *entry.frame, *entry.frames)))


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("kpath.flow").joinpath(f"data/{name}").read_text("utf-8"))


@cache
def _load() -> Lineage:
    commits = {
        key: Commit(key, data["release"], data["subject"], data.get("effect", ""), Found(data["found"]))
        for key, data in _read("commits.toml").items()
    }
    entries: dict[str, Entry] = {}
    for file in FILES:
        for name, data in _read(file).items():
            if name in entries:
                raise LineageError(f"{file}: {name} has two entries")
            entries[name] = _entry(file, name, data, commits)
    arrows = [_arrow(data, commits) for data in _read("evolution.toml")["arrow"]]
    if len({(arrow.caller, arrow.callee) for arrow in arrows}) != len(arrows):
        raise LineageError("evolution.toml: an arrow is there twice")
    return Lineage(entries.values(), arrows)


_ENTRY = {"does", "became", "story", "frame", "frames", "partial", "implied", "inside", "fact", "changes", "trees"} | {
    "builds",
    "unverified",
}


def _known(where: str, keys: Iterable[str], commits: Mapping[str, Commit]) -> tuple[Commit, ...]:
    try:
        return tuple(commits[key] for key in keys)
    except KeyError as error:
        raise LineageError(f"{where}: the commit {error} is not in commits.toml") from error


def _entry(file: str, name: str, data: dict[str, Any], commits: Mapping[str, Commit]) -> Entry:
    strange = set(data) - _ENTRY
    if strange:
        raise LineageError(f"{file}: {name} has the unknown key {', '.join(sorted(strange))}")
    if data.get("frame") and data.get("frames"):
        raise LineageError(f"{file}: {name} has both frame and frames")
    return Entry(
        name=name,
        does=data["does"],
        became=Became(data["became"]),
        story=data.get("story", ""),
        frame=tuple(data.get("frame", ())),
        frames=tuple(data.get("frames", ())),
        partial=tuple(data.get("partial", ())),
        implied=tuple(data.get("implied", ())),
        inside=tuple(data.get("inside", ())),
        fact=data.get("fact", ""),
        changes=_known(f"{file}: {name}", data.get("changes", ()), commits),
        trees=tuple(data.get("trees", ())),
        builds=tuple(data.get("builds", ())),
        unverified=data.get("unverified", False),
    )


def _arrow(data: dict[str, Any], commits: Mapping[str, Commit]) -> Arrow:
    return Arrow(
        caller=data["caller"],
        callee=data["callee"],
        what=Change(data["what"]),
        why=data["why"],
        through=tuple(data.get("through", ())),
        changes=_known(f"evolution.toml: {data['caller']}", data.get("changes", ()), commits),
        evidence=data.get("evidence", ""),
    )
