"""How long kpath takes until it is ready, and from Ctrl-C to its end, beside bpftrace on the same functions.

Run it in a guest. Where the guest counts instructions as time, what else the machine does makes no difference, but for
waiting: the first reading of a file takes no time, or far too much. So the first start (which compiles) is shown apart,
and of the others the least.

    python -m kpath.guest run --kernel 6.12 --icount --cpus 1 -- python benchmarks/start.py

bpftrace is measured where it is installed (apt install bpftrace).
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

KPATH = (sys.executable, "-m", "kpath.cli.main")
WAYS: dict[str, tuple[str, ...]] = {
    "kpath watch": ("watch", "any", "--plain"),
    "kpath watch, a filter": ("watch", "any", "--plain", "-f", "host 192.0.2.1 and tcp port 80"),
    "kpath watch --mode paths": ("watch", "any", "--mode", "paths"),
    "kpath record": ("record", "any", "-o", "/tmp/start.kpath"),
}


class Start(NamedTuple):
    """One start and one end, in seconds."""

    ready: float
    cpu: float
    """CPU time until it was ready, waiting left out."""
    end: float
    """From SIGINT until the process was gone."""


def measured(command: Sequence[str], ready: Path) -> Start:
    """It is ready when the command has made this file."""
    ready.unlink(missing_ok=True)
    said = ready.with_suffix(".out")
    with said.open("w") as out:
        begin = time.monotonic()
        environment = {**os.environ, "BPFTRACE_MAX_PROBES": "1024"}
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        while not ready.exists():
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended: {said.read_text()}")
            time.sleep(0.02)
        took, cpu = time.monotonic() - begin, cpu_time(process.pid)
        time.sleep(3)  # what it gets ready for the first packets is done then, too
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait()
        end = time.monotonic() - begin
    time.sleep(4)  # its links may still be on their way off, which would hold up the next
    return Start(took, cpu, end)


def cpu_time(pid: int) -> float:
    """What the process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def functions() -> list[str]:
    """The functions that kpath attaches to here."""
    from kpath.capture.resolve import resolve
    from kpath.kernel.probeable import Probeability

    return sorted({p.symbol for p in resolve(Probeability.load()) if p.program and not p.module})


def bpftrace(folder: Path) -> list[str]:
    """The command line. bpftrace starts the command that it is given when all its probes are attached."""
    script = folder / "script.bt"
    (folder / "child").write_text(f"touch {folder}/ready\nexec sleep 1000\n")
    probes = ",\n".join(f"kprobe:{name}" for name in functions())
    script.write_text(f"{probes} {{ @[func] = count(); }}\nEND {{ clear(@); }}\n")
    return ["bpftrace", "-c", f"/bin/sh {folder}/child", str(script)]


def main() -> None:
    """Prints a line for each way: the first start, and the least of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="starts of each besides the first; 0: only kpath's first")
    arguments = parser.parse_args()
    print(f"Linux {os.uname().release}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ready = folder / "ready"
        ways = {what: [*KPATH, *options, "--ready-file", str(ready)] for what, options in WAYS.items()}
        if arguments.times and shutil.which("bpftrace"):
            ways["bpftrace"] = bpftrace(folder)
        for what, command in ways.items():
            show(f"{what}, the first", measured(command, ready))
            if not arguments.times:
                return
            others = [measured(command, ready) for _ in range(arguments.times)]
            show(what, Start(*(min(values) for values in zip(*others, strict=True))))


def show(what: str, start: Start) -> None:
    print(f"{what:40} ready {start.ready:6.2f} s (CPU {start.cpu:5.2f} s)   end {start.end:5.2f} s", flush=True)


if __name__ == "__main__":
    main()
