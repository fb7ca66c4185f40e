"""The probe plan on this kernel: which symbol, which BPF program, and why not where not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kpath.capture.plan import PLAN, Planned
from kpath.capture.schema import Class
from kpath.kernel.btf import Prototype, position, skb_position
from kpath.kernel.probeable import Probeability, State

_POSITIONS = {Class.ORIGIN: 3, Class.IP: 4, Class.LINK: 4, Class.RELEASE: 2}
"""For how many argument positions there is a BPF program (registers rdi, rsi, rdx, rcx)."""

MODULE_POSITIONS: Mapping[str, int] = dict.fromkeys((
    "veth_xmit", "br_dev_xmit", "bond_start_xmit", "vlan_dev_hard_start_xmit", "macvlan_start_xmit",
    "ipip_tunnel_xmit", "ipgre_xmit", "xfrmi_xmit", "tun_net_xmit", "e1000_xmit_frame", "start_xmit",
    "br_pass_frame_up", "esp_input_done2", "gre_rcv", "ipip_rcv", "tunnel4_rcv", "ip_tunnel_xmit",
), 0) | dict.fromkeys((
    "br_forward", "__br_forward", "br_flood", "esp_output", "esp_output_head", "esp_output_tail", "esp_input",
    "ah_output", "ah_input", "ipcomp_output", "ipcomp_input", "ip_tunnel_rcv",
), 1) | dict.fromkeys(("br_handle_frame_finish", "br_forward_finish", "br_dev_queue_push_xmit"), 2)  # fmt: skip
"""Where functions of modules have their sk_buff, for kernels that do not describe modules' types (before 5.11)."""

_NEIGHBOUR = "struct neighbour *"
_SKB = "struct sk_buff *"


@dataclass(frozen=True, slots=True)
class Probe:
    """One function of the plan on one kernel. ``program`` is empty when it is not attached."""

    planned: Planned
    state: State
    reason: str
    symbol: str = ""
    address: int = 0
    module: str = ""
    program: str = ""

    @property
    def name(self) -> str:
        """The function's name in the plan (without the suffix of a compiler's clone)."""
        return self.planned.name


def program_for(cls: Class, prototype: Prototype | None) -> tuple[str, str]:
    """The BPF program for a function of this class, and what must be said about it ("" if nothing).

    Without a prototype, or without an sk_buff in a register, the function is seen as a frame without packet.
    """
    if cls in (Class.FRAME, Class.ROOT):
        return cls.name.lower(), ""
    if prototype is None:
        return "frame", "its arguments are not known (no BTF), so it is seen as a frame without packet"
    types = [p.type for p in prototype.params]
    where = skb_position(prototype)
    if cls in (Class.COPY, Class.MERGE):
        return (cls.name.lower(), "") if types[:2] == [_SKB, _SKB] else _frame(types)
    if cls is Class.HOOK:
        ok = types[:2] == [_SKB, "struct nf_hook_state *"]
        return ("hook", "") if ok else _frame(types)
    if cls is Class.END:
        return ("end", "") if where == 0 else _frame(types)
    if cls is Class.NEIGHBOUR:
        ok = where == 1 and position(prototype, _NEIGHBOUR) == 0
        return ("neighbour_1", "") if ok else _frame(types)
    if where is None or where >= _POSITIONS[cls]:
        return _frame(types)
    return f"{cls.name.lower()}_{where}", ""


def _frame(types: list[str]) -> tuple[str, str]:
    shown = ", ".join(types)
    return "frame", f"no packet in the expected place of ({shown}), so it is seen as a frame without packet"


def resolve(kernel: Probeability, plan: Iterable[Planned] = PLAN) -> list[Probe]:
    """The plan on this kernel, in the order of the plan."""
    return [_resolve_one(kernel, planned) for planned in plan]


def _resolve_one(kernel: Probeability, planned: Planned) -> Probe:
    status = kernel.status(planned.name)
    if not status.attachable or status.symbol is None or status.address is None:
        return Probe(planned, status.state, status.reason, module=status.module or "")
    program, note = program_for(planned.cls, status.prototype)
    where = MODULE_POSITIONS.get(planned.name)
    if status.prototype is None and status.module and where is not None and status.symbol == planned.name:
        program = f"{planned.cls.name.lower()}_{where}"
        note = "this kernel does not describe its modules' types; the packet is where it is on those that do"
    return Probe(
        planned,
        status.state,
        note or status.reason,
        status.symbol,
        status.address,
        status.module or "",
        program,
    )
