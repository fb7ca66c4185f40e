"""QEMU: starts a guest, streams what its command says, and ends it.

The guest talks through two ports: ``kpath.output``, which carries the command's output, and ``kpath.status``,
on which the guest says ``ready`` when the command starts and ``exit N`` when it has ended. So a guest that
did not boot, one that died, and a command that failed are never mistaken for each other.
"""

from __future__ import annotations

import compileall
import contextlib
import os
import selectors
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

from kpath.guest import initramfs
from kpath.guest.errors import GuestDiedError, GuestError, GuestTimeoutError, ToolMissingError
from kpath.guest.kernels import Kernel

QEMU = "qemu-system-x86_64"

THREAD = "single"
"""One thread for all virtual CPUs, in turns. With a thread for each, a guest of 7.3 in which trace events are switched
on and off panics within seconds, in a jump that another CPU has just patched; attaching a probe patches code, too.
What is serial runs as fast, what is parallel half as fast."""

BOOT_TIMEOUT = 600.0
"""Seconds until the command must have started; it takes three on an idle machine, and a busy one may be slow."""

PATIENCE_WITH_QEMU = 5.0
"""Seconds that QEMU has to end when told to, before it is killed."""

CONSOLE = "console.log"
"""Where the console goes, in the output directory."""

CONSOLE_TAIL = 40
"""Lines of the console shown when a guest died."""

NICS = (
    "-netdev", "hubport,hubid=1,id=h1", "-device", "e1000,netdev=h1,romfile=,mac=02:6b:70:00:00:01",
    "-netdev", "hubport,hubid=1,id=h2", "-device", "virtio-net-pci,netdev=h2,romfile=,mac=02:6b:70:00:00:02",
)  # fmt: skip
"""Two network cards on one wire: eth0 is the e1000, eth1 the virtio-net."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the machine is like."""

    cpus: int = 2
    memory: str = "2G"
    nics: bool = False
    icount: bool = False
    """One virtual nanosecond is one instruction, so the guest's clock counts instructions. One CPU."""
    kaslr: bool = False
    """Boot the compressed image, which moves the kernel to a random address, and takes longer."""
    append: tuple[str, ...] = ()
    """More words for the kernel's command line."""
    timeout: float | None = None
    """Seconds the command may take."""
    boot_timeout: float = BOOT_TIMEOUT
    environment: Mapping[str, str] = field(default_factory=dict)


class Outcome(NamedTuple):
    """How a command ended, and how long it took, in seconds: until it started, and altogether."""

    status: int
    boot: float
    total: float


def checkout() -> Path:
    """The top of the tree that this package stands in."""
    return Path(__file__).resolve().parents[2]


def run(
    kernel: Kernel,
    command: Sequence[str],
    out: Path,
    options: Options,
    output: Callable[[bytes], None] | None,
    ready: Callable[[float], None] = lambda seconds: None,
) -> Outcome:
    """Boots `kernel`, runs `command`, and hands each piece of its output to `output`.

    Without `output` the command gets this process's terminal. Files that the command writes below
    ``$KPATH_OUT`` are in `out` as they are written. Raises `GuestDiedError` or `GuestTimeoutError`.
    """
    if shutil.which(QEMU) is None:
        raise ToolMissingError(f"{QEMU} is not here: install qemu-system-x86.")
    # What a guest writes does not last: each would compile the modules anew, ten times as slowly.
    compileall.compile_dir(checkout() / "kpath", quiet=2)
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    console = out / CONSOLE
    console.write_bytes(b"")
    interactive = output is None
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kpath-guest-")))
        image = scratch / "initramfs"
        image.write_bytes(initramfs.build(kernel, guest_files(kernel, command, out, options, interactive)))
        here, there = stack.enter_context(ports())
        if interactive:
            stack.enter_context(terminal_kept())
        numbers = [port.fileno() for port in there]
        arguments = arguments_for(kernel, options, out, image, numbers, interactive)
        complaints = stack.enter_context((scratch / "qemu").open("w+"))
        process = stack.enter_context(process_ended(arguments, numbers, complaints, interactive))
        for port in there:
            port.close()
        watch = Watch(process, console, complaints, options, start, ready)
        status = watch.until_exit(here, output or (lambda piece: None))
    return Outcome(status, watch.booted or 0.0, time.monotonic() - start)


def guest_files(
    kernel: Kernel, command: Sequence[str], out: Path, options: Options, interactive: bool
) -> dict[str, bytes]:
    """The files that ``init.sh`` reads in ``/run/kpath``."""
    top = checkout()
    cwd = Path.cwd()
    size = shutil.get_terminal_size()
    environment = Path(sys.prefix)
    shared = (top, environment, kernel.directory, out)
    settings = {
        "KPATH_OUT": str(out),
        "KPATH_CWD": str(cwd if cwd.is_relative_to(top) else top),
        "KPATH_MODULES": str(kernel.modules),
        "KPATH_HOSTNAME": f"kpath-{kernel.series}",
        "KPATH_PATH": str(environment / "bin"),
        "VIRTUAL_ENV": str(environment),
        "KPATH_LOAD": "e1000 virtio_net" if options.nics else "",
        "KPATH_TTY": "1" if interactive else "",
        "KPATH_ROWS": str(size.lines),
        "KPATH_COLUMNS": str(size.columns),
        "TERM": os.environ.get("TERM", "linux") if interactive else "dumb",
        # A fresh /tmp would hide what is shared below it.
        "KPATH_TMPFS": "" if any(path.is_relative_to("/tmp") for path in shared) else "1",
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in options.environment.items())
    return {
        "env": "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()).encode(),
        "init": Path(__file__).with_name("init.sh").read_bytes(),
        "command": f"#!/bin/bash\n{exports}exec {shlex.join(command)}\n".encode(),
    }


def arguments_for(
    kernel: Kernel, options: Options, out: Path, image: Path, ports: Sequence[int], interactive: bool
) -> list[str]:
    """The command line of QEMU."""
    # The kernel would find the emulated counters unstable and read the HPET instead, which is slow.
    # Mitigations stay on: they change the code that kpath traces, and real machines have them.
    words = ["console=ttyS0", "quiet", "panic=-1", "net.ifnames=0", "tsc=reliable", *options.append]
    output, status = ports
    arguments = [
        QEMU, "-nodefaults", "-no-user-config", "-name", f"kpath-{kernel.series}",
        "-machine", "q35,sata=off,smbus=off", "-accel", f"tcg,thread={THREAD}", "-cpu", "max",
        "-smp", str(1 if options.icount else options.cpus), "-m", options.memory,
        "-display", "none", "-no-reboot",
        "-kernel", str(kernel.image if options.kaslr else kernel.elf), "-initrd", str(image),
        "-append", " ".join(words),
        "-serial", f"file:{escaped(out / CONSOLE)}",
        "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
        "-fsdev", f"local,id=out,path={escaped(out)},security_model=none,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=out,mount_tag=out",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=status,fd={status}",
        "-device", "virtserialport,name=kpath.status,chardev=status",
    ]  # fmt: skip
    if interactive:
        arguments += ["-chardev", "stdio,id=terminal,signal=off", "-device", "virtconsole,chardev=terminal"]
    else:
        arguments += ["-chardev", f"socket,id=output,fd={output}"]
        arguments += ["-device", "virtserialport,name=kpath.output,chardev=output"]
    if options.nics:
        arguments += NICS
    if options.icount:
        arguments += ["-icount", "shift=0,sleep=off"]
    return gone_with_us(arguments, "KILL")


def gone_with_us(arguments: list[str], signal: str) -> list[str]:
    """The command line of a program that gets this signal when this process is gone, however that came about."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal, "--", *arguments] if setpriv else arguments


def escaped(path: Path) -> str:
    """A path inside a comma-separated option of QEMU."""
    return str(path).replace(",", ",,")


@contextlib.contextmanager
def ports() -> Iterator[tuple[list[socket.socket], list[socket.socket]]]:
    """Our ends and QEMU's ends of (output, status)."""
    pairs = [socket.socketpair(), socket.socketpair()]
    here, there = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    try:
        yield here, there
    finally:
        for port in (*here, *there):
            port.close()


@contextlib.contextmanager
def process_ended(
    arguments: Sequence[str], ports: Sequence[int], complaints: TextIO, interactive: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU, which is gone when the block is left, however that happens."""
    process = subprocess.Popen(
        arguments,
        stdin=None if interactive else subprocess.DEVNULL,
        stderr=complaints,
        pass_fds=ports,
        # An interrupt of the terminal is for us; we end QEMU.
        process_group=None if interactive else 0,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_WITH_QEMU)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def terminal_kept() -> Iterator[None]:
    """QEMU makes the terminal raw; a QEMU that was killed leaves it so."""
    if not sys.stdin.isatty():
        raise GuestError("A terminal is needed for this, and standard input is none.")
    settings = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)


class Watch:
    """Follows a guest from power on to power off."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        console: Path,
        complaints: TextIO,
        options: Options,
        start: float,
        ready: Callable[[float], None],
    ) -> None:
        self.process = process
        self.console = console
        self.complaints = complaints
        self.options = options
        self.start = start
        self.ready = ready
        self.booted: float | None = None
        self.status: int | None = None
        self.said = b""

    def until_exit(self, here: Sequence[socket.socket], output: Callable[[bytes], None]) -> int:
        """Passes on the output until the guest is gone; the exit status of the command."""
        said, status = here
        with selectors.DefaultSelector() as selector:
            selector.register(said, selectors.EVENT_READ, output)
            selector.register(status, selectors.EVENT_READ, self._listen)
            while selector.get_map():
                for key, _ in selector.select(self._patience()):
                    # The socket of a QEMU that was killed can say so with an error.
                    try:
                        piece = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    except ConnectionResetError:
                        piece = b""
                    if piece:
                        key.data(piece)
                    else:
                        selector.unregister(key.fileobj)
        if self.status is None:
            self.process.wait()
            raise self._died("died" if self.booted else "did not boot")
        return self.status

    def _listen(self, piece: bytes) -> None:
        *lines, self.said = (self.said + piece).split(b"\n")
        for line in lines:
            word, _, value = line.decode(errors="replace").partition(" ")
            if word == "ready":
                self.booted = time.monotonic() - self.start
                self.ready(self.booted)
            elif word == "exit":
                self.status = int(value)

    def _patience(self) -> float | None:
        """Seconds that the guest still has; raises if there are none."""
        now = time.monotonic() - self.start
        if self.status is not None:
            return None
        if self.booted is None:
            if now > self.options.boot_timeout:
                raise self._died(f"did not start the command within {self.options.boot_timeout:.0f} s")
            return self.options.boot_timeout - now + 0.1
        if self.options.timeout is None:
            return None
        left = self.booted + self.options.timeout - now
        if left <= 0:
            raise GuestTimeoutError(f"The command did not end within {self.options.timeout:g} s.")
        return left + 0.1

    def _died(self, how: str) -> GuestDiedError:
        lines = self.console.read_text(errors="replace").splitlines()
        if self.process.poll() not in (None, 0):
            self.complaints.seek(0)
            said = self.complaints.read().strip()
            how += f"; QEMU ended with status {self.process.returncode}, saying: {said}"
        return GuestDiedError(f"The guest {how}.", self.console, "\n".join(lines[-CONSOLE_TAIL:]))
