"""A running session of the mode "paths", as its reader needs it: counts, and new records with the names in them."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress

from kpath.capture import facts
from kpath.capture.addresses import Addresses
from kpath.capture.errors import CaptureSetupError
from kpath.capture.looks import Look, Told
from kpath.capture.naming import Naming
from kpath.capture.paths import Tables
from kpath.capture.session import Session
from kpath.capture.tables import Fact, Facts, Loss, Names, Symbols
from kpath.capture.unfold import Unfolder
from kpath.kernel import netstate
from kpath.kernel.errors import KernelError
from kpath.kernel.links import netns_names
from kpath.kernel.text import KernelText

MOST = 8
"""Records of one path that a look tells of, more than anybody judges or shows: a flood brings hundreds a second."""


class PathSource:
    """Looks at a started session. Leaving its block ends the session."""

    def __init__(self, session: Session) -> None:
        """Raises CaptureSetupError when the session counts no paths."""
        if session.tables is None:
            raise CaptureSetupError("this capture does not count paths.")
        self._session = session
        self._tables: Tables = session.tables
        self._unfolder = Unfolder(session.probes)
        self._text_problem = ""
        self._addresses = Addresses(session.symbols, self._text(), session.probes)
        self._naming = Naming(netns_names, netstate.device_names)
        self._first = True
        self._losses: list[Loss] = []
        self._modules_asked = time.monotonic()

    def facts(self) -> dict[str | int, Fact]:
        """What is known of the kernel and the capture."""
        return facts.of_session(self._session, self._text_problem)

    def sample(self, one_in: int) -> None:
        """From now on follow one packet in so many, a power of two."""
        self._tables.sample(one_in, time.monotonic_ns())

    def look(self) -> Look:
        """Read the tables. Waits for nothing."""
        tables: list[Symbols | Names | Facts] = []
        if self._first:
            tables.append(Facts(self.facts()))
            with suppress(OSError, KernelError):
                if names := self._naming.look():
                    tables.append(names)
            self._first = False
        tables += self._late_modules()
        # Misses are asked for after the records: what a record lacks has been counted by then.
        records = self._tables.records()
        told = []
        of_path: Counter[int] = Counter()
        for record in records:
            path = int(record["hash"])
            of_path[path] += 1
            if of_path[path] > MOST:
                continue
            events, skb = self._unfolder.events(record)
            if symbols := self._addresses.tell(events):
                tables.append(symbols)
            with suppress(OSError, KernelError):
                if names := self._naming.tell(events):
                    tables.append(names)
            times = int(record["birth"]), int(record["last"])
            told.append(
                Told(path or 1, events, skb, bool(record["timed"]), bool(record["full"]), *times)
            )
        if loss := self._session.loss():
            self._losses.append(Loss(loss.begin, loss.end, loss.lost, loss.missed, loss.tables))
        return Look(
            time.monotonic_ns(), self._tables.paths(), self._tables.account(), told, tables, tuple(self._losses)
        )

    def _late_modules(self) -> list[Symbols | Facts]:
        if time.monotonic() - self._modules_asked < 2 or not self._session.modules_changed():
            return []
        self._modules_asked = time.monotonic()
        with suppress(OSError, KernelError, CaptureSetupError):
            probes = self._session.attach_new_modules()
            self._unfolder.add(probes)
            more = self._addresses.add_probes(probes, self._session.symbols)
            return [Facts(facts.of_probes(self._session.probes)), *([more] if more else [])]
        return []

    def _text(self) -> KernelText | None:
        try:
            return KernelText.open(self._session.symbols)
        except KernelError as error:
            self._text_problem = str(error)
            return None
