"""The kernel's memory, through /proc/kcore: an ELF core file, its segments the kernel's address ranges."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from pathlib import Path
from types import TracebackType

from kpath.kernel.errors import NoTextError

KCORE = Path("/proc/kcore")

_PT_LOAD = 1


class Kcore:
    """An open kcore; `read` takes virtual addresses of kernel text, modules or data."""

    def __init__(self, path: str | Path = KCORE) -> None:
        """Raises NoTextError when it cannot be opened or is no 64-bit ELF core."""
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NoTextError(
                f"{path}: {error.strerror}; reading the kernel's code needs root, CONFIG_PROC_KCORE, "
                "and lockdown not in confidentiality mode."
            ) from error
        try:
            self._segments = self._read_segments(path)
        except BaseException:
            self.close()
            raise
        self._starts = [start for start, _, _ in self._segments]

    def read(self, address: int, size: int) -> bytes:
        """Up to ``size`` bytes at a virtual address; fewer, or none, where nothing is mapped."""
        i = bisect_right(self._starts, address) - 1
        if i < 0:
            return b""
        start, offset, length = self._segments[i]
        inside = address - start
        if inside >= length:
            return b""
        try:
            return os.pread(self._fd, min(size, length - inside), offset + inside)
        except OSError:  # a page that is gone: a module was just unloaded
            return b""

    def close(self) -> None:
        """Close the file; reading afterwards raises OSError."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Kcore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_segments(self, path: str | Path) -> list[tuple[int, int, int]]:
        """(virtual address, file offset, length) of each PT_LOAD, sorted."""
        try:
            header = os.pread(self._fd, 64, 0)
            if header[:6] != b"\x7fELF\x02\x01" or len(header) < 64:
                raise NoTextError(f"{path} is no 64-bit little-endian ELF core.")
            (table,) = struct.unpack_from("<Q", header, 32)
            size, count = struct.unpack_from("<HH", header, 54)
            raw = os.pread(self._fd, size * count, table)
            if size < 56 or len(raw) < size * count:
                raise NoTextError(f"{path}: its table of segments is cut off.")
        except OSError as error:
            raise NoTextError(f"{path}: {error.strerror}.") from error
        segments = []
        for i in range(count):
            kind, _, offset, vaddr, _, length = struct.unpack_from("<IIQQQQ", raw, i * size)
            if kind == _PT_LOAD and length:
                segments.append((vaddr, offset, length))
        return sorted(segments)
