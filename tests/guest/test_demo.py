"""The demo shows what it announces, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_demo() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kpath.cli.demo"], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trees = done.stdout
    for shown in ("ICMP echo request", "ICMP echo reply", "forward · kpath-router", "port unreachable", "TCP SYN"):
        assert shown in trees, trees + done.stderr
    assert "0 events lost" in done.stderr, done.stderr
    assert not list(Path("/run/netns").glob("kpath-*"))
