"""The command line of the guest runner."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from kpath.guest import machine
from kpath.guest.errors import GuestError
from kpath.guest.kernels import Kernel, KernelCache, cache_directory, guest_slot

STANDARD = ("5.10", "6.1", "6.12", "7.3")
"""The series that kpath is tested on."""


def say(text: str) -> None:
    """A line about what is going on; standard output belongs to the guests."""
    click.echo(f"guest: {text}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Boot Debian's stock kernels in QEMU and run a command in each."""
    # So that a guest is ended in good order, as it is by an interrupt.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def machine_options(function: click.decorators.FC) -> click.decorators.FC:
    """The options that describe the machine; `options_from` reads them."""
    directory = click.Path(path_type=Path, file_okay=False)
    count = click.IntRange(1, 64)
    for option in (
        click.option("--parallel", is_flag=True, help="Do not wait for guests that others run."),
        click.option("--out", default="guest-out", show_default=True, type=directory,
                     help="Where $KPATH_OUT and the console go, in a directory for each kernel."),
        click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set in the guest."),
        click.option("--append", multiple=True, metavar="WORD", help="Add to the kernel's command line."),
        click.option("--kaslr", is_flag=True, help="Boot the compressed image: a random address; slower."),
        click.option("--icount", is_flag=True, help="The guest's clock counts instructions; one CPU."),
        click.option("--boot-timeout", default=machine.BOOT_TIMEOUT, show_default=True,
                     help="Seconds until the command must have started."),
        click.option("--cpus", default=2, show_default=True, type=count),
        click.option("--memory", default="2G", show_default=True, help="As QEMU takes it."),
        click.option("--nics", is_flag=True, help="Two network cards on one wire: e1000 and virtio-net."),
    ):  # fmt: skip
        function = option(function)
    return function


def options_from(settings: dict[str, Any], timeout: float | None = None) -> machine.Options:
    """What `machine_options` gathered."""
    pairs = [setting.partition("=") for setting in settings.pop("environment")]
    if not all(name.isidentifier() and equals for name, equals, _ in pairs):
        raise click.BadParameter("expected NAME=VALUE", param_hint="--env")
    environment = {name: value for name, _, value in pairs}
    return machine.Options(**settings, environment=environment, timeout=timeout)


@main.command()
@click.option("--kernel", "-k", "series", multiple=True, required=True, help="A series, as 6.1; repeatable.")
@click.option("--timeout", type=float, help="Seconds that the command may take.")
@click.option("--tty", is_flag=True, help="Give the command this terminal.")
@machine_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    series: tuple[str, ...],
    timeout: float | None,
    tty: bool,
    out: Path,
    parallel: bool,
    command: tuple[str, ...],
    **settings: Any,
) -> None:
    """Run COMMAND as root in a guest of each kernel, one after another.

    Its output is passed on as it comes. The exit status is the command's (with several kernels, the first
    that is not 0), 124 if the command took too long, and 3 if the guest could not be run.
    """
    options = options_from(settings, timeout)
    results: list[tuple[str, int, str]] = []
    for name in series:
        try:
            outcome = boot(name, command, out / name, options, parallel=parallel, interactive=tty)
            results.append((name, outcome.status, f"exit {outcome.status}, {outcome.total:.1f} s"))
        except GuestError as error:
            say(f"{name}: {error}")
            results.append((name, error.exit_status, str(error).splitlines()[0]))
    if len(series) > 1:
        say("summary")
        for name, _, text in results:
            say(f"  {name:<6} {text}")
    sys.exit(next((status for _, status, _ in results if status != 0), 0))


@main.command()
@click.option("--kernel", "-k", "series", required=True, help="A series, as 6.12.")
@machine_options
def shell(series: str, out: Path, parallel: bool, **settings: Any) -> None:
    """Open a shell in a guest; the guest ends with it."""
    options = options_from(settings)
    try:
        outcome = boot(series, ("bash", "-i"), out / series, options, parallel=parallel, interactive=True)
    except GuestError as error:
        say(f"{series}: {error}")
        sys.exit(error.exit_status)
    sys.exit(outcome.status)


@main.command()
@click.option("--refresh", is_flag=True, help="Look for a newer one even if there is one in the cache.")
@click.argument("series", nargs=-1, metavar="KERNEL...")
def fetch(series: tuple[str, ...], refresh: bool) -> None:
    """Download and unpack kernels (by default those that kpath is tested on)."""
    cache = KernelCache(cache_directory(), say)
    try:
        for name in series or STANDARD:
            kernel = cache.get(name, refresh=refresh)
            say(f"{name} is {kernel.release}, in {kernel.directory}")
    except GuestError as error:
        say(str(error))
        sys.exit(error.exit_status)


@main.command(name="list")
@click.option("--cached", is_flag=True, help="Only what is in the cache.")
def list_kernels(cached: bool) -> None:
    """Show the kernels in the cache and in Debian's archives."""
    cache = KernelCache(cache_directory(), say)
    here: dict[str, Kernel] = cache.cached()
    try:
        there = {} if cached else cache.available()
    except GuestError as error:
        say(str(error))
        sys.exit(error.exit_status)
    for name in sorted({*here, *there}, key=lambda series: [int(part) for part in series.split(".")]):
        mine = here[name].release if name in here else "-"
        theirs = there[name].release if name in there else ""
        click.echo(f"{name:<6} {mine:<28} {theirs}".rstrip())


def boot(
    series: str,
    command: tuple[str, ...],
    out: Path,
    options: machine.Options,
    *,
    parallel: bool,
    interactive: bool,
) -> machine.Outcome:
    """One guest, from cache to exit status, with a line for each thing that takes time."""
    cache = cache_directory()
    kernel = KernelCache(cache, say).get(series)
    with ExitStack() as stack:
        if not parallel:
            stack.enter_context(guest_slot(cache, lambda: say("waiting for another guest to end (see --parallel)")))
        say(f"{series}: booting {kernel.release}")
        outcome = machine.run(
            kernel,
            command,
            out,
            options,
            None if interactive else passed_on,
            lambda seconds: say(f"{series}: up after {seconds:.1f} s"),
        )
    say(f"{series}: exit status {outcome.status} after {outcome.total:.1f} s; files in {out}")
    return outcome


def passed_on(piece: bytes) -> None:
    """Writes output of a guest at once."""
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
