"""How long kpath takes until it is ready, and from Ctrl-C to its end, beside bpftrace on the same functions.

Run it in a guest. Where the guest counts instructions as time, what else the machine does makes no difference; files
that are read for the first time do, for waiting is then no time at all or too much of it, so the first start tells
little and is left out:

    python -m kpath.guest run --kernel 6.12 --icount --cpus 1 -- python benchmarks/start.py
    python -m kpath.guest run --kernel 6.12 -- python benchmarks/start.py --first

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

KPATH = (sys.executable, "-m", "kpath.cli.main")
WAYS: dict[str, tuple[str, ...]] = {
    "kpath watch": ("watch", "any", "--plain"),
    "kpath watch, a filter": ("watch", "any", "--plain", "-f", "host 192.0.2.1 and tcp port 80"),
    "kpath watch --mode paths": ("watch", "any", "--mode", "paths"),
    "kpath record": ("record", "any", "-o", "/tmp/start.kpath"),
}


def row(what: str, ready: float, end: float) -> None:
    print(f"{what:35} ready {ready:6.2f} s   end {end:6.2f} s", flush=True)


def measured(command: Sequence[str], ready: Path) -> tuple[float, float]:
    """Seconds until the command has made this file, and from SIGINT to its end."""
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
        took = time.monotonic() - begin
        time.sleep(1)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait()
    return took, time.monotonic() - begin


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
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", action="store_true", help="the first start after boot, and no other")
    parser.add_argument("--times", type=int, default=2)
    arguments = parser.parse_args()
    print(f"Linux {os.uname().release}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ready = folder / "ready"
        kpath = {what: [*KPATH, *options, "--ready-file", str(ready)] for what, options in WAYS.items()}
        if arguments.first:
            row("kpath watch, the first", *measured(kpath["kpath watch"], ready))
            return
        if shutil.which("bpftrace"):
            kpath["bpftrace"] = bpftrace(folder)
        for what, command in kpath.items():
            for time_ in range(arguments.times + 1):
                took = measured(command, ready)
                if time_:
                    row(what, *took)


if __name__ == "__main__":
    main()
