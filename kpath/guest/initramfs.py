"""The initramfs: busybox, the modules between the kernel and its root, a script, and what this run is about.

The format is cpio's "newc" (``Documentation/driver-api/early-userspace/buffer-format.rst``).
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kpath.guest.errors import ToolMissingError
from kpath.guest.kernels import Kernel

MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
"""What it takes to reach the shared root; where it is built into the kernel, nothing is loaded."""

DIRECTORIES = ("bin", "dev", "kpath", "lower", "modules", "new", "proc", "rw", "sys")

DIRECTORY, EXECUTABLE, FILE = 0o040755, 0o100755, 0o100644


def build(kernel: Kernel, files: Mapping[str, bytes]) -> bytes:
    """The initramfs for this kernel, with `files` in ``/kpath``, which the guest finds in ``/run/kpath``."""
    entries = [(name, DIRECTORY, b"") for name in DIRECTORIES]
    entries.append(("bin/busybox", EXECUTABLE, busybox().read_bytes()))
    entries.append(("init", EXECUTABLE, Path(__file__).with_name("initramfs.sh").read_bytes()))
    for number, path in enumerate(modules_in_order(kernel)):
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        entries.append((f"modules/{number:02}-{path.name.removesuffix('.xz')}", FILE, content))
    entries += [(f"kpath/{name}", EXECUTABLE, content) for name, content in files.items()]
    return cpio(entries)


def cpio(entries: list[tuple[str, int, bytes]]) -> bytes:
    """An archive of (name, mode, content)."""
    archive = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        terminated = name.encode() + b"\0"
        header = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(terminated), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in header) + terminated
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def modules_in_order(kernel: Kernel) -> list[Path]:
    """The files of `MODULES` and of all they depend on, in the order in which to load them."""
    modprobe = shutil.which("modprobe") or "/sbin/modprobe"
    order: dict[Path, None] = {}
    for module in MODULES:
        done = subprocess.run(
            [modprobe, "-C", "/dev/null", "-d", kernel.directory, "-S", kernel.release, "--show-depends",
             module],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            action, _, path = line.strip().partition(" ")
            if action == "insmod":
                order[Path(path.split()[0])] = None
    return list(order)


def busybox() -> Path:
    """A statically linked busybox; the initramfs has no libraries."""
    for name in ("busybox-static", "busybox"):
        found = shutil.which(name)
        # A dynamic executable names its interpreter near the start of the file.
        if found is not None and b"/ld-linux" not in Path(found).read_bytes()[:4096]:
            return Path(found)
    raise ToolMissingError("No statically linked busybox here: install busybox-static.")
