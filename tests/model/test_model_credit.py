"""Coverage counts the step that was taken, also where a reading could be of several."""

from __future__ import annotations

import pytest

from kpath.model.check import Checker
from tests.model.captures import named, passes, probes


def credited(scenario: str, document: str) -> set[tuple[str, str]]:
    """The steps that were credited: flow and the frame that it stands in, and the function."""
    (file,) = [f for f in named(scenario) if f.parent.name == "6.12"]
    checker = Checker.for_stream(probes(file), [document])
    nodes = checker.judges[0].machine.graph.nodes
    found = set()
    for one in passes(file):
        for id, _ in checker.judge_tree(one.tree)[0].evidence.targets:
            node = nodes[id]
            owner = nodes[node.owner].step.label.split()[-1] if node.owner else ""
            found.add((f"{node.flow}: {owner}", node.step.label.split()[-1]))
    return found


@pytest.mark.parametrize(
    ("scenario", "document", "around", "function", "why"),
    [
        ("tcp", "linux-2.6.21.1", "tcp_v4_do_rcv: inet_csk_route_req", "ip_route_output_flow", "a frame above"),
        ("multicast", "linux-6", "ip_mc_output: dev_loopback_xmit", "netif_rx", "another traversal's last frame"),
        ("udp-open", "linux-6", "netdev_start_xmit: veth_xmit", "netif_rx", "the return address"),
        ("ping-cold", "linux-6", "neigh_resolve_output: __neigh_event_send", "neigh_resolve_output", "a queue"),
        ("tcp-bulk", "linux-6", "ip_finish_output: ip_finish_output_gso", "ip_finish_output2", "the packet is GSO"),
        ("bridge", "linux-6", "br_handle_frame: br_handle_frame_finish", "__br_forward", "flooded, not forwarded"),
        ("nft-drop", "linux-6", "", "sk_skb_reason_drop", "a flow that may stand anywhere"),
    ],
)  # fmt: skip
def test_the_step_is_credited(scenario: str, document: str, around: str, function: str, why: str) -> None:
    found = credited(scenario, document)
    assert any(a.endswith(around) and f == function for a, f in found), f"{why}: {sorted(found)}"


@pytest.mark.parametrize(
    ("scenario", "document", "around", "function"),
    [
        ("udp-open", "linux-2.6.21.1", "icmp_send: ip_route_output_key", "ip_route_output_flow"),
        ("udp-open", "linux-6", "ip_finish_output: ip_finish_output_gso", "ip_finish_output2"),
        ("udp-open", "linux-6", "netdev_start_xmit: loopback_xmit", "netif_rx"),
        ("ping", "linux-6", "neigh_resolve_output: __neigh_event_send", "neigh_resolve_output"),
    ],
)
def test_what_was_not_taken_is_not(scenario: str, document: str, around: str, function: str) -> None:
    assert (around, function) not in credited(scenario, document)
