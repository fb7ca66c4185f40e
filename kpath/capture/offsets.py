"""Where the BPF program finds what it reads: offsets of kernel structures, as C text, from BTF and tracefs."""

from __future__ import annotations

import re
from pathlib import Path

from kpath.capture.errors import CaptureSetupError
from kpath.kernel.btf import Btf
from kpath.kernel.errors import UnknownTypeError
from kpath.kernel.probeable import tracefs
from kpath.kernel.symbols import Symbols

_SKB_FIELDS = {
    "SK_BUFF_head": "head",
    "SK_BUFF_data": "data",
    "SK_BUFF_end": "end",
    "SK_BUFF_tail": "tail",
    "SK_BUFF_len": "len",
    "SK_BUFF_mark": "mark",
    "SK_BUFF_protocol": "protocol",
    "SK_BUFF_network_header": "network_header",
    "SK_BUFF_dev": "dev",
    "SK_BUFF_sk": "sk",
    "SK_BUFF_refdst": "_skb_refdst",
    "SK_BUFF_cb": "cb",
}
_BIT_FIELDS = {"SK_BUFF_pkt_type": "sk_buff.pkt_type", "SK_BUFF_cloned": "sk_buff.cloned"}
_OTHERS = {
    "INET_SKB_PARM_flags": "inet_skb_parm.flags",
    "INET_SKB_PARM_frag_max_size": "inet_skb_parm.frag_max_size",
    "SKB_SHARED_INFO_gso_size": "skb_shared_info.gso_size",
    "NET_DEVICE_ifindex": "net_device.ifindex",
    "NET_DEVICE_mtu": "net_device.mtu",
    "NET_DEVICE_net": "net_device.nd_net.net",
    "NET_inum": "net.ns.inum",
    "SOCK_net": "sock.__sk_common.skc_net.net",
    "DST_ENTRY_dev": "dst_entry.dev",
    "DST_ENTRY_metrics": "dst_entry._metrics",
    "DST_ENTRY_input": "dst_entry.input",
    "DST_ENTRY_output": "dst_entry.output",
    "DST_ENTRY_xfrm": "dst_entry.xfrm",
    "NEIGHBOUR_nud_state": "neighbour.nud_state",
    "NF_HOOK_STATE_hook": "nf_hook_state.hook",
    "NF_HOOK_STATE_pf": "nf_hook_state.pf",
    "NF_HOOK_STATE_out": "nf_hook_state.out",
    "NF_HOOK_STATE_net": "nf_hook_state.net",
    "NF_HOOK_STATE_okfn": "nf_hook_state.okfn",
    "TASK_STRUCT_stack": "task_struct.stack",
}
_RETURN_PROBES = {
    "TASK_STRUCT_rethooks": "task_struct.rethooks",
    "RETHOOK_NODE_llist": "rethook_node.llist",
    "RETHOOK_NODE_ret_addr": "rethook_node.ret_addr",
    "RETHOOK_NODE_frame": "rethook_node.frame",
}
"""Where a kernel keeps the return addresses that return probes have replaced (since 5.18, kernel/trace/rethook.c)."""
_RENAMED = {"dst_entry.dev": ("dst_entry.dev_rcu",)}
"""Members by the names that other kernels give them, asked for in this order."""

_TRAMPOLINES = (
    "arch_rethook_trampoline",  # since 6.1 (kretprobes on rethook)
    "__kretprobe_trampoline",  # 5.16 to 6.0
    "kretprobe_trampoline",
    "return_to_handler",  # function_graph, and fprobe built on it
)
_DST_BYTES = 64
"""As in bpf/kpath.bpf.c."""


def tells_returns(btf: Btf) -> bool:
    """Can the BPF program tell who called a function although another's return probe is there?"""
    return all(btf.find(member) is not None for member in _RETURN_PROBES.values())


def defines(btf: Btf, symbols: Symbols) -> str:
    """All offsets as ``#define`` lines. Raises CaptureSetupError naming what this kernel lacks."""
    values: dict[str, int] = {}
    last = 0
    for macro, member in _SKB_FIELDS.items():
        values[macro] = _offset(btf, f"sk_buff.{member}")
        last = max(last, values[macro] + 8)
    for macro, path in _BIT_FIELDS.items():
        bits = btf.offset(path)
        shift = bits.bit_offset % 8
        values[f"{macro}_BYTE"] = bits.bit_offset // 8
        values[f"{macro}_SHIFT"] = shift
        values[f"{macro}_MASK"] = ((1 << bits.bit_size) - 1) << shift
        last = max(last, values[f"{macro}_BYTE"] + 1)
    values["SK_BUFF_BYTES"] = (last + 7) // 8 * 8
    for macro, path in _OTHERS.items():
        values[macro] = _offset(btf, path)
    known = tells_returns(btf)
    values |= {macro: _offset(btf, member) if known else 0 for macro, member in _RETURN_PROBES.items()}
    for macro in ("dev", "metrics", "input", "output", "xfrm"):
        if values[f"DST_ENTRY_{macro}"] + 8 > _DST_BYTES:
            raise CaptureSetupError(
                f"struct dst_entry has its {macro} beyond byte {_DST_BYTES}: kpath does not know this "
                "kernel, please report it."
            )
    # arch/x86/include/asm/page_64_types.h: THREAD_SIZE doubles with KASAN. BTF need not have union thread_union.
    values["THREAD_BYTES"] = 4 * 4096 * (2 if symbols.addresses("kasan_report") else 1)
    values |= {f"KFREE_SKB_{name}": offset for name, offset in tracepoint_fields("skb", "kfree_skb").items()}
    values.setdefault("KFREE_SKB_reason", 0)
    pointer, own = _interrupt_stack(btf, symbols)
    text = [f"#define IRQ_STACK_POINTER {pointer:#x}ULL", f"#define PER_CPU_OFFSET {own:#x}ULL"]
    found = [a for name in _TRAMPOLINES for a in symbols.addresses(name)][:3]
    text += [f"#define {macro} {value}" for macro, value in values.items()]
    # 1 is no address: nothing ever equals it.
    text += [f"#define TRAMPOLINE_{i + 1} {(found + [1] * 3)[i]:#x}ULL" for i in range(3)]
    return "\n".join(text) + "\n"


def _interrupt_stack(btf: Btf, symbols: Symbols) -> tuple[int, int]:
    """Where the pointer to a CPU's interrupt stack is (without the CPU's own offset), and where those offsets are; 0, 0
    if this kernel does not tell."""
    own = next(iter(symbols.addresses("__per_cpu_offset")), 0)
    pointer = next(iter(symbols.addresses("hardirq_stack_ptr")), 0)
    hot = next(iter(symbols.addresses("pcpu_hot")), 0)  # 6.2 to 6.14, arch/x86/include/asm/current.h
    if not pointer and hot and (member := btf.find("pcpu_hot.hardirq_stack_ptr")):
        pointer = hot + member.offset
    return (pointer, own) if pointer and own else (0, 0)


def _offset(btf: Btf, path: str) -> int:
    for candidate in (path, *_RENAMED.get(path, ())):
        try:
            return btf.offset(candidate).offset
        except UnknownTypeError:
            continue
    raise CaptureSetupError(f"this kernel's BTF has no {path}: kpath does not know this kernel, please report it.")


_FIELD = re.compile(r"field:.*?(\w+)(?:\[\d*\])?;\s*offset:(\d+);\s*size:(\d+)")


def tracepoint_fields(system: str, event: str, root: Path | None = None) -> dict[str, int]:
    """Offsets (bytes) of a tracepoint's fields, from its ``format`` file in tracefs."""
    root = root or tracefs()
    path = (root or Path("/sys/kernel/tracing")) / "events" / system / event / "format"
    try:
        text = path.read_text()
    except OSError as error:
        raise CaptureSetupError(
            f"cannot read {path} ({error.strerror}): run as root, with tracefs mounted on /sys/kernel/tracing."
        ) from error
    return {m[1]: int(m[2]) for m in _FIELD.finditer(text) if not m[1].startswith("common_")}
