"""Two real drivers on one wire."""

from __future__ import annotations

import socket

from kpath.lab import ethtool, traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.devices import spread
from kpath.lab.needs import NFT
from kpath.lab.netfilter import rules
from kpath.lab.netns import wait_for_carrier
from kpath.lab.receive import IPV4, packets
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


@scenario("nics-tcp-no-gro", cards, exercises={"linux-6": ("@napi_gro_receive", "tcp_v4_rcv")})
def nics_tcp_no_gro(c: Cards) -> Steps:
    """A TCP connection from card to card that merge nothing: each segment arrives as it is."""
    with ethtool.gro(c.left, "eth0", False), ethtool.gro(c.right, "eth1", False):
        yield
        expect(traffic.tcp(c.left, c.right, c.RIGHT, 10_000, 3_000), "lost")
        yield


@scenario("nics-cold", cards, exercises={"linux-6": ("dev_gro_receive", "arp_rcv")})
def nics_cold(c: Cards) -> Steps:
    """ping from card to card; ARP first."""
    c.left.ip("neigh flush all nud permanent")
    c.right.ip("neigh flush all nud permanent")
    yield
    expect(traffic.ping(c.left, c.RIGHT), "no answer")
    yield
    c.know_neighbours()


@scenario("nics-burst", cards, exercises={"linux-6": ("@ip_list_rcv", "ip_defrag")})
def nics_burst(c: Cards) -> Steps:
    """A datagram in twelve fragments from card to card: a batch that one poll hands on."""
    yield
    expect(traffic.udp(c.left, c.right, c.RIGHT, 17_000) == 1, "lost")
    yield


@scenario("nics-nft", cards, needs=(NFT,), exercises={"linux-6": ("@ip_list_rcv",)})
def nics_nft(c: Cards) -> Steps:
    """A datagram in four fragments from card to card, where a rule at PRE_ROUTING looks at all of a batch."""
    with rules(c.right, "type filter hook prerouting priority 0", "counter;"):
        yield
        expect(traffic.udp(c.left, c.right, c.RIGHT, 5_000) == 1, "lost")
        yield


@scenario("nics-tap-ip", cards, exercises={"linux-6": ("@netif_receive_skb_list_internal", "packet_rcv")})
def nics_tap_ip(c: Cards) -> Steps:
    """A datagram from card to card while two packet sockets take IPv4 packets of the second, one with a ring."""
    with packets(c.right, IPV4, ring=True) as last, packets(c.right, IPV4) as first:
        last.bind(("eth1", IPV4))
        first.bind(("eth1", IPV4))
        yield
        expect(traffic.udp(c.left, c.right, c.RIGHT) == 1, "lost")
        yield


# Not promised: which of the datagrams one poll finds together is chance.
@scenario("nics-udp-gro", cards)
def nics_udp_gro(c: Cards) -> Steps:
    """One write that is six datagrams from card to card, for a socket that takes joined ones (UDP_GRO)."""
    udp_segment_option, udp_gro = 103, 104
    with c.right.socket(socket.SOCK_DGRAM) as receiver, c.left.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((c.RIGHT, 5621))
        receiver.setsockopt(socket.IPPROTO_UDP, udp_gro, 1)
        sender.setsockopt(socket.IPPROTO_UDP, udp_segment_option, 500)
        yield
        sender.sendto(b"g" * 3000, (c.RIGHT, 5621))
        got = 0
        while got < 3000:
            got += len(receiver.recv(8000))
        yield


@scenario("nics-rps", cards, exercises={"linux-6": ("@netif_receive_skb_list_internal", "@enqueue_to_backlog")})
def nics_rps(c: Cards) -> Steps:
    """ping from card to card; the second hands on what it receives to another CPU (RPS)."""
    with spread(c.right, "eth1"):
        yield
        expect(traffic.ping(c.left, c.RIGHT), "no answer")
        yield


@scenario("nics-jumbo", cards, exercises={"linux-6": ("napi_gro_frags",)})
def nics_jumbo(c: Cards) -> Steps:
    """A frame of 5000 bytes from card to card: the e1000 receives it in pages."""
    devices = ((c.left, "eth0"), (c.right, "eth1"))
    for netns, device in devices:
        netns.ip(f"link set {device} mtu 9000")
    wait_for_carrier(*devices)
    c.know_neighbours()
    yield
    expect(traffic.udp(c.right, c.left, c.LEFT, 5_000) == 1, "lost")
    yield
    for netns, device in devices:
        netns.ip(f"link set {device} mtu 1500")
    wait_for_carrier(*devices)
    c.know_neighbours()
