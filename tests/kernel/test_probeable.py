from __future__ import annotations

from pathlib import Path

import pytest

from kpath.capture.plan import PLAN
from kpath.kernel.btf import Btf, skb_position
from kpath.kernel.probeable import MODULES, Probeability, State, read_blacklist, read_traceable
from kpath.kernel.symbols import Symbols
from tests.kernel.frozen_kernels import SERIES, kernel

each_kernel = pytest.mark.parametrize("series", SERIES)


def made_up(*lines: str, traceable: str | None = None, blacklist: str = "") -> Probeability:
    text = [f"{0xFFFFFFFF81000000 + 0x100 * i:x} {line}" for i, line in enumerate(lines)]
    btf: Btf = kernel(SERIES[-1]).btf
    return Probeability(
        Symbols.from_lines(text),
        btf,
        None if traceable is None else frozenset(traceable.encode().split()),
        frozenset(blacklist.split()),
    )


def test_attachable() -> None:
    status = made_up("T ip_rcv", traceable="ip_rcv").status("ip_rcv")
    assert status.attachable
    assert (status.symbol, status.reason, status.address) == ("ip_rcv", "attachable", 0xFFFFFFFF81000000)
    assert status.prototype is not None
    assert skb_position(status.prototype) == 0


def test_a_clone_stands_for_the_function_but_its_arguments_are_unknown() -> None:
    status = made_up("t ip_rcv.constprop.0", "t ip_rcv.cold").status("ip_rcv")
    assert (status.state, status.symbol, status.prototype) == (State.ATTACHABLE, "ip_rcv.constprop.0", None)
    assert made_up("t f.isra.0.constprop.1").status("f").symbol == "f.isra.0.constprop.1"


def test_a_part_does_not_stand_for_the_function() -> None:
    status = made_up("t f.part.0", "t f.cold").status("f")
    assert (status.state, status.symbol) == (State.INLINED, None)
    assert status.reason == "inlined into its callers; only f.cold, f.part.0 is left of it"
    assert made_up("t f.constprop.0.part.0").status("f").state is State.INLINED
    assert made_up("t f.constprop.0.cold").status("f").state is State.INLINED


def test_ambiguous() -> None:
    assert made_up("t f", "t f").status("f").state is State.AMBIGUOUS
    assert made_up("t f", "d f").status("f").state is State.ATTACHABLE  # data is in nobody's way
    status = made_up("t f.constprop.0", "t f.constprop.1").status("f")
    assert status.state is State.AMBIGUOUS
    assert status.reason == "the compiler made several clones of it: f.constprop.0, f.constprop.1"


def test_notrace_and_blacklist() -> None:
    assert made_up("t f", traceable="g").status("f").state is State.NOTRACE
    assert made_up("t f", traceable="f", blacklist="f").status("f").state is State.BLACKLISTED
    assert made_up("t f").status("f").state is State.ATTACHABLE  # the kernel's list could not be read


def test_absent_inlined_or_in_a_module() -> None:
    nothing = made_up("T _text")
    assert nothing.status("nonsense").state is State.ABSENT
    assert nothing.status("ip_rcv").state is State.INLINED  # BTF knows it
    status = nothing.status("esp_output")
    assert (status.state, status.module) == (State.MODULE_NOT_LOADED, "esp4")
    assert status.reason == "it lives in module esp4, which is not loaded"
    assert nothing.status("nonsense", module="mine").state is State.MODULE_NOT_LOADED
    loaded = made_up("t esp_input\t[esp4]")
    assert loaded.status("esp_output").state is not State.MODULE_NOT_LOADED
    assert loaded.status("esp_input").module == "esp4"


def test_modules_are_spelt_as_kallsyms_spells_them() -> None:
    assert all(name and module and "-" not in module for name, module in MODULES.items())


def test_the_kernels_lists(tmp_path: Path) -> None:
    path = tmp_path / "list"
    assert read_traceable(path) is None
    assert read_blacklist(path) == frozenset()
    path.write_text("ip_rcv\nesp_output [esp4]\n")
    traceable = read_traceable(path)
    assert traceable is not None
    assert {b"ip_rcv", b"esp_output"} <= traceable
    path.write_text("0xffffffff81000000-0xffffffff81000010\tasm_exc_int3\n")
    assert read_blacklist(path) == {"asm_exc_int3"}


@each_kernel
def test_the_core_of_the_plan_is_attachable_everywhere(series: str) -> None:
    probeability = kernel(series).probeability
    core = "ip_rcv ip_rcv_core ip_local_deliver ip_forward ip_output ip_finish_output2 __dev_queue_xmit"
    for name, status in probeability.statuses(core.split()).items():
        assert status.attachable, status
        assert status.symbol == name
        assert status.prototype is not None
        assert skb_position(status.prototype) is not None


@each_kernel
def test_every_planned_function_gets_a_reason(series: str) -> None:
    statuses = kernel(series).probeability.statuses(planned.name for planned in PLAN)
    assert all(status.reason for status in statuses.values())
    assert all((status.symbol is not None) == status.attachable for status in statuses.values())
    attachable = sum(status.attachable for status in statuses.values())
    assert attachable > 0.85 * len(statuses)


@each_kernel
def test_traps_of_real_kernels(series: str) -> None:
    status = kernel(series).probeability.status
    assert status("dst_output").state in (State.AMBIGUOUS, State.NOTRACE)
    core = status("ip_rcv_finish_core")
    assert core.attachable
    assert core.symbol == "ip_rcv_finish_core" or core.prototype is None
    esp = status("esp_output")
    assert (esp.attachable, esp.module) == (True, "esp4")
    assert (esp.prototype is None) == (series == "5.10")  # its modules have no BTF
