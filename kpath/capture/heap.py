"""What is freed stays with the process: the next events take the room of those before."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_KEPT, _LARGEST = 256 << 20, 32 << 20


def keep() -> None:
    """Else the C library gives each array back to the kernel, which clears its pages anew for the next one: a tenth of
    the time of a replay. Where the library knows no such options, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
