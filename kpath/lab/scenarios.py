"""All scenarios, and what plays them. A new theme is a module of this package, imported here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from kpath.lab import (
    busy,
    datagrams,
    devices,
    forward,
    fragments,
    handshakes,
    ipsec,
    iptables,
    multicast,
    neighbours,
    netfilter,
    nics,
    output,
    policies,
    programs,
    queues,
    receive,
    routing,
    segments,
    tunnels,
)
from kpath.lab.bench import lab
from kpath.lab.declare import SCENARIOS, Lab, Scenario, play
from kpath.lab.errors import UnknownScenarioError
from kpath.lab.needs import load

__all__ = ["MODULES", "SCENARIOS", "THEMES", "Lab", "Scenario", "lab", "load_modules", "play", "wanted"]

THEMES = {
    module.__name__.rpartition(".")[2]: (module.__doc__ or "").strip().partition("\n")[0]
    for module in (
        receive, output, datagrams, segments, handshakes, multicast, forward, routing, fragments, neighbours, netfilter,
        iptables, ipsec, policies, tunnels, devices, queues, programs, nics, busy,
    )
}  # fmt: skip
"""Themes in the order of a packet's life, each with a line of what it is about."""

MODULES = (
    "veth", "bridge", "8021q", "ipip", "esp4", "xfrm_user", "nf_tables", "nft_chain_nat", "nft_masq", "nft_nat",
    "nft_reject_ipv4", "nft_counter", "e1000", "virtio_net", "rfc4106", "gcm", "seqiv",
)  # fmt: skip
"""What the kernel loads by itself while scenarios are played; what scenarios say that they need comes on top."""


def load_modules() -> None:
    """Load all that scenarios need and this kernel has, so that no scenario changes what is probed."""
    needed = {need.module for scenario in SCENARIOS.values() for need in scenario.all_needs if need.module}
    load((*MODULES, *sorted(needed - set(MODULES))))


def wanted(names: Sequence[str]) -> list[Scenario]:
    """The scenarios of these names, or of these themes; without names all that can be recorded.

    A theme that has the name of a scenario, too, is told from it by a slash: "fragments/". Raises UnknownScenarioError.
    """
    if not names:
        return [scenario for scenario in SCENARIOS.values() if not scenario.busy]
    chosen: dict[str, Scenario] = {}
    for name in names:
        if name in SCENARIOS:
            chosen[name] = SCENARIOS[name]
        elif (theme := name.removesuffix("/")) in THEMES:
            chosen |= {s.name: s for s in SCENARIOS.values() if s.theme == theme and not s.busy}
        else:
            near = difflib.get_close_matches(name, [*SCENARIOS, *THEMES], 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "kpath lab list names them."
            raise UnknownScenarioError(f"there is no scenario or theme {name!r}: {hint}")
    return list(chosen.values())
