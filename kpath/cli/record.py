"""``kpath record``: what happens, into a file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpath.cli import share
from kpath.cli.main import ENVIRONMENT
from kpath.cli.options import Request, capture_options, capturing
from kpath.cli.progress import waiting
from kpath.cli.share import Share

if TYPE_CHECKING:
    from kpath.capture.ending import Ending
    from kpath.capture.live import LiveSource
    from kpath.capture.records import Events
    from kpath.capture.tables import Footer
    from kpath.capture.writer import CaptureWriter

GRACE = 0.2
"""Seconds between the command's end and the capture's: its last packets may still be under way."""
FLUSH = 0.25
"""Seconds for which events may wait to be written together with later ones."""
_MANY = 1 << 16
CLEAR = "\r\x1b[K"
"""Back to the beginning of the line, which is made empty."""


class _CommandAfterDashes(click.Command):
    """What follows ``--`` is a command to run; click alone would take its first word for IFACE."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cuts the command off."""
        if "--" in args:
            at = args.index("--")
            ctx.meta["kpath.command"] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """For the help."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.command(cls=_CommandAfterDashes)
@click.option("-o", "--output", required=True, metavar="FILE", help="The file; - is standard output.")
@click.option("--sample", "one_in", type=click.IntRange(2, share.MOST), metavar="N", help=share.SAMPLE_HELP)
@click.option("--max-overhead", type=click.FloatRange(0.01, 100), metavar="PERCENT", help=share.OVERHEAD_HELP)
@click.option("--ready-file", metavar="PATH", help="Create this file when the probes are attached.")
@capture_options
@click.pass_context
def record(
    context: click.Context,
    request: Request,
    output: str,
    one_in: int | None,
    max_overhead: float | None,
    ready_file: str | None,
) -> int:
    """Record packets on IFACE (default: any) until Ctrl-C, the end of --duration, or the end of COMMAND.

    IFACE is a name, or NAMESPACE/NAME. The exit status is that of COMMAND if it failed and kpath did not.

    \b
    Examples:
      kpath record -o a.kpath eth0 -f 'tcp port 80' --duration 10
      kpath record -o a.kpath -- ping -c1 192.0.2.1
      kpath record -o a.kpath --max-overhead 5 --duration 60
    """
    share.check(one_in, max_overhead)
    command: list[str] = context.meta.get("kpath.command", [])
    _check(output, command)
    from kpath.capture.ending import Ending
    from kpath.capture.errors import CaptureWriteError
    from kpath.capture.writer import CaptureWriter

    with ExitStack() as stack:
        with waiting() as say:
            source = stack.enter_context(capturing(request, say, sampled=bool(one_in or max_overhead)))
        writer = stack.enter_context(CaptureWriter.create(output, source.header()))
        child = _Child(command)
        ending = stack.enter_context(Ending(request.duration, child.ended))
        stack.callback(child.stop)
        if ready_file:
            Path(ready_file).touch()
        child.start()
        ending.begin()
        followed = Share(source, one_in or 1, max_overhead / 100 if max_overhead else None)
        stack.callback(followed.close)
        try:
            footer = _Recorder(source, writer, followed).run(ending)
        except CaptureWriteError as error:
            if isinstance(error.__cause__, BrokenPipeError):
                raise BrokenPipeError from error
            click.echo(f"kpath: {error}", err=True)
            return ENVIRONMENT
        child.stop()
    _summary(output, writer, footer, (time.monotonic_ns() - source.header().monotonic_ns) / 1e9)
    if followed.farewell:
        click.echo(f"kpath: {followed.farewell}", err=True)
    return child.status()


def _check(output: str, command: list[str]) -> None:
    """What would only be found out after the seconds that attaching takes."""
    if command and shutil.which(command[0]) is None:
        raise click.UsageError(f"there is no command {command[0]!r} to run.")
    folder = Path(output).parent
    if output != "-" and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise click.UsageError(f"{output} cannot be written: {folder} is not a folder that you may write to.")


class _Child:
    """COMMAND, as a process with our terminal; no command never ends."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = 0.0
        self._stopped = False

    def start(self) -> None:
        """Raises click.UsageError if it cannot be run."""
        if self._command:
            try:
                self._process = subprocess.Popen(self._command)
            except OSError as error:
                raise click.UsageError(f"{self._command[0]} cannot be run: {error.strerror}.") from error

    def ended(self) -> str:
        """The reason to end, when it has ended for a moment."""
        from kpath.capture.ending import COMMAND

        if self._process is None or self._process.poll() is None:
            return ""
        self._gone = self._gone or time.monotonic()
        return COMMAND if time.monotonic() - self._gone >= GRACE else ""

    def stop(self) -> None:
        """The capture is over: end the command too, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._stopped = True
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def status(self) -> int:
        """Its exit status, 128 + signal as shells have it; 0 when kpath ended it."""
        if self._process is None or self._stopped or not self._process.returncode:
            return 0
        status = self._process.returncode
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"failed with exit status {status}"
        click.echo(f"kpath: {self._command[0]} {how}", err=True)
        return 128 - status if status < 0 else status


class _Recorder:
    """From the running capture into the file, with a line about it on a terminal."""

    def __init__(self, source: LiveSource, writer: CaptureWriter, followed: Share) -> None:
        self._source, self._writer, self._followed = source, writer, followed
        self._waiting: list[Events] = []
        self._since = 0.0
        self._shown = 0.0

    def run(self, ending: Ending) -> Footer:
        """Until the end; returns the footer, which has been written."""
        from kpath.capture.tables import Facts, Footer, Loss, Names, Symbols

        for chunk in self._source.chunks(ending):
            match chunk:
                case Symbols():
                    self._writer.symbols(chunk)
                case Names():
                    self._writer.names(chunk)
                case Facts():
                    self._writer.facts(chunk.values)
                case Loss():
                    self._flush()
                    self._writer.loss(chunk)
                case Footer():
                    self._flush()
                    self._writer.close(chunk)
                    self._clear()
                    return chunk
                case _:
                    self._take(chunk)
            if why := self._followed.tick():
                click.echo(f"{CLEAR if self._shown else ''}kpath: {why}", err=True)
                ending.end(why)
            self._show()
        raise AssertionError("a capture ends with its footer")

    def _take(self, events: Any) -> None:
        if len(events):
            self._since = self._since if self._waiting else time.monotonic()
            self._waiting.append(events)
        if sum(map(len, self._waiting)) >= _MANY or time.monotonic() - self._since >= FLUSH:
            self._flush()

    def _flush(self) -> None:
        from kpath.capture.records import joined

        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._writer.events(joined(waiting))

    def _show(self) -> None:
        if not sys.stderr.isatty() or time.monotonic() - self._shown < 1:
            return
        self._shown = time.monotonic()
        source = self._source
        text = f"{source.received:,} events, {source.lost:,} lost, {source.missed:,} missed, {_size(self._writer.size)}"
        text += f"; {self._followed.words}" if self._followed.words else ""
        sys.stderr.write(f"{CLEAR}{text}; Ctrl-C ends")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()


def _summary(output: str, writer: CaptureWriter, footer: Footer, seconds: float) -> None:
    lost, missed, tables = (sum(table.values()) for table in (footer.lost, footer.missed, footer.tables))
    name = "standard output" if output == "-" else output
    click.echo(
        f"kpath: {writer.events_written:,} events in {name} ({_size(writer.size)}, {seconds:.1f} s, "
        f"ended by: {footer.reason})",
        err=True,
    )
    if not (lost or missed or tables):
        click.echo("kpath: nothing was lost", err=True)
        return
    parts = []
    if lost:
        parts.append(f"{lost:,} events did not fit into the buffer (try --sample, a filter, or a larger --buffer-size)")
    if missed:
        parts.append(f"{missed:,} hits found their probe busy")
    if tables:
        parts.append(f"{tables:,} packets or stacks found no room in the kernel side's tables")
    click.echo(f"kpath: {'; '.join(parts)}. Paths that this concerns are inconclusive.", err=True)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


