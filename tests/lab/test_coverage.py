"""The recorded lab exercises every step that can be seen, but for those in the table of docs/compare.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from kpath.compare.steps import Table
from kpath.flow import BUILT_IN
from kpath.model.check import Checker
from kpath.model.coverage import Coverage, State
from tests.model.captures import FILES, passes, probes

KERNELS = sorted({file.parent.name for file in FILES})
PAGE = Path(__file__).parents[2] / "docs" / "compare.md"
ROW = re.compile(r"`(?:([\w.-]+) )?(\w+): (\w+)`(?: \(([\d., ]+)\))?")
"""A step of the table, ``flow: function`` after the document's name (none: linux-6), and the kernels of which it is
said, where not of all."""


@cache
def tables(kernel: str) -> dict[str, Table]:
    """For each document its steps, added up over all recordings of a kernel."""
    found = {document: Table() for document in BUILT_IN}
    checkers: dict[object, tuple[Checker, list[Coverage]]] = {}
    for file in FILES:
        if file.parent.name != kernel:
            continue
        plan = probes(file)
        if plan not in checkers:
            checker = Checker.for_stream(plan)
            checkers[plan] = (checker, [Coverage(judge) for judge in checker.judges])
        checker, coverages = checkers[plan]
        for one in passes(file):
            for coverage, judgement in zip(coverages, checker.judge_tree(one.tree), strict=True):
                coverage.add(judgement)
    for _, coverages in checkers.values():
        for coverage in coverages:
            found[coverage.document].add(coverage.steps())
    return found


def excepted(kernel: str, document: str) -> set[tuple[str, str]]:
    """What the table says of a kernel: flows of a document and functions in them."""
    text = PAGE.read_text("utf-8").partition("## Steps that the lab does not take")[2].partition("\n## ")[0]
    rows = [found.groups() for line in text.splitlines() if line.startswith("|") for found in ROW.finditer(line)]
    assert rows, "the table is not there"
    return {
        (flow, function)
        for of, flow, function, kernels in rows
        if (of or "linux-6") == document and (not kernels or kernel in kernels.split(", "))
    }


@pytest.mark.parametrize("document", BUILT_IN)
@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_not_exercised_stands_in_the_table(kernel: str, document: str) -> None:
    missing = {(row.flow, row.function) for row in tables(kernel)[document].of(State.NOT_SEEN)}
    told = excepted(kernel, document)
    assert missing - told == set(), "neither exercised nor in the table"
    assert told - missing == set(), "in the table, but exercised, or not to be seen at all"
