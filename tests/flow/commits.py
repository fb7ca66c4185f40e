"""Checks the commits that the lineage cites against a git directory of the kernel, which this project does not have.

    python -m tests.flow.commits ~/linux

Each must be there with its subject, and the first release that has it must be the one that is cited.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from kpath.flow import Lineage
from kpath.flow.lineage import Commit


def cited() -> list[Commit]:
    """Every commit of the lineage, in the order of its hash."""
    lineage = Lineage.load()
    found = {commit for entry in lineage.entries.values() for commit in entry.changes}
    found |= {commit for arrow in lineage.arrows.values() for commit in arrow.changes}
    return sorted(found, key=lambda commit: commit.hash)


def wrong(commits: Iterable[Commit], history: Path) -> Iterator[str]:
    """What the history has otherwise, a sentence each."""
    for commit in commits:
        subject = _git(history, "show", "--no-patch", "--format=%s", commit.hash)
        if subject is None:
            yield f"{commit.hash} is not in this history"
            continue
        if subject.rstrip(".") != commit.subject.rstrip("."):
            yield f'{commit.hash} is "{subject}", not "{commit.subject}"'
        first = _git(history, "describe", "--contains", "--match", "v*", commit.hash)
        if first is None:
            yield f"{commit.hash} is in no release of this history"
        elif (release := re.split("[~^]", first)[0]) != commit.release and not _candidate(release, commit.release):
            yield f"{commit.hash} came with {release}, not {commit.release}"


def _candidate(release: str, of: str) -> bool:
    """Is it a candidate for this release?"""
    return re.fullmatch(re.escape(of) + r"-rc\d+", release) is not None


def _git(history: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", history, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@click.command()
@click.argument("history", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(history: Path) -> None:
    """Check against the git directory HISTORY, which needs the kernel's tags. Exit status 1: something is wrong."""
    commits = cited()
    found = list(wrong(commits, history))
    for sentence in found:
        print(sentence)
    print(f"{len(commits)} commits are cited; {len(found)} things are wrong.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
