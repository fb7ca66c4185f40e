"""The plan on frozen kernels: every planned function is attached, or there is a reason that a person understands."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpath.capture.plan import INNER, PLAN, PLAN_BY_NAME
from kpath.capture.program import entry_programs
from kpath.capture.resolve import Probe, program_for, resolve
from kpath.capture.schema import Class
from kpath.kernel.btf import Param, Prototype
from kpath.kernel.freeze import Frozen

FROZEN = Path(__file__).parent.parent / "kernel" / "frozen"
KERNELS = sorted(path.stem for path in FROZEN.glob("*.kernel"))


@pytest.fixture(scope="module", params=KERNELS)
def probes(request: pytest.FixtureRequest) -> dict[str, Probe]:
    frozen = Frozen.load(FROZEN / f"{request.param}.kernel")
    return {probe.name: probe for probe in resolve(frozen.probeability, PLAN)}


def test_plan_is_sound() -> None:
    assert len(PLAN_BY_NAME) == len(PLAN), "a function is planned twice"
    for planned in PLAN:
        assert planned.why
        for other in planned.substitute:
            assert other in PLAN_BY_NAME or other in {"icmp_send"}, f"{planned.name}: substitute {other} is not planned"


def test_the_backbone_is_attached_with_its_packet(probes: dict[str, Probe]) -> None:
    backbone = {
        "ip_rcv": "ip_0", "ip_forward": "ip_0", "ip_local_deliver": "ip_0", "ip_output": "ip_2",
        "ip_finish_output2": "ip_2", "__dev_queue_xmit": "link_0", "dev_hard_start_xmit": "link_0",
        "__ip_local_out": "ip_2", "nf_hook_slow": "hook", "skb_release_head_state": "end", "__copy_skb_header": "copy",
        "tcp_v4_rcv": "ip_0", "udp_rcv": "ip_0", "icmp_rcv": "ip_0", "udp_sendmsg": "root", "tcp_sendmsg": "root",
    }  # fmt: skip
    for name, program in backbone.items():
        assert probes[name].program == program, probes[name]


def test_what_is_not_attached_says_why(probes: dict[str, Probe]) -> None:
    for probe in probes.values():
        if not probe.program:
            assert probe.reason and not probe.address, probe
        else:
            assert probe.program in entry_programs() and probe.address and probe.symbol, probe


def test_what_is_about_the_packet_around_it_is_planned() -> None:
    assert set(PLAN_BY_NAME) >= INNER


def test_a_drop_is_seen_by_some_function(probes: dict[str, Probe]) -> None:
    assert any(probes[name].program for name in ("kfree_skb", "kfree_skb_reason", "sk_skb_reason_drop"))


def test_a_root_of_the_receive_softirq_is_seen(probes: dict[str, Probe]) -> None:
    assert any(probes[name].program for name in ("__napi_poll", "net_rx_action"))


SKB = Param("skb", "struct sk_buff *")
OTHER = Param("x", "struct sock *")


@pytest.mark.parametrize(
    ("cls", "params", "program"),
    [
        (Class.IP, [SKB], "ip_0"),
        (Class.IP, [OTHER, OTHER, SKB], "ip_2"),
        (Class.LINK, [OTHER, SKB], "link_1"),
        (Class.ORIGIN, [OTHER, SKB], "origin_1"),
        (Class.IP, [OTHER] * 4 + [SKB], "frame"),
        (Class.IP, [Param("pskb", "struct sk_buff **")], "frame"),
        (Class.COPY, [SKB, SKB], "copy"),
        (Class.COPY, [SKB, OTHER], "frame"),
        (Class.HOOK, [SKB, Param("state", "struct nf_hook_state *")], "hook"),
        (Class.HOOK, [SKB, OTHER], "frame"),
        (Class.NEIGHBOUR, [Param("neigh", "struct neighbour *"), SKB], "neighbour_1"),
        (Class.NEIGHBOUR, [SKB], "frame"),
        (Class.END, [SKB], "end"),
        (Class.END, [OTHER, SKB], "frame"),
        (Class.RELEASE, [OTHER, SKB], "release_1"),
        (Class.ROOT, [OTHER, SKB], "root"),
        (Class.FRAME, [SKB], "frame"),
    ],
)
def test_program_follows_the_position_of_the_packet(cls: Class, params: list[Param], program: str) -> None:
    chosen, note = program_for(cls, Prototype("f", tuple(params), "int"))
    assert chosen == program
    assert bool(note) == (program == "frame" and cls not in (Class.FRAME, Class.ROOT))


def test_without_btf_a_function_is_a_frame() -> None:
    assert program_for(Class.IP, None)[0] == "frame"
