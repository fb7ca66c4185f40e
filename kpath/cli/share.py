"""Following only some of the packets, each of them whole: one in so many, or as many as a budget allows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from kpath.capture.governor import Governor
from kpath.capture.runtime import RunTime
from kpath.report import followed

if TYPE_CHECKING:
    from kpath.capture.live import LiveSource

MOST = 1 << 20
"""One packet in so many at least is followed."""

SAMPLE_HELP = (
    "Follow one packet in N, chosen by chance, with all its copies and fragments; the others cost less and are only "
    "counted."
)
OVERHEAD_HELP = (
    "Follow fewer packets, each of them whole, when this takes more than this share of the machine's CPU time, and end "
    "when that does not help."
)


def check(one_in: int | None, max_overhead: float | None) -> None:
    """Raises click.UsageError when both were asked for."""
    if one_in and max_overhead:
        raise click.UsageError("--sample follows one packet in N, --max-overhead as many as it can: choose one.")


class Share:
    """``tick`` it again and again, in the thread that reads the source; ``close`` it at the end."""

    def __init__(self, source: LiveSource, one_in: int = 1, budget: float | None = None) -> None:
        """``budget`` is a share of the machine, 0 to 1."""
        self._source = source
        self._one_in = one_in
        self._runtime = RunTime(source.programs)
        self._governor = Governor(budget, self._runtime, self._follow) if budget else None
        if one_in > 1:
            self._follow(one_in)

    def _follow(self, one_in: int) -> None:
        self._source.follow(one_in, time.monotonic_ns())

    def tick(self) -> str:
        """Time goes on. Returns why to end, "" to go on."""
        return self._governor.tick() if self._governor else ""

    def close(self) -> None:
        """The kernel need not measure any more."""
        self._runtime.close()

    @property
    def words(self) -> str:
        """Which packets are followed, and what that costs; "" when all are and nobody set a budget."""
        if self._governor:
            return self._governor.words
        return f"one packet in {self._one_in:,} followed" if self._one_in > 1 else ""

    @property
    def farewell(self) -> str:
        """The same at the end, with how many were left out; "" when it was none and nobody set a budget."""
        return followed.words(self._source.followed()) or self.words
