from __future__ import annotations

import pytest

from kpath.kernel.drops import DropReasons
from tests.kernel.frozen_kernels import SERIES, kernel

WITH_REASONS = [series for series in SERIES if series != "5.10"]


@pytest.mark.parametrize("series", WITH_REASONS)
def test_names_and_numbers_are_those_of_the_kernel(series: str) -> None:
    reasons = DropReasons.from_btf(kernel(series).btf)
    for name in ("NO_SOCKET", "NETFILTER_DROP", "IP_RPFILTER", "TCP_CSUM"):
        value = reasons.value(name)
        assert value is not None
        assert reasons.name(value) == name
    assert reasons.name(0) == "NOT_DROPPED_YET"
    assert reasons.name(60000) == "60000"
    assert reasons.value("nonsense") is None


def test_numbers_move_between_releases() -> None:
    old, new = (DropReasons.from_btf(kernel(series).btf) for series in ("6.1", "6.12"))
    assert old.value("NO_SOCKET") != new.value("NO_SOCKET")


def test_a_kernel_without_reasons() -> None:
    reasons = DropReasons.from_btf(kernel("5.10").btf)
    assert not reasons.names
    assert reasons.name(3) == ""


def test_reasons_of_subsystems_have_the_high_bits() -> None:
    reasons = DropReasons({2: "NOT_SPECIFIED", 0x30001: "LAST_ACTION", 0xFFFF0001: "HIGH"})
    assert reasons.name(0x30001) == "LAST_ACTION"
    assert reasons.name(-0xFFFF) == "HIGH"  # read as a signed number
