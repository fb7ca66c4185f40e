"""How a host's own packets come to be and leave."""

from __future__ import annotations

import socket
import struct
import time

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.netns import TIMEOUT
from kpath.lab.topology import Routed, routed


def datagram(source: str, to: str, data: bytes, port: int = 9) -> bytes:
    """A whole IPv4 packet with a UDP datagram in it."""
    udp = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(to)
    )
    return head[:10] + struct.pack("!H", traffic.checksum(head)) + head[12:] + udp


@scenario("udp-cork", routed, exercises={"linux-6": ("udp_push_pending_frames", "ip_finish_skb")})
def udp_cork(n: Routed) -> Steps:
    """Two writes that a corked socket makes one datagram of."""
    udp_cork_option = 1
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5556))
        sender.connect((n.FAR, 5556))
        yield
        sender.setsockopt(socket.IPPROTO_UDP, udp_cork_option, 1)
        sender.send(b"a" * 50)
        sender.send(b"b" * 50)
        sender.setsockopt(socket.IPPROTO_UDP, udp_cork_option, 0)
        expect(len(receiver.recv(1000)) == 100, "lost")
        yield


@scenario(
    "tcp", routed,
    exercises={"linux-6": (
        "tcp_v4_connect", "tcp_v4_conn_request", "ip_build_and_send_pkt", "tcp_sendmsg", "tcp_rcv_established",
        "tcp_send_fin",
    )},
)  # fmt: skip
def tcp(n: Routed) -> Steps:
    """A TCP connection with a little data in each direction."""
    yield
    expect(traffic.tcp(n.near, n.far, n.FAR, 200, 100), "lost")
    yield


@scenario("tcp-bulk", routed, exercises={"linux-6": ("tcp_push_one", "tcp_write_xmit")})
def tcp_bulk(n: Routed) -> Steps:
    """A TCP connection with enough data for segmentation offload."""
    yield
    expect(traffic.tcp(n.near, n.far, n.FAR, 60_000, 0), "lost")
    yield


@scenario("tcp-retransmit", routed, exercises={"linux-6": ("__tcp_retransmit_skb",)})
def tcp_retransmit(n: Routed) -> Steps:
    """A segment is lost in the router, and sent again by the timer."""
    with n.far.socket(socket.SOCK_STREAM) as listener, n.near.socket(socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((n.FAR, 7778))
        listener.listen(1)
        client.connect((n.FAR, 7778))
        server, _ = listener.accept()
        with server:
            server.settimeout(TIMEOUT)
            n.router.ip(f"route add blackhole {n.FAR}/32")
            yield
            client.send(b"again")
            time.sleep(0.1)
            n.router.ip(f"route del blackhole {n.FAR}/32")
            expect(server.recv(10) == b"again", "lost for good")
            yield


@scenario("multicast", routed, exercises={"linux-6": ("ip_mc_output", "igmpv3_sendpack")})
def multicast(n: Routed) -> Steps:
    """A socket joins a group (IGMP), and another sends to it: out of the device, and back to this host."""
    group = "239.1.2.3"
    n.near.sysctl(ipv4__conf__va__igmpv3_unsolicited_report_interval=50)  # ms; the second report comes soon, too
    with n.near.socket(socket.SOCK_DGRAM) as member, n.near.socket(socket.SOCK_DGRAM) as sender:
        member.bind(("", 5557))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(n.NEAR))
        yield
        membership = socket.inet_aton(group) + socket.inet_aton(n.NEAR)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        sender.sendto(b"to all", (group, 5557))
        expect(member.recv(100) == b"to all", "lost")
        settle(0.3)
        yield
    settle(0.3)


@scenario("packet-socket", routed)
def packet_socket(n: Routed) -> Steps:
    """A whole frame sent by a packet socket, past IP's output."""
    with n.near.socket(socket.SOCK_RAW, 0, socket.AF_PACKET) as s:
        yield
        frame = bytes.fromhex("020000010002" "020000010001" "0800")
        s.sendto(frame + datagram(n.NEAR, n.FAR, b"by hand"), ("va", 0x0800))
        yield
