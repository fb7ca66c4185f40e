"""Facts about the kernel and the capture that a reader of the file cannot find out any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kpath.capture.tables import Fact
from kpath.kernel.btf import Btf
from kpath.kernel.drops import DropReasons
from kpath.kernel.errors import NoBtfError

if TYPE_CHECKING:
    from kpath.capture.resolve import Probe
    from kpath.capture.session import Session

# Numbers that are part of the kernel's interface to userspace, so they are the same everywhere; they stand in a
# capture so that its readers need no table of their own (include/uapi/linux/neighbour.h, netfilter.h, rtnetlink.h).
NUD: dict[str | int, Fact] = {
    1: "INCOMPLETE", 2: "REACHABLE", 4: "STALE", 8: "DELAY", 16: "PROBE", 32: "FAILED", 64: "NOARP", 128: "PERMANENT",
}  # fmt: skip
HOOKS: dict[str | int, Fact] = {0: "PRE_ROUTING", 1: "LOCAL_IN", 2: "FORWARD", 3: "LOCAL_OUT", 4: "POST_ROUTING"}
FAMILIES: dict[str | int, Fact] = {2: "IPv4", 3: "ARP", 5: "NETDEV", 7: "BRIDGE", 10: "IPv6"}
VERDICTS: dict[str | int, Fact] = {0: "STOLEN or QUEUE", 1: "ACCEPT", -1: "DROP"}
PACKET_TYPES: dict[str | int, Fact] = {0: "HOST", 1: "BROADCAST", 2: "MULTICAST", 3: "OTHERHOST", 4: "OUTGOING"}

_DROP_MODULES = ("mac80211", "openvswitch")


def of_session(session: Session, text_problem: str) -> dict[str | int, Fact]:
    """What is known when the capture begins. ``text_problem``: why the kernel's code cannot be read, "" if it can."""
    values: dict[str | int, Fact] = {
        "drop_reasons": dict(_drop_reasons(session).names.items()),
        "constants": {
            "nud": NUD, "hooks": HOOKS, "families": FAMILIES, "verdicts": VERDICTS, "packet_types": PACKET_TYPES,
        },
        "thread_bytes": 4 * 4096 * (2 if session.symbols.addresses("kasan_report") else 1),
        "capture": {
            "backend": session.backend,
            "buffer": session.buffer,
            "buffer_bytes": session.options.sizes.ring_bytes,
            "troubles": list(session.troubles),
        },
    }  # fmt: skip
    if text_problem:
        values["text_problem"] = text_problem
    return values | of_probes(session.probes)


def of_probes(probes: Iterable[Probe]) -> dict[str | int, Fact]:
    """What is attached now; it replaces what the header says of probes."""
    known = list(probes)
    states = Counter("attached" if p.program else p.state.value for p in known)
    return {
        "probe_states": dict(states.items()),
        "attached": [[p.name, p.symbol, p.address, p.module, p.program] for p in known if p.program],
    }


def _drop_reasons(session: Session) -> DropReasons:
    modules = []
    for name in _DROP_MODULES:
        if name in session.symbols.modules:
            try:
                modules.append(Btf.module(name, session.btf))
            except NoBtfError:
                continue
    return DropReasons.from_btf(session.btf, modules)
