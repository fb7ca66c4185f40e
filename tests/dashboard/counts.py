"""What the tests of counted paths share: looks at a kernel's tables as they might be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kpath.capture import paths
from kpath.capture.looks import Account, Governed, Look, Told
from kpath.capture.paths import Bit
from kpath.capture.tables import Facts, Header, Loss, Names, Symbol, Symbols
from kpath.capture.unfold import Unfolder
from tests.capture.test_paths import BASE, NAMES, SENT, address, probes, record
from tests.dashboard.stage import KEPT, capture

SECOND = 1_000_000_000
START = 1000 * SECOND
SENT_PATH, DROPPED_PATH = 0x5E47, 0xD809
REASON = 6
DROPPED = (*SENT[:4], SENT[-1])
"""Like the packet that is sent, but dropped after ip_output: the last hop is where."""

def probed() -> Header:
    """The header of a capture of counted paths on a real kernel: what has no packet is not probed."""
    with capture("udp-closed", KEPT) as reader:
        header = reader.header
    kept = tuple(p for p in header.probes if p.category not in ("frame", "root"))
    return replace(header, probes=kept)


def symbols() -> Symbols:
    """Names for all addresses of the records."""
    found = {
        address(name) + offset: Symbol(name, "", offset, 0x1000) for name in NAMES for offset in (0, 5, 0x80)
    }
    found[BASE - 0x5000] = Symbol("udp_sendmsg", "", 0x80, 0x1000)
    return Symbols(found)


def told(path: int, hops: Sequence[tuple[str, int, int, Bit, int]], at: int, took: int = 0) -> Told:
    """A record that came up; with ``took`` (ns) its hops are timed, one after the other in equal steps."""
    made = record(*hops)
    made["birth"], made["last"] = at, at + (took or 5000)
    made["timed"] = bool(took)
    for number, hop in enumerate(made["hops"][: len(hops)]):
        hop["after"] = number * took // max(1, len(hops) - 1)
    if hops is DROPPED:
        drop = made["hops"][len(hops) - 1]
        drop["ip"], drop["caller"], drop["facts"] = 0, (address("ip_output") + 0x80) & 0xFFFFFFFF, REASON
    events, skb = Unfolder(probes()).events(made)
    return Told(path, events, skb, bool(took), cut=False, begin=at, last=at + (took or 5000))


def look(
    seconds: float,
    counts: dict[int, dict[int, int]],
    records: Sequence[Told] = (),
    *,
    losses: Sequence[Loss] = (),
    governed: Governed | None = None,
    **account: int,
) -> Look:
    """A look so many seconds after the start. ``counts``: path → bucket → packets."""
    rows = np.zeros(len(counts), paths.PATH)
    for row, (path, buckets) in zip(rows, counts.items(), strict=True):
        row["hash"], row["count"], row["last"] = path, sum(buckets.values()), START + int(seconds * SECOND)
        for bucket, number in buckets.items():
            row["buckets"][bucket] = number
    total = sum(sum(buckets.values()) for buckets in counts.values())
    values: dict[str, Any] = dict.fromkeys(Account.__dataclass_fields__, 0)
    values |= {"born": total, "ended": total, "counted": total} | account
    facts = Facts({"drop_reasons": {REASON: "NETFILTER_DROP"}, "probe_states": {"attached": 140, "silent": 47}})
    tables = (facts, symbols(), Names(netns={7: "near"}, devices={(7, 2): "va"}))
    return Look(START + int(seconds * SECOND), rows, Account(**values), records, tables, losses, governed or Governed())



PROBED = probed()
