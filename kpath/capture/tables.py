"""What a capture file holds beside the events: its header, tables, losses and footer.

The classes check their own values, so that neither a writer nor a hostile file can make one that is out of
range. ``pack`` and ``unpack`` turn them into msgpack and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import msgpack  # type: ignore[import-untyped]

from kpath.capture.schema import EVENT, SCHEMA_VERSION

MAX_TEXT = 4096
"""Longest name, in characters."""
MAX_LONG_TEXT = 1 << 17
"""Longest filter, option or reason, in characters; Linux allows no longer argument."""
MAX_DEPTH = 16
"""Deepest nesting of facts."""
INDIRECT = "*"
"""Target of a call or jump through a pointer: no symbol has this name."""

_U64 = (1 << 64) - 1
_U32 = (1 << 32) - 1
_CPUS = 1 << 16

Fact = None | bool | int | float | str | bytes | list["Fact"] | dict[str | int, "Fact"]
"""What a fact may be: plain data, at most MAX_DEPTH deep."""


def _int(value: object, most: int, what: str) -> None:
    # bool is an int for isinstance, and msgpack keeps the two apart
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{what} is not a number from 0 to {most}")


def _text(value: object, what: str, most: int = MAX_TEXT) -> None:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{what} is not a text of at most {most} characters")


def _counts(value: Mapping[Any, int], what: str, most_key: int = _CPUS) -> None:
    for key, count in value.items():
        _int(key, most_key, what)
        _int(count, _U64, what)


def _named_counts(value: Mapping[str, int], what: str) -> None:
    for key, count in value.items():
        _text(key, what)
        _int(count, _U64, what)


@dataclass(frozen=True, slots=True)
class PlannedProbe:
    """One function of the probe plan and what became of it on this kernel."""

    name: str
    """The function as documents call it."""
    symbol: str
    """The kernel symbol that was probed; empty without one."""
    address: int
    """The symbol's address; 0 without one."""
    category: str
    """The planner's class of probe: how the function gets at its packet."""
    state: str
    """attached, or why not in one word (inlined, missing, …): the planner's words."""
    reason: str = ""
    """Why it is in that state, for a person."""
    module: str = ""
    """Empty for the kernel itself."""
    program: str = ""
    """The BPF program attached; empty without one."""

    def __post_init__(self) -> None:
        for text in (self.name, self.symbol, self.category, self.state, self.module, self.program):
            _text(text, "a text of a planned probe")
        _text(self.reason, "reason", MAX_LONG_TEXT)
        _int(self.address, _U64, "address")


@dataclass(frozen=True, slots=True)
class Header:
    """Where, when and how the capture was made."""

    kernel_release: str
    """``uname -r``."""
    kernel_build: str
    """``uname -v``."""
    arch: str
    """``uname -m``."""
    kpath_version: str
    monotonic_ns: int
    """CLOCK_MONOTONIC at the start, ns: the clock of the events."""
    wall_ns: int
    """CLOCK_REALTIME at the same moment, ns since 1970."""
    hostname: str = ""
    """Empty when the user did not want it kept."""
    command: tuple[str, ...] = ()
    """The command line."""
    filter: str = ""
    """The tcpdump expression; empty for every packet."""
    options: Mapping[str | int, Fact] = field(default_factory=dict)
    """The options in force, whatever the command line left to defaults."""
    probes: tuple[PlannedProbe, ...] = ()
    schema_version: int = SCHEMA_VERSION
    """Of the file; older than this kpath's when the events were converted on reading."""
    fields: tuple[tuple[str, str], ...] = tuple((n, EVENT[n].str) for n in EVENT.names or ())
    """Name and numpy type of each field of the file's records."""

    def __post_init__(self) -> None:
        for text in (self.kernel_release, self.kernel_build, self.arch, self.kpath_version, self.hostname):
            _text(text, "a text of the header")
        for text in (*self.command, self.filter):
            _text(text, "an argument", MAX_LONG_TEXT)
        for number in (self.monotonic_ns, self.wall_ns):
            _int(number, _U64, "a clock")
        _int(self.schema_version, _U32, "the schema version")
        check_facts(self.options)
        for name, kind in self.fields:
            _text(name, "a field's name")
            _text(kind, "a field's type")


@dataclass(frozen=True, slots=True)
class Loss:
    """What was lost between two moments: counts of that interval, not totals."""

    start: int
    """CLOCK_MONOTONIC, ns."""
    end: int
    """CLOCK_MONOTONIC, ns."""
    lost: Mapping[int, int] = field(default_factory=dict)
    """CPU number → events that found the ring buffer full."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Symbol → hits at which its probe did not run."""
    tables: Mapping[int, int] = field(default_factory=dict)
    """CPU number → packets and stacks for which the BPF side's tables had no room."""

    def __post_init__(self) -> None:
        _int(self.end, _U64, "end")
        _int(self.start, self.end, "start")
        _counts(self.lost, "a lost count")
        _named_counts(self.missed, "a missed count")
        _counts(self.tables, "a count of full tables")


@dataclass(frozen=True, slots=True)
class Symbol:
    """What an address is: ``offset`` bytes into a function of ``size`` bytes (0 when unknown)."""

    name: str
    module: str = ""
    """Empty for the kernel itself."""
    offset: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        _text(self.name, "a symbol's name")
        _text(self.module, "a module's name")
        _int(self.offset, _U64, "offset")
        _int(self.size, _U64, "size")

    def __str__(self) -> str:
        place = f"{self.name}+{self.offset:#x}" if self.offset else self.name
        return f"{place} [{self.module}]" if self.module else place


@dataclass(frozen=True, slots=True)
class Symbols:
    """Addresses and what is known of the code there. Tables grow: a later chunk adds to an earlier one."""

    symbols: Mapping[int, Symbol] = field(default_factory=dict)
    """Address → symbol."""
    calls: Mapping[int, str] = field(default_factory=dict)
    """Return address → the function that the call before it names, or INDIRECT."""
    jumps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Function → the functions that it may tail-jump to; INDIRECT among them for a jump through a pointer."""

    def __post_init__(self) -> None:
        for address in self.symbols:
            _int(address, _U64, "address")
        for address, target in self.calls.items():
            _int(address, _U64, "return address")
            _text(target, "a call's target")
        for name, targets in self.jumps.items():
            for text in (name, *targets):
                _text(text, "a jump's name")


@dataclass(frozen=True, slots=True)
class Names:
    """Names of the numbers in events. A later chunk adds to an earlier one and overrules it."""

    netns: Mapping[int, str] = field(default_factory=dict)
    """Inode number of the network namespace → name."""
    devices: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """(inode number of the network namespace, ifindex) → device."""
    comms: Mapping[int, str] = field(default_factory=dict)
    """Thread → its ``comm``."""

    def __post_init__(self) -> None:
        for number, text in (*self.netns.items(), *self.comms.items()):
            _int(number, _U32, "a number with a name")
            _text(text, "a name")
        for (netns, ifindex), text in self.devices.items():
            _int(netns, _U32, "netns")
            _int(ifindex, _U32, "ifindex")
            _text(text, "a device's name")


@dataclass(frozen=True, slots=True)
class Facts:
    """Plain data for other parts of kpath: drop reason names, constants, routes, policies, hooks."""

    values: Mapping[str | int, Fact] = field(default_factory=dict)
    """Merged by key at the top: a later chunk replaces the value of a key."""

    def __post_init__(self) -> None:
        check_facts(self.values)


@dataclass(frozen=True, slots=True)
class Footer:
    """Totals of the capture, written when it ended in an orderly way."""

    reason: str
    """Why it ended: duration, count, interrupt, command ended, …"""
    monotonic_ns: int
    """CLOCK_MONOTONIC at the end, ns."""
    events: int = 0
    """Events in the file; the writer fills it in from its own count."""
    received: int = 0
    """Events that reached userspace."""
    counted: Mapping[int, int] = field(default_factory=dict)
    """CPU number → events that the BPF side made, the lost ones too."""
    lost: Mapping[int, int] = field(default_factory=dict)
    """CPU number → events that found the ring buffer full."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Symbol → hits at which its probe did not run."""
    tables: Mapping[int, int] = field(default_factory=dict)
    """CPU number → packets and stacks for which the BPF side's tables had no room."""

    def __post_init__(self) -> None:
        _text(self.reason, "reason", MAX_LONG_TEXT)
        for number in (self.monotonic_ns, self.events, self.received):
            _int(number, _U64, "a number of the footer")
        _counts(self.counted, "a count")
        _counts(self.lost, "a lost count")
        _named_counts(self.missed, "a missed count")
        _counts(self.tables, "a count of full tables")


def check_facts(value: object, depth: int = 0) -> None:
    """Raises ValueError for anything that is not plain data (64 bits a number), or deeper than MAX_DEPTH."""
    if depth > MAX_DEPTH:
        raise ValueError(f"facts are nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise ValueError("a key of facts is neither text nor number")
            check_facts(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            check_facts(item, depth + 1)
    elif isinstance(value, int):
        if not -(1 << 63) <= value <= _U64:
            raise ValueError("a fact is a number of more than 64 bits")
    elif not (value is None or isinstance(value, float | str | bytes)):
        raise ValueError(f"a fact is a {type(value).__name__}")


def pack(value: object) -> bytes:
    """Msgpack bytes. Names that are no UTF-8 (surrogates, as ``os.fsdecode`` gives) keep their bytes.

    Raises ValueError, TypeError or OverflowError for what msgpack cannot hold.
    """
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed


def unpack(raw: bytes, *, lines: bool = False) -> dict[str | int, Any]:
    """The map in ``raw``, every text in it printable; with ``lines`` a text may have line ends and tabs.

    Raises ValueError when it is not valid, or not a map.
    """
    try:
        # without limits of its own, msgpack allows no part to be longer than raw
        value = msgpack.unpackb(raw, strict_map_key=False, unicode_errors="surrogateescape", max_ext_len=0)
        clean = _printable(value, "\n\t" if lines else "", 0)
    except (msgpack.UnpackException, TypeError, RecursionError) as error:
        raise ValueError("the msgpack is not valid") from error
    if not isinstance(clean, dict):
        raise ValueError("a map was expected")
    return clean


def _printable(value: Any, keep: str, depth: int) -> Any:
    """Replaces what a terminal would obey, one character by one: names in a file are somebody else's."""
    if isinstance(value, str):
        if value.isprintable():
            return value
        return "".join(c if c.isprintable() or c in keep else _picture(c) for c in value)
    if depth > MAX_DEPTH + 2:
        raise ValueError("nested too deep")
    if isinstance(value, list):
        return [_printable(item, keep, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_printable(k, "", depth + 1): _printable(v, keep, depth + 1) for k, v in value.items()}
    return value


def _picture(char: str) -> str:
    """The Unicode picture of a control character (U+241B for escape), else the replacement character."""
    if char < " ":
        return chr(0x2400 + ord(char))
    return "\u2421" if char == "\x7f" else "\ufffd"


def _as(kind: type, value: object) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"a {kind.__name__} was expected")
    return value


def _row(value: object, length: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"a row of {length} was expected")
    return value


def header_to_map(header: Header) -> dict[str, object]:
    """The header as msgpack will hold it."""
    return {
        "schema_version": header.schema_version,
        "fields": [list(f) for f in header.fields],
        "kernel_release": header.kernel_release,
        "kernel_build": header.kernel_build,
        "arch": header.arch,
        "kpath_version": header.kpath_version,
        "monotonic_ns": header.monotonic_ns,
        "wall_ns": header.wall_ns,
        "hostname": header.hostname,
        "command": list(header.command),
        "filter": header.filter,
        "options": dict(header.options),
        "probes": [list(astuple(p)) for p in header.probes],
    }


def header_from_map(m: Mapping[str | int, Any]) -> Header:
    """Raises ValueError or KeyError when the map is no header."""
    return Header(
        kernel_release=m["kernel_release"],
        kernel_build=m["kernel_build"],
        arch=m["arch"],
        kpath_version=m["kpath_version"],
        monotonic_ns=m["monotonic_ns"],
        wall_ns=m["wall_ns"],
        hostname=m["hostname"],
        command=tuple(_as(list, m["command"])),
        filter=m["filter"],
        options=_as(dict, m["options"]),
        probes=tuple(PlannedProbe(*_row(p, 8)) for p in _as(list, m["probes"])),
        schema_version=m["schema_version"],
        fields=tuple((f[0], f[1]) for f in (_row(f, 2) for f in _as(list, m["fields"]))),
    )


def loss_to_map(loss: Loss) -> dict[str, object]:
    """The loss as msgpack will hold it."""
    return {
        "start": loss.start,
        "end": loss.end,
        "lost": dict(loss.lost),
        "missed": dict(loss.missed),
        "tables": dict(loss.tables),
    }


def loss_from_map(m: Mapping[str | int, Any]) -> Loss:
    """Raises ValueError or KeyError when the map is no loss."""
    return Loss(m["start"], m["end"], *(_as(dict, m[key]) for key in ("lost", "missed", "tables")))


def symbols_to_map(symbols: Symbols) -> dict[str, object]:
    """The table as msgpack will hold it."""
    return {
        "symbols": [[a, s.name, s.module, s.offset, s.size] for a, s in symbols.symbols.items()],
        "calls": dict(symbols.calls),
        "jumps": {name: list(targets) for name, targets in symbols.jumps.items()},
    }


def symbols_from_map(m: Mapping[str | int, Any]) -> Symbols:
    """Raises ValueError or KeyError when the map is no such table."""
    rows = [_row(r, 5) for r in _as(list, m["symbols"])]
    return Symbols(
        {r[0]: Symbol(*r[1:]) for r in rows},
        _as(dict, m["calls"]),
        {name: tuple(_as(list, targets)) for name, targets in _as(dict, m["jumps"]).items()},
    )


def names_to_map(names: Names) -> dict[str, object]:
    """The table as msgpack will hold it."""
    return {
        "netns": dict(names.netns),
        "devices": [[netns, ifindex, name] for (netns, ifindex), name in names.devices.items()],
        "comms": dict(names.comms),
    }


def names_from_map(m: Mapping[str | int, Any]) -> Names:
    """Raises ValueError or KeyError when the map is no such table."""
    rows = [_row(r, 3) for r in _as(list, m["devices"])]
    return Names(_as(dict, m["netns"]), {(r[0], r[1]): r[2] for r in rows}, _as(dict, m["comms"]))


def footer_to_map(footer: Footer) -> dict[str, object]:
    """The footer as msgpack will hold it."""
    return {
        "reason": footer.reason,
        "monotonic_ns": footer.monotonic_ns,
        "events": footer.events,
        "received": footer.received,
        "counted": dict(footer.counted),
        "lost": dict(footer.lost),
        "missed": dict(footer.missed),
        "tables": dict(footer.tables),
    }


def footer_from_map(m: Mapping[str | int, Any]) -> Footer:
    """Raises ValueError or KeyError when the map is no footer."""
    counts = {key: _as(dict, m[key]) for key in ("counted", "lost", "missed", "tables")}
    return Footer(m["reason"], m["monotonic_ns"], m["events"], m["received"], **counts)
