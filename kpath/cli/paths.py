"""``kpath watch --mode paths``: the kernel counts each path; this shows the counts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kpath.capture.counting import PathSource
from kpath.capture.ending import Ending
from kpath.capture.governor import Governor
from kpath.capture.runtime import RunTime
from kpath.capture.tables import Header
from kpath.cli.progress import waiting
from kpath.dashboard.counted import Counted
from kpath.flow import BUILT_IN
from kpath.model.check import Checker
from kpath.report import verdicts
from kpath.report.counted import table

PERIOD = 1.0
"""Seconds between two looks."""


def watch_paths(
    source: PathSource,
    header: Header,
    documents: Sequence[str],
    *,
    arp: bool,
    verdict: bool,
    as_json: bool,
    duration: float | None,
    ready: str | None,
    budget: float | None = None,
    programs: Callable[[], Iterable[int]] = tuple,
) -> None:
    """Until Ctrl-C or for ``duration`` seconds; the last table, or one JSON object a path, at the end.

    ``arp`` also shows paths of ARP packets. ``budget`` is the share of the machine's CPU time that this may take
    (0 to 1), by ``programs``, the descriptors of the BPF programs, and this process.
    """
    known = tuple(documents) or BUILT_IN
    with Ending(duration) as ending:
        with waiting() as say:
            if say:
                say("reading the documents")
            counted = Counted(Checker.for_capture(header, known) if verdict else None, arp=arp)
        if ready:
            from pathlib import Path

            Path(ready).touch()
        governor = Governor(budget, RunTime(programs), source.sample) if budget else None
        ending.begin()
        console = Console(highlight=False)
        shown = console.is_terminal and not as_json
        live = Live(console=console, auto_refresh=False, transient=True) if shown else None
        if live:
            live.start()
        try:
            while _wait(ending, governor):
                counted.take(source.look())
                if live:
                    live.update(_screen(counted, known if verdict else (), governor), refresh=True)
        finally:
            if live:
                live.stop()
    counted.take(source.look())
    if as_json:
        for row in counted.as_json():
            sys.stdout.write(json.dumps(row) + "\n")
    else:
        console.print(_screen(counted, known if verdict else (), governor))
        _explain(console, counted)
    _farewell(counted, governor)


def _wait(ending: Ending, governor: Governor | None) -> bool:
    """Wait a period; False when it is time to end."""
    until = time.monotonic() + PERIOD
    while not ending() and time.monotonic() < until:
        time.sleep(0.05)
        if governor and (why := governor.tick()):
            click.echo(f"kpath: {why}", err=True)
            ending.end(why)
    return not ending()


def _screen(counted: Counted, documents: Sequence[str], governor: Governor | None) -> Table:
    shown = table(counted.rows(), documents)
    shown.caption = governor.words if governor else ""
    return shown


def _explain(console: Console, counted: Counted) -> None:
    """What the documents say of each path that does not simply conform."""
    for path in counted.paths.values():
        for _, judged in path.shown.passes if path.shown and not path.hidden else ():
            lines = verdicts.lines([j for j in judged if j.findings])
            if lines:
                console.print(Text(""))
                console.print(Text("  ⇒  ".join(path.words)))
                for line in lines:
                    console.print(line)


def _farewell(counted: Counted, governor: Governor | None) -> None:
    if counted.last is None:
        return
    a = counted.last.account
    words = [f"{a.counted:,} packets counted on {len(counted.last.paths)} paths"]
    words += [f"{counted.arp:,} of them ARP (--arp shows their paths)"] if counted.arp else []
    words += [f"{a.born - a.ended:,} under way"]
    words += [f"{a.passed:,} left out by the filter"] if a.passed else []
    words += [f"{a.unlisted:,} on further paths (the table is full)"] if a.unlisted else []
    words += [f"{a.transient:,} under way when probes or the sampling changed"] if a.transient else []
    missed = sum(sum(loss.missed.values()) for loss in counted.last.losses)
    words += [f"{missed:,} probe hits missed: packets of those moments may stand under a path that lacks a hop"]
    if not missed:
        words[-1] = "no probe hit missed"
    words += [governor.words] if governor and governor.words else []
    click.echo("kpath: " + "; ".join(words), err=True)
