"""``kpath lab``: networks and traffic made to order, to see a documented step taken."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kpath.lab.declare import Network, Scenario

OK, FAILED = 0, 1
PAUSE = 1.0
"""Seconds between repetitions, so that each can be told from the one before."""


@click.group()
def lab() -> None:
    """Play scenarios: networks of namespaces on this machine, and the traffic in them.

    Everything happens in network namespaces that begin with kp-, and is gone at the end.

    \b
    Try:
      kpath lab list                     what there is
      sudo kpath lab run ttl-expired     play one; watch it in another terminal
      sudo kpath lab shell nft-dnat      look around in its network
    """


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from kpath.lab.scenarios import SCENARIOS, THEMES

    return [name for name in [*SCENARIOS, *THEMES] if name.startswith(incomplete)]


@lab.command("list")
@click.argument("names", nargs=-1, metavar="[NAME|THEME]...", shell_complete=_complete)
@click.option("-v", "--verbose", is_flag=True, help="With what each needs and must exercise.")
def list_(names: tuple[str, ...], verbose: bool) -> None:
    """List the scenarios, by theme, and say which cannot run here and why."""
    from kpath.lab.scenarios import SCENARIOS, THEMES, wanted

    chosen = wanted(names) if names else list(SCENARIOS.values())
    width = min(100, _columns())
    column = max(len(s.name) for s in chosen) + 1
    indent = " " * (column + 3)
    missing: dict[str, list[str]] = {}
    for theme, about in THEMES.items():
        own = [s for s in chosen if s.theme == theme]
        if own:
            click.echo(click.style(theme, bold=True) + f": {about}")
        for scenario in own:
            if lack := scenario.missing():
                missing.setdefault(lack, []).append(scenario.name)
            mark = click.style("✗", fg="red") if lack else click.style("✓", fg="green")
            first, *more = textwrap.wrap(scenario.title, width - len(indent))
            click.echo("\n".join([f"{mark} {scenario.name:<{column}} {first}", *(indent + line for line in more)]))
            if verbose:
                _details(scenario, indent, width)
    click.echo()
    for lack, which in missing.items():
        these = "all of these" if len(which) == len(chosen) > 1 else ", ".join(which)
        text = f"✗ cannot run here, because this machine lacks {lack}: {these}."
        click.echo("\n".join(textwrap.wrap(text, width, subsequent_indent="  ")))
    able = len(chosen) - sum(map(len, missing.values()))
    root = "" if os.geteuid() == 0 or not able else "; playing them needs root"
    click.echo(f"{len(chosen)} scenario{'s' if len(chosen) > 1 else ''}, {able} can run here{root}.")


def _details(scenario: Scenario, indent: str, width: int) -> None:
    """What it needs, and what it must exercise."""
    lines = [f"needs {', '.join(need.text for need in scenario.all_needs)}"] if scenario.all_needs else []
    lines += [f"{document}: {', '.join(steps)}" for document, steps in scenario.exercises.items()]
    for line in lines:
        for part in textwrap.wrap(line, width - len(indent), subsequent_indent="  "):
            click.echo(indent + click.style(part, dim=True))


@lab.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)
@click.option("--repeat", type=click.IntRange(0), default=1, show_default=True, metavar="N",
              help="Play each N times, a second apart; 0 is until Ctrl-C.")  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait for Enter before the first packet: time to start kpath watch.")
@click.option("--keep", is_flag=True, help="Keep the network up after the last packet, until Enter or Ctrl-C.")
def run(names: tuple[str, ...], repeat: int, wait: bool, keep: bool) -> int:
    """Play the scenarios (or themes) NAME, without capturing anything.

    The exit status is 1 if traffic did not do what it is meant to do, and 3 if this machine lacks what it takes.

    \b
    In another terminal, meanwhile:
      sudo kpath watch any
    """
    from kpath.lab.bench import lab as bench
    from kpath.lab.errors import LabError, LabSetupError
    from kpath.lab.scenarios import load_modules, wanted
    from kpath.lab.shell import Player

    status = OK
    chosen = wanted(names)
    able = [s for s in chosen if not s.missing()]
    for scenario in chosen:
        if missing := scenario.missing():
            click.echo(f"{scenario.name} cannot run here: this machine lacks {missing}.", err=True)
    if not able:
        raise LabSetupError("none of these scenarios can run here.")
    with bench() as networks:
        load_modules()
        for scenario in able:
            network = networks.network(scenario.topology)
            click.echo(click.style(scenario.name, bold=True) + f": {scenario.title}")
            _describe(scenario, network)
            player = Player(scenario, network)
            if wait:
                _pause("Enter sends the first packet. To see it: kpath watch any (in another terminal)")
            try:
                for number in _numbers(repeat):
                    if number > 1:
                        time.sleep(PAUSE)
                    player.play()
                    click.echo(f"  played{f' {number} times' if number > 1 else ''}")
            except (LabError, OSError) as error:
                click.echo(f"  {click.style('it did not work', fg='red')}: {error}", err=True)
                status = FAILED
                networks.close()
                continue
            finally:
                player.close()
        if keep:
            _pause("The network stays until Enter or Ctrl-C; ip netns exec NAMESPACE … works in it.")
    return status


def _numbers(repeat: int) -> range:
    return range(1, repeat + 1) if repeat else range(1, sys.maxsize)


@lab.command()
@click.argument("name", shell_complete=_complete)
@click.argument("namespace", default="")
def shell(name: str, namespace: str) -> int:
    """Make the network of the scenario NAME and start a shell in it (in NAMESPACE, by default the first).

    In the shell, "play" sends the scenario's traffic. The network is removed when the shell ends, whose exit status is
    passed on.
    """
    from kpath.lab.bench import lab as bench
    from kpath.lab.errors import LabSetupError, UnknownScenarioError
    from kpath.lab.scenarios import load_modules, wanted
    from kpath.lab.shell import Player, enter, find

    chosen = wanted([name])
    if len(chosen) != 1:
        raise UnknownScenarioError(f"{name} is a theme: name one of {', '.join(s.name for s in chosen)}.")
    (scenario,) = chosen
    if missing := scenario.missing():
        raise LabSetupError(f"{name} cannot run here: this machine lacks {missing}.")
    with bench() as networks:
        load_modules()
        network = networks.network(scenario.topology)
        netns = find(network, namespace)
        click.echo(click.style(scenario.name, bold=True) + f": {scenario.title}")
        player = Player(scenario, network)
        try:
            _describe(scenario, network)
            others = [n.name for n in network.all if n != netns]
            click.echo(f"This shell is in {netns.name}. Type")
            for typed, what in (
                ("play", "to send the scenario's traffic, as often as you like"),
                (f"ip netns exec {others[0] if others else netns.name} …", "to run something in another namespace"),
                ("kpath watch any", "in another terminal, to see the paths"),
                ("exit", "to take it all down"),
            ):
                click.echo(f"  {typed:<28} {what}")
            return enter(netns, player)
        finally:
            player.close()


def _describe(scenario: Scenario, network: Network) -> None:
    """The network, in a few lines."""
    from kpath.lab.shell import addresses

    click.echo(f"  {scenario.topology.title}:")
    for netns in network.all:
        click.echo(f"    {netns.name:<12} {', '.join(addresses(netns))}")


def _pause(text: str) -> None:
    click.echo(text)
    if sys.stdin.isatty():
        input()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
