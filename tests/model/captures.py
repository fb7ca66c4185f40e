"""Recordings of real kernels, read and reduced to what the model judges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kpath.capture.file import CaptureReader, PlannedProbe
from kpath.model.seen import Tree, observe
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import Traversal, traversals

CAPTURES = Path(__file__).parents[1] / "captures"
FILES = sorted(CAPTURES.glob("*/*.kpath"))


@dataclass(frozen=True, slots=True)
class Pass:
    """One traversal of a recording."""

    journey: int
    traversal: Traversal
    tree: Tree
    assembler: Assembler


@cache
def probes(file: Path) -> tuple[PlannedProbe, ...]:
    """The probe plan of a recording."""
    with CaptureReader(file) as reader:
        return reader.header.probes


@cache
def passes(file: Path) -> tuple[Pass, ...]:
    """All traversals of a recording."""
    return tuple(_passes(file))


def _passes(file: Path) -> Iterator[Pass]:
    with CaptureReader(file) as reader:
        assembler = Assembler()
        for journey in assembler.run(reader):
            for traversal in traversals(journey):
                yield Pass(journey.number, traversal, observe(traversal, assembler.knowledge), assembler)


def named(scenario: str) -> list[Path]:
    """The recordings of a scenario, one for each kernel."""
    return [file for file in FILES if file.stem == scenario]
