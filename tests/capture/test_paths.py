"""Paths counted in the kernel: both sides mean the same structures, and a record unfolds into what it stands for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpath.capture import paths
from kpath.capture.paths import Bit, Fact
from kpath.capture.plan import PLAN, PLAN_BY_NAME
from kpath.capture.resolve import Probe
from kpath.capture.schema import Class, Flag, Kind
from kpath.capture.tables import Symbol, Symbols
from kpath.capture.unfold import Unfolder
from kpath.kernel.probeable import State
from kpath.model.counted import show
from kpath.report.counted import quantile
from kpath.trace.knowledge import Knowledge

NAMES = ("udp_send_skb", "ip_send_skb", "__ip_local_out", "ip_output", "ip_finish_output2", "__dev_queue_xmit",
         "dev_hard_start_xmit", "skb_release_head_state")  # fmt: skip
BASE = 0xFFFFFFFF_81000000


def address(name: str) -> int:
    return BASE + 0x1000 * NAMES.index(name)


def probes() -> list[Probe]:
    return [
        Probe(PLAN_BY_NAME[name], State.ATTACHABLE, "", name, address(name), "", program="ip_0") for name in NAMES
    ]


def knowledge() -> Knowledge:
    know = Knowledge(packets_only=True)
    found: dict[int, Symbol] = {}
    for name in NAMES:
        for offset in (5, 0x80):
            found[address(name) + offset] = Symbol(name, "", offset, 0x1000)
    know.add(Symbols(found))
    return know


def record(*hops: tuple[str, int, int, Bit, int]) -> Any:
    """A record of hops: (function, one more than the hop that it stands in, stack pointer, bits, facts)."""
    made = np.zeros(1, paths.RECORD)[0]
    made["birth"], made["count"], made["first_proto"] = 1_000_000, len(hops), 17
    made["saddr"], made["daddr"] = 0x0100010A, 0x0100020A  # 10.1.0.1 and 10.2.0.1, as they lie in the packet
    for hop, (name, parent, sp, bits, facts) in zip(made["hops"], hops, strict=False):
        caller = address(hops[parent - 1][0]) + 0x80 if parent else BASE - 0x5000
        hop["ip"], hop["caller"] = (address(name) + 5) & 0xFFFFFFFF, caller & 0xFFFFFFFF
        hop["parent"], hop["sp"], hop["bits"], hop["facts"] = parent, sp, bits, facts
        if not bits & Bit.LIGHT:
            hop["netns"], hop["ifindex"] = 7, 2
    return made


SEEN = Fact.HEADER | 17 | 1 << paths.ETHER
SENT = (
    ("udp_send_skb", 0, 1800, Bit.NEW_STACK, 0),
    ("ip_send_skb", 1, 1790, Bit.LIGHT, 0),
    ("__ip_local_out", 2, 1780, Bit.LIGHT, 0),
    ("ip_output", 2, 1780, Bit(0), int(SEEN | Fact.WITHIN_MTU)),
    ("ip_finish_output2", 4, 1770, Bit.LIGHT, 0),
    ("__dev_queue_xmit", 5, 1760, Bit.LIGHT, 0),
    ("dev_hard_start_xmit", 6, 1750, Bit(0), int(SEEN | Fact.COMPARED | Fact.SAME_ID)),
    ("skb_release_head_state", 0, 1700, Bit.NEW_STACK | Bit.LIGHT, 0),
)


@pytest.mark.parametrize(
    ("name", "dtype"), [("hop", paths.HOP), ("record", paths.RECORD), ("path", paths.PATH)], ids=str
)
def test_the_compiler_lays_structures_out_as_numpy_does(name: str, dtype: Any, tmp_path: Path) -> None:
    """So no field is ever read from where another is."""
    fields = [field for field in dtype.names if name != "record" or field == "hops"]
    shown = "".join(f'printf("%zu\\n", __builtin_offsetof(struct {name}, {field}));' for field in fields)
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <stdio.h>\ntypedef unsigned long long u64; typedef unsigned u32; typedef unsigned short u16;"
        f"typedef unsigned char u8;\n{paths.c_structs()}\n"
        f'int main(void) {{ {shown} printf("%zu\\n", sizeof(struct {name})); }}\n'
    )
    subprocess.run(["gcc", "-o", str(tmp_path / "layout"), str(source)], check=True)
    told = subprocess.run([str(tmp_path / "layout")], capture_output=True, text=True, check=True).stdout.split()
    assert [int(n) for n in told] == [*(dtype.fields[f][1] for f in fields), dtype.itemsize]


def test_functions_without_a_packet_are_left_out() -> None:
    classes = {planned.cls for planned in paths.planned(PLAN)}
    assert Class.FRAME not in classes and Class.ROOT not in classes and Class.IP in classes


def test_most_functions_only_notice_that_the_packet_was_there() -> None:
    probed = {"ip_rcv", "ip_rcv_core", "ip_forward", "udp_queue_rcv_skb"}
    assert paths.lighten("ip_0", "ip_rcv", probed) == "ip_light_0"
    assert paths.lighten("ip_0", "ip_rcv", {"ip_rcv"}) == "ip_0", "where ip_rcv_core is inlined ip_rcv stands for it"
    assert paths.lighten("ip_0", "ip_forward", probed) == "ip_0"
    assert paths.lighten("link_1", "udp_queue_rcv_skb", probed) == "link_light_1"
    assert paths.lighten("hook", "nf_hook_slow", probed) == "hook"


def test_what_the_plan_looks_at_is_in_the_plan() -> None:
    assert set(PLAN_BY_NAME) >= paths.LOOKED_AT


def test_a_record_becomes_events_with_the_same_tree() -> None:
    events, skb = Unfolder(probes()).events(record(*SENT))
    assert len(events) == len(SENT)
    assert set(events["skb"].tolist()) == {skb}
    assert np.all(np.diff(events["time"].astype(np.int64)) > 0)
    assert [PLAN_BY_NAME[name].cls for name in NAMES] == events["cls"].tolist()
    shown = show(events, skb, False, knowledge(), None, ())
    assert shown is not None
    ((traversal, _),) = shown.passes
    tree = {f.name: f.parent.name if f.parent else None for f in traversal.frames}
    assert tree == {
        "udp_send_skb": None, "ip_send_skb": "udp_send_skb", "__ip_local_out": "ip_send_skb",
        "ip_output": "ip_send_skb", "ip_finish_output2": "ip_output", "__dev_queue_xmit": "ip_finish_output2",
        "dev_hard_start_xmit": "__dev_queue_xmit", "skb_release_head_state": None,
    }  # fmt: skip
    assert traversal.end.how == "sent"
    header = traversal.header
    assert header is not None and (header.saddr, header.daddr, header.proto) == (0x0A010001, 0x0A020001, 17)


@pytest.mark.parametrize(
    ("facts", "holds"),
    [
        (SEEN | Fact.OVER_MTU, lambda e: e["len"] > e["mtu"] > 0),
        (SEEN | Fact.WITHIN_MTU, lambda e: 0 < e["len"] <= e["mtu"]),
        (SEEN, lambda e: e["mtu"] == 0),
        (SEEN | Fact.DF, lambda e: e["frag_off"] == 0x4000),
        (SEEN | Fact.FRAGMENT, lambda e: e["frag_off"] & 0x3FFF),
        (SEEN | Fact.EXPIRED, lambda e: e["ttl"] == 1),
        (SEEN | Fact.XFRM, lambda e: e["dst_xfrm"]),
        (SEEN | Fact.GSO, lambda e: e["gso_size"]),
        (SEEN | Fact.WAS_FRAGMENTS, lambda e: e["frag_max"]),
        (SEEN | Fact.REROUTED, lambda e: e["ipcb"] & 16),
        (SEEN | 4 << paths.NUD, lambda e: e["nud_state"] == 4),
        (2 << paths.ETHER | 1 << paths.ARP, lambda e: e["protocol"] == 0x0806 and e["arp_op"] == 1),
    ],
)  # fmt: skip
def test_each_fact_says_the_same_as_an_event(facts: int, holds: Any) -> None:
    events, _ = Unfolder(probes()).events(record(("ip_output", 0, 1800, Bit(0), int(facts))))
    assert holds(events[0])
    assert bool(events[0]["flags"] & Flag.HEADER) == bool(facts & Fact.HEADER)


def test_ttl_and_addresses_change_by_what_was_seen() -> None:
    step = -1 & 0xFF
    events, _ = Unfolder(probes()).events(
        record(
            ("ip_output", 0, 1800, Bit(0), int(SEEN)),
            ("ip_output", 0, 1800, Bit(0), int(SEEN | Fact.COMPARED | Fact.SAME_ID) | step << paths.TTL),
            ("ip_output", 0, 1800, Bit(0), int(SEEN | Fact.COMPARED | Fact.READDRESSED)),
        )
    )
    assert int(events[1]["ttl"]) == int(events[0]["ttl"]) - 1
    assert events[1]["ip_id"] == events[0]["ip_id"]
    assert (events[1]["saddr"], events[1]["daddr"]) == (events[0]["saddr"], events[0]["daddr"])
    assert (events[2]["saddr"], events[2]["daddr"]) != (events[1]["saddr"], events[1]["daddr"])


def test_a_drop_keeps_its_place_and_reason() -> None:
    made = record(SENT[0], SENT[1])
    made["count"] = 3
    drop = made["hops"][2]
    drop["caller"], drop["facts"] = (address("ip_output") + 0x80) & 0xFFFFFFFF, 42
    events, skb = Unfolder(probes()).events(made)
    assert events[2]["kind"] == Kind.DROP and events[2]["value"] == 42
    assert events[2]["caller"] == address("ip_output") + 0x80
    assert events[2]["skb"] == skb


def test_quantiles_are_right_within_a_bucket() -> None:
    buckets = np.zeros(paths.BUCKETS, np.uint32)
    assert quantile(buckets, 0.5) == 0
    buckets[2 * 10] = 99  # 1024 to 1535 ns
    buckets[2 * 20 + 1] = 1  # 1.5 to 2 times 2**20 ns
    assert 1024 <= quantile(buckets, 0.5) <= 1536
    assert 1.5 * 2**20 <= quantile(buckets, 0.995) <= 2**21
