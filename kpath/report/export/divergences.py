"""Where paths leave a document, for the page: what it expects there, what the kernel did, and one packet as example."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kpath.model.verdict import Finding, Judgement
from kpath.report import words
from kpath.report.export.paths import note
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import Node, Traversal

MAX_DIVERGENCES = 200
"""What is kept apart; further ones are counted."""
BEFORE, AFTER = 6, 3
"""Frames of the example shown before and after the one that diverges."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the example: a frame, or what the document expects in its place."""

    depth: int
    text: str
    kind: str = ""
    """``expected``, ``wrong``, or nothing."""


@dataclass(slots=True)
class Divergence:
    """All traversals in which the same is wrong with the same document."""

    document: str
    finding: Finding
    example: str
    """The first packet."""
    place: str
    """Namespace and devices of its traversal."""
    lines: list[Line]
    spans: array[int] = field(default_factory=lambda: array("Q"))
    """Begin and end (ns) of each traversal, for what is told later to have been lost then."""
    count: int = 0


class Divergences:
    """Collects them packet by packet."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, str], Divergence] = {}
        self._beyond = array("Q")

    def add(self, judgement: Judgement, traversal: Traversal, span: tuple[int, int], know: Knowledge) -> None:
        """Take in the findings of a traversal that diverges."""
        for finding in judgement.findings:
            key = (judgement.document, finding.check, finding.step, finding.message)
            one = self._found.get(key)
            if one is None:
                if len(self._found) >= MAX_DIVERGENCES:
                    self._beyond.extend(span)
                    continue
                one = self._found[key] = _describe(judgement.document, finding, traversal, know)
            one.spans.extend(span)

    def certain(self, lossy: Callable[[int, int], bool]) -> tuple[list[Divergence], int]:
        """Those that no loss may have made, the most frequent first; and how many more findings there were."""
        for one in self._found.values():
            one.count = _count(one.spans, lossy)
        found = [one for one in self._found.values() if one.count]
        return sorted(found, key=lambda one: -one.count), _count(self._beyond, lossy)


def _count(spans: array[int], lossy: Callable[[int, int], bool]) -> int:
    return sum(not lossy(spans[at], spans[at + 1]) for at in range(0, len(spans), 2))


def _describe(document: str, finding: Finding, traversal: Traversal, know: Knowledge) -> Divergence:
    header = words.best_header(traversal.journey)
    example = f"#{traversal.journey.number} {words.packet(header) if header else 'a packet without a header'}"
    return Divergence(
        document, finding, example, words.headline(traversal, know), list(_around(finding, traversal, know))
    )


def _around(finding: Finding, traversal: Traversal, know: Knowledge) -> Iterator[Line]:
    """The frames of the traversal around the one that a finding is about."""
    if finding.index < 0:
        return
    begin, end = finding.index - BEFORE, finding.index + AFTER
    for number, (depth, node) in enumerate(_walk(traversal.roots)):
        if not begin <= number <= end:
            continue
        if number == finding.index and finding.expected:
            yield Line(depth, words.printable("expected " + " | ".join(finding.expected)), "expected")
        said = note(node, know)
        text = words.printable(node.frame.name) + (f"  {said}" if said else "")
        yield Line(depth, text, "wrong" if number == finding.index else "")


def _walk(roots: list[Node]) -> Iterator[tuple[int, Node]]:
    """In the order in which findings number frames."""
    stack = [(0, root) for root in reversed(roots)]
    while stack:
        depth, node = stack.pop()
        yield depth, node
        stack += [(depth + 1, child) for child in reversed(node.children)]
