"""The table of counted paths: words, counts, how long packets took, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from kpath.model.verdict import Judgement, Verdict
from kpath.report.verdicts import MARKS, as_json
from kpath.report.words import printable

_ORDER = (Verdict.DIVERGES, Verdict.INCONCLUSIVE, Verdict.PARTIAL, Verdict.CONFORMS, Verdict.NOT_COVERED)


@dataclass(frozen=True, slots=True)
class Row:
    """One path. ``passes`` are in words; times in ns; ``rate`` packets a second."""

    path: int
    passes: Sequence[str]
    count: int
    rate: float
    p50: int
    p99: int
    judgements: Sequence[Sequence[Judgement]]
    """For each pass what each document says."""
    remark: str = ""

    def verdict(self, document: str) -> Verdict:
        """The worst of a document over all passes."""
        found = {j.verdict for one in self.judgements for j in one if j.document == document}
        return next((v for v in _ORDER if v in found), Verdict.NOT_COVERED)


def quantile(buckets: Any, share: float) -> int:
    """ns: the upper bound of the bucket in which this share of the packets is reached; 0 if there are none.

    Buckets as ``bucket_of`` in bpf/paths.bpf.c: two for each doubling, so a value is right within a half.
    """
    total = int(buckets.sum())
    if not total:
        return 0
    at = int(np.searchsorted(np.cumsum(buckets), share * total))
    log, half = divmod(at, 2)
    return (1 << log) + (1 + half) * (1 << log) // 2


def table(rows: Iterable[Row], documents: Sequence[str], width: int | None = None) -> Table:
    """For a terminal; the commonest path first."""
    shown = Table(box=None, pad_edge=False, width=width)
    for name, justify in (("packets", "right"), ("/s", "right"), ("p50", "right"), ("p99", "right")):
        shown.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for document in documents:
        shown.add_column(document.removeprefix("linux-"), justify="center", no_wrap=True)
    shown.add_column("path", overflow="fold", ratio=1)
    for row in sorted(rows, key=lambda row: -row.count):
        cells = [f"{row.count:,}", f"{row.rate:,.0f}", duration(row.p50), duration(row.p99)]
        words = Text(printable("  ⇒  ".join(row.passes)) or "(not seen yet)")
        if row.remark:
            words.append(f"  {row.remark}", style="yellow")
        shown.add_row(*cells, *(_mark(row, document) for document in documents), words)
    return shown


def _mark(row: Row, document: str) -> Text:
    mark, style = MARKS[row.verdict(document)]
    return Text(mark if row.judgements else " ", style=style)


def duration(ns: int) -> str:
    """``850ns``, ``12µs``, ``3.4ms``, ``1.2s``."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns >= size:
            return f"{ns / size:.{1 if ns < 10 * size else 0}f}{unit}"
    return f"{ns}ns"


def json_of(row: Row) -> Mapping[str, object]:
    """One object a path, for --json."""
    return {
        "path": f"{row.path:016x}",
        "passes": [
            {"words": words, "verdicts": as_json(judged)}
            for words, judged in zip(row.passes, row.judgements or [()] * len(row.passes), strict=False)
        ],
        "packets": row.count,
        "p50_ns": row.p50,
        "p99_ns": row.p99,
        "remark": row.remark,
    }
