"""``kpath explain FUNCTION --capture FILE``: how a function is seen in a recording, whatever machine this is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kpath.cli.main import run

CAPTURES = Path(__file__).parents[1] / "captures"


def seen(function: str, series: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    file = str(CAPTURES / series / "ping.kpath")
    assert run(["explain", function, "--capture", file, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)["seen"]
    return found


@pytest.mark.parametrize(
    ("function", "series", "how", "reason"),
    [
        ("ip_forward", "6.1", "own frame", "seen as ip_forward"),
        ("ip_rcv_finish_core", "6.1", "own frame", "probed as ip_rcv_finish_core.constprop.0"),
        ("ip_rcv_finish_core", "7.3", "own frame", "seen as ip_rcv_finish_core"),
        ("kfree_skb", "6.12", "own frame", "seen as sk_skb_reason_drop"),
        ("kfree_skb", "5.10", "own frame", "seen as kfree_skb"),
        ("napi_poll", "6.12", "implied by a callee", "__napi_poll"),
        ("ip_mkroute_input", "6.12", "recorded pointer", "dst->input"),
        ("skb_bond", "6.12", "never", "it lives in module bonding, which is not loaded"),
        ("vxlan_rcv", "6.12", "never", "no probe was planned for it"),
        ("ip_route_input_cached", "6.12", "never", "no kernel had it"),
    ],
)
def test_a_recording_says_how_a_function_is_seen(
    function: str, series: str, how: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = seen(function, series, capsys)
    assert found["how"] == how, found
    assert reason in str(found["reason"]), found


def test_the_kernel_of_the_recording_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "ip_forward", "--capture", str(CAPTURES / "6.12" / "ping.kpath")]) == 0
    assert "ping.kpath (kernel 6.12.117+deb13-amd64): seen as ip_forward" in capsys.readouterr().out


def test_what_is_no_recording_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "junk"
    file.write_text("junk")
    assert run(["explain", "ip_forward", "--capture", str(file)]) == 2
    assert capsys.readouterr().err.strip() == f"kpath: {file} is not a kpath capture"
