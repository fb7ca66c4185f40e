"""The lab leaves nothing behind, whatever ends it; and there is one at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kpath.lab import bench
from kpath.lab.declare import Topology
from kpath.lab.errors import LabSetupError, UnknownScenarioError
from kpath.lab.netns import Netns, run
from kpath.lab.scenarios import SCENARIOS, THEMES, wanted


class _Network:
    all: tuple[Netns, ...] = ()


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What happens to namespaces, of which none are touched."""
    happened: list[str] = []
    monkeypatch.setattr(bench, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(bench, "remove_namespaces", lambda *names: happened.append("swept"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return happened


def wire(diary: list[str]) -> Topology[_Network]:
    @contextmanager
    def make(prefix: str) -> Iterator[_Network]:
        diary.append("up")
        try:
            yield _Network()
        finally:
            diary.append("down")

    return Topology("wire", "a wire", make, ())


def test_what_a_killed_lab_left_is_swept_before_anything_is_made(diary: list[str]) -> None:
    with bench.lab() as lab:
        lab.network(wire(diary))
    assert diary == ["swept", "up", "down"]


def test_every_namespace_of_every_network_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: set[str] = set()
    monkeypatch.setattr(bench, "remove_namespaces", lambda *names: removed.update(names))
    bench.sweep()
    assert {"kp-near", "kp-router", "kp-far", "kp-left", "kp-right", "kp-b1", "kp-sw", "kp-b2"} <= removed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_take_the_networks_down(diary: list[str], number: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), bench.lab() as lab:
        lab.network(wire(diary))
        os.kill(os.getpid(), number)
    assert diary == ["swept", "up", "down"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_does_not_keep_it_from_tidying_up(diary: list[str]) -> None:
    @contextmanager
    def make(prefix: str) -> Iterator[_Network]:
        yield _Network()
        os.kill(os.getpid(), signal.SIGINT)
        diary.append("down")

    with pytest.raises(KeyboardInterrupt), bench.lab() as lab:
        lab.network(Topology("wire", "a wire", make, ()))
    assert diary == ["swept", "down"]


def test_one_lab_at_a_time(diary: list[str]) -> None:
    program = (
        "import sys; from pathlib import Path; from kpath.lab import bench;"
        f"bench.LOCK = Path({str(bench.LOCK)!r}); bench.os.geteuid = lambda: 0; bench.remove_namespaces = print\n"
        "try:\n  with bench.lab(): pass\n"
        "except bench.LabSetupError as error: sys.exit(str(error))"
    )
    with bench.lab():
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"another lab is at work (process {os.getpid()})" in other.stderr
    again = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabSetupError, match="need root"), bench.lab():
        raise AssertionError("made")


# ---- naming them ----


def test_names_and_themes() -> None:
    assert [s.name for s in wanted(["ping", "ping"])] == ["ping"]
    assert {s.theme for s in wanted(["netfilter"])} == {"netfilter"}
    assert {s.theme for s in wanted([])} <= set(THEMES) and not any(s.busy for s in wanted([]))
    assert [s.name for s in wanted(["two-cpus"])] == ["two-cpus"], "by its name, a busy one too"
    assert [s.name for s in wanted(["fragments"])] == ["fragments"]
    assert "fragments-router" in {s.name for s in wanted(["fragments/"])}


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(UnknownScenarioError, match=r"did you mean.* ttl-expired"):
        wanted(["ttl-expierd"])
    assert "ttl-expierd" not in SCENARIOS


# ---- programs ----


def test_a_program_that_is_missing_or_fails_is_one_sentence() -> None:
    with pytest.raises(LabSetupError, match="no-such-program is missing: install no-such-program"):
        run("no-such-program")
    with pytest.raises(LabSetupError, match=r"here: .*nonsense"):
        run("ls", "/nonsense")
    assert run("cat", given="through") == "through"
