"""Options that ``record`` and ``watch`` share, and the capture that they describe."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:  # numpy takes long to import
    from kpath.capture.live import LiveSource
    from kpath.capture.plan import Planned
    from kpath.capture.resolve import Probe
    from kpath.capture.session import Options

F = TypeVar("F", bound=Callable[..., Any])

ANY = "any"
MIN_BUFFER, MAX_BUFFER = 64 << 10, 1 << 30
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


@dataclass(frozen=True, slots=True)
class Request:
    """What the user wants captured, as written on the command line and checked for its form."""

    iface: str = ANY
    filter_text: str = ""
    netns: str = ""
    mark: tuple[int, int] = (0, 0)
    """Value and mask."""
    duration: float | None = None
    buffer: str = "auto"
    buffer_bytes: int = 32 << 20
    backend: str = "auto"
    only: str = ""
    """Functions of the plan, with commas between them; empty for all."""


class Size(click.ParamType[int]):
    """A number of bytes such as 32M, rounded up to a power of two."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d{1,12})([KMG]?)i?B?", value.strip(), re.IGNORECASE)
        size = int(match[1]) << _UNITS[match[2].upper()] if match else 0
        if not match or not 0 < size <= MAX_BUFFER:
            self.fail(f"{value!r} is no size from 64K to 1G, such as 32M.", param, ctx)
        return max(MIN_BUFFER, 1 << (size - 1).bit_length())


class Mark(click.ParamType[tuple[int, int]]):
    """A packet's mark, with or without a mask: 0x10/0xff."""

    name = "mark"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Value and mask."""
        if isinstance(value, tuple):
            return value
        text, slash, mask_text = value.partition("/")
        try:
            mark, mask = int(text, 0), int(mask_text, 0) if slash else 0xFFFFFFFF
        except ValueError:
            self.fail(f"{value!r} is no mark: write 16, 0x10 or 0x10/0xff.", param, ctx)
        if not (0 <= mark <= 0xFFFFFFFF and 0 < mask <= 0xFFFFFFFF):
            self.fail(f"{value!r} is no mark: both numbers have 32 bits, and the mask is not 0.", param, ctx)
        if mark & ~mask:
            self.fail(f"no packet matches {value!r}: the value has bits that are not in the mask.", param, ctx)
        return mark, mask


def capture_options(function: F) -> F:
    """Adds IFACE and the options; the command gets them as its argument ``request``."""

    @functools.wraps(function)
    def with_request(**given: Any) -> Any:
        wanted = {field.name: given.pop(field.name) for field in fields(Request)}
        return function(request=Request(**wanted), **given)

    decorated: Any = with_request
    for decorate in reversed(_DECORATORS):
        decorated = decorate(decorated)
    result: F = decorated
    return result


def _complete_interface(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from kpath.kernel.netstate import interfaces

    return [name for name in [ANY, *(i.name for i in interfaces())] if name.startswith(incomplete)]


_DECORATORS = (
    click.argument("iface", default=ANY, shell_complete=_complete_interface),
    click.option(
        "-f", "--filter", "filter_text", default="", metavar="EXPR",
        help="Only packets that match, as written for tcpdump: 'host 192.0.2.1 and udp'. A packet that matched once "
        "is followed to its end, with its copies and fragments, whatever becomes of its addresses.",
    ),
    click.option("--netns", default="", metavar="NAME", help="Only packets seen in this network namespace (or inode)."),
    click.option("--mark", type=Mark(), default=(0, 0), show_default=False, metavar="VALUE[/MASK]",
                 help="Only packets with this mark."),
    click.option("-d", "--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
                 help="End after this time."),
    click.option("--backend", type=click.Choice(["auto", "multi", "kprobe", "fentry"]), default="auto",
                 help="How probes attach: all at once (multi), one by one (kprobe), or by a program for each function "
                 "(fentry), which takes long to start and then costs least."),
    click.option("--buffer", type=click.Choice(["auto", "mapped", "ring", "perf"]), default="auto",
                 help="How events leave the kernel; perf is for kernels before 5.8."),
    click.option("--buffer-size", "buffer_bytes", type=Size(), default=32 << 20, metavar="SIZE",
                 help="Room in the kernel for events, such as 32M (default), rounded up to a power of two."),
    # Attaching is faster, but paths have gaps that look like wrong turns: for tests of the machinery.
    click.option("--only", default="", metavar="FUNCTION,...", hidden=True),
)  # fmt: skip


def build_options(request: Request) -> Options:
    """What the session needs to know.

    Raises UnknownInterfaceError for an interface or namespace that is not there, FilterError for a wrong expression,
    CaptureSetupError when this user cannot capture.
    """
    from kpath.capture.errors import CaptureSetupError
    from kpath.capture.program import Selection, Sizes
    from kpath.capture.session import Options

    if os.geteuid() != 0:  # first, for without root not even the interfaces can be told
        raise CaptureSetupError("capturing needs root: run kpath with sudo.")
    netns, ifindex = _place(request)
    value, mask = request.mark
    return Options(
        selection=Selection(netns, ifindex, value, mask, _filter(request.filter_text)),
        sizes=Sizes(ring_bytes=request.buffer_bytes),
        backend=request.backend,
        buffer=request.buffer,
        plan=_plan(request.only),
        hand_over=True,
    )


def _plan(only: str) -> tuple[Planned, ...]:
    from kpath.capture.plan import PLAN, PLAN_BY_NAME

    names = set(filter(None, only.split(",")))
    if unknown := names - PLAN_BY_NAME.keys():
        raise click.UsageError(f"--only: the plan has no {', '.join(sorted(unknown))}.")
    return tuple(planned for planned in PLAN if planned.name in names) if names else PLAN


def _filter(expression: str) -> str:
    from kpath.capture.filter import compile_filter, to_c

    return to_c(compile_filter(expression)) if expression.strip() else ""


def _place(request: Request) -> tuple[int, int]:
    """The namespace's inode and the interface's index, 0 for any."""
    from kpath.kernel.links import find
    from kpath.kernel.netstate import find_namespace, interfaces

    netns = find_namespace(request.netns) if request.netns else 0
    if request.iface == ANY:
        return netns, 0
    among = [i for i in interfaces() if netns in (0, i.netns_inode)]
    found = find(request.iface, among)
    return found.netns_inode, found.ifindex


@contextmanager
def capturing(
    request: Request,
    say: Callable[[str], None] | None = None,
    on_attach: Callable[[Sequence[Probe]], None] | None = None,
    mode: str = "events",
    sampled: bool = False,
) -> Iterator[LiveSource]:
    """A started capture; leaving the block ends it, in whatever way. ``say`` is told what takes time. ``sampled``:
    perhaps not every packet is to be followed (``LiveSource.follow``).

    Raises what ``build_options`` raises, CaptureSetupError and KernelError.
    """
    options = build_options(request)
    options = replace(options, mode=mode, selection=replace(options.selection, sampled=sampled))

    from kpath.capture.live import LiveSource
    from kpath.capture.session import Session

    with Session(options, say) as session, LiveSource(session, request.filter_text, on_attach) as source:
        if mode == "events":
            source.begin()
        yield source
