"""Checks of the scenarios of ``kpath.lab.policies``."""

from __future__ import annotations

from tests.guest.checks.base import ICMP, IN, NEAR, OUT, OVER, UDP, Seen, check, in_order, names

HANDED = (*IN[:4], "handed on")


@check("nat-t")
def nat_t(seen: Seen) -> None:
    """UDP gives it to IPsec, and gets it back decrypted."""
    journey = seen.one(UDP)
    seen.amount(1)
    assert seen.ways(journey)[:2] == [OUT, OVER]
    in_order(names(seen.traversals(journey)[0]), "xfrm4_output", "esp_output", "ip_output", "dev_hard_start_xmit")
    got = [name for t in seen.traversals(journey)[2:] for name in names(t)]
    in_order(got, "udp_rcv", "xfrm4_udp_encap_rcv", "xfrm_input", "esp_input", "udp_rcv", "udp_queue_rcv_one_skb")


@check("xfrm-socket")
def xfrm_socket(seen: Seen) -> None:
    """One goes by ESP, the other does not; both are looked up in the socket's policy."""
    secret, plain = seen.packets(UDP)
    first, second = (names(seen.traversals(j)[0]) for j in (secret, plain))
    in_order(first, "xfrm_sk_policy_lookup", "xfrm_resolve_and_create_bundle", "esp_output", "ip_output")
    in_order(second, "xfrm_sk_policy_lookup", "ip_output")
    assert "xfrm4_output" not in second and seen.ways(plain) == [OUT, OVER, IN]


@check("xfrm-acquire")
def xfrm_acquire(seen: Seen) -> None:
    """It gets a route that leads nowhere, and is dropped there."""
    journey = seen.one(UDP)
    seen.amount(1)
    (only,) = seen.traversals(journey)
    in_order(names(only), "udp_sendmsg", "ip_route_output_flow", "__ip_local_out", "dst_discard_out")
    assert only.end.how == "dropped"


@check("xfrm-block-error")
def xfrm_block_error(seen: Seen) -> None:
    """The router wants to say something, finds no way that the policy allows, and says nothing."""
    journey = seen.one(UDP)
    seen.amount(1)
    over = seen.traversals(journey)[1]
    in_order(names(over), "ip_forward", "__icmp_send", "xfrm_lookup", "ip_route_input_noref")
    assert over.end.how == "dropped"


@check("xfrm-interface")
def xfrm_interface(seen: Seen) -> None:
    """The interface finds the states, and the packet goes out in the tunnel."""
    request = seen.one(ICMP, NEAR.replace("10.1.0", "10.18.0"))
    sent = names(seen.traversals(request)[0])
    in_order(sent, "ip_output", "xfrmi_xmit", "xfrm4_output", "esp_output", "ip_output", "dev_hard_start_xmit")


@check("esp-nested")
def esp_nested(seen: Seen) -> None:
    """Two rounds out, two rounds in."""
    journey = seen.one(UDP)
    sent = names(seen.traversals(journey)[0])
    assert sent.count("esp_output") == 2 and sent.count("xfrm_outer_mode_output") == 2
    got = [name for t in seen.traversals(journey)[2:] for name in names(t)]
    assert got.count("esp_input") == 2
    in_order(got, "esp_input", "esp_input", "udp_rcv")
