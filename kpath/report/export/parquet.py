"""Parquet: the events as they were recorded, and the frames and traversals made of them, for DuckDB, Spark, pandas.

Four files in one folder. ``events`` has every field of the event record; ``frames`` points to its event by ``cpu``
and ``seq``, to its traversal by ``journey`` and ``traversal``, and to its caller's frame by ``parent``; what was under
way between the two times of a row of ``losses`` may be incomplete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import kpath
from kpath.capture.records import Events
from kpath.capture.schema import EVENT, FIELDS, Class, Kind
from kpath.capture.tables import Loss
from kpath.report import words
from kpath.report.export.errors import MissingLibraryError
from kpath.report.export.output import output
from kpath.report.export.paths import latency, signature, summary
from kpath.report.export.source import Packet, Source
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import Node, Traversal

TABLES = ("events", "frames", "traversals", "losses")
"""Files in the folder, with the suffix .parquet."""

_ROWS = 1 << 15
"""Rows of a row group: held in memory until it is full."""


def write(source: Source, folder: Path) -> None:
    """Write the files. Raises MissingLibraryError without pyarrow, OutputError when they cannot be written."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingLibraryError("pyarrow", "Parquet") from error
    del pyarrow
    with ExitStack() as stack:
        about = _about(source)

        def table(name: str, schema: dict[str, str]) -> _Table:
            out = stack.enter_context(output(str(folder / f"{name}.parquet")))
            return stack.enter_context(_Table(out, schema, about))

        frames, traversals = table("frames", FRAMES), table("traversals", TRAVERSALS)
        events = _Batches(table("events", _events_schema()), source.knowledge)
        source.on_events = events.add
        for packet in source.packets():
            for number, traversal in enumerate(packet.traversals):
                traversals.add(_traversal(packet, number, traversal, source))
                for row in _frames(packet.journey.number, number, traversal, source.knowledge):
                    frames.add(row)
        events.flush()
        losses = table("losses", LOSSES)
        for loss in source.assembler.losses:
            for row in _losses(loss):
                losses.add(row)


def _about(source: Source) -> dict[str, str]:
    header = source.header
    return {
        "kpath.version": kpath.__version__,
        "kpath.kernel": f"{header.kernel_release} {header.kernel_build} {header.arch}",
        "kpath.filter": header.filter,
        "kpath.clock": "times are ns of CLOCK_MONOTONIC; add kpath.wall_offset_ns for ns since 1970",
        "kpath.wall_offset_ns": str(header.wall_ns - header.monotonic_ns),
    }


class _Table:
    """Rows of one file; written a row group at a time."""

    def __init__(self, out: Any, schema: dict[str, str], about: dict[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"dict": pa.dictionary(pa.int32(), pa.string()), "list": pa.list_(pa.string())}
        self.schema = pa.schema([(name, kinds.get(kind) or pa.type_for_alias(kind)) for name, kind in schema.items()])
        self._writer = pq.ParquetWriter(out, self.schema.with_metadata(about), compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self.schema))
            self._rows = []

    def columns(self, columns: dict[str, Any]) -> None:
        """One row group of whole columns."""
        import pyarrow as pa

        self._writer.write_table(pa.table(columns, schema=self.schema))

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            self.flush()
        self._writer.close()


# ---- events ----

_NAMED = {
    "function": "function of ip",
    "caller_function": "function of caller",
    "caller_place": "caller as function and offset",
    "dst_input_function": "function of dst_input",
    "dst_output_function": "function of dst_output",
    "source": "saddr as text",
    "destination": "daddr as text",
    "kind_name": "kind in words",
    "class_name": "cls in words",
    "netns_name": "name of netns",
}


def _events_schema() -> dict[str, str]:
    kinds = {name: np.dtype(EVENT[name]).newbyteorder("=").name for name in EVENT.names or () if name != "spare"}
    return kinds | dict.fromkeys(_NAMED, "dict")


class _Batches:
    """Events are gathered until a row group is full: chunks of a live recording are small."""

    def __init__(self, table: _Table, know: Knowledge) -> None:
        self._table = table
        self._know = know
        self._held: list[Events] = []
        self._count = 0

    def add(self, events: Events) -> None:
        self._held.append(events)
        self._count += len(events)
        if self._count >= _ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._count:
            return
        events = np.concatenate(self._held, dtype=EVENT)
        self._held, self._count = [], 0
        know = self._know
        columns: dict[str, Any] = {}
        for field in FIELDS:
            if field.name != "spare":
                column = events[field.name]
                columns[field.name] = column.astype(column.dtype.newbyteorder("="))
        named: dict[str, tuple[str, Callable[[int], str]]] = {
            "function": ("ip", know.function),
            "caller_function": ("caller", know.function),
            "caller_place": ("caller", lambda address: know.place(address) if address else ""),
            "dst_input_function": ("dst_input", know.function),
            "dst_output_function": ("dst_output", know.function),
            "source": ("saddr", lambda value: words.address(value) if value else ""),
            "destination": ("daddr", lambda value: words.address(value) if value else ""),
            "kind_name": ("kind", lambda value: _name(Kind, value)),
            "class_name": ("cls", lambda value: _name(Class, value)),
            "netns_name": ("netns", know.namespace),
        }
        for name, (field_name, say) in named.items():
            columns[name] = _dictionary(columns[field_name], say)
        self._table.columns(columns)


def _dictionary(values: Any, say: Callable[[int], str]) -> Any:
    """A column of texts, each made once: there are few functions and many events."""
    import pyarrow as pa

    distinct, at = np.unique(values, return_inverse=True)
    texts = [words.printable(say(value)) or None for value in distinct.tolist()]
    known = [text for text in texts if text is not None]
    place = {text: number for number, text in enumerate(dict.fromkeys(known))}
    codes = np.array([-1 if text is None else place[text] for text in texts], dtype=np.int32)[at]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(list(place), pa.string()))


def _name(kinds: type[Kind] | type[Class], value: int) -> str:
    return kinds(value).name if value in kinds._value2member_map_ else str(value)


# ---- frames and traversals ----

FRAMES: dict[str, str] = {
    "frame": "int64", "journey": "int64", "traversal": "int32", "parent": "int64", "depth": "int32", "own": "bool",
    "function": "dict", "caller": "dict", "time_ns": "int64", "tail_jump": "bool", "caller_unseen": "bool",
    "via": "dict", "cpu": "int32", "seq": "int64", "thread": "int64", "command": "dict", "stack": "dict",
    "skb": "uint64", "length": "int64", "mark": "int64", "device": "dict",
    "dst_input": "dict", "dst_output": "dict", "hook": "dict", "verdict": "dict", "drop_reason": "dict",
    "drop_place": "dict",
}  # fmt: skip
"""Columns of the frames."""

TRAVERSALS: dict[str, str] = {
    "journey": "int64", "traversal": "int32", "signature": "dict", "path": "dict", "direction": "dict",
    "netns": "int64", "netns_name": "dict", "device_in": "dict", "device_out": "dict", "begin_ns": "int64",
    "end_ns": "int64", "latency_ns": "int64", "end": "dict", "end_where": "dict", "end_reason": "dict",
    "end_place": "dict", "incomplete": "list", "caused_by": "int64", "transmission": "int32",
    "packet": "string", "source": "dict", "destination": "dict", "protocol": "int32", "source_port": "int32",
    "destination_port": "int32", "length": "int64", "ttl": "int32", "ip_id": "int32",
}  # fmt: skip
"""Columns of the traversals."""

LOSSES: dict[str, str] = {
    "start_ns": "int64", "end_ns": "int64", "what": "dict", "cpu": "int32", "function": "dict", "count": "int64",
}  # fmt: skip
"""Columns of the losses; each row has either ``cpu`` or ``function``."""


def _losses(loss: Loss) -> Iterator[dict[str, Any]]:
    base = {"start_ns": loss.start, "end_ns": loss.end}
    for cpu, count in loss.lost.items():
        yield base | {"what": "events lost", "cpu": cpu, "count": count}
    for function, count in loss.missed.items():
        yield base | {"what": "probe hits missed", "function": words.printable(function), "count": count}
    for cpu, count in loss.tables.items():
        yield base | {"what": "tables full", "cpu": cpu, "count": count}


def _frames(journey: int, number: int, traversal: Traversal, know: Knowledge) -> Iterator[dict[str, Any]]:
    stack: list[tuple[int, Node, int | None]] = [(0, root, None) for root in reversed(traversal.roots)]
    while stack:
        depth, node, parent = stack.pop()
        yield _frame(node, know) | {"journey": journey, "traversal": number, "parent": parent, "depth": depth}
        stack += [(depth + 1, child, node.frame.index) for child in reversed(node.children)]


def _frame(node: Node, know: Knowledge) -> dict[str, Any]:
    frame, e = node.frame, node.frame.event
    hook = frame.cls is Class.HOOK
    return {
        "frame": frame.index,
        "own": node.own,
        "function": frame.name,
        "caller": know.place(e.caller),
        "time_ns": frame.time,
        "tail_jump": frame.tail,
        "caller_unseen": frame.orphan,
        "via": frame.via or None,
        "cpu": e.cpu,
        "seq": e.seq,
        "thread": e.pid,
        "command": words.printable(know.comms.get(e.pid, "")) or None,
        "stack": "task" if e.stack >= words.INTERRUPT_STACKS else "interrupt",
        "skb": e.skb or None,
        "length": e.len if e.skb else None,
        "mark": e.mark if e.skb else None,
        "device": words.printable(know.device(e.netns, e.ifindex)) or None,
        "dst_input": know.function(e.dst_input) or None,
        "dst_output": know.function(e.dst_output) or None,
        "hook": words.hook_name(e.pf, e.hook) if hook else None,
        "verdict": words.verdict_name(frame.verdict) if hook else None,
        "drop_reason": frame.drop.name if frame.drop else None,
        "drop_place": know.place(frame.drop.place) if frame.drop else None,
    }


def _traversal(packet: Packet, number: int, t: Traversal, source: Source) -> dict[str, Any]:
    know = source.knowledge
    begin = min(frame.time for frame in t.frames)
    end = max(frame.time for frame in t.frames)
    header = t.header
    return {
        "journey": packet.journey.number,
        "traversal": number,
        "signature": signature(t),
        "path": summary(t),
        "direction": t.direction,
        "netns": t.netns,
        "netns_name": words.printable(know.namespace(t.netns)) or None,
        "device_in": words.printable(know.device(t.netns, t.device_in)) or None,
        "device_out": words.printable(know.device(t.netns, t.device_out)) or None,
        "begin_ns": begin,
        "end_ns": end,
        "latency_ns": latency(t),
        "end": t.end.how,
        "end_where": (know.device(t.netns, int(t.end.where)) if t.end.how == "sent" else t.end.where) or None,
        "end_reason": t.end.reason or None,
        "end_place": know.place(t.end.place) if t.end.place else None,
        "incomplete": list(t.partial),
        "caused_by": t.cause.number if t.cause else None,
        "transmission": t.life.transmission,
        "packet": words.packet(header) if header else None,
    } | (_header(header) if header else {})


def _header(e: Any) -> dict[str, Any]:
    ports = e.proto in (6, 17) and not e.frag_off & 0x1FFF
    return {
        "source": words.address(e.saddr),
        "destination": words.address(e.daddr),
        "protocol": e.proto,
        "source_port": e.sport if ports else None,
        "destination_port": e.dport if ports else None,
        "length": words.length(e),
        "ttl": e.ttl,
        "ip_id": e.ip_id,
    }
