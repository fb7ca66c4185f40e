"""Every evolution that is shown cites a commit, a release, or what a compiler made of it in a kernel that is named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kpath.capture.file import CaptureReader
from kpath.capture.tables import Header
from kpath.flow import BUILT_IN, Lineage, load
from kpath.flow.citation import TREES, Basis
from kpath.model.check import Checker
from kpath.model.scope import Reason, Scope, Standing
from kpath.model.verdict import Verdict
from kpath.model.view import UNLOADED, build
from tests.model.captures import FILES, named, passes

RELEASE = re.compile("|".join(rf"\b{re.escape(tree)}\b" for tree in TREES))
COMMIT = re.compile(r'[0-9a-f]{11,12} ".+", v\d+\.\d+(\.\d+)?(-rc\d)?')


def header_of(file: Path) -> Header:
    with CaptureReader(file) as reader:
        return reader.header


def evolutions(file: Path) -> set[tuple[str, str, Reason]]:
    """Document, function, reason: all that a replay of the recording shows."""
    checker = Checker.for_capture(header_of(file), BUILT_IN)
    return {
        (judgement.document, function, reason)
        for one in passes(file)
        for judgement in checker.judge_tree(one.tree, explain=False)
        for function, reason in judgement.evolutions
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_evolution_is_cited(file: Path) -> None:
    header = header_of(file)
    for document, function, reason in evolutions(file):
        assert reason.text and reason.citations, (document, function)
        assert not re.search("verified|seen in mail|from memory|not found", f"{reason.text} {reason.changes}")
        for citation in reason.citations:
            match citation.basis:
                case Basis.COMMIT:
                    assert COMMIT.fullmatch(citation.text), citation
                case Basis.RELEASE:
                    assert RELEASE.search(citation.text), citation
                case Basis.BUILD:
                    assert header.kernel_release in citation.text or "no symbol" in citation.text, citation


@pytest.mark.parametrize("file", named("esp-tunnel"), ids=lambda file: file.parent.name)
def test_a_compilers_doing_is_evidence_from_the_kernel_at_hand(file: Path) -> None:
    header = header_of(file)
    assert header.kernel_build in build(header)
    cited = {
        str(citation)
        for _, function, reason in evolutions(file)
        if function == "xfrm4_fill_dst"
        for citation in reason.citations
        if citation.basis is Basis.BUILD and build(header) in citation.text
    }
    # 5.10 has the function itself; the compilers of the later ones made it a part of its caller
    if file.parent.name == "5.10":
        assert cited == {f"{build(header)}: xfrm4_fill_dst is called from xfrm_bundle_create"}
    else:
        assert cited == {
            f"{build(header)}: no symbol xfrm_bundle_create",
            f"{build(header)}: xfrm4_fill_dst is called from xfrm_resolve_and_create_bundle",
        }


def test_every_evolution_that_could_be_shown_is_cited() -> None:
    lineage = Lineage.load()
    for name in BUILT_IN:
        document = load(name)
        scope = Scope(document, lineage)
        for function in set(lineage.entries) - set(document.functions()):  # those are steps, and never shown
            reason = scope.of(function)
            if reason.standing is Standing.EVOLUTION:
                assert reason.citations, (name, function, reason)


def test_a_function_of_a_module_that_was_loaded_later_is_no_evolution() -> None:
    """The plan of the header says that it is not there, and then it is."""
    file = named("udp-open")[0]
    late = tuple(
        replace(probe, program="", state=UNLOADED) if probe.name == "veth_xmit" else probe
        for probe in header_of(file).probes
    )
    checker = Checker.for_stream(late, ["linux-6"])
    judgements = [judgement for one in passes(file) for judgement in checker.judge_tree(one.tree)]
    assert any(frame.name == "veth_xmit" for one in passes(file) for frame in one.tree.walk())
    assert all(judgement.verdict is Verdict.CONFORMS for judgement in judgements)
    assert not any(function == "veth_xmit" for judgement in judgements for function, _ in judgement.evolutions)
