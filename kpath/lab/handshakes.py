"""Segments that come before a connection, after it, or out of the blue."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.netns import TIMEOUT
from kpath.lab.segments import connected, listening
from kpath.lab.topology import Routed, routed

STRANGER = "10.1.0.77"
"""A host that only this program plays, at the near host's link address: no TCP there answers a SYN-ACK with RST."""
SYN, ACK = 0x02, 0x10


def segment(to: str, port: int, seq: int, ack: int, flags: int, options: bytes = b"") -> bytes:
    """A whole IPv4 packet from the stranger's port 4700."""
    length = 20 + len(options)
    tcp = struct.pack("!HHIIBBHHH", 4700, port, seq, ack, length // 4 << 4, flags, 8192, 0, 0) + options
    ends = socket.inet_aton(STRANGER) + socket.inet_aton(to)
    check = traffic.checksum(ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", check) + tcp[18:]
    # The kernel fills in the header's checksum and identification (raw(7)).
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + ends + tcp


@contextlib.contextmanager
def _stranger(n: Routed) -> Iterator[socket.socket]:
    n.router.ip(f"neigh replace {STRANGER} lladdr 02:00:00:01:00:01 dev ra nud permanent")
    with n.near.socket(socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        yield s
    n.router.ip(f"neigh del {STRANGER} dev ra")


@scenario(
    "syn-twice", routed,
    exercises={"linux-6": ("tcp_v4_send_synack",), "linux-2.6.21.1": ("tcp_v4_send_synack",)},
)  # fmt: skip
def syn_twice(n: Routed) -> Steps:
    """A SYN comes a second time, as when the SYN-ACK was lost; that is also sent again when its time is up."""
    with listening(n.far, n.FAR, 7791), _stranger(n) as s:
        yield
        for _ in range(2):
            s.sendto(segment(n.FAR, 7791, 1000, 0, SYN), (n.FAR, 0))
            settle()
        settle(1.2)
        yield


@scenario("syn-after-syn", routed, exercises={"linux-6": ("tcp_v4_send_reset",)})
def syn_after_syn(n: Routed) -> Steps:
    """To a connection that is half open comes another SYN within its window: RST."""
    with listening(n.far, n.FAR, 7792), _stranger(n) as s:
        yield
        for sequence in (1000, 1010):
            s.sendto(segment(n.FAR, 7792, sequence, 0, SYN), (n.FAR, 0))
            settle()
        yield


@scenario("ack-out-of-window", routed, exercises={"linux-6": ("ip_send_unicast_reply",)})
def ack_out_of_window(n: Routed) -> Steps:
    """To a connection that is half open comes a segment far out of its window: an ACK says what would be in it."""
    with listening(n.far, n.FAR, 7793), _stranger(n) as s:
        yield
        for sequence in (1000, 1_000_000):
            s.sendto(segment(n.FAR, 7793, sequence, 0, SYN), (n.FAR, 0))
            settle()
        yield


@scenario("stray-ack", routed, exercises={"linux-6": ("tcp_v4_send_reset", "tcp_rcv_state_process")})
def stray_ack(n: Routed) -> Steps:
    """An ACK of no connection comes to a socket that waits for some: RST."""
    with listening(n.far, n.FAR, 7794), _stranger(n) as s:
        yield
        s.sendto(segment(n.FAR, 7794, 1000, 2000, ACK), (n.FAR, 0))
        yield


@scenario("stray-signed", routed, exercises={"linux-6": ("tcp_v4_send_reset",)})
def stray_signed(n: Routed) -> Steps:
    """An ACK with a signature (MD5) for a port where nobody listens: no RST, for nobody has the key to sign it."""
    md5 = bytes([19, 18]) + bytes(16) + bytes(2)
    with _stranger(n) as s:
        yield
        s.sendto(segment(n.FAR, 7, 1000, 2000, ACK, md5), (n.FAR, 0))
        yield


@scenario("syn-cookies", routed, exercises={"linux-6": ("tcp_child_process",)})
def syn_cookies(n: Routed) -> Steps:
    """A server that remembers nothing of a SYN makes the connection from the ACK (tcp_syncookies)."""
    n.far.sysctl(ipv4__tcp_syncookies=2)
    yield
    expect(traffic.tcp(n.near, n.far, n.FAR, 200, 100, port=7795), "lost")
    yield
    n.far.sysctl(ipv4__tcp_syncookies=1)


@scenario("fin-late", routed, exercises={"linux-6": ("tcp_timewait_state_process",)})
def fin_late(n: Routed) -> Steps:
    """The client has closed, and only its time-wait socket is left when the server closes, too: FIN, ACK."""
    with connected(n, 7796) as (client, server):
        client.close()
        expect(server.recv(1) == b"", "no FIN came")
        settle(0.3)  # until the FIN has been acknowledged
        yield
        server.close()
        yield


@scenario("data-late", routed, exercises={"linux-6": ("tcp_timewait_state_process", "tcp_v4_send_reset")})
def data_late(n: Routed) -> Steps:
    """The client has closed, and only its time-wait socket is left when the server sends data: RST."""
    with connected(n, 7797) as (client, server):
        client.close()
        expect(server.recv(1) == b"", "no FIN came")
        settle(0.3)
        yield
        server.send(b"too late")
        yield


@scenario("port-again", routed, exercises={"linux-6": ("tcp_timewait_state_process", "__inet_lookup_listener")})
def port_again(n: Routed) -> Steps:
    """A client connects from the port of a connection that the server still remembers (time-wait)."""
    with listening(n.far, n.FAR, 7798) as listener:

        def connect() -> tuple[socket.socket, socket.socket]:
            client = n.near.socket(socket.SOCK_STREAM)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((n.NEAR, 4701))
            client.connect((n.FAR, 7798))
            server, _ = listener.accept()
            server.settimeout(TIMEOUT)
            return client, server

        client, server = connect()
        server.close()
        expect(client.recv(1) == b"", "no FIN came")
        client.close()
        settle(0.3)
        time.sleep(1.1)  # the SYN must be newer than all that was, and timestamps may be coarse
        yield
        client, server = connect()
        with client, server:
            client.send(b"x")
            expect(server.recv(1) == b"x", "lost")
            yield
