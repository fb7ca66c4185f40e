"""Order: whatever way events arrive within the window, they come out in the order of time, all of them, once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from kpath.capture.schema import EVENT
from kpath.trace.arrays.glance import Glance
from kpath.trace.order import WINDOW_NS, Order


def rows(times: list[int], cpu: int = 0, seq: int = 0) -> npt.NDArray[np.void]:
    array = np.zeros(len(times), EVENT)
    array["time"], array["cpu"] = times, cpu
    array["seq"] = range(seq, seq + len(times))
    return array


@given(st.lists(st.lists(st.integers(0, WINDOW_NS - 1), min_size=1, max_size=5), min_size=1, max_size=20))
def test_sorted_complete_and_once(batches: list[list[int]]) -> None:
    """Each batch begins when the one before may still have latecomers, at most a window away."""
    order, out, seq = Order(), [], 0
    for number, offsets in enumerate(batches):
        ready, gaps = order.push(rows([number * 10 + t for t in offsets], seq=seq))
        seq += len(offsets)
        assert not gaps
        out.append(ready)
    out.append(order.flush())
    times = np.concatenate(out)["time"].tolist()
    assert times == sorted(number * 10 + t for number, offsets in enumerate(batches) for t in offsets)


def test_what_comes_in_order_is_not_copied() -> None:
    order = Order()
    order.parts(rows([100, 200]))
    events = rows([WINDOW_NS + 300, 3 * WINDOW_NS], seq=2)
    (before, first), _ = order.parts(events)
    assert before["time"].tolist() == [100, 200] and first["time"].tolist() == [WINDOW_NS + 300]
    assert np.shares_memory(first, events)
    (rest,), _ = order.parts(rows([2 * WINDOW_NS + 400], seq=4))
    assert not len(rest), "what is late is put in its place, and waits with what it overtook"
    assert order.flush()["time"].tolist() == [2 * WINDOW_NS + 400, 3 * WINDOW_NS]


def test_gap_in_the_numbers_of_a_cpu_is_found() -> None:
    order = Order()
    order.push(rows([100, 200]))
    _, gaps = order.push(rows([500, 600], seq=5))
    (gap,) = gaps
    assert (gap.start, gap.end, dict(gap.lost)) == (200, 500, {0: 3})


def test_what_was_kept_back_leaves_no_gap() -> None:
    """It is older than what was sent before it, and so stands before that in a chunk that is in the order of time."""
    order = Order()
    order.push(rows([100, 200]))
    kept_back = rows([300, 310, 320, 400, 900, 910])
    kept_back["seq"] = [4, 5, 6, 2, 3, 7]
    assert order.push(kept_back)[1] == []
    (gap,) = order.push(rows([1000], seq=9))[1]
    assert (gap.start, gap.end, dict(gap.lost)) == (910, 1000, {0: 1})


def test_cpus_are_counted_apart() -> None:
    order = Order()
    both = np.concatenate([rows([1, 2], cpu=0), rows([1, 2], cpu=1)], dtype=EVENT)
    assert order.push(both)[1] == []


def test_clock_releases_what_waits() -> None:
    order = Order()
    ready, _ = order.push(rows([1000]))
    assert not len(ready)
    assert len(order.tick(1000 + WINDOW_NS)) == 1
    assert not len(order.flush())


@st.composite
def chunks(draw: st.DrawFn) -> list[npt.NDArray[np.void]]:
    """Of several CPUs: mostly in order and whole, but now and then late, or with a number missing."""
    found, time, seqs = [], 1000, {0: 0, 1: 0, 3000: 0}
    for _ in range(draw(st.integers(1, 6))):
        part = np.zeros(draw(st.integers(1, 6)), EVENT)
        for event in part:
            cpu = draw(st.sampled_from([0, 0, 0, 1, 1, 3000]))
            time += draw(st.sampled_from([0, 1, 1, 5, WINDOW_NS, -3]))
            seqs[cpu] += draw(st.sampled_from([1, 1, 1, 1, 1, 1, 2]))
            event["time"], event["cpu"], event["seq"] = time, cpu, seqs[cpu]
        found.append(part)
    return found


@given(chunks())
def test_a_glance_changes_nothing(stream: list[npt.NDArray[np.void]]) -> None:
    plain, quick = Order(), Order(glance=Glance())
    for part in stream:
        (expected, gaps), (ready, found) = plain.push(part), quick.push(part)
        assert ready.tolist() == expected.tolist() and found == gaps
    assert quick.flush().tolist() == plain.flush().tolist()


def test_a_glance_sees_what_is_smooth() -> None:
    last: dict[int, tuple[int, int]] = {1: (6, 50)}
    glance = Glance()
    assert glance(rows([100, 200], cpu=1, seq=7), last) and last == {1: (8, 200)}
    assert not glance(rows([300, 290], cpu=1, seq=9), last) and last == {1: (8, 200)}
    assert not glance(rows([300, 400], cpu=1, seq=10), last) and last == {1: (8, 200)}
