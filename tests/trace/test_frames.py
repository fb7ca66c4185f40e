"""Parents: what the kernel side saw alive, and what a slot that is used again means."""

from __future__ import annotations

from kpath.capture.schema import Class, Flag, Kind
from kpath.capture.tables import INDIRECT
from kpath.trace.frames import Event, Frame, FrameBuilder, events_of
from tests.trace.stream import Stream


def frames(stream: Stream) -> list[Frame]:
    import numpy as np

    builder = FrameBuilder(stream.knowledge)
    out = []
    for event in events_of(np.concatenate(stream.rows)):
        if event.kind == Kind.ENTRY:
            out.append(builder.entry(event))
        else:
            builder.verdict(event)
    return out


def test_parent_is_what_the_kernel_side_saw_alive() -> None:
    s = Stream()
    s.event("a", sp=0x900)
    s.event("b", sp=0x800, parent_sp=0x900, caller=s.site("a", "b"))
    s.event("c", sp=0x850, parent_sp=0x900, caller=s.site("a", "c", 0x20))
    a, b, c = frames(s)
    assert b.parent is a and c.parent is a and not b.tail and not c.orphan
    assert a.children == [b, c]


def test_a_probed_caller_is_the_parent_whatever_slot_looks_alive() -> None:
    """The second call has more arguments on the stack, and none of them lies where the first one returned to."""
    s = Stream()
    s.event("a", sp=0x900)
    s.event("b", sp=0x800, parent_sp=0x900, caller=s.site("a", "b"))
    s.event("c", sp=0x7F0, parent_sp=0x800, caller=s.site("a", "c", 0x20))
    a, b, c = frames(s)
    assert c.parent is a and a.children == [b, c] and not c.orphan


def test_what_frees_a_buffer_calls_nothing_else() -> None:
    """A driver's poll freed a sent buffer; then it receives, and the slots are in a gap of its locals."""
    s = Stream()
    s.event("poll", sp=0x900, cls=Class.ROOT)
    s.event("consume_skb", sp=0x800, parent_sp=0x900, caller=s.site("clean_tx", "consume_skb"), cls=Class.RELEASE)
    s.event("skb_release_head_state", sp=0x7F0, parent_sp=0x800, caller=s.site("consume_skb", "x"), cls=Class.END)
    s.event("napi_gro_receive", sp=0x700, parent_sp=0x7F0, caller=s.site("clean_rx", "z"), cls=Class.LINK)
    s.event("consume_skb", sp=0x6F0, parent_sp=0x700, caller=s.site("napi_gro_receive", "y"), cls=Class.RELEASE)
    poll, _, _, received, freed = frames(s)
    assert received.parent is poll and freed.parent is received


def test_a_driver_s_poll_after_the_backlog_s() -> None:
    """Both are called from the same place, so the slot does not tell them apart (5.10)."""
    s = Stream()
    s.event("net_rx_action", sp=0x900, cls=Class.ROOT)
    s.event("process_backlog", sp=0x800, parent_sp=0x900, caller=s.site("net_rx_action", None), cls=Class.FRAME)
    s.event("__netif_receive_skb", sp=0x700, parent_sp=0x800, caller=s.site("process_backlog", "x"), cls=Class.LINK)
    s.event("napi_gro_receive", sp=0x700, parent_sp=0x800, caller=s.site("virtnet_poll", "y"), cls=Class.LINK)
    softirq, backlog, received, other = frames(s)
    assert received.parent is backlog and other.parent is softirq


def test_a_probed_caller_that_was_not_seen_makes_an_orphan() -> None:
    s = Stream()
    s.event("a", sp=0xA00)
    s.event("x", sp=0x900, stack=1)
    s.event("c", sp=0x7F0, parent_sp=0xA00, caller=s.site("x", "c", 0x20))
    assert frames(s)[2].orphan


def test_what_was_kept_back_has_no_caller_in_the_place_of_one_that_was_passed_over() -> None:
    """Two packets in one poll: of the second only the functions without a packet were kept, and their slots are those
    of the first's, which has returned."""
    s = Stream()
    s.event("poll", sp=0x900, cls=Class.ROOT)
    s.event("receive", sp=0x800, parent_sp=0x900, caller=s.site("poll", "receive"), cls=Class.LINK)
    s.event("core", sp=0x700, parent_sp=0x800, caller=s.site("receive", "core"), flags=Flag.STASHED)
    s.event("core", sp=0x700, parent_sp=0x900, caller=s.site("receive", "core"), flags=Flag.STASHED | Flag.CUT)
    poll, receive, own, other = frames(s)
    assert own.parent is receive and receive.parent is poll
    assert other.parent is None and other.orphan


def test_what_was_kept_back_is_not_called_by_whoever_called_a_function_that_was_passed_over() -> None:
    s = Stream()
    s.event("poll", sp=0x900, cls=Class.ROOT)
    site = s.site("answer", "send")
    s.event("send", sp=0x700, parent_sp=0x900, caller=site, flags=Flag.STASHED)
    assert not frames(s)[1].orphan
    s.knowledge.attached.add(s.knowledge.start(site))
    assert frames(s)[1].orphan and frames(s)[1].parent is None


def test_same_slot_and_a_call_of_this_function_is_a_loop() -> None:
    s = Stream()
    site = s.site("loop", "f")
    s.event("loop", sp=0x900)
    s.event("f", sp=0x800, parent_sp=0x900, caller=site)
    s.event("f", sp=0x800, parent_sp=0x900, caller=site, flags=Flag.SAME_SLOT)
    loop, first, second = frames(s)
    assert second.parent is loop and not second.tail and first.parent is loop


def test_same_slot_and_a_call_of_another_function_is_a_tail_jump() -> None:
    s = Stream()
    site = s.site("core", "ip_rcv")
    s.jumps("ip_rcv", "ip_local_deliver", INDIRECT)
    s.event("core", sp=0x900)
    s.event("ip_rcv", sp=0x800, parent_sp=0x900, caller=site)
    s.event("ip_local_deliver", sp=0x800, parent_sp=0x900, caller=site, flags=Flag.SAME_SLOT)
    _core, rcv, deliver = frames(s)
    assert deliver.parent is rcv and deliver.tail


def test_a_function_that_cannot_jump_here_did_not() -> None:
    """The call site calls something unseen, which jumps now to x and now to y; x never jumps to y."""
    s = Stream()
    site = s.site("caller", "unseen")
    s.jumps("x")
    s.event("caller", sp=0x900)
    s.event("x", sp=0x800, parent_sp=0x900, caller=site)
    s.event("y", sp=0x800, parent_sp=0x900, caller=site, flags=Flag.SAME_SLOT)
    caller, _x, y = frames(s)
    assert y.parent is caller and not y.tail and y.via == "unseen"


def test_the_jumper_may_be_further_up_the_chain() -> None:
    s = Stream()
    site = s.site("caller", "a")
    s.jumps("a", "b", "c")
    s.jumps("b")
    s.event("caller", sp=0x900)
    s.event("a", sp=0x800, parent_sp=0x900, caller=site)
    s.event("b", sp=0x800, parent_sp=0x900, caller=site, flags=Flag.SAME_SLOT)
    s.event("c", sp=0x800, parent_sp=0x900, caller=site, flags=Flag.SAME_SLOT)
    _, a, b, c = frames(s)
    assert b.parent is a and c.parent is a and c.tail


def test_after_an_indirect_call_the_packet_decides() -> None:
    s = Stream()
    site = s.site("caller", None)
    s.event("caller", sp=0x900)
    s.event("one", sp=0x800, parent_sp=0x900, caller=site, skb=1)
    s.event("two", sp=0x800, parent_sp=0x900, caller=site, skb=1, flags=Flag.SAME_SLOT)
    s.event("three", sp=0x800, parent_sp=0x900, caller=site, skb=2, flags=Flag.SAME_SLOT)
    caller, one, two, three = frames(s)
    assert two.parent is one and two.tail
    assert three.parent is caller and not three.tail


def test_a_parent_without_event_leaves_an_orphan() -> None:
    s = Stream()
    s.event("b", sp=0x800, parent_sp=0x900)
    (b,) = frames(s)
    assert b.orphan and b.parent is None


def test_a_root_clears_its_stack_only() -> None:
    s = Stream()
    s.event("stale", sp=0x900, stack=1)
    s.event("other", sp=0x900, stack=2)
    s.event("poll", sp=0x980, stack=1, cls=Class.ROOT)
    s.event("x", sp=0x800, parent_sp=0x900, stack=1)
    s.event("y", sp=0x800, parent_sp=0x900, stack=2)
    *_, x, y = frames(s)
    assert x.orphan and y.parent is not None and y.parent.name == "other"


def test_a_verdict_finds_its_hook() -> None:
    s = Stream()
    s.event("nf_hook_slow", sp=0x900, skb=5, cls=Class.HOOK, hook=4, pf=2)
    s.event("", sp=0x900, skb=5, kind=Kind.VERDICT, value=1)
    s.event("nf_hook_slow", sp=0x900, skb=6, cls=Class.HOOK, hook=4, pf=2)
    s.event("", sp=0x900, skb=7, kind=Kind.VERDICT, value=-1)
    first, second = frames(s)
    assert first.verdict == 1 and second.verdict is None


def test_event_reads_network_order() -> None:
    s = Stream()
    s.event("f", header=(0x0A000001, 0x0A000002), sport=1234)
    event: Event = frames(s)[0].event
    assert (event.saddr, event.sport) == (0x0A000001, 1234)
