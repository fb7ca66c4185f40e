"""Captures for the tests of exports: those recorded from real kernels, and made-up ones with what these lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kpath.capture.file import CaptureWriter, read
from kpath.capture.schema import EVENT, Class, Kind
from kpath.capture.tables import Footer, Header, Loss, Names, Symbols
from tests.trace.stream import Stream

CAPTURES = Path(__file__).parents[1] / "captures"
KERNELS = sorted(folder.name for folder in CAPTURES.iterdir() if folder.is_dir())
ALL = sorted(CAPTURES.glob("*/*.kpath"))

MONOTONIC, WALL = 500_000, 1_700_000_000_000_000_000


def capture(name: str, kernel: str = "6.12") -> Path:
    """A recording by the name of its scenario."""
    return CAPTURES / kernel / f"{name}.kpath"


EVIL = "<script>alert(1)</script>\x1b[2J\"'&"


def hostile(path: Path, *, losses: tuple[Loss, ...] = (), end: bool = True) -> Path:
    """A capture of one dropped packet whose names would harm a page, a terminal or XML that took them as they are."""
    s = Stream()
    here: dict[str, Any] = {"skb": 1, "birth": 10, "header": (0x0A010001, 0x0A020001), "ifindex": 2, "pid": 7}
    here |= {"stack": 1 << 40}
    s.event("ip_rcv", sp=0x900, dst_input=s.function(f"in{EVIL}"), dst_output=1, **here)
    s.event("nf_hook_slow", sp=0x800, parent_sp=0x900, cls=Class.HOOK, **here | {"hook": 1, "pf": 2})
    s.event("", sp=0x800, stack=1 << 40, kind=Kind.VERDICT, skb=1, birth=10, value=-1)
    s.event(f"fn{EVIL}", sp=0x700, parent_sp=0x800, caller=s.site(f"by{EVIL}", None), **here)
    s.event("", kind=Kind.DROP, skb=1, birth=10, value=3, caller=s.site(f"at{EVIL}", None))
    s.event("skb_release_head_state", stack=1 << 40, cls=Class.END, skb=1, birth=10)
    events = np.concatenate(s.rows, dtype=EVENT)
    know = s.knowledge
    header = Header("6.0", "#1", "x86_64", "0", MONOTONIC, WALL, f"host{EVIL}", filter=f"udp{EVIL}")
    with CaptureWriter.create(path, header) as writer:
        writer.symbols(Symbols(know.symbols, know.calls, know.jumps))
        writer.names(Names({1: f"ns{EVIL}"}, {(1, 2): f"eth{EVIL}"}, {7: f"comm{EVIL}"}))
        writer.facts({"drop_reasons": {3: f"WHY{EVIL}"}})
        writer.events(events)
        for loss in losses:
            writer.loss(loss)
        if end:
            writer.close(Footer("duration", MONOTONIC + 10_000_000))
    return path


def diverging(path: Path, *, losses: tuple[Loss, ...] = ()) -> Path:
    """A recording in which a packet is delivered although its pointer says that it is to be forwarded."""
    whole = read(capture("udp-open"))
    functions = {symbol.name: ip for ip, symbol in whole.symbols.symbols.items() if not symbol.offset}
    events = whole.events.copy()
    events["dst_input"][events["dst_input"] == functions["ip_local_deliver"]] = functions["ip_forward"]
    with CaptureWriter.create(path, whole.header) as writer:
        writer.symbols(whole.symbols)
        writer.names(whole.names)
        writer.events(events)
        for loss in losses:
            writer.loss(loss)
        writer.close(Footer("duration", int(events["time"].max())))
    return path


def repeated(path: Path, name: str, times: int, gap: int = 20_000_000) -> Path:
    """A recording over and over, ``gap`` ns apart, as one long one."""
    whole = read(capture(name))
    events = whole.events
    span = int(events["time"].max() - events["time"].min()) + gap
    numbers = {cpu: int(np.ptp(events["seq"][events["cpu"] == cpu])) + 1 for cpu in np.unique(events["cpu"]).tolist()}
    born = np.isin(events["cls"], [Class.COPY, Class.MERGE]) & (events["arg"] > 0)
    with CaptureWriter.create(path, whole.header) as writer:
        writer.symbols(whole.symbols)
        writer.names(whole.names)
        for round_ in range(times):
            shifted = events.copy()
            shift = np.uint64(round_ * span)
            shifted["time"] += shift
            shifted["birth"][events["birth"] > 0] += shift
            shifted["arg"][born] += shift
            shifted["ip_id"] += np.uint16(round_)
            for cpu, count in numbers.items():
                shifted["seq"][events["cpu"] == cpu] += np.uint64(round_ * count)
            writer.events(shifted)
        writer.close(Footer("duration", whole.header.monotonic_ns + times * span))
    return path
