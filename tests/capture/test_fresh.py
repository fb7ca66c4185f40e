"""What is asked of every event: is it new, does it differ from the one before, is it in order?"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kpath.capture.fresh import Fresh, pairs, runs
from kpath.capture.records import by_time, merged
from kpath.capture.schema import EVENT

FEW = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40)


def columns(rows: list[tuple[int, int]]) -> list[np.typing.NDArray[np.uint64]]:
    return [np.array([row[at] for row in rows], np.uint64) for at in (0, 1)]


@given(FEW)
def test_runs_begin_where_a_column_changes(rows: list[tuple[int, int]]) -> None:
    changes = [i for i, row in enumerate(rows) if not i or row != rows[i - 1]]
    assert runs(*columns(rows)).tolist() == changes


@given(st.lists(FEW, max_size=4))
def test_rows_are_the_first_of_each_new_number(batches: list[list[tuple[int, int]]]) -> None:
    fresh, seen = Fresh(), set[int]()
    for rows in batches:
        values = [a * 4 + b for a, b in rows]
        expected = [i for i, value in enumerate(values) if value and value not in seen and value not in values[:i]]
        assert fresh.rows(np.array(values, np.uint64)) == expected
        seen.update(values)


@given(FEW)
def test_pairs_tell_rows_apart(rows: list[tuple[int, int]]) -> None:
    one, other = columns(rows)
    high = np.uint64(0xFFFFFFFF_81000000)
    numbers = pairs(one + high, other + high, np.array([a % 3 for a, _ in rows], np.uint8))
    assert len(set(numbers.tolist())) == len(set(rows))


@given(FEW, st.integers(0, 40))
def test_events_come_in_the_order_of_time_then_of_their_numbers(rows: list[tuple[int, int]], cut: int) -> None:
    events = np.zeros(len(rows), EVENT)
    events["time"], events["seq"] = columns(rows)
    events["mark"] = np.arange(len(rows))
    for found in (by_time(events), merged([events[:cut], events[cut:]])):
        assert [(int(e["time"]), int(e["seq"])) for e in found] == sorted(rows)
        assert sorted(found["mark"].tolist()) == list(range(len(rows)))
