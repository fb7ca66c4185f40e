"""The command line's front: what it says, how it ends, and that it is quick to say it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kpath.capture.errors import CaptureSetupError, FilterError, NotACapture
from kpath.cli import main
from kpath.cli.options import Mark, Request, Size, build_options
from kpath.kernel.errors import NoBtfError, UnknownInterfaceError


def kpath(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kpath.cli.main", *arguments]
    return subprocess.run(
        line, capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=600
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_commands_and_exit_statuses(arguments: tuple[str, ...]) -> None:
    done = kpath(*arguments)
    assert done.returncode == 0
    for word in ("record", "doctor", "completion", "Exit status:", "141"):
        assert word in done.stdout


def test_version() -> None:
    assert kpath("--version").stdout.startswith("kpath 0.")


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; from kpath.cli.main import run; run(['--help']); run(['--version'])\n"
        "slow = {'numpy', 'bcc', 'pyroute2', 'rich', 'lark', 'msgpack', 'zstandard'} & sys.modules.keys()\n"
        "sys.exit(f'imported: {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_is_told_the_known_ones() -> None:
    done = kpath("recrod")
    assert done.returncode == 2
    assert "no command 'recrod'" in done.stderr and "record" in done.stderr


def test_only_commands_that_exist_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "COMMANDS", {"doctor": "x", "nothing_of_the_kind": "y"})
    assert main.cli.list_commands(click.Context(main.cli)) == ["doctor"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownInterfaceError("There is no interface x."), 2),
        (FilterError("the filter is wrong"), 2),
        (NotACapture("x is not a kpath capture"), 2),
        (CaptureSetupError("probes need root"), 3),
        (NoBtfError("no BTF"), 3),
        (ModuleNotFoundError("No module named 'rich'", name="rich"), 3),
        (KeyboardInterrupt(), 130),
        (click.UsageError("so not"), 2),
    ],
)
def test_errors_become_one_sentence_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(main.cli, "invoke", fail)
    assert main.run([]) == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if status in (2, 3) and not isinstance(error, click.UsageError):
        assert said.startswith("kpath: ") and said.count("\n") == 1


def test_a_bug_leaves_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("that was not meant to happen")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(main.cli, "invoke", fail)
    assert main.run([]) == 70
    said = capsys.readouterr().err
    assert "kpath has a bug: RuntimeError: that was not meant to happen" in said
    (log,) = (tmp_path / "kpath").iterdir()
    assert str(log) in said
    assert "Traceback" in log.read_text()


def test_a_bug_is_told_even_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("again")

    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(main.cli, "invoke", fail)
    assert main.run([]) == 70
    assert "RuntimeError: again" in capsys.readouterr().err


def test_output_that_nobody_reads_ends_quietly() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    line = [sys.executable, "-m", "kpath.cli.main", "--help"]
    done = subprocess.run(line, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell: str) -> None:
    done = kpath("completion", shell)
    assert done.returncode == 0 and "_KPATH_COMPLETE" in done.stdout and done.stderr == ""


def test_completion_completes() -> None:
    done = kpath("", COMP_WORDS="kpath rec", COMP_CWORD="1", _KPATH_COMPLETE="bash_complete")
    assert "record" in done.stdout


@pytest.mark.parametrize(
    ("text", "size"), [("32M", 32 << 20), ("1", 65536), ("100k", 131072), ("1GiB", 1 << 30), ("65536", 65536)]
)
def test_sizes_are_rounded_up(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "2G", "-1", "M", "1.5M", "0", "9" * 13])
def test_impossible_sizes(text: str) -> None:
    with pytest.raises(click.BadParameter, match="size"):
        Size().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "mark"), [("16", (16, 0xFFFFFFFF)), ("0x10/0xff", (16, 255)), ("0/0xf0", (0, 0xF0))]
)
def test_marks(text: str, mark: tuple[int, int]) -> None:
    assert Mark().convert(text, None, None) == mark


@pytest.mark.parametrize("text", ["", "x", "1/", "1/0", "0x100/0xff", "-1", "0x1ffffffff"])
def test_impossible_marks(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"mark|packet"):
        Mark().convert(text, None, None)


def test_without_root_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CaptureSetupError, match="root"):
        build_options(Request(iface="nosuch"))


def test_the_request_becomes_the_sessions_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    request = Request(
        filter_text="icmp", mark=(1, 15), buffer_bytes=1 << 20, backend="kprobe", buffer="perf", only="ip_rcv"
    )
    options = build_options(request)
    assert options.selection.mark == 1 and options.selection.mark_mask == 15
    assert "pcap_match" in options.selection.pcap_c
    assert (options.backend, options.buffer, options.sizes.ring_bytes) == ("kprobe", "perf", 1 << 20)
    assert [p.name for p in options.plan] == ["ip_rcv"]
