"""Datagrams, raw packets and questions that a host makes in unusual ways."""

from __future__ import annotations

import socket
import struct

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.output import datagram
from kpath.lab.topology import Routed, routed

RECORD_ROUTE = 7


@scenario("udp-connected", routed, exercises={"linux-6": ("udp_sendmsg", "udp_rcv")})
def udp_connected(n: Routed) -> Steps:
    """A datagram between two connected sockets: the sender keeps its route, the receiver is found early."""
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5581))
        sender.bind((n.NEAR, 5582))
        receiver.connect((n.NEAR, 5582))
        sender.connect((n.FAR, 5581))
        yield
        sender.send(b"known")
        expect(receiver.recv(100) == b"known", "lost")
        yield


@scenario("udp-segment", routed, exercises={"linux-6": ("udp_send_skb",)})
def udp_segment(n: Routed) -> Steps:
    """One write that is three datagrams (UDP_SEGMENT), cut as late as the devices on its way allow."""
    udp_segment_option = 103
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5583))
        sender.setsockopt(socket.IPPROTO_UDP, udp_segment_option, 1000)
        yield
        sender.sendto(b"g" * 3000, (n.FAR, 5583))
        expect([len(receiver.recv(4000)) for _ in range(3)] == [1000] * 3, "not three datagrams")
        yield


@scenario("raw-header", routed, exercises={"linux-6": ("raw_sendmsg",)})
def raw_header(n: Routed) -> Steps:
    """A packet whose IP header the program made itself (IP_HDRINCL)."""
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        receiver.bind((n.FAR, 5584))
        yield
        sender.sendto(datagram(n.NEAR, n.FAR, b"by hand", 5584), (n.FAR, 0))
        expect(receiver.recv(100) == b"by hand", "lost")
        yield


@scenario("ping-options", routed, exercises={"linux-6": ("icmp_reply", "ip_forward_options")})
def ping_options(n: Routed) -> Steps:
    """ping that records its route: the answer has the option, too."""
    with n.near.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([RECORD_ROUTE, 19, 4]) + bytes(16) + b"\0")
        yield
        s.sendto(traffic.echo_request(0x4B51, 1, 56), (n.FAR, 0))
        expect(s.recv(1000)[0] & 15 == 10, "no option in the answer")
        yield


@scenario("icmp-timestamp", routed, exercises={"linux-6": ("icmp_reply",)})
def icmp_timestamp(n: Routed) -> Steps:
    """A host is asked for its time, and answers."""
    timestamp, answer = 13, 14
    body = struct.pack("!HHIII", 0x4B52, 1, 0, 0, 0)
    request = struct.pack("!BBH", timestamp, 0, traffic.checksum(bytes([timestamp, 0, 0, 0]) + body)) + body
    with n.near.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        yield
        s.sendto(request, (n.FAR, 0))
        expect(s.recv(1000)[20] == answer, "no answer")
        yield


@scenario("udp-more", routed, exercises={"linux-6": ("udp_sendmsg", "ip_append_data", "udp_push_pending_frames")})
def udp_more(n: Routed) -> Steps:
    """Two writes of which the first says that more will come (MSG_MORE) are one datagram."""
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5585))
        sender.connect((n.FAR, 5585))
        yield
        sender.send(b"a" * 50, socket.MSG_MORE)
        sender.send(b"b" * 50)
        expect(len(receiver.recv(1000)) == 100, "lost")
        yield


@scenario("ping-too-big", routed, exercises={"linux-6": ("icmp_rcv", "icmp_send")})
def ping_too_big(n: Routed) -> Steps:
    """An echo request that must not be fragmented is too big for the router's next link: the sender hears of it."""
    ip_mtu_discover, ip_pmtudisc_probe = 10, 3
    n.router.ip("link set rb mtu 1000")
    with n.near.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, ip_pmtudisc_probe)
        yield
        s.sendto(traffic.echo_request(0x4B53, 1, 1300), (n.FAR, 0))
        expect(s.recv(2000)[20] == 3, "no error came")  # destination unreachable
        yield
    n.router.ip("link set rb mtu 1500")
    n.near.ip("route flush cache")
