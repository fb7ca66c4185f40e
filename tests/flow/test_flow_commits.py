"""The check of cited commits finds what is wrong, on a history made for it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kpath.flow.lineage import Commit, Found
from tests.flow.commits import cited, wrong

WHO = ("-c", "user.name=n", "-c", "user.email=n@example.org")


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, Commit]:
    """A history with one commit in v3.6-rc1, and that commit."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *WHO, "-C", tmp_path, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "before")
    git("tag", "v3.5")
    git("commit", "-q", "--allow-empty", "-m", "ipv4: Delete routing cache.")
    hash = git("rev-parse", "--short=12", "HEAD")
    git("commit", "-q", "--allow-empty", "-m", "after")
    git("tag", "v3.6-rc1")
    return tmp_path, Commit(hash, "v3.6", "ipv4: Delete routing cache", "", Found.MAIL)


def test_what_is_right_is_left_alone(history: tuple[Path, Commit]) -> None:
    path, commit = history
    assert list(wrong([commit, replace(commit, release="v3.6-rc1")], path)) == []


def test_what_is_wrong_is_said(history: tuple[Path, Commit]) -> None:
    path, commit = history
    others = (
        replace(commit, hash="0123456789ab"), replace(commit, subject="ipv4: Keep it"), replace(commit, release="v3.5"),
        replace(commit, release="v3.6-rc2"),
    )  # fmt: skip
    said = list(wrong(others, path))
    assert len(said) == len(others)
    assert "not in this history" in said[0]
    assert 'not "ipv4: Keep it"' in said[1]
    assert "came with v3.6-rc1, not v3.5" in said[2]


def test_there_are_commits() -> None:
    assert len(cited()) > 30
