"""Kernel packages in Debian's archives, found by pattern: names of kernel packages move on with each update.

Everything goes through a throw-away apt configuration in a directory of our own, so the machine's package
lists and state stay as they are. Where the archives are is asked of the machine's apt.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kpath.guest.errors import ArchiveError, ToolMissingError

SUITES: dict[str, tuple[str, ...]] = {
    "5.10": ("bullseye", "bullseye-security"),
    "6.1": ("bookworm", "bookworm-security"),
    "6.12": ("bookworm-security", "trixie", "trixie-security"),
    "7.3": ("trixie-backports",),
}
"""Where a series is looked for; any other series is looked for in all of these and in `OTHER_SUITES`."""

OTHER_SUITES = ("bookworm-backports", "trixie", "trixie-security", "trixie-backports", "sid")

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

PACKAGE = re.compile(r"linux-(?:image|binary)-(?P<release>(?P<series>\d+\.\d+)\.\d[.\d+~a-z-]*-amd64)")
"""A stock kernel's package. Since 7.x the image package only depends on those that `SPLIT` names."""

SPLIT = ("linux-binary-{}", "linux-modules-{}", "linux-base-{}")

UNWANTED = re.compile(r"-(?:cloud|rt|dbg|unsigned)\b|-unsigned")

APT_CONF = """\
Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{dir}/state";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
APT::Sandbox::User "";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
Acquire::Languages "none";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


@dataclass(frozen=True, slots=True)
class KernelPackages:
    """The newest kernel of one series: its release (``uname -r``) and the packages that hold it."""

    series: str
    release: str
    packages: tuple[str, ...]


def suites_for(series: Iterable[str]) -> tuple[str, ...]:
    """The suites in which these series are looked for."""
    wanted: dict[str, None] = {}
    everything = [suite for suites in SUITES.values() for suite in suites] + list(OTHER_SUITES)
    for name in series:
        wanted.update(dict.fromkeys(SUITES.get(name, everything)))
    return tuple(wanted)


def release_order(release: str) -> tuple[int, ...]:
    """A sort key for releases of one series: the numbers in them."""
    return tuple(int(number) for number in re.findall(r"\d+", release))


def newest(names: Iterable[str]) -> dict[str, KernelPackages]:
    """The newest stock kernel of each series among these package names."""
    present = frozenset(names)
    found: dict[str, KernelPackages] = {}
    for name in sorted(present):
        match = PACKAGE.fullmatch(name)
        if match is None or UNWANTED.search(name):
            continue
        release, series = match["release"], match["series"]
        split = tuple(part.format(release) for part in SPLIT)
        packages = split if present.issuperset(split) else (f"linux-image-{release}",)
        if not present.issuperset(packages):
            continue
        best = found.get(series)
        if best is None or release_order(release) > release_order(best.release):
            found[series] = KernelPackages(series, release, packages)
    return found


class Archive:
    """Debian's archives, read through an apt configuration that lives in `directory`."""

    def __init__(self, directory: Path, suites: Iterable[str]) -> None:
        for tool in ("apt-get", "apt-cache", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise ToolMissingError(f"{tool} is not here: the kernels of guests come from Debian, through apt.")
        if not KEYRING.exists():
            raise ToolMissingError(f"{KEYRING} is missing: install debian-archive-keyring.")
        self.directory = directory
        for name in ("lists/partial", "state", "cache/archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "status").touch()
        self.config = directory / "apt.conf"
        self.config.write_text(APT_CONF.format(dir=directory))
        main, security = machine_archives()
        lines = [
            f"deb [signed-by={KEYRING}] {security if suite.endswith('-security') else main} {suite} main"
            for suite in suites
        ]
        (directory / "sources.list").write_text("\n".join(lines) + "\n")

    def update(self) -> None:
        """Fetches the lists of packages."""
        self._apt("apt-get", "update", "-q")

    def kernels(self) -> dict[str, KernelPackages]:
        """The newest kernel of each series that the lists know."""
        return newest(self._apt("apt-cache", "pkgnames", "linux-").split())

    def download(self, packages: Iterable[str], into: Path) -> list[Path]:
        """Downloads packages (apt checks their hashes), and says where they are."""
        self._apt("apt-get", "download", "-q", *packages, cwd=into)
        return sorted(into.glob("*.deb"))

    def _apt(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            [tool, "-c", str(self.config), *arguments],
            cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ArchiveError(f"{tool} {arguments[0]} failed:\n{done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def machine_archives() -> tuple[str, str]:
    """Where this machine's apt gets Debian from: the main archive, and the security archive."""
    done = subprocess.run(
        ["apt-get", "--print-uris", "update"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    main = security = None
    for uri, suite in re.findall(r"'(\S+)/dists/([a-z]+[a-z-]*)(?:/updates)?/InRelease'", done.stdout):
        if suite.endswith("-security"):
            security = security or uri
        elif uri.endswith("/debian"):
            main = main or uri
    if main is None:
        raise ArchiveError("This machine's apt sources name no Debian archive to take kernels from.")
    return main, security or f"{main}-security"
