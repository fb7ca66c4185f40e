"""Event records between a file's field list and this kpath's ``schema.EVENT``.

The file says which fields its records have, so an older file is understood field by field: what it lacks
reads as zero, what is no longer wanted is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kpath.capture.schema import EVENT, SCHEMA_VERSION, Kind

Events = npt.NDArray[np.void]
"""An array of ``schema.EVENT`` records."""

_TYPES = frozenset({"|u1", "<u2", "<u4", "<u8", ">u2", ">u4", ">u8", "|i1", "<i2", "<i4", "<i8"})
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_FIELDS = 256
_LAST_KIND = max(Kind)


def raw(events: Events) -> Any:
    """The records as bytes, for copying and ordering: numpy does that with records field by field, which takes 17 to 80
    times as long. Others than ``EVENT`` (of the other byte order) are made so.
    """
    same: Any = np.ascontiguousarray(events if events.dtype == EVENT else events.astype(EVENT))
    return same.view(f"V{EVENT.itemsize}")


def joined(parts: Sequence[Events]) -> Events:
    """One array of all these."""
    if len(parts) == 1:
        return parts[0]
    made: Events = np.concatenate([raw(part) for part in parts]).view(EVENT) if parts else np.empty(0, EVENT)
    return made


def by_time(events: Events) -> Events:
    """The same in the order of time, and those of one time in the order of their numbers."""
    time = events["time"].copy()
    return events if (time[1:] > time[:-1]).all() else merged([events])


def merged(parts: Sequence[Events]) -> Events:
    """A copy of all these in the order of time, and those of one time in the order of their numbers."""
    if not parts:
        return np.empty(0, EVENT)
    time = np.concatenate([part["time"] for part in parts])
    order = np.argsort(time, kind="stable")  # merges the stretches that are in order, such as a CPU's
    ordered = time[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((np.concatenate([part["seq"] for part in parts]), time))
    places = np.empty(len(order), np.intp)
    places[order] = np.arange(len(order))
    made = np.empty(len(order), EVENT)
    begin = 0
    for part in parts:
        raw(made)[places[begin : begin + len(part)]] = raw(part)
        begin += len(part)
    return made


class RecordReader:
    """Turns the raw records of one file into ``schema.EVENT`` records."""

    def __init__(self, version: int, fields: Sequence[tuple[str, str]]) -> None:
        """Raises ValueError when the fields are no possible record of that schema version."""
        names = [name for name, _ in fields]
        if not 0 < len(names) <= _MAX_FIELDS or len(set(names)) < len(names):
            raise ValueError("the field list is empty, too long or repeats a name")
        for name, kind in fields:
            if not _NAME.fullmatch(name) or kind not in _TYPES:
                raise ValueError("a field has an impossible name or type")
        self.dtype: np.dtype[np.void] = np.dtype(list(fields))
        if version == SCHEMA_VERSION and self.dtype != EVENT:
            raise ValueError("its records are not those of its schema version")
        if self.dtype == EVENT:
            self.dtype = EVENT  # the very same: whoever compares again is soon done
        self._common = [name for name in EVENT.names or () if name in names]
        for name in self._common:
            if not np.can_cast(self.dtype[name], EVENT[name], "safe"):
                raise ValueError(f"the field {name} does not fit today's")

    def read(self, payload: memoryview) -> Events:
        """The records, read-only; a view of ``payload`` when nothing had to be converted.

        Raises ValueError when the bytes are no whole number of records or name an unknown kind of event.
        """
        raw = np.frombuffer(payload, self.dtype)
        if self.dtype == EVENT:
            events = raw
        else:
            events = np.zeros(len(raw), EVENT)
            for name in self._common:
                events[name] = raw[name]
        if len(events) and events["kind"].max() > _LAST_KIND:
            raise ValueError("an event is of an unknown kind")
        events.setflags(write=False)
        return events
