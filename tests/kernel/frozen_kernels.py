"""The kernels that were recorded with record.py, by series; the tests are given each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from kpath.kernel.freeze import Frozen

SERIES = sorted(path.stem for path in (Path(__file__).parent / "frozen").glob("*.kernel"))


@cache
def kernel(series: str) -> Frozen:
    return Frozen.load(Path(__file__).parent / "frozen" / f"{series}.kernel")
