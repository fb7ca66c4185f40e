"""Putting the BPF programs onto the kernel's functions, and taking them off again.

Two ways give the same events: kprobe.multi, one system call for all functions of a program (kernels with
CONFIG_FPROBE), or kprobes. The kprobes are made through tracefs, because only there does the kernel tell how
many hits each one missed (``kprobe_profile``), and because there one event can hold many of them (since 5.4):
closing an event waits for all CPUs to leave its handlers, which for each function alone would take minutes.
A kprobe is armed only while its event's file descriptor is open, so nothing stays armed after SIGKILL; the
names left in tracefs are removed by a guardian process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from kpath.capture import guardian
from kpath.capture.errors import CaptureSetupError
from kpath.capture.guardian import remove_group
from kpath.kernel.libbpf import libbpf

BPF_TRACE_KPROBE_MULTI = 42
_PERF_TYPE_TRACEPOINT = 2
_PERF_FLAG_FD_CLOEXEC = 8
_IOC_SET_BPF = 0x40042408
_IOC_ENABLE = 0x2400
_SYS_PERF_EVENT_OPEN = 298  # x86-64

RETURN_INSTANCES = 64
"""How many calls of nf_hook_slow may be under way at once with their verdicts seen (kretprobe maxactive)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A function to attach to, and the BPF program for it."""

    symbol: str
    module: str
    address: int
    program: str
    returns: bool = False

    def where(self, text: int, number: int) -> list[str]:
        """As tracefs wants it, in the order in which to try; ``text`` is the address of the kernel's first symbol, 0 if
        unknown, ``number`` this probe's within its event.

        The bare address first, for kernels before 6.2 walk through all symbols for any name, even the first. Two bare
        addresses pass for one in the same event, unless their arguments differ: so each gets a number of its own, which
        is never fetched, as the BPF program wants no event. A module's function is named, to come back with the module.
        """
        if self.module:
            return [f"{self.module}:{self.symbol}"]
        name = f"_text+{self.address - text}" if 0 < text < self.address else self.symbol
        return [f"{self.address:#x} n=\\{number}", name] if self.address else [name]

    def __str__(self) -> str:
        return f"{self.symbol} return" if self.returns else self.symbol


class _PerfEventAttr(ctypes.Structure):
    """The first 64 bytes of ``struct perf_event_attr`` (PERF_ATTR_SIZE_VER0)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def _open_tracepoint(number: int) -> int:
    attr = _PerfEventAttr(type=_PERF_TYPE_TRACEPOINT, size=64, config=number, sample_period=1, wakeup_events=1)
    fd = _libc.syscall(_SYS_PERF_EVENT_OPEN, ctypes.byref(attr), -1, 0, -1, _PERF_FLAG_FD_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(fd)


class Tracepoint:
    """A tracepoint or tracefs kprobe event, open and armed; a program is put on it later, which costs nothing."""

    def __init__(self, tracing: Path, system: str, event: str) -> None:
        number = int((tracing / "events" / system / event / "id").read_text())
        self.fd = _open_tracepoint(number)
        self.running = False

    def run(self, program_fd: int) -> None:
        """Run this BPF program at each hit. Raises OSError."""
        for request, argument in ((_IOC_SET_BPF, program_fd), (_IOC_ENABLE, 0)):
            if _libc.ioctl(self.fd, ctypes.c_ulong(request), ctypes.c_ulong(argument)) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.running = True

    def close(self) -> None:
        """Disarm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True)
class _Event:
    """One tracefs event: the kprobes of one program."""

    name: str
    targets: list[Target]
    tracepoint: Tracepoint | None = None


class KprobeGroup:
    """Kprobes of one capture, as a group of events in tracefs.

    ``define`` and ``arm`` need no BPF program, so they can run while the compiler does.
    """

    _counter = count()

    def __init__(self, tracing: Path, text: int = 0) -> None:
        """``text`` is the address of the symbol ``_text``, 0 if unknown."""
        self._tracing = tracing
        self._text = text
        # kprobe_profile shows an event without its group, so the process is in the event's name, too.
        self._prefix = f"{os.getpid()}_{next(self._counter)}"
        self.name = f"kpath_{self._prefix}"
        self._events: list[_Event] = []
        self._guardian = -1

    def define(self, targets: Iterable[Target]) -> dict[Target, str]:
        """Make the events. Returns what the kernel refused, with its reason.

        Returns come first: a kprobe that is added later runs earlier, so it still sees the true return address.
        """
        if self._guardian < 0:
            sweep(self._tracing)
            self._guardian = start_guardian(self._tracing, self.name)
        refused: dict[Target, str] = {}
        events: dict[tuple[bool, str], _Event] = {}
        for target in sorted(targets, key=lambda t: not t.returns):
            event = events.get((target.returns, target.program)) or self._new_event(target.program)
            events[target.returns, target.program] = event
            try:
                self._add(event, target)
            except FileExistsError:  # before 5.4 an event holds a single kprobe
                event = events[target.returns, target.program] = self._new_event(target.program)
                self._add_or_say(event, target, refused)
            except OSError as error:
                refused[target] = _refusal(error)
            if event.targets and event not in self._events:
                self._events.append(event)
        return refused

    def _new_event(self, program: str) -> _Event:
        return _Event(f"k{self._prefix}_{next(self._counter)}_{program}", [])

    def _add(self, event: _Event, target: Target) -> None:
        kind = f"r{RETURN_INSTANCES}" if target.returns else "p"
        *others, last = target.where(self._text, len(event.targets))
        for where in others:
            # A kernel before 5.4 knows no numbers.
            with contextlib.suppress(OSError):
                _command(self._tracing, f"{kind}:{self.name}/{event.name} {where}")
                event.targets.append(target)
                return
        _command(self._tracing, f"{kind}:{self.name}/{event.name} {last}")
        event.targets.append(target)

    def _add_or_say(self, event: _Event, target: Target, refused: dict[Target, str]) -> None:
        try:
            self._add(event, target)
        except OSError as error:
            refused[target] = _refusal(error)

    def arm(self) -> dict[Target, str]:
        """Open and arm the events that are not yet. Returns the targets that failed, with the reason."""
        failed: dict[Target, str] = {}
        for event in [e for e in self._events if e.tracepoint is None]:
            try:
                event.tracepoint = Tracepoint(self._tracing, self.name, event.name)
            except OSError as error:
                self._events.remove(event)
                self._remove(event)
                if len(event.targets) == 1:
                    failed[event.targets[0]] = f"the kernel cannot arm the probe: {error.strerror}"
                else:
                    failed |= self._arm_each(event.targets)
        return failed

    def _arm_each(self, targets: list[Target]) -> dict[Target, str]:
        """One of them cannot be armed, so each gets an event of its own."""
        refused: dict[Target, str] = {}
        for target in targets:
            event = self._new_event(target.program)
            self._add_or_say(event, target, refused)
            if event.targets:
                self._events.append(event)
        return refused | self.arm()

    def _remove(self, event: _Event) -> None:
        with contextlib.suppress(OSError):
            _command(self._tracing, f"-:{self.name}/{event.name}")

    def run(self, load: Callable[[str], int]) -> dict[Target, str]:
        """Put the programs onto the armed events that have none yet; ``load`` gives a program's descriptor.

        Returns the targets for which it failed, with the reason.
        """
        failed: dict[Target, str] = {}
        for event in self._events:
            if event.tracepoint is None or event.tracepoint.running:
                continue
            try:
                event.tracepoint.run(load(event.targets[0].program))
            except OSError as error:
                failed |= dict.fromkeys(event.targets, f"the kernel does not take the program: {error.strerror}")
        return failed

    def profile(self) -> list[tuple[Target, int, int]]:
        """For each kprobe (target, hits, missed) as the kernel counts them; a miss is a hit that ran no handler."""
        # All kprobes of an event bear its name, in the order in which they were made.
        members = {event.name: iter(event.targets) for event in self._events}
        found: list[tuple[Target, int, int]] = []
        with contextlib.suppress(OSError):
            for line in (self._tracing / "kprobe_profile").read_text().splitlines():
                fields = line.split()
                target = next(members.get(fields[0], iter(())), None) if len(fields) == 3 else None
                if target:
                    found.append((target, int(fields[1]), int(fields[2])))
        return found

    def disarm(self) -> None:
        """Disarm all; the events stay defined, and their profile readable."""
        for event in self._events:
            if event.tracepoint:
                event.tracepoint.close()

    def close(self) -> None:
        """Disarm all. The guardian removes the events: the kernel takes its time for each, seconds in all."""
        self.disarm()
        self._events.clear()
        if self._guardian >= 0:
            os.close(self._guardian)
            self._guardian = -1
        else:
            remove_group(self._tracing, self.name)


def _refusal(error: OSError) -> str:
    return f"the kernel refuses the probe: {error.strerror}"


def _command(tracing: Path, line: str) -> None:
    # Not open("a"): Python then seeks to the end, which this file refuses.
    fd = os.open(tracing / "kprobe_events", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def sweep(tracing: Path) -> None:
    """Remove what a kpath that is no longer alive left in tracefs, if its guardian was killed with it."""
    with contextlib.suppress(OSError):
        text = (tracing / "kprobe_events").read_text()
        for group, pid in set(re.findall(r":(kpath_(\d+)_\d+)/", text)):
            if not Path(f"/proc/{pid}").exists():
                remove_group(tracing, group)


def start_guardian(tracing: Path, group: str) -> int:
    """Start the process that outlives even a SIGKILL of this one and removes its events; returns its lifeline.

    Closing the lifeline tells it to begin. -1 if it cannot be started.
    """
    return _start(guardian.__file__, str(tracing), group)


def start_heir(fds: Sequence[int]) -> int:
    """Start a process that has these descriptors, too, until its lifeline, which is returned, is closed.

    What the last one who closes a descriptor must wait for, it waits for. -1 if it cannot be started.
    """
    return _start("-c", "import sys; sys.stdin.read()", fds=fds)


def _start(*arguments: str, fds: Sequence[int] = ()) -> int:
    """A Python of its own, with these descriptors; its standard input is the lifeline, whose other end is returned."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    # To the same number: it is kept when the program begins.
    inherited = ((fd, fd) for fd in fds)
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", *arguments],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, *pair) for pair in ((read_end, 0), (null, 1), (null, 2), *inherited)],
            setsid=True,
        )
    except OSError:
        os.close(write_end)
        return -1
    finally:
        os.close(read_end)
        os.close(null)
    return write_end


class _LinkCreateOpts(ctypes.Structure):
    """``struct bpf_link_create_opts`` of libbpf 1.x with its kprobe_multi member."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("iter_info", ctypes.c_void_p),
        ("iter_info_len", ctypes.c_uint32),
        ("target_btf_id", ctypes.c_uint32),
        ("multi_flags", ctypes.c_uint32),
        ("cnt", ctypes.c_uint32),
        ("syms", ctypes.c_void_p),
        ("addrs", ctypes.c_void_p),
        ("cookies", ctypes.c_void_p),
    )


class MultiLink:
    """One program on many functions by kprobe.multi; closing the descriptor detaches."""

    def __init__(self, program_fd: int, addresses: Sequence[int]) -> None:
        """Raises OSError: EOPNOTSUPP without fprobe, EINVAL or ENOENT for an address that cannot be probed."""
        array = (ctypes.c_uint64 * len(addresses))(*addresses)
        opts = _LinkCreateOpts(
            sz=ctypes.sizeof(_LinkCreateOpts), cnt=len(addresses), addrs=ctypes.addressof(array)
        )
        fd = libbpf().bpf_link_create(program_fd, 0, BPF_TRACE_KPROBE_MULTI, ctypes.byref(opts))
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        self.fd = int(fd)

    def missed(self) -> int:
        """Hits for which the link ran nothing (since 6.7; 0 before): ``bpf_link_info.kprobe_multi.missed``."""
        info = (ctypes.c_uint64 * 16)()
        size = ctypes.c_uint32(ctypes.sizeof(info))
        if libbpf().bpf_obj_get_info_by_fd(self.fd, ctypes.byref(info), ctypes.byref(size)):
            return 0
        # u32 type, id, prog_id, padding; then the union: u64 addrs, u32 count, u32 flags, u64 missed.
        return int(info[4])

    def close(self) -> None:
        """Detach."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


_RECURSION_MISSES = 208
"""Offset in ``struct bpf_prog_info`` (include/uapi/linux/bpf.h; since 5.12, filled for kprobes since 6.7)."""


def recursion_misses(program_fd: int) -> int:
    """How often a program was skipped because BPF was already running on that CPU; 0 where the kernel does not say."""
    info = (ctypes.c_uint8 * 256)()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    if libbpf().bpf_obj_get_info_by_fd(program_fd, ctypes.byref(info), ctypes.byref(size)):
        return 0
    if size.value < _RECURSION_MISSES + 8:
        return 0
    return int.from_bytes(bytes(info[_RECURSION_MISSES : _RECURSION_MISSES + 8]), "little")


def tracing_or_error(tracing: Path | None) -> Path:
    """tracefs, or CaptureSetupError with the remedy."""
    if tracing is None:
        raise CaptureSetupError(
            "tracefs is not there or not readable: run as root, and mount it "
            "(mount -t tracefs tracefs /sys/kernel/tracing)."
        )
    return tracing
