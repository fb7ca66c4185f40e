"""Metrics for Prometheus: what ``kpath watch --prometheus`` serves.

    metrics = Metrics()
    with metrics.serve(9100):
        for chunk in source.chunks(ending):
            metrics.chunk(chunk)
            for journey in assembler.feed(chunk):
                metrics.journey(traversals(journey))

Whatever comes, the number of time series stays bounded: paths after the first ``max_paths`` are counted as "other".
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from kpath.capture.tables import Loss
from kpath.report.export.errors import ExportError, MissingLibraryError
from kpath.report.export.paths import latency, summary
from kpath.trace.traversal import Traversal

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import Counter as _Counter

MAX_PATHS = 200
OTHER = "other"

BUCKETS = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 1.0)
"""Upper bounds of the latency buckets, seconds."""

_MAX_REASONS = 200


class Metrics:
    """Counts of one run. Fed by one thread, read by the server's."""

    def __init__(self, max_paths: int = MAX_PATHS) -> None:
        """Raises MissingLibraryError without prometheus_client."""
        try:
            from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
        except ImportError as error:
            raise MissingLibraryError("prometheus_client", "Prometheus") from error
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each series would double their number
        self._max_paths = max_paths
        self._paths: set[str] = set()
        self._reasons: set[str] = set()
        self._told: dict[_Counter, float] = {}
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"kpath_{name}", text, labels, registry=self.registry)

        self._events = counter("events", "Events received from the kernel.")
        self._lost = counter("events_lost", "Events that found the buffer full.", "cpu")
        self._missed = counter("probe_hits_missed", "Hits at which a probe did not run.", "function")
        self._tables = counter("tables_full", "Packets and stacks for which the BPF tables had no room.", "cpu")
        self._journeys = counter("journeys", "Packets followed to their end.")
        self._incomplete = counter("traversals_incomplete", "Traversals that were not seen whole.", "direction")
        self._ends = counter(
            "traversals", "Passes of a packet through one namespace's stack.", "direction", "end", "reason"
        )
        self._taken = counter("paths", "Traversals by the way that they took, in its milestones.", "path")
        self._unlooked = counter("journeys_only_counted", "Packets not looked at, as there were too many.")
        self._verdicts = counter("verdicts", "Traversals by what a document says of them.", "document", "verdict")
        self._cpu = counter("cpu_seconds", "CPU time of kpath itself.")
        self._bpf = counter("bpf_seconds", "Run time of the BPF programs in the measured part of the time.")
        self._bpf_runs = counter("bpf_runs", "Runs of the BPF programs in the measured part of the time.")
        self._bpf_measured = counter("bpf_measured_seconds", "How long the BPF programs were measured.")
        self._latency = Histogram(
            "kpath_traversal_latency_seconds",
            "Time from a packet's first function in a traversal to its last.",
            ["direction"],
            buckets=BUCKETS,
            registry=self.registry,
        )

    def chunk(self, chunk: object) -> None:
        """Count what a chunk of the stream tells: events, or a loss. Others count nothing."""
        if isinstance(chunk, np.ndarray):
            self._events.inc(len(chunk))
        elif isinstance(chunk, Loss):
            for cpu, count in chunk.lost.items():
                self._lost.labels(str(cpu)).inc(count)
            for function, count in chunk.missed.items():
                self._missed.labels(function).inc(count)
            for cpu, count in chunk.tables.items():
                self._tables.labels(str(cpu)).inc(count)

    def journey(self, traversals: Sequence[Traversal]) -> None:
        """Count a finished journey by its traversals."""
        self._journeys.inc()
        for traversal in traversals:
            end = traversal.end
            reason = self._bounded(end.reason, self._reasons, _MAX_REASONS) if end.how == "dropped" else ""
            self._ends.labels(traversal.direction, end.how, reason).inc()
            self._latency.labels(traversal.direction).observe(latency(traversal) / 1e9)
            if traversal.partial:
                # Half a path is no path: it would fill the table with ways that no packet takes.
                self._incomplete.labels(traversal.direction).inc()
                continue
            self._taken.labels(self._bounded(summary(traversal), self._paths, self._max_paths)).inc()

    def skip(self) -> None:
        """Count a packet that was not looked at."""
        self._journeys.inc()
        self._unlooked.inc()

    def verdict(self, document: str, verdict: str) -> None:
        """Count what a document says of one traversal."""
        self._verdicts.labels(document, verdict).inc()

    def cost(self, cpu: float, bpf: float, runs: int, measured: float) -> None:
        """What kpath has cost so far: CPU seconds of its own; of the BPF programs seconds, runs, and how long (seconds)
        they were measured. Totals, not what is new."""
        totals = {self._cpu: cpu, self._bpf: bpf, self._bpf_runs: float(runs), self._bpf_measured: measured}
        for counter, total in totals.items():
            counter.inc(max(0.0, total - self._told.get(counter, 0.0)))
            self._told[counter] = total

    @staticmethod
    def _bounded(value: str, known: set[str], most: int) -> str:
        if value in known:
            return value
        if len(known) >= most:
            return OTHER
        known.add(value)
        return value

    def render(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def serve(self, port: int, address: str = "127.0.0.1") -> Server:
        """Serve ``/metrics`` from a thread of its own. Raises ExportError when the port cannot be had."""
        from prometheus_client import start_http_server

        try:
            server, thread = start_http_server(port, address, self.registry)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ExportError(f"metrics cannot be served on {address}:{port}: {why}") from error
        return Server(server, thread)


class Server:
    """A running server; leaving the block, or ``close``, ends it."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port, also when any free one (0) was asked for."""
        return self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def parse_address(text: str) -> tuple[str, int]:
    """Address and port of ``[ADDRESS]:PORT`` as given on a command line; without ADDRESS it is this machine only.

    Raises ExportError when it is neither.
    """
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 0xFFFF:
        raise ExportError(f"{text!r} is no place to serve metrics: write :9100 or 192.0.2.1:9100.")
    return address.strip("[]") or "127.0.0.1", int(port)
