"""``kpath export``: formats, exit statuses, and no half files."""

from __future__ import annotations

import builtins
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kpath.cli import progress
from kpath.cli.main import run
from kpath.report.export.parquet import TABLES
from tests.export.samples import capture, hostile

PING = str(capture("ping"))


def kpath(*args: object) -> int:
    return run(["export", *map(str, args)])


@pytest.mark.parametrize(
    ("form", "name", "begins"),
    [
        ("perfetto", "a.json", b'{"displayTimeUnit"'),
        ("pcapng", "a.pcapng", b"\x0a\x0d\x0d\x0a"),
        ("html", "a.html", b"<!doctype html>"),
        ("svg", "a.svg", b"<svg "),
        ("png", "a.png", b"\x89PNG\r\n"),
    ],
)
def test_each_format_by_name_and_by_suffix(form: str, name: str, begins: bytes, tmp_path: Path) -> None:
    assert kpath(PING, "-o", tmp_path / name) == 0
    assert kpath(PING, "--to", form, "-o", tmp_path / "b") == 0
    whole = (tmp_path / name).read_bytes()
    assert whole.startswith(begins) and whole == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, "b"]


def test_parquet_is_a_folder(tmp_path: Path) -> None:
    for _again in range(2):
        assert kpath(PING, "--to", "parquet", "-o", tmp_path / "t") == 0
    assert {p.name for p in (tmp_path / "t").iterdir()} == {f"{table}.parquet" for table in TABLES}


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert kpath(PING, "--to", "svg", "-o", "-") == 0
    assert capfdbinary.readouterr().out.startswith(b"<svg ")


def test_a_device_stays_a_device() -> None:
    assert kpath(PING, "--to", "pcapng", "-o", os.devnull) == 0
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["no-such-file", "-o", "{}/a.svg"], "no-such-file cannot be read"),
        ([__file__, "-o", "{}/a.svg"], "is not a kpath capture"),
        ([PING, "-o", "{}/a.doc"], "say --to"),
        ([PING, "-o", "{}/none/a.svg"], "a.svg cannot be written: No such file or directory"),
        ([PING, "--to", "svg", "-o", "{}"], "cannot be written: Is a directory"),
        ([PING, "--to", "parquet", "-o", "-"], "standard output is not for it"),
        ([PING, "--to", "parquet", "-o", PING], "is the recording itself"),
        ([PING, "--to", "parquet", "-o", __file__], "is a file"),
        ([PING, "--to", "svg", "-o", PING], "is the recording itself"),
        ([PING, "--to", "svg", "-j", "99", "-o", "{}/a.svg"], "holds no such packet"),
        ([PING, "--to", "doc", "-o", "{}/a"], "'doc'"),
        ([PING, "--to", "svg"], "'-o'"),
    ],
)
def test_bad_input_is_said_and_leaves_nothing(
    args: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kpath(*(a.replace("{}", str(tmp_path)) for a in args)) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_damaged_recording_leaves_no_half_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "d.kpath"
    raw = bytearray(capture("tcp").read_bytes())
    raw[-200] ^= 0xFF
    damaged.write_bytes(raw)
    (tmp_path / "a.html").write_text("before")
    assert kpath(damaged, "-o", tmp_path / "a.html") == 2
    assert (tmp_path / "a.html").read_text() == "before"
    assert kpath(damaged, "--to", "parquet", "-o", tmp_path / "t") == 2
    assert not list((tmp_path / "t").iterdir())
    assert kpath(damaged, "--salvage", "-o", tmp_path / "a.html") == 0
    assert "is damaged at byte" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "d.kpath", "t"]


def test_a_cut_recording_is_exported_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kpath(hostile(tmp_path / "a.kpath", end=False), "-o", tmp_path / "a.pcapng") == 0
    assert "the file has no footer" in capsys.readouterr().err


def test_a_full_disk_is_the_machines_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kpath(PING, "--to", "pcapng", "-o", "/dev/full") == 3
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(("form", "library"), [("parquet", "pyarrow"), ("html", "jinja2")])
def test_a_missing_library_is_named(
    form: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == library:
            raise ImportError(name)
        return before(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert kpath(PING, "--to", form, "-o", tmp_path / "a") == 3
    assert f"needs the Python module {library}: pip install {library}" in capsys.readouterr().err


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONG", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    seen: list[int] = []
    from kpath.report.export.source import Source

    with Source(PING) as source, progress.reading(PING) as tell:

        def watched(position: int) -> None:
            seen.append(position)
            tell(position, source.shown)

        source.on_progress = watched
        list(source.packets())
    assert seen == sorted(seen) and seen[-1] == Path(PING).stat().st_size
