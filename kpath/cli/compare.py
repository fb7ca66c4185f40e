"""``kpath compare``: the kernel against the documents, over a whole lab; and two kernels against each other."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpath.cli.options import Request

if TYPE_CHECKING:  # these take a moment to import, and --help does not need them
    from kpath.compare.changes import Changes
    from kpath.compare.judge import Comparison
    from kpath.compare.outcome import Outcome
    from kpath.flow import Document

LIVE = 10.0
"""Seconds of live traffic, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be judged: recordings, live traffic, or (neither) the lab."""

    recordings: tuple[str, ...]
    names: tuple[str, ...]
    request: Request | None
    keep: str | None


@click.command(short_help="Check a kernel, recordings, or two of them against each other.")
@click.argument("recordings", nargs=-1, metavar="[RECORDING|FOLDER]...")
@click.option("-s", "--scenario", "scenarios", multiple=True, metavar="NAME", help="Play this one; may be repeated.")
@click.option("-t", "--theme", "themes", multiple=True, metavar="NAME", help="Play all of a theme (kpath lab list).")
@click.option("-i", "--iface", metavar="IFACE", help="Judge live traffic of this interface (or any) instead.")
@click.option("-d", "--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help=f"How long live traffic is watched (default {LIVE:g}).")
@click.option("-f", "--filter", "filter_text", default="", metavar="EXPR",
              help="Of live traffic only this, as written for tcpdump.")
@click.option("--document", "documents", multiple=True, metavar="NAME|PATH",
              help="Check against this one (default: all that come with kpath); may be repeated.")
@click.option("--min-coverage", type=click.FloatRange(0, 100), metavar="PERCENT",
              help="Fail if less of a document's steps that can be seen here was exercised.")
@click.option("--coverage", is_flag=True, help="List the steps that were not exercised, and those that cannot be seen.")
@click.option("--evolutions", is_flag=True, help="List what has changed since each document, and why.")
@click.option("--changes/--no-changes", default=None,
              help="Say what changed from the first to the second (default: when there are just two).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--junit", metavar="FILE", help="Write JUnit XML too.")
@click.option("--sarif", metavar="FILE", help="Write SARIF 2.1.0 too; findings stand at the document's lines.")
@click.option("--keep", metavar="FOLDER", help="Keep the recordings that are made here.")
def compare(
    recordings: tuple[str, ...], scenarios: tuple[str, ...], themes: tuple[str, ...], iface: str | None,
    duration: float | None, filter_text: str, documents: tuple[str, ...], min_coverage: float | None, coverage: bool,
    evolutions: bool, changes: bool | None, as_json: bool, junit: str | None, sarif: str | None, keep: str | None,
) -> int:  # fmt: skip
    """Check the running kernel against the documents: without arguments the whole lab is played (as root) and every
    packet's path is judged. With recordings, or folders of them, those are judged, anywhere and without root.

    Two recordings (or two folders of equal names, from two kernels, say) are also compared with each other: paths that
    are new, gone, or changed in share or latency, and what became of each step that differs.

    \b
    Examples:
      sudo kpath compare --junit report.xml --sarif report.sarif
      sudo kpath compare --theme ipsec --min-coverage 10
      sudo kpath compare --iface eth0 --duration 30
      kpath compare before.kpath after.kpath

    \b
    Exit status:
      0  everything conforms, as far as it was seen
      1  a path diverges, a declared step was not exercised, or --min-coverage was not reached
      2  wrong usage, or a recording or document cannot be read
      3  this machine cannot play it
      4  inconclusive: nothing diverges, but something was lost, or nothing was seen
    """
    _check_usage(recordings, (*scenarios, *themes), iface, duration, filter_text, keep, changes)
    if as_json and "-" in (junit, sarif):
        raise click.UsageError("--json takes standard output: give --junit and --sarif a file.")
    for path in filter(None, (junit, sarif)):
        _check_output(path)
    request = None
    if iface is not None:
        request = Request(iface=iface, filter_text=filter_text, duration=duration or LIVE)
    loaded, own = _load(documents)
    comparison = _comparison(loaded, min_coverage)
    found = _judge(comparison, _Wanted(recordings, (*scenarios, *themes), request, keep), changes)
    outcome = comparison.outcome
    if as_json:
        from kpath.report.compare_json import data

        click.echo(json.dumps(data(outcome, found), indent=2))
    else:
        _print(outcome, found, coverage, evolutions)
    if junit:
        from kpath.report.junit import junit as as_junit

        _write(junit, as_junit(outcome))
    if sarif:
        from kpath.report import sarif as as_sarif

        _write(sarif, as_sarif.text(as_sarif.sarif(outcome, loaded, own)).encode())
    return int(outcome.status)


def _check_usage(
    recordings: Sequence[str], names: Sequence[str], iface: str | None, duration: float | None, filter_text: str,
    keep: str | None, changes: bool | None,
) -> None:  # fmt: skip
    if sum(map(bool, (recordings, names, iface is not None))) > 1:
        raise click.UsageError("recordings, --scenario or --theme, and --iface exclude each other.")
    if iface is None and (duration is not None or filter_text):
        raise click.UsageError("--duration and --filter are for live traffic: say --iface too.")
    if recordings and keep:
        raise click.UsageError("--keep is for what is recorded here.")
    if changes and len(recordings) != 2:
        raise click.UsageError("--changes needs two recordings, or two folders of them.")


def _check_output(path: str) -> None:
    """What would only be found out after the minutes that playing takes."""
    folder = Path(path).parent
    if path != "-" and (Path(path).is_dir() or not (folder.is_dir() and os.access(folder, os.W_OK))):
        raise click.UsageError(f"{path} cannot be written: {folder} is not a folder that you may write to.")


def _load(names: Sequence[str]) -> tuple[list[Document], dict[str, str]]:
    """The documents, and of those that do not come with kpath the files."""
    from kpath.flow import BUILT_IN, load

    loaded = [load(name) for name in names or BUILT_IN]
    if len({document.name for document in loaded}) < len(loaded):
        raise click.UsageError("two of the documents have the same name.")
    own = {document.name: name for name, document in zip(names, loaded, strict=False) if name not in BUILT_IN}
    return loaded, own


def _comparison(documents: list[Document], least: float | None) -> Comparison:
    from kpath.compare.judge import Comparison
    from kpath.dashboard.signature import in_words

    return Comparison(documents, in_words, least)


def _judge(comparison: Comparison, wanted: _Wanted, changes: bool | None) -> Changes | None:
    """Judge all; what changed, where there are two sides."""
    if wanted.recordings:
        return _recordings(comparison, wanted.recordings, changes)
    with _folder(wanted.keep) as folder:
        if wanted.request is not None:
            from kpath.cli.players import live

            path = folder / "live.kpath"
            live(wanted.request, path)
            comparison.check(str(path), f"live {wanted.request.iface}")
        else:
            _lab(comparison, wanted.names, folder)
    return None


def _lab(comparison: Comparison, names: Sequence[str], folder: Path) -> None:
    from kpath.cli.players import play
    from kpath.compare.outcome import Left

    taken = play(names, folder)
    for one in _counted(taken, "judging"):
        scenario = one.scenario
        if one.path is None:
            comparison.leave(
                Left(scenario.name, one.missing or one.failed, failed=bool(one.failed), theme=scenario.theme)
            )
        else:
            comparison.check(str(one.path), scenario.name, scenario.exercises, scenario.theme)


@contextlib.contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    """Where recordings go: to stay, or for as long as they are needed."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="kpath-") as folder:
            yield Path(folder)
        return
    path = Path(keep)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{keep} cannot be made a folder for recordings: {error.strerror}.") from error
    yield path


def _recordings(comparison: Comparison, given: Sequence[str], changes: bool | None) -> Changes | None:
    sides = [_files(name) for name in given]
    both = len(given) == 2 and changes is not False
    outcome = comparison.outcome
    ends = []
    everything = [(file, name) for side in sides for file, name in side]
    for count, (file, name) in enumerate(_counted(everything, "judging"), 1):
        comparison.check(file, name)
        if count == len(sides[0]):
            ends.append(count)
    if not both:
        return None
    from kpath.compare.changes import compare as differ

    return differ(outcome.scenarios[: ends[0]], outcome.scenarios[ends[0] :])


def _files(given: str) -> list[tuple[str, str]]:
    """The recordings that an argument stands for, each with the name of its scenario."""
    path = Path(given)
    if not path.is_dir():
        return [(given, "standard input" if given == "-" else path.stem)]
    files = sorted(path.rglob("*.kpath"))
    if not files:
        raise click.UsageError(f"there are no recordings (*.kpath) in {given}.")
    return [(str(file), str(file.relative_to(path).with_suffix(""))) for file in files]


def _counted(things: Sequence[Any], doing: str) -> Iterator[Any]:
    """The things one by one, with a bar on a terminal when there are many."""
    if len(things) < 3 or not sys.stderr.isatty():
        yield from things
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(things, doing, console=Console(stderr=True), transient=True)


def _print(outcome: Outcome, changes: Changes | None, coverage: bool, evolutions: bool) -> None:
    from rich.console import Console

    from kpath.report.compare import render
    from kpath.report.compare_changes import render as render_changes

    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    for line in render(outcome, whole_coverage=coverage, whole_evolutions=evolutions):
        console.print(line)
    if changes is not None:
        console.print()
        for line in render_changes(changes):
            console.print(line)


def _write(path: str, data: bytes) -> None:
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}.") from error
