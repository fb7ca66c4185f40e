"""Which functions of this kernel can be probed, under which symbol, and why the others cannot.

Decided from what the kernel itself lists: its symbols, the functions that ftrace can patch, the kprobe
blacklist. A kprobe by name is refused for a name that several symbols bear (kernel/trace/trace_kprobe.c,
EADDRNOTAVAIL), and for a function that ftrace cannot patch (same file, within_notrace_func, EINVAL), such as
any out-of-line copy of a function declared ``inline``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from kpath.kernel.btf import Btf, Prototype
from kpath.kernel.errors import NoBtfError
from kpath.kernel.symbols import Symbols

TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
BLACKLIST = Path("/sys/kernel/debug/kprobes/blacklist")

MODULES: Mapping[str, str] = {
    function: module
    for module, functions in {
        "8021q": "vlan_dev_hard_start_xmit",
        "ah4": "ah_input ah_output",
        "bonding": "bond_dev_queue_xmit bond_handle_frame bond_start_xmit",
        "bridge": "br_dev_queue_push_xmit br_dev_xmit br_flood br_forward __br_forward br_forward_finish "
        "br_handle_frame br_handle_frame_finish br_pass_frame_up",
        "e1000": "e1000_xmit_frame",
        "esp4": "esp_input esp_input_done2 esp_output esp_output_done esp_output_head esp_output_tail",
        "gre": "gre_rcv",
        "ip_gre": "ipgre_xmit",
        "ip_tunnel": "ip_tunnel_rcv ip_tunnel_xmit",
        "ipip": "ipip_rcv ipip_tunnel_xmit",
        "macvlan": "macvlan_handle_frame macvlan_start_xmit",
        "nf_conntrack": "nf_conntrack_in",
        "tun": "tun_net_xmit",
        "tunnel4": "tunnel4_rcv",
        "veth": "veth_xmit",
        "virtio_net": "start_xmit",
        "xfrm_interface": "xfrmi_xmit",
        "xfrm_ipcomp": "ipcomp_input ipcomp_output",
    }.items()
    for function in functions.split()
}
"""Home of functions that are usually in a module: their absence means that it is not loaded, not that they
are inlined. Which module, on Debian and Fedora; a kernel that has one built in simply has the symbol."""

_WHOLE = re.compile(r"(\.(isra|constprop)\.\d+)+$")
"""Clones that still are the whole function, if with other arguments. ``.part.0`` and ``.cold`` are not."""


class State(Enum):
    """Whether a function can be probed."""

    ATTACHABLE = "attachable"
    ABSENT = "absent"
    INLINED = "inlined"
    AMBIGUOUS = "ambiguous"
    NOTRACE = "notrace"
    BLACKLISTED = "blacklisted"
    MODULE_NOT_LOADED = "module not loaded"


@dataclass(frozen=True, slots=True)
class FunctionStatus:
    """What can be done with the function ``name`` here.

    ``symbol`` is what to probe, None unless ATTACHABLE; it may be a clone (``ip_fragment.constprop.0``).
    ``prototype`` is None for a clone: the compiler may have moved or dropped its arguments.
    """

    name: str
    symbol: str | None
    state: State
    reason: str
    address: int | None = None
    module: str | None = None
    prototype: Prototype | None = None

    @property
    def attachable(self) -> bool:
        """Can it be probed?"""
        return self.state is State.ATTACHABLE


@dataclass
class Probeability:
    """What this kernel allows; ``traceable`` is None when the kernel's list could not be read."""

    symbols: Symbols
    btf: Btf
    traceable: frozenset[bytes] | None = None
    blacklist: frozenset[str] = frozenset()
    module_btf: Callable[[str], Btf | None] | None = None
    """Where a module's BTF comes from; None: from the running kernel."""
    _module_btf: dict[str, Btf | None] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def load(cls, symbols: Symbols | None = None, btf: Btf | None = None) -> Probeability:
        """The running kernel; lists that cannot be read are unknown. Raises NoSymbolsError, NoBtfError."""
        return cls(symbols or Symbols.load(), btf or Btf.load(), read_traceable(), read_blacklist())

    def status(self, name: str, module: str | None = None) -> FunctionStatus:
        """Can this function be probed? ``module``: where it lives, if better known than in `MODULES`."""
        found = self.symbols.functions(name)
        symbol = name
        if not found:
            clones = [a for a in self.symbols.aliases(name) if _WHOLE.fullmatch(a[len(name) :])]
            if not clones:
                return self._missing(name, module or MODULES.get(name))
            if len(clones) > 1:
                listed = ", ".join(clones)
                return _no(name, State.AMBIGUOUS, f"the compiler made several clones of it: {listed}")
            symbol = clones[0]
            found = self.symbols.functions(symbol)
        if len(found) > 1:
            return _no(
                name,
                State.AMBIGUOUS,
                f"{len(found)} functions are called {symbol}; the kernel refuses a probe by this name",
            )
        if symbol in self.blacklist:
            return _no(name, State.BLACKLISTED, "the kernel forbids probes in it (kprobes/blacklist)")
        if self.traceable is not None and symbol.encode() not in self.traceable:
            return _no(
                name,
                State.NOTRACE,
                "ftrace cannot patch it (notrace, as every out-of-line copy of an inline function is)",
            )
        where = found[0]
        prototype = None if symbol != name else self._prototype(name, where.module)
        if symbol != name:
            reason = f"probed as {symbol}: its arguments may have moved, so its packet is not read"
        elif prototype is None:
            reason = "attachable, but BTF does not describe it, so its packet is not read"
        else:
            reason = "attachable"
        return FunctionStatus(name, symbol, State.ATTACHABLE, reason, where.address, where.module, prototype)

    def statuses(self, names: Iterable[str]) -> dict[str, FunctionStatus]:
        """`status` of each name."""
        return {name: self.status(name) for name in names}

    def _missing(self, name: str, module: str | None) -> FunctionStatus:
        if module is not None and module.replace("-", "_") not in self.symbols.modules:
            return _no(
                name, State.MODULE_NOT_LOADED, f"it lives in module {module}, which is not loaded", module
            )
        parts = self.symbols.aliases(name)
        if parts:
            return _no(
                name, State.INLINED, f"inlined into its callers; only {', '.join(parts)} is left of it"
            )
        if self.btf.function(name) is not None:
            return _no(name, State.INLINED, "inlined: BTF describes it, but it has no symbol")
        return _no(name, State.ABSENT, "no such symbol: inlined, or not in this kernel")

    def _prototype(self, name: str, module: str | None) -> Prototype | None:
        if module is None:
            return self.btf.function(name)
        if module not in self._module_btf:
            self._module_btf[module] = (self.module_btf or self._live_module)(module)
        btf = self._module_btf[module]
        return btf.function(name) if btf else None

    def _live_module(self, module: str) -> Btf | None:
        try:
            return Btf.module(module, self.btf)
        except NoBtfError:
            return None


def _no(name: str, state: State, reason: str, module: str | None = None) -> FunctionStatus:
    return FunctionStatus(name, None, state, reason, None, module)


def tracefs() -> Path | None:
    """Where tracefs is mounted and readable, None if nowhere."""
    return next((path for path in TRACEFS if os.access(path / "available_filter_functions", os.R_OK)), None)


def read_traceable(path: Path | None = None) -> frozenset[bytes] | None:
    """Names in ``available_filter_functions`` (bytes, as there are 60,000); None if it cannot be read."""
    path = path or (root / "available_filter_functions" if (root := tracefs()) else None)
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None
    # Lines are "name" or "name [module]". A module's name may so come in as a function's, which does no
    # harm: a name counts only together with a symbol in kallsyms.
    return frozenset(data.split()) or None


def read_blacklist(path: Path = BLACKLIST) -> frozenset[str]:
    """Functions in which the kernel forbids kprobes; empty if the list cannot be read (no debugfs)."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(line.split("\t")[1].split()[0] for line in lines if "\t" in line)
