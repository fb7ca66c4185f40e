"""The typed tree of a flow document. What each kind means: docs/flow-notation.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a step is. The value is the word that reports use for it."""

    ROOT = "root"
    """The frame with which a flow begins; whoever calls it."""
    CALL = "call"
    """``-> f``: a frame within the enclosing frame; ``-> p == f``: through the pointer ``p``."""
    QUEUE = "queue"
    """``~> f``: runs later, on another stack or CPU: a frame, but not within the enclosing one."""
    HOOK = "hook"
    """``=> PRE_ROUTING``: a netfilter hook; what is nested under it goes on when the hook accepts."""
    MACRO = "macro"
    """``macro m``: text that the preprocessor replaces; never a frame."""
    CHOICE = "by"
    """``by what``: exactly one of the nested alternatives."""
    GROUP = "group"
    """``when c`` or ``else`` alone on a line: the nested steps under one condition."""
    LOOP = "each"
    """``each thing``: the nested steps once for each thing."""
    SET = "set"
    """``set p = f``: a pointer is assigned: a fact, not a frame."""
    REGISTER = "register"
    """``register t.m = f``: a static table holds f: a fact that stands when the kernel was built."""
    END = "end"
    """``end sent``: the buffer at hand comes to its end here."""
    NEVER = "never"
    """``never f``: the source names f, but no kernel had it."""


FRAMES = frozenset({Kind.ROOT, Kind.CALL, Kind.QUEUE})
"""Kinds that are activations of a function."""

TRANSPARENT = frozenset({Kind.HOOK, Kind.MACRO, Kind.CHOICE, Kind.GROUP, Kind.LOOP})
"""Kinds that make no frame: what is nested under them belongs to the nearest enclosing frame."""

FACTS = frozenset({Kind.SET, Kind.REGISTER, Kind.NEVER})
"""Kinds that say something without being executed as a step of the packet."""

ENDS: dict[str, str] = {
    "delivered": "handed to a socket, or to what takes the place of one",
    "sent": "handed to a device, or to a queue in front of it",
    "dropped": "freed without having reached anybody",
    "stolen": "kept by somebody else: a hook, a reassembly queue, another stack",
    "absorbed": "its data went into another buffer, which goes on",
    "consumed": "freed because it has done its work: a SYN, an echo request, an original that was segmented",
}
"""The ends that a flow may name, and what they mean."""


class NoteKind(StrEnum):
    """What a note says about the step above it; all but REMARK tell where the source and its kernel
    differ."""

    WRITTEN = "written"
    """The source writes another name (``subject``)."""
    DRAWN = "drawn under"
    """The source draws the arrow from another step (``subject``)."""
    SIMPLIFIED = "simplified"
    """True, but the source leaves something out."""
    ADDED = "added"
    """The source does not have this step; its kernel does."""
    SLIP = "slip"
    """Wrong in another way."""
    REMARK = "note"
    """A remark for the reader."""


class Span(NamedTuple):
    """Lines ``first`` to ``last`` of the source, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Note:
    """One ``!`` or ``note`` line."""

    kind: NoteKind
    text: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Term:
    """One named condition, perhaps with an argument (``dst->input ==`` ``ip_forward``), perhaps negated."""

    name: str
    argument: str = ""
    negated: bool = False

    def __str__(self) -> str:
        words = ["not"] if self.negated else []
        words.append(self.name)
        if self.argument:
            words.append(self.argument)
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Condition:
    """What follows ``when``: all of the terms hold."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " and ".join(str(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a flow with what is nested under it.

    ``name`` is the function for frames and macros, the hook for HOOK, the label for CHOICE and LOOP, the
    pointer or member for SET and REGISTER, the fate for END. It is empty for GROUP, and for a call through a
    pointer of which no target is known (then ``open`` is set and ``via`` is not empty)."""

    kind: Kind
    name: str = ""
    also: tuple[str, ...] = ()
    """More possible targets of the same pointer; of a call without pointer: what it is called in other
    kernels."""
    open: bool = False
    """``...``: the pointer may hold functions that the document does not name."""
    via: str = ""
    """The pointer expression through which the call goes."""
    flow: str = ""
    """``@flow``: the callee's inside is written in the flow of that name."""
    through: str = ""
    """QUEUE: the queue."""
    value: str = ""
    """SET, REGISTER: what is assigned."""
    condition: Condition | None = None
    otherwise: bool = False
    """``else``: taken when no other alternative of the choice is."""
    repeat: str = ""
    """``?`` may happen, ``*`` any number of times, ``+`` at least once, empty: once."""
    lines: tuple[Span, ...] = ()
    """Lines of the source document."""
    notes: tuple[Note, ...] = ()
    children: tuple[Step, ...] = ()
    at: int = field(default=0, compare=False)
    """Line in the .flow file; 0 when built by hand. Not part of equality."""

    @property
    def is_frame(self) -> bool:
        """Whether the step is an activation of a function."""
        return self.kind in FRAMES

    @property
    def targets(self) -> tuple[str, ...]:
        """The functions that this step may be, the first named first; empty when it is no frame or none is
        known."""
        if not self.is_frame or not self.name:
            return ()
        return (self.name, *self.also)

    @property
    def guard(self) -> Condition | None:
        """What must hold when this step is taken as an alternative of a choice: its condition, or, for a call
        through a pointer without a condition of its own, that the pointer holds the target (``f | g``: one of
        them)."""
        if self.condition is None and self.via and self.name and not self.open:
            return Condition((Term(f"{self.via} ==", " | ".join(self.targets)),))
        return self.condition

    @property
    def label(self) -> str:
        """A short text for reports and pictures."""
        match self.kind:
            case Kind.GROUP:
                return "else" if self.otherwise else f"when {self.condition}"
            case Kind.SET | Kind.REGISTER:
                return f"{self.name} = {self.value}"
            case Kind.CHOICE | Kind.LOOP | Kind.END | Kind.MACRO | Kind.NEVER:
                return f"{self.kind.value} {self.name}"
            case Kind.HOOK:
                return f"hook {self.name}"
            case _:
                names = [*self.targets, *(["..."] if self.open else [])]
                return (f"{self.via} == " if self.via else "") + " | ".join(names)

    def walk(self) -> Iterator[Step]:
        """This step and all below it, in the order of the file."""
        yield self
        for child in self.children:
            yield from child.walk()


class Role(StrEnum):
    """What a flow is for."""

    ENTRY = "entry"
    """A packet's traversal may begin here."""
    SETUP = "setup"
    """Not a packet's path: registrations and assignments made when the kernel starts or a route is made."""
    ANYWHERE = "anywhere"
    """Its frames may stand in any frame, at any time: freeing, cloning, and the like."""
    PART = ""
    """Reached by ``@name`` from another flow."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A named flow. A flow of a packet has one ROOT step; a SETUP flow may have several steps of any kind."""

    name: str
    role: Role = Role.PART
    about: str = ""
    lines: tuple[Span, ...] = ()
    steps: tuple[Step, ...] = ()
    at: int = field(default=0, compare=False)

    @property
    def root(self) -> Step:
        """The first step: for a packet's flow the frame it begins with."""
        return self.steps[0]

    def walk(self) -> Iterator[Step]:
        """All steps in the order of the file."""
        for step in self.steps:
            yield from step.walk()


@dataclass(frozen=True, slots=True)
class Omission:
    """Lines of the source that no step stands for, and why."""

    lines: tuple[Span, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Document:
    """A whole .flow file."""

    name: str
    source: str = ""
    """File name of the text that it transcribes; empty when it has none."""
    kernel: str = ""
    """The release, or range of releases, that it describes."""
    about: str = ""
    omissions: tuple[Omission, ...] = ()
    flows: tuple[Flow, ...] = ()

    def flow(self, name: str) -> Flow:
        """The flow of that name; raises KeyError."""
        for flow in self.flows:
            if flow.name == name:
                return flow
        raise KeyError(name)

    def walk(self) -> Iterator[tuple[Flow, Step]]:
        """All steps of all flows."""
        for flow in self.flows:
            for step in flow.walk():
                yield flow, step

    def functions(self) -> dict[str, list[tuple[Flow, Step]]]:
        """Every function that the document places (frames, macros, values of pointers), with its steps."""
        found: dict[str, list[tuple[Flow, Step]]] = {}
        # `set policy->bundles = dst` assigns an object, which other steps reach into.
        objects = {step.name.partition("->")[0] for _, step in self.walk() if step.kind is Kind.SET}
        for flow, step in self.walk():
            names = step.targets
            if step.kind in (Kind.MACRO, Kind.NEVER):
                names = (step.name,)
            elif step.kind in (Kind.SET, Kind.REGISTER) and step.value.isidentifier() and step.value not in objects:
                names = (step.value,)
            for name in names:
                found.setdefault(name, []).append((flow, step))
        return found
