"""Network namespaces, and commands in them.

Everything happens in one process: a socket belongs for good to the network namespace in which it was made, and
the thread that made it may go home. No process has to be started for traffic, which would take long in a guest.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kpath.lab.errors import LabSetupError

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

TIMEOUT = 20.0
"""Seconds that a socket waits; a guest is slow."""


@dataclass(frozen=True, slots=True)
class Netns:
    """A named network namespace."""

    name: str

    @property
    def path(self) -> Path:
        """The file to enter it by."""
        return Path("/run/netns", self.name)

    @property
    def inode(self) -> int:
        """Its number, as in events."""
        return self.path.stat().st_ino

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the namespace meanwhile."""
        with open("/proc/thread-self/ns/net") as home, self.path.open() as there:  # noqa: PTH123
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def socket(self, kind: int, protocol: int = 0, family: int = socket.AF_INET) -> socket.socket:
        """A new socket of this namespace."""
        with self.inside():
            made = socket.socket(family, kind, protocol)
        made.settimeout(TIMEOUT)
        return made

    def sysctl(self, **values: int | str) -> None:
        """Set ``net.ipv4.ip_forward`` as ``ipv4__ip_forward=1``."""
        with self.inside():
            for name, value in values.items():
                Path("/proc/sys/net", *name.split("__")).write_text(f"{value}\n")

    def ip(self, *lines: str) -> None:
        """Run commands of ``ip`` in the namespace."""
        ip_batch(lines, "-n", self.name)

    def run(self, *command: str, given: str = "") -> str:
        """Run a program (``tc``, ``nft``) in the namespace; what it printed. LabSetupError if it failed."""
        with self.inside():
            return run(*command, given=given)

    def ifindex(self, device: str) -> int:
        """The number of a device."""
        with self.inside():
            return socket.if_nametoindex(device)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip_batch(lines: Sequence[str], *options: str) -> None:
    """Run many commands of ``ip`` in one process. LabSetupError with what it said."""
    run("ip", *options, "-batch", "-", given="\n".join(lines) + "\n")


def run(*command: str, given: str = "") -> str:
    """Run a program, with ``given`` as its input; what it printed. LabSetupError with what it said if it failed."""
    try:
        # A group of its own: Ctrl-C is for us, who then use such programs to tidy up.
        done = subprocess.run(command, input=given, text=True, capture_output=True, check=False, process_group=0)
    except FileNotFoundError as error:
        package = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}.get(command[0], command[0])
        raise LabSetupError(f"the program {command[0]} is missing: install {package}.") from error
    if done.returncode:
        said = " ".join(done.stderr.split())
        what = " ".join(command) + (f" with {'; '.join(given.splitlines())}" if given else "")
        raise LabSetupError(f"a network cannot be made here: {said} ({what})")
    return done.stdout


def make_namespaces(*names: str) -> list[Netns]:
    """New namespaces, without IPv6, ``lo`` up."""
    ip_batch([f"netns add {name}" for name in names])
    made = [Netns(name) for name in names]
    for netns in made:
        netns.sysctl(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
        netns.ip("link set lo up")
    return made


def remove_namespaces(*names: str) -> None:
    """Remove those that are there, and with them their devices; real cards go back to the first namespace."""
    there = [name for name in names if Path("/run/netns", name).exists()]
    if there:
        ip_batch([f"netns del {name}" for name in there])


def wait_for_carrier(*devices: tuple[Netns, str]) -> None:
    """A device takes no packet before its link is up and its queues have been activated."""
    for netns, device in devices:
        wait_for_link(netns, device, "state UP")


def wait_for_link(netns: Netns, device: str, *words: str) -> None:
    """Until ``ip -d link show`` says all these words of a device. LabSetupError when it does not come to that."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        said = run("ip", "-n", netns.name, "-d", "-o", "link", "show", device)
        if all(word in said for word in words):
            return
        if time.monotonic() > deadline:
            raise LabSetupError(f"{device} in {netns.name} does not come up: {said.strip()}")
        time.sleep(0.05)
