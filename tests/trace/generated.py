"""A recording made long: its packets come again and again, later, in other buffers and on other stacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kpath.capture.file import read
from kpath.capture.schema import EVENT, Class, Kind
from kpath.capture.tables import Symbols
from kpath.trace.order import Order

PAUSE_NS = 200_000_000
"""Between the end of one round and the beginning of the next."""

Events = npt.NDArray[np.void]


def ordered(path: Path) -> tuple[Events, Symbols]:
    """The events of a recording in the order of time, and its symbols."""
    capture = read(path)
    order = Order()
    ready, _ = order.push(capture.events)
    return np.concatenate([ready, order.flush()], dtype=EVENT), capture.symbols


def rounds(events: Events, count: int, pause: int = PAUSE_NS) -> Iterator[Events]:
    """The events ``count`` times over, each round with its own times, buffers and numbers."""
    length = np.uint64(int(events["time"].max()) - int(events["time"].min()) + pause)
    linked = (events["kind"] == Kind.ENTRY) & np.isin(events["cls"], (Class.COPY, Class.MERGE)) & (events["arg"] != 0)
    per_cpu = {cpu: int((events["cpu"] == cpu).sum()) for cpu in np.unique(events["cpu"])}
    first = {cpu: int(events["seq"][events["cpu"] == cpu].min()) for cpu in per_cpu}
    for number in range(count):
        later = events.copy()
        shift = np.uint64(number) * length
        later["time"] += shift
        later["birth"][events["birth"] != 0] += shift
        later["arg"][linked] += shift
        for name in ("skb", "other", "head"):
            # The kernel's allocator gives the same addresses again, but not to the same packets.
            later[name][events[name] != 0] += np.uint64(0x40 * (number % 1021))
        for cpu, many in per_cpu.items():
            mine = events["cpu"] == cpu
            later["seq"][mine] = first[cpu] + number * many + np.arange(many)
        yield later
