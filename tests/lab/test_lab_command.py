"""``kpath lab`` as a user types it, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from kpath.cli import main
from kpath.cli.main import ENVIRONMENT, OK, USAGE
from kpath.lab import bench, scenarios
from kpath.lab.declare import Scenario, Steps, Topology
from kpath.lab.needs import Need
from kpath.lab.netns import Netns
from kpath.lab.shell import Player

Stage = Callable[..., Scenario]


class _Network:
    all: tuple[Netns, ...] = ()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stage]:
    """Makes scenarios that touch nothing; the only ones that there are."""
    made: dict[str, Scenario] = {}

    def declare(
        name: str, steps: Callable[[_Network], Steps], *needs: Need, exercises: Mapping[str, list[str]] | None = None
    ) -> Scenario:
        @contextmanager
        def network(prefix: str) -> Iterator[_Network]:
            yield _Network()

        topology = Topology("wire", "a wire", network, ())
        made[name] = Scenario(name, "receive", topology, steps, needs, exercises or {})
        return made[name]

    monkeypatch.setattr(scenarios, "SCENARIOS", made)
    monkeypatch.setattr(scenarios, "load_modules", lambda: None)
    monkeypatch.setattr(bench, "SCENARIOS", made)
    monkeypatch.setattr(bench, "LOCK", tmp_path / "lock")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    yield declare


def works(diary: list[str]) -> Callable[[_Network], Steps]:
    def steps(network: _Network) -> Steps:
        """A packet from here to there."""
        diary.append("prepare")
        yield
        diary.append("traffic")
        yield
        diary.append("tidy")

    return steps


def fails(network: _Network) -> Steps:
    """A packet that is lost."""
    from kpath.lab.declare import expect

    yield
    expect(False, "it was lost")
    yield


PONY = Need("a pony", lambda: False)


def test_list_says_what_is_missing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage("rides", works([]), PONY, exercises={"linux-6": ["ip_rcv"]})
    stage("walks", works([]))
    assert main.run(["lab", "list"]) == OK
    told = capsys.readouterr().out
    assert "✗ rides" in told and "✓ walks" in told and "A packet from here to there." in told
    assert "lacks a pony: rides." in told and "2 scenarios, 1 can run here" in told
    main.run(["lab", "list", "-v", "rides"])
    told = capsys.readouterr().out
    assert "needs a pony" in told and "linux-6: ip_rcv" in told and "walks" not in told


def test_run_plays_as_often_as_asked(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpath.cli.lab.PAUSE", 0)
    diary: list[str] = []
    stage("walks", works(diary))
    assert main.run(["lab", "run", "walks", "--repeat", "2"]) == OK
    assert diary == [*["prepare", "traffic", "tidy"] * 2, "prepare"]
    assert "played 2 times" in capsys.readouterr().out


def test_traffic_that_fails_is_a_sentence_and_status_1(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage("lost", fails)
    assert main.run(["lab", "run", "lost"]) == 1
    assert "it did not work: it was lost" in capsys.readouterr().err


def test_what_cannot_run_here_is_left_out(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    diary: list[str] = []
    stage("rides", works(diary), PONY)
    stage("walks", works(diary))
    assert main.run(["lab", "run", "rides", "walks"]) == OK
    assert "rides cannot run here: this machine lacks a pony." in capsys.readouterr().err
    assert diary.count("traffic") == 1
    assert main.run(["lab", "run", "rides"]) == ENVIRONMENT
    assert "none of these scenarios can run here" in capsys.readouterr().err
    assert main.run(["lab", "shell", "rides"]) == ENVIRONMENT
    assert "lacks a pony" in capsys.readouterr().err


def test_wrong_names_are_wrong_usage(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage("walks", works([]))
    stage("rides", works([]))
    assert main.run(["lab", "run", "walsk"]) == USAGE
    assert "did you mean walks?" in capsys.readouterr().err
    assert main.run(["lab", "shell", "receive"]) == USAGE
    assert "receive is a theme: name one of walks, rides." in capsys.readouterr().err
    assert main.run(["lab", "shell", "walks", "nowhere"]) == USAGE
    assert "no namespace 'nowhere'" in capsys.readouterr().err


def test_a_player_can_play_again_after_a_failure() -> None:
    diary: list[str] = []
    outcome = [RuntimeError("first"), None]

    def steps(network: _Network) -> Steps:
        """Fails once."""
        diary.append("prepare")
        yield
        if error := outcome.pop(0):
            raise error
        yield

    @contextmanager
    def network(prefix: str) -> Iterator[_Network]:
        yield _Network()

    player = Player(Scenario("once", "receive", Topology("wire", "a wire", network, ()), steps), _Network())
    with pytest.raises(RuntimeError, match="first"):
        player.play()
    player.play()
    player.close()
    assert diary == ["prepare"] * 3
