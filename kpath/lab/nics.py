"""Two real drivers on one wire."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.netns import Netns
from kpath.lab.topology import Cards, cards


@scenario("nics-ping", cards, exercises={"linux-6": ("dev_gro_receive", "ip_list_rcv")})
def nics_ping(c: Cards) -> Steps:
    """ping from an e1000 to a virtio-net card."""
    yield
    expect(traffic.ping(c.left, c.RIGHT), "no answer")
    yield


@scenario("nics-udp", cards)
def nics_udp(c: Cards) -> Steps:
    """A datagram from card to card, to an open and to a closed port."""
    yield
    expect(traffic.udp(c.left, c.right, c.RIGHT) == 1, "lost")
    traffic.udp_send(c.right, c.LEFT)
    yield


@scenario("nics-tcp", cards, exercises={"linux-6": ("dev_gro_receive", "skb_gro_receive", "ip_list_rcv")})
def nics_tcp(c: Cards) -> Steps:
    """A TCP connection from card to card: segmentation by the card, GRO."""
    yield
    expect(traffic.tcp(c.left, c.right, c.RIGHT, 30_000, 10_000), "lost")
    yield


@contextmanager
def without_gro(netns: Netns, device: str) -> Iterator[None]:
    """The device's packets are not merged meanwhile."""
    _set_gro(netns, device, False)
    try:
        yield
    finally:
        _set_gro(netns, device, True)


def _set_gro(netns: Netns, device: str, on: bool) -> None:
    siocethtool, ethtool_sgro = 0x8946, 0x2C  # include/uapi/linux/sockios.h, ethtool.h
    value = ctypes.create_string_buffer(struct.pack("=II", ethtool_sgro, on), 8)
    request = struct.pack("=16sQ16x", device.encode(), ctypes.addressof(value))
    with netns.socket(socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, siocethtool, request)


@scenario("nics-tcp-no-gro", cards, exercises={"linux-6": ("@napi_gro_receive", "tcp_v4_rcv")})
def nics_tcp_no_gro(c: Cards) -> Steps:
    """A TCP connection from card to card that merge nothing: each segment arrives as it is."""
    with without_gro(c.left, "eth0"), without_gro(c.right, "eth1"):
        yield
        expect(traffic.tcp(c.left, c.right, c.RIGHT, 10_000, 3_000), "lost")
        yield
