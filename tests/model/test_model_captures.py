"""Real kernels conform, and wrong documents do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpath.capture.tables import Loss
from kpath.flow import BUILT_IN, Document, parse
from kpath.flow.library import text_of
from kpath.model.check import Checker
from kpath.model.verdict import Judgement, Verdict
from tests.model.captures import FILES, Pass, named, passes, probes


def judged(file: Path, document: Document | str) -> list[tuple[Pass, Judgement]]:
    checker = Checker.for_stream(probes(file), [document])
    return [(one, checker.judge_tree(one.tree)[0]) for one in passes(file)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_real_paths_do_not_diverge(file: Path) -> None:
    for document in BUILT_IN:
        for one, judgement in judged(file, document):
            assert judgement.verdict is not Verdict.DIVERGES, (document, one.journey, judgement.findings)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_todays_document_covers_every_ipv4_path(file: Path) -> None:
    for one, judgement in judged(file, "linux-6"):
        if not one.traversal.partial:
            assert judgement.verdict is not Verdict.NOT_COVERED, one.journey
            assert judgement.evidence.witnessed, "a verdict needs a frame"


def edited(name: str, old: str, new: str) -> Document:
    text = text_of(f"{name}.flow")
    assert text.count(old) == 1, (old, text.count(old))
    return parse(text.replace(old, new), f"{name}.flow")


def hooks_of(one: Pass) -> set[tuple[int, int]]:
    return {(seen.facts.pf, seen.facts.hook) for seen in one.tree.walk() if seen.name == "nf_hook_slow"}


@pytest.mark.parametrize("scenario", ["nft-accept", "ping", "udp-open", "esp-tunnel", "fragments"])
def test_a_document_without_post_routing_is_refuted_at_that_step(scenario: str) -> None:
    wrong = edited(
        "linux-6",
        "  ip_output\n    => POST_ROUTING when not rerouted\n      -> @ip_finish_output\n",
        "  ip_output\n    -> @ip_finish_output\n",
    )
    for file in named(scenario):
        for one, judgement in judged(file, wrong):
            concerned = any(
                seen.name == "ip_output" and any(c.facts.hook == 4 for c in seen.children) for seen in one.tree.walk()
            )
            assert (judgement.verdict is Verdict.DIVERGES) == concerned, (file, one.journey, judgement.findings)
            if concerned:
                assert judgement.findings[0].step == "hook POST_ROUTING"
                assert "ip_finish_output" in judgement.findings[0].expected


@pytest.mark.parametrize("scenario", ["nft-accept", "nft-drop", "ping"])
def test_a_document_with_forward_before_the_lookup_is_refuted_at_that_step(scenario: str) -> None:
    text = text_of("linux-6.flow")
    text = text.replace("    => PRE_ROUTING\n      -> @ip_rcv_finish\n", "    => FORWARD\n      -> @ip_rcv_finish\n", 1)
    continuation = (
        "      -> ip_forward_finish\n        -> ip_forward_options ? when ip options\n        -> @dst_output\n"
    )
    old = "    => FORWARD\n" + continuation
    assert text.count(old) == 1
    text = text.replace(old, "    => PRE_ROUTING\n" + old.partition("\n")[2])
    wrong = parse(text, "linux-6.flow")
    for file in named(scenario):
        for one, judgement in judged(file, wrong):
            asked = {
                seen.facts.hook
                for around in one.tree.walk()
                if around.name in ("ip_rcv", "ip_forward")
                for seen in around.children
                if seen.name == "nf_hook_slow"
            }
            assert (judgement.verdict is Verdict.DIVERGES) == bool(asked), (file, one.journey, judgement.findings)
            if asked:
                assert judgement.findings[0].step in ("hook PRE_ROUTING", "hook FORWARD")


def test_what_was_lost_makes_a_path_inconclusive_never_divergent() -> None:
    file = named("ping")[0]
    checker = Checker.for_stream(probes(file), ["linux-6"])
    for one in passes(file):
        loss = Loss(0, 1 << 62, {int(frame.event.cpu): 3 for frame in one.traversal.frames})
        (judgement,) = checker.judge(one.traversal, one.assembler.knowledge, [loss])
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert any("events were lost on CPU" in reason for reason in judgement.reasons)


def test_a_path_is_judged_once() -> None:
    file = named("tcp-bulk")[0]
    checker = Checker.for_stream(probes(file), ["linux-6"])
    for _ in range(2):
        for one in passes(file):
            checker.judge_tree(one.tree)
    assert checker.misses <= len(passes(file))
    assert checker.hits >= len(passes(file))


def test_somebodys_own_document_judges_only_what_it_names() -> None:
    document = parse("document mine\n\nflow ip_forward entry\n  ip_forward\n    -> ip_forward_finish\n", "mine.flow")
    for file in named("ping"):
        verdicts = {judgement.verdict for _, judgement in judged(file, document)}
        assert verdicts <= {Verdict.CONFORMS, Verdict.NOT_COVERED, Verdict.PARTIAL}
        assert Verdict.CONFORMS in verdicts
    wrong = parse("document mine\n\nflow ip_forward entry\n  ip_forward\n    -> ip_output\n", "mine.flow")
    for file in named("ping"):
        assert Verdict.DIVERGES in {judgement.verdict for _, judgement in judged(file, wrong)}
