"""The BPF program as BCC gets it: schema, offsets, filter and choices put before ``kpath.bpf.c``."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kpath
from kpath.capture import bytecode, direct, fentry, paths, schema
from kpath.capture.errors import CaptureSetupError

PAGE = 4096

def entry_programs() -> frozenset[str]:
    """Names of the programs for the entry of a function; after the last underscore stands the packet's position."""
    return frozenset(re.findall(r"^int (\w+)\(struct pt_regs", (source_dir() / "entries.h").read_text(), re.MULTILINE))


FLAGS = ("-Wno-everything", "-Xclang", "-disable-llvm-passes")
"""BCC optimises what clang hands over; if clang did so too, it would take a fifth longer, for no better code."""

GATE_PROGRAMS = ("ip_gate_0", "ip_gate_1", "ip_gate_2", "link_gate_0")
"""Programs that look at a rejected packet again."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What the kernel side itself picks out. 0 or "" means that this does not restrict anything.

    ``netns`` is the namespace's inode number, ``pcap_c`` the C function that a tcpdump expression became.
    """

    netns: int = 0
    ifindex: int = 0
    mark: int = 0
    mark_mask: int = 0
    pcap_c: str = ""
    sampled: bool = False
    """Of the packets that match, only one in so many may be wanted (``Session.follow``)."""

    @property
    def active(self) -> bool:
        """Is anything restricted?"""
        return bool(self.netns or self.ifindex or self.mark_mask or self.pcap_c or self.sampled)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the kernel side's tables. ``ring_bytes`` is a power of two."""

    ring_bytes: int = 32 << 20
    packets: int = 65536
    stacks: int = 4096
    records: int = 8192
    """Packets under way of which the mode "paths" keeps a record."""


def source_dir() -> Path:
    """The folder of the BPF program: ``bpf/`` of the tree, ``kpath/bpf`` of an installed kpath."""
    inside = Path(kpath.__file__).parent / "bpf"
    return inside if inside.is_dir() else Path(kpath.__file__).parent.parent / "bpf"


def headers() -> list[Path]:
    """The headers that the program is compiled with."""
    return [path for path in (source_dir() / "include").rglob("*") if path.is_file()]


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """One more than the highest number that a CPU can have here, plugged in or not."""
    try:
        return int(re.split("[-,]", path.read_text().strip())[-1]) + 1
    except (OSError, ValueError):
        return os.cpu_count() or 1


def rings(path: Path = Path("/sys/devices/system/cpu/online")) -> int:
    """One more than the highest number of a CPU that is plugged in: each has a ring in the mapped buffer."""
    return possible_cpus(path)


def slots(ring_bytes: int) -> int:
    """Events that one CPU's ring holds, a power of two."""
    return 1 << max(6, (ring_bytes // rings() // schema.EVENT.itemsize).bit_length() - 1)


def text(
    offsets: str, selection: Selection, sizes: Sizes, buffer: str, direct_type: int = 0, mode: str = "events",
    count_runs: bool = True, through_fentry: bool = False, large_values: bool = False,
) -> str:  # fmt: skip
    """The whole C text. ``buffer`` is mapped, ring or perf; ``direct_type``: see :mod:`kpath.capture.direct`;
    ``mode`` is events or paths; ``count_runs``: count each run of a program, which tells what kprobes missed where the
    kernel does not; ``through_fentry``: with the programs of :mod:`kpath.capture.fentry`; ``large_values``: see
    :func:`kpath.capture.loader.takes_large_values`."""
    choices = {
        "DIRECT_TYPE": direct_type,
        "DIRECT_CALL": direct.CALL,
        "COUNT_RUNS": int(count_runs),
        "FENTRY": int(through_fentry),
        "LARGE_VALUES": int(large_values),
        **fentry.MARKS,
        "FILTERED": int(selection.active),
        "SAMPLED": int(selection.sampled),
        "FILTER_NETNS": selection.netns,
        "FILTER_IFINDEX": selection.ifindex,
        "FILTER_MARK": selection.mark,
        "FILTER_MARK_MASK": selection.mark_mask,
        "FILTER_PCAP": int(bool(selection.pcap_c)),
        "SLOTS": paths.SLOTS if mode == "paths" else slots(sizes.ring_bytes) if buffer == "mapped" else 0,
        "RINGS": rings(),
        "RING": int(buffer == "ring"),
        "RING_PAGES": sizes.ring_bytes // PAGE,
        "PACKET_SLOTS": sizes.records if mode == "paths" else sizes.packets,
        "STACK_SLOTS": sizes.stacks,
        "CPUS": possible_cpus(),
        "CPU_PLACES": 1 << (possible_cpus() - 1).bit_length(),
        **{f"ELEMENTS_OF_{name}": mark for name, mark in bytecode.ARRAYS.items()},
    }
    head = "".join(f"#define {name} {value}\n" for name, value in choices.items())
    texts = ("reading.h", "paths.bpf.c" if mode == "paths" else "kpath.bpf.c", "entries.h")
    parts = [schema.c_struct(), offsets, selection.pcap_c, *((source_dir() / name).read_text() for name in texts)]
    if mode == "paths":
        parts.insert(0, paths.c_structs())
    return head + "\n".join(parts)


@contextmanager
def _chatter_to_file() -> Iterator[Path]:
    """BCC and LLVM write to file descriptors 1 and 2; their chatter must not reach the user's terminal."""
    sys.stdout.flush()
    with tempfile.NamedTemporaryFile(prefix="kpath-bcc-", suffix=".log") as log:
        saved = [(number, os.dup(number)) for number in (1, 2)]
        for number, _ in saved:
            os.dup2(log.fileno(), number)
        try:
            yield Path(log.name)
        finally:
            ctypes.CDLL(None).fflush(None)
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)


def _prepare_bcc() -> None:
    # BCC looks for a header tree; ours is all it needs. Without a version it would search for the kernel's own.
    os.environ["BCC_KERNEL_SOURCE"] = str(source_dir())
    numbers = platform.release().split("-")[0].split("+")[0].split(".")
    major, minor, patch = (int(n) for n in [*numbers, "0", "0"][:3])
    os.environ["BCC_LINUX_VERSION_CODE"] = str((major << 16) + (minor << 8) + min(255, patch))


def import_bcc() -> Any:
    """The module bcc. Raises CaptureSetupError with the remedy when it is missing."""
    try:
        import bcc
    except ImportError as error:
        raise CaptureSetupError(
            f"BCC's Python module cannot be imported ({error}): install python3-bpfcc from the distribution, "
            "and kpath with access to the system's packages (pipx install --system-site-packages)."
        ) from error
    return bcc


def compile_program(source: str) -> Any:
    """Compile with BCC. Raises CaptureSetupError with the first lines of what the compiler said."""
    bcc = import_bcc()
    _prepare_bcc()
    with _chatter_to_file() as log:
        try:
            return bcc.BPF(text=source, cflags=list(FLAGS))
        except Exception as error:
            said = log.read_text(errors="replace").strip()
            raise CaptureSetupError(f"the BPF program does not compile here: {error}\n{said[:4000]}") from error
