"""``kpath replay`` from the outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kpath.cli.main import run
from kpath.flow.library import text_of
from tests.model.captures import FILES, named


def test_conforming_recordings_exit_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    file = named("nft-accept")[0]
    assert run(["replay", str(file)]) == 0
    out = capsys.readouterr().out
    assert "linux-6: " in out
    assert "conforms" in out
    assert "diverges" not in out


def test_a_wrong_document_exits_with_one_and_names_the_step(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wrong = text_of("linux-6.flow").replace(
        "    => POST_ROUTING when not rerouted\n      -> @ip_finish_output\n", "    -> @ip_finish_output\n", 1
    )
    path = tmp_path / "wrong.flow"
    path.write_text(wrong)
    assert run(["replay", str(named("ping")[0]), "--document", str(path)]) == 1
    out = capsys.readouterr().out
    assert "hook POST_ROUTING is not expected in ip_output" in out
    assert "expected  ip_finish_output" in out


def test_bad_input_exits_with_two(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "no.kpath"
    file.write_bytes(b"nothing")
    assert run(["replay", str(file)]) == 2
    assert run(["replay", str(FILES[0]), "--document", "linux-9"]) == 2


def test_json_and_coverage(capsys: pytest.CaptureFixture[str]) -> None:
    file = named("esp-tunnel")[0]
    assert run(["replay", str(file), "--json", "--coverage", "--all"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["status"] == 0
    assert sum(path["count"] for path in data["paths"]) == data["traversals"] == len(data["each"])
    rows = data["coverage"]["linux-6"]
    by_name = {(row["flow"], row["function"]): row for row in rows}
    assert by_name["xfrm4_output", "xfrm4_output"]["state"] == "seen"
    assert by_name["ip_forward", "ip_forward"]["count"]
    invisible = [row for row in rows if row["state"] == "invisible"]
    assert all(row["reason"] for row in invisible)
    assert run(["replay", str(file), "--coverage"]) == 0
    assert "coverage of linux-6" in capsys.readouterr().out


def test_what_is_said_does_not_depend_on_chance() -> None:
    """Python hashes texts anew in each process, so sets have another order in each."""
    file = named("esp-tunnel")[0]
    told = set()
    for seed in ("0", "1", "2"):
        command = [sys.executable, "-m", "kpath.cli.main", "replay", "--coverage", str(file)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        told.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(told) == 1
