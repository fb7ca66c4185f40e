"""Whole recordings judged the fast way and the slow one: every traversal with the same verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpath.capture.file import CaptureReader, CaptureWriter, Footer, Header, Loss, Symbols, read
from kpath.capture.schema import EVENT
from kpath.model.check import Checker
from kpath.model.repeat import Outcome, judge_file
from kpath.model.verdict import Judgement, Verdict
from kpath.trace.traversal import Traversal
from tests.model.captures import named
from tests.trace.generated import ordered, rounds


class Everything:
    """Keeps what is said of each traversal."""

    def __init__(self, header: Header) -> None:
        self.checker = Checker.for_stream(header.probes, ["linux-6"])
        self.each: list[tuple[int, int, tuple[Any, ...]]] = []

    def note(self, traversal: Traversal, judgements: list[Judgement]) -> tuple[Any, ...]:
        return tuple((j.verdict, j.reasons, j.findings, j.evidence.witnessed) for j in judgements)

    def add(self, what: tuple[Any, ...], journeys: Any, times: Any) -> None:
        self.each += [(j, t, what) for j, t in zip(journeys.tolist(), times.tolist(), strict=True)]


def judged(path: Path, fast: bool) -> tuple[list[Any], Outcome]:
    count, outcome = judge_file(path, Everything, fast=fast)
    assert isinstance(count, Everything)
    return sorted(count.each, key=lambda row: (row[0], row[1], str(row[2]))), outcome


def write(path: Path, like: Path, parts: Iterator[Any], symbols: Symbols) -> None:
    """A recording of these events and losses, with the header and the tables of another."""
    with CaptureReader(like) as reader:
        header = reader.header
    capture = read(like)
    with CaptureWriter.create(path, header) as writer:
        writer.symbols(symbols)
        writer.names(capture.names)
        writer.facts(capture.facts)
        for part in parts:
            if isinstance(part, Loss):
                writer.loss(part)
            else:
                writer.events(part)
        writer.close(capture.footer or Footer("", 0, 0, 0))


SOME = [file for kind in ("nics-udp", "esp-tunnel", "fragments") for file in named(kind) if file.parent.name != "6.1"]


@pytest.mark.parametrize("file", SOME, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_repeated_packets(file: Path, tmp_path: Path) -> None:
    events, symbols = ordered(file)
    write(tmp_path / "long.kpath", file, rounds(events, 8), symbols)
    quick, outcome = judged(tmp_path / "long.kpath", True)
    slow, _ = judged(tmp_path / "long.kpath", False)
    assert quick == slow and len(quick) > 8
    assert outcome.fast and outcome.late == 0
    assert outcome.repeated >= outcome.groups // 2


@pytest.mark.parametrize("kind", ["reported", "found in the numbers"])
def test_losses(kind: str, tmp_path: Path) -> None:
    """What was lost concerns those packets only that lived then, even when it is told after they are gone."""
    (file,) = [f for f in named("nics-udp") if f.parent.name == "6.12"]
    events, symbols = ordered(file)
    long = np.concatenate(list(rounds(events, 6)), dtype=EVENT)
    middle = len(events) + len(events) // 2

    def parts() -> Iterator[Any]:
        if kind == "reported":
            yield long
            yield Loss(int(long["time"][middle]), int(long["time"][middle + 5]), {}, {"ip_rcv": 2})
        else:
            yield np.delete(long, [middle])

    write(tmp_path / "lossy.kpath", file, parts(), symbols)
    quick, outcome = judged(tmp_path / "lossy.kpath", True)
    slow, _ = judged(tmp_path / "lossy.kpath", False)
    assert quick == slow
    assert 0 < outcome.lossy < outcome.groups
    verdicts = [judgement[0] for _, _, what in quick for judgement in what]
    assert Verdict.INCONCLUSIVE in verdicts and Verdict.CONFORMS in verdicts
    assert Verdict.DIVERGES not in verdicts
