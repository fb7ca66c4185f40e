"""Recordings of the lab hold the lab's packets, whole, and nobody else's."""

from __future__ import annotations

import numpy as np
import pytest

from kpath.capture.schema import EVENT
from kpath.lab.errors import UnknownScenarioError
from kpath.lab.record import of_namespaces, record

LAB, OTHER = 4026532001, 4026531840


def events(*rows: tuple[int, int, int]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Events of (buffer, birth, namespace)."""
    made = np.zeros(len(rows), EVENT)
    for event, (skb, birth, netns) in zip(made, rows, strict=True):
        event["skb"], event["birth"], event["netns"] = skb, birth, netns
    return made


def test_a_packet_seen_in_the_lab_stays_whole() -> None:
    taken = events((1, 10, 0), (1, 10, LAB), (1, 10, OTHER), (2, 20, OTHER))
    assert of_namespaces(taken, [LAB]).tolist() == [True, True, True, False]


def test_a_buffer_that_is_used_again_is_another_packet() -> None:
    taken = events((1, 10, LAB), (1, 30, OTHER), (1, 30, OTHER))
    assert of_namespaces(taken, [LAB]).tolist() == [True, False, False]


def test_frames_without_a_packet_stay() -> None:
    assert of_namespaces(events((0, 0, 0), (2, 20, OTHER)), [LAB]).tolist() == [True, False]
    assert of_namespaces(events(), [LAB]).tolist() == []


def test_a_wrong_name_is_told_before_anything_is_done(tmp_path: object) -> None:
    with pytest.raises(UnknownScenarioError):
        record(["nothing-of-the-kind"], tmp_path)  # type: ignore[arg-type]
