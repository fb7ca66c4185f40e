"""Recordings of the lab hold the lab's packets, whole, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kpath.capture.schema import EVENT
from kpath.lab.errors import UnknownScenarioError
from kpath.lab.record import of_namespaces, record

LAB, OTHER = 4026532001, 4026531840


def events(*rows: tuple[int, int, int]) -> npt.NDArray[np.void]:
    """Events of (buffer, birth, namespace), numbered from 100 on one CPU."""
    made = np.zeros(len(rows), EVENT)
    for number, (event, (skb, birth, netns)) in enumerate(zip(made, rows, strict=True), 100):
        event["skb"], event["birth"], event["netns"], event["seq"] = skb, birth, netns, number
    return made


def buffers(taken: npt.NDArray[np.void]) -> list[tuple[int, int]]:
    return [(int(e["skb"]), int(e["birth"])) for e in of_namespaces(taken, [LAB])]


def test_a_packet_seen_in_the_lab_stays_whole() -> None:
    assert buffers(events((1, 10, 0), (1, 10, LAB), (1, 10, OTHER), (2, 20, OTHER))) == [(1, 10)] * 3


def test_a_buffer_that_is_used_again_is_another_packet() -> None:
    assert buffers(events((1, 10, LAB), (1, 30, OTHER), (1, 30, OTHER))) == [(1, 10)]


def test_what_is_in_no_namespace_stays() -> None:
    """Frames without a packet, and the segments that TCP keeps and copies."""
    assert buffers(events((0, 0, 0), (3, 5, 0), (2, 20, OTHER), (2, 20, 0))) == [(0, 0), (3, 5)]
    assert buffers(events((0, 0, OTHER), (0, 0, LAB))) == [(0, 0)]
    assert buffers(events()) == []


def test_only_lost_events_leave_gaps() -> None:
    taken = events((1, 10, LAB), (2, 20, OTHER), (1, 10, LAB), (2, 20, OTHER), (1, 10, LAB), (3, 30, LAB))
    taken["seq"][5] += 7  # lost
    taken["cpu"][4:] = 1
    left = of_namespaces(taken[np.array([5, 0, 3, 2, 1, 4])], [LAB])
    numbers = sorted((int(e["cpu"]), int(e["seq"])) for e in left)
    assert numbers == [(0, 100), (0, 101), (1, 104), (1, 112)]


def test_a_wrong_name_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(UnknownScenarioError):
        record(["nothing-of-the-kind"], tmp_path)
