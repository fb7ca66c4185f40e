"""``kpath doctor``: can kpath capture on this machine, and what of the path can it see here?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # bcc, numpy and rich take long to import, so only what runs imports them
    from rich.table import Table

    from kpath.capture.resolve import Probe
    from kpath.kernel.doctor import Check

_MARKS = {True: "[green]ok[/]", False: "[red]no[/]", None: "[yellow]less[/]"}


@click.command()
@click.option(
    "--all", "everything", is_flag=True, help="List every function of the plan, not only the oddities."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(everything: bool, as_json: bool) -> None:
    """Say what kpath needs, what this machine has, and which functions can be probed.

    Exit status 1 if kpath cannot capture here.
    """
    from kpath.kernel.doctor import examine, usable

    checks = examine()
    probes, problem = _probes()
    if as_json:
        click.echo(json.dumps(_as_data(checks, probes, problem), indent=2))
    else:
        _print(checks, probes, problem, everything)
    sys.exit(0 if usable(checks) else 1)


def _probes() -> tuple[list[Probe], str]:
    """The plan on this kernel, or why it cannot be told."""
    from kpath.capture.resolve import resolve
    from kpath.kernel.errors import KernelError
    from kpath.kernel.probeable import Probeability

    try:
        return resolve(Probeability.load()), ""
    except KernelError as error:
        return [], str(error)


def _substitutes(probe: Probe, attached: set[str]) -> list[str]:
    """Planned functions that tell the same and can be probed here, when this one cannot."""
    return [] if probe.program else [name for name in probe.planned.substitute if name in attached]


def _as_data(checks: Sequence[Check], probes: Sequence[Probe], problem: str) -> dict[str, Any]:
    from kpath.kernel.doctor import usable

    attached = {probe.name for probe in probes if probe.program}
    return {
        "usable": usable(list(checks)),
        "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy} for c in checks],
        "problem": problem,
        "functions": [
            {
                "name": probe.name,
                "group": probe.planned.group,
                "why": probe.planned.why,
                "state": probe.state.value,
                "symbol": probe.symbol,
                "module": probe.module,
                "program": probe.program,
                "reason": probe.reason,
                "substitute": _substitutes(probe, attached),
            }
            for probe in probes
        ],
    }


def _print(checks: Sequence[Check], probes: Sequence[Probe], problem: str, everything: bool) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    table = _table("", "", "This machine")
    for check in checks:
        remedy = f"\n[bold]{escape(check.remedy)}[/]" if check.remedy else ""
        table.add_row(check.name, _MARKS[check.ok], escape(check.detail) + remedy)
    console.print(table)
    if problem:
        console.print(f"\nThe functions cannot be judged. {problem}", markup=False, highlight=False)
        return
    attached = {probe.name for probe in probes if probe.program}
    table = _table("Function", "", "Why", "Instead")
    for probe in probes:
        odd = not probe.program or probe.symbol != probe.name or probe.reason not in ("", "attachable")
        if not (odd or everything):
            continue
        mark = _MARKS[True if probe.program and not odd else None if probe.program else False]
        reason = probe.reason if odd else probe.planned.why
        if probe.symbol not in ("", probe.name) and probe.symbol not in reason:
            reason = f"as {probe.symbol}: {reason}"
        table.add_row(probe.name, mark, escape(reason), ", ".join(_substitutes(probe, attached)))
    console.print()
    console.print(table)
    console.print(f"\n{len(attached)} of {len(probes)} planned functions can be probed.", highlight=False)


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i < 2, overflow="fold")
    return table
