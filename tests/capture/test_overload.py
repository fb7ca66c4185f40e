"""When events are given up for counted paths, and when they come back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kpath.capture.overload import CALM, LATE, LONGEST_WAIT, PATIENCE, WAIT, Calm, Overload


def said(*seconds: tuple[int, float], budget: float | None = None, shares: Sequence[float] = ()) -> list[str]:
    """What the rules say in each second, given (events lost so far, seconds late)."""
    rules = Overload(budget)
    measured = shares or [0.0] * len(seconds)
    return [
        rules.tell(float(n), lost, lag, share if shares else None, float(n))
        for n, ((lost, lag), share) in enumerate(zip(seconds, measured, strict=True))
    ]


def test_events_lost_in_each_of_some_seconds_are_too_many() -> None:
    answers = said((0, 0.0), (10, 0.0), (30, 0.0), (1030, 0.0))
    assert answers[:-1] == ["", "", ""]
    assert answers[-1] == f"1,030 events were lost within {PATIENCE} s"


def test_a_burst_is_not() -> None:
    assert not any(said((0, 0.0), (5000, 0.0), (9000, 0.0), (9000, 0.0), (9000, 0.0), (9500, 0.0), (9500, 0.0)))


def test_a_reader_that_falls_behind_is_overloaded_and_one_that_catches_up_is_not() -> None:
    late = LATE + 1
    answers = said((0, late), (0, late + 1), (0, late + 2), (0, late + 3))
    assert answers[-1] == "the events came 9 s late, and ever later"
    assert not any(said((0, late + 9), (0, late + 6), (0, late + 4), (0, late + 2)))
    assert not any(said((0, 1.0), (0, 2.0), (0, 3.0), (0, 4.0)))


def test_a_budget_holds_for_events_too() -> None:
    calm = [(0, 0.0)] * 5
    assert said(*calm, budget=0.02, shares=(0.5, 0.5, 0.5, 0.5, 0.5))[3].startswith("events took 50.0% of the machine")
    assert not any(said(*calm, budget=0.02, shares=(0.5, 0.5, 0.01, 0.5, 0.5)))


def test_one_measurement_counts_once() -> None:
    rules = Overload(0.02)
    assert not any(rules.tell(float(n), 0, 0.0, 0.5, 7.0) for n in range(20))


def test_it_is_asked_once_a_second() -> None:
    rules = Overload()
    assert rules.due(5.0)
    rules.tell(5.0, 0, 0.0)
    assert not rules.due(5.9) and rules.due(6.0)


def returned(calm: Calm, begin: float, rates: Sequence[float]) -> float | None:
    """After how many seconds events are read again, with so many packets in each second."""
    calm.begin(begin)
    packets = 0.0
    for second, rate in enumerate(rates, start=1):
        packets += rate
        if calm.tell(begin + second, int(packets)):
            return second
    return None


def test_events_come_back_after_a_calm_while() -> None:
    assert returned(Calm(), 0.0, [5.0] * 100) == pytest.approx(WAIT + 1)
    assert returned(Calm(), 0.0, [CALM + 1] * 100) is None


def test_one_busy_second_begins_the_while_anew() -> None:
    rates = [5.0] * 50 + [CALM * 10] + [5.0] * 100
    assert returned(Calm(), 0.0, rates) == pytest.approx(51 + WAIT + 1)


def test_who_came_back_too_early_waits_twice_as_long() -> None:
    calm = Calm()
    assert returned(calm, 0.0, [0.0] * 100) == pytest.approx(WAIT + 1)
    assert returned(calm, 1000.0, [0.0] * 100) is None
    for _ in range(20):
        calm.begin(0.0)
    assert calm.wait == LONGEST_WAIT
