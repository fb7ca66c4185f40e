from __future__ import annotations

import os
from pathlib import Path

import pytest

from kpath.kernel import links
from kpath.kernel.errors import UnknownInterfaceError
from kpath.kernel.links import Interface, find, interfaces, namespaces

OWN = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116


def interface(name: str, netns: int = OWN, netns_name: str | None = None) -> Interface:
    return Interface(1, name, netns, netns_name, "", 1500, True, ())


KNOWN = [
    interface("lo"),
    interface("eth0"),
    interface("lo", 7, "router"),
    interface("eth1", 7, "router"),
    interface("eth1", 8),
]


def test_find() -> None:
    assert find("eth0", KNOWN) is KNOWN[1]
    assert find("lo", KNOWN) is KNOWN[0]  # our own first
    assert find("router/lo", KNOWN) is KNOWN[2]
    assert find("8/eth1", KNOWN) is KNOWN[4]


def test_find_says_what_there_is() -> None:
    with pytest.raises(UnknownInterfaceError, match=r"no interface eth7\. There are: lo, eth0, router/lo, "):
        find("eth7", KNOWN)
    with pytest.raises(UnknownInterfaceError, match="exists several times; say which: router/eth1, 8/eth1"):
        find("eth1", KNOWN)
    with pytest.raises(UnknownInterfaceError, match="There are: none"):
        find("eth0", [])


def test_our_own_interfaces() -> None:
    found = [i for i in interfaces() if i.netns_inode == OWN]
    loopback = next(i for i in found if i.name == "lo")
    assert loopback.ifindex == 1


def test_namespaces_of_processes(tmp_path: Path) -> None:
    for process in ("self", "17", "18", "not-a-process"):
        (tmp_path / process / "ns").mkdir(parents=True)
    for process in ("self", "18", "not-a-process"):
        (tmp_path / process / "ns/net").touch()
    os.link(tmp_path / "self/ns/net", tmp_path / "17/ns/net")
    named = tmp_path / "netns"
    named.mkdir()
    os.link(tmp_path / "18/ns/net", named / "router")
    found = namespaces(tmp_path, named)
    assert Path(found[0].path) == tmp_path / "self/ns/net"
    assert [n.name for n in found] == [None, "router"]


def test_pyroute2_is_imported_late() -> None:
    assert not any("pyroute2" in name for name in vars(links))
