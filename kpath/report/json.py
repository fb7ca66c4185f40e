"""Journeys as JSON, one object each; the fields are described in docs/json.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kpath.capture.schema import Class
from kpath.report import words
from kpath.trace.frames import Event, Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.traversal import Node, Traversal


def journey(j: Journey, traversals: Sequence[Traversal], know: Knowledge) -> dict[str, Any]:
    """The object of one journey. Times are ns of CLOCK_MONOTONIC."""
    header = words.best_header(j)
    return {
        "journey": j.number,
        "summary": words.packet(header) if header else "",
        "header": _header(header) if header else None,
        "begin_ns": min(t.frames[0].time for t in traversals),
        "end_ns": max(f.time for t in traversals for f in t.frames),
        "transmission": max((life.transmission for life in j.lives), default=0),
        "caused_by": traversals[0].cause.number if traversals[0].cause else None,
        "buffers": [{"skb": f"{life.skb:#x}", "birth_ns": life.birth, "ended": life.ended} for life in j.lives],
        "traversals": [_traversal(t, know) for t in traversals],
    }


def _header(e: Event) -> dict[str, Any]:
    return {
        "source": words.address(e.saddr),
        "destination": words.address(e.daddr),
        "protocol": e.proto,
        "source_port": e.sport if e.proto in (6, 17) else None,
        "destination_port": e.dport if e.proto in (6, 17) else None,
        "icmp_type": e.sport >> 8 if e.proto == 1 else None,
        "icmp_code": e.sport & 0xFF if e.proto == 1 else None,
        "length": words.length(e),
        "ttl": e.ttl,
        "id": e.ip_id,
        "fragment_offset": (e.frag_off & 0x1FFF) * 8,
        "dont_fragment": bool(e.frag_off & 0x4000),
        "more_fragments": bool(e.frag_off & 0x2000),
        "tcp_flags": e.tcp_flags if e.proto == 6 else None,
        "sequence": e.l4 if e.proto == 6 else None,
        "arp_operation": e.arp_op or None,
    }


def _traversal(t: Traversal, know: Knowledge) -> dict[str, Any]:
    return {
        "direction": t.direction,
        "netns": t.netns,
        "netns_name": know.namespace(t.netns),
        "device_in": know.device(t.netns, t.device_in),
        "device_out": know.device(t.netns, t.device_out),
        "end": {
            "how": t.end.how,
            "where": know.device(t.netns, int(t.end.where)) if t.end.how == "sent" else t.end.where,
            "reason": t.end.reason,
            "place": know.place(t.end.place) if t.end.place else "",
        },
        "incomplete": t.partial,
        "frames": [_node(root, know) for root in t.roots],
    }


def _node(node: Node, know: Knowledge) -> dict[str, Any]:
    frame, e = node.frame, node.frame.event
    out: dict[str, Any] = {
        "function": frame.name,
        "time_ns": frame.time,
        "caller": know.place(e.caller),
        "own": node.own,
        "tail_jump": frame.tail,
        "cpu": e.cpu,
        "thread": e.pid,
        "stack": "interrupt" if e.stack < words.INTERRUPT_STACKS else "task",
    }
    if e.skb:
        out |= {"skb": f"{e.skb:#x}", "length": e.len, "mark": e.mark, "device": know.device(e.netns, e.ifindex)}
    if e.dst_input or e.dst_output:
        out |= {"dst_input": know.function(e.dst_input), "dst_output": know.function(e.dst_output)}
        out |= {"dst_xfrm": bool(e.dst_xfrm), "mtu": e.mtu}
    if e.gso_size:
        out |= {"gso_size": e.gso_size, "gso_segs": e.gso_segs}
    if e.nud_state:
        out["neighbour"] = words.NUD.get(e.nud_state, hex(e.nud_state))
    out |= _hook(frame, know)
    if frame.drop:
        out["drop"] = {"reason": frame.drop.name, "place": know.place(frame.drop.place)}
    out["children"] = [_node(child, know) for child in node.children]
    return out


def _hook(frame: Frame, know: Knowledge) -> dict[str, Any]:
    if frame.cls is not Class.HOOK:
        return {}
    e = frame.event
    return {
        "hook": words.hook_name(e.pf, e.hook),
        "verdict": words.verdict_name(frame.verdict),
        "verdict_value": frame.verdict,
        "okfn": know.function(e.arg),
    }
