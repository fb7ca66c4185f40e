"""``kpath watch``: each packet's path as a tree, while it happens."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from kpath.cli.options import Request, capture_options, capturing

if TYPE_CHECKING:
    from kpath.capture.live import LiveSource
    from kpath.capture.tables import Footer, Header
    from kpath.model.check import Checker


@click.command(short_help="Show each packet's path while it happens.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each journey, a line each (docs/json.md).")
@click.option("-c", "--count", type=click.IntRange(1), default=None, help="End after this many journeys.")
@click.option("--arp", is_flag=True, help="Show ARP packets too, as journeys of their own.")
@click.option(
    "--document", "documents", multiple=True, metavar="NAME|PATH", help="Judge by this document (default: all three)."
)
@click.option("--verdict/--no-verdict", default=True, help="Say what the documents think of each path.")
@click.option("--tui", is_flag=True, help="Open the dashboard instead of printing lines (docs/dashboard.md).")
@click.option("--ready-file", metavar="PATH", help="Create this file when the probes are attached.")
@capture_options
def watch(
    request: Request,
    as_json: bool,
    count: int | None,
    arp: bool,
    documents: tuple[str, ...],
    verdict: bool,
    tui: bool,
    ready_file: str | None,
) -> None:
    """Show the path of each IPv4 packet on IFACE (default: any) through the kernel, until Ctrl-C.

    A tree shows which function called which, when (µs since the packet's first call), on which CPU, and what the
    pointers were that decided. IFACE is a name, NAMESPACE/NAME, or any.

    \b
    Examples:
      sudo kpath watch eth0
      sudo kpath watch any -f 'icmp and host 192.0.2.1' -c 2
      sudo kpath watch eth0 --json | jq -r '.traversals[].end.how'
    """
    if tui and (as_json or count or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise click.UsageError("--tui needs a terminal, and goes with neither --json nor --count.")
    for name in documents:  # before the seconds that attaching takes
        _load(name)
    with capturing(request, _say if sys.stderr.isatty() else None) as source:
        from kpath.capture.ending import COUNT, Ending
        from kpath.capture.tables import Footer
        from kpath.cli.view import Printer
        from kpath.trace.assemble import Assembler

        if tui:
            _dashboard(source, request, arp, documents)
            return
        checker = _checker(source, documents) if verdict else None
        assembler = Assembler()
        printer = Printer(assembler, as_json=as_json, arp=arp, count=count or 0, checker=checker)
        with Ending(request.duration) as ending:
            _greet(source.header(), request)
            if ready_file:
                _touch(ready_file)
            ending.begin()
            footer: Footer | None = None
            for chunk in source.chunks(ending):
                if isinstance(chunk, Footer):
                    footer = chunk
                printer.take(assembler.feed(chunk))
                printer.take(assembler.tick(time.monotonic_ns()))
                if printer.full:
                    ending.end(COUNT)
            printer.take(assembler.flush())
        _farewell(source, footer, printer.shown)


def _load(name: str) -> None:
    from kpath.flow import load

    load(name)


def _checker(source: LiveSource, documents: tuple[str, ...]) -> Checker:
    from kpath.flow import BUILT_IN
    from kpath.model.check import Checker

    return Checker.for_stream(source.header().probes, documents or BUILT_IN)


def _dashboard(source: LiveSource, request: Request, arp: bool, documents: tuple[str, ...]) -> None:
    from kpath.capture.ending import INTERRUPT, Ending
    from kpath.dashboard.app import run
    from kpath.dashboard.referee import NEWEST_FIRST, referee

    header = source.header()
    ending = Ending(request.duration)
    ending.begin()
    judge = referee(header.probes, documents or NEWEST_FIRST)
    stop = lambda: ending.end(INTERRUPT)  # noqa: E731 - a word for the view, not worth a function
    run(source.chunks(ending), request.iface, judge, header=header, live=True, arp=arp, stop=stop)


def _say(text: str) -> None:
    click.echo(f"kpath: {text} …", err=True)


def _touch(path: str) -> None:
    from pathlib import Path

    Path(path).touch()


def _greet(header: Header, request: Request) -> None:
    attached = sum(bool(p.program) for p in header.probes)
    silent = len(header.probes) - attached
    click.echo(
        f"kpath: watching {request.iface} on Linux {header.kernel_release} with {attached} probes "
        f"({silent} functions are not there or cannot be probed: kpath doctor); Ctrl-C ends",
        err=True,
    )


def _farewell(source: LiveSource, footer: Footer | None, shown: int) -> None:
    lost = sum(footer.lost.values()) if footer else source.lost
    missed = sum(footer.missed.values()) if footer else source.missed
    words = f"kpath: {shown} journeys from {source.received} events; {lost} events lost, {missed} probe hits missed"
    if lost or missed:
        words += ": some trees are incomplete (try a filter, or a larger --buffer-size)"
    click.echo(words, err=True)
