"""The rule by which call trees of two observers are compared: what is wrong is found, what is chance is not."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.guest.ftrace import Call, parse
from tests.guest.likeness import Sight, differences, sight

ROOTS = frozenset({"poll", "tcp_sendmsg", "tcp_recvmsg"})
LIFE = frozenset({"consume_skb"})


def tree(text: str) -> list[Call]:
    """Calls from an outline, two spaces a level."""
    roots: list[Call] = []
    path: list[Call] = []
    for line in filter(str.strip, text.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        call = Call(line.strip())
        del path[depth:]
        (path[-1].children if path else roots).append(call)
        path.append(call)
    return roots


def see(*texts: str, begin: Collection[str] = ROOTS) -> Sight:
    """The sight of outlines, one after another."""
    return sight([call for text in texts for call in tree(text)], begin, LIFE)


RECEIVE = """
poll
  __netif_receive_skb_one_core
    ip_rcv
      ip_rcv_core
      ip_local_deliver
        udp_rcv
"""


def test_the_same_is_no_difference() -> None:
    assert not differences([see(RECEIVE)], [see(RECEIVE)])


@pytest.mark.parametrize(
    "wrong",
    [
        RECEIVE.replace("        udp_rcv", "      udp_rcv"),  # hung too high
        RECEIVE.replace("      ip_local_deliver", "        ip_local_deliver"),  # adopted by one that has returned
        RECEIVE.replace("      ip_rcv_core\n", ""),  # missing
        RECEIVE.replace("ip_rcv_core\n", "ip_rcv_core\n      ip_rcv_core\n"),  # seen twice
        RECEIVE.replace("udp_rcv", "tcp_rcv"),  # another name
        RECEIVE + RECEIVE,  # one packet too many
    ],
)
def test_a_mistake_that_is_made_each_time_is_found(wrong: str) -> None:
    right = see(RECEIVE)
    assert differences([see(wrong)], [right])
    assert differences([see(wrong)] * 3, [right] * 9)
    assert differences([right], [see(wrong)])


def test_what_comes_now_and_then_is_chance() -> None:
    timer = "poll\n  neigh_timer_handler\n    arp_solicit\n"
    assert differences([see(RECEIVE, timer)], [see(RECEIVE)])
    assert not differences([see(RECEIVE, timer), see(RECEIVE)], [see(RECEIVE)])
    assert not differences([see(RECEIVE)], [see(RECEIVE), see(RECEIVE, timer)])


def test_it_does_not_matter_which_poll_has_a_packet() -> None:
    two_polls = see(RECEIVE, RECEIVE)
    one_poll = see(RECEIVE + RECEIVE.replace("\npoll", ""))
    assert not differences([two_polls], [one_poll])
    assert differences([two_polls], [see(RECEIVE)])


TCP_RECEIVE = """
poll
  __netif_receive_skb_one_core
    ip_rcv
      tcp_v4_rcv
        {}
"""
WORK = (
    "tcp_v4_do_rcv\n{0}  tcp_rcv_established\n{0}    __tcp_transmit_skb\n"
    "{0}      __ip_queue_xmit\n{0}        ip_output\n"
)


def test_a_segment_may_be_worked_off_by_whoever_lets_go_of_the_socket() -> None:
    at_once = see(TCP_RECEIVE.format(WORK.format(" " * 8)))
    later = see(
        TCP_RECEIVE.format("tcp_add_backlog"), "tcp_recvmsg\n  __release_sock\n    " + WORK.format(" " * 4)
    )
    assert not differences([later], [at_once, at_once])
    assert not differences([at_once], [later, later])


def test_in_tcp_the_way_of_a_segment_is_compared_and_not_how_many_there_are() -> None:
    work = WORK.format(" " * 8)
    right, wrong = see(TCP_RECEIVE.format(work)), see(TCP_RECEIVE.format(work.replace("  ip_output", "ip_output")))
    assert not differences([right], [see(*[TCP_RECEIVE.format(work)] * 3)])
    assert differences([wrong], [right])
    assert differences([wrong] * 3, [right] * 9)


def test_ends_of_buffers_are_edges_and_in_no_tree() -> None:
    freed = see(RECEIVE + "          consume_skb\n")
    assert not differences([freed], [see(RECEIVE)])
    assert freed.edges["udp_rcv", "consume_skb"] == 1


def test_a_difference_says_how_often_and_what() -> None:
    (found, *_) = differences([see(RECEIVE)], [see(), see()])
    assert str(found).splitlines()[:3] == [
        "kpath saw this 1 times, the tracer 0 and 0 times:", "  __netif_receive_skb_one_core", "    ip_rcv",
    ]  # fmt: skip


def test_the_tracer_s_text_becomes_the_same_trees() -> None:
    text = """
 0)  python3-204   |  __do_softirq() {
 0)  python3-204   |    poll() {
 0)  python3-204   |      __netif_receive_skb_one_core() {
 0)  python3-204   |        ip_rcv() {
 0)  python3-204   |          ip_rcv_core();
 1)    <idle>-0    |  other();
 0)  python3-204   |          ip_local_deliver() {
 0)  python3-204   |            udp_rcv();
 0)  python3-204   |          } /* ip_local_deliver */
 0)  python3-204   |        } /* ip_rcv */
 0)  python3-204   |      } /* __netif_receive_skb_one_core */
 0)  python3-204   |    } /* poll */
 0)  python3-204   |  } /* __do_softirq */
"""
    assert sight(parse(text), ROOTS, LIFE).trees == see(RECEIVE).trees


def test_how_often_a_poll_found_nothing_is_chance() -> None:
    roots = ROOTS | {"__napi_poll"}
    idle, busy = "__napi_poll\n  process_backlog", "__napi_poll\n  process_backlog\n    ip_rcv"
    assert not differences([see(idle, begin=roots)], [see(idle, idle, begin=roots)])
    assert differences([see(busy, begin=roots)], [see(busy, busy, begin=roots)])
    assert differences([see(busy, begin=roots)], [see(idle, busy, begin=roots)])


def test_how_many_segments_were_cut_is_chance_and_what_became_of_each_is_not() -> None:
    cut, sent = "poll\n  xfrm_output_gso\n    __skb_gso_segment\n", "    xfrm_output_resume\n      esp_output\n"
    assert not differences([see(cut + 4 * sent)], [see(cut + 5 * sent)])
    assert differences([see(cut + 4 * sent)], [see(cut + 3 * sent + "    xfrm_output_resume\n")])
    assert differences([see(cut + sent)], [see(cut)])


def test_a_queue_that_was_run_for_nothing_is_chance_and_what_came_out_of_it_is_not() -> None:
    roots = ROOTS | {"net_tx_action"}
    idle, busy = "net_tx_action\n  __qdisc_run", "net_tx_action\n  __qdisc_run\n    dev_hard_start_xmit"
    assert not differences([see(idle, RECEIVE, begin=roots)], [see(RECEIVE, begin=roots)])
    assert differences([see(busy, RECEIVE, begin=roots)], [see(RECEIVE, begin=roots)])
    assert differences([see(busy, begin=roots)], [see(idle, begin=roots)])


def test_how_many_a_queue_gives_at_once_is_chance_and_their_way_is_not() -> None:
    taken = "    sch_direct_xmit\n      validate_xmit_skb_list\n        validate_xmit_skb\n      dev_hard_start_xmit\n"
    sent = "        veth_xmit\n          __netif_rx\n"
    run, one = "net_tx_action\n  __qdisc_run\n", taken + sent
    both = taken.replace("      dev", "        validate_xmit_skb\n      dev") + sent + sent
    assert not differences([see(run + one + one)], [see(run + both)])
    assert differences([see(run + one + taken)], [see(run + both)])


def test_whether_a_tunnel_still_had_its_route_is_chance_and_what_it_sends_is_not() -> None:
    has = RECEIVE + "          dev_hard_start_xmit\n            iptunnel_xmit\n"
    route = "            ip_route_output_flow\n              xfrm_lookup_route\n"
    looks = has.replace("            iptunnel_xmit", route + "            iptunnel_xmit")
    assert not differences([see(has)], [see(looks)] * 9)
    assert differences([see(RECEIVE + route[2:].replace("\n  ", "\n"))], [see(RECEIVE)])  # whoever is no tunnel
    assert differences([see(looks.replace("            iptunnel_xmit\n", ""))], [see(looks)])
    assert see(looks).edges["dev_hard_start_xmit", "ip_route_output_flow"] == 1  # each of which is asked for anyway
