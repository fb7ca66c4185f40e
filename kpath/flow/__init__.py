"""Documents: notation, parser, flow graph and the lineage of each function."""

from kpath.flow.document import (
    Condition,
    Document,
    Flow,
    Kind,
    Note,
    NoteKind,
    Omission,
    Role,
    Span,
    Step,
    Term,
)
from kpath.flow.errors import FlowError, FlowSyntaxError, LineageError, UnknownDocumentError
from kpath.flow.graph import Body, Edge, EdgeKind, Graph, Guard, Node
from kpath.flow.library import BUILT_IN, load
from kpath.flow.lineage import Arrow, Became, Change, Commit, Entry, Lineage
from kpath.flow.parser import parse
from kpath.flow.resolve import How, KernelView, Resolution, resolve
from kpath.flow.unparser import unparse

__all__ = [
    "BUILT_IN",
    "Arrow",
    "Became",
    "Body",
    "Change",
    "Commit",
    "Condition",
    "Document",
    "Edge",
    "EdgeKind",
    "Entry",
    "Flow",
    "FlowError",
    "FlowSyntaxError",
    "Graph",
    "Guard",
    "How",
    "KernelView",
    "Kind",
    "Lineage",
    "LineageError",
    "Node",
    "Note",
    "NoteKind",
    "Omission",
    "Resolution",
    "Role",
    "Span",
    "Step",
    "Term",
    "UnknownDocumentError",
    "load",
    "parse",
    "resolve",
    "unparse",
]
