"""What the pages show is what the commands print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpath.cli import reference
from kpath.cli.main import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@dataclass(slots=True)
class Shown:
    """A command (after ``$``) and what a page says that it prints, block by block; ``…`` stands for lines left out."""

    command: str
    blocks: list[list[str]] = field(default_factory=list)


def shown(page: Path) -> list[Shown]:
    """The commands of a page with the indented blocks that follow each, up to the next heading."""
    found: list[Shown] = []
    block: list[str] | None = None
    inside = False
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            inside = False
        if line.strip().startswith("$ kpath "):
            found.append(Shown(line.strip()[2:]))
            block, inside = None, True
        elif not line.startswith("    ") or line.strip().startswith("sudo "):
            block = None
        elif inside:
            if block is None:
                found[-1].blocks.append(block := [])
            block.append(line)
    return found


@cache
def printed(command: str) -> tuple[str, ...]:
    """The command's output."""
    result = CliRunner().invoke(cli, shlex.split(command)[1:], catch_exceptions=False)
    return tuple(normal(line) for line in result.output.splitlines())


def normal(line: str) -> str:
    """Times of a recording are not what a page is about, nor is a margin."""
    return re.sub(r"\d+\.\d", "0.0", re.sub(r"\s+", " ", line)).strip()


def in_order(block: list[str], lines: tuple[str, ...]) -> Iterator[str]:
    """Lines of the block that do not come where they should: next, or after an ellipsis anywhere later."""
    at, anywhere = 0, True
    for line in block:
        if line.strip() == "…":
            anywhere = True
            continue
        wanted = normal(line)
        places = [n for n in range(at, len(lines)) if lines[n] == wanted]
        if not places or (not anywhere and places[0] != at):
            yield line
        else:
            at, anywhere = places[0] + 1, False


CASES = [(page, case) for page in (DOCS / "tutorial.md",) for case in shown(page)]


@pytest.mark.parametrize(("page", "case"), CASES, ids=[f"{page.stem}-{n}" for n, (page, _) in enumerate(CASES)])
def test_pages_show_what_is_printed(page: Path, case: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line, in order."""
    monkeypatch.chdir(ROOT)
    wrong = [line for block in case.blocks for line in in_order(block, printed(case.command))]
    assert not wrong, f"{page.name}: kpath {case.command} does not print\n" + "\n".join(wrong)


def test_the_tutorial_shows_something() -> None:
    """The check above would be empty if the page's form changed."""
    assert len(CASES) > 5 and all(case.blocks for _, case in CASES if "udp-open" not in case.command)


@pytest.mark.parametrize("page", ["commands", "events"])
def test_references_are_the_code_s(page: str) -> None:
    """``make docs`` was run after the last change of an option or a field."""
    assert (DOCS / f"{page}.md").read_text() == getattr(reference, page)(), "run `make docs`"


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Pages that a page names are there."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
