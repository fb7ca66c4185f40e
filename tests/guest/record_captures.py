"""Records each scenario on each kernel into tests/captures/<kernel>/<scenario>.kpath.

    python -m tests.guest.record_captures                            # all, on the kernels that kpath is tested on
    python -m tests.guest.record_captures -k 6.12 ping udp-open      # some

Tests that need no kernel read them. Inside a guest the same file does the work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import click

KERNELS = ("5.10", "6.1", "6.12", "7.3")
HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parent / "captures"
LARGEST = 60 << 10
"""Bytes; the files are kept in the repository."""


@click.command()
@click.option("--kernel", "-k", "kernels", multiple=True, default=KERNELS, show_default=True)
@click.option("--timeout", default=900.0, show_default=True, help="Seconds for one kernel.")
@click.option("--parallel", is_flag=True, help="Do not wait for guests that others run.")
@click.argument("names", nargs=-1)
def main(kernels: tuple[str, ...], timeout: float, parallel: bool, names: tuple[str, ...]) -> None:
    """Record the scenarios NAMES (by default all)."""
    if "KPATH_IN_GUEST" in os.environ:
        sys.exit(record(Path(os.environ["KPATH_OUT"]), names))
    failed = 0
    for kernel in kernels:
        with tempfile.TemporaryDirectory() as out:
            command = [
                sys.executable, "-m", "kpath.guest", "run", "--kernel", kernel, "--nics", "--out", out,
                "--timeout", str(timeout), *(["--parallel"] if parallel else []), "--",
                "python", "-m", "tests.guest.record_captures", *names,
            ]  # fmt: skip
            failed |= subprocess.run(command, check=False).returncode
            target = CAPTURES / kernel
            target.mkdir(parents=True, exist_ok=True)
            for path in Path(out, kernel).glob("*.kpath"):
                shutil.copy(path, target)
    sys.exit(failed)


def record(out: Path, names: tuple[str, ...]) -> int:
    """In the guest: all scenarios with one session."""
    # Only here: what they import (bcc above all) need not exist outside.
    from kpath.lab import scenarios
    from tests.guest import tracing

    wanted = [scenarios.SCENARIOS[name] for name in names] if names else [
        s for s in scenarios.SCENARIOS.values() if not s.busy
    ]
    failed = 0
    started = time.monotonic()
    with tracing.Tracing(say=lambda text: print(text, flush=True)) as trace, scenarios.lab() as lab:
        print(f"attached after {time.monotonic() - started:.0f} s: {trace.session.backend}", flush=True)
        for scenario in wanted:
            if not scenario.possible():
                print(f"{scenario.name}: not possible here", flush=True)
                continue
            takes: list[tracing.Take] = []

            def end(takes: list[tracing.Take] = takes) -> None:
                takes.append(trace.end())

            try:
                scenarios.play(scenario, lab, lambda: trace.begin(snapshot=True), end)
            except Exception as error:
                failed = 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                print(f"{scenario.name}: FAILED: {error!r} in {where.name}:{where.lineno}", flush=True)
                continue
            path = out / f"{scenario.name}.kpath"
            path.unlink(missing_ok=True)
            trace.write(takes[0], path, ("record_captures.py", scenario.name))
            size = path.stat().st_size
            note = " TOO LARGE" if size > LARGEST else ""
            note += f" LOST {takes[0].losses}" if takes[0].losses else ""
            print(f"{scenario.name}: {len(takes[0].events)} events, {size} bytes{note}", flush=True)
    return failed


if __name__ == "__main__":
    main()
