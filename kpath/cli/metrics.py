"""``--prometheus``: what a running capture counts, served while it is watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kpath.cli.cost import Cost
    from kpath.report.prometheus import Metrics
    from kpath.trace.traversal import Traversal


class Counting:
    """Counts along with whatever shows the packets."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def packet(self, traversals: Sequence[Traversal], verdicts: Sequence[tuple[str, str]]) -> None:
        """A packet has come to its end."""
        self._metrics.journey(traversals)
        for document, verdict in verdicts:
            self._metrics.verdict(document, verdict)

    def skipped(self) -> None:
        """A packet that nobody looked at."""
        self._metrics.skip()

    def pass_on(self, stream: Iterable[object], cost: Cost) -> Iterator[object]:
        """The same chunks, as they come, counted."""
        for chunk in stream:
            self._metrics.chunk(chunk)
            cost.tell(self._metrics)
            yield chunk


@contextmanager
def serving(place: str | None) -> Iterator[Counting | None]:
    """Metrics at ``[ADDRESS]:PORT`` meanwhile; None without a place.

    Raises ExportError for a place that is none or cannot be had, and without the library.
    """
    if place is None:
        yield None
        return
    from kpath.report.prometheus import Metrics, parse_address

    address, port = parse_address(place)
    metrics = Metrics()
    with metrics.serve(port, address) as server:
        shown = f"[{address}]" if ":" in address else address
        click.echo(f"kpath: metrics at http://{shown}:{server.port}/metrics", err=True)
        yield Counting(metrics)
