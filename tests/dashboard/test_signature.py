"""Paths in words, of what real kernels did."""

from __future__ import annotations

import pytest

from tests.dashboard.stage import packets


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("esp-tunnel", "receive ra → forward → ESP tunnel → rb"),
        ("esp-tunnel", "receive vb → ESP tunnel"),
        ("esp-transport", "UDP send → ESP transport → va"),
        ("udp-open", "receive vb → UDP"),
        ("udp-closed", "receive vb → UDP ✗ NO_SOCKET"),
        ("udp-closed", "ICMP error → vb"),
        ("udp-cork", "UDP send → va"),
        ("nft-dnat", "receive ra → DNAT → forward → rb"),
        ("nft-masquerade", "receive ra → forward → SNAT → rb"),
        ("nft-drop", "receive ra → forward → FORWARD drop ✗ NETFILTER_DROP"),
        ("fragments", "UDP send → fragments → va"),
        ("fragments", "receive vb → reassembly → UDP"),
        ("no-route", "receive ra → no route ✗ IP_INNOROUTES"),
        ("tcp-retransmit", "TCP retransmit → va"),
        ("tcp-refused", "TCP reset → vb"),
    ],
)
def test_in_words(name: str, words: str) -> None:
    assert words in {one.words for packet in packets(name) for one in packet.passes}


def test_the_same_path_has_the_same_number() -> None:
    forwarded = [one for p in packets("tcp-bulk") for one in p.passes if one.words == "receive ra → forward → rb"]
    assert len(forwarded) >= 10
    assert len({one.variant for one in forwarded}) <= 2
    assert len({one.variant for p in packets("tcp-bulk") for one in p.passes}) > 10


def test_another_verdict_of_a_hook_is_another_path() -> None:
    passed = {one.variant for p in packets("udp-open") for one in p.passes}
    assert passed and len(passed) == sum(len(p.passes) for p in packets("udp-open"))
