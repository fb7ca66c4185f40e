"""Mutation: how sharp is the model? Break conforming paths, and count which breaks it notices.

    python -m tests.mutation [--document linux-6] [--count 2000] [--seed 1] [--survivors] [FILE ...]

A mutant is one change of one frame of a real, conforming path: the frame dropped, repeated, swapped with the next,
replaced; its caller, a pointer, a hook's number or verdict, a fact that a decision rests on, the TTL or an address
changed. Some such changes mean nothing to a document: it lets the step be left out, or repeats it. Whether a mutant is
*meaningful* is decided from the text of the document and the shape of the tree, before the model is asked; the excuses
are printed with their counts. Of the meaningful ones the share that diverges, with the right step named, is printed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from kpath.capture.file import CaptureReader
from kpath.flow import load
from kpath.model.check import Judge
from kpath.model.seen import observe
from kpath.model.verdict import Judgement, Verdict
from kpath.model.view import CaptureView
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import traversals
from tests.mutants import KnownPath, Mutant, mutants

CAPTURES = Path(__file__).parent / "captures"


@dataclass(slots=True)
class Score:
    """What came of the mutants."""

    caught: Counter[str] = field(default_factory=Counter)
    misnamed: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    excused: Counter[tuple[str, str]] = field(default_factory=Counter)
    survivors: list[str] = field(default_factory=list)
    flagged: list[str] = field(default_factory=list)
    """Unmutated paths that diverge: there must be none."""

    @property
    def meaningful(self) -> int:
        """Mutants without an excuse."""
        return sum(self.caught.values()) + sum(self.misnamed.values()) + sum(self.missed.values())

    @property
    def share(self) -> float:
        """Of the meaningful mutants, the share that diverges with the right step named."""
        return sum(self.caught.values()) / self.meaningful if self.meaningful else 0.0


def paths(files: Sequence[Path], document: str) -> Iterator[KnownPath]:
    """Every distinct path of the captures, whatever the verdict."""
    judges: dict[tuple[object, ...], Judge] = {}
    known: set[tuple[object, ...]] = set()
    for file in files:
        with CaptureReader(file) as reader:
            key = tuple(reader.header.probes)
            if key not in judges:
                judges[key] = Judge(load(document), CaptureView(reader.header.probes))
            assembler = Assembler()
            for journey in assembler.run(reader):
                for traversal in traversals(journey):
                    tree = observe(traversal, assembler.knowledge)
                    signature = (id(judges[key]), *tree.signature)
                    if signature not in known and not traversal.partial:
                        known.add(signature)
                        yield KnownPath(f"{file.parent.name}/{file.name} packet {journey.number}", tree, judges[key])


def right(judgement: Judgement, mutant: Mutant) -> bool:
    """Does one of the findings name the place?"""
    return any(set(f.step.split(" | ")) & mutant.names for f in judgement.findings[:3])


def measure(files: Sequence[Path], document: str, count: int, seed: int) -> Score:
    """Break ``count`` paths, spread over all distinct paths of the captures and all kinds of mutation."""
    rng = random.Random(seed)
    score = Score()
    good: list[KnownPath] = []
    for path in paths(files, document):
        verdict = path.judge.judge(path.tree).verdict
        if verdict is Verdict.DIVERGES:
            score.flagged.append(path.name)
        if verdict is Verdict.CONFORMS:
            good.append(path)
    rng.shuffle(good)
    tried = 0
    share = max(1, count // max(1, len(good)) + 1)
    for path in good:
        taken = 0
        kinds: Counter[str] = Counter()
        for mutant in mutants(path, rng):
            if kinds[mutant.kind] > share // 4:
                continue
            kinds[mutant.kind] += 1
            _try(path, mutant, score)
            taken += 1
            tried += 1
            if taken >= share:
                break
        if tried >= count:
            break
    return score


def _try(path: KnownPath, mutant: Mutant, score: Score) -> None:
    judgement = path.judge.judge(mutant.tree)
    if mutant.excuse:
        outcome = "caught all the same" if judgement.verdict is Verdict.DIVERGES else "not noticed"
        score.excused[mutant.excuse, outcome] += 1
    elif judgement.verdict is not Verdict.DIVERGES:
        score.missed[mutant.kind] += 1
        score.survivors.append(f"{mutant.what} ({judgement.verdict})")
    elif right(judgement, mutant):
        score.caught[mutant.kind] += 1
    else:
        score.misnamed[mutant.kind] += 1
        first = judgement.findings[0]
        score.survivors.append(f"{mutant.what} (named {first.step}: {first.message})")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--document", default="linux-6", show_default=True)
@click.option("--count", default=2000, show_default=True, help="How many mutants.")
@click.option("--seed", default=1, show_default=True)
@click.option("--survivors", is_flag=True, help="List what was not noticed, or explained by another step.")
def main(files: tuple[Path, ...], document: str, count: int, seed: int, survivors: bool) -> None:
    """Break conforming paths and print what share of the breaks the model notices."""
    score = measure(files or sorted(CAPTURES.glob("*/*.kpath")), document, count, seed)
    for kind in sorted({*score.caught, *score.misnamed, *score.missed}):
        total = score.caught[kind] + score.misnamed[kind] + score.missed[kind]
        click.echo(f"{kind:40} {score.caught[kind]:5} of {total:5}")
    click.echo(f"meaningful mutants caught, the right step named: {score.share:.1%} of {score.meaningful}")
    click.echo("mutants that mean nothing to the document:")
    for (excuse, outcome), number in sorted(score.excused.items()):
        click.echo(f"  {number:5} {excuse}: {outcome}")
    if score.flagged:
        click.echo(f"unmutated paths that diverge: {', '.join(score.flagged)}")
    if survivors:
        for line in score.survivors:
            click.echo(f"  {line}")


if __name__ == "__main__":
    main()
