"""What a comparison found: for each scenario its verdicts, and what that makes of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from kpath.compare.profile import Profile
from kpath.compare.steps import Exercised, Share, Table
from kpath.model.verdict import Finding, Judgement, Verdict


class Status(IntEnum):
    """Exit statuses (kpath.cli.main has the list for all commands)."""

    CONFORMS = 0
    DIVERGES = 1
    USAGE = 2
    ENVIRONMENT = 3
    INCONCLUSIVE = 4


@dataclass(slots=True)
class Path:
    """All passes of packets that took one path and got one verdict of each document."""

    title: str
    judgements: tuple[Judgement, ...]
    count: int = 0
    journeys: list[int] = field(default_factory=list)
    """The first few packets that took it, as ``kpath show`` numbers them."""


@dataclass(slots=True)
class Scenario:
    """One recording, judged."""

    name: str
    file: str
    kernel: str
    """The release (``uname -r``) that it was recorded on."""
    paths: list[Path] = field(default_factory=list)
    passes: int = 0
    """Traversals: each pass of a packet through the stack of a namespace."""
    problem: str = ""
    """Why the recording is not whole, as one sentence."""
    lost: int = 0
    """Events lost, probe hits missed, and packets that found no room in the kernel side's tables."""
    steps: Mapping[str, Table] = field(default_factory=dict)
    """Document → its steps, as far as this recording exercised them."""
    exercised: tuple[Exercised, ...] = ()
    """What the scenario declares that it exercises, and whether it did."""
    profile: Profile = field(default_factory=Profile)
    theme: str = ""

    def verdict(self, document: str) -> Verdict:
        """The worst verdict of this document on any path."""
        order = list(Verdict)
        found = [j.verdict for path in self.paths for j in path.judgements if j.document == document]
        return max(found, key=order.index, default=Verdict.NOT_COVERED)

    def totals(self, document: str) -> dict[Verdict, int]:
        """Verdict → passes."""
        totals: dict[Verdict, int] = {}
        for path in self.paths:
            for judgement in path.judgements:
                if judgement.document == document:
                    totals[judgement.verdict] = totals.get(judgement.verdict, 0) + path.count
        return totals

    @property
    def verdicts(self) -> set[Verdict]:
        """All that occur."""
        return {j.verdict for path in self.paths for j in path.judgements}

    @property
    def judged(self) -> bool:
        """Did any document have something to say of any path?"""
        return bool(self.verdicts - {Verdict.NOT_COVERED})

    @property
    def missing(self) -> tuple[Exercised, ...]:
        """Declared steps that were not exercised though they can be seen."""
        return tuple(one for one in self.exercised if one.failed)

    @property
    def status(self) -> Status:
        """What this recording alone makes of the whole. A check that saw nothing has not passed."""
        if Verdict.DIVERGES in self.verdicts:
            return Status.DIVERGES
        if Verdict.INCONCLUSIVE in self.verdicts or self.problem or not self.judged:
            return Status.INCONCLUSIVE
        if self.missing:
            return Status.INCONCLUSIVE if self.lost else Status.DIVERGES
        return Status.CONFORMS

    @property
    def doubts(self) -> list[str]:
        """Why it is inconclusive where no path says so itself, in sentences."""
        doubts = [self.problem] if self.problem else []
        if not self.passes:
            doubts.append("no packet was seen")
        elif not self.judged:
            doubts.append("no document covers any of its paths")
        return doubts


@dataclass(frozen=True, slots=True)
class Left:
    """A scenario that was not played: ``failed`` if it should have been possible."""

    name: str
    reason: str
    failed: bool = False
    theme: str = ""


@dataclass(frozen=True, slots=True)
class Divergence:
    """One thing that is wrong, wherever it was seen."""

    document: str
    finding: Finding
    kernels: tuple[str, ...]
    places: tuple[tuple[str, Path], ...]
    """Scenario and path, in the order of sight."""

    @property
    def passes(self) -> int:
        """How many passes of packets it concerns."""
        return sum(path.count for _, path in self.places)

    @property
    def scenarios(self) -> list[str]:
        """Their names, each once."""
        return list(dict.fromkeys(name for name, _ in self.places))


@dataclass(frozen=True, slots=True)
class Evolution:
    """A known difference between a document and the kernel: what is seen, what it belongs to, and why."""

    function: str
    of: str
    text: str
    changes: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """Everything that a comparison found."""

    documents: Sequence[str]
    scenarios: list[Scenario] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    steps: dict[tuple[str, str], Table] = field(default_factory=dict)
    """(kernel, document) → the document's steps, over all scenarios."""
    evolutions: dict[str, dict[str, Evolution]] = field(default_factory=dict)
    """Document → function → why it is seen."""
    least: float | None = None
    """The coverage demanded, in percent of the steps that can be seen."""

    @property
    def kernels(self) -> list[str]:
        """Releases in the order of sight."""
        return list(dict.fromkeys(scenario.kernel for scenario in self.scenarios))

    @property
    def passes(self) -> int:
        """Passes of packets in all."""
        return sum(scenario.passes for scenario in self.scenarios)

    def short(self) -> list[tuple[str, str, Share]]:
        """Kernels and documents whose coverage is less than demanded."""
        if self.least is None:
            return []
        shares = ((kernel, document, table.share) for (kernel, document), table in self.steps.items())
        return [(kernel, document, share) for kernel, document, share in shares if share.percent < self.least]

    def divergences(self) -> list[Divergence]:
        """Each different finding once, with all places where it was seen; the first wrong step of a path only."""
        found: dict[tuple[str, str, str, str], tuple[Finding, list[tuple[str, Path]], dict[str, None]]] = {}
        for scenario, path, judgement in self.walk():
            if judgement.verdict is not Verdict.DIVERGES or not judgement.findings:
                continue
            finding = judgement.findings[0]
            key = (judgement.document, finding.check, finding.step, finding.message)
            _, places, kernels = found.setdefault(key, (finding, [], {}))
            places.append((scenario.name, path))
            kernels[scenario.kernel] = None
        every = [
            Divergence(key[0], finding, tuple(kernels), tuple(places))
            for key, (finding, places, kernels) in found.items()
        ]
        return sorted(every, key=lambda divergence: -divergence.passes)

    def walk(self) -> Iterator[tuple[Scenario, Path, Judgement]]:
        """Every judgement with where it stands."""
        for scenario in self.scenarios:
            for path in scenario.paths:
                for judgement in path.judgements:
                    yield scenario, path, judgement

    @property
    def status(self) -> Status:
        """The exit status: the first that applies of diverges, environment, inconclusive, conforms."""
        statuses = {scenario.status for scenario in self.scenarios}
        if Status.DIVERGES in statuses or self.short():
            return Status.DIVERGES
        if any(left.failed for left in self.left) or not self.scenarios:
            return Status.ENVIRONMENT
        return Status.INCONCLUSIVE if Status.INCONCLUSIVE in statuses else Status.CONFORMS
