"""A capture that goes from events to counted paths and back: what is begun, what is ended, what is said."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kpath.capture import modes
from kpath.capture.governor import Governor
from kpath.capture.looks import EVENTS, PATHS, Account, Look, Switched
from kpath.capture.modes import Modes
from kpath.capture.schema import EVENT
from kpath.capture.session import Options
from kpath.capture.tables import Footer, Header, Loss
from tests.capture.capture_samples import HEADER

LAST_WORDS = 5.0
"""Seconds after which a test gives up."""


class Kernel:
    """Which sessions run, and what is to happen in them."""

    def __init__(self) -> None:
        self.attached: list[str] = []
        self.history: list[str] = []
        self.refuses = ""
        self.lost = 0
        self.losing = 0
        """Events lost at each question."""
        self.born = 0
        self.waiting = 0
        """Events that nobody has read when a capture of events ends."""


class Session:
    """Stands in for a session of either mode."""

    def __init__(self, kernel: Kernel, options: Options) -> None:
        self.kernel, self.options = kernel, options
        self.stopped = False

    def start(self) -> None:
        """Attach."""
        if self.options.mode == self.kernel.refuses:
            raise RuntimeError("the verifier is not amused\nand says so at length")
        self.kernel.attached.append(self.options.mode)
        self.kernel.history.append(f"+{self.options.mode}")

    def detach(self) -> None:
        """Take off."""
        if self.options.mode in self.kernel.attached and not self.stopped:
            self.kernel.attached.remove(self.options.mode)
            self.kernel.history.append(f"-{self.options.mode}")
        self.stopped = True

    stop = detach

    def totals(self) -> Any:
        """Lost so far."""
        self.kernel.lost += self.kernel.losing
        return SimpleNamespace(lost={0: self.kernel.lost})


class Source:
    """Stands in for a live source."""

    settled = 0

    def __init__(self, session: Session, _filter: str = "") -> None:
        self.session = session
        self.held: list[bool] = []

    def header(self) -> Header:
        """Any."""
        return HEADER

    def programs(self) -> list[int]:
        """None, so nothing is measured."""
        return []

    def hits(self) -> int:
        """So many in each capture."""
        return 10

    def hold(self, held: bool = True) -> None:
        """Noted."""
        self.held.append(held)

    def close(self) -> None:
        """Take the probes off."""
        self.session.detach()

    def rest(self, also: Any = None) -> Loss | None:
        """What waited."""
        count = self.session.kernel.waiting + (len(also) if also is not None else 0)
        return Loss(1, 2, {0: count}) if count else None

    def chunks(self, until: Callable[[], str]) -> Generator[Any]:
        """Nothing but events, until it is to end."""
        while not until():
            events = np.zeros(3, EVENT)
            events["time"] = time.monotonic_ns()
            yield events
            time.sleep(0.002)
        yield Footer(until(), 0)


class Counts:
    """Stands in for the source of counted paths."""

    def __init__(self, session: Session) -> None:
        self._kernel = session.kernel

    def look(self) -> Look:
        """Only how many packets there were."""
        account = Account(**dict.fromkeys(Account.__dataclass_fields__, 0) | {"born": self._kernel.born})
        return Look(time.monotonic_ns(), np.zeros(0), account, (), ())

    def sample(self, one_in: int) -> None:
        """All are followed."""


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """With a clock that lets a second pass at each look at it where the rules ask."""
    found = Kernel()
    monkeypatch.setattr(modes, "Session", lambda options: Session(found, options))
    monkeypatch.setattr(modes, "LiveSource", Source)
    monkeypatch.setattr(modes, "PathSource", Counts)
    monkeypatch.setattr(modes, "PERIOD", 0.01)
    monkeypatch.setattr("kpath.capture.overload.SECOND", 0.01)
    return found


def started(kernel: Kernel, mode: str = EVENTS, **more: Any) -> Modes:
    options = Options(mode=mode)
    session = Session(kernel, options)
    session.start()
    return Modes(Source(session), options, **more)  # type: ignore[arg-type]


def played(running: Modes, end: Callable[[list[Any]], bool]) -> list[Any]:
    """What came until then, and at the end."""
    found: list[Any] = []
    deadline = time.monotonic() + LAST_WORDS
    ended = False

    def until() -> str:
        return "enough" if ended or time.monotonic() > deadline else ""

    for chunk in running.chunks(until):
        found.append(chunk)
        ended = ended or end(found)
    assert ended, "it did not come to that"
    return found


def switches(found: list[Any]) -> list[Switched]:
    """Without repetitions."""
    return [s for s, _ in itertools.groupby(c for c in found if isinstance(c, Switched))]


def counting(found: list[Any]) -> bool:
    return sum(isinstance(chunk, Look) for chunk in found) > 3


def test_lost_events_lead_to_counted_paths(kernel: Kernel) -> None:
    kernel.losing, kernel.waiting = 500, 70
    found = played(started(kernel, auto=True), counting)
    going, there = switches(found)
    assert (going.mode, going.header) == (EVENTS, None) and "events were lost within" in going.words
    assert there.mode == PATHS and there.header == HEADER and "events were lost within" in there.words
    at = next(n for n, chunk in enumerate(found) if chunk is there)
    assert not any(isinstance(chunk, np.ndarray) for chunk in found[at:])
    assert not any(isinstance(chunk, Look) for chunk in found[:at])
    (loss,) = [chunk for chunk in found[:at] if isinstance(chunk, Loss)]
    assert loss.lost == {0: 70}, "what waited is accounted for before the other mode begins"
    assert kernel.history == ["+events", "+paths", "-events", "-paths"] and not kernel.attached
    assert isinstance(found[-1], Footer) and found[-1].reason == "enough"


def test_it_stays_where_it_is_told_to(kernel: Kernel) -> None:
    kernel.losing = 500
    found = played(started(kernel), lambda found: len(found) > 100)
    assert not switches(found) and kernel.history == ["+events", "-events"]


def test_what_cannot_be_loaded_is_said_and_tried_once(kernel: Kernel) -> None:
    kernel.losing, kernel.refuses = 500, PATHS
    found = played(started(kernel, auto=True), lambda found: len(found) > 300)
    going, refused = switches(found)
    assert "Going over" in going.words
    assert refused.mode == EVENTS and refused.header is None
    assert refused.words == "Paths cannot be counted, so this goes on as it was: the verifier is not amused"
    assert kernel.history == ["+events", "-events"] and isinstance(found[-1], Footer)


def test_a_calm_while_leads_back(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpath.capture.overload.WAIT", 0.02)
    running = started(kernel, PATHS, auto=True)
    running._calm._wait = 0.01
    found = played(running, lambda found: any(isinstance(chunk, np.ndarray) for chunk in found))
    there = [s for s in switches(found) if s.header]
    assert [s.mode for s in there] == [PATHS, EVENTS]
    assert "fewer than 200 packets a second" in there[1].words
    assert kernel.history == ["+paths", "+events", "-paths", "-events"]


def test_the_user_goes_to_and_fro_and_then_nothing_else_does(kernel: Kernel) -> None:
    kernel.losing = 500
    running = started(kernel, auto=True)
    asked: list[str] = []

    def end(found: list[Any]) -> bool:
        there = [s.mode for s in switches(found) if s.header]
        if not asked or (len(asked) == 1 and there == [PATHS]):
            asked.append(running.go())
        return len(there) == 2 and len(found) > 200

    found = played(running, end)
    assert asked == ["Going over to counting paths …", "Going back to events …"]
    assert [s.mode for s in switches(found) if s.header] == [PATHS, EVENTS], "though events are lost again"
    assert "because you asked for it" in switches(found)[-1].words
    assert running.hits() == 20, "of both captures of events"
    assert not kernel.attached


def test_a_fixed_mode_is_explained(kernel: Kernel) -> None:
    kernel.losing = 500
    running = started(kernel, auto=True, fixed="With --prometheus it stays.")
    assert running.go() == "With --prometheus it stays."
    assert not switches(played(running, lambda found: len(found) > 100))


def test_nothing_is_left_attached_when_it_ends_in_between(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Session.start

    def start(self: Session) -> None:
        time.sleep(0.2)
        slow(self)

    kernel.losing = 500
    running = started(kernel, auto=True)
    monkeypatch.setattr(Session, "start", start)
    played(running, lambda found: bool(switches(found)))
    assert "+paths" in kernel.history and not kernel.attached


def test_the_governor_ends_it(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["", "", "it took 90.0% of the machine"])
    monkeypatch.setattr(Governor, "tick", lambda _self: next(answers))
    found: list[Any] = list(started(kernel, PATHS).chunks(lambda: ""))
    assert isinstance(found[-1], Footer) and found[-1].reason == "it took 90.0% of the machine"
    assert isinstance(found[-2], Look), "the last counts are told"
    assert not kernel.attached


def test_many_events_come_a_few_at_a_time() -> None:
    events = np.zeros(3 * modes.PIECE + 1, EVENT)
    chunks: list[Any] = [events, Footer("", 0)]
    found: list[Any] = list(modes._pieces(chunks))
    assert [len(piece) for piece, _ in found[:-1]] == [modes.PIECE] * 3 + [1]
    assert len(found[0][1]) == 2 * modes.PIECE + 1 and isinstance(found[-1][0], Footer)
