"""Trace event JSON, which ui.perfetto.dev and chrome://tracing open (docs/export.md says how it is laid out).

Tracks: a process for each network namespace, in it a thread for each stack: a CPU's softirqs, a task. On one stack
frames nest, which the format demands of slices; on a CPU they would not, for a task may sleep or move. One more
process holds a track for each packet.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import IO, Any

import kpath
from kpath.capture.schema import Class
from kpath.capture.tables import Loss
from kpath.report import words
from kpath.report.export.source import Packet, Source
from kpath.report.export.spans import Spans
from kpath.trace.frames import Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import Node, Traversal

PACKETS = 1
"""The process that holds the packets' tracks."""

_AROUND_KEPT = 1 << 16
_FIRST_THREAD = 100_000

Record = dict[str, Any]


def write(source: Source, out: IO[bytes]) -> None:
    """Write the packets of ``source`` as they come."""
    writer = _Writer(source.knowledge)
    out.write(b'{"displayTimeUnit":"ns","traceEvents":[\n')
    separator = b""

    def put(records: Iterator[Record]) -> None:
        nonlocal separator
        for record in records:
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            out.write(separator + text.encode("utf-8", "replace"))
            separator = b",\n"

    for packet in source.packets():
        put(writer.packet(packet))
        for loss in source.new_losses():
            put(writer.loss(loss))
    for loss in source.new_losses():
        put(writer.loss(loss))
    out.write(b'\n],"otherData":' + json.dumps(_about(source)).encode() + b"}\n")


def _about(source: Source) -> dict[str, str]:
    header = source.header
    return {
        "producer": f"kpath {kpath.__version__}",
        "kernel": f"{header.kernel_release} {header.arch}",
        "clock": "CLOCK_MONOTONIC",
        "wall_clock_minus_monotonic_ns": str(header.wall_ns - header.monotonic_ns),
        "durations": "estimated: kpath sees functions being entered, not returning; see 'end' of each slice",
        "packets": str(source.shown),
        "events_lost": str(source.lost),
        "probe_hits_missed": str(source.missed),
        "incomplete": source.problem or "",
    }


class _Writer:
    def __init__(self, know: Knowledge) -> None:
        self._know = know
        self._spans = Spans()
        self._processes: dict[int, int] = {}
        self._threads: dict[tuple[int, int, int], int] = {}
        # A poll stands around many packets: it is one slice.
        self._around: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._arrows = 0

    def packet(self, packet: Packet) -> Iterator[Record]:
        if not self._processes:
            yield from self._process(PACKETS, "packets", -1)
        header = words.best_header(packet.journey)
        title = f"#{packet.journey.number} {words.packet(header) if header else 'a packet without a header'}"
        yield from self._track(packet, title)
        before: list[Record] = []
        for traversal in packet.traversals:
            ends: list[Record] = []
            for root in traversal.roots:
                for record in self._tree(root, traversal, title):
                    yield record
                    if record["ph"] == "X" and record["cat"] == "packet" and record["dur"] > 0:
                        ends.append(record)
            if not ends:
                continue
            ends.sort(key=lambda r: float(r["ts"]))
            yield from self._arrow(before, ends[0])
            before = ends

    def loss(self, loss: Loss) -> Iterator[Record]:
        if not self._processes:
            yield from self._process(PACKETS, "packets", -1)
        counts = {
            "events lost": sum(loss.lost.values()),
            "probe hits missed": sum(loss.missed.values()),
            "tables full": sum(loss.tables.values()),
        }
        said = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
        if said:
            lost = {f"cpu {cpu}": count for cpu, count in loss.lost.items()}
            args = {"since": _us(loss.start), "missed": dict(loss.missed), "lost": lost}
            yield {
                "ph": "i", "s": "g", "cat": "loss", "name": said, "ts": _us(loss.end), "pid": PACKETS, "tid": PACKETS,
                "args": args,
            }  # fmt: skip

    # ---- the packet's own track ----

    def _track(self, packet: Packet, title: str) -> Iterator[Record]:
        """The packet as an asynchronous slice; traversals inside, those that overlap one another beside it."""
        number = packet.journey.number
        spans = [(t, t.frames[0].time, max(f.time for f in t.frames)) for t in packet.traversals]
        begin, end = min(b for _, b, _ in spans), max(e for _, _, e in spans)
        yield self._async("b", f"{number}", title, begin, {"journey": number})
        lanes: list[int] = []
        for traversal, first, last in spans:
            lane = next((i for i, free in enumerate(lanes) if free <= first), len(lanes))
            lanes[lane : lane + 1] = [last]
            name = f"{number}" if lane == 0 else f"{number}/{lane}"
            headline = words.headline(traversal, self._know)
            args = {"journey": number, "end": words.ending(traversal, self._know), "incomplete": traversal.partial}
            yield self._async("b", name, headline, first, args)
            yield self._async("e", name, headline, last)
        yield self._async("e", f"{number}", title, end)

    @staticmethod
    def _async(phase: str, id: str, name: str, time: int, args: Record | None = None) -> Record:
        # A local id belongs to the process; others Perfetto shows apart from all of them.
        record: Record = {
            "ph": phase, "cat": "journey", "id2": {"local": id}, "name": name, "ts": _us(time),
            "pid": PACKETS, "tid": PACKETS,
        }  # fmt: skip
        return record | ({"args": args} if args else {})

    # ---- slices ----

    def _tree(self, root: Node, traversal: Traversal, title: str) -> Iterator[Record]:
        stack = [root]
        while stack:
            node = stack.pop()
            stack += reversed(node.children)
            frame = node.frame
            pid, tid, names = self._thread(traversal.netns, frame)
            yield from names
            if node.own or self._first_time(pid, frame):
                yield self._slice(node, pid, tid, title)
            if node.own and frame.drop is not None and frame.drop.name != "CONSUMED":
                yield {
                    "ph": "i", "s": "t", "cat": "drop", "name": f"✗ {words.printable(frame.drop.name) or 'dropped'}",
                    "ts": _us(frame.drop.event.time), "pid": pid, "tid": tid,
                    "args": {"place": self._know.place(frame.drop.place), "packet": title},
                }  # fmt: skip

    def _slice(self, node: Node, pid: int, tid: int, title: str) -> Record:
        frame, e, know = node.frame, node.frame.event, self._know
        end, how = self._spans.end(frame)
        args: Record = {"caller": know.place(e.caller), "cpu": e.cpu, "end": how}
        if node.own:
            args |= {"packet": title, "skb": f"{e.skb:#x}", "length": e.len, "device": know.device(e.netns, e.ifindex)}
        if frame.tail:
            args["tail_jump"] = True
        if node.own and e.dst_input:
            args |= {"dst_input": know.function(e.dst_input), "dst_output": know.function(e.dst_output)}
        name = words.printable(frame.name)
        if frame.cls is Class.HOOK:
            args["verdict"] = words.verdict_name(frame.verdict)
            name += f" {words.hook_name(e.pf, e.hook)}"
        return {
            "ph": "X", "cat": "packet" if node.own else "around", "name": name,
            "ts": _us(frame.time), "dur": _us(max(end - frame.time, 0)), "pid": pid, "tid": tid, "args": args,
        }  # fmt: skip

    def _first_time(self, pid: int, frame: Frame) -> bool:
        key = (pid, frame.index)
        if key in self._around:
            return False
        self._around[key] = None
        if len(self._around) > _AROUND_KEPT:
            self._around.popitem(last=False)
        return True

    def _arrow(self, before: list[Record], head: Record) -> Iterator[Record]:
        """From where the packet left the traversal before: the driver still frees it later."""
        earlier = [r for r in before if r["ts"] <= head["ts"]]
        if not earlier:
            return
        tail = next((r for r in reversed(earlier) if r["name"] == "dev_hard_start_xmit"), earlier[-1])
        self._arrows += 1
        common = {"cat": "journey", "name": "goes on", "id": self._arrows}
        yield common | {"ph": "s", "ts": tail["ts"], "pid": tail["pid"], "tid": tail["tid"]}
        yield common | {"ph": "f", "bp": "e", "ts": head["ts"], "pid": head["pid"], "tid": head["tid"]}

    # ---- names of tracks ----

    def _process(self, pid: int, name: str, key: int) -> Iterator[Record]:
        self._processes[key] = pid
        yield _meta("process_name", pid, 0, {"name": name})
        yield _meta("process_sort_index", pid, 0, {"sort_index": pid})

    def _thread(self, netns: int, frame: Frame) -> tuple[int, int, list[Record]]:
        """Process and thread of a frame, and the records that name them if they are new."""
        names: list[Record] = []
        if netns not in self._processes:
            name = words.printable(self._know.namespace(netns)) or "namespace unknown"
            names += self._process(len(self._processes) + PACKETS, name, netns)
        pid = self._processes[netns]
        e = frame.event
        task = e.stack >= words.INTERRUPT_STACKS
        key = (pid, e.stack, e.pid if task else 0)
        if key not in self._threads:
            # Numbers of threads are unique in a trace, and none is a process's, for that would be its main thread.
            self._threads[key] = len(self._threads) + _FIRST_THREAD
            comm = words.printable(self._know.comms.get(e.pid, "")) or ("thread" if e.pid else "idle")
            name = f"{comm} {e.pid}" if task else f"cpu {e.cpu} softirq"
            tid = self._threads[key]
            names.append(_meta("thread_name", pid, tid, {"name": name}))
            names.append(_meta("thread_sort_index", pid, tid, {"sort_index": tid if task else e.cpu}))
        return pid, self._threads[key], names


def _meta(name: str, pid: int, tid: int, args: Record) -> Record:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": args}


def _us(ns: int) -> float:
    """µs, the format's unit; the division keeps each ns for a century of uptime."""
    return ns / 1000
