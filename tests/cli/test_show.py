"""``kpath show`` on recordings of real kernels: what a user sees of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpath.cli.show import show

CAPTURES = Path(__file__).parents[1] / "captures"
KERNELS = sorted(path.name for path in CAPTURES.iterdir())


def run(kernel: str, scenario: str, *options: str) -> str:
    result = CliRunner().invoke(show, [*options, str(CAPTURES / kernel / f"{scenario}.kpath")])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_forwarded_datagram_is_one_tree_of_three_passes(kernel: str) -> None:
    out = run(kernel, "udp-open")
    heads = [line for line in out.splitlines() if "▸" in line]
    assert [head.split("▸ ")[1].split(" · ")[0] for head in heads] == ["output", "forward", "receive"]
    order = ["udp_sendmsg", "ip_output", "ip_rcv", "ip_forward", "ip_forward_finish", "ip_local_deliver", "udp_rcv"]
    places = [out.index(f" {name}") for name in order]
    assert places == sorted(places)
    assert "delivered to udp_rcv" in out and "incomplete" not in out


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_refused_datagram_is_dropped_and_answered(kernel: str) -> None:
    out = run(kernel, "udp-closed")
    assert "dropped" in out and "ICMP port unreachable" in out and "caused by #" in out
    if kernel != "5.10":  # drop reasons came with 5.17
        assert "NO_SOCKET" in out


@pytest.mark.parametrize("kernel", KERNELS)
def test_ipsec_shows_its_transform(kernel: str) -> None:
    out = run(kernel, "esp-tunnel")
    assert "dst->output=xfrm4_output  dst->xfrm" in out and "xfrm_output_resume" in out


@pytest.mark.parametrize("kernel", KERNELS)
def test_arp_is_shown_on_demand(kernel: str) -> None:
    assert "ARP who has" not in run(kernel, "ping-cold")
    assert "ARP who has" in run(kernel, "ping-cold", "--arp")


@pytest.mark.parametrize("kernel", KERNELS)
def test_json_is_one_object_a_line(kernel: str) -> None:
    lines = run(kernel, "tcp", "--json").splitlines()
    objects = [json.loads(line) for line in lines]
    assert len(objects) > 5 and all(o["traversals"] for o in objects)
    assert run(kernel, "tcp", "--json", "--count", "2").count("\n") == 2


def test_what_is_no_capture_is_refused_in_one_sentence(tmp_path: Path) -> None:
    from kpath.cli.main import run as kpath

    path = tmp_path / "x"
    path.write_text("not a capture")
    assert kpath(["show", str(path)]) == 2
