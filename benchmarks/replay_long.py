"""How fast a long recording is replayed, and with how much memory: one that repeats a short recording's packets.

    python benchmarks/replay_long.py [--events 1000000 ...] [--slow] [FILE]

Writes a recording for each number of events (to a temporary directory, removed at the end), then reports events a
second of processor time for each stage by itself (reading the file, splitting into groups with their keys) and for the
whole way to verdicts against linux-6, with the peak of memory of a process that does only that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
FILE = ROOT / "tests" / "captures" / "6.12" / "nics-udp.kpath"
PART = 100_000
"""Events of a chunk, about; what a recorder writes at most."""


def generate(like: Path, to: Path, events: int) -> int:
    """Writes a recording of about so many events; returns how many."""
    from kpath.capture.file import CaptureReader, CaptureWriter, Footer, read
    from kpath.capture.schema import EVENT
    from tests.trace.generated import ordered, rounds

    once, symbols = ordered(like)
    capture = read(like)
    with CaptureReader(like) as reader:
        header = reader.header
    waiting: list[np.ndarray] = []
    count = 0
    with CaptureWriter.create(to, header) as writer:
        writer.symbols(symbols)
        writer.names(capture.names)
        writer.facts(capture.facts)
        for part in rounds(once, max(1, events // len(once))):
            waiting.append(part)
            count += len(part)
            if len(waiting) * len(once) >= PART:
                writer.events(np.concatenate(waiting, dtype=EVENT))
                waiting.clear()
        if waiting:
            writer.events(np.concatenate(waiting, dtype=EVENT))
        writer.close(capture.footer or Footer("", 0, 0, 0))
    return count


def measure(path: Path, stage: str) -> dict[str, float]:
    """One stage, in this process: seconds of processor and of clock, events, peak memory in MiB."""
    import resource

    from kpath.capture.file import CaptureReader, Facts, Names, Symbols
    from kpath.capture.schema import EVENT
    from kpath.cli.replay import _Count
    from kpath.flow import load
    from kpath.model.repeat import judge_file

    told: dict[str, float] = {}
    if stage != "read":  # compiled code is loaded, or made, before the clock runs
        from kpath.trace.arrays.split import BLOCK, Splitter
        from kpath.trace.knowledge import Knowledge
        from kpath.trace.order import Order

        warm = Splitter(Knowledge())
        warm.take(np.zeros(4, EVENT))
        warm.flush()
    documents = [load("linux-6")]
    begin, clock = time.process_time(), time.perf_counter()
    events = 0
    if stage == "read":
        with CaptureReader(path) as reader:
            for chunk in reader:
                events += len(chunk) if isinstance(chunk, np.ndarray) else 0
    elif stage == "split":
        spent = 0.0
        knowledge = Knowledge()
        splitter, order = Splitter(knowledge), Order()
        with CaptureReader(path) as reader:
            for chunk in reader:
                if isinstance(chunk, Symbols | Names):
                    knowledge.add(chunk)
                elif isinstance(chunk, Facts):
                    knowledge.add_facts(chunk.values)
                elif isinstance(chunk, np.ndarray):
                    parts, _ = order.parts(chunk)
                    since = time.process_time()
                    for ready in parts:
                        events += len(ready)
                        for at in range(0, len(ready), BLOCK):
                            splitter.take(ready[at : at + BLOCK])
                    spent += time.process_time() - since
        told["only"] = spent
    else:
        count, outcome = judge_file(path, lambda h: _Count(h, documents, False), fast=stage == "fast")
        assert isinstance(count, _Count)
        events = outcome.events
        told |= {"groups": outcome.groups, "repeated": outcome.repeated, "late": outcome.late}
        told["traversals"] = sum(p.count for p in count.paths.values())
        told["paths"] = len(count.paths)
    told["cpu"], told["clock"] = time.process_time() - begin, time.perf_counter() - clock
    told["events"], told["mib"] = events, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--slow", action="store_true", help="also the slow way: it keeps every packet in memory")
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "STAGE"), help=argparse.SUPPRESS)
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(Path(chosen.measure[0]), chosen.measure[1])))
        return
    with tempfile.TemporaryDirectory() as where:
        for events in chosen.events:
            path = Path(where) / "long.kpath"
            path.unlink(missing_ok=True)
            print(f"{generate(chosen.file, path, events):,} events, {path.stat().st_size >> 20} MiB of file")
            for stage in ("read", "split", "fast", *(["slow"] if chosen.slow else [])):
                command = [sys.executable, __file__, "--measure", str(path), stage]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                told = json.loads(done.stdout)
                rate = told["events"] / told.pop("only", told["cpu"])
                more = {key: told[key] for key in told if key not in ("cpu", "clock", "events", "mib")}
                also = ", ".join(f"{key} {value:,.0f}" for key, value in more.items())
                print(f"  {stage:6} {rate:12,.0f} events/s of CPU, peak {told['mib']:6.0f} MiB  {also}", flush=True)


if __name__ == "__main__":
    main()
