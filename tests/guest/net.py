"""Networks for tests, and the traffic in them.

Everything happens in one process: a socket belongs for good to the network namespace in which it was made, and
the thread that made it may go home. No process has to be started for traffic, which would take long in a guest.
Neighbours are known from the start unless a test wants to see ARP, and IPv6 is off: what is not asked for is not sent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

ICMP_ECHO = 8
UNKNOWN_PROTOCOL = 253
"""IP protocol for experiments (RFC 3692): nothing in the kernel handles it."""

TIMEOUT = 20.0
"""Seconds that a socket waits; a guest is slow."""


@dataclass(frozen=True, slots=True)
class Netns:
    """A named network namespace."""

    name: str

    @property
    def path(self) -> Path:
        """The file to enter it by."""
        return Path("/run/netns", self.name)

    @property
    def inode(self) -> int:
        """Its number, as in events."""
        return self.path.stat().st_ino

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the namespace meanwhile."""
        with open("/proc/thread-self/ns/net") as home, self.path.open() as there:  # noqa: PTH123
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def socket(self, kind: int, protocol: int = 0, family: int = socket.AF_INET) -> socket.socket:
        """A new socket of this namespace."""
        with self.inside():
            made = socket.socket(family, kind, protocol)
        made.settimeout(TIMEOUT)
        return made

    def sysctl(self, **values: int | str) -> None:
        """Set ``net.ipv4.ip_forward`` as ``ipv4__ip_forward=1``."""
        with self.inside():
            for name, value in values.items():
                Path("/proc/sys/net", *name.split("__")).write_text(f"{value}\n")

    def ip(self, *lines: str) -> None:
        """Run commands of ``ip`` in the namespace."""
        ip_batch(lines, "-n", self.name)

    def ifindex(self, device: str) -> int:
        """The number of a device."""
        with self.inside():
            return socket.if_nametoindex(device)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip_batch(lines: Sequence[str], *options: str) -> None:
    """Run many commands of ``ip`` in one process. RuntimeError with what it said."""
    done = subprocess.run(
        ["ip", *options, "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(options)}: {done.stderr.strip()} in:\n" + "\n".join(lines))


def make_namespaces(*names: str) -> list[Netns]:
    """New namespaces, without IPv6, ``lo`` up."""
    ip_batch([f"netns add {name}" for name in names])
    made = [Netns(name) for name in names]
    for netns in made:
        netns.sysctl(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
        netns.ip("link set lo up")
    return made


def remove_namespaces(*names: str) -> None:
    """Remove those that are there, and with them their devices; real cards go back to the first namespace."""
    there = [name for name in names if Path("/run/netns", name).exists()]
    if there:
        ip_batch([f"netns del {name}" for name in there])


@dataclass(frozen=True, slots=True)
class Routed:
    """near (10.1.0.1) → router (10.1.0.2, 10.2.0.2) → far (10.2.0.1), over veth."""

    near: Netns
    router: Netns
    far: Netns

    NEAR = "10.1.0.1"
    FAR = "10.2.0.1"

    @property
    def all(self) -> tuple[Netns, Netns, Netns]:
        """In the order of the way."""
        return self.near, self.router, self.far

    def know_neighbours(self) -> None:
        """No ARP from now on."""
        self.near.ip("neigh replace 10.1.0.2 lladdr 02:00:00:01:00:02 dev va nud permanent")
        self.router.ip(
            "neigh replace 10.1.0.1 lladdr 02:00:00:01:00:01 dev ra nud permanent",
            "neigh replace 10.2.0.1 lladdr 02:00:00:02:00:01 dev rb nud permanent",
        )
        self.far.ip("neigh replace 10.2.0.2 lladdr 02:00:00:02:00:02 dev vb nud permanent")

    def forget_neighbours(self) -> None:
        """The next packet needs ARP."""
        for netns in self.all:
            netns.ip("neigh flush all nud permanent", "neigh flush all")


@contextlib.contextmanager
def routed(prefix: str = "kp", *, neighbours: bool = True) -> Iterator[Routed]:
    """Two hosts and a router between them; the namespaces are ``<prefix>-near`` and so on."""
    names = [f"{prefix}-{role}" for role in ("near", "router", "far")]
    remove_namespaces(*names)
    try:
        near, router, far = make_namespaces(*names)
        ip_batch([
            f"link add va address 02:00:00:01:00:01 netns {near.name} type veth"
            f" peer name ra address 02:00:00:01:00:02 netns {router.name}",
            f"link add vb address 02:00:00:02:00:01 netns {far.name} type veth"
            f" peer name rb address 02:00:00:02:00:02 netns {router.name}",
        ])  # fmt: skip
        near.ip("addr add 10.1.0.1/24 dev va", "link set va up", "route add default via 10.1.0.2")
        far.ip("addr add 10.2.0.1/24 dev vb", "link set vb up", "route add default via 10.2.0.2")
        router.ip(
            "addr add 10.1.0.2/24 dev ra", "link set ra up", "addr add 10.2.0.2/24 dev rb", "link set rb up"
        )
        router.sysctl(ipv4__ip_forward=1)
        net = Routed(near, router, far)
        _wait_for_carrier((near, "va"), (router, "ra"), (router, "rb"), (far, "vb"))
        if neighbours:
            net.know_neighbours()
        yield net
    finally:
        remove_namespaces(*names)


@dataclass(frozen=True, slots=True)
class Cards:
    """left (10.3.0.1 on eth0, e1000) and right (10.3.0.2 on eth1, virtio-net): two real drivers on one wire."""

    left: Netns
    right: Netns

    LEFT = "10.3.0.1"
    RIGHT = "10.3.0.2"


_HAVE_CARDS = all(
    Path(f"/sys/class/net/{name}/device/driver").resolve().name == driver
    for name, driver in (("eth0", "e1000"), ("eth1", "virtio_net"))
)
"""Looked at once: later they may be in another namespace."""


def have_cards() -> bool:
    """Does this machine have the two cards that ``kpath.guest run --nics`` gives a guest?"""
    return "KPATH_IN_GUEST" in os.environ and _HAVE_CARDS


@contextlib.contextmanager
def cards(prefix: str = "kp", *, neighbours: bool = True) -> Iterator[Cards]:
    """Each of the guest's two cards in a namespace of its own."""
    names = [f"{prefix}-left", f"{prefix}-right"]
    mac = {name: Path(f"/sys/class/net/{name}/address").read_text().strip() for name in ("eth0", "eth1")}
    try:
        left, right = make_namespaces(*names)
        ip_batch([f"link set eth0 netns {left.name}", f"link set eth1 netns {right.name}"])
        left.ip("addr add 10.3.0.1/24 dev eth0", "link set eth0 up")
        right.ip("addr add 10.3.0.2/24 dev eth1", "link set eth1 up")
        _wait_for_carrier((left, "eth0"), (right, "eth1"))
        if neighbours:
            left.ip(f"neigh replace 10.3.0.2 lladdr {mac['eth1']} dev eth0 nud permanent")
            right.ip(f"neigh replace 10.3.0.1 lladdr {mac['eth0']} dev eth1 nud permanent")
        yield Cards(left, right)
    finally:
        remove_namespaces(*names)


def _wait_for_carrier(*devices: tuple[Netns, str]) -> None:
    """A device takes no packet before its link is up and its queues have been activated."""
    deadline = time.monotonic() + TIMEOUT
    for netns, device in devices:
        while True:
            with netns.inside():
                state = subprocess.run(["ip", "-o", "link", "show", device], capture_output=True, text=True, check=True)
            if "state UP" in state.stdout:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{device} in {netns.name} does not come up: {state.stdout}")
            time.sleep(0.05)


# ---- traffic ----


def ping(source: Netns, to: str, number: int = 1, size: int = 56) -> bool:
    """One echo request by a raw socket; was it answered?"""
    with source.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        identity = 0x4B50
        s.sendto(echo_request(identity, number, size), (to, 0))
        return _answered(s, identity, number)


def _answered(s: socket.socket, identity: int, number: int) -> bool:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            packet = s.recv(65536)
        except TimeoutError:
            return False
        kind, _, _, got, sequence = struct.unpack_from("!BBHHH", packet, (packet[0] & 15) * 4)
        if (kind, got, sequence) == (0, identity, number):
            return True
    return False


def ping_socket(source: Netns, to: str) -> bool:
    """One echo request by an ICMP datagram socket, as an ordinary user's ping makes it."""
    source.sysctl(ipv4__ping_group_range="0 0")
    with source.socket(socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as s:
        s.sendto(echo_request(0, 1, 56), (to, 0))
        try:
            return len(s.recv(65536)) > 0
        except TimeoutError:
            return False


def echo_request(identity: int, number: int, size: int) -> bytes:
    """An ICMP echo request."""
    data = bytes(i & 0xFF for i in range(size))
    head = struct.pack("!BBHHH", ICMP_ECHO, 0, 0, identity, number)
    return struct.pack("!BBHHH", ICMP_ECHO, 0, checksum(head + data), identity, number) + data


def checksum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071)."""
    data += b"\0" * (len(data) & 1)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(source: Netns, target: Netns, to: str, size: int = 100, port: int = 5555, count: int = 1) -> int:
    """Datagrams to an open port, one after another; how many arrived."""
    arrived = 0
    with target.socket(socket.SOCK_DGRAM) as receiver, source.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((to, port))
        for _ in range(count):
            sender.sendto(b"u" * size, (to, port))
            with contextlib.suppress(TimeoutError):
                arrived += len(receiver.recv(65536)) == size
    return arrived


def udp_send(source: Netns, to: str, size: int = 100, port: int = 9, ttl: int = 0, dont_fragment: bool = False) -> None:
    """A datagram that nobody waits for: to a closed port, to nowhere, with a TTL too small, too big."""
    with source.socket(socket.SOCK_DGRAM) as s:
        if ttl:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        if dont_fragment:
            ip_mtu_discover, ip_pmtudisc_probe = 10, 3  # sets DF and does not care for the path's MTU
            s.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, ip_pmtudisc_probe)
        with contextlib.suppress(OSError):
            s.sendto(b"u" * size, (to, port))


def udp_paced(source: Netns, to: str, rate: float, seconds: float, port: int = 9) -> int:
    """Datagrams at a rate (one a second); how many."""
    begin, sent = time.monotonic(), 0
    with source.socket(socket.SOCK_DGRAM) as s:
        while (now := time.monotonic() - begin) < seconds:
            if sent <= now * rate:
                with contextlib.suppress(OSError):
                    s.sendto(b"p" * 64, (to, port))
                sent += 1
            else:
                time.sleep(min(0.01, sent / rate - now))
    return sent


def udp_flood(source: Netns, to: str, count: int = 10_000, port: int = 9) -> int:
    """Datagrams as fast as they go; how many the kernel took."""
    taken = 0
    with source.socket(socket.SOCK_DGRAM) as s:
        s.setblocking(False)
        for _ in range(count):
            with contextlib.suppress(OSError):
                s.sendto(b"f" * 64, (to, port))
                taken += 1
    return taken


def tcp(source: Netns, target: Netns, to: str, data: int = 20, answer: int = 0, port: int = 7777) -> bool:
    """A connection: ``data`` bytes there, ``answer`` bytes back, closed by the client first. Was all well?"""
    with target.socket(socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((to, port))
        listener.listen(8)
        client = source.socket(socket.SOCK_STREAM)
        client.connect((to, port))
        server, _ = listener.accept()
        server.settimeout(TIMEOUT)
        ok = _transfer(client, server, data) and _transfer(server, client, answer)
        client.close()
        ok = ok and server.recv(1) == b""
        server.close()
    return ok


def _transfer(sender: socket.socket, receiver: socket.socket, size: int) -> bool:
    """Without threads: send what goes, take what came."""
    sent = received = 0
    payload = b"t" * 65536
    deadline = time.monotonic() + TIMEOUT
    while received < size and time.monotonic() < deadline:
        if sent < size:
            sender.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                sent += sender.send(payload[: size - sent])
            sender.settimeout(TIMEOUT)
        receiver.settimeout(0 if sent < size else TIMEOUT)
        with contextlib.suppress(BlockingIOError, TimeoutError):
            received += len(receiver.recv(1 << 20))
        receiver.settimeout(TIMEOUT)
    return received == size


def raw(source: Netns, to: str, size: int = 64) -> None:
    """A packet of a protocol that nobody speaks."""
    with source.socket(socket.SOCK_RAW, UNKNOWN_PROTOCOL) as s:
        s.sendto(b"r" * size, (to, 0))
