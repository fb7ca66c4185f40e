"""What is said of a kernel's history rests on something that was read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kpath.flow import Became, Lineage
from kpath.flow.citation import TREES, Basis, builds, of_builds, of_sources
from kpath.flow.resolve import variants
from tests.kernel.frozen_kernels import SERIES, kernel

LOOKED_UP = frozenset((Path(__file__).parents[1] / "kernel" / "names.txt").read_text("utf-8").split())
"""What a frozen kernel's symbols were asked for."""


def text_of_build(series: str) -> str:
    frozen = kernel(series)
    return f"{frozen.release} ({frozen.build})"


@pytest.mark.parametrize("series", SERIES)
def test_no_symbol_is_said_to_be_missing_that_a_kernel_has(series: str) -> None:
    has = {line.split()[2] for line in kernel(series).kallsyms.splitlines() if len(line.split()) > 2}
    missing = builds()[text_of_build(series)]
    entries = Lineage.load().entries
    for name in missing:
        assert name in LOOKED_UP and entries[name].became is Became.INLINED, name
        assert not any(variant in has for variant in variants(name)), name


def test_inlined_functions_without_a_symbol_are_said_to_be_missing() -> None:
    assert {"xfrm_bundle_create", "deliver_skb"} <= builds()[text_of_build("6.1")]
    assert "xfrm_bundle_create" not in builds()[text_of_build("5.10")]
    assert "deliver_skb" not in builds()[text_of_build("7.3")]


def test_the_build_at_hand_is_the_better_evidence() -> None:
    entry = Lineage.load().of("xfrm_bundle_create")
    (here,) = of_builds(entry, text_of_build("6.1"))
    assert here.basis is Basis.BUILD
    assert str(here) == f"{text_of_build('6.1')}: no symbol xfrm_bundle_create"
    (elsewhere,) = of_builds(entry, "5.15.0 (somebody's own)")
    assert kernel("6.1").release in str(elsewhere) and "5.15" not in str(elsewhere)
    assert not of_builds(Lineage.load().of("ip_forward"), text_of_build("6.1"))


def test_releases_bound_a_change_from_both_sides() -> None:
    lineage = Lineage.load()
    (bound,) = of_sources(lineage.of("ip_make_skb"))
    assert str(bound) == "ip_make_skb: absent in 2.6.32, global in 3.10 (their sources)"
    (always,) = of_sources(lineage.of("packet_rcv"))
    assert str(always) == "packet_rcv: static in the source of 2.6.21 already"
    assert not of_sources(lineage.of("veth_poll")), "it was not looked up in those sources"


def test_trees_are_releases_in_their_order() -> None:
    for entry in Lineage.load().entries.values():
        places = [TREES.index(tree.split()[0]) for tree in entry.trees]
        assert places == sorted(set(places)) and all(" " in tree for tree in entry.trees), entry.name


def test_commits_are_hash_subject_and_release() -> None:
    lineage = Lineage.load()
    commits = {commit for entry in lineage.entries.values() for commit in entry.changes}
    commits |= {commit for arrow in lineage.arrows.values() for commit in arrow.changes}
    for commit in commits:
        assert re.fullmatch(r"[0-9a-f]{11,12}", commit.hash)
        assert re.fullmatch(r"v\d+\.\d+(\.\d+)?(-rc\d)?", commit.release)
        assert commit.subject and "not seen" not in commit.subject


def test_nothing_is_told_with_doubts() -> None:
    lineage = Lineage.load()
    for entry in lineage.entries.values():
        assert not re.search("verified|from memory|not found", entry.story), entry.name
    for arrow in lineage.arrows.values():
        assert not re.search("verified|from memory|not found", f"{arrow.why} {arrow.evidence}"), arrow
