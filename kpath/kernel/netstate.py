"""What decides a packet's path in each network namespace, at one moment: routes, sysctls, IPsec, hooks, devices.

Best effort: a namespace that goes away, or a list that cannot be read, is left out or noted, never an error.
A thread of its own enters the namespaces, so that the others stay where they are.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from kpath.kernel import netlink
from kpath.kernel.errors import UnknownInterfaceError
from kpath.kernel.links import Interface, Namespace, namespaces, netns_names

T = TypeVar("T")
Plain = None | bool | int | float | str | bytes | list["Plain"] | dict[str | int, "Plain"]
"""Data without classes, as a capture file can hold it."""

SYSCTLS = (
    "ip_forward",
    "ip_early_demux",
    "tcp_early_demux",
    "udp_early_demux",
    "ip_forward_use_pmtu",
    "ip_no_pmtu_disc",
)
"""Below ``net/ipv4``."""
INTERFACE_SYSCTLS = ("rp_filter", "forwarding", "accept_local", "route_localnet", "disable_policy", "disable_xfrm")
"""Below ``net/ipv4/conf/<interface>``."""

MAX_ROUTES = 500
"""Of each namespace."""
MAX_NAMESPACES = 64

_CLONE_NEWNET = 0x40000000
_GET_ROUTE = 26
_ROUTE_TYPES = (
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit",
)  # fmt: skip
_XFRM_GET_SADINFO, _XFRM_GET_SPDINFO = 0x23, 0x25
_HOOKS = ("PRE_ROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POST_ROUTING")
_NF_HOOK_GET = 12 << 8
_libc = ctypes.CDLL(None, use_errno=True)


def visit(action: Callable[[Namespace], T], among: Iterable[Namespace] | None = None) -> dict[int, T]:
    """What ``action`` returns in each namespace (by default all that can be found), by inode number.

    Namespaces in which it raises OSError, or that may not be entered, are missing.
    """
    wanted = list(namespaces() if among is None else among)
    found: dict[int, T] = {}
    failure: list[BaseException] = []

    def run() -> None:
        try:
            here = Path("/proc/self/ns/net").stat().st_ino
            for namespace in wanted:
                with suppress(OSError):
                    if namespace.inode != here:  # where we are needs no privilege
                        _enter(namespace.path)
                        here = namespace.inode
                    found[namespace.inode] = action(namespace)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="kpath-namespaces", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return found


def _enter(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fd)


def device_names() -> dict[tuple[int, int], str]:
    """(inode number of the namespace, ifindex) → name, of all devices in all namespaces that can be found."""
    found = visit(lambda _: socket.if_nameindex())
    return {(inode, index): name for inode, devices in found.items() for index, name in devices}


def interfaces() -> list[Interface]:
    """All devices in all namespaces that can be found, by name only: what `links.find` needs. Ours come first."""
    names = netns_names()
    return [
        Interface(index, name, inode, names.get(inode), kind="", mtu=0, up=True, addresses=())
        for (inode, index), name in device_names().items()
    ]


def find_namespace(name: str) -> int:
    """The inode number of the namespace of that name (or number). Raises UnknownInterfaceError with those there are."""
    names = netns_names()
    found = {inode for inode, known in names.items() if known == name}
    if not found:
        found = {n.inode for n in namespaces() if str(n.inode) == name}
    if not found:
        listed = ", ".join(sorted(names.values())) or "none with a name"
        raise UnknownInterfaceError(f"There is no network namespace {name}. There are: {listed}.")
    return found.pop()


def snapshot() -> dict[str | int, Plain]:
    """Namespace (inode number) → what is set there. Missing parts are None."""
    found = visit(_describe, namespaces()[:MAX_NAMESPACES])
    return dict(found.items())


def _describe(_: Namespace) -> Plain:
    routes = _or_none(_routes)
    return {
        "sysctls": _sysctls(),
        "routes": routes,
        "xfrm": _or_none(_xfrm),
        "hooks": _or_none(_hooks),
    }


def _or_none(question: Callable[[], Plain]) -> Plain:
    try:
        return question()
    except (OSError, struct.error):
        return None


def _sysctls() -> Plain:
    root = Path("/proc/sys/net/ipv4")
    found: dict[str | int, Plain] = {name: value for name in SYSCTLS if (value := _number(root / name)) is not None}
    with suppress(OSError):
        for interface in islice(sorted((root / "conf").iterdir()), 100):
            for name in INTERFACE_SYSCTLS:
                if (value := _number(interface / name)) is not None:
                    found[f"conf.{interface.name}.{name}"] = value
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _routes() -> Plain:
    answers = netlink.ask(netlink.ROUTE, _GET_ROUTE, struct.pack("=8BI", socket.AF_INET, *[0] * 7, 0))
    found: list[Plain] = []
    for answer in islice(answers, MAX_ROUTES):
        _, bits, _, tos, table, _, _, kind, _ = struct.unpack_from("=8BI", answer)
        a = netlink.attributes(answer[12:])
        route: dict[str | int, Plain] = {
            "to": f"{_address(a.get(1))}/{bits}" if bits else "default",
            "type": _ROUTE_TYPES[kind] if kind < len(_ROUTE_TYPES) else kind,
            "table": _u32(a[15]) if 15 in a else table,
        }
        if 5 in a:
            route["via"] = _address(a[5])
        if 4 in a:
            route["ifindex"] = _u32(a[4])
        if 6 in a:
            route["priority"] = _u32(a[6])
        if tos:
            route["tos"] = tos
        if 9 in a:
            route["nexthops"] = True
        found.append(route)
    return found


def _xfrm() -> Plain:
    if not Path("/sys/module/xfrm_user").exists():  # asking would load it
        return None
    (states,) = netlink.ask(netlink.XFRM, _XFRM_GET_SADINFO, struct.pack("=I", 0), dump=False)
    (policies,) = netlink.ask(netlink.XFRM, _XFRM_GET_SPDINFO, struct.pack("=I", 0), dump=False)
    count = netlink.attributes(states[4:]).get(1)
    # struct xfrmu_spdinfo: incnt, outcnt, fwdcnt, and the same for sockets
    numbers = struct.unpack_from("=6I", netlink.attributes(policies[4:]).get(1, bytes(24)))
    return {
        "states": _u32(count) if count else 0,
        "policies": dict(zip(("in", "out", "fwd"), numbers[:3], strict=True)),
    }


def _hooks() -> Plain:
    if not Path("/sys/module/nfnetlink_hook").exists():  # asking would load it
        return None
    found: dict[str | int, Plain] = {}
    for number, name in enumerate(_HOOKS):
        answers = netlink.ask(netlink.NETFILTER, _NF_HOOK_GET, struct.pack("=BBH", 2, 0, socket.htons(number)))
        functions: list[Plain] = []
        for answer in islice(answers, 100):
            a = netlink.attributes(answer[4:])
            functions.append(
                {
                    "function": a.get(3, b"").rstrip(b"\0").decode(errors="replace"),
                    "priority": struct.unpack("!i", a[2])[0] if len(a.get(2, b"")) == 4 else 0,
                }
            )
        if functions:
            found[name] = functions
    return found


def _address(raw: bytes | None) -> str:
    return socket.inet_ntoa(raw) if raw and len(raw) == 4 else "0.0.0.0"


def _u32(raw: bytes) -> int:
    return int.from_bytes(raw[:4], "little")
