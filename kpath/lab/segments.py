"""What TCP sends beside plain data: resets, cookies, probes."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.netns import TIMEOUT
from kpath.lab.topology import Routed, routed


@contextlib.contextmanager
def _connected(n: Routed, port: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client at the near host and its server at the far one."""
    with n.far.socket(socket.SOCK_STREAM) as listener, n.near.socket(socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((n.FAR, port))
        listener.listen(1)
        client.connect((n.FAR, port))
        server, _ = listener.accept()
        server.settimeout(TIMEOUT)
        with server:
            yield client, server


@scenario("tcp-abort", routed, exercises={"linux-6": ("tcp_send_active_reset",)})
def tcp_abort(n: Routed) -> Steps:
    """A connection that the client breaks off: RST instead of FIN."""
    with _connected(n, 7781) as (client, server):
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


@scenario("tcp-syncookies", routed, exercises={"linux-6": ("tcp_v4_conn_request", "tcp_v4_send_synack")})
def tcp_syncookies(n: Routed) -> Steps:
    """A server that remembers nothing of a SYN: what it must know comes back with the client's ACK."""
    n.far.sysctl(ipv4__tcp_syncookies=2)
    yield
    expect(traffic.tcp(n.near, n.far, n.FAR, 200, 0, port=7782), "lost")
    yield
    n.far.sysctl(ipv4__tcp_syncookies=1)


@scenario("tcp-keepalive", routed)
def tcp_keepalive(n: Routed) -> Steps:
    """Nothing was said for a second: the client asks whether the server is still there."""
    tcp_info, state = 11, 1  # struct tcp_info begins with the state: 1 is ESTABLISHED
    with _connected(n, 7783) as (client, _):
        yield
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 60)):
            client.setsockopt(socket.IPPROTO_TCP, option, value)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        time.sleep(1.6)
        expect(client.getsockopt(socket.IPPROTO_TCP, tcp_info, 8)[0] == state, "the connection broke")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        yield
