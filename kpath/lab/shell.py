"""A shell in a scenario's network, in which ``play`` sends the scenario's traffic."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from kpath.lab.declare import Network, Scenario, Steps
from kpath.lab.errors import LabError, UnknownScenarioError
from kpath.lab.netns import Netns, run

_HEARTBEAT = 0.2
"""Seconds after which it is looked whether the shell still runs."""


class Player:
    """A scenario that is prepared, and played as often as one likes."""

    def __init__(self, scenario: Scenario, network: Network) -> None:
        self._scenario, self._network = scenario, network
        self._steps: Steps | None = None
        self.prepare()

    def prepare(self) -> None:
        """What stands before the traffic, if it has not been done."""
        if self._steps is None:
            self._steps = self._scenario.steps(self._network)
            next(self._steps)

    def play(self) -> None:
        """The traffic, and what follows it; then all is prepared again. LabError or OSError."""
        self.prepare()
        steps, self._steps = self._steps, None
        assert steps is not None
        try:
            next(steps)
            next(steps, None)
        finally:
            steps.close()
        self.prepare()

    def close(self) -> None:
        """Let go of sockets."""
        if self._steps is not None:
            self._steps.close()


def addresses(netns: Netns) -> list[str]:
    """Its devices with their addresses, "va 10.1.0.1/24" each."""
    lines = run("ip", "-n", netns.name, "-br", "-4", "addr", "show").splitlines()
    found = []
    for line in lines:
        device, _state, *own = line.split()
        if device != "lo":
            found.append(" ".join([device.partition("@")[0], *own]))
    return found


def find(network: Network, name: str) -> Netns:
    """A namespace by its name, with or without prefix; the first for no name. UnknownScenarioError if there is none."""
    for netns in network.all:
        if name in ("", netns.name, netns.name.partition("-")[2]):
            return netns
    there = ", ".join(netns.name for netns in network.all)
    raise UnknownScenarioError(f"this network has no namespace {name!r}. It has {there}.")


def enter(netns: Netns, player: Player) -> int:
    """A shell in the namespace until it ends; its exit status. ``play`` in it plays the scenario."""
    with tempfile.TemporaryDirectory(prefix="kpath-lab-") as folder, _playing(player, Path(folder)) as serve:
        command, environment = _shell(netns, Path(folder))
        # While the shell waits for its children, Ctrl-C is theirs. (A handler, as what is ignored would be inherited.)
        before = signal.signal(signal.SIGINT, _not_ours)
        try:
            with subprocess.Popen(command, env=environment) as process:
                try:
                    while process.poll() is None:
                        serve()
                except BaseException:
                    process.terminate()
                    raise
        finally:
            signal.signal(signal.SIGINT, before)
    return process.returncode


def _not_ours(_number: int, _frame: FrameType | None) -> None:
    pass


def _shell(netns: Netns, folder: Path) -> tuple[list[str], Mapping[str, str]]:
    shell = os.environ.get("SHELL") or "/bin/sh"
    environment = {**os.environ, "KPATH_LAB": str(folder), "KPATH_NETNS": netns.name}
    play = folder / "play"
    play.write_text('#!/bin/sh\necho >"$KPATH_LAB/go" && cat "$KPATH_LAB/done"\n')
    play.chmod(0o700)
    environment["PATH"] = f"{environment.get('PATH', os.defpath)}:{folder}"
    command = ["ip", "netns", "exec", netns.name]
    if Path(shell).name == "bash" or shutil.which("bash"):
        prompt = shlex.quote(rf"[{netns.name}] \w# ")
        rc = folder / "bashrc"
        rc.write_text(f"[ -r ~/.bashrc ] && . ~/.bashrc\nPS1={prompt}\nPROMPT_COMMAND=\n")
        return [*command, "bash", "--rcfile", str(rc), "-i"], environment
    return [*command, shell, "-i"], environment


@contextlib.contextmanager
def _playing(player: Player, folder: Path) -> Iterator[_Server]:
    for name in ("go", "done"):
        os.mkfifo(folder / name)
    server = _Server(player, folder)
    try:
        yield server
    finally:
        server.close()


class _Server:
    """Plays when something is written to ``go``, and says in ``done`` how it went."""

    def __init__(self, player: Player, folder: Path) -> None:
        self._player, self._done = player, folder / "done"
        self._go = os.open(folder / "go", os.O_RDWR | os.O_NONBLOCK)

    def __call__(self) -> None:
        """Wait a moment for somebody who wants to play."""
        ready, _, _ = select.select([self._go], [], [], _HEARTBEAT)
        if ready and os.read(self._go, 1024):
            try:
                self._player.play()
                said = "played"
            except (LabError, OSError) as error:
                said = f"it did not work: {error}"
            # In a thread: whoever asked may be gone, and then nobody opens the other end.
            threading.Thread(target=self._say, args=(said,), daemon=True).start()

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._done.write_text(text + "\n")

    def close(self) -> None:
        """No more."""
        os.close(self._go)
