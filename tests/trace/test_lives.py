"""Identity: which buffers are one packet, and which are not."""

from __future__ import annotations

from typing import Any

from kpath.capture.schema import Class, Kind
from kpath.trace.lives import Journey
from kpath.trace.traversal import traversals
from tests.trace.stream import Stream

HOSTS = (0x0A010001, 0x0A020001)


def journeys(s: Stream) -> list[Journey]:
    assembler: Any = s.assemble()
    return list(assembler.journeys)


def test_an_address_used_again_is_another_packet() -> None:
    s = Stream()
    s.event("ip_rcv", skb=1, birth=10, header=HOSTS)
    s.event("skb_release_head_state", skb=1, birth=10, cls=Class.END)
    s.event("ip_rcv", skb=1, birth=20, header=HOSTS)
    assert [len(j.lives) for j in journeys(s)] == [1, 1]


def test_an_address_used_again_is_seen_even_when_its_end_was_lost() -> None:
    s = Stream()
    s.event("ip_rcv", skb=1, birth=10, header=HOSTS)
    s.lose()
    s.event("ip_rcv", skb=1, birth=20, header=HOSTS)
    assert len(journeys(s)) == 2


def test_a_buffer_in_a_socket_never_goes_out() -> None:
    s = Stream()
    s.event("__udp_enqueue_schedule_skb", skb=1, birth=10, header=HOSTS, cls=Class.LINK)
    s.event("__ip_local_out", skb=1, birth=10, header=HOSTS)
    assert len(journeys(s)) == 2


def test_a_clone_belongs_to_its_packet() -> None:
    s = Stream()
    s.event("ip_rcv", skb=1, birth=10, header=HOSTS)
    s.event("__copy_skb_header", skb=2, birth=11, other=1, arg=10, cls=Class.COPY)
    s.event("packet_rcv", skb=2, birth=11, header=HOSTS, cls=Class.LINK)
    (journey,) = journeys(s)
    assert len(journey.lives) == 2


def test_each_transmission_of_a_kept_segment_is_a_journey() -> None:
    s = Stream()
    for number, copy in enumerate((2, 3)):
        s.event("__tcp_transmit_skb", skb=1, birth=10, cls=Class.ORIGIN)
        s.event("__copy_skb_header", skb=copy, birth=20 + number, other=1, arg=10, cls=Class.COPY)
        s.event("__ip_local_out", skb=copy, birth=20 + number, header=HOSTS)
    found = journeys(s)
    assert [j.lives[0].transmission for j in found] == [1, 2]


def test_fragments_are_one_packet_and_meet_again() -> None:
    s = Stream()
    s.event("ip_output", sp=0x900, skb=1, birth=10, header=HOSTS, ip_id=7)
    s.event("ip_do_fragment", sp=0x800, parent_sp=0x900, skb=1, birth=10, header=HOSTS, ip_id=7)
    for skb in (2, 3):
        s.event("ip_finish_output2", sp=0x700, parent_sp=0x800, skb=skb, birth=skb, header=HOSTS, ip_id=7)
    (journey,) = journeys(s)
    assert {life.skb for life in journey.lives} == {1, 2, 3}


def test_fragments_that_came_by_wire_are_joined_by_reassembly() -> None:
    s = Stream()
    for skb in (2, 3):
        s.event("ip_defrag", skb=skb, birth=skb, header=HOSTS, ip_id=7)
    s.event("ip_defrag", skb=4, birth=4, header=HOSTS, ip_id=8)
    assert sorted(len(j.lives) for j in journeys(s)) == [1, 2]


def test_what_a_device_sent_another_receives() -> None:
    s = Stream()
    s.event("dev_hard_start_xmit", skb=1, birth=10, header=HOSTS, ip_id=7, ifindex=2, cls=Class.LINK)
    s.event("skb_release_head_state", skb=1, birth=10, cls=Class.END)
    s.event("napi_gro_receive", skb=2, birth=20, header=HOSTS, ip_id=7, ifindex=3, cls=Class.LINK)
    s.event("napi_gro_receive", skb=3, birth=30, header=HOSTS, ip_id=8, ifindex=3, cls=Class.LINK)
    assert sorted(len(j.lives) for j in journeys(s)) == [1, 2]


def test_gro_joins_what_it_merges() -> None:
    s = Stream()
    s.event("napi_gro_receive", skb=1, birth=10, header=HOSTS, cls=Class.LINK)
    s.event("napi_gro_receive", skb=2, birth=11, header=HOSTS, cls=Class.LINK)
    s.event("skb_gro_receive", skb=2, birth=11, other=1, arg=10, header=HOSTS, cls=Class.MERGE)
    (journey,) = journeys(s)
    assert sum(life.merged for life in journey.lives) == 1


def test_a_drop_ends_the_traversal_with_the_kernels_reason() -> None:
    s = Stream()
    s.knowledge.drop_reasons[3] = "NO_SOCKET"
    s.event("ip_rcv", sp=0x900, skb=1, birth=10, header=HOSTS)
    s.event("", kind=Kind.DROP, skb=1, birth=10, value=3, caller=s.site("udp_rcv", None))
    s.event("skb_release_head_state", skb=1, birth=10, cls=Class.END)
    (journey,) = journeys(s)
    (traversal,) = traversals(journey)
    assert (traversal.end.how, traversal.end.reason) == ("dropped", "NO_SOCKET")


def test_a_segment_before_its_turn_has_reached_its_socket() -> None:
    s = Stream()
    s.event("ip_rcv", skb=1, birth=10, header=HOSTS)
    s.event("tcp_v4_rcv", sp=0x7800, parent_sp=0x8000, skb=1, birth=10, header=HOSTS, cls=Class.LINK)
    assert [t.end.how for j in journeys(s) for t in traversals(j)] == ["open"]
    s.event("tcp_data_queue", sp=0x7000, parent_sp=0x7800, skb=1, birth=10, header=HOSTS, cls=Class.LINK)
    ends = [(t.end.how, t.end.where) for j in journeys(s) for t in traversals(j)]
    assert ends == [("delivered", "tcp_v4_rcv")]


def test_a_router_is_three_traversals() -> None:
    s = Stream()
    here: dict[str, Any] = {"skb": 1, "birth": 10, "header": HOSTS}
    s.event("ip_output", netns=1, sp=0x900, **here)
    s.event("dev_hard_start_xmit", netns=1, ifindex=2, sp=0x800, parent_sp=0x900, cls=Class.LINK, **here)
    s.event("__netif_rx", netns=2, ifindex=3, sp=0x700, parent_sp=0x800, cls=Class.LINK, **here)
    s.event("ip_rcv", netns=2, ifindex=3, stack=1, **here)
    s.event("ip_forward", netns=2, ifindex=3, sp=0x7F00, stack=1, **here)
    s.event("dev_hard_start_xmit", netns=2, ifindex=4, sp=0x7E00, stack=1, cls=Class.LINK, **here)
    s.event("__netif_rx", netns=3, ifindex=5, sp=0x7D00, stack=1, cls=Class.LINK, **here)
    s.event("ip_rcv", netns=3, ifindex=5, stack=1, **here)
    s.event("udp_rcv", netns=3, ifindex=5, stack=1, **here)
    s.event("skb_release_head_state", netns=3, cls=Class.END, skb=1, birth=10)
    (journey,) = journeys(s)
    passes = traversals(journey)
    assert [(t.direction, t.netns, t.end.how) for t in passes] == [
        ("output", 1, "sent"),
        ("forward", 2, "sent"),
        ("receive", 3, "delivered"),
    ]
    assert (passes[1].device_in, passes[1].device_out) == (3, 4)


def test_a_packet_behind_another_in_the_driver_s_list_is_sent_and_arrives() -> None:
    """A queue that is worked off in bulk hands over a list; the call shows its first packet only."""
    s = Stream()
    for skb, port in ((1, 7), (2, 8)):
        s.event("__dev_queue_xmit", skb=skb, birth=10, header=HOSTS, cls=Class.LINK, sport=port, ip_id=port, ifindex=3)
        s.event("validate_xmit_skb", skb=skb, birth=10, header=HOSTS, cls=Class.LINK, sport=port, ip_id=port, ifindex=3)
    s.event("dev_hard_start_xmit", skb=1, birth=10, header=HOSTS, cls=Class.LINK, sport=7, ip_id=7, ifindex=3)
    for skb, port in ((3, 7), (4, 8)):
        s.event("netif_receive_skb", skb=skb, header=HOSTS, cls=Class.LINK, sport=port, ip_id=port, ifindex=4)
    for skb in (1, 2):
        s.event("skb_release_head_state", skb=skb, birth=10, cls=Class.END)
    found = journeys(s)
    assert [[life.skb for life in j.lives] for j in found] == [[1, 3], [2, 4]]
    ends = [traversals(j)[0] for j in found]
    assert [(t.end.how, t.end.where, t.device_out) for t in ends] == [("sent", "3", 3)] * 2
