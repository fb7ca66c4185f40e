"""How a scenario is declared, and how it is played (docs/lab.md).

A scenario is a generator: what stands before its first ``yield`` prepares, what stands between the two is its traffic
and is what is captured, and what follows tidies up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from kpath.lab.errors import TrafficError
from kpath.lab.needs import Need
from kpath.lab.netns import Netns

Steps = Generator[None, None, None]

PREFIX = "kp"
"""The lab's namespaces begin with it and a hyphen."""


class Network(Protocol):
    """Namespaces that are wired together."""

    @property
    def all(self) -> tuple[Netns, ...]:
        """Its namespaces."""


N = TypeVar("N", bound=Network)


@dataclass(frozen=True, slots=True)
class Topology(Generic[N]):
    """A kind of network. Calling it gives one, as a context that takes it down; ``prefix`` begins its names."""

    name: str
    title: str
    make: Callable[[str], AbstractContextManager[N]]
    roles: tuple[str, ...]
    """Its namespaces, without prefix."""
    needs: tuple[Need, ...] = ()

    def __call__(self, prefix: str = PREFIX) -> AbstractContextManager[N]:
        return self.make(prefix)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that packets do.

    ``exercises``: by document, the functions and flows of it that this traffic must go through. ``busy``: so much at
    once that no two runs are alike; such a scenario is not recorded. ``fresh``: others leave behind in the namespaces
    what no command takes away and would be in the way, so they are made anew before.
    """

    name: str
    theme: str
    topology: Topology[Any]
    steps: Callable[[Any], Steps]
    needs: tuple[Need, ...] = ()
    exercises: Mapping[str, Sequence[str]] = field(default_factory=dict)
    busy: bool = False
    fresh: bool = False

    @property
    def title(self) -> str:
        """What it is, in a line."""
        return (self.steps.__doc__ or "").strip().partition("\n")[0]

    @property
    def all_needs(self) -> tuple[Need, ...]:
        """Its own, and its network's."""
        return (*self.topology.needs, *self.needs)

    def missing(self) -> str:
        """What it needs and this machine has not, in words; empty when it can be played."""
        return ", ".join(need.text for need in self.all_needs if not need.met())

    def possible(self) -> bool:
        """Is nothing missing?"""
        return not self.missing()


SCENARIOS: dict[str, Scenario] = {}
"""All that were declared; ``kpath.lab.scenarios`` sees to it that all are."""


def scenario(
    name: str,
    topology: Topology[N],
    *,
    needs: tuple[Need, ...] = (),
    exercises: Mapping[str, Sequence[str]] | None = None,
    busy: bool = False,
    fresh: bool = False,
) -> Callable[[Callable[[N], Steps]], Scenario]:
    """Declares a scenario; its theme is the module that it stands in, its title its docstring's first line."""

    def register(steps: Callable[[N], Steps]) -> Scenario:
        if name in SCENARIOS:
            raise ValueError(f"there are two scenarios {name!r}")
        theme = steps.__module__.rpartition(".")[2]
        made = SCENARIOS[name] = Scenario(name, theme, topology, steps, needs, exercises or {}, busy, fresh)
        return made

    return register


class Lab:
    """The networks that scenarios use; each is made when the first one asks for it."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._stack = contextlib.ExitStack()
        self._made: dict[str, Network] = {}

    def close(self) -> None:
        """Take the networks down; the next scenario finds new ones."""
        self._made.clear()
        self._stack.close()

    def network(self, topology: Topology[N]) -> N:
        """The network of this kind."""
        if topology.name not in self._made:
            self._made[topology.name] = self._stack.enter_context(topology(self._prefix))
        return self._made[topology.name]  # type: ignore[return-value]

    def inodes(self) -> set[int]:
        """The namespaces that there are now, as events name them."""
        return {netns.inode for network in self._made.values() for netns in network.all}


def play(which: Scenario, lab: Lab, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Prepare, ``begin()``, the traffic, ``end()``, tidy up. After a failure the lab begins anew."""
    steps: Steps | None = None
    if which.fresh:
        lab.close()
    try:
        steps = which.steps(lab.network(which.topology))
        next(steps)
        begin()
        next(steps)
        settle()
        end()
        next(steps, None)
    except BaseException:
        if steps is not None:
            steps.close()
        lab.close()
        raise


def settle(seconds: float = 0.15) -> None:
    """Wait for what is under way: softirqs, delayed ACKs, RCU."""
    time.sleep(seconds)


def expect(what: bool, why: str) -> None:
    """The traffic must have done what it is meant to do. Raises TrafficError."""
    if not what:
        raise TrafficError(why)
