"""The cache of unpacked kernels: one directory a series, complete or not there at all."""

from __future__ import annotations

import fcntl
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard

from kpath.guest.archive import Archive, KernelPackages, suites_for
from kpath.guest.errors import ArchiveError, ImageError, ToolMissingError

LISTS_MAX_AGE = 12 * 3600
"""Seconds for which a list of packages is good enough; a kernel that is in the cache needs no list at all."""

SERIES = re.compile(r"\d+\.\d+")

MODULES_UNPACKED = ("kernel/net", "kernel/crypto", "kernel/lib", "kernel/arch/x86/crypto", "kernel/fs/9p",
                    "kernel/fs/netfs", "kernel/fs/overlayfs", "kernel/drivers/virtio")  # fmt: skip
"""Modules that guests load; they are decompressed here, where it is twenty times as fast."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel."""

    series: str
    release: str
    directory: Path

    @property
    def image(self) -> Path:
        """The compressed image, as Debian ships it."""
        return self.directory / "vmlinuz"

    @property
    def elf(self) -> Path:
        """The same kernel, decompressed."""
        return self.directory / "vmlinux"

    @property
    def modules(self) -> Path:
        """Its modules, with the indexes of depmod."""
        return self.directory / "usr/lib/modules" / self.release


def cache_directory() -> Path:
    """``$KPATH_CACHE``, or ``~/.cache/kpath``."""
    configured = os.environ.get("KPATH_CACHE")
    return (Path(configured) if configured else Path.home() / ".cache/kpath").resolve()


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock on `path`; calls `waiting` once if somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def guest_places(default: int = 1) -> int:
    """How many guests may run at a time: ``$KPATH_GUESTS``, where that is a number."""
    configured = os.environ.get("KPATH_GUESTS", "")
    return max(1, int(configured) if configured.isdecimal() else default)


@contextmanager
def guest_slot(root: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds one of the places for guests: ``$KPATH_GUESTS`` of them, one unless it says more."""
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        handles = [stack.enter_context((root / f"guest{n or ''}.lock").open("w")) for n in range(guest_places())]
        told = False
        while not any(_taken(handle) for handle in handles):
            if not told:
                waiting()
                told = True
            time.sleep(0.5)
        yield


def _taken(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class KernelCache:
    """Kernels below `root`, fetched from Debian when asked for the first time."""

    def __init__(self, root: Path, say: Say) -> None:
        self.root = root / "kernels"
        self.say = say

    def cached(self) -> dict[str, Kernel]:
        """The kernels that are here."""
        found = {}
        for record in sorted(self.root.glob("[0-9]*/kernel.json")):
            data = json.loads(record.read_text())
            found[data["series"]] = Kernel(data["series"], data["release"], record.parent)
        return found

    def available(self) -> dict[str, KernelPackages]:
        """The newest kernel of every series in Debian's archives."""
        return self._archive(None).kernels()

    def get(self, series: str, *, refresh: bool = False) -> Kernel:
        """The kernel of this series, fetched if it is not here (or if a newer one is, and `refresh`)."""
        if SERIES.fullmatch(series) is None:
            raise ArchiveError(f"{series!r} is not the name of a kernel series, as 6.1 is.")
        with locked(self.root / f".{series}.lock", lambda: self.say(f"waiting for another fetch of {series}")):
            here = self.cached().get(series)
            if here is not None and not refresh:
                return here
            kernels = self._archive(series).kernels()
            if series not in kernels:
                seen = ", ".join(sorted(kernels)) or "none"
                raise ArchiveError(f"Debian's archives have no stock kernel {series} (series there: {seen}).")
            packages = kernels[series]
            if here is not None and here.release == packages.release:
                return here
            return self._fetch(packages)

    def _archive(self, series: str | None) -> Archive:
        name = series or "all"
        with locked(self.root / f".apt-{name}.lock", lambda: self.say("waiting for another reader of the lists")):
            archive = Archive(self.root / f".apt-{name}", suites_for([name]))
            stamp = archive.directory / "updated"
            if not stamp.exists() or time.time() - stamp.stat().st_mtime > LISTS_MAX_AGE:
                self.say(f"reading the lists of Debian's archives for {name}")
                archive.update()
                stamp.touch()
            return archive

    def _fetch(self, wanted: KernelPackages) -> Kernel:
        if shutil.which("depmod") is None and not Path("/sbin/depmod").exists():
            raise ToolMissingError("depmod is not here: install kmod.")
        self.say(f"fetching {', '.join(wanted.packages)}")
        with tempfile.TemporaryDirectory(prefix=f".{wanted.series}-", dir=self.root) as scratch:
            debs, tree = Path(scratch, "debs"), Path(scratch, "tree")
            debs.mkdir()
            tree.mkdir(mode=0o755)
            for deb in self._archive(wanted.series).download(wanted.packages, debs):
                subprocess.run(["dpkg-deb", "-x", deb, debs / "root"], check=True)
            arrange(debs / "root", tree, wanted.release)
            record = {"series": wanted.series, "release": wanted.release, "packages": wanted.packages}
            (tree / "kernel.json").write_text(json.dumps(record, indent=2) + "\n")
            place = self.root / wanted.series
            if place.exists():
                place.rename(Path(scratch, "old"))
            tree.rename(place)
        return Kernel(wanted.series, wanted.release, place)


def arrange(unpacked: Path, tree: Path, release: str) -> None:
    """Moves what a guest needs out of unpacked packages, whichever way Debian laid them out."""
    images = [unpacked / f"boot/vmlinuz-{release}", unpacked / f"usr/lib/modules/{release}/vmlinuz"]
    image = next((path for path in images if path.exists()), None)
    if image is None:
        raise ImageError(f"The packages of {release} hold no kernel image.")
    image.rename(tree / "vmlinuz")
    (tree / "vmlinux").write_bytes(decompressed((tree / "vmlinuz").read_bytes()))
    config = unpacked / f"boot/config-{release}"
    if config.exists():
        config.rename(tree / "config")
    modules = tree / "usr/lib/modules" / release
    modules.parent.mkdir(parents=True)
    prefixes = ("usr/lib/modules", "lib/modules")
    next(unpacked / prefix / release for prefix in prefixes if (unpacked / prefix / release).exists()).rename(modules)
    (tree / "lib").symlink_to("usr/lib")
    needed = [path for part in MODULES_UNPACKED for path in (modules / part).rglob("*.ko.xz")]
    for path in [*needed, *(modules / "kernel/drivers/net").glob("*.ko.xz")]:
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()
    depmod = shutil.which("depmod") or "/sbin/depmod"
    subprocess.run([depmod, "-b", tree, release], check=True, stderr=subprocess.DEVNULL)


def decompressed(image: bytes) -> bytes:
    """The ELF kernel inside a compressed image (``Documentation/arch/x86/boot.rst``, protocol 2.08 on)."""
    if image[0x202:0x206] != b"HdrS":
        raise ImageError("This is no x86 kernel image.")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        elf = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        elf = zstandard.ZstdDecompressor().decompressobj().decompress(payload)
    else:
        raise ImageError(f"The kernel image is compressed in a way not known here ({payload[:6].hex()}).")
    if not elf.startswith(b"\x7fELF"):
        raise ImageError("The kernel image holds no ELF file.")
    return elf
