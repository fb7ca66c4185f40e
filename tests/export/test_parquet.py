"""Parquet: DuckDB reads the tables, they fit together, and they say what the capture says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from kpath.capture.file import read
from kpath.capture.schema import FIELDS
from kpath.capture.tables import Loss
from kpath.report.export import parquet
from kpath.report.export.source import Source
from tests.export.samples import KERNELS, MONOTONIC, capture, hostile


def exported(path: Path, folder: Path) -> duckdb.DuckDBPyConnection:
    with Source(path) as source:
        parquet.write(source, folder)
    base = duckdb.connect()
    for table in parquet.TABLES:
        base.execute(f"create view {table} as select * from '{folder / table}.parquet'")
    return base


def rows(base: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    return base.sql(query).fetchall()


@pytest.mark.parametrize("kernel", KERNELS)
def test_events_are_those_of_the_capture(kernel: str, tmp_path: Path) -> None:
    base = exported(capture("tcp", kernel), tmp_path)
    whole = read(capture("tcp", kernel))
    ordered = whole.events[::]
    names = [f.name for f in FIELDS if f.name != "spare"]
    found = base.sql(f"select {', '.join(names)} from events").fetchnumpy()
    for name in names:
        assert found[name].tolist() == ordered[name].tolist(), name
    function, caller = rows(
        base, "select function, caller_function from events where function = 'ip_rcv_core' limit 1"
    )[0]
    assert (function, caller) == ("ip_rcv_core", "ip_rcv")
    assert rows(base, "select count(*) from events where kind_name = 'ENTRY' and function is null") == [(0,)]
    assert rows(base, "select distinct source from events where source like '10.1.%'") == [("10.1.0.1",)]


def test_tables_fit_together(tmp_path: Path) -> None:
    base = exported(capture("tcp"), tmp_path)
    assert rows(base, "select count(*) from frames anti join events using (cpu, seq)") == [(0,)]
    assert rows(
        base, "select count(*) from frames f join events e using (cpu, seq) where f.function <> e.function"
    ) == [(0,)]
    assert rows(base, "select count(*) from frames anti join traversals using (journey, traversal)") == [(0,)]
    orphans = """
        select count(*) from frames c where parent is not null and not exists (
            select 1 from frames p where p.frame = c.parent and p.journey = c.journey and p.traversal = c.traversal
            and p.depth = c.depth - 1)
    """
    assert rows(base, orphans) == [(0,)]
    assert rows(base, "select count(*), count(distinct journey) from traversals") == [(30, 10)]


def test_a_question_as_a_user_would_ask_it(tmp_path: Path) -> None:
    base = exported(capture("nft-drop"), tmp_path)
    ((netns, reason, place),) = rows(
        base, "select netns_name, end_reason, end_place from traversals where \"end\" = 'dropped'"
    )
    assert (netns, reason) == ("kp-router", "NETFILTER_DROP") and place.startswith("nft_do_chain+0x")
    assert rows(base, "select hook, verdict from frames where verdict = 'drop'") == [("FORWARD", "drop")]
    assert rows(base, "select protocol, destination_port, ttl from traversals order by traversal limit 1") == [
        (17, 9, 64)
    ]


def test_what_is_not_printable_is_not_there(tmp_path: Path) -> None:
    base = exported(hostile(tmp_path / "a.kpath"), tmp_path)
    ((function,),) = rows(base, "select function from events where function like 'fn%'")
    assert "\x1b" not in function and "<script>" in function
    assert rows(base, "select source_port, protocol from traversals") == [(0, 17)]


def test_losses_are_a_table(tmp_path: Path) -> None:
    loss = Loss(MONOTONIC, MONOTONIC + 10_000_000, {1: 3}, {"ip_rcv": 2}, {0: 1})
    base = exported(hostile(tmp_path / "a.kpath", losses=(loss,)), tmp_path)
    assert rows(base, "select what, cpu, function, count from losses order by what") == [
        ("events lost", 1, None, 3), ("probe hits missed", None, "ip_rcv", 2), ("tables full", 0, None, 1),
    ]  # fmt: skip
    hidden = "select count(*) from traversals t semi join losses l on t.begin_ns <= l.end_ns and t.end_ns >= l.start_ns"
    assert rows(base, hidden) == [(1,)]


def test_a_large_capture_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 100)
    base = exported(capture("tcp-bulk"), tmp_path)
    groups = f"select count(distinct row_group_id) from parquet_metadata('{tmp_path / 'frames'}.parquet')"
    assert rows(base, groups)[0][0] > 1
    assert rows(base, "select count(*) from events") == [(len(read(capture("tcp-bulk")).events),)]
