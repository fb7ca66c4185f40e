"""Trace event JSON: it is what the format says, slices nest, arrows join slices, and every packet is there."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kpath.capture.tables import Loss
from kpath.report.export import perfetto
from kpath.report.export.source import Source
from kpath.report.export.spans import Spans
from kpath.trace.frames import Frame
from kpath.trace.traversal import Node
from tests.export.samples import ALL, KERNELS, MONOTONIC, capture, hostile

TIME = {"type": "number", "minimum": 0}
NUMBER = {"type": "integer", "minimum": 0}
TRACK: dict[str, Any] = {"pid": NUMBER, "tid": NUMBER}
NAMED: dict[str, Any] = {"name": {"type": "string", "minLength": 1}, "cat": {"type": "string", "minLength": 1}}
LOCAL: dict[str, Any] = {"type": "object", "required": ["local"], "properties": {"local": {"type": "string"}}}
ARGS: dict[str, Any] = {"args": {"type": "object"}}


def record(phase: str | list[str], required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    kinds = [phase] if isinstance(phase, str) else phase
    properties = {"ph": {"enum": kinds}, **required}
    return {
        "type": "object",
        "properties": properties | (optional or {}),
        "required": list(properties),
        "additionalProperties": False,
    }


# Of the "Trace Event Format": complete, instant, flow, nestable async and metadata events, with the fields that each
# of them must and may have.
SCHEMA = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object", "additionalProperties": {"type": "string"}},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    record("X", NAMED | TRACK | {"ts": TIME, "dur": TIME}, ARGS),
                    record("i", NAMED | TRACK | {"ts": TIME, "s": {"enum": ["g", "p", "t"]}}, ARGS),
                    record("s", NAMED | TRACK | {"ts": TIME, "id": {"type": ["integer", "string"]}}, ARGS),
                    record(
                        "f",
                        NAMED | TRACK | {"ts": TIME, "id": {"type": ["integer", "string"]}, "bp": {"const": "e"}},
                        ARGS,
                    ),
                    record(["b", "e"], NAMED | TRACK | {"ts": TIME, "id2": LOCAL}, ARGS),
                    {
                        "type": "object",
                        "required": ["ph", "name", "pid", "args"],
                        "properties": {
                            "ph": {"const": "M"},
                            "name": {
                                "enum": ["process_name", "process_sort_index", "thread_name", "thread_sort_index"]
                            },
                            "args": {
                                "oneOf": [
                                    {"required": ["name"], "properties": {"name": {"type": "string"}}},
                                    {"required": ["sort_index"], "properties": {"sort_index": NUMBER}},
                                ]
                            },
                            **TRACK,
                        },
                        "additionalProperties": False,
                    },
                ]
            },
        },
    },
    "additionalProperties": False,
}


def exported(path: Path, **options: Any) -> dict[str, Any]:
    out = io.BytesIO()
    with Source(path, **options) as source:
        perfetto.write(source, out)
    trace: dict[str, Any] = json.loads(out.getvalue())
    return trace


def of(trace: dict[str, Any], phase: str) -> list[dict[str, Any]]:
    return [r for r in trace["traceEvents"] if r["ph"] == phase]


@pytest.mark.parametrize("name", ["nft-drop", "ping", "fragments-router"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_what_the_format_says(kernel: str, name: str) -> None:
    Draft202012Validator(SCHEMA).validate(exported(capture(name, kernel)))


@pytest.mark.parametrize("path", ALL[:: max(1, len(ALL) // 60)], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_slices_nest_and_arrows_begin_and_end_in_slices(path: Path) -> None:
    trace = exported(path)
    tracks = defaultdict(list)
    for r in of(trace, "X"):
        tracks[r["pid"], r["tid"]].append((round(r["ts"] * 1000), round((r["ts"] + r["dur"]) * 1000)))
    assert tracks
    for slices in tracks.values():
        around: list[int] = []
        for begin, end in sorted(slices, key=lambda s: (s[0], -s[1])):
            while around and around[-1] <= begin:
                around.pop()
            assert not around or end <= around[-1]
            around.append(end)
    for arrow in of(trace, "s") + of(trace, "f"):
        at = round(arrow["ts"] * 1000)
        assert any(begin <= at < end for begin, end in tracks[arrow["pid"], arrow["tid"]])
    begun = {r["id"]: r["ts"] for r in of(trace, "s")}
    ended = {r["id"]: r["ts"] for r in of(trace, "f")}
    assert begun.keys() == ended.keys() and all(begun[id] <= ended[id] for id in begun)


def test_tracks_are_named_and_hold_the_packet() -> None:
    trace = exported(capture("nft-drop"))
    names = {(r["pid"], r["tid"]): r["args"]["name"] for r in of(trace, "M") if r["name"].endswith("_name")}
    processes = {name for (_, tid), name in names.items() if not tid}
    assert processes == {"packets", "kp-near", "kp-router"}
    assert any(name.endswith("softirq") for name in names.values())
    for r in of(trace, "X"):
        assert (r["pid"], r["tid"]) in names
    functions = [r["name"] for r in of(trace, "X") if names[r["pid"], 0] == "kp-router"]
    assert "ip_forward" in functions and "nf_hook_slow FORWARD" in functions
    (drop,) = of(trace, "i")
    assert drop["name"] == "✗ NETFILTER_DROP" and names[drop["pid"], 0] == "kp-router"
    (packet, *traversals) = of(trace, "b")
    assert packet["name"].startswith("#1 10.1.0.1:") and len(traversals) == 2
    assert len(of(trace, "s")) == 1


def test_asynchronous_slices_are_balanced_and_nest() -> None:
    for name in ("tcp", "fragments-router", "esp-transport", "multicast"):
        open_slices: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for r in sorted(
            of(exported(capture(name)), "b") + of(exported(capture(name)), "e"), key=lambda r: float(r["ts"])
        ):
            if r["ph"] == "b":
                open_slices[r["id2"]["local"]].append((r["name"], r["ts"]))
            elif open_slices[r["id2"]["local"]]:
                open_slices[r["id2"]["local"]].pop()
        assert not any(open_slices.values())


def frames(node: Node) -> Iterator[Frame]:
    yield node.frame
    for child in node.children:
        yield from frames(child)


@pytest.mark.parametrize("name", ["tcp", "esp-tunnel", "bridge"])
def test_a_frame_ends_after_what_it_called_and_before_the_next_call(name: str) -> None:
    spans = Spans()
    with Source(capture(name)) as source:
        for packet in source.packets():
            for traversal in packet.traversals:
                for frame in (f for root in traversal.roots for f in frames(root)):
                    end, _ = spans.end(frame)
                    assert end >= frame.time
                    assert all(spans.end(child)[0] <= end for child in frame.children)
                    for one, other in zip(frame.children, frame.children[1:], strict=False):
                        assert spans.end(one)[0] <= other.time


def test_what_was_lost_is_said(tmp_path: Path) -> None:
    loss = Loss(MONOTONIC, MONOTONIC + 5, {0: 3}, {"ip_rcv": 2})
    trace = exported(hostile(tmp_path / "a.kpath", losses=(loss,)))
    Draft202012Validator(SCHEMA).validate(trace)
    assert [r["name"] for r in of(trace, "i") if r["cat"] == "loss"] == ["3 events lost, 2 probe hits missed"]
    assert trace["otherData"]["events_lost"] == "3"


def test_only_the_wanted_packet() -> None:
    trace = exported(capture("tcp"), only=[4])
    assert {r["args"]["journey"] for r in of(trace, "b")} == {4}
