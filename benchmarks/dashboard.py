"""How long the dashboard takes from a key to the screen, under more and more load.

    python benchmarks/dashboard.py [--rates 1 10 100 0] [--seconds 30]

The program runs on a terminal of its own and is fed with recordings as if they came now (``benchmarks/load.py``): so
many rounds of about twelve packets a second, 0 as fast as it can. Each key changes something that its answer names;
measured is the time until those bytes come.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import termios
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

SIZE = (24, 80)
NAMES = ("ping", "udp-closed", "nft-drop", "udp-open", "nft-reject", "ping-cold")
KEYS = ((b"2", b"[2 Packets"), (b"3", b"[3 Drops"), (b"?", b"esc"), (b"\x1b", b"enter"), (b"1", b"[1 Paths"))
"""A key, and what is on the screen when it was answered, and was not before."""


class Screen:
    """The dashboard on a pseudo terminal."""

    def __init__(self, rate: float) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, SIZE)
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", str(rate)],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )  # fmt: skip
        os.close(slave)
        self.text = b""

    def wait(self, for_: bytes, seconds: float = 60.0) -> float:
        """Seconds until these bytes come; raises TimeoutError."""
        self.text = b""
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            if select.select([self._master], [], [], 0.5)[0]:
                self.text += os.read(self._master, 1 << 16)
                if for_ in self.text:
                    return time.monotonic() - begin
        raise TimeoutError(f"{for_!r} did not come within {seconds} s")

    def press(self, key: bytes, answer: bytes) -> float:
        """Seconds from the key to its answer."""
        while select.select([self._master], [], [], 0)[0]:
            os.read(self._master, 1 << 16)
        os.write(self._master, key)
        return self.wait(answer)

    def rest(self, seconds: float) -> bytes:
        """What comes meanwhile."""
        end, text = time.monotonic() + seconds, b""
        while (left := end - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0]:
                text += os.read(self._master, 1 << 16)
        return text

    def close(self) -> None:
        """Quit."""
        os.write(self._master, b"q")
        try:
            self.rest(2)
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.send_signal(signal.SIGKILL)


def measure(rate: float, seconds: float) -> None:
    """One line for one load."""
    screen = Screen(rate)
    times: list[float] = []
    try:
        screen.wait(b"receive")
        seen = screen.rest(2)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, answer in KEYS:
                times.append(screen.press(key, answer))
                seen += screen.rest(0.15)
    finally:
        screen.close()
    words = re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", seen).decode(errors="replace")
    found = re.findall(r"packets\s+[\d,kM .]+?/s", words)
    left_out = "says what it leaves out" if "left out" in words or "behind" in words else "leaves nothing out"
    times.sort()
    name = f"{rate:g} rounds/s" if rate else "as fast as it can"
    print(
        f"{name:18} {len(times)} keys: median {statistics.median(times) * 1e3:.0f} ms, "
        f"95 % within {times[int(len(times) * 0.95)] * 1e3:.0f} ms, worst {times[-1] * 1e3:.0f} ms; "
        f"{found[-1] if found else 'no rate'}; {left_out}",
        flush=True,
    )


def child(rate: float) -> None:
    """The dashboard itself."""
    from benchmarks.load import Load
    from kpath.dashboard.app import run
    from kpath.dashboard.keep import Keeper
    from kpath.dashboard.referee import referee

    load = Load(NAMES, rate=rate)
    over: list[int] = []
    judge = referee(load.header.probes)
    keeper = Keeper(load.header)
    stream = keeper.pass_on(load.chunks(lambda: over))
    run(stream, "load", judge, header=load.header, stop=lambda: over.append(1), save=keeper.save)


def main() -> None:
    """Measures each rate in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[1, 10, 100, 0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child)
        return
    print(f"load of this machine beside this: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    for rate in arguments.rates:
        measure(rate, arguments.seconds)


if __name__ == "__main__":
    main()
