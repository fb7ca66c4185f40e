"""The traffic that scenarios are made of.

What is not asked for is not sent: each function sends what it says, and waits for what it says.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from kpath.lab.netns import TIMEOUT, Netns

ICMP_ECHO = 8
UNKNOWN_PROTOCOL = 253
"""IP protocol for experiments (RFC 3692): nothing in the kernel handles it."""


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
