"""``kpath show``: a recording, as ``watch`` would have shown it; needs no root and no Linux."""

from __future__ import annotations

import click

from kpath.capture.file import CaptureReader, Facts
from kpath.cli.view import Printer, dashboard
from kpath.flow import BUILT_IN
from kpath.model.check import Checker
from kpath.report import followed
from kpath.trace.assemble import Assembler


@click.command(short_help="Show a recording as trees, on any machine.")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each journey (docs/json.md).")
@click.option("--count", type=click.IntRange(1), default=None, help="Stop after this many journeys.")
@click.option("--arp", is_flag=True, help="Show ARP packets too, as journeys of their own.")
@click.option(
    "--document", "documents", multiple=True, metavar="NAME|PATH", help="Judge by this document (default: all three)."
)
@click.option("--verdict/--no-verdict", default=True, help="Say what the documents think of each path.")
@click.option("--salvage", is_flag=True, help="Read a damaged file up to the damage.")
@click.option("--tui", is_flag=True, help="Open the dashboard over the recording (docs/dashboard.md).")
def show(
    file: str,
    as_json: bool,
    count: int | None,
    arp: bool,
    documents: tuple[str, ...],
    verdict: bool,
    salvage: bool,
    tui: bool,
) -> None:
    """Show the packets of a recording, each as the tree of kernel functions that it went through.

    \b
    Examples:
      kpath show trace.kpath | less -R
      kpath show --json trace.kpath | jq .summary
      kpath show --tui trace.kpath
    """
    if tui:
        if as_json or count:
            raise click.UsageError("--tui shows everything: it goes with neither --json nor --count.")
        dashboard(file, documents=documents, arp=arp, verdict=verdict, salvage=salvage)
        return
    with CaptureReader(file, salvage=salvage) as reader:
        assembler = Assembler()
        checker = Checker.for_capture(reader.header, documents or BUILT_IN) if verdict else None
        printer = Printer(assembler, as_json=as_json, arp=arp, count=count or 0, checker=checker)
        facts: dict[str | int, object] = {}
        for chunk in reader:
            if isinstance(chunk, Facts):
                facts |= chunk.values
            printer.take(assembler.feed(chunk))
            if printer.full:
                return
        printer.take(assembler.flush())
        lost = sum(sum(loss.lost.values()) for loss in assembler.losses)
        problem = reader.problem
    if share := followed.words(facts):
        click.echo(f"kpath: {share} while this was recorded", err=True)
    if lost:
        click.echo(f"kpath: {lost} events were lost while this was recorded; some trees are incomplete", err=True)
    if problem:
        click.echo(f"kpath: {problem}", err=True)
