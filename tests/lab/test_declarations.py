"""Every scenario is declared whole: a title, a theme, needs in words, and steps that its documents have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from kpath.flow import Graph, load
from kpath.lab.declare import Lab, Scenario, Steps, Topology, play
from kpath.lab.needs import Need, module, program
from kpath.lab.netns import Netns
from kpath.lab.scenarios import SCENARIOS, THEMES
from tests.guest.checks import CHECKS


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda s: s.name)
def test_declaration(scenario: Scenario) -> None:
    assert scenario.title.endswith("."), "the title is a sentence"
    assert scenario.theme in THEMES
    assert scenario.topology.title
    assert all(need.text for need in scenario.all_needs)
    for document, names in scenario.exercises.items():
        assert set(names) <= known(document), f"{document} does not have these"


def known(document: str) -> set[str]:
    """What a scenario may name: functions as the document names them, and its flows with an @ before."""
    text = load(document)
    functions = {
        name for node in Graph.of(text).frames() for name in (node.step.targets or (node.step.label,))
    }
    return functions | {f"@{flow.name}" for flow in text.flows}


def test_every_theme_has_scenarios() -> None:
    assert {s.theme for s in SCENARIOS.values()} == set(THEMES)


def test_every_check_has_its_scenario() -> None:
    assert set(CHECKS) <= set(SCENARIOS)


# ---- how one is played ----


class _Wire:
    """A network of no namespaces that keeps a diary."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    @property
    def all(self) -> tuple[Netns, ...]:
        return ()


def staged(diary: list[str], fails_at: str = "") -> Scenario:
    """A scenario, and its network, that write down what happens to them."""

    def step(what: str) -> None:
        diary.append(what)
        if what == fails_at:
            raise RuntimeError(what)

    @contextlib.contextmanager
    def make(prefix: str) -> Iterator[_Wire]:
        step("up")
        yield _Wire(diary)
        diary.append("down")

    def steps(wire: _Wire) -> Steps:
        try:
            step("prepare")
            yield
            step("traffic")
            yield
            step("tidy")
        finally:
            diary.append("left")

    return Scenario("staged", "receive", Topology("wire", "a wire", make, ()), steps)


def test_traffic_stands_between_begin_and_end() -> None:
    diary: list[str] = []
    stage, lab = staged(diary), Lab()
    for _ in range(2):
        play(stage, lab, lambda: diary.append("begin"), lambda: diary.append("end"))
    lab.close()
    once = ["prepare", "begin", "traffic", "end", "tidy", "left"]
    assert diary == ["up", *once, *once, "down"], "the network is made once"


@pytest.mark.parametrize("where", ["prepare", "traffic", "tidy"])
def test_after_a_failure_the_network_is_taken_down(where: str) -> None:
    diary: list[str] = []
    with pytest.raises(RuntimeError, match=where):
        play(staged(diary, where), Lab(), lambda: None, lambda: None)
    assert diary[-2:] == ["left", "down"]


def test_a_network_that_cannot_be_made_is_an_error_of_its_own() -> None:
    with pytest.raises(RuntimeError, match="up"):
        play(staged([], "up"), Lab(), lambda: None, lambda: None)


def test_what_is_missing_is_said_in_words() -> None:
    there, gone = Need("a kernel", lambda: True), Need("a pony", lambda: False)
    stage = staged([])
    needy = Scenario("needy", "receive", stage.topology, stage.steps, (there, gone))
    assert (needy.missing(), needy.possible()) == ("a pony", False)
    assert stage.possible()


def test_programs_and_modules_are_looked_for() -> None:
    assert program("sh").met() and not program("no-such-program-here").met()
    assert not module("no_such_module_here").met()
    assert module("no_such_module_here").text == "the kernel module no_such_module_here"
