"""What a scenario needs of the machine, and whether it is there. What is missing is said in words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Need:
    """``text`` names it ("the program nft"), ``met`` looks for it; ``module`` is to be loaded before the traffic."""

    text: str
    met: Callable[[], bool]
    module: str = ""


def program(name: str) -> Need:
    """A program in PATH."""
    return Need(f"the program {name}", lambda: shutil.which(name, path=_path()) is not None)


def _path() -> str:
    # Where sudo or a user's PATH leaves them out, nft, tc and modprobe are there all the same.
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def module(name: str) -> Need:
    """A kernel module that this kernel has (loaded, built in, or to be loaded)."""
    return Need(f"the kernel module {name}", lambda: _has_module(name), name)


@cache
def _has_module(name: str) -> bool:
    if Path("/sys/module", name.replace("-", "_")).exists():
        return True
    modprobe = shutil.which("modprobe", path=_path())
    if modprobe is None:
        return False
    return subprocess.run([modprobe, "-n", "-q", name], capture_output=True, check=False).returncode == 0


@cache
def have_cards() -> bool:
    """Does this machine have the two cards that ``kpath.guest run --nics`` gives a guest?

    Looked at once: later they may be in another namespace."""
    return "KPATH_IN_GUEST" in os.environ and all(
        Path(f"/sys/class/net/{name}/device/driver").resolve().name == driver
        for name, driver in (("eth0", "e1000"), ("eth1", "virtio_net"))
    )


CARDS = Need("two spare network cards on one wire (kpath.guest run --nics)", have_cards)
NFT = program("nft")
TC = program("tc")


def load(modules: tuple[str, ...]) -> None:
    """Load those that this kernel has, before probes are placed: no scenario then changes what is probed."""
    modprobe = shutil.which("modprobe", path=_path())
    if modprobe and modules:
        subprocess.run([modprobe, "-a", "-q", *modules], capture_output=True, check=False)
