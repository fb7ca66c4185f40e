"""``kpath export``: a recording in the format of another tool."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from kpath.cli.progress import reading

if TYPE_CHECKING:
    from kpath.report.export.source import Source

FORMATS = ("perfetto", "pcapng", "parquet", "html", "svg", "png")
_SUFFIXES = {".json": "perfetto", ".htm": "html"} | {f".{name}": name for name in FORMATS if name != "perfetto"}

_USAGE, _ENVIRONMENT = 2, 3


class _Refused(click.ClickException):
    """Says why in kpath's way; bad input."""

    exit_code = _USAGE

    def show(self, file: IO[str] | None = None) -> None:
        click.echo(f"kpath: {self.message}", err=True, file=file)


class _Unable(_Refused):
    """Not on this machine."""

    exit_code = _ENVIRONMENT


@click.command(short_help="Convert a recording: Perfetto, pcapng, Parquet, HTML, SVG, PNG.")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--to", "form", type=click.Choice(FORMATS), help="The format; by default what OUT's suffix says.")
@click.option("-o", "--output", "out", required=True, metavar="OUT", type=click.Path(allow_dash=True),
              help="Where to: a file, - for standard output, a folder for parquet.")
@click.option("-j", "--journey", "journeys", type=click.IntRange(1), multiple=True, metavar="NUMBER",
              help="Only this packet (the number that kpath show gives it); may be repeated. Not for parquet.")
@click.option("--arp", is_flag=True, help="ARP packets too, as journeys of their own.")
@click.option("--salvage", is_flag=True, help="Read a damaged file up to the damage.")
def export(file: str, form: str | None, out: str, journeys: tuple[int, ...], arp: bool, salvage: bool) -> None:
    """Convert a recording for another tool (docs/export.md).

    \b
      perfetto  trace events for ui.perfetto.dev: functions as slices on a time line
      pcapng    packet headers for Wireshark and tshark, at each device, with comments
      parquet   tables of events, frames, traversals, losses for DuckDB, Spark, pandas
      html      one page for people: paths, drops, divergences, the documents' trees
      svg, png  the tree of one packet as a picture

    \b
    Examples:
      kpath export a.kpath -o a.html
      kpath export a.kpath --to perfetto -o - | gzip > a.json.gz
      kpath export a.kpath --journey 3 -o packet.svg
    """
    form = form or _SUFFIXES.get(Path(out).suffix)
    if form is None:
        raise click.UsageError(f"no format goes by the name {out!r}: say --to with one of {', '.join(FORMATS)}.")
    if form == "parquet" and (out == "-" or journeys):
        what = "--journey" if journeys else "standard output"
        raise click.UsageError(f"parquet makes tables of the whole recording: {what} is not for it.")
    _export(file, form, out, journeys, arp, salvage)


def _export(file: str, form: str, out: str, journeys: tuple[int, ...], arp: bool, salvage: bool) -> None:
    from kpath.report.export.errors import ExportError, MissingLibraryError, OutputError
    from kpath.report.export.output import same_file
    from kpath.report.export.source import Source

    if same_file(file, out):
        raise click.UsageError(f"{out} is the recording itself.")
    try:
        with Source(file, arp=arp, only=journeys, salvage=salvage) as source:
            with reading(file) as tell:
                source.on_progress = lambda position: tell(position, source.shown)
                _run(form, source, out)
            if journeys and source.shown < len(set(journeys)) and form not in ("svg", "png"):
                click.echo(f"kpath: only {source.shown} of the journeys asked for are there", err=True)
            _farewell(source)
    except MissingLibraryError as error:
        raise _Unable(str(error)) from error
    except OutputError as error:
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        raise (_Unable if full else _Refused)(str(error)) from error
    except ExportError as error:
        raise _Refused(str(error)) from error


def _run(form: str, source: Source, out: str) -> None:
    from kpath.report.export.output import folder, output

    if form == "parquet":
        from kpath.report.export import parquet

        parquet.write(source, folder(out))
        return
    with output(out) as stream:
        _writer(form)(source, stream)


def _writer(form: str) -> Callable[[Source, IO[bytes]], None]:
    if form == "perfetto":
        from kpath.report.export.perfetto import write
    elif form == "pcapng":
        from kpath.report.export.pcapng import write
    elif form == "svg":
        from kpath.report.export.svg import write
    elif form == "png":
        from kpath.report.export.png import write
    else:
        from kpath.report.export.html import write as write_html

        return lambda source, stream: write_html(source, stream)
    return write


def _farewell(source: Source) -> None:
    if source.lost or source.missed:
        click.echo(
            f"kpath: {source.lost} events were lost and {source.missed} probe hits missed while this was recorded; "
            "some trees are incomplete",
            err=True,
        )
    if source.problem:
        click.echo(f"kpath: {source.problem}", err=True)
