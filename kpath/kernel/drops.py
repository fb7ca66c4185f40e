"""Drop reasons by name. Their numbers change with every release, so they are asked of the running kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kpath.kernel.btf import Btf
from kpath.kernel.errors import UnknownTypeError

_PREFIXES = ("SKB_DROP_REASON_", "SKB_")

_SUBSYSTEM_ENUMS: Mapping[str, str] = {"mac80211_drop_reason": "", "ovs_drop_reason": "OVS_"}
"""Reasons of subsystems (include/net/dropreason.h, Linux 6.4), their own number in the upper 16 bits.
They stand in the BTF of their modules. The second column is what to cut off."""


@dataclass(frozen=True)
class DropReasons:
    """Names by value. Empty on kernels before 5.17, which know no reasons."""

    names: Mapping[int, str]

    @classmethod
    def from_btf(cls, btf: Btf, modules: Iterable[Btf] = ()) -> DropReasons:
        """Names from ``enum skb_drop_reason`` and from the subsystems' enumerations in the given modules."""
        names: dict[int, str] = {}
        for source in (btf, *modules):
            for enum, prefix in _SUBSYSTEM_ENUMS.items():
                names.update({v: k.removeprefix(prefix) for k, v in _enum(source, enum).items()})
        core = _enum(btf, "skb_drop_reason")
        # The mask of the subsystem's bits is an enumerator, but no reason.
        names.update({v: _short(k) for k, v in core.items() if not k.endswith(("_MASK", "_MAX"))})
        return cls(names)

    def name(self, value: int) -> str:
        """``NO_SOCKET``; "" on a kernel without reasons, the bare number for one that it does not name."""
        if not self.names:
            return ""
        return self.names.get(value & 0xFFFFFFFF, self.names.get(value, str(value)))

    def value(self, name: str) -> int | None:
        """The number of a reason, None if this kernel has none of that name."""
        return next((v for v, n in self.names.items() if n == name), None)


def _short(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _enum(btf: Btf, name: str) -> dict[str, int]:
    try:
        return btf.enum(name)
    except UnknownTypeError:
        return {}
