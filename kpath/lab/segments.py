"""What TCP sends when a connection is broken off."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

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
