"""``kpath watch``: each packet's path while it happens: in the dashboard, as trees, or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from kpath.cli import share
from kpath.cli.metrics import Counting, serving
from kpath.cli.options import Request, capture_options, capturing
from kpath.cli.progress import waiting
from kpath.cli.share import Share

if TYPE_CHECKING:
    from kpath.capture.live import LiveSource
    from kpath.capture.tables import Footer, Header
    from kpath.model.check import Checker


@click.command(short_help="Show each packet's path while it happens.")
@click.option("--tui/--plain", default=None, help="The dashboard (docs/dashboard.md), or trees of text. By default the "
              "dashboard in a terminal, text in a pipe.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each journey, a line each (docs/json.md).")
@click.option("-c", "--count", type=click.IntRange(1), default=None, help="Text; end after this many journeys.")
@click.option("--arp", is_flag=True, help="Show ARP packets too, as journeys of their own.")
@click.option(
    "--document", "documents", multiple=True, metavar="NAME|PATH", help="Judge by this document (default: all three)."
)
@click.option("--verdict/--no-verdict", default=True, help="Say what the documents think of each path.")
@click.option("--prometheus", metavar="[ADDRESS]:PORT", help="Serve metrics meanwhile (docs/export.md); :9100 is for "
              "this machine alone.")
@click.option("--mode", type=click.Choice(["auto", "events", "paths"]), default="auto",
              help="events: every packet's tree. paths: the kernel counts each path and how long its packets took, "
              "whatever the load, and one packet of each path is judged. auto: events; the dashboard goes over to "
              "paths when there are more events than it can read, unless there is a filter or --mark.")
@click.option("--max-overhead", type=click.FloatRange(0.01, 100), metavar="PERCENT",
              help="Follow fewer packets, each of them whole, when this takes more than this share of the machine's "
              "CPU time (the dashboard counts paths then), and end when that does not help.")
@click.option("--sample", "one_in", type=click.IntRange(2, share.MOST), metavar="N",
              help=share.SAMPLE_HELP + " Text and JSON.")
@click.option("--ready-file", metavar="PATH", help="Create this file when the probes are attached.")
@capture_options
def watch(
    request: Request,
    tui: bool | None,
    as_json: bool,
    count: int | None,
    arp: bool,
    documents: tuple[str, ...],
    verdict: bool,
    prometheus: str | None,
    mode: str,
    max_overhead: float | None,
    one_in: int | None,
    ready_file: str | None,
) -> None:
    """Show the path of each IPv4 packet on IFACE (default: any) through the kernel, until q or Ctrl-C.

    In a terminal this opens the dashboard. A tree shows which function called which, when (µs since the packet's first
    call), on which CPU, and what the pointers were that decided. IFACE is a name, NAMESPACE/NAME, or any.

    \b
    Examples:
      sudo kpath watch eth0
      sudo kpath watch any --plain -f 'icmp and host 192.0.2.1' -c 2
      sudo kpath watch eth0 --json | jq -r '.traversals[].end.how'
      sudo kpath watch eth0 --prometheus :9100
      sudo kpath watch eth0 --mode paths --max-overhead 2
    """
    wants_view = _wants_view(tui, as_json, count)
    if mode == "paths" and (count or prometheus):
        raise click.UsageError("--mode paths goes with neither --count nor --prometheus: they need events.")
    auto = mode == "auto" and wants_view and not (request.filter_text.strip() or request.mark[1] or prometheus)
    share.check(one_in, max_overhead)
    if one_in and (wants_view or mode == "paths"):
        raise click.UsageError("--sample goes with trees and JSON: add --plain or --json.")
    if max_overhead and wants_view and not auto and mode != "paths":
        raise click.UsageError(
            "--max-overhead goes with a dashboard only where that may count paths: without a filter, and not with "
            "--mode events. Add --plain."
        )
    budget = max_overhead / 100 if max_overhead else None
    if mode == "paths" and not wants_view:
        _count(request, arp, documents, verdict, as_json, ready_file, budget)
        return
    for name in documents:  # before the seconds that attaching takes
        _load(name)
    with ExitStack() as stack:
        counting = stack.enter_context(serving(prometheus))
        with waiting() as say:
            source = stack.enter_context(
                capturing(
                    request, say, mode="paths" if mode == "paths" else "events",
                    sampled=not wants_view and bool(one_in or max_overhead),
                )
            )  # fmt: skip
            if wants_view:
                import kpath.dashboard.tui  # noqa: F401 - takes long, and something else is seen meanwhile
        if wants_view:
            from kpath.cli.board import board

            _touch(ready_file)
            board(
                source, request, auto=auto, arp=arp, documents=documents, verdict=verdict,
                selective=_selective(request), budget=budget, counting=counting,
            )  # fmt: skip
        else:
            followed = Share(source, one_in or 1, budget)
            stack.callback(followed.close)
            _print(source, request, arp, documents, verdict, counting, as_json, count or 0, ready_file, followed)


def _count(
    request: Request, arp: bool, documents: tuple[str, ...], verdict: bool, as_json: bool, ready_file: str | None,
    budget: float | None,
) -> None:  # fmt: skip
    for name in documents:
        _load(name)
    from kpath.capture.counting import PathSource
    from kpath.cli.paths import watch_paths

    with waiting() as say, capturing(request, say, mode="paths") as source:
        watch_paths(
            PathSource(source.session), source.header(), documents,
            arp=arp, verdict=verdict, as_json=as_json, duration=request.duration, ready=ready_file,
            budget=budget, programs=source.programs,
        )  # fmt: skip


def _wants_view(tui: bool | None, as_json: bool, count: int | None) -> bool:
    """The dashboard, or text?"""
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if tui is None:
        return terminal and not (as_json or count)
    if tui and (as_json or count or not terminal):
        raise click.UsageError("--tui needs a terminal, and goes with neither --json nor --count.")
    return tui


def _print(
    source: LiveSource,
    request: Request,
    arp: bool,
    documents: tuple[str, ...],
    verdict: bool,
    counting: Counting | None,
    as_json: bool,
    count: int,
    ready_file: str | None,
    followed: Share,
) -> None:
    from kpath.capture.ending import COUNT, Ending

    with Ending(request.duration) as ending:
        # From here on Ctrl-C is an orderly end, also while modules and documents are made ready, which takes a slow
        # machine long: what was captured meanwhile is shown.
        _touch(ready_file)
        from kpath.capture.tables import Footer
        from kpath.cli.view import Printer
        from kpath.trace.assemble import Assembler

        checker = _checker(source, documents) if verdict else None
        assembler = Assembler()
        printer = Printer(assembler, as_json=as_json, arp=arp, count=count, checker=checker, observe=counting)
        _greet(source.header(), request)
        ending.begin()
        footer: Footer | None = None
        stream = source.chunks(ending)
        for chunk in _counted(stream, source, counting) if counting else stream:
            if isinstance(chunk, Footer):
                footer = chunk
            printer.take(assembler.feed(chunk))
            printer.take(assembler.tick(source.settled))
            if printer.full:
                ending.end(COUNT)
            if why := followed.tick():
                click.echo(f"kpath: {why}", err=True)
                ending.end(why)
        printer.take(assembler.flush())
    _farewell(source, footer, printer.shown)
    if followed.farewell:
        click.echo(f"kpath: {followed.farewell}", err=True)


def _counted(stream: Iterable[object], source: LiveSource, counting: Counting) -> Iterator[object]:
    """The stream with its cost measured and its packets counted for Prometheus."""
    from kpath.cli.cost import Cost

    cost = Cost(source, selective=source.session.options.selection.active)
    return counting.pass_on(cost.pass_on(stream), cost)


def _selective(request: Request) -> bool:
    """Does the kernel side leave packets out?"""
    return bool(request.filter_text.strip() or request.netns or request.mark[1] or request.iface != "any")


def _load(name: str) -> None:
    from kpath.flow import load

    load(name)


def _checker(source: LiveSource, documents: tuple[str, ...]) -> Checker:
    from kpath.flow import BUILT_IN
    from kpath.model.check import Checker

    return Checker.for_capture(source.header(), documents or BUILT_IN)


def _touch(path: str | None) -> None:
    from pathlib import Path

    if path:
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
        words += ": some trees are incomplete (try --sample, a filter, or a larger --buffer-size)"
    click.echo(words, err=True)
