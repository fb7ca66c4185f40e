"""How fast a recording is judged: cold, when every path is new, and warm, when paths repeat.

    python benchmarks/replay.py [FILE ...]

Prints events a second for what runs before the model (reading, frames, traversals), for each document cold and warm,
and the share of paths that were judged before.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from kpath.capture.file import CaptureReader, PlannedProbe
from kpath.flow import BUILT_IN, load
from kpath.model.check import Checker
from kpath.model.seen import Tree, observe
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import traversals

CAPTURES = Path(__file__).parents[1] / "tests" / "captures"
WARM_ROUNDS = 5

Recording = tuple[tuple[PlannedProbe, ...], list[Tree]]


def trees(files: list[Path]) -> tuple[list[Recording], int, float]:
    """All trees of the recordings, the number of events, and the seconds that it took."""
    found: list[Recording] = []
    events = 0
    begin = time.perf_counter()
    for file in files:
        with CaptureReader(file) as reader:
            assembler = Assembler()
            journeys = assembler.run(reader)
            passes = [observe(t, assembler.knowledge) for journey in journeys for t in traversals(journey)]
            found.append((reader.header.probes, passes))
            events += assembler.events
    return found, events, time.perf_counter() - begin


def judge(checkers: dict[tuple[PlannedProbe, ...], Checker], recordings: list[Recording]) -> float:
    """Seconds that it takes to judge all trees."""
    begin = time.perf_counter()
    for probes, passes in recordings:
        for tree in passes:
            checkers[probes].judge_tree(tree)
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    files = [Path(name) for name in sys.argv[1:]] or sorted(CAPTURES.glob("*/*.kpath"))
    recordings, events, seconds = trees(files)
    count = sum(len(passes) for _, passes in recordings)
    print(f"{len(files)} recordings, {events} events, {count} traversals")
    print(f"{'reading, frames, trees of facts':34} {events / seconds:12,.0f} events/s")
    for name in BUILT_IN:
        load(name)
        begin = time.perf_counter()
        checkers = {probes: Checker.for_stream(probes, [name]) for probes in {probes for probes, _ in recordings}}
        setup = (time.perf_counter() - begin) / len(checkers)
        cold = judge(checkers, recordings)
        misses = sum(checker.misses for checker in checkers.values())
        warm = min(judge(checkers, recordings) for _ in range(WARM_ROUNDS))
        print(
            f"{name:20} cold {events / cold:12,.0f} events/s, {cold / misses * 1e3:.2f} ms for each of {misses} paths; "
            f"repeated {events / warm:12,.0f} events/s; {setup * 1e3:.0f} ms to begin"
        )


if __name__ == "__main__":
    main()
