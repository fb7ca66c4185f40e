"""What a comparison found, for people: short when all is well, precise when not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from kpath.compare.outcome import Divergence, Outcome, Scenario, Status
from kpath.compare.steps import Table
from kpath.model.coverage import Covered, State
from kpath.model.verdict import Finding, Judgement, Verdict
from kpath.report.verdicts import MARKS
from kpath.report.words import printable

SAYS: dict[Status, tuple[str, str]] = {
    Status.CONFORMS: ("conforms", "bold green"),
    Status.DIVERGES: ("diverges", "bold red"),
    Status.ENVIRONMENT: ("could not be run as a whole", "bold yellow"),
    Status.INCONCLUSIVE: ("inconclusive", "bold yellow"),
}
_MOST = 12
"""Places, steps and reasons that are named where all would be too many."""


def short(document: str) -> str:
    """A document's name as a column's head."""
    return document.removeprefix("linux-") if document.startswith("linux-2.") else document


def table(outcome: Outcome) -> Iterator[Text]:
    """A line for each scenario: a sign for what each document says of it."""
    width = max((len(s.name) for s in outcome.scenarios), default=0)
    width = max([width, *(len(left.name) for left in outcome.left), len("scenario")])
    heads = [short(document) for document in outcome.documents]
    many = len(outcome.kernels) > 1
    kernels = max((len(kernel) for kernel in outcome.kernels), default=0)
    yield Text(
        f"  {'scenario':<{width}}  {'kernel':<{kernels}}  " * many + f"  {'scenario':<{width}}  " * (not many)
        + "passes  " + "  ".join(heads),
        style="dim",
    )  # fmt: skip
    for scenario in outcome.scenarios:
        line = Text(f"  {printable(scenario.name):<{width}}  ")
        if many:
            line.append(f"{printable(scenario.kernel):<{kernels}}  ")
        line.append(f"{scenario.passes:>6}  ")
        for head, document in zip(heads, outcome.documents, strict=True):
            mark, style = MARKS[scenario.verdict(document)]
            line.append(f"{mark:^{len(head)}}  ", style=style)
        line.append(_remark(scenario), style="yellow")
        line.rstrip()
        yield line
    for left in outcome.left:
        mark = "failed" if left.failed else "cannot run here"
        style = "yellow" if left.failed else "dim"
        yield Text(f"  {left.name:<{width}}  {mark}: {printable(left.reason)}", style=style)


def _remark(scenario: Scenario) -> str:
    parts = [*scenario.doubts]
    if scenario.missing:
        parts.append(f"{len(scenario.missing)} declared steps were not exercised")
    if scenario.lost:
        parts.append(f"{scenario.lost:,} events lost or missed")
    return printable("; ".join(parts))


def divergences(outcome: Outcome) -> Iterator[Text]:
    """Each thing that is wrong, once, with the step, the document's line, and the facts."""
    for number, divergence in enumerate(outcome.divergences(), 1):
        yield Text()
        yield from _divergence(number, divergence)


def _divergence(number: int, divergence: Divergence) -> Iterator[Text]:
    finding = divergence.finding
    head = f"✗ {number}. {divergence.document}: at {printable(finding.step)}: {printable(finding.message)}"
    yield Text(head, style="bold red")
    for label, text in explanation(finding):
        yield Text(f"     {label:<10} {printable(text)}", style="" if label in ("expected", "facts") else "dim")
    names = divergence.scenarios
    rest = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    scenario, path = divergence.places[0]
    yield Text(f"     {'path':<10} {printable(path.title)}", style="dim")
    seen = ", ".join(map(printable, names[:_MOST])) + rest
    yield Text(f"     {'seen':<10} {divergence.passes} passes, in {seen}", style="dim")
    packets = ", ".join(map(str, path.journeys))
    yield Text(f"     {'packets':<10} {packets} of {printable(scenario)} (kpath show)", style="dim")


def explanation(finding: Finding) -> list[tuple[str, str]]:
    """A finding's parts beside its message, each with a label."""
    parts = [("expected", ", ".join(finding.expected)), ("document", ", ".join(finding.lines))]
    parts += [("facts", finding.facts), ("kernel", finding.source)]
    if finding.check != "document":
        parts.append(("check", finding.check))
    parts += [("known", known) for known in finding.known[:3]]
    return [(label, text) for label, text in parts if text]


def missing(outcome: Outcome) -> Iterator[Text]:
    """Steps that scenarios declare and did not exercise."""
    for scenario in outcome.scenarios:
        for one in scenario.missing:
            yield Text(f"✗ {printable(scenario.name)}: {one}, which it declares", style="bold red")


def doubts(outcome: Outcome) -> Iterator[Text]:
    """Why paths are inconclusive, each reason once."""
    reasons: dict[str, dict[str, int]] = {}
    for scenario, path, judgement in outcome.walk():
        if judgement.verdict is Verdict.INCONCLUSIVE:
            for reason in _reasons(judgement):
                of = reasons.setdefault(reason, {})
                of[scenario.name] = of.get(scenario.name, 0) + path.count
    for reason, where in list(reasons.items())[:_MOST]:
        names = ", ".join(list(where)[:_MOST]) + (" …" if len(where) > _MOST else "")
        yield Text(f"? inconclusive: {printable(reason)} ({printable(names)})", style="yellow")
    if len(reasons) > _MOST:
        yield Text(f"? and {len(reasons) - _MOST} more reasons (--json has all)", style="yellow")


def _reasons(judgement: Judgement) -> Sequence[str]:
    return judgement.reasons or ("events were lost",)


def coverage(outcome: Outcome, whole: bool) -> Iterator[Text]:
    """How much of each document was exercised; ``whole``: and which steps were not, and which cannot be seen."""
    many = len(outcome.kernels) > 1
    width = max(len(document) for document in outcome.documents)
    for (kernel, document), steps in outcome.steps.items():
        share = steps.share
        where = f" on {printable(kernel)}" if many else ""
        hidden = steps.count(State.INVISIBLE) + steps.count(State.PASSED) + steps.count(State.IMPLIED)
        low = outcome.least is not None and share.percent < outcome.least
        line = Text(f"  {document:<{width}}  ")
        line.append(f"{share.percent:5.1f} %", style="bold red" if low else "bold")
        line.append(f"  {share.seen} of {share.of} steps that can be seen{where}; {hidden} more have no frame here")
        yield line
        if whole:
            yield from _steps(steps)


def _steps(steps: Table) -> Iterator[Text]:
    for state, label in ((State.NOT_SEEN, "not exercised"), (State.INVISIBLE, "cannot be seen here")):
        rows = steps.of(state)
        if rows:
            yield Text(f"    {label}", style="yellow" if state is State.NOT_SEEN else "dim")
        flow = ""
        for row in rows:
            if row.flow != flow:
                flow = row.flow
                yield Text(f"      {printable(flow)}", style="dim")
            why = f": {row.reason}" if row.reason else ""
            yield Text(f"        {row.at:5} {printable(name(row) + why)}")


def name(row: Covered) -> str:
    """A step as a document has it."""
    return f"{row.via} == {row.function}" if row.via else row.function


def evolutions(outcome: Outcome, whole: bool) -> Iterator[Text]:
    """Known differences between the documents and the kernel that were seen."""
    for document, known in outcome.evolutions.items():
        if not known:
            continue
        if not whole:
            names = list(known)
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            yield Text(f"  {document}: {len(known)} functions differ for known reasons: {shown}")
            continue
        yield Text(f"  since {document}")
        for function, evolution in sorted(known.items()):
            yield Text(f"    {printable(function)} ", style="bold").append(
                f"(for {printable(evolution.of)}) {printable(evolution.text)}", style="not bold"
            )
            for change in evolution.changes:
                yield Text(f"        {printable(change)}", style="dim")


def verdict(outcome: Outcome) -> Text:
    """The last line: what it comes to."""
    words, style = SAYS[outcome.status]
    wrong = len(outcome.divergences())
    if outcome.status is Status.DIVERGES and not wrong:
        words = "conforms, but was not exercised as demanded"
    what = f"Linux {' and '.join(outcome.kernels)} " if outcome.kernels else "it "
    if len(outcome.kernels) > 1:
        words = words.replace("conforms", "conform").replace("diverges", "diverge").replace("was", "were")
    line = Text(printable(what + words), style=style)
    counts = [f"{len(outcome.scenarios)} scenario{'s' * (len(outcome.scenarios) != 1)}"]
    counts.append(f"{outcome.passes:,} passes of packets")
    if wrong:
        counts.append(f"{wrong} divergence{'s' * (wrong > 1)}")
    untold = sum(1 for scenario in outcome.scenarios if scenario.status is Status.INCONCLUSIVE)
    if untold:
        counts.append(f"{untold} inconclusive")
    if outcome.left:
        counts.append(f"{len(outcome.left)} not played")
    return line.append(f" ({', '.join(counts)})", style="not bold default")


def shortfalls(outcome: Outcome) -> Iterator[Text]:
    """Why a coverage demanded was not reached, in sentences."""
    for kernel, document, share in outcome.short():
        yield Text(
            f"✗ {document} on {printable(kernel)}: {share.percent:.1f} % of the steps that can be seen were exercised, "
            f"less than the {outcome.least:g} % demanded (--coverage lists the others)",
            style="bold red",
        )


def render(outcome: Outcome, *, whole_coverage: bool = False, whole_evolutions: bool = False) -> Iterator[Text]:
    """All of it, line by line."""
    yield from table(outcome)
    yield from divergences(outcome)
    after = [*missing(outcome), *shortfalls(outcome), *doubts(outcome)]
    if after:
        yield Text()
        yield from after
    if outcome.steps:
        yield Text("\ncoverage")
        yield from coverage(outcome, whole_coverage)
    changed = list(evolutions(outcome, whole_evolutions))
    if changed:
        yield Text("\nevolutions" + ("" if whole_evolutions else " (--evolutions says why)"))
        yield from changed
    yield Text()
    yield verdict(outcome)
