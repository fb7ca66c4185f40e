from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from kpath.capture.plan import PLAN
from kpath.cli.doctor import doctor
from kpath.kernel import doctor as checks
from kpath.kernel import probeable
from kpath.kernel.doctor import Environment
from kpath.kernel.errors import NoSymbolsError
from tests.kernel.frozen_kernels import SERIES, kernel
from tests.kernel.test_kernel_doctor import GOOD


def run(monkeypatch: pytest.MonkeyPatch, series: str, *arguments: str, env: Environment = GOOD) -> Result:
    monkeypatch.setattr(checks.Environment, "current", lambda: env)
    monkeypatch.setattr(probeable.Probeability, "load", lambda: kernel(series).probeability)
    return CliRunner().invoke(doctor, arguments, env={"COLUMNS": "160"})


@pytest.mark.parametrize("series", SERIES)
def test_json_has_every_planned_function(monkeypatch: pytest.MonkeyPatch, series: str) -> None:
    result = run(monkeypatch, series, "--json")
    assert result.exit_code == 0
    data = json.loads(result.output)
    assert data["usable"] is True
    functions = {f["name"]: f for f in data["functions"]}
    assert list(functions) == [planned.name for planned in PLAN]
    assert functions["ip_rcv"]["state"] == "attachable"
    assert functions["xfrm4_rcv_encap_finish"]["state"] == "notrace"
    assert all(f["program"] or f["reason"] for f in functions.values())


def test_a_substitute_is_named_only_if_it_can_be_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.loads(run(monkeypatch, "6.12", "--json").output)
    functions = {f["name"]: f for f in data["functions"]}
    assert functions["kfree_skb_reason"]["substitute"] == ["sk_skb_reason_drop"]
    assert functions["ip_rcv"]["substitute"] == []


def test_the_table_shows_the_oddities(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, "6.12")
    assert result.exit_code == 0
    assert "ip_fragment.constprop.0" in result.output
    assert "ip_forward_options" not in result.output
    assert f"of {len(PLAN)} planned functions can be probed." in result.output
    assert "ip_forward_options" in run(monkeypatch, "6.12", "--all").output


def test_a_machine_that_cannot_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> None:
        raise NoSymbolsError("The addresses are hidden: run as root.")

    env = Environment("x86_64", "6.12.0", False, frozenset(), None, None, symbols_error="hidden")
    result = run(monkeypatch, "6.12", env=env)
    assert result.exit_code == 1
    monkeypatch.setattr(probeable.Probeability, "load", hidden)
    result = CliRunner().invoke(doctor, ["--json"])
    assert result.exit_code == 1
    data = json.loads(result.output)
    assert data["functions"] == []
    assert data["problem"] == "The addresses are hidden: run as root."
    assert "The functions cannot be judged." in CliRunner().invoke(doctor, []).output
