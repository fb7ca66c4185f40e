"""``kpath flows``: the documents as trees and pictures, and how they differ."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # rich and the documents take long to load, so only what runs loads them
    from rich.console import Console

    from kpath.flow.diff import Difference
    from kpath.flow.document import Document, Flow

_PIPED_WIDTH = 400
"""Columns when the output is no terminal: enough for every line of the built-in documents."""


@click.command()
@click.argument("document", required=False)
@click.argument("flow", required=False)
@click.option("--notes", is_flag=True, help="Also show remarks, and where the source differs from its kernel.")
@click.option("--dot", "form", flag_value="dot", help="Print the graph for Graphviz.")
@click.option("--mermaid", "form", flag_value="mermaid", help="Print the graph for Mermaid.")
@click.option("--svg", "form", flag_value="svg", help="Print a picture.")
@click.option("--check", "checking", is_flag=True, help="Only check DOCUMENT; exit status 1 if it is wrong.")
@click.option("--diff", "pair", nargs=2, metavar="A B", help="Show how the path changed from A to B.")
def flows(
    document: str | None, flow: str | None, notes: bool, form: str | None, checking: bool, pair: tuple[str, str] | None
) -> None:
    """Show DOCUMENT, or one FLOW of it, as a tree with the lines of its source.

    DOCUMENT is the name of a built-in document or the path of a .flow file; without it, the documents are listed.
    """
    if pair is not None:
        _show_difference(_load(pair[0]), _load(pair[1]))
    elif document is None:
        _list()
    elif checking:
        _check(_load(document))
    else:
        _show(_load(document), flow, notes, form)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


def _load(name: str) -> Document:
    from kpath.flow.errors import FlowError
    from kpath.flow.library import load

    try:
        return load(name)
    except FlowError as error:
        click.echo(f"kpath flows: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"kpath flows: {Path(name)}: {error.strerror}", err=True)
        sys.exit(2)


def _chosen(document: Document, flow: str | None) -> list[Flow] | None:
    if flow is None:
        return None
    try:
        return [document.flow(flow)]
    except KeyError:
        import difflib

        names = [one.name for one in document.flows]
        near = difflib.get_close_matches(flow, names, n=5) or names
        click.echo(f"kpath flows: {document.name} has no flow {flow!r}; it has {', '.join(near)}", err=True)
        sys.exit(2)


def _list() -> None:
    from rich.table import Table

    from kpath.flow.library import BUILT_IN

    table = Table(box=None, pad_edge=False)
    for heading in ("document", "kernel", "flows", "functions", "about"):
        table.add_column(heading, overflow="fold")
    for name in BUILT_IN:
        document = _load(name)
        table.add_row(
            name,
            document.kernel,
            str(len(document.flows)),
            str(len(document.functions())),
            document.about.split(". ")[0],
        )
    _console().print(table)


def _show(document: Document, flow: str | None, notes: bool, form: str | None) -> None:
    chosen = _chosen(document, flow)
    if form is None:
        from kpath.flow.tree import tree

        _console().print(tree(document, chosen, notes=notes))
        return
    from kpath.flow import picture
    from kpath.flow.graph import Graph

    draw = {"dot": picture.dot, "mermaid": picture.mermaid, "svg": picture.svg}[form]
    names = None if chosen is None else {one.name for one in chosen}
    click.echo(draw(Graph.of(document), names), nl=False)


def _check(document: Document) -> None:
    from kpath.flow.check import check

    problems = check(document)
    for problem in problems:
        click.echo(f"{document.name}:{problem.at}: {problem.message}")
    sys.exit(1 if any(problem.error for problem in problems) else 0)


def _show_difference(before: Document, now: Document) -> None:
    from rich.text import Text

    from kpath.flow.diff import difference
    from kpath.flow.lineage import Lineage

    found: Difference = difference(before, now, Lineage.load())
    console = _console()

    def heading(words: str, count: int) -> None:
        console.print(Text(f"{words} ({count})", style="bold"))

    heading(f"gone since {before.name}", len(found.gone))
    for gone in found.gone:
        console.print(Text(f"  - {gone.name}", style="red").append(f"  {gone.why}", style="default"))
    heading("under another name", len(found.renamed))
    for renamed in found.renamed:
        arrow = f"  ~ {renamed.name} -> {', '.join(renamed.now)}"
        console.print(Text(arrow, style="yellow").append(f"  {renamed.why}", style="default"))
    heading("called from elsewhere", len(found.moved))
    for moved in found.moved:
        arrow = f"  > {moved.name}"
        words = f"  was under {', '.join(moved.before)}; is under {', '.join(moved.now)}"
        if moved.through:
            words = f"  under {', '.join(moved.before)}, now through {', '.join(moved.through)}"
        console.print(Text(arrow, style="cyan").append(words, style="default"))
    heading(f"new in {now.name}", len(found.new))
    for name in found.new:
        console.print(Text(f"  + {name}", style="green"))
    console.print(Text(f"{len(found.same)} functions are in both", style="dim"))
