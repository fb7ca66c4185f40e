"""What the document lets come next, at each step of a packet that took a known path."""

from __future__ import annotations

from kpath.dashboard import detail
from kpath.dashboard.pipeline import Pipeline
from kpath.dashboard.referee import referee
from tests.dashboard.stage import capture


def test_the_legal_frontier_of_a_forwarded_packet() -> None:
    reader = capture("udp-open")
    pipeline = Pipeline(referee(reader.header.probes, ["linux-6", "linux-2.6.21.1"]))
    journeys = [journey for chunk in reader for journey in pipeline.take(chunk)] + pipeline.flush()
    (packet,) = [p for p in pipeline.packets(journeys) if len(p.passes) == 3]
    forward = packet.passes[1]
    nexts = {
        opinion.document: {step.function: opinion.nexts.get(step.index, ()) for step in forward.steps}
        for opinion in forward.opinions
    }
    assert "ip_forward_finish" in nexts["linux-6"]["ip_forward"], "its hook is empty here, so it may be passed"
    assert "hook FORWARD" in nexts["linux-6"]["ip_forward"]
    assert "ip_forward" in nexts["linux-6"]["ip_rcv"] or "ip_rcv_core" in nexts["linux-6"]["ip_rcv"]
    assert "hook FORWARD" in nexts["linux-2.6.21.1"]["ip_forward"]


def test_each_step_that_came_was_expected() -> None:
    """In a path that conforms the next frame inside a frame is among what was expected there, or was not named."""
    reader = capture("udp-open")
    pipeline = Pipeline(referee(reader.header.probes, ["linux-6"]))
    journeys = [journey for chunk in reader for journey in pipeline.take(chunk)] + pipeline.flush()
    checked = 0
    for packet in pipeline.packets(journeys):
        for one in packet.passes:
            opinion = detail.opinion_of(one, "linux-6")
            assert opinion is not None and opinion.verdict == "conforms"
            for step, after in zip(one.steps, one.steps[1:], strict=False):
                nexts = opinion.nexts.get(step.index, ())
                words = {word for said in nexts for word in said.split(" | ")}
                if after.depth != step.depth + 1 or after.index not in opinion.cites or "…" in words or after.hook:
                    continue
                if step.index in opinion.cites and nexts and nexts != ("return",):
                    assert after.function in words, f"{step.function} -> {after.function}, expected {nexts}"
                    checked += 1
    assert checked > 10


def test_it_is_shown_with_the_step() -> None:
    reader = capture("udp-open")
    pipeline = Pipeline(referee(reader.header.probes, ["linux-6"]))
    journeys = [journey for chunk in reader for journey in pipeline.take(chunk)] + pipeline.flush()
    (packet,) = [p for p in pipeline.packets(journeys) if len(p.passes) == 3]
    place = next(n for n, step in enumerate(packet.passes[1].steps) if step.function == "ip_forward")
    lines = [line.plain for line in detail.inspect(packet, (1, place), "linux-6")]
    (line,) = [line for line in lines if line.startswith("expected next")]
    assert "ip_forward_finish" in line and "linux-6" in line
