"""Saving what a running view has seen: the file is a capture like any other, and says what it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kpath.capture.file import CaptureReader, read
from kpath.capture.schema import EVENT
from kpath.capture.tables import Footer, Loss
from kpath.dashboard.keep import Keeper
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import traversals
from tests.dashboard.stage import CAPTURES, capture

TCP = CAPTURES / "6.12" / "tcp.kpath"


def kept(room: int = 1 << 30) -> Keeper:
    reader = capture("tcp")
    keeper = Keeper(reader.header, room)
    for _ in keeper.pass_on(pieces(reader)):
        pass
    return keeper


def pieces(reader: CaptureReader) -> list[object]:
    """The chunks of a recording as a running capture gives them: a few events at a time, and sometimes none."""
    out: list[object] = []
    for chunk in reader:
        if isinstance(chunk, np.ndarray):
            out += [chunk[n : n + 7] for n in range(0, len(chunk), 7)]
            out.append(np.empty(0, EVENT))
        elif not isinstance(chunk, Footer):
            out.append(chunk)
    return out


def ways(path: Path) -> list[tuple[str, str]]:
    with CaptureReader(path) as reader:
        journeys = Assembler().run(reader)
        return [(one.direction, one.end.how) for journey in journeys for one in traversals(journey)]


def test_what_was_seen_is_saved(tmp_path: Path) -> None:
    words = kept().save(str(tmp_path / "a.kpath"))
    saved, original = read(tmp_path / "a.kpath"), read(TCP)
    assert np.array_equal(np.sort(saved.events, order=["cpu", "seq"]), np.sort(original.events, order=["cpu", "seq"]))
    assert saved.complete and ways(tmp_path / "a.kpath") == ways(TCP)
    assert words.startswith(f"Saved {len(original.events):,} events") and "no longer" not in words


def test_it_can_be_saved_again_and_goes_on(tmp_path: Path) -> None:
    keeper = kept()
    keeper.save(str(tmp_path / "a.kpath"))
    keeper.keep(read(TCP).events[:3])
    keeper.save(str(tmp_path / "b.kpath"))
    assert len(read(tmp_path / "b.kpath").events) == len(read(tmp_path / "a.kpath").events) + 3


def test_what_there_was_no_room_for_is_told_as_lost(tmp_path: Path) -> None:
    original = read(TCP).events
    keeper = kept(original.nbytes // 2)
    words = keeper.save(str(tmp_path / "a.kpath"))
    saved = read(tmp_path / "a.kpath")
    gone = len(original) - len(saved.events)
    assert 0 < gone < len(original) and f"{gone:,} older ones" in words
    with CaptureReader(tmp_path / "a.kpath") as reader:
        losses = [chunk for chunk in reader if isinstance(chunk, Loss)]
    assert sum(sum(loss.lost.values()) for loss in losses) == gone
    assert losses[0].end < int(saved.events["time"].max()), "only what was alive then is inconclusive"


def test_nothing_is_written_over(tmp_path: Path) -> None:
    there = tmp_path / "a.kpath"
    there.write_text("mine")
    with pytest.raises(OSError, match="already"):
        kept().save(str(there))
    assert there.read_text() == "mine"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written"):
        kept().save(str(tmp_path / "no" / "a.kpath"))
