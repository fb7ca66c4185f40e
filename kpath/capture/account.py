"""What a capture hands over and loses: events, what was lost between two looks, and the totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from kpath.capture.records import Events

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class LossReport:
    """What was lost between two times (ns, CLOCK_MONOTONIC).

    ``lost`` counts events by CPU that did not fit into the buffer; ``missed`` counts hits by function for which no
    handler ran; ``tables`` counts packets and stacks, by CPU, that found the kernel side's tables full.
    """

    begin: int
    end: int
    lost: dict[int, int]
    missed: dict[str, int]
    tables: dict[int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order of time, and what was lost since the batch before (None if nothing)."""

    events: Events
    loss: LossReport | None


@dataclass(frozen=True, slots=True)
class Totals:
    """The account of a whole capture; ``sent`` is what the kernel side wanted to send: received + lost.

    ``left_out`` counts packets that are not followed because only one in so many is (``Session.follow``), or the buffer
    was filling.
    """

    sent: dict[int, int]
    lost: dict[int, int]
    received: int
    missed: dict[str, int]
    hits: int
    tables: dict[int, int]
    left_out: int = 0


def grown(now: Mapping[Key, int], before: Mapping[Key, int]) -> dict[Key, int]:
    """What was added to each number that has become larger."""
    return {k: n - before.get(k, 0) for k, n in now.items() if n > before.get(k, 0)}
