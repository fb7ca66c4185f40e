"""``make captures``: records each scenario on each kernel into tests/captures/<kernel>/<scenario>.kpath.

    python -m tests.guest.record_captures                            # all, on the kernels that kpath is tested on
    python -m tests.guest.record_captures -k 6.12 ping netfilter     # a scenario and a theme, on one

Tests that need no kernel read them. Inside a guest the same file does the work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

KERNELS = ("5.10", "6.1", "6.12", "7.3")
HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parent / "captures"
LARGEST = 60 << 10
"""Bytes; the files are kept in the repository."""


@click.command()
@click.option("--kernel", "-k", "kernels", multiple=True, default=KERNELS, show_default=True)
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds for one kernel.")
@click.option("--to", "target", type=click.Path(path_type=Path), default=CAPTURES, help="Instead of tests/captures.")
@click.argument("names", nargs=-1)
def main(kernels: tuple[str, ...], timeout: float, target: Path, names: tuple[str, ...]) -> None:
    """Record the scenarios or themes NAMES (by default all that are not busy)."""
    if "KPATH_IN_GUEST" in os.environ:
        sys.exit(record(Path(os.environ["KPATH_OUT"]), names))
    failed = 0
    for kernel in kernels:
        with tempfile.TemporaryDirectory() as out:
            command = [
                sys.executable, "-m", "kpath.guest", "run", "--kernel", kernel, "--nics", "--out", out,
                "--timeout", str(timeout), "--", "python", "-m", "tests.guest.record_captures", *names,
            ]  # fmt: skip
            failed |= subprocess.run(command, check=False).returncode
            folder = target / kernel
            folder.mkdir(parents=True, exist_ok=True)
            for path in Path(out, kernel).glob("*.kpath"):
                shutil.copy(path, folder)
    sys.exit(failed)


def record(out: Path, names: tuple[str, ...]) -> int:
    """In the guest: all scenarios with one session."""
    # Only here: what it imports (bcc above all) need not exist outside.
    from kpath.lab import record as lab_record

    failed = 0
    started = time.monotonic()

    def ready(recorder: lab_record.Recorder) -> None:
        print(f"attached after {time.monotonic() - started:.0f} s: {recorder.session.backend}", flush=True)

    for taken in lab_record.record(names, out, say=lambda text: print(text, flush=True), ready=ready):
        name = taken.scenario.name
        if taken.path is None:
            failed |= bool(taken.failed)
            print(f"{name}: " + (f"cannot run here: {taken.missing}" if taken.missing else f"FAILED: {taken.failed}"))
            continue
        size = taken.path.stat().st_size
        note = (" TOO LARGE" if size > LARGEST else "") + (" LOST EVENTS" if taken.lost else "")
        failed |= bool(note)
        print(f"{name}: {taken.events} events, {size} bytes{note}", flush=True)
    return failed


if __name__ == "__main__":
    main()
