"""The graph of a document as Graphviz, Mermaid or SVG."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator

from rich.console import Console
from rich.measure import Measurement

from kpath.flow.document import Flow, Kind
from kpath.flow.graph import Edge, EdgeKind, Graph, Node
from kpath.flow.tree import tree
from kpath.flow.unparser import cite

_DOT = {
    EdgeKind.CALL: "",
    EdgeKind.NEXT: 'style=dotted color="#aaaaaa" constraint=false',
    EdgeKind.JUMP: 'style=dashed color="#3366cc"',
    EdgeKind.QUEUE: 'style=bold color="#993399"',
}
_SHAPES = {Kind.HOOK: "hexagon", Kind.END: "doublecircle", Kind.SET: "note", Kind.REGISTER: "note"}
_MERMAID = {EdgeKind.CALL: "-->", EdgeKind.NEXT: "-.-", EdgeKind.JUMP: "-.->", EdgeKind.QUEUE: "==>"}
_DRAW_SECONDS = 60
_FONTS = "ui-monospace,'DejaVu Sans Mono','Liberation Mono','Noto Sans Mono',Menlo,Consolas,monospace"


def _shown(graph: Graph, flows: Collection[str] | None) -> tuple[list[Node], list[Edge]]:
    """The nodes that make sense in a picture, and the edges between them."""
    nodes = [
        node
        for node in graph.nodes.values()
        if (flows is None or node.flow in flows) and node.step.kind not in (Kind.CHOICE, Kind.GROUP, Kind.LOOP)
    ]
    ids = {node.id for node in nodes}
    return nodes, [edge for edge in graph.edges if edge.source in ids and edge.target in ids]


def _condition(edge: Edge) -> str:
    return ", ".join(str(guard) for guard in edge.guards) if edge.kind in (EdgeKind.CALL, EdgeKind.QUEUE) else ""


def _label(node: Node) -> str:
    lines = cite(node.step.lines)
    return f"{node.step.label} {lines}" if lines else node.step.label


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dot(graph: Graph, flows: Collection[str] | None = None) -> str:
    """Graphviz source; ``flows`` limits it to some flows."""
    nodes, edges = _shown(graph, flows)
    lines = [f"digraph {_quoted(graph.document.name)} {{", "  rankdir=LR;", "  node [shape=box fontname=monospace];"]
    for number, flow in enumerate(dict.fromkeys(node.flow for node in nodes)):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(flow)};"]
        for node in nodes:
            if node.flow == flow:
                shape = f" shape={_SHAPES[node.step.kind]}" if node.step.kind in _SHAPES else ""
                lines.append(f"    {_quoted(node.id)} [label={_quoted(_label(node))}{shape}];")
        lines.append("  }")
    for edge in edges:
        attributes = _DOT[edge.kind]
        condition = _condition(edge)
        if condition:
            attributes = f"{attributes} label={_quoted(condition)}".strip()
        lines.append(
            f"  {_quoted(edge.source)} -> {_quoted(edge.target)}" + (f" [{attributes}];" if attributes else ";")
        )
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(graph: Graph, flows: Collection[str] | None = None) -> str:
    """A Mermaid flowchart; ``flows`` limits it to some flows."""
    nodes, edges = _shown(graph, flows)
    names = {node.id: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    for number, flow in enumerate(dict.fromkeys(node.flow for node in nodes)):
        lines.append(f"  subgraph f{number}[{_html(flow)}]")
        lines += [f"    {names[node.id]}{_boxed(node)}" for node in nodes if node.flow == flow]
        lines.append("  end")
    for edge in edges:
        condition = _condition(edge)
        arrow = _MERMAID[edge.kind] + (f"|{_html(condition)}|" if condition else "")
        lines.append(f"  {names[edge.source]} {arrow} {names[edge.target]}")
    return "\n".join(lines) + "\n"


def _html(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return f'"{escaped}"'


def _boxed(node: Node) -> str:
    text = _html(_label(node))
    match node.step.kind:
        case Kind.HOOK:
            return f"{{{{{text}}}}}"
        case Kind.END:
            return f"(({text}))"
        case _:
            return f"[{text}]"


def svg(graph: Graph, flows: Collection[str] | None = None) -> str:
    """An SVG picture: drawn by Graphviz where it is installed, otherwise the tree as text."""
    program = shutil.which("dot")
    if program is not None:
        drawn = _by_graphviz(program, dot(graph, flows))
        if drawn:
            return drawn
    chosen = list(_flows(graph, flows))
    lines = tree(graph.document, chosen)
    width = Measurement.get(Console(width=1000), Console(width=1000).options, lines).maximum
    console = Console(record=True, file=io.StringIO(), width=max(40, width), force_terminal=True)
    console.print(lines)
    drawn = console.export_svg(title=graph.document.name)
    # Rich's picture would load its font from the network.
    drawn = re.sub(r"@font-face\s*\{.*?\}\s*", "", drawn, flags=re.DOTALL)
    return drawn.replace("Fira Code, monospace", _FONTS)


def _flows(graph: Graph, flows: Collection[str] | None) -> Iterator[Flow]:
    return (flow for flow in graph.document.flows if flows is None or flow.name in flows)


def _by_graphviz(program: str, source: str) -> str:
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=source, capture_output=True, text=True, check=True, timeout=_DRAW_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
