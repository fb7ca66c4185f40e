"""A capture reads back as it was written, and the writer fails in good order."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from kpath.capture.errors import CaptureReadError, CaptureTooLarge, CaptureWriteError
from kpath.capture.file import (
    CaptureReader,
    CaptureWriter,
    Chunk,
    Events,
    Facts,
    Footer,
    Header,
    Loss,
    Names,
    Symbols,
    read,
)
from kpath.capture.schema import EVENT
from tests.capture.capture_samples import (
    FACTS,
    FOOTER,
    HEADER,
    LOSS,
    NAMES,
    SYMBOLS,
    footers,
    headers,
    parts,
    some_events,
    write_sample,
)


def test_every_kind_of_chunk_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.kpath"
    events = write_sample(path)
    capture = read(path)
    assert capture.header == HEADER
    assert capture.events.tobytes() == events.tobytes()
    assert capture.symbols == SYMBOLS
    assert capture.names == NAMES
    assert capture.loss == (LOSS, LOSS)
    assert capture.facts == FACTS
    assert capture.footer == replace(FOOTER, events=len(events))
    assert (capture.complete, capture.problem) == (True, None)
    assert not capture.events.flags.writeable


@settings(max_examples=60, deadline=None)
@given(header=headers, chunks=parts, footer=footers)
def test_whatever_is_written_comes_back(header: Header, chunks: list[Chunk], footer: Footer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.kpath"
        with CaptureWriter.create(path, header) as writer:
            for chunk in chunks:
                _write(writer, chunk)
            writer.close(footer)
        with CaptureReader(path) as reader:
            assert reader.header == header
            back = list(reader)
        capture = read(path)
    assert reader.complete and capture.complete
    written = [c for c in chunks if isinstance(c, np.ndarray) and len(c)]
    arrays = [c for c in back if isinstance(c, np.ndarray)]
    assert _bytes(arrays) == _bytes(written) == _bytes([capture.events])
    assert [c for c in back if isinstance(c, Loss)] == [c for c in chunks if isinstance(c, Loss)]
    assert [c for c in back if isinstance(c, Facts)] == [c for c in chunks if isinstance(c, Facts)]
    assert back[-1] == capture.footer == replace(footer, events=sum(map(len, written)))
    symbols: dict[int, object] = {}
    devices: dict[tuple[int, int], str] = {}
    for c in chunks:
        symbols |= c.symbols if isinstance(c, Symbols) else {}
        devices |= c.devices if isinstance(c, Names) else {}
    assert (capture.symbols.symbols, capture.names.devices) == (symbols, devices)


def _bytes(arrays: list[Events]) -> bytes:
    return b"".join(a.tobytes() for a in arrays)


def _write(writer: CaptureWriter, chunk: Chunk) -> None:
    match chunk:
        case Loss():
            writer.loss(chunk)
        case Symbols():
            writer.symbols(chunk)
        case Names():
            writer.names(chunk)
        case Facts():
            writer.facts(chunk.values)
        case Footer():
            writer.close(chunk)
        case _:
            writer.events(chunk)


def test_many_events_and_rows_are_spread_over_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.kpath"
    events = some_events(50_000)
    calls = dict.fromkeys(range(50000), "f")
    with CaptureWriter.create(path, HEADER) as writer:
        writer.events(events)
        writer.symbols(Symbols(calls=calls))
        writer.close(FOOTER)
    with CaptureReader(path) as reader:
        kinds = [type(chunk).__name__ for chunk in reader]
    assert kinds.count("ndarray") > 1 and kinds.count("Symbols") > 1
    capture = read(path)
    assert capture.events.tobytes() == events.tobytes()
    assert capture.symbols.calls == calls


def test_a_slice_with_gaps_is_written_whole(tmp_path: Path) -> None:
    events = some_events(10)
    with CaptureWriter.create(tmp_path / "a.kpath", HEADER) as writer:
        writer.events(events[::3])
    assert read(tmp_path / "a.kpath").events.tobytes() == events[::3].tobytes()


def test_records_that_numpy_turned_to_native_byte_order_are_turned_back(tmp_path: Path) -> None:
    events = some_events(5)
    native = np.concatenate([events, events])
    assert native.dtype != EVENT
    with CaptureWriter.create(tmp_path / "a.kpath", HEADER) as writer:
        writer.events(native)
    assert read(tmp_path / "a.kpath").events.tobytes() == events.tobytes() * 2


def test_only_event_records_are_taken(tmp_path: Path) -> None:
    with (
        CaptureWriter.create(tmp_path / "a.kpath", HEADER) as writer,
        pytest.raises(TypeError, match="array"),
    ):
        writer.events(np.zeros(3, np.uint64))


def test_names_cannot_command_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.kpath"
    with CaptureWriter.create(path, replace(HEADER, command=("a\nb",))) as writer:
        writer.names(Names(comms={1: "\x1b[2J\x7f", 2: os.fsdecode(b"\xff")}))
        writer.facts({"rules": "one\n\ttwo\x1b"})
    capture = read(path)
    assert capture.header.command == ("a\u240ab",)
    assert capture.names.comms == {1: "\u241b[2J\u2421", 2: "\ufffd"}
    assert capture.facts == {"rules": "one\n\ttwo\u241b"}


def test_a_capture_without_footer_says_so(tmp_path: Path) -> None:
    events = write_sample(tmp_path / "a.kpath", footer=False)
    capture = read(tmp_path / "a.kpath")
    assert len(capture.events) == len(events)
    assert not capture.complete and capture.footer is None
    assert capture.problem == "the file has no footer: the capture did not end in an orderly way"


def test_reading_keeps_to_its_limit(tmp_path: Path) -> None:
    write_sample(tmp_path / "a.kpath", (5_000,))
    with pytest.raises(CaptureTooLarge, match="more than 0 MiB"):
        read(tmp_path / "a.kpath", limit=5_000 * EVENT.itemsize - 1)


@pytest.mark.parametrize("path", ["", "missing", "nul\0"])
def test_a_file_that_cannot_be_opened(tmp_path: Path, path: str) -> None:
    with pytest.raises(CaptureReadError, match="cannot be read"):
        read(tmp_path / path)


def test_the_file_is_private(tmp_path: Path) -> None:
    write_sample(tmp_path / "a.kpath")
    assert (tmp_path / "a.kpath").stat().st_mode & 0o777 == 0o600


def test_zstd_itself_finds_the_file_in_order(tmp_path: Path) -> None:
    zstd = shutil.which("zstd")
    if zstd is None:
        pytest.skip("no zstd command here")
    path = tmp_path / "a.kpath"
    write_sample(path)
    subprocess.run([zstd, "-q", "-t", path], check=True)
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    assert subprocess.run([zstd, "-q", "-t", path], check=False, stderr=subprocess.DEVNULL).returncode


# Failing to write


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CaptureWriteError, match="No such file"):
        CaptureWriter.create(tmp_path / "no" / "a.kpath", HEADER)


def test_a_full_device() -> None:
    with pytest.raises(CaptureWriteError, match="the disk is full"):
        CaptureWriter.create("/dev/full", HEADER)


def test_a_disk_that_fills_up_leaves_whole_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.kpath"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = CaptureWriter.create(path, HEADER)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, hard))
        with pytest.raises(CaptureWriteError, match="largest size allowed; what was captured"):
            for seed in range(1_000):
                writer.events(some_events(50, seed))
        with pytest.raises(CaptureWriteError):
            writer.loss(LOSS)
        writer.close(FOOTER)
        writer.close(FOOTER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.stat().st_size == writer.size < 100_001
    capture = read(path)
    assert len(capture.events) == writer.events_written > 0
    assert not capture.complete and capture.footer is None


def test_a_reader_that_goes_away() -> None:
    there, here = os.pipe()
    writer = CaptureWriter.create(f"/proc/self/fd/{here}", HEADER)
    os.close(there)
    os.close(here)
    with pytest.raises(CaptureWriteError, match="nobody reads"):
        writer.events(some_events(3))
    writer.close(FOOTER)


def test_nothing_follows_an_interrupted_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.kpath"
    writer = CaptureWriter.create(path, HEADER)
    writer.events(some_events(4))
    write = os.write

    def interrupted(fd: int, data: memoryview) -> int:
        write(fd, data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.events(some_events(5))
    monkeypatch.undo()
    with pytest.raises(CaptureWriteError, match="interrupted"):
        writer.events(some_events(6))
    writer.close(FOOTER)
    capture = read(path)
    assert len(capture.events) == 4 and not capture.complete


def test_a_fact_too_large_is_refused_and_the_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.kpath"
    with CaptureWriter.create(path, HEADER) as writer:
        with pytest.raises(CaptureWriteError, match="cannot hold"):
            writer.facts({"big": bytes(9 << 20)})
        writer.facts({"small": 1})
        writer.close(FOOTER)
    assert read(path).facts == {"small": 1}
    assert read(path).complete


def test_writing_after_the_end_is_an_error(tmp_path: Path) -> None:
    writer = CaptureWriter.create(tmp_path / "a.kpath", HEADER)
    writer.close(FOOTER)
    with pytest.raises(ValueError, match="closed"):
        writer.loss(LOSS)


_FEEDS = """
import sys
sys.path.insert(0, {tests!r})
from tests.capture.capture_samples import *
writer = CaptureWriter.create({path!r}, HEADER)
seed = 0
while True:
    writer.events(some_events(100, seed)); seed += 1
    if seed == 20: print("ready", flush=True)
"""


def test_a_killed_recorder_leaves_whole_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.kpath"
    code = _FEEDS.format(tests=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout is not None and recorder.stdout.readline() == b"ready\n"
        recorder.send_signal(signal.SIGKILL)
    capture = read(path)
    assert len(capture.events) >= 2_000 and not capture.complete
    for seed in range(len(capture.events) // 100):
        assert capture.events[seed * 100 : seed * 100 + 100].tobytes() == some_events(100, seed).tobytes()


def test_through_pipes(tmp_path: Path) -> None:
    code = (
        "from capture_samples import *; w = CaptureWriter.create('-', HEADER);"
        "w.events(some_events(500)); w.close(FOOTER)"
    )
    back = "from kpath.capture.file import read; c = read('-'); print(len(c.events), c.complete)"
    here = str(Path(__file__).parent)
    made = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, check=True).stdout
    out = subprocess.run([sys.executable, "-c", back], input=made, capture_output=True, check=True).stdout
    assert out == b"500 True\n"
