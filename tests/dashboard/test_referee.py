"""The model's judgements as the view's opinions, on recordings of real kernels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kpath.capture.tables import Loss, Symbols
from kpath.dashboard.coverage import chart, shares
from kpath.dashboard.recording import Recording
from kpath.dashboard.referee import NEWEST_FIRST, referee
from kpath.dashboard.snapshot import Snapshot
from kpath.flow import Lineage, load
from kpath.model.view import CaptureView
from tests.dashboard.stage import capture


def judged(name: str, *more: object) -> Snapshot:
    """A recording as the view shows it at its end."""
    reader = capture(name)
    feed = Recording([*more, *reader], referee(reader.header.probes))
    feed.load()
    feed.show(feed.length)
    snapshot = feed.latest()
    assert snapshot is not None
    return snapshot


def test_a_conforming_recording_has_verdicts_citations_and_no_divergence() -> None:
    snapshot = judged("esp-tunnel")
    assert set(snapshot.verdicts) == set(NEWEST_FIRST)
    assert snapshot.verdicts["linux-6"] == {"conforms": snapshot.passes}
    assert not [row for row in snapshot.findings if row.divergence]
    forward = next(row for row in snapshot.paths if "forward → ESP tunnel" in row.words)
    one = next(p for p in forward.examples[-1].passes if p.key == forward.key)
    opinion = next(o for o in one.opinions if o.document == "linux-2.6.21.1")
    cited = {step.function: opinion.cites.get(step.index) for step in one.steps}
    assert cited["ip_forward"] == ":30" and not cited["process_backlog"]
    assert opinion.evolutions, "what became of old functions is always said"


def test_a_loss_makes_it_inconclusive() -> None:
    whole = Loss(0, (1 << 63) - 1, dict.fromkeys(range(4), 1))
    snapshot = judged("ping", whole)
    assert snapshot.verdicts["linux-6"] == {"inconclusive": snapshot.passes}
    assert not [row for row in snapshot.findings if row.divergence]
    assert "4 events were lost on CPU 0, 1, 2, 3" in snapshot.recent[0].passes[0].opinions[0].reasons


def test_a_path_that_no_document_draws_is_pointed_at() -> None:
    reader = capture("udp-open")
    chunks = list(reader)
    for number, chunk in enumerate(chunks):
        if isinstance(chunk, np.ndarray):
            # The pointer says that the packet is forwarded, and it is delivered all the same.
            chunk = chunk.copy()
            symbols = _functions(chunks)
            chunk["dst_input"][chunk["dst_input"] == symbols["ip_local_deliver"]] = symbols["ip_forward"]
            chunks[number] = chunk
    feed = Recording(chunks, referee(reader.header.probes))
    feed.load()
    feed.show(feed.length)
    snapshot = feed.latest()
    assert snapshot is not None
    wrong = [row for row in snapshot.findings if row.divergence and row.document == "linux-6"]
    assert wrong and snapshot.verdicts["linux-6"]["diverges"] == 1
    finding = wrong[0].finding
    steps = {step.index: step.function for one in wrong[0].example.passes for step in one.steps}
    assert finding.frame is not None and steps[finding.frame] in finding.title
    assert any("expected" in line for line in finding.lines)


def _functions(chunks: Iterable[object]) -> dict[str, int]:
    return {s.name: ip for c in chunks if isinstance(c, Symbols) for ip, s in c.symbols.items() if not s.offset}


def test_coverage_by_the_model_counts_steps_that_were_taken() -> None:
    reader = capture("ping")
    snapshot = judged("ping")
    document = load("linux-2.6.21.1")
    places = chart(document, Lineage.load(), CaptureView(reader.header.probes))
    by_model = shares(places, snapshot.functions, snapshot.witnessed[document.name])
    by_name = shares(places, snapshot.functions, None)
    assert 0 < by_model[""].seen <= by_name[""].seen < by_name[""].of
    proved = shares(places, snapshot.functions, snapshot.witnessed[document.name], snapshot.passed[document.name])
    assert by_model[""].seen < proved[""].seen < proved[""].of, "a step without a frame that the path leads through"
    nothing = shares(places, {}, {})
    assert nothing[""].seen == 0 and replace(nothing[""], seen=nothing[""].of).share == 1.0
