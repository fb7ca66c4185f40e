"""Names of the numbers in events: namespaces, devices, threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from kpath.capture.fresh import Fresh, runs
from kpath.capture.records import Events
from kpath.capture.tables import MAX_TEXT, Names

REFRESH = 1.0
"""Seconds between two looks at all namespaces: a look enters each of them."""
_TRIES = 3


class Naming:
    """Makes the Names chunk that should stand before some events.

    Looks when a number appears that has no name yet, but not more often than REFRESH; a number that has none after some
    looks never gets one.
    """

    def __init__(
        self,
        netns: Callable[[], Mapping[int, str]],
        devices: Callable[[], Mapping[tuple[int, int], str]],
        proc: Path = Path("/proc"),
    ) -> None:
        """``netns`` and ``devices`` take the looks (``links.netns_names``, ``netstate.device_names``)."""
        self._netns, self._devices, self._proc = netns, devices, proc
        self._namespaces_seen, self._devices_seen, self._threads_seen = Fresh(), Fresh(), Fresh()
        self._unnamed: dict[tuple[int, int], int] = {}
        self._names = Names()
        self._known_netns: dict[int, str] = {}
        self._known_devices: dict[tuple[int, int], str] = {}
        self._nameless: list[int] = []
        self._looked = float("-inf")

    def look(self) -> Names | None:
        """Look now, whatever is known; the names that are new or have changed, None if there are none."""
        self._looked = time.monotonic()
        netns = {inode: _short(name) for inode, name in self._netns().items()}
        devices = {key: _short(name) for key, name in self._devices().items()}
        fresh_netns = {k: v for k, v in netns.items() if self._known_netns.get(k) != v}
        fresh_devices = {k: v for k, v in devices.items() if self._known_devices.get(k) != v}
        self._known_netns |= fresh_netns
        self._known_devices |= fresh_devices
        for key in list(self._unnamed):
            self._unnamed[key] -= 1
            if key in self._known_devices or not self._unnamed[key]:
                del self._unnamed[key]
        if not fresh_netns and not fresh_devices:
            return None
        return Names(fresh_netns, fresh_devices)

    def tell(self, events: Events) -> Names | None:
        """Names of namespaces and devices that are to be told before these events, None if nothing."""
        columns = [events[name] for name in ("netns", "ifindex", "out_ifindex")]
        rows = runs(*columns)
        netns, *indices = (column[rows].astype(np.uint64) for column in columns)
        netns <<= np.uint64(32)
        for index in indices:
            used = index != 0
            for key in self._devices_seen.take(netns[used] | index[used]):
                device = key >> 32, key & 0xFFFFFFFF
                if device[0] and device not in self._known_devices:
                    self._unnamed[device] = _TRIES
        due = self._unnamed and time.monotonic() - self._looked >= REFRESH
        return self.look() if due else None

    def threads(self, events: Events) -> dict[int, str]:
        """Names of threads not seen before. Call it early, by whatever thread: those of the events may soon be gone."""
        comms: dict[int, str] = {}
        pids = events["pid"]
        for thread in self._threads_seen.take(pids[runs(pids)]):
            try:
                comms[thread] = _short((self._proc / str(thread) / "comm").read_text(errors="replace").rstrip("\n"))
            except OSError:
                self._nameless.append(thread)
        return comms

    def late(self, comms: Mapping[int, str]) -> Names | None:
        """Names, from the kernel side's own table, of the threads that were gone before they could be asked."""
        found = {thread: _short(comms[thread]) for thread in self._nameless if thread in comms}
        self._nameless.clear()
        return Names(comms=found) if found else None


def _short(name: str) -> str:
    with suppress(UnicodeError):
        name.encode()
        return name[:MAX_TEXT]
    return name.encode(errors="replace").decode()[:MAX_TEXT]
