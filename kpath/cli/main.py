"""The command ``kpath``: finds the subcommand, and turns whatever goes wrong into one sentence and an exit status.

Subcommands are imported when they are run, so that ``kpath --help`` needs neither numpy nor BCC.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import shell_complete

import kpath

COMMANDS: Mapping[str, str] = {
    "watch": "Show each packet's path while it happens.",
    "record": "Write what happens into a file.",
    "show": "Show a recording, on any machine.",
    "replay": "Check a recording against the documents.",
    "compare": "Check a kernel, recordings, or two of them against each other.",
    "export": "Convert a recording: Perfetto, pcapng, Parquet, HTML, SVG, PNG.",
    "flows": "Show the documented paths.",
    "explain": "Say what a function does, and what became of it.",
    "doctor": "Say whether and how well kpath works here.",
    "lab": "Play networks and traffic made to order.",
    "completion": "Print the shell's completion for kpath.",
}
"""Subcommands in the order of the help, ``kpath.cli.<name>`` each; those whose module is not there are not listed."""

OK, DIVERGES, USAGE, ENVIRONMENT, INCONCLUSIVE, BUG, INTERRUPTED, PIPE = 0, 1, 2, 3, 4, 70, 130, 141

_COMPLETE = "_KPATH_COMPLETE"
"""Set by the shell's completion function (click's convention)."""

_EPILOG = """\b
Exit status:
  0    all is well
  1    a packet's path diverges from the document; doctor: kpath cannot capture here;
       lab: traffic did not do what it is meant to do
  2    wrong usage, or bad input: filter, interface, file
  3    this machine cannot do it: no root, no BTF, no BCC, a full disk
  4    inconclusive: events were lost where it matters
  70   a bug in kpath
  130  interrupted before there was anything to end in good order
  141  nobody reads the output any more (as a shell says of head's victims)
"""


class _Group(click.Group):
    """Finds subcommands by the names of their modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those that there are."""
        return [name for name in COMMANDS if find_spec(f"kpath.cli.{name}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the subcommand."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"kpath.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Names the commands that there are when there is none of this name."""
        if not ctx.resilient_parsing and args and args[0] not in self.list_commands(ctx):
            ctx.fail(f"kpath has no command {args[0]!r}. It has: {', '.join(self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


@click.group(
    cls=_Group,
    invoke_without_command=True,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(kpath.__version__, "-V", "--version", prog_name="kpath", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Watch IPv4 packets take their path through the running Linux kernel.

    \b
    Try:
      kpath doctor                               is this machine up to it?
      sudo kpath watch eth0 -f 'tcp port 80'     each packet's path, live
      sudo kpath record -o a.kpath -- ping -c1 192.0.2.1
      kpath show a.kpath                         the same later, anywhere
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> NoReturn:
    """The entry point; never returns."""
    sys.exit(run())


def run(args: list[str] | None = None) -> int:
    """Run a command line (by default this process's) and return the exit status."""
    if instruction := os.environ.get(_COMPLETE):
        return shell_complete(cli, {}, "kpath", _COMPLETE, instruction)
    try:
        # Not cli.main(), which turns a closed pipe into exit status 1.
        with cli.make_context("kpath", sys.argv[1:] if args is None else list(args)) as context:
            result: Any = cli.invoke(context)
        sys.stdout.flush()
        return result if isinstance(result, int) else OK
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _no_output()
        return PIPE
    except Exception as error:
        return _fail(error)


def _fail(error: Exception) -> int:
    """Says it in one sentence."""
    from kpath.capture.errors import CaptureError, CaptureSetupError, FilterError
    from kpath.flow.errors import FlowError
    from kpath.kernel.errors import KernelError, UnknownInterfaceError
    from kpath.lab.errors import LabError, UnknownScenarioError
    from kpath.report.export.errors import ExportError, MissingLibraryError

    if isinstance(error, MissingLibraryError):
        return _say(error, ENVIRONMENT)
    wrong_input = UnknownInterfaceError | CaptureError | FilterError | FlowError | UnknownScenarioError | ExportError
    if isinstance(error, wrong_input):
        return _say(error, USAGE)
    if isinstance(error, KernelError | CaptureSetupError | LabError):
        return _say(error, ENVIRONMENT)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("kpath"):
        remedy = "install kpath with its dependencies (pip install .)"
        return _say(f"Python has no module {error.name}: {remedy}.", ENVIRONMENT)
    if isinstance(error, MemoryError):
        return _say("there is not enough memory.", ENVIRONMENT)
    where = _write_log()
    return _say(f"kpath has a bug: {type(error).__name__}: {error}. Please report it, with {where}.", BUG)


def _say(text: object, status: int) -> int:
    click.echo(f"kpath: {text}", err=True)
    return status


def _write_log() -> str:
    """The traceback goes into a file: whoever reports the bug needs it, and nobody else."""
    text = traceback.format_exc()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kpath"
    path = folder / f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    about = f"kpath {kpath.__version__}, Python {sys.version}, {' '.join(os.uname())}\n{sys.argv}\n\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(about + text)
    except OSError as error:
        last = text.strip().splitlines()[-3:]
        return f"these lines ({folder} cannot be written: {error.strerror}):\n" + "\n".join(last)
    return str(path)


def _no_output() -> None:
    """Python would complain once more when it flushes at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(null, stream.fileno())
    os.close(null)


if __name__ == "__main__":
    main()
