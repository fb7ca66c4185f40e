"""The budget is held by following fewer packets, and given up only when that does not help."""

from __future__ import annotations

from kpath.capture.governor import LEAST, LIMIT, PATIENCE, Governor
from kpath.capture.runtime import RunTime


class Machine:
    """A machine whose programs take a share of one CPU that depends on how many packets are followed."""

    def __init__(self, load: float, floor: float = 0.0) -> None:
        self.load, self.floor = load, floor
        self.now = 0.0
        self.asked: list[int] = []
        self.runtime = RunTime(lambda: ())
        self.runtime.tick = lambda: None  # type: ignore[method-assign]
        self.governor = Governor(0.02, self.runtime, self.sample, lambda: self.now, lambda: 0.0, cpus=1)

    def sample(self, one_in: int) -> None:
        self.asked.append(one_in)

    def second(self) -> str:
        self.now += 1.0
        self.runtime.seconds += 1.0
        self.runtime.nanoseconds += int(1e9 * (self.floor + self.load / self.governor.one_in))
        return self.governor.tick()


def test_within_the_budget_every_packet_is_followed() -> None:
    machine = Machine(0.01)
    assert [machine.second() for _ in range(10)] == [""] * 10
    assert machine.asked == [] and machine.governor.one_in == 1


def test_above_it_fewer_are_followed_until_it_holds() -> None:
    machine = Machine(0.5)
    for _ in range(5):
        assert machine.second() == ""
    assert machine.governor.share is not None and machine.governor.share <= 0.02
    assert machine.asked[0] == 32 == machine.governor.one_in


def test_when_the_load_is_gone_all_are_followed_again() -> None:
    machine = Machine(0.5)
    machine.second()
    machine.load = 0.001
    for _ in range(10):
        machine.second()
    assert machine.governor.one_in == 1
    assert machine.asked == [32, 16, 8, 4, 2, 1]


def test_it_ends_only_when_following_fewer_does_not_help() -> None:
    machine = Machine(1.0, floor=0.02 * (LIMIT + 1))
    said = [machine.second() for _ in range(20)]
    first = next(i for i, why in enumerate(said) if why)
    assert machine.governor.one_in == LEAST
    assert first >= PATIENCE and f"one packet in {LEAST}" in said[first]


def test_a_moment_above_the_limit_is_no_reason() -> None:
    machine = Machine(1.0)
    for _ in range(6):
        machine.second()
    machine.floor = 0.2
    machine.second()
    machine.floor = 0.0
    assert [machine.second() for _ in range(6)] == [""] * 6


def test_without_a_new_measurement_nothing_happens() -> None:
    machine = Machine(0.5)
    assert machine.governor.tick() == "" and machine.governor.share is None and not machine.asked
