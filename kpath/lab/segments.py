"""What TCP sends again, early, or when a connection is broken off."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import TC, module
from kpath.lab.netns import TIMEOUT, Netns
from kpath.lab.queues import queue
from kpath.lab.topology import Routed, routed

MSG_FASTOPEN = 0x20000000


@contextlib.contextmanager
def listening(netns: Netns, address: str, port: int) -> Iterator[socket.socket]:
    """A socket that waits for connections."""
    with netns.socket(socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(4)
        yield listener


@contextlib.contextmanager
def connected(n: Routed, port: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client at the near host and its server at the far one."""
    with listening(n.far, n.FAR, port) as listener, n.near.socket(socket.SOCK_STREAM) as client:
        client.connect((n.FAR, port))
        server, _ = listener.accept()
        server.settimeout(TIMEOUT)
        with server:
            yield client, server


@contextlib.contextmanager
def outage(n: Routed) -> Iterator[None]:
    """The router throws away what is for the far host."""
    n.router.ip(f"route add blackhole {n.FAR}/32")
    try:
        yield
    finally:
        n.router.ip(f"route del blackhole {n.FAR}/32")


def receive(s: socket.socket, size: int) -> bytes:
    """So many bytes, or what came before the connection's end."""
    data = b""
    while len(data) < size and (more := s.recv(size - len(data))):
        data += more
    return data


@scenario("tcp-abort", routed, exercises={"linux-6": ("tcp_send_active_reset",)})
def tcp_abort(n: Routed) -> Steps:
    """A connection that the client breaks off: RST instead of FIN."""
    with connected(n, 7781) as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        yield
        client.close()
        broken = False
        try:
            server.recv(1)
        except ConnectionResetError:
            broken = True
        expect(broken, "no RST came")
        yield


@scenario("tcp-new-route", routed, exercises={"linux-6": ("ip_queue_xmit",), "linux-2.6.21.1": ("@ip_queue_xmit",)})
def tcp_new_route(n: Routed) -> Steps:
    """The sender's routes change while a connection stands: the next segment looks for its route again."""
    with connected(n, 7782) as (client, server):
        n.near.ip("route add 10.83.0.0/24 via 10.1.0.2")
        yield
        client.send(b"where to")
        expect(receive(server, 8) == b"where to", "lost")
        yield
    n.near.ip("route del 10.83.0.0/24")


@scenario("tcp-timeout", routed, exercises={"linux-6": ("tcp_retransmit_skb",)})
def tcp_timeout(n: Routed) -> Steps:
    """A segment and the probe for it are lost, and it is sent again when its time is up."""
    with connected(n, 7783) as (client, server):
        with outage(n):
            yield
            client.send(b"again")
            time.sleep(0.7)
        expect(receive(server, 5) == b"again", "lost for good")
        yield


@scenario("tcp-tail-probe", routed, exercises={"linux-6": ("tcp_write_xmit",)})
def tcp_tail_probe(n: Routed) -> Steps:
    """A segment is lost while Nagle's algorithm holds the next: the probe for the loss is that next one."""
    with connected(n, 7784) as (client, server):
        with outage(n):
            yield
            client.send(b"lost, ")
            client.send(b"held")
            time.sleep(0.1)
        expect(receive(server, 10) == b"lost, held", "lost for good")
        time.sleep(0.3)  # what TCP sent once more than was needed, and its ACKs, are on their way
        yield


@scenario("tcp-fast-retransmit", routed, exercises={"linux-6": ("tcp_retransmit_skb", "icmp_rcv")})
def tcp_fast_retransmit(n: Routed) -> Steps:
    """The router drops a segment whose time to live is up; its successors' ACKs make the sender send it again."""
    with connected(n, 7785) as (client, server):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        yield
        client.send(b"0")
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
        for digit in b"12345":
            client.send(bytes([digit]))
        expect(receive(server, 6) == b"012345", "lost for good")
        yield


@scenario(
    "tcp-close-early", routed, needs=(TC, module("sch_netem")),
    exercises={"linux-6": ("tcp_rcv_state_process", "__tcp_push_pending_frames")},
)  # fmt: skip
def tcp_close_early(n: Routed) -> Steps:
    """A client closes while most of what it has written still waits to be sent."""
    with connected(n, 7789) as (client, server), queue(n.near, "va", "netem", "delay", "40ms"):
        yield
        client.send(b"c" * 24_000)
        client.close()
        expect(len(receive(server, 30_000)) == 24_000, "lost")
        yield


@scenario("tcp-memory", routed, exercises={"linux-6": ("tcp_push",), "linux-2.6.21.1": ("tcp_push",)})
def tcp_memory(n: Routed) -> Steps:
    """A client writes more than its socket may hold: it waits, and goes on as what it has sent is acknowledged."""
    with connected(n, 7780) as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        client.settimeout(TIMEOUT)
        yield
        client.sendall(b"m" * 40_000)
        expect(len(receive(server, 40_000)) == 40_000, "lost")
        yield


@scenario("tcp-fastopen", routed, exercises={"linux-6": ("tcp_v4_connect",)})
def tcp_fastopen(n: Routed) -> Steps:
    """The first write of a client connects, and its SYN asks for a cookie that will spare a round the next time."""
    with listening(n.far, n.FAR, 7786) as listener, n.near.socket(socket.SOCK_STREAM) as client:
        yield
        client.settimeout(None)  # with a time limit it would only begin
        client.sendto(b"early", MSG_FASTOPEN, (n.FAR, 7786))
        server, _ = listener.accept()
        with server:
            server.settimeout(TIMEOUT)
            expect(receive(server, 5) == b"early", "lost")
            yield
    n.near.ip("tcp_metrics flush all")


@scenario("tcp-pmtu", routed, exercises={"linux-6": ("icmp_rcv", "icmp_send")})
def tcp_pmtu(n: Routed) -> Steps:
    """Segments are too big for the router's next link: it says so, and TCP cuts them anew."""
    with connected(n, 7787) as (client, server):
        n.router.ip("link set rb mtu 1000")
        yield
        client.send(b"p" * 2800)
        expect(len(receive(server, 2800)) == 2800, "lost")
        yield
    n.router.ip("link set rb mtu 1500")
    n.near.ip("route flush cache")


@scenario("tcp-pmtu-later", routed, needs=(TC, module("sch_netem")), exercises={"linux-6": ("icmp_rcv",)})
def tcp_pmtu_later(n: Routed) -> Steps:
    """The same when the segments have waited in a queue, and no process holds the socket when the error comes."""
    with connected(n, 7790) as (client, server), queue(n.near, "va", "netem", "delay", "60ms"):
        n.router.ip("link set rb mtu 1000")
        yield
        client.send(b"p" * 2800)
        expect(len(receive(server, 2800)) == 2800, "lost")
        yield
    n.router.ip("link set rb mtu 1500")
    n.near.ip("route flush cache")


@scenario("tcp-too-big", routed)
def tcp_too_big(n: Routed) -> Steps:
    """Segments that may be fragmented come to the router as one, too big for its next link even when cut."""
    n.near.sysctl(ipv4__ip_no_pmtu_disc=1)
    with connected(n, 7788) as (client, server):
        n.router.ip("link set rb mtu 1000")
        yield
        client.send(b"b" * 5600)
        expect(len(receive(server, 5600)) == 5600, "lost")
        yield
    n.router.ip("link set rb mtu 1500")
    n.near.sysctl(ipv4__ip_no_pmtu_disc=0)
