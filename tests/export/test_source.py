"""Reading a recording as packets: all of them, in bounded memory."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from kpath.capture.reader import CaptureReader
from kpath.report import json as as_json
from kpath.report.export.source import Source
from kpath.trace.assemble import Assembler
from kpath.trace.frames import Frame
from kpath.trace.traversal import traversals
from tests.export.samples import ALL, capture, repeated


@pytest.mark.parametrize("path", ALL[::7], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_packets_are_those_of_kpath_show(path: Path) -> None:
    assembler = Assembler()
    with CaptureReader(path) as reader:
        journeys = [j for j in assembler.run(reader) if j.wanted(arp=False)]
    expected = [as_json.journey(j, traversals(j), assembler.knowledge) for j in journeys]
    with Source(path) as source:
        assert [as_json.journey(p.journey, p.traversals, source.knowledge) for p in source.packets()] == expected


def test_all_of_a_long_recording_is_not_kept(tmp_path: Path) -> None:
    path = repeated(tmp_path / "long.kpath", "tcp", 40)
    with Source(path) as source:
        for number, _packet in enumerate(source.packets(), 1):
            if number == 250:
                break
        gc.collect()
        # Two journeys of a round wait for more, for some seconds; all others are done and gone.
        kept = {o.index for o in gc.get_objects() if isinstance(o, Frame)}
        assert source.assembler.events > 15_000
        assert len(kept) < source.assembler.events / 2


def test_arp_on_request() -> None:
    with Source(capture("ping-cold")) as source, Source(capture("ping-cold"), arp=True) as more:
        few, many = list(source.packets()), list(more.packets())
    assert len(many) > len(few) > 0


def test_no_packet_is_older_than_the_horizon() -> None:
    with Source(capture("nics-tcp")) as source:
        horizon = 0
        for packet in source.packets():
            assert min(t.frames[0].time for t in packet.traversals) >= horizon
            horizon = source.horizon
