"""A path that the kernel side put together becomes frames and a traversal, as the reference model wants them.

The list of hops is that of one packet that took the path. Facts that differ between packets of one path (addresses,
lengths, times) are not in it, and neither is anything that has no packet among its arguments; so what is judged here
is which functions had the packet, who called them, where the route pointed, and which hooks ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kpath.capture.paths_schema import MAX_HOPS, HopKind, PathFlag
from kpath.capture.schema import EVENT, Class, Flag, Kind
from kpath.trace.frames import Drop, Frame, FrameBuilder, events_of
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey, Life, Lives
from kpath.trace.traversal import Traversal, traversals

CODE = 0xFFFFFFFF_00000000
"""The upper half of every address of kernel code on x86-64."""
_PACKET = 1 << 48
_STACK = 1 << 63

Rows = npt.NDArray[np.void]


def events_from(told: np.void, classes: Mapping[int, Class]) -> Rows:
    """The hops of one row of ``TOLD`` as events of one packet.

    ``classes`` is by the address of the function. The time of an event is its number: only the order is known.
    """
    count = min(int(told["hops"]), MAX_HOPS)
    hops = told["hop"][:count]
    events = np.zeros(count + 1, EVENT)
    sps = {number + 1: int(hop["sp"]) for number, hop in enumerate(hops)}
    device, netns = int(told["ifindex_in"]), int(told["netns_in"] or told["netns_out"])
    out = -1
    for hop in hops:
        kind = int(hop["kind"])
        if kind == HopKind.CALL:
            out += 1
            _call(events[out], hop, sps, classes)
            events[out]["netns"], events[out]["ifindex"] = netns, device
        elif out < 0:
            continue
        elif kind == HopKind.DEVICE_OUT:
            device = int(hop["ip"])
            netns = int(told["netns_out"] or netns)
            events[out]["netns"], events[out]["ifindex"] = netns, device
        elif kind == HopKind.ROUTE:
            events[out]["dst_input"], events[out]["dst_output"] = CODE | int(hop["ip"]), CODE | int(hop["caller"])
            events[out]["dst_xfrm"] = int(hop["sp"])
        elif kind == HopKind.HOOK:
            events[out]["hook"], events[out]["pf"] = int(hop["ip"]), int(hop["caller"])
        elif kind == HopKind.DROP:
            out += 1
            events[out]["kind"], events[out]["hook"] = Kind.DROP, 255
            events[out]["value"], events[out]["caller"] = int(hop["ip"]), CODE | int(hop["caller"])
    if out < 0:
        return events[:0]
    out += 1
    if told["flags"] & PathFlag.ENDED and count == int(told["hops"]):
        # Who freed it is not told: the functions between are not probed.
        events[out]["cls"], events[out]["hook"] = Class.END, 255
        out += 1
    rows = events[:out]
    rows["time"] = np.arange(out) + int(told["first"])
    rows["seq"] = np.arange(out)
    rows["skb"], rows["birth"], rows["stack"] = _PACKET, int(told["first"]), _STACK
    return rows


def _call(event: np.void, hop: np.void, sps: Mapping[int, int], classes: Mapping[int, Class]) -> None:
    address = CODE | int(hop["ip"])
    # A probe sees the address of the function, or a few bytes into it, where the kernel's own call is.
    cls = next((classes[address - back] for back in (0, 4, 5, 8, 9, 1) if address - back in classes), Class.LINK)
    event["kind"], event["cls"], event["hook"] = Kind.ENTRY, cls, 255
    event["ip"], event["caller"] = address, CODE | int(hop["caller"])
    # Some number for each depth: those of the hops, which are unlike within one stack.
    event["sp"] = _STACK | int(hop["sp"])
    event["parent_sp"] = _STACK | sps[int(hop["parent"])] if hop["parent"] else 0
    event["flags"] = Flag.MATCHED | (Flag.SAME_SLOT if hop["same_slot"] else 0)


def traversal_of(rows: Rows, know: Knowledge) -> Traversal | None:
    """The traversal that such events are; None without any frame."""
    builder, lives = FrameBuilder(know), Lives()
    life: Life | None = None
    frames: list[Frame] = []
    for event in events_of(rows):
        if event.kind == Kind.DROP:
            if frames and life is not None:
                life.drop = frames[-1].drop = Drop(
                    event, know.drop_reason(event.value), event.caller, know.function(event.caller)
                )
            continue
        frame = builder.entry(event)
        if event.cls == Class.END:
            frame = Frame(frame.index, "skb_release_head_state", event, "")
        life = lives.frame(frame)
        frames.append(frame)
    if life is None:
        return None
    journey = Journey(1, [life], int(rows["time"][-1]))
    life.journey = journey
    found: Sequence[Traversal] = traversals(journey)
    return found[0] if len(found) == 1 else None
