"""What a host does with packets for itself."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.netns import Netns
from kpath.lab.topology import Routed, routed


@scenario("ping", routed, exercises={"linux-6": ("raw_sendmsg", "ip_forward", "icmp_rcv", "icmp_reply", "raw_rcv")})
def ping(n: Routed) -> Steps:
    """ping through the router; neighbours are known."""
    yield
    expect(traffic.ping(n.near, n.FAR), "no answer")
    yield


@scenario("ping-socket", routed, exercises={"linux-6": ("ping_v4_sendmsg", "icmp_reply", "ping_rcv")})
def ping_socket(n: Routed) -> Steps:
    """ping by an ICMP datagram socket, as an ordinary user's ping does."""
    yield
    expect(traffic.ping_socket(n.near, n.FAR), "no answer")
    yield


@scenario(
    "udp-open", routed,
    exercises={"linux-6": ("udp_sendmsg", "ip_make_skb", "ip_forward", "udp_rcv", "udp_queue_rcv_one_skb")},
)  # fmt: skip
def udp_open(n: Routed) -> Steps:
    """A datagram to an open port behind the router."""
    yield
    expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield


@scenario("udp-closed", routed, exercises={"linux-6": ("udp_rcv", "icmp_send", "icmp_unreach")})
def udp_closed(n: Routed) -> Steps:
    """A datagram to a closed port: the host answers port unreachable."""
    yield
    traffic.udp_send(n.near, n.FAR)
    yield


@scenario(
    "tcp-refused", routed,
    exercises={"linux-6": ("tcp_v4_connect", "tcp_v4_send_reset", "ip_send_unicast_reply")},
)  # fmt: skip
def tcp_refused(n: Routed) -> Steps:
    """A SYN to a closed port: RST."""
    yield
    with n.near.socket(socket.SOCK_STREAM) as s:
        expect(s.connect_ex((n.FAR, 7)) != 0, "somebody is there")
    yield


@scenario("raw", routed, exercises={"linux-6": ("raw_sendmsg", "icmp_send")})
def raw(n: Routed) -> Steps:
    """A packet of a protocol that nobody speaks: protocol unreachable."""
    yield
    traffic.raw(n.near, n.FAR)
    yield


@scenario("loopback", routed, exercises={"linux-6": ("loopback_xmit", "udp_rcv", "tcp_v4_rcv")})
def loopback(n: Routed) -> Steps:
    """UDP and TCP from a host to itself."""
    yield
    expect(traffic.udp(n.near, n.near, "127.0.0.1") == 1, "lost")
    expect(traffic.tcp(n.near, n.near, "127.0.0.1", 200, 100), "lost")
    yield


@scenario("broadcast", routed, exercises={"linux-6": ("ip_mc_output",)})
def broadcast(n: Routed) -> Steps:
    """A datagram to all on the link."""
    with n.router.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind(("", 5558))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        yield
        sender.sendto(b"to all", ("10.1.0.255", 5558))
        expect(receiver.recv(100) == b"to all", "lost")
        yield


@scenario("tap", routed, exercises={"linux-6": ("deliver_skb", "packet_rcv")})
def tap(n: Routed) -> Steps:
    """A datagram while a packet socket listens on the router, as tcpdump does."""
    eth_p_all = 3
    with n.router.socket(socket.SOCK_RAW, socket.htons(eth_p_all), socket.AF_PACKET):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario("tap-sender", routed, exercises={"linux-6": ("dev_queue_xmit_nit",)})
def tap_sender(n: Routed) -> Steps:
    """A datagram while a packet socket listens on the host that sends it."""
    eth_p_all = 3
    with n.near.socket(socket.SOCK_RAW, socket.htons(eth_p_all), socket.AF_PACKET):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


IPV4 = 0x0800


@contextmanager
def packets(netns: Netns, protocol: int, ring: bool = False) -> Iterator[socket.socket]:
    """A packet socket, perhaps with a ring that it shares with its program, as tcpdump has."""
    sol_packet, packet_rx_ring = 263, 5  # include/uapi/linux/if_packet.h
    with netns.socket(socket.SOCK_RAW, socket.htons(protocol), socket.AF_PACKET) as s:
        if ring:
            s.setsockopt(sol_packet, packet_rx_ring, struct.pack("=4I", 4096, 4, 2048, 8))
        yield s


@scenario("tap-ring", routed, exercises={"linux-6": ("deliver_skb", "tpacket_rcv")})
def tap_ring(n: Routed) -> Steps:
    """A datagram while sockets with a ring listen on the router and on the host that sends it."""
    eth_p_all = 3
    with packets(n.router, eth_p_all, ring=True), packets(n.near, eth_p_all, ring=True):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario("tap-ip", routed, exercises={"linux-6": ("packet_rcv",)})
def tap_ip(n: Routed) -> Steps:
    """A datagram while two packet sockets that take only IPv4 listen on the router, one of them with a ring."""
    with packets(n.router, IPV4), packets(n.router, IPV4, ring=True):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario("tap-ip-device", routed, exercises={"linux-6": ("packet_rcv",)})
def tap_ip_device(n: Routed) -> Steps:
    """A datagram while packet sockets take the IPv4 packets of a device: two on the router, one on the receiver."""
    with packets(n.router, IPV4, ring=True) as last, packets(n.router, IPV4) as first, packets(n.far, IPV4) as only:
        last.bind(("ra", IPV4))
        first.bind(("ra", IPV4))
        only.bind(("vb", IPV4))
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield
