"""Packets a second beside others, events lost, and how long starting and stopping take; each tool as its user runs it.

    python -m kpath.guest run --kernel 6.12 --icount --cpus 1 -- python benchmarks/rate.py
    python -m kpath.guest run --kernel 6.12 -- python benchmarks/rate.py

UDP packets go host -> router -> host in a closed loop, for some seconds with each tool, in turns, several rounds in
one boot; what is compared is the median of a tool's rounds. Tool and traffic share the machine's CPUs, so what a tool
does in userspace counts, too. With --icount there is one CPU, and a second is 10^9 instructions, so other work of the
machine does not disturb. All tools probe the functions of kpath's plan. bpftrace is measured where it is installed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cost import Load, network, shell

from kpath.capture.errors import CaptureError
from kpath.capture.file import read
from kpath.capture.plan import PLAN
from kpath.capture.resolve import resolve
from kpath.kernel.btf import Btf
from kpath.kernel.probeable import Probeability
from kpath.kernel.symbols import Symbols

KPATH = (sys.executable, "-m", "kpath.cli.main")
PATIENCE = 600.0


def memory(pid: int) -> int:
    """Most memory that the process had so far, KiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class Round:
    """One turn of a tool. ``start`` and ``stop`` in seconds, ``memory`` in KiB."""

    rate: float
    start: float = 0.0
    stop: float = 0.0
    memory: int = 0
    told: int = 0
    lost: int = 0


class Tool:
    """A command; ``ready`` says when it is, ``account`` how many events it told and lost."""

    def __init__(
        self, command: Callable[[Path], list[str]], ready: Callable[[Path], bool],
        account: Callable[[Path], tuple[int, int]],
    ) -> None:  # fmt: skip
        self.command, self.ready, self.account = command, ready, account

    def turn(self, load: Load, seconds: float) -> Round:
        """Start it, send, stop it."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            begin = time.monotonic()
            with (folder / "out").open("wb") as out:
                running = subprocess.Popen(self.command(folder), stdout=out, stderr=subprocess.STDOUT)
            while not self.ready(folder):
                if running.poll() is not None or time.monotonic() - begin > PATIENCE:
                    running.kill()
                    raise RuntimeError((folder / "out").read_text(errors="replace")[-2000:])
                time.sleep(0.05)
            start = time.monotonic() - begin
            rate = drive(load, seconds)
            used = memory(running.pid)
            begin = time.monotonic()
            running.send_signal(signal.SIGINT)
            running.wait(PATIENCE)
            stop = time.monotonic() - begin
            told, lost = self.account(folder)
            return Round(rate, start, stop, used, told, lost)


def drive(load: Load, seconds: float) -> float:
    """Packets a second."""
    load.run(64)
    begin, packets = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        load.run(128)
        packets += 128
    return packets / (time.monotonic() - begin)


def functions() -> list[str]:
    """What kpath attaches to on this kernel."""
    symbols = Symbols.load()
    return sorted({p.symbol for p in resolve(Probeability.load(symbols, Btf.load()), PLAN) if p.program})


def of_recording(folder: Path) -> tuple[int, int]:
    """Events received and lost, by a recording's own account."""
    try:
        capture = read(folder / "a.kpath")
    except CaptureError as error:
        raise RuntimeError(str(error)) from error
    assert capture.footer is not None
    return len(capture.events), sum(capture.footer.lost.values())


def of_bpftrace(folder: Path) -> tuple[int, int]:
    """Lines written, and what it says of lost ones."""
    text = (folder / "out").read_text(errors="replace")
    lost = sum(int(n) for n in re.findall(r"Lost (\d+) events", text))
    return text.count("\n"), lost


def tools() -> dict[str, Tool]:
    """By name; kpath's own first."""
    ready_file = lambda folder: (folder / "ready").exists()  # noqa: E731
    nothing = lambda _folder: (0, 0)  # noqa: E731
    found = {
        " ".join(["kpath record", *more]): Tool(
            lambda f, more=more: [
                *KPATH, "record", "-o", str(f / "a.kpath"), "--ready-file", str(f / "ready"), *more
            ],
            ready_file, of_recording,
        )
        for more in ((), ("--sample", "16"), ("--sample", "64"), ("--sample", "1024"))
    } | {
        "kpath watch --mode paths": Tool(
            lambda f: [*KPATH, "watch", "any", "--plain", "--mode", "paths", "--ready-file", str(f / "ready")],
            ready_file, nothing,
        ),
    }  # fmt: skip
    if shutil.which("bpftrace"):
        names = ",\n".join(f"kprobe:{name}" for name in functions())
        os.environ["BPFTRACE_MAX_PROBES"] = "2048"

        def script(folder: Path, action: str) -> list[str]:
            (folder / "a.bt").write_text('BEGIN { printf("ready\\n"); }\n' + names + " { " + action + " }")
            return ["bpftrace", "-B", "line", str(folder / "a.bt")]

        started = lambda folder: b"ready" in (folder / "out").read_bytes()  # noqa: E731
        found["bpftrace printf"] = Tool(
            lambda f: script(f, 'printf("%s %llx\\n", func, arg0);'), started, of_bpftrace
        )
        found["bpftrace count"] = Tool(lambda f: script(f, "@[func] = count();"), started, nothing)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of traffic for each tool and round")
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    shell("modprobe veth")
    network()
    load = Load()
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs", flush=True)
    rounds: dict[str, list[Round]] = defaultdict(list)
    for _ in range(chosen.rounds):
        rounds["nothing"].append(Round(drive(load, chosen.seconds)))
        for name, tool in tools().items():
            done = tool.turn(load, chosen.seconds)
            rounds[name].append(done)
            print(f"  {name}: {done}", flush=True)
    bare = statistics.median(r.rate for r in rounds["nothing"])
    for name, all_of_it in rounds.items():
        rate = statistics.median(r.rate for r in all_of_it)
        start, stop = (statistics.median(getattr(r, what) for r in all_of_it) for what in ("start", "stop"))
        told, lost = sum(r.told for r in all_of_it), sum(r.lost for r in all_of_it)
        share = f"{100 * lost / (told + lost):.1f} % of {told + lost:,} events lost" if told + lost else ""
        used = max(r.memory for r in all_of_it) / 1024
        print(f"{name:26} {rate:8.0f} packets/s ({rate / bare:5.1%})  ready after {start:5.1f} s, ended after "
              f"{stop:4.1f} s, {used:4.0f} MiB  {share}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
