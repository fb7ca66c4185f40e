"""``kpath replay``: a recording checked against documents; needs no root and no Linux."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # the model takes a moment to import, and --help does not need it
    from kpath.capture.tables import Header
    from kpath.flow import Document
    from kpath.model.coverage import Coverage
    from kpath.model.verdict import Finding, Judgement
    from kpath.trace.traversal import Traversal

DIVERGES, INCONCLUSIVE = 1, 4
"""Exit statuses; see kpath.cli.main."""
EXAMPLES = 5
"""Packets that are named as examples of a path."""


@click.command(short_help="Check a recording against the documents.")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option(
    "--document", "documents", multiple=True, metavar="NAME|PATH", help="Check against this one; may be repeated."
)
@click.option("--all", "everything", is_flag=True, help="Print every traversal, not only paths.")
@click.option("--coverage", is_flag=True, help="Say which documented steps were exercised.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--salvage", is_flag=True, help="Read a damaged file up to the damage.")
@click.option("--tui", is_flag=True, help="Open the dashboard, and travel in time (docs/dashboard.md).")
def replay(
    file: str, documents: tuple[str, ...], everything: bool, coverage: bool, as_json: bool, salvage: bool, tui: bool
) -> int:
    """Check each packet's path in a recording against documents (by default all that come with kpath).

    \b
    Exit status:
      0  everything conforms, as far as it was seen
      1  a path diverges
      2  the recording or a document cannot be read
      4  nothing diverges, but events were lost where it matters
    """
    if tui:
        from kpath.cli.view import dashboard

        if as_json or everything or coverage:
            raise click.UsageError("--tui shows everything: it goes with none of --json, --all and --coverage.")
        dashboard(file, documents=documents, salvage=salvage)
        return 0
    run = _Run(file, documents, salvage)
    run.read(everything)
    if as_json:
        click.echo(json.dumps(run.data(everything, coverage), indent=2))
    else:
        _print(run, everything, coverage)
    return run.status


@dataclass(slots=True)
class _Path:
    """All traversals of one path."""

    title: str
    judgements: list[Judgement]
    first: tuple[int, int]
    """Journey and time (ns) of the first of them."""
    number: int = 0
    count: int = 0
    examples: list[int] = field(default_factory=list)
    """The first journeys that took it."""


class _Count:
    """Adds up traversals by path; for kpath.model.repeat."""

    def __init__(self, header: Header, documents: list[Document], everything: bool) -> None:
        from kpath.model.check import Checker

        self.kernel = header.kernel_release
        self.checker = Checker.for_capture(header, documents)
        self.paths: dict[tuple[Any, ...], _Path] = {}
        self.each: list[tuple[int, int, _Path]] = []
        self._everything = everything

    def note(self, traversal: Traversal, judgements: list[Judgement]) -> _Path:
        """The path of a traversal."""
        key = (judgements[0].signature, *((j.verdict, j.reasons) for j in judgements)) if judgements else ()
        path = self.paths.get(key)
        if path is None:
            first = (sys.maxsize, 0)
            path = self.paths[key] = _Path(describe(traversal), judgements, first)
        return path

    def add(self, what: _Path, journeys: Any, times: Any) -> None:
        """So many traversals of a path, by the numbers of their journeys and when they began (ns)."""
        what.count += len(journeys)
        if len(what.examples) < EXAMPLES or journeys.min() <= what.examples[-1]:
            numbers = journeys.tolist()
            what.examples = sorted(what.examples + numbers)[:EXAMPLES]
            what.first = min(what.first, *zip(numbers, times.tolist(), strict=True))
        if self._everything:
            self.each += [(j, t, what) for j, t in zip(journeys.tolist(), times.tolist(), strict=True)]

    def coverage(self, paths: list[_Path]) -> list[Coverage]:
        """Which steps of each document the paths took."""
        from kpath.model.coverage import Coverage

        coverages = [Coverage(judge) for judge in self.checker.judges]
        for path in paths:
            for coverage, judgement in zip(coverages, path.judgements, strict=True):
                coverage.add(judgement, path.count)
        return coverages


class _Run:
    """One recording, read and judged."""

    def __init__(self, file: str, documents: Iterable[str], salvage: bool) -> None:
        from kpath.flow import BUILT_IN, load

        self.file = file
        self.documents = [load(name) for name in documents or BUILT_IN]
        self.paths: list[_Path] = []
        self.rows: list[dict[str, Any]] = []
        """Each traversal, if they are wanted."""
        self.problem: str | None = None
        self.traversals = 0
        self.coverages: list[Coverage] = []
        self.kernel = ""
        self.evolutions: dict[str, dict[str, tuple[str, dict[str, str]]]] = {}
        """Document → function → why it is there, and each citation with what it is."""
        self._salvage = salvage

    def read(self, everything: bool = False) -> None:
        """Read the file and judge every traversal."""
        from kpath.model.repeat import judge_file

        count, outcome = judge_file(
            self.file, lambda header: _Count(header, self.documents, everything), salvage=self._salvage
        )
        assert isinstance(count, _Count)
        self.problem, self.kernel = outcome.problem, count.kernel
        # Numbered in the order of the packets, in whatever order they were judged.
        paths = sorted(count.paths.values(), key=lambda path: path.first)
        for number, path in enumerate(paths, 1):
            path.number = number
            self.paths.append(path)
            self._note(path)
        self.traversals = sum(path.count for path in paths)
        self.coverages = count.coverage(paths)
        for journey, _, path in sorted(count.each, key=lambda each: each[:2]):
            verdicts = {j.document: j.verdict.value for j in path.judgements}
            self.rows.append({"journey": journey, "path": path.number, "what": path.title, "verdicts": verdicts})

    def _note(self, path: _Path) -> None:
        for judgement in path.judgements:
            known = self.evolutions.setdefault(judgement.document, {})
            for function, reason in judgement.evolutions:
                why = f"{reason.of}: {reason.text}"
                _, cited = known.setdefault(function, (why, {}))
                cited |= {each.text: each.basis.value for each in reason.citations}

    @property
    def status(self) -> int:
        """The exit status."""
        from kpath.model.verdict import Verdict

        verdicts = {j.verdict for path in self.paths for j in path.judgements}
        if Verdict.DIVERGES in verdicts:
            return DIVERGES
        return INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else 0

    def totals(self) -> dict[str, dict[str, int]]:
        """Document → verdict → traversals."""
        totals: dict[str, dict[str, int]] = {document.name: {} for document in self.documents}
        for path in self.paths:
            for judgement in path.judgements:
                of = totals[judgement.document]
                of[judgement.verdict.value] = of.get(judgement.verdict.value, 0) + path.count
        return totals

    def data(self, everything: bool, coverage: bool) -> dict[str, Any]:
        """The result as plain data."""
        result: dict[str, Any] = {
            "file": self.file,
            "kernel": self.kernel,
            "traversals": self.traversals,
            "totals": self.totals(),
            "status": self.status,
            "problem": self.problem,
            "paths": [_path_data(path) for path in self.paths],
            "evolutions": {
                document: {
                    function: {"why": why, "citations": [{"basis": cited[text], "text": text} for text in cited]}
                    for function, (why, cited) in known.items()
                }
                for document, known in self.evolutions.items()
            },
        }
        if everything:
            result["each"] = self.rows
        if coverage:
            result["coverage"] = {of.document: _coverage_data(of) for of in self.coverages}
        return result


def describe(traversal: Traversal) -> str:
    """A path in a few words: ``forward, sent: ip_rcv > ip_forward > ip_output``."""
    from kpath.capture.schema import Class
    from kpath.model.sight import hook_name

    names: list[str] = []
    for frame in traversal.frames:
        if frame.name == "nf_hook_slow":
            name = hook_name(frame.event.pf, frame.event.hook)
        elif frame.cls is Class.IP or frame.name in _LANDMARKS:
            name = frame.name
        else:
            continue
        if name in _LANDMARKS or frame.name == "nf_hook_slow":
            names.append(name)
    end = traversal.end
    how = f"{end.how} ({end.reason})" if end.how == "dropped" and end.reason else end.how
    return f"{traversal.direction}, {how}: {' > '.join(names) or traversal.frames[0].name}"


_LANDMARKS = frozenset({
    "ip_rcv", "ip_forward", "ip_local_deliver", "ip_error", "ip_mr_input", "tcp_v4_rcv", "udp_rcv", "icmp_rcv",
    "igmp_rcv", "raw_rcv", "arp_rcv", "arp_xmit", "xfrm_input", "xfrm4_output", "ip_output", "ip_mc_output",
    "ip_do_fragment", "ip_defrag", "__ip_local_out", "neigh_resolve_output", "br_handle_frame_finish", "br_forward",
    "dev_hard_start_xmit", "packet_rcv", "tpacket_rcv",
})  # fmt: skip


def _path_data(path: _Path) -> dict[str, Any]:
    return {
        "number": path.number,
        "what": path.title,
        "count": path.count,
        "journeys": [str(number) for number in path.examples],
        "judgements": [_judgement_data(judgement) for judgement in path.judgements],
    }


def _judgement_data(judgement: Judgement) -> dict[str, Any]:
    evidence = judgement.evidence
    return {
        "document": judgement.document,
        "verdict": judgement.verdict.value,
        "reasons": list(judgement.reasons),
        "witnessed": len(evidence.witnessed),
        "implied": len(evidence.implied),
        "silent": dict(evidence.silent),
        "beside": dict(evidence.beside),
        "findings": [
            {
                "check": f.check,
                "step": f.step,
                "frame": f.index,
                "message": f.message,
                "expected": list(f.expected),
                "lines": list(f.lines),
                "facts": f.facts,
                "source": f.source,
                "known": list(f.known),
            }
            for f in judgement.findings
        ],
    }


def _coverage_data(coverage: Coverage) -> list[dict[str, Any]]:
    return [
        {
            "flow": c.flow,
            "line": c.at,
            "function": c.function,
            "branch": c.branch,
            "via": c.via,
            "state": c.state.value,
            "count": c.count,
            "reason": c.reason,
        }
        for c in coverage.steps()
    ]


# ---- text ----


def _print(run: _Run, everything: bool, coverage: bool) -> None:
    from kpath.model.verdict import Verdict

    click.echo(f"{run.file}: kernel {run.kernel}, {run.traversals} traversals, {len(run.paths)} paths")
    if everything:
        for row in run.rows:
            verdicts = ", ".join(f"{name} {verdict}" for name, verdict in row["verdicts"].items())
            click.echo(f"  packet {row['journey']} path {row['path']}: {row['what']}: {verdicts}")
    for path in sorted(run.paths, key=lambda path: -path.count):
        click.echo(f"\npath {path.number}: {path.count} x {path.title}")
        for judgement in path.judgements:
            _print_judgement(judgement, [str(number) for number in path.examples])
    for document, known in run.evolutions.items():
        if known:
            click.echo(f"\nwhat has changed since {document}:")
            for function, (why, cited) in sorted(known.items()):
                click.echo(f"  {function}: {why}" + "".join(f"\n      {text}" for text in cited))
    if coverage:
        for each in run.coverages:
            _print_coverage(each)
    click.echo()
    for document, totals in run.totals().items():
        parts = [f"{totals[v.value]} {v.value}" for v in Verdict if v.value in totals]
        click.echo(f"{document}: {', '.join(parts) or 'nothing to judge'}")
    if run.problem:
        click.echo(f"kpath: {run.problem}", err=True)


def _print_judgement(judgement: Judgement, examples: list[str]) -> None:
    from kpath.model.verdict import Verdict

    unread = judgement.verdict in (Verdict.NOT_COVERED, Verdict.DIVERGES)
    detail = "" if unread else f" ({judgement.evidence})"
    click.echo(f"  {judgement.document}: {judgement.verdict.value}{detail}")
    for reason in judgement.reasons:
        click.echo(f"    because {reason}")
    if judgement.findings:
        click.echo(f"    packets {', '.join(examples)}")
    for finding in judgement.findings:
        _print_finding(finding)


def _print_finding(finding: Finding) -> None:
    click.echo(f"    [{finding.check}] {finding.message}")
    if finding.expected:
        click.echo(f"      expected  {', '.join(finding.expected)}")
    if finding.lines:
        click.echo(f"      document  {', '.join(finding.lines)}")
    if finding.facts:
        click.echo(f"      facts     {finding.facts}")
    if finding.source:
        click.echo(f"      kernel    {finding.source}")
    for known in finding.known:
        click.echo(f"      known     {known}")


def _print_coverage(coverage: Coverage) -> None:
    from kpath.model.coverage import State

    counts = coverage.counts()
    click.echo(f"\ncoverage of {coverage.document}: " + ", ".join(f"{counts[state]} {state.value}" for state in State))
    flow = ""
    for covered in coverage.steps():
        if covered.flow != flow:
            flow = covered.flow
            click.echo(f"  {flow}")
        name = f"{covered.via} == {covered.function}" if covered.via else covered.function
        times = f" {covered.count} x" if covered.count else ""
        why = f": {covered.reason}" if covered.reason else ""
        click.echo(f"    {covered.at:5} {covered.state.value:9}{times} {name}{why}")
