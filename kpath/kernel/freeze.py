"""A frozen kernel: what kpath asks a kernel, recorded in one small file, to plan probes for it anywhere.

The tests decide about kernels that are not running, without root; a file made on a user's machine
(``python -m kpath.kernel.freeze FILE FUNCTION...``) shows why a probe fails there.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import zstandard

from kpath.kernel.btf import VMLINUX, Btf
from kpath.kernel.config import KernelConfig
from kpath.kernel.doctor import FEATURES
from kpath.kernel.errors import KernelError
from kpath.kernel.probeable import Probeability, read_blacklist, read_traceable
from kpath.kernel.reduce import reduce_btf
from kpath.kernel.symbols import KALLSYMS, MAX_EXTENT, Symbols
from kpath.kernel.text import KernelText

STRUCTS = """
    dst_entry ethhdr flowi4 icmphdr in_device inet_sock iphdr neighbour net net_device nf_hook_entries
    nf_hook_state ns_common pt_regs rtable sk_buff sk_buff_head skb_shared_info sock sock_common task_struct
    tcphdr thread_union udphdr xfrm_dst xfrm_state
"""
"""Structures that a frozen kernel knows with their members."""

ENUMS = ("skb_drop_reason", "nf_inet_hooks", "mac80211_drop_reason", "ovs_drop_reason")

OPTIONS = """
    DEBUG_INFO_BTF FPROBE FUNCTION_TRACER KPROBES KPROBES_ON_FTRACE KPROBE_EVENTS_ON_NOTRACE
    MITIGATION_RETPOLINE OPTPROBES PREFIX_SYMBOLS RETPOLINE X86_KERNEL_IBT
"""

_FORMAT = 1
_LARGEST = 64 << 20  # bytes unpacked; a frozen kernel has far less


@dataclass(frozen=True)
class Frozen:
    """One frozen kernel."""

    release: str
    build: str
    machine: str
    lockdown: str | None
    options: Mapping[str, str]
    kallsyms: str
    traceable: frozenset[bytes] | None
    blacklist: frozenset[str]
    raw_btf: bytes
    code: Mapping[int, bytes]
    """Machine code by address, of the functions that it was asked for."""

    @classmethod
    def load(cls, path: str | Path) -> Frozen:
        """Read a file that `save` wrote. Raises KernelError when it is no such file, OSError."""
        packed = Path(path).read_bytes()
        try:
            data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_LARGEST)
            fields: dict[str, Any] = msgpack.unpackb(data, strict_map_key=False)
            if fields.pop("format") != _FORMAT:
                raise KernelError(f"{path} was written by another version of kpath.")
            traceable = fields.pop("traceable")
            return cls(
                traceable=None if traceable is None else frozenset(traceable),
                blacklist=frozenset(fields.pop("blacklist")),
                **fields,
            )
        except (zstandard.ZstdError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise KernelError(f"{path} is no frozen kernel ({error}).") from error

    def save(self, path: str | Path) -> None:
        """Write it to a file. Raises OSError."""
        fields = {
            "format": _FORMAT,
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "traceable": None if self.traceable is None else sorted(self.traceable),
            "blacklist": sorted(self.blacklist),
        }
        Path(path).write_bytes(zstandard.ZstdCompressor(level=19).compress(msgpack.packb(fields)))

    @cached_property
    def symbols(self) -> Symbols:
        """Its symbols: those asked for, and the one after each, so that functions have their true ends."""
        return Symbols(self.kallsyms.encode())

    @cached_property
    def btf(self) -> Btf:
        """Its types, of the kernel and its modules in one."""
        return Btf.from_bytes(self.raw_btf)

    @cached_property
    def probeability(self) -> Probeability:
        """What could be probed on it."""
        return Probeability(self.symbols, self.btf, self.traceable, self.blacklist, lambda module: self.btf)

    @cached_property
    def text(self) -> KernelText:
        """Its code, as far as it was recorded."""
        return KernelText(self.read, self.symbols, self.machine)

    def read(self, address: int, size: int) -> bytes:
        """Recorded code; empty elsewhere."""
        starts = self._starts
        i = bisect_right(starts, address) - 1
        return self.code[starts[i]][address - starts[i] :][:size] if i >= 0 else b""

    @cached_property
    def _starts(self) -> list[int]:
        return sorted(self.code)


def freeze(functions: Iterable[str], code_of: Iterable[str] = ()) -> Frozen:
    """Freeze the running kernel, with those functions, and with the code of some of them.

    Raises KernelError (no symbols, no BTF; no kcore if code is asked for). Needs root.
    """
    symbols, btf, config = Symbols.load(), Btf.load(), KernelConfig()
    names = set(functions) | set(FEATURES)
    code_names = set(code_of)
    names |= code_names
    names |= {alias for name in tuple(names) for alias in symbols.aliases(name)}
    addresses = {a for name in names for a in symbols.addresses(name)}
    code: dict[int, bytes] = {}
    if code_names:
        text = KernelText.open(symbols)
        for symbol in (s for name in sorted(code_names) for s in symbols.functions(name)):
            size = min(symbols.end(symbol.address) - symbol.address, MAX_EXTENT)
            code[symbol.address] = text.read(symbol.address, size)
            addresses |= _destinations(symbol.address, code[symbol.address])
    thunks = symbols.matching(r"__x86_(indirect_thunk_\w+|return_thunk)$|\w+_return_thunk$")
    addresses |= {a for name in thunks for a in symbols.addresses(name)}
    addresses |= {symbols.end(a) for a in addresses}
    kept = _lines(addresses)
    bare = frozenset(line.split()[2].encode() for line in kept)
    traceable = read_traceable()
    return Frozen(
        release=config.release,
        build=config.build,
        machine=config.machine,
        lockdown=config.lockdown,
        options={name: config.options[name] for name in OPTIONS.split() if name in config.options},
        kallsyms="\n".join(kept) + "\n",
        traceable=None if traceable is None else traceable & bare,
        blacklist=read_blacklist(),
        raw_btf=reduce_btf([btf, *_module_btfs(btf)], STRUCTS.split(), names, ENUMS),
        code=code,
    )


def _destinations(start: int, code: bytes) -> set[int]:
    """Wherever a call or jump in this code may lead, so that its symbol is kept."""
    found = set()
    for i in range(len(code) - 4):
        if code[i] in (0xE8, 0xE9) or (code[i] & 0xF0 == 0x80 and i and code[i - 1] == 0x0F):
            target = start + i + 5 + int.from_bytes(code[i + 1 : i + 5], "little", signed=True)
            found |= {target, target - 4}
    return found


def _lines(addresses: set[int]) -> list[str]:
    """The lines of kallsyms with these addresses, all that share one, in their order."""
    lines = KALLSYMS.read_text().splitlines()
    return [line for line in lines if int(line.split(" ", 1)[0], 16) in addresses]


def _module_btfs(base: Btf) -> list[Btf]:
    found = []
    for path in sorted(VMLINUX.parent.iterdir()):
        if path != VMLINUX:
            with suppress(KernelError):
                found.append(Btf.load(path, base))
    return found


if __name__ == "__main__":
    try:
        freeze(sys.argv[2:]).save(sys.argv[1])
    except IndexError:
        sys.exit("usage: python -m kpath.kernel.freeze FILE FUNCTION...")
    except (KernelError, OSError) as problem:
        sys.exit(str(problem))
