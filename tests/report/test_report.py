"""Trees in words and in JSON: what a user reads is true, safe to print, and documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kpath.capture.schema import Class, Kind
from kpath.report import json as as_json
from kpath.report import text, words
from kpath.trace.frames import Event
from kpath.trace.traversal import traversals
from tests.trace.stream import Stream

HOSTS = (0x0A010001, 0x0A020001)
DOCS = Path(__file__).parents[2] / "docs" / "json.md"


def dropped() -> Stream:
    s = Stream()
    s.knowledge.drop_reasons[3] = "NO_SOCKET"
    s.knowledge.devices[(1, 2)] = "eth\x1b[2J0"
    s.knowledge.comms[7] = "evil\x1b]0;x\x07"
    here: dict[str, Any] = {"skb": 1, "birth": 10, "header": HOSTS, "ifindex": 2, "pid": 7}
    s.event("ip_rcv", sp=0x900, stack=1 << 40, dst_input=s.function("ip_local_deliver"), **here)
    s.event("nf_hook_slow", sp=0x800, parent_sp=0x900, stack=1 << 40, cls=Class.HOOK, **here | {"hook": 1, "pf": 2})
    s.event("", sp=0x800, stack=1 << 40, kind=Kind.VERDICT, skb=1, birth=10, value=1)
    s.event("udp_rcv", sp=0x800, parent_sp=0x900, stack=1 << 40, caller=s.site("ip_protocol_deliver_rcu", None), **here)
    s.event("", kind=Kind.DROP, skb=1, birth=10, value=3, caller=s.site("udp_rcv", None))
    s.event("skb_release_head_state", stack=1 << 40, cls=Class.END, skb=1, birth=10)
    return s


def rendered(s: Stream) -> str:
    assembler: Any = s.assemble()
    lines = []
    for journey in assembler.journeys:
        lines += [line.plain for line in text.render(journey, traversals(journey), assembler.knowledge)]
    return "\n".join(lines)


def test_a_tree_says_what_happened() -> None:
    out = rendered(dropped())
    assert "10.1.0.1:0 → 10.2.0.1:0 UDP" in out
    assert "receive" in out and "dst->input=ip_local_deliver" in out
    assert "nf_hook_slow LOCAL_IN → accept" in out
    assert "udp_rcv  ← ip_protocol_deliver_rcu" in out
    assert "dropped: NO_SOCKET at udp_rcv+0x10" in out


def test_children_stand_deeper_than_their_parents() -> None:
    lines = rendered(dropped()).splitlines()
    column = {name: next(line.index(name) for line in lines if name in line) for name in ("ip_rcv", "nf_hook_slow")}
    assert column["nf_hook_slow"] > column["ip_rcv"]


def test_nothing_captured_steers_the_terminal() -> None:
    out = rendered(dropped())
    assert "\x1b" not in out and "\x07" not in out and "evil" in out


def test_json_has_the_tree_and_is_documented() -> None:
    assembler: Any = dropped().assemble()
    (journey,) = assembler.journeys
    out = json.loads(json.dumps(as_json.journey(journey, traversals(journey), assembler.knowledge)))
    assert out["traversals"][0]["end"]["reason"] == "NO_SOCKET"
    documented = DOCS.read_text()
    missing = [key for key in keys(out) if f"`{key}`" not in documented]
    assert not missing


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    if isinstance(value, list):
        return set().union(*map(keys, value))
    return set()


def event(**fields: int) -> Event:
    from kpath.capture.schema import FIELDS

    made: Event = Event._make([fields.get(field.name, 0) for field in FIELDS])
    return made


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"proto": 17, "sport": 5, "dport": 53}, "10.1.0.1:5 → 10.2.0.1:53 UDP"),
        (
            {"proto": 6, "sport": 5, "dport": 80, "tcp_flags": 0x12, "l4": 9},
            "10.1.0.1:5 → 10.2.0.1:80 TCP SYN,ACK seq 9",
        ),
        ({"proto": 1, "sport": 0x0800, "l4": 3}, "10.1.0.1 → 10.2.0.1 ICMP echo request seq 3"),
        ({"proto": 1, "sport": 0x0303}, "10.1.0.1 → 10.2.0.1 ICMP port unreachable"),
        ({"proto": 17, "frag_off": 0x00B9}, "10.1.0.1 → 10.2.0.1 UDP fragment at 1480"),
        ({"proto": 253}, "10.1.0.1 → 10.2.0.1 protocol 253"),
        ({"arp_op": 1}, "ARP who has 10.2.0.1, asks 10.1.0.1"),
    ],
)
def test_packets_in_words(fields: dict[str, int], expected: str) -> None:
    assert words.packet(event(saddr=HOSTS[0], daddr=HOSTS[1], **fields)) == expected


@pytest.mark.parametrize(
    ("value", "word"), [(1, "accept"), (-1, "drop"), (0, "stolen or queued"), (None, "verdict not seen")]
)
def test_verdicts_in_words(value: int | None, word: str) -> None:
    assert words.verdict_name(value) == word
