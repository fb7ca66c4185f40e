"""Removes a capture's events from tracefs when the capture is over, however it ended.

Runs as a program of its own (``python guardian.py TRACEFS GROUP``), so that it outlives the SIGKILL of the capture
and holds none of its descriptors: a probe is armed as long as anybody has it open. It imports nothing of kpath. Its
standard input is the lifeline: end of file means that the capture is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

PATIENCE = 120.0
"""Seconds for which events may still be in use: a dying process closes its probes one after another."""


def remove_group(tracing: Path, group: str) -> bool:
    """Remove all events of a group from tracefs; those still in use stay. True if none is left."""
    try:
        lines = (tracing / "kprobe_events").read_text().splitlines()
    except OSError:
        return False
    names = {line.split()[0].partition(":")[2] for line in lines}
    left = False
    for name in sorted(name for name in names if name.startswith(f"{group}/")):
        try:
            fd = os.open(tracing / "kprobe_events", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(fd, f"-:{name}".encode())
            finally:
                os.close(fd)
        except OSError:
            left = True
    return not left


def main() -> None:
    """Wait for the capture's end, then remove its events."""
    tracing, group = Path(sys.argv[1]), sys.argv[2]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.read(0, 1)
    end = time.monotonic() + PATIENCE
    while not remove_group(tracing, group) and time.monotonic() < end:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
