"""A loss on another CPU spares a path only where it cannot have hidden any of it."""

from __future__ import annotations

from dataclasses import replace

from kpath.capture.tables import Loss
from kpath.model.check import Checker
from kpath.model.elsewhere import CPUS, concerning, home
from kpath.model.verdict import Verdict
from tests.model.captures import FILES, Pass, named, passes, probes

ALWAYS = 1 << 62


def settled() -> list[Pass]:
    """Passes that ran on one CPU's interrupt stack from first to last."""
    files = [file for name in ("nics-ping", "nics-udp", "nics-tcp") for file in named(name)]
    return [one for file in files for one in passes(file) if home(one.traversal) is not None]


def test_there_are_such_paths_and_others() -> None:
    assert {one.traversal.end.how for one in settled()} >= {"delivered", "dropped", "merged"}
    assert all(home(one.traversal) is None for file in named("udp-open") for one in passes(file))
    for file in FILES:
        for one in passes(file):
            cpu = home(one.traversal)
            if cpu is not None:
                assert {frame.event.cpu for frame in one.traversal.frames} == {cpu}
                assert all(frame.event.stack < CPUS for frame in one.traversal.frames)


def test_a_loss_elsewhere_spares_what_conforms() -> None:
    for file in named("nics-udp"):
        checker = Checker.for_stream(probes(file), ["linux-6"])
        spared = 0
        for one in passes(file):
            cpu = home(one.traversal)
            here = one.traversal.frames[0].event.cpu
            for loss, near in ((Loss(0, ALWAYS, {here + 1: 3}), False), (Loss(0, ALWAYS, {here: 3}), True)):
                (found,) = checker.judge(one.traversal, one.assembler.knowledge, [loss])
                (plain,) = checker.judge_tree(one.tree)
                if cpu is not None and not near and plain.verdict is Verdict.CONFORMS:
                    assert found.verdict is Verdict.CONFORMS
                    spared += 1
                else:
                    assert found.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_COVERED)
        assert spared


def test_only_what_is_counted_by_cpu_can_be_elsewhere() -> None:
    traversal = settled()[0].traversal
    here = home(traversal)
    assert here is not None
    away = here + 1
    for loss, concerns in (
        (Loss(0, ALWAYS, {away: 2}), False),
        (Loss(0, ALWAYS, {here: 2}), True),
        (Loss(0, ALWAYS, {here: 1, away: 2}), True),
        (Loss(0, ALWAYS, {away: 2}, {"ip_rcv": 1}), True),
        (Loss(0, ALWAYS, {}, {}, {away: 1}), False),
        (Loss(0, ALWAYS, {}, {}, {here: 1}), True),
    ):
        assert concerning([loss], traversal) == ([loss] if concerns else []), loss


def test_what_may_have_been_elsewhere_is_not_spared() -> None:
    traversal = next(one.traversal for one in settled())
    assert home(traversal) is not None
    for unsure in (
        replace(traversal, partial=["it began before the capture"]),
        replace(traversal, end=replace(traversal.end, how="open")),
        replace(traversal, roots=[*traversal.roots, *traversal.roots]),
        replace(traversal, frames=traversal.frames[1:]),
    ):
        assert home(unsure) is None
