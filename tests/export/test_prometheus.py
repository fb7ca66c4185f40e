"""Metrics: counts are right, bounded, and served."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kpath.capture.file import read
from kpath.capture.reader import CaptureReader
from kpath.capture.schema import EVENT
from kpath.capture.tables import Loss
from kpath.report.export.errors import ExportError
from kpath.report.prometheus import Metrics, parse_address
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import traversals
from tests.export.samples import capture

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def fed(path: Path, metrics: Metrics) -> Metrics:
    assembler = Assembler()
    with CaptureReader(path) as reader:
        for chunk in reader:
            metrics.chunk(chunk)
            for journey in assembler.feed(chunk):
                metrics.journey(traversals(journey))
    for journey in assembler.flush():
        metrics.journey(traversals(journey))
    return metrics


def samples(text: bytes) -> Samples:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text.decode())
        for s in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_counts_of_a_capture() -> None:
    found = samples(fed(capture("nft-drop"), Metrics()).render())
    assert value(found, "kpath_events_total") == len(read(capture("nft-drop")).events)
    assert value(found, "kpath_traversals_total", direction="forward", end="dropped", reason="NETFILTER_DROP") == 1
    assert value(found, "kpath_paths_total", path="forward → ip_rcv → ip_forward → dropped NETFILTER_DROP") == 1
    assert value(found, "kpath_traversal_latency_seconds_count", direction="forward") == 1
    assert 0 < value(found, "kpath_traversal_latency_seconds_sum", direction="forward") < 0.1


def test_losses() -> None:
    metrics = Metrics()
    metrics.chunk(np.zeros(5, EVENT))
    metrics.chunk(Loss(1, 2, {0: 3, 1: 4}, {"ip_rcv": 2}, {0: 1}))
    metrics.chunk(Loss(2, 3, {0: 1}))
    metrics.chunk("something else")
    found = samples(metrics.render())
    assert value(found, "kpath_events_total") == 5
    assert value(found, "kpath_events_lost_total", cpu="0") == 4
    assert value(found, "kpath_events_lost_total", cpu="1") == 4
    assert value(found, "kpath_probe_hits_missed_total", function="ip_rcv") == 2
    assert value(found, "kpath_tables_full_total", cpu="0") == 1


def test_verdicts_and_cost() -> None:
    metrics = Metrics()
    for verdict in ("conforms", "conforms", "diverges"):
        metrics.verdict("linux-6", verdict)
    metrics.skip()
    metrics.cost(cpu=1.5, bpf=0.25, runs=100, measured=2.0)
    metrics.cost(cpu=2.0, bpf=0.5, runs=150, measured=4.0)
    found = samples(metrics.render())
    assert value(found, "kpath_verdicts_total", document="linux-6", verdict="conforms") == 2
    assert value(found, "kpath_verdicts_total", document="linux-6", verdict="diverges") == 1
    assert value(found, "kpath_journeys_total") == value(found, "kpath_journeys_only_counted_total") == 1
    assert value(found, "kpath_cpu_seconds_total") == 2.0 and value(found, "kpath_bpf_seconds_total") == 0.5
    assert value(found, "kpath_bpf_runs_total") == 150 and value(found, "kpath_bpf_measured_seconds_total") == 4.0


def test_paths_are_bounded() -> None:
    metrics = Metrics(max_paths=1)
    for name in ("tcp", "ping", "nft-drop", "esp-tunnel"):
        fed(capture(name), metrics)
    paths = {
        labels: count for (name, labels), count in samples(metrics.render()).items() if name == "kpath_paths_total"
    }
    assert len(paths) == 2 and paths[("path", "other"),] > 10


def test_it_serves_and_ends() -> None:
    metrics = fed(capture("ping"), Metrics())
    with metrics.serve(0) as server:
        address = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert value(samples(answer.read()), "kpath_journeys_total") >= 2
        with pytest.raises(ExportError, match="cannot be served"):
            Metrics().serve(server.port)
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=2)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (":9100", ("127.0.0.1", 9100)), ("9100", ("127.0.0.1", 9100)), ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("[::1]:80", ("::1", 80)),
    ],
)  # fmt: skip
def test_places_to_serve(text: str, place: tuple[str, int]) -> None:
    assert parse_address(text) == place


@pytest.mark.parametrize("text", ["", ":", ":x", ":65536", "host:-1"])
def test_no_places_to_serve(text: str) -> None:
    with pytest.raises(ExportError, match="write :9100"):
        parse_address(text)
