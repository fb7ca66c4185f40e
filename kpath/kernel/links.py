"""Network interfaces and namespaces by name, for the filter, for reports, and to resolve what events carry.

pyroute2 takes long to import, so it is imported only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpath.kernel.errors import KernelError, UnknownInterfaceError

NAMED = Path("/run/netns")
"""Where ``ip netns`` keeps namespaces by name."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface in one network namespace; ``netns_name`` is None for an unnamed one."""

    ifindex: int
    name: str
    netns_inode: int
    netns_name: str | None
    kind: str
    """``veth``, ``bridge``, …; "" for hardware."""
    mtu: int
    up: bool
    addresses: tuple[str, ...]
    """IPv4 addresses with prefix length: ``10.0.0.1/24``."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace: its inode number (as in events), a file to enter it by, a name if it has one."""

    inode: int
    path: str
    name: str | None


def namespaces(proc: Path = Path("/proc"), named: Path = NAMED) -> list[Namespace]:
    """All network namespaces that can be found: ours first, then named ones, then those of processes.

    One that neither has a name nor a process in it (held only by a socket or a mount elsewhere) is not found.
    """
    found: dict[int, Namespace] = {}
    names = {_inode(path): path for path in _children(named)}
    candidates = [(proc / "self/ns/net"), *names.values()]
    candidates += (entry / "ns/net" for entry in _children(proc) if entry.name.isdigit())
    for path in candidates:
        inode = _inode(path)
        if inode and inode not in found:
            named_path = names.get(inode)
            found[inode] = Namespace(inode, str(path), named_path.name if named_path else None)
    return list(found.values())


def netns_names() -> dict[int, str]:
    """Names of network namespaces by inode: those of ``ip netns``, ``host`` for that of process 1."""
    init = _inode(Path("/proc/1/ns/net"))
    names = {init: "host"} if init else {}
    names.update((inode, path.name) for path in _children(NAMED) if (inode := _inode(path)))
    return names


def interfaces() -> list[Interface]:
    """Interfaces of all namespaces (see `namespaces`), ordered by namespace and index.

    Raises KernelError when pyroute2 is missing. A namespace that goes away meanwhile, or that may not be
    entered (that needs CAP_SYS_ADMIN), is left out.
    """
    found: list[Interface] = []
    for i, namespace in enumerate(namespaces()):
        with suppress(OSError):
            found += _interfaces(namespace, enter=i > 0)
    return found


def find(name: str, among: list[Interface] | None = None) -> Interface:
    """The interface of that name; ``namespace/name`` (or ``inode/name``) where several namespaces have one.

    Without a namespace, our own is preferred. Raises UnknownInterfaceError, which names those that exist.
    """
    known = interfaces() if among is None else among
    netns, _, plain = name.rpartition("/")
    matching = [i for i in known if i.name == plain and netns in ("", i.netns_name, str(i.netns_inode))]
    own = _inode(Path("/proc/self/ns/net"))
    ours = [i for i in matching if i.netns_inode == own]
    if len(matching) == 1 or ours:
        return (ours or matching)[0]
    if matching:
        where = ", ".join(_full_name(i, own) for i in matching)
        raise UnknownInterfaceError(f"Interface {name} exists several times; say which: {where}.")
    listed = ", ".join(dict.fromkeys(_full_name(i, own) for i in known)) or "none"
    raise UnknownInterfaceError(f"There is no interface {name}. There are: {listed}.")


def _full_name(interface: Interface, own: int) -> str:
    if interface.netns_inode == own:
        return interface.name
    return f"{interface.netns_name or interface.netns_inode}/{interface.name}"


def _interfaces(namespace: Namespace, enter: bool) -> Iterator[Interface]:
    try:
        from pyroute2 import IPRoute, NetNS
    except ImportError as error:
        raise KernelError(f"pyroute2 is missing ({error}); install kpath's dependencies.") from error
    netlink: Any = NetNS(namespace.path, flags=0) if enter else IPRoute()
    try:
        addresses: dict[int, list[str]] = {}
        for message in netlink.get_addr(family=2):
            address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            addresses.setdefault(message["index"], []).append(f"{address}/{message['prefixlen']}")
        for message in netlink.get_links():
            info = message.get_attr("IFLA_LINKINFO")
            yield Interface(
                ifindex=message["index"],
                name=message.get_attr("IFLA_IFNAME"),
                netns_inode=namespace.inode,
                netns_name=namespace.name,
                kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
                mtu=message.get_attr("IFLA_MTU") or 0,
                up=bool(message["flags"] & 1),
                addresses=tuple(addresses.get(message["index"], ())),
            )
    finally:
        netlink.close()


def _children(path: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path.iterdir())
    return []


def _inode(path: Path) -> int:
    """0 if there is none: the process has gone, or may not be looked at."""
    with suppress(OSError):
        return path.stat().st_ino
    return 0
