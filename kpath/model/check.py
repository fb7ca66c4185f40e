"""The checker: verdicts for traversals against documents, each distinct path judged once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kpath.capture.schema import Class, Flag
from kpath.capture.tables import Header, Loss, PlannedProbe
from kpath.flow import BUILT_IN, Became, Document, Lineage, citation, load
from kpath.model import decisions, invariants
from kpath.model.automaton import ANY, Machine, Reading
from kpath.model.credit import Creditor
from kpath.model.elsewhere import concerning
from kpath.model.explain import Explainer, cite, title
from kpath.model.scope import Reason, Scope, Standing
from kpath.model.seen import Seen, Tree, observe
from kpath.model.verdict import Evidence, Finding, Judgement, Verdict, weaken
from kpath.model.view import CaptureView, build
from kpath.trace.frames import LATE
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import UNSEEN, Traversal

UNMATCHED = "it did not match the filter, so not all of it was recorded"
PASSED_OVER = "other packets, which were not followed, were handled around it, so what was called for it is not known"
CACHE = 1 << 16
"""Most distinct paths that are remembered; beyond, all are forgotten and judged anew."""


class Judge:
    """One document on one kernel: judges trees."""

    def __init__(self, document: Document, view: CaptureView, lineage: Lineage | None = None) -> None:
        lineage = lineage or Lineage.load()
        self.document = document
        self.view = view
        self.machine = Machine(document, lineage, view, Scope(document, lineage, kernel=view.kernel))
        self._explainer = Explainer(self.machine)
        self._creditor = Creditor(self.machine)

    def judge(self, tree: Tree, explain: bool = True) -> Judgement:
        """The verdict on a path, were nothing lost. ``explain``: look for the cheapest alignment, which takes time."""
        name = self.document.name
        link = self.machine.reads(tree)
        limited = self.machine.limited
        reading = Reading.of(link)
        order = {id(seen): number for number, seen in enumerate(tree.walk())}
        findings: list[Finding] = []
        reasons: list[str] = []
        if link is None:
            if not self._covered(tree):
                return Judgement(name, Verdict.NOT_COVERED)
            begins = self._begins_inside(tree)
            if begins:
                return Judgement(name, Verdict.PARTIAL, (begins,), (), self._evidence(reading, tree))
            if explain and not tree.orphaned:
                findings += self._explainer.findings(tree)
            else:
                findings.append(self._explainer.unread(tree))
            reading = self._best_reading(tree)
        elif not reading.witnessed:
            return Judgement(name, Verdict.NOT_COVERED)
        findings += self._decisions(tree, order)
        findings += self._invariants(tree, order)
        findings.sort(key=lambda finding: finding.index if finding.index >= 0 else len(order))
        verdict = Verdict.DIVERGES if findings else Verdict.CONFORMS
        if findings and limited:
            verdict = Verdict.INCONCLUSIVE
            reasons.append("steps that cannot be seen here are nested too deep to follow")
        if tree.orphaned:
            reasons.append(UNSEEN)
            verdict = Verdict.INCONCLUSIVE if findings else Verdict.PARTIAL
        elif tree.end == "open" and verdict is Verdict.CONFORMS:
            verdict = Verdict.PARTIAL
            reasons.append("it goes on after what was seen")
        return Judgement(
            name,
            verdict,
            tuple(reasons),
            tuple(findings),
            self._evidence(reading, tree),
            self._evolutions(tree),
        )

    # ---- what is covered ----

    def _covered(self, tree: Tree) -> bool:
        labels = self.machine.sights.labels
        return any(seen.own and seen.name in labels for seen in tree.walk())

    def _begins_inside(self, tree: Tree) -> str:
        """Is it only that code without a probe called a function that the document knows, but as no beginning?"""
        for index, root in enumerate(tree.roots):
            body = self.machine.begin(tree, index)
            if self.machine.reads_root(body, root):
                continue
            caller = root.facts.caller
            if body == ANY or not caller or self.view.attached(caller) or not self.machine.reads_root(ANY, root):
                return ""
            return f"it begins at {root.name}, called by {caller}: for this document no beginning"
        return ""

    def _best_reading(self, tree: Tree) -> Reading:
        """What can be read of a tree that as a whole cannot: for coverage and evidence."""
        reading = Reading()
        for index, root in enumerate(tree.roots):
            link = self.machine.reads_root(self.machine.begin(tree, index), root)
            if link is not None:
                reading.add(Reading.of(link))
        return reading

    # ---- decisions and invariants ----

    def _decisions(self, tree: Tree, order: dict[int, int]) -> Iterable[Finding]:
        for decision, wrong in decisions.judge(tree.roots):
            if not self._speaks_of(wrong.seen):
                continue
            yield Finding(
                check=decision.name,
                step=title(wrong.seen),
                message=f"went to {wrong.did} where the facts say {wrong.expected}",
                index=order.get(id(wrong.seen), -1),
                expected=(wrong.expected,),
                lines=self._lines(wrong.expected) or self._lines(wrong.seen.name),
                facts=wrong.facts,
                source=decision.source,
            )

    def _invariants(self, tree: Tree, order: dict[int, int]) -> Iterable[Finding]:
        for invariant, broken in invariants.check(tree, self.view):
            if self._speaks_of(broken.seen):
                yield Finding(
                    check=invariant.name,
                    step=title(broken.seen),
                    message=broken.message,
                    index=order.get(id(broken.seen), -1),
                    lines=self._lines(broken.seen.name),
                    facts=invariant.doc,
                )

    def _speaks_of(self, seen: Seen) -> bool:
        """Whether the document has the function, or says what it is part of."""
        if seen.name in self.machine.sights.labels or seen.name == "nf_hook_slow":
            return True
        return self.machine.standing(seen) in (Standing.EVOLUTION, Standing.DETAIL)

    def _lines(self, function: str) -> tuple[str, ...]:
        nodes = [n for n in self.machine.graph.frames() if function in self.machine.labels(n.id)]
        return tuple(cite(self.machine, node) for node in nodes[:3])

    # ---- evidence ----

    def _evidence(self, reading: Reading, tree: Tree) -> Evidence:
        nodes, sights = self.machine.graph.nodes, self.machine.sights
        names = {seen.name for seen in tree.walk()}
        implied, silent = [], {}
        for id in reading.silent:
            if not nodes[id].step.is_frame:
                continue
            sight = sights.of(id)
            if sight.implied & names:
                implied.append(id)
            else:
                silent[id] = sight.reason
        beside: dict[str, int] = {}
        for seen in reading.transparent:
            if seen.name not in sights.labels:
                beside[seen.name] = beside.get(seen.name, 0) + 1
        targets = self._creditor.credit(tree, reading.steps)
        return Evidence(tuple(reading.witnessed), targets, tuple(implied), silent, beside)

    def _evolutions(self, tree: Tree) -> tuple[tuple[str, Reason], ...]:
        found: dict[str, Reason] = {}
        callers: dict[str, set[str]] = {}
        for seen in tree.walk():
            # A hook is a step by its number, not by the function that runs it.
            if seen.name in self.machine.sights.labels or seen.name == "nf_hook_slow":
                continue
            reason = self.machine.scope.of(seen.name)
            # The function itself, which by the plan would not be seen, is no change: its module came later.
            if reason.standing is Standing.EVOLUTION and reason.of != seen.name:
                found[seen.name] = reason
                # What was jumped to has the return address of its caller's caller.
                if seen.facts.caller and not seen.facts.tail and self._inlined(seen.name, reason):
                    callers.setdefault(seen.name, set()).add(seen.facts.caller)
        for name, each in callers.items():
            witnesses = tuple(citation.seen_from(name, caller, self.view.kernel) for caller in sorted(each))
            found[name] = replace(found[name], citations=found[name].citations + witnesses)
        return tuple(found.items())

    def _inlined(self, function: str, reason: Reason) -> bool:
        """Is the function seen because what calls it in the document was inlined into something else?"""
        entry = self.machine.lineage.entries.get(reason.of)
        return entry is not None and entry.became is Became.INLINED and function not in entry.inside


class Checker:
    """Verdicts for the traversals of one capture against documents; fast for paths that were judged before."""

    def __init__(self, documents: Sequence[Document], view: CaptureView, lineage: Lineage | None = None) -> None:
        self.judges = [Judge(document, view, lineage) for document in documents]
        self._view = view
        self._known: dict[tuple[object, ...], tuple[Judgement, ...]] = {}
        self.hits = 0
        self.misses = 0

    @classmethod
    def for_stream(
        cls, probes: Iterable[PlannedProbe], documents: Iterable[Document | str] = BUILT_IN, kernel: str = ""
    ) -> Checker:
        """For a capture, or a kernel that is being watched, by its probe plan; ``kernel`` as kpath.model.view.build.

        Raises UnknownDocumentError and FlowSyntaxError as :func:`kpath.flow.load` does."""
        loaded = [load(document) if isinstance(document, str) else document for document in documents]
        return cls(loaded, CaptureView(probes, kernel))

    @classmethod
    def for_capture(cls, header: Header, documents: Iterable[Document | str] = BUILT_IN) -> Checker:
        """The same by the header, whose kernel is named where a compiler's doing is the evidence."""
        return cls.for_stream(header.probes, documents, build(header))

    def judge(self, traversal: Traversal, knowledge: Knowledge, losses: Iterable[Loss] = ()) -> list[Judgement]:
        """One judgement for each document. ``losses``: what was lost while the packet lived (Assembler.lost_during)."""
        lost = list(losses)
        partial = [*traversal.partial, *([] if matched(traversal) else [UNMATCHED])]
        judgements = self.judge_tree(observe(traversal, knowledge), explain=not lost)
        if any(judgement.verdict is Verdict.DIVERGES for judgement in judgements):
            partial += [UNSEEN] if self._began_before(traversal) else []
            partial += [PASSED_OVER] if traversal.passed_over else []
        if not lost and not partial:
            return list(judgements)
        # What diverges may do so because of a loss that nobody can place; so only what conforms is spared.
        near = concerning(lost, traversal)
        return [
            weaken(judgement, partial, near if judgement.verdict is Verdict.CONFORMS else lost)
            for judgement in judgements
        ]

    def _began_before(self, traversal: Traversal) -> bool:
        """Was one of its roots called by a function that has a probe, but was entered before the first event?"""
        # What begins work of its own (a poll) is at the bottom even where the function around it has a probe.
        bottom = [root.frame for root in traversal.roots if root.frame.parent is None]
        return any(f.cls is not Class.ROOT and f.caller not in LATE and self._view.attached(f.caller) for f in bottom)

    def judge_tree(self, tree: Tree, explain: bool = True) -> tuple[Judgement, ...]:
        """The same for a tree of facts, were nothing lost."""
        signature = (explain, *tree.signature)
        known = self._known.get(signature)
        if known is not None:
            self.hits += 1
            return known
        self.misses += 1
        if len(self._known) >= CACHE:
            self._known.clear()
        number = self.misses
        found = tuple(replace(judge.judge(tree, explain), signature=number) for judge in self.judges)
        self._known[signature] = found
        return found


def matched(traversal: Traversal) -> bool:
    """Is it of a packet that the filter let through? Of others only what shared a stack with one is recorded."""
    return any(frame.event.flags & Flag.MATCHED for frame in traversal.frames)


def span(traversal: Traversal) -> tuple[int, int]:
    """From when to when (ns) a loss could have hidden something of this traversal, frames around it included."""
    times = [frame.time for frame in traversal.frames]
    waiting = list(traversal.roots)
    for node in waiting:  # grows while it is read
        times.append(node.frame.time)
        waiting += node.children
    return min(times), max(times)
