"""What a recording says for comparing it with another: how often each path was taken, by what functions, how fast."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from kpath.capture.schema import Class
from kpath.model.sight import hook_name
from kpath.trace.traversal import Traversal

_ASIDE = (Class.END, Class.RELEASE, Class.COPY)


class Key(NamedTuple):
    """A path as a person tells paths apart. ``reason``: why it was dropped, where the kernel says so."""

    words: str
    reason: str = ""


@dataclass(slots=True)
class Row:
    """All passes along one path."""

    count: int = 0
    latencies: list[int] = field(default_factory=list)
    """ns from the first frame of the packet to its last."""
    functions: Counter[str] = field(default_factory=Counter)
    """Function, or ``hook FORWARD`` → in how many passes it was called."""

    def add(self, other: Row) -> None:
        """Take in the passes of another row."""
        self.count += other.count
        self.latencies += other.latencies
        self.functions += other.functions


@dataclass(slots=True)
class Profile:
    """The paths of one recording."""

    rows: dict[Key, Row] = field(default_factory=dict)
    incomplete: Counter[Key] = field(default_factory=Counter)
    """Passes that were not seen from beginning to end; they show that a path was taken, and no more."""
    unseen: dict[str, str] = field(default_factory=dict)
    """Planned function → why this kernel does not show it."""
    aside: set[str] = field(default_factory=set)
    """Of these, those that free and copy buffers: when that happens is often chance."""
    probed: set[str] = field(default_factory=set)
    """Functions whose frames this kernel shows."""
    absent: set[str] = field(default_factory=set)
    """Functions that this kernel does not have."""
    seen: set[str] = field(default_factory=set)
    """Functions that were seen on any path, also where only in part."""
    reasons: bool = False
    """Does this kernel name drop reasons?"""

    def take(self, words: str, traversal: Traversal, complete: bool) -> None:
        """Count a pass. ``words`` names its path, and may end in the drop reason, which is told apart here."""
        reason = traversal.end.reason if traversal.end.how == "dropped" else ""
        key = Key(words.removesuffix(reason).rstrip() if reason else words.removesuffix("dropped").rstrip(), reason)
        names = {
            f"hook {hook_name(frame.event.pf, frame.event.hook)}" if frame.name == "nf_hook_slow" else frame.name
            for frame in traversal.frames
        }
        self.seen |= names
        self.aside |= {frame.name for frame in traversal.frames if frame.cls in _ASIDE}
        if not complete:
            self.incomplete[key] += 1
            return
        row = self.rows.setdefault(key, Row())
        row.count += 1
        times = [frame.time for frame in traversal.frames]
        row.latencies.append(max(times) - min(times))
        row.functions.update(names)

    def merged(self, with_reasons: bool) -> tuple[dict[Key, Row], set[Key]]:
        """The rows, and the keys of what was seen only in part; without drop reasons if the other side has none."""
        if with_reasons:
            return dict(self.rows), set(self.incomplete)
        rows: dict[Key, Row] = {}
        for key, row in self.rows.items():
            rows.setdefault(Key(key.words), Row()).add(row)
        return rows, {Key(key.words) for key in self.incomplete}

    @property
    def passes(self) -> int:
        """Passes seen from beginning to end."""
        return sum(row.count for row in self.rows.values())
