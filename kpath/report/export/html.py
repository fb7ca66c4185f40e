"""One static HTML page that says what a capture holds; it loads nothing and runs no script.

What was captured is somebody else's text: the template escapes all of it, and the page's own policy forbids the
browser to run or fetch anything, should that ever fail.
"""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePath
from typing import IO, Any

import kpath
from kpath.capture.tables import Loss
from kpath.report import words
from kpath.report.export.documents import Documents
from kpath.report.export.errors import MissingLibraryError
from kpath.report.export.paths import Path, Step, describe, latency, signature, summary
from kpath.report.export.source import Packet, Source
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import Traversal

MAX_PATHS, MAX_VARIANTS, MAX_LOSSES = 500, 20, 200
"""What a page shows at most; it counts the rest."""

_MAX_KEYS = 2000


@dataclass(slots=True)
class Digest:
    """What the page says, in plain values; its size does not grow with the capture's."""

    packets: int = 0
    traversals: int = 0
    incomplete: int = 0
    begin: int | None = None
    end: int = 0
    protocols: Counter[str] = field(default_factory=Counter)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)
    drops: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    paths: dict[str, Path] = field(default_factory=dict)
    more_paths: int = 0

    def add(self, packet: Packet, know: Knowledge) -> None:
        """Take in one packet."""
        self.packets += 1
        header = packet.journey.header
        if header is not None:
            _count(self.protocols, "ARP" if header.arp_op else words.packet(header).split(" ")[3])
        for traversal in packet.traversals:
            self._traversal(traversal, know)

    def _traversal(self, t: Traversal, know: Knowledge) -> None:
        self.traversals += 1
        self.incomplete += bool(t.partial)
        self.begin = min(self.begin or t.frames[0].time, t.frames[0].time)
        self.end = max(self.end, max(f.time for f in t.frames))
        namespace = words.printable(know.namespace(t.netns)) or "unknown"
        _count(self.namespaces, namespace)
        _count(self.ends, (t.direction, t.end.how))
        if t.end.how == "dropped":
            place = know.place(t.end.place) if t.end.place else ""
            _count(self.drops, (t.end.reason, place, t.direction, namespace))
        name = summary(t)
        path = self.paths.get(name)
        if path is None:
            if len(self.paths) >= MAX_PATHS:
                self.more_paths += 1
                return
            path = self.paths[name] = Path(name, t.direction, t.end.how)
        path.latencies.add(latency(t))
        path.incomplete += bool(t.partial)
        sign = signature(t)
        if sign not in path.variants:
            if len(path.variants) >= MAX_VARIANTS:
                path.more += 1
                return
            path.variants[sign] = describe(t, know, sign)
        path.variants[sign].latencies.add(latency(t))


def _count(counter: Counter[Any], key: object) -> None:
    if key in counter or len(counter) < _MAX_KEYS:
        counter[key] += 1


def write(source: Source, out: IO[bytes]) -> None:
    """Read all of ``source`` and write the page. Raises MissingLibraryError without jinja2."""
    template = _template()
    digest = Digest()
    # Without a probe plan nobody knows what could have been seen, so nothing can be judged.
    documents = Documents(source) if source.header.probes else None
    for packet in source.packets():
        digest.add(packet, source.knowledge)
        if documents:
            documents.add(packet)
    divergences, more_divergences = documents.divergences() if documents else ([], 0)
    page = template.generate(
        version=kpath.__version__,
        name=words.printable(PurePath(source.name).name),
        header=source.header,
        source=source,
        digest=digest,
        started=_date(source.header.wall_ns),
        paths=sorted(digest.paths.values(), key=lambda p: -p.latencies.count),
        losses=[_loss(loss, source) for loss in source.assembler.losses[:MAX_LOSSES] if loss.lost or loss.missed],
        losses_left=max(len(source.assembler.losses) - MAX_LOSSES, 0),
        coverage=documents.covered() if documents else [],
        divergences=divergences,
        more_divergences=more_divergences,
        silent=[p for p in source.header.probes if not p.program],
    )
    for part in page:
        out.write(part.encode("utf-8", "replace"))


def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingLibraryError("jinja2", "HTML") from error
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"duration": duration, "tree": _lines}
    return environment.from_string(resources.files(__package__).joinpath("page.html").read_text("utf-8"))


def duration(ns: int) -> str:
    """A time span with three digits and a unit for people."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns} ns"


def _lines(steps: list[Step]) -> list[tuple[int, Step]]:
    """The tree as lines with their depth."""
    found: list[tuple[int, Step]] = []
    stack = [(0, step) for step in reversed(steps)]
    while stack:
        depth, step = stack.pop()
        found.append((depth, step))
        stack += [(depth + 1, child) for child in reversed(step.children)]
    return found


def _loss(loss: Loss, source: Source) -> dict[str, Any]:
    base = source.header.monotonic_ns
    return {
        "since": duration(max(loss.start - base, 0)),
        "until": duration(max(loss.end - base, 0)),
        "lost": dict(loss.lost),
        "missed": dict(loss.missed),
    }


def _date(wall_ns: int) -> str:
    try:
        when = datetime.datetime.fromtimestamp(wall_ns // 10**9, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")
