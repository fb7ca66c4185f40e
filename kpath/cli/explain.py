"""``kpath explain``: what a documented function does, what became of it, and how it is seen here."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # rich and the documents take long to load, so only what runs loads them
    from kpath.flow.explain import Explanation
    from kpath.flow.lineage import Entry
    from kpath.flow.resolve import Resolution


@click.command()
@click.argument("function")
@click.option("--capture", type=click.Path(exists=True, dir_okay=False), help="Say how it is seen in this capture.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(function: str, capture: str | None, as_json: bool) -> None:
    """Say where the documents name FUNCTION, what it does, and what became of it.

    Exit status 2 if no document names it, or the capture cannot be read.
    """
    from kpath.flow.errors import LineageError
    from kpath.flow.explain import explain as explained

    try:
        found = explained(function)
    except LineageError as error:
        click.echo(f"kpath explain: {error}", err=True)
        sys.exit(2)
    resolution, where = _resolution(found.entry, capture)
    if as_json:
        click.echo(json.dumps(_as_data(found, resolution), indent=2, ensure_ascii=False))
    else:
        _print(found, resolution, where)


def _resolution(entry: Entry, capture: str | None) -> tuple[Resolution | None, str]:
    """How the function is seen, and on which kernel; without a kernel, why it cannot be said."""
    from kpath.flow.resolve import Symbols, resolve

    if capture is not None:
        from kpath.model.view import CaptureView

        view = CaptureView.of_file(capture)
        return view.resolve(entry), f"in {capture} (kernel {view.kernel.partition(' ')[0]})"
    try:
        return resolve(entry, Symbols.of_kallsyms()), "on this kernel"
    except OSError:
        return None, "there is no /proc/kallsyms here, so how this kernel has it cannot be said"


def _as_data(found: Explanation, resolution: Resolution | None) -> dict[str, Any]:
    entry = found.entry
    data: dict[str, Any] = {
        "function": entry.name,
        "does": entry.does,
        "became": entry.became.value,
        "story": entry.story,
        "changes": [
            {"commit": commit.hash, "release": commit.release, "subject": commit.subject, "found": commit.found.value}
            for commit in entry.changes
        ],
        "trees": list(entry.trees),
        "mentions": [
            {"file": mention.file, "line": mention.line, "text": mention.text, "notes": list(mention.notes)}
            for mention in found.mentions
        ],
    }
    if resolution is not None:
        data["seen"] = {
            "how": resolution.how.value,
            "symbols": list(resolution.symbols),
            "certain": resolution.certain,
            "reason": resolution.reason,
        }
    return data


def _print(found: Explanation, resolution: Resolution | None, where: str) -> None:
    from rich.console import Console
    from rich.text import Text

    entry = found.entry
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(entry.name, style="bold").append(f": {entry.does}", style="not bold"))
    console.print()
    for mention in found.mentions:
        console.print(Text(f"  {mention}", style="cyan").append(f"  {mention.text}", style="default"))
        for note in mention.notes:
            console.print(Text(f"      {note}", style="yellow"))
    if found.mentions:
        console.print()
    console.print(Text("  today: ").append(entry.became.value, style="bold").append(_story(entry.story)))
    for commit in entry.changes:
        console.print(Text(f"         {commit}", style="dim"))
    if entry.trees:
        console.print(Text(f"         in the sources: {', '.join(entry.trees)}", style="dim"))
    if entry.builds:
        console.print(Text(f"         in Debian's kernels: {'; '.join(entry.builds)}", style="dim"))
    if entry.unverified:
        console.print(Text("         its history was not looked up in the sources of older releases", style="dim"))
    if resolution is None:
        console.print(Text(f"  seen:  {where}"))
    else:
        console.print(
            Text("  seen:  ").append(resolution.how.value, style="bold").append(f" {where}: {resolution.reason}")
        )


def _story(story: str) -> str:
    return f". {story}" if story else ""
