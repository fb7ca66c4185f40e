"""A guest is what the other tests here need: a kernel with probes, types and modules, and two cards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

IN_GUEST = "KPATH_IN_GUEST" in os.environ


def test_kernel_can_be_probed() -> None:
    functions = Path("/sys/kernel/tracing/available_filter_functions").read_text()
    assert "\nip_rcv\n" in functions


def test_kernel_describes_its_types() -> None:
    assert Path("/sys/kernel/btf/vmlinux").read_bytes()[:2] == b"\x9f\xeb"


@pytest.mark.parametrize("module", ["veth", "bridge", "bonding", "esp4", "nf_tables", "xfrm_user"])
def test_module_loads(module: str) -> None:
    subprocess.run(["modprobe", module], check=True)
    assert Path("/sys/module", module).is_dir()


@pytest.mark.skipif(not IN_GUEST, reason="only guests are given two network cards")
def test_two_cards_are_on_one_wire() -> None:
    drivers = {name: Path(f"/sys/class/net/{name}/device/driver").resolve().name for name in ("eth0", "eth1")}
    assert drivers == {"eth0": "e1000", "eth1": "virtio_net"}


@pytest.mark.skipif(not IN_GUEST, reason="about guests")
def test_guest_can_write() -> None:
    for place in (Path("/tmp"), Path.home(), Path.cwd(), Path(os.environ["KPATH_OUT"])):
        (place / "written-by-guest").write_text("x")
    assert os.geteuid() == 0
