"""What packets are made to do, for the tests in guests and for the captures that other tests read.

A scenario is a generator: what stands before its first ``yield`` prepares, what stands between the two is what is
captured, and what follows tidies up. ``play`` runs one.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from tests.guest import net

Steps = Generator[None, None, None]


class Lab:
    """The networks that scenarios use; each is made when the first one asks for it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._routed: net.Routed | None = None
        self._cards: net.Cards | None = None

    def close(self) -> None:
        """Take the networks down; the next scenario finds new ones."""
        self._routed = self._cards = None
        self._stack.close()

    @property
    def routed(self) -> net.Routed:
        """Host → router → host."""
        if self._routed is None:
            self._routed = self._stack.enter_context(net.routed())
        return self._routed

    @property
    def cards(self) -> net.Cards:
        """Two hosts with a real card each."""
        if self._cards is None:
            self._cards = self._stack.enter_context(net.cards())
        return self._cards


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """A lab; its networks are taken down at the end."""
    made = Lab()
    try:
        yield made
    finally:
        made.close()


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that packets do.

    ``possible`` says whether this machine has what it takes. ``busy``: so much at once that no two runs are alike; such
    a scenario is not recorded.
    """

    name: str
    steps: Callable[[Lab], Steps]
    possible: Callable[[], bool]
    busy: bool = False

    @property
    def doc(self) -> str:
        """What it is, in a line."""
        return (self.steps.__doc__ or "").strip().partition("\n")[0]


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str, possible: Callable[[], bool] = lambda: True, busy: bool = False
) -> Callable[[Callable[[Lab], Steps]], Scenario]:
    """Registers a generator under a name."""

    def register(steps: Callable[[Lab], Steps]) -> Scenario:
        made = SCENARIOS[name] = Scenario(name, steps, possible, busy)
        return made

    return register


def play(which: Scenario, lab: Lab, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Prepare, ``begin()``, the traffic, ``end()``, tidy up. After a failure the lab begins anew."""
    steps = which.steps(lab)
    try:
        next(steps)
        begin()
        next(steps)
        settle()
        end()
        next(steps, None)
    except BaseException:
        steps.close()
        lab.close()
        raise


def settle(seconds: float = 0.15) -> None:
    """Wait for what is under way: softirqs, delayed ACKs, RCU."""
    time.sleep(seconds)


def expect(what: bool, why: str) -> None:
    """The traffic must have done what it is meant to do."""
    if not what:
        raise AssertionError(why)


def have_nft() -> bool:
    """Is the program nft here?"""
    return shutil.which("nft") is not None


# ---- host → router → host ----


@scenario("ping-cold")
def ping_cold(lab: Lab) -> Steps:
    """ping through the router; both neighbours must be asked for first."""
    n = lab.routed
    n.forget_neighbours()
    yield
    expect(net.ping(n.near, n.FAR), "no answer")
    yield
    n.know_neighbours()


@scenario("ping")
def ping(lab: Lab) -> Steps:
    """ping through the router; neighbours are known."""
    n = lab.routed
    yield
    expect(net.ping(n.near, n.FAR), "no answer")
    yield


@scenario("ping-socket")
def ping_socket(lab: Lab) -> Steps:
    """ping by an ICMP datagram socket, as an ordinary user's ping does."""
    n = lab.routed
    yield
    expect(net.ping_socket(n.near, n.FAR), "no answer")
    yield


@scenario("udp-open")
def udp_open(lab: Lab) -> Steps:
    """A datagram to an open port behind the router."""
    n = lab.routed
    yield
    expect(net.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield


@scenario("udp-closed")
def udp_closed(lab: Lab) -> Steps:
    """A datagram to a closed port: the host answers port unreachable."""
    n = lab.routed
    yield
    net.udp_send(n.near, n.FAR)
    yield


@scenario("udp-cork")
def udp_cork(lab: Lab) -> Steps:
    """Two writes that a corked socket makes one datagram of."""
    n = lab.routed
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


@scenario("tcp")
def tcp(lab: Lab) -> Steps:
    """A TCP connection with a little data in each direction."""
    n = lab.routed
    yield
    expect(net.tcp(n.near, n.far, n.FAR, 200, 100), "lost")
    yield


@scenario("tcp-bulk")
def tcp_bulk(lab: Lab) -> Steps:
    """A TCP connection with enough data for segmentation offload."""
    n = lab.routed
    yield
    expect(net.tcp(n.near, n.far, n.FAR, 60_000, 0), "lost")
    yield


@scenario("tcp-refused")
def tcp_refused(lab: Lab) -> Steps:
    """A SYN to a closed port: RST."""
    n = lab.routed
    yield
    with n.near.socket(socket.SOCK_STREAM) as s:
        expect(s.connect_ex((n.FAR, 7)) != 0, "somebody is there")
    yield


@scenario("tcp-retransmit")
def tcp_retransmit(lab: Lab) -> Steps:
    """A segment is lost in the router, and sent again by the timer."""
    n = lab.routed
    with n.far.socket(socket.SOCK_STREAM) as listener, n.near.socket(socket.SOCK_STREAM) as client:
        listener.bind((n.FAR, 7778))
        listener.listen(1)
        client.connect((n.FAR, 7778))
        server, _ = listener.accept()
        with server:
            server.settimeout(net.TIMEOUT)
            n.router.ip(f"route add blackhole {n.FAR}/32")
            yield
            client.send(b"again")
            time.sleep(0.1)
            n.router.ip(f"route del blackhole {n.FAR}/32")
            expect(server.recv(10) == b"again", "lost for good")
            yield


@scenario("raw")
def raw(lab: Lab) -> Steps:
    """A packet of a protocol that nobody speaks: protocol unreachable."""
    n = lab.routed
    yield
    net.raw(n.near, n.FAR)
    yield


@scenario("fragments")
def fragments(lab: Lab) -> Steps:
    """A datagram of 3000 bytes: fragmented by the sender, put together by the receiver."""
    n = lab.routed
    yield
    expect(net.udp(n.near, n.far, n.FAR, 3000) == 1, "lost")
    yield


@scenario("fragments-router")
def fragments_router(lab: Lab) -> Steps:
    """A datagram that the router must fragment."""
    n = lab.routed
    n.router.ip("link set rb mtu 1000")
    n.near.sysctl(ipv4__ip_no_pmtu_disc=1)
    yield
    expect(net.udp(n.near, n.far, n.FAR, 1400) == 1, "lost")
    yield
    n.near.sysctl(ipv4__ip_no_pmtu_disc=0)
    n.router.ip("link set rb mtu 1500")


@scenario("pmtu")
def pmtu(lab: Lab) -> Steps:
    """A datagram that must not be fragmented and is too big for the router's next link."""
    n = lab.routed
    n.router.ip("link set rb mtu 1000")
    yield
    net.udp_send(n.near, n.FAR, 1400, dont_fragment=True)
    yield
    n.router.ip("link set rb mtu 1500")
    n.near.ip("route flush cache")


@scenario("ttl-expired")
def ttl_expired(lab: Lab) -> Steps:
    """A datagram whose time to live ends at the router."""
    n = lab.routed
    yield
    net.udp_send(n.near, n.FAR, ttl=1)
    yield


@scenario("no-route")
def no_route(lab: Lab) -> Steps:
    """A datagram for a network that the router does not know."""
    n = lab.routed
    yield
    net.udp_send(n.near, "10.77.0.1")
    yield


@scenario("blackhole")
def blackhole(lab: Lab) -> Steps:
    """A datagram that the router's routing table throws away."""
    n = lab.routed
    n.router.ip("route add blackhole 10.78.0.0/24")
    yield
    net.udp_send(n.near, "10.78.0.1")
    yield
    n.router.ip("route del blackhole 10.78.0.0/24")


@scenario("prohibit")
def prohibit(lab: Lab) -> Steps:
    """A datagram that the router's routing table forbids."""
    n = lab.routed
    n.router.ip("route add prohibit 10.79.0.0/24")
    yield
    net.udp_send(n.near, "10.79.0.1")
    yield
    n.router.ip("route del prohibit 10.79.0.0/24")


@scenario("not-forwarding")
def not_forwarding(lab: Lab) -> Steps:
    """A datagram for another host at one that does not forward."""
    n = lab.routed
    n.router.sysctl(ipv4__ip_forward=0)
    yield
    net.udp_send(n.near, n.FAR)
    yield
    n.router.sysctl(ipv4__ip_forward=1)


@scenario("redirect")
def redirect(lab: Lab) -> Steps:
    """The router sends a datagram back where it came from, and tells the sender of the better way."""
    n = lab.routed
    n.router.ip("route add 10.80.0.0/24 via 10.1.0.1")
    n.router.sysctl(ipv4__conf__all__send_redirects=1, ipv4__conf__ra__send_redirects=1)
    yield
    net.udp_send(n.near, "10.80.0.1")
    yield
    n.router.ip("route del 10.80.0.0/24 via 10.1.0.1")


@scenario("neighbour-fails")
def neighbour_fails(lab: Lab) -> Steps:
    """Nobody answers the router's ARP requests: host unreachable."""
    n = lab.routed
    n.router.sysctl(ipv4__neigh__rb__retrans_time_ms=60)
    yield
    net.udp_send(n.near, "10.2.0.99")
    time.sleep(0.8)
    yield
    n.router.sysctl(ipv4__neigh__rb__retrans_time_ms=1000)


@scenario("loopback")
def loopback(lab: Lab) -> Steps:
    """UDP and TCP from a host to itself."""
    n = lab.routed
    yield
    expect(net.udp(n.near, n.near, "127.0.0.1") == 1, "lost")
    expect(net.tcp(n.near, n.near, "127.0.0.1", 200, 100), "lost")
    yield


@scenario("multicast")
def multicast(lab: Lab) -> Steps:
    """A socket joins a group (IGMP), and another sends to it: out of the device, and back to this host."""
    n = lab.routed
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


@scenario("broadcast")
def broadcast(lab: Lab) -> Steps:
    """A datagram to all on the link."""
    n = lab.routed
    with n.router.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind(("", 5558))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        yield
        sender.sendto(b"to all", ("10.1.0.255", 5558))
        expect(receiver.recv(100) == b"to all", "lost")
        yield


@scenario("martian")
def martian(lab: Lab) -> Steps:
    """The router takes a packet's source address for forged (reverse path filter)."""
    n = lab.routed
    n.router.sysctl(ipv4__conf__all__rp_filter=1, ipv4__conf__ra__rp_filter=1)
    n.near.ip("addr add 10.66.0.1/32 dev lo")
    with n.near.socket(socket.SOCK_DGRAM) as s:
        s.bind(("10.66.0.1", 0))
        yield
        s.sendto(b"forged", (n.FAR, 9))
        yield
    n.near.ip("addr del 10.66.0.1/32 dev lo")
    n.router.sysctl(ipv4__conf__all__rp_filter=0, ipv4__conf__ra__rp_filter=0)


@scenario("options")
def options(lab: Lab) -> Steps:
    """A datagram with an IP option (record route) through the router."""
    n = lab.routed
    record_route = bytes([7, 11, 4]) + bytes(8) + b"\0"
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5559))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, record_route)
        yield
        sender.sendto(b"recorded", (n.FAR, 5559))
        expect(receiver.recv(100) == b"recorded", "lost")
        yield


@scenario("tap")
def tap(lab: Lab) -> Steps:
    """A datagram while a packet socket listens on the router, as tcpdump does."""
    n = lab.routed
    eth_p_all = 3
    with n.router.socket(socket.SOCK_RAW, socket.htons(eth_p_all), socket.AF_PACKET):
        yield
        expect(net.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario("packet-socket")
def packet_socket(lab: Lab) -> Steps:
    """A whole frame sent by a packet socket, past IP's output."""
    n = lab.routed
    with n.near.socket(socket.SOCK_RAW, 0, socket.AF_PACKET) as s:
        yield
        frame = bytes.fromhex("020000010002" "020000010001" "0800")
        s.sendto(frame + datagram(n.NEAR, n.FAR, b"by hand"), ("va", 0x0800))
        yield


def datagram(source: str, to: str, data: bytes, port: int = 9) -> bytes:
    """A whole IPv4 packet with a UDP datagram in it."""
    udp = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(to)
    )
    return head[:10] + struct.pack("!H", net.checksum(head)) + head[12:] + udp


# ---- netfilter ----


def _nft(netns: net.Netns, rules: str) -> None:
    with netns.inside():
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


def _filter(hook: str, rule: str) -> str:
    return f"table ip t {{ chain c {{ type filter hook {hook} priority 0; policy accept; {rule} }}\n }}"


@scenario("nft-accept", have_nft)
def nft_accept(lab: Lab) -> Steps:
    """All five hooks of the router are in use and accept."""
    n = lab.routed
    hooks = ("prerouting", "input", "forward", "output", "postrouting")
    chains = "\n".join(f"chain {h} {{ type filter hook {h} priority 0; counter; }}" for h in hooks)
    _nft(n.router, f"table ip t {{ {chains}\n }}")
    yield
    expect(net.ping(n.near, n.FAR), "no answer")
    expect(net.ping(n.near, "10.1.0.2"), "no answer from the router")
    yield
    _nft(n.router, "delete table ip t")


@scenario("nft-drop", have_nft)
def nft_drop(lab: Lab) -> Steps:
    """The router's FORWARD hook drops a datagram."""
    n = lab.routed
    _nft(n.router, _filter("forward", "udp dport 9 drop;"))
    yield
    net.udp_send(n.near, n.FAR)
    yield
    _nft(n.router, "delete table ip t")


@scenario("nft-drop-input", have_nft)
def nft_drop_input(lab: Lab) -> Steps:
    """The receiver's LOCAL_IN hook drops a datagram."""
    n = lab.routed
    _nft(n.far, _filter("input", "udp dport 9 drop;"))
    yield
    net.udp_send(n.near, n.FAR)
    yield
    _nft(n.far, "delete table ip t")


@scenario("nft-drop-output", have_nft)
def nft_drop_output(lab: Lab) -> Steps:
    """The sender's LOCAL_OUT hook drops a datagram."""
    n = lab.routed
    _nft(n.near, _filter("output", "udp dport 9 drop;"))
    yield
    net.udp_send(n.near, n.FAR)
    yield
    _nft(n.near, "delete table ip t")


@scenario("nft-reject", have_nft)
def nft_reject(lab: Lab) -> Steps:
    """The router's FORWARD hook answers a datagram with port unreachable."""
    n = lab.routed
    _nft(n.router, _filter("forward", "udp dport 9 reject;"))
    yield
    net.udp_send(n.near, n.FAR)
    yield
    _nft(n.router, "delete table ip t")


@scenario("nft-masquerade", have_nft)
def nft_masquerade(lab: Lab) -> Steps:
    """The router puts its own address in the place of the sender's, and back in the answer."""
    n = lab.routed
    _nft(n.router, 'table ip t { chain c { type nat hook postrouting priority 100; oifname "rb" masquerade; }\n }')
    yield
    expect(net.ping(n.near, n.FAR), "no answer")
    yield
    _nft(n.router, "delete table ip t")


@scenario("nft-dnat", have_nft)
def nft_dnat(lab: Lab) -> Steps:
    """The router sends what comes for itself to the far host."""
    n = lab.routed
    _nft(
        n.router,
        "table ip t { chain c { type nat hook prerouting priority -100; "
        f"ip daddr 10.1.0.2 udp dport 5560 dnat to {n.FAR}; }}\n }}",
    )
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5560))
        yield
        sender.sendto(b"x", ("10.1.0.2", 5560))
        expect(receiver.recv(10) == b"x", "lost")
        yield
    _nft(n.router, "delete table ip t")


# ---- IPsec ----

_KEY = "0x" + "0123456789abcdef" * 2 + "01020304"
_AEAD = f"aead rfc4106(gcm(aes)) {_KEY} 128"


def _states(*ends: tuple[str, str, int], mode: str) -> list[str]:
    return [f"xfrm state add src {a} dst {b} proto esp spi {spi} mode {mode} {_AEAD}" for a, b, spi in ends]


def _policy(way: str, source: str, to: str, mode: str, ends: tuple[str, str] | None = None) -> str:
    tunnel = f"src {ends[0]} dst {ends[1]} " if ends else ""
    return f"xfrm policy add src {source} dst {to} dir {way} tmpl {tunnel}proto esp mode {mode}"


def _no_xfrm(*hosts: net.Netns) -> None:
    for host in hosts:
        host.ip("xfrm policy flush", "xfrm state flush")


@scenario("esp-tunnel")
def esp_tunnel(lab: Lab) -> Steps:
    """ping through a tunnel between the router and the far host."""
    n = lab.routed
    inner, near, ends = "10.9.0.0/24", "10.1.0.0/24", ("10.2.0.2", "10.2.0.1")
    states = _states((*ends, 0x100), (*reversed(ends), 0x200), mode="tunnel")  # type: ignore[arg-type]
    back = (ends[1], ends[0])
    n.router.ip(
        "route add 10.9.0.0/24 via 10.2.0.1",
        *states,
        _policy("out", near, inner, "tunnel", ends),
        _policy("fwd", inner, near, "tunnel", back),
        _policy("in", inner, near, "tunnel", back),
    )
    n.far.ip(
        "addr add 10.9.0.1/32 dev lo",
        *states,
        _policy("out", inner, near, "tunnel", back),
        _policy("in", near, inner, "tunnel", ends),
    )
    yield
    expect(net.ping(n.near, "10.9.0.1"), "no answer through the tunnel")
    yield
    _no_xfrm(n.router, n.far)
    n.router.ip("route del 10.9.0.0/24 via 10.2.0.1")
    n.far.ip("addr del 10.9.0.1/32 dev lo")


@scenario("esp-transport")
def esp_transport(lab: Lab) -> Steps:
    """A datagram and a TCP connection in transport mode from host to host."""
    n = lab.routed
    states = _states((n.NEAR, n.FAR, 0x300), (n.FAR, n.NEAR, 0x400), mode="transport")
    n.near.ip(
        *states, _policy("out", n.NEAR, n.FAR, "transport"), _policy("in", n.FAR, n.NEAR, "transport")
    )
    n.far.ip(
        *states, _policy("out", n.FAR, n.NEAR, "transport"), _policy("in", n.NEAR, n.FAR, "transport")
    )
    yield
    expect(net.udp(n.near, n.far, n.FAR) == 1, "lost")
    expect(net.tcp(n.near, n.far, n.FAR, 200, 0), "lost")
    yield
    _no_xfrm(n.near, n.far)


@scenario("xfrm-block")
def xfrm_block(lab: Lab) -> Steps:
    """A policy of the router forbids a datagram."""
    n = lab.routed
    n.router.ip(f"xfrm policy add src {n.NEAR} dst {n.FAR} dir fwd action block")
    yield
    net.udp_send(n.near, n.FAR)
    yield
    _no_xfrm(n.router)


# ---- other devices ----


@scenario("bridge")
def bridge(lab: Lab) -> Steps:
    """ping between two hosts on a bridge; ARP first."""
    names = ("kp-b1", "kp-sw", "kp-b2")
    net.remove_namespaces(*names)
    one, switch, two = net.make_namespaces(*names)
    net.ip_batch([
        f"link add w1 address 02:00:00:03:00:01 netns {one.name} type veth peer name p1 netns {switch.name}",
        f"link add w2 address 02:00:00:03:00:02 netns {two.name} type veth peer name p2 netns {switch.name}",
    ])  # fmt: skip
    switch.ip(
        "link add br0 type bridge forward_delay 0 mcast_snooping 0",
        "link set p1 master br0", "link set p2 master br0",
        "link set br0 up", "link set p1 up", "link set p2 up",
    )  # fmt: skip
    one.ip("addr add 10.4.0.1/24 dev w1", "link set w1 up")
    two.ip("addr add 10.4.0.2/24 dev w2", "link set w2 up")
    settle(0.5)
    yield
    expect(net.ping(one, "10.4.0.2"), "no answer over the bridge")
    yield
    net.remove_namespaces(*names)


@scenario("vlan")
def vlan(lab: Lab) -> Steps:
    """ping to the router over a VLAN."""
    n = lab.routed
    n.near.ip("link add link va name va.5 type vlan id 5", "addr add 10.5.0.1/24 dev va.5", "link set va.5 up")
    n.router.ip("link add link ra name ra.5 type vlan id 5", "addr add 10.5.0.2/24 dev ra.5", "link set ra.5 up")
    settle()
    yield
    expect(net.ping(n.near, "10.5.0.2"), "no answer over the VLAN")
    yield
    n.near.ip("link del va.5")
    n.router.ip("link del ra.5")


@scenario("ipip")
def ipip(lab: Lab) -> Steps:
    """ping through an IPIP tunnel between the two hosts."""
    n = lab.routed
    n.near.ip(
        f"link add t0 type ipip local {n.NEAR} remote {n.FAR}", "addr add 10.6.0.1/24 dev t0", "link set t0 up"
    )
    n.far.ip(
        f"link add t0 type ipip local {n.FAR} remote {n.NEAR}", "addr add 10.6.0.2/24 dev t0", "link set t0 up"
    )
    settle()
    yield
    expect(net.ping(n.near, "10.6.0.2"), "no answer through the tunnel")
    yield
    n.near.ip("link del t0")
    n.far.ip("link del t0")


@scenario("qdisc")
def qdisc(lab: Lab) -> Steps:
    """A datagram out of a device with a queue."""
    n = lab.routed
    with n.near.inside():
        subprocess.run(["tc", "qdisc", "add", "dev", "va", "root", "pfifo"], check=True)
    yield
    expect(net.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield
    with n.near.inside():
        subprocess.run(["tc", "qdisc", "del", "dev", "va", "root"], check=True)


# ---- two cards ----


@scenario("nics-ping", net.have_cards)
def nics_ping(lab: Lab) -> Steps:
    """ping from an e1000 to a virtio-net card."""
    c = lab.cards
    yield
    expect(net.ping(c.left, c.RIGHT), "no answer")
    yield


@scenario("nics-udp", net.have_cards)
def nics_udp(lab: Lab) -> Steps:
    """A datagram from card to card, to an open and to a closed port."""
    c = lab.cards
    yield
    expect(net.udp(c.left, c.right, c.RIGHT) == 1, "lost")
    net.udp_send(c.right, c.LEFT)
    yield


@scenario("nics-tcp", net.have_cards)
def nics_tcp(lab: Lab) -> Steps:
    """A TCP connection from card to card: segmentation by the card, GRO."""
    c = lab.cards
    yield
    expect(net.tcp(c.left, c.right, c.RIGHT, 30_000, 10_000), "lost")
    yield


# ---- many at once ----


def at_once(*jobs: Callable[[], object]) -> None:
    """Run each in a thread on a CPU of its own."""
    cpus = sorted(os.sched_getaffinity(0))
    failed: list[BaseException] = []

    def run(job: Callable[[], object], cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        try:
            job()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(job, cpus[i % len(cpus)])) for i, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _spin(seconds: float) -> None:
    """Be in userspace: interrupts that come meanwhile, and their softirqs, run on the stack of this task."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def _mixture(a: net.Netns, b: net.Netns, to: str, port: int, seed: int, rounds: int) -> None:
    """Many different system calls from one task, in an order that repeats: each leaves its traces on the stack."""
    choose = random.Random(seed)
    jobs: list[Callable[[], object]] = [
        lambda: net.udp(a, b, to, 100, port),
        lambda: net.udp(a, b, to, 3000, port),
        lambda: net.udp_send(a, to),
        lambda: net.udp_send(a, to, ttl=1),
        lambda: net.tcp(a, b, to, choose.randrange(1, 5000), choose.randrange(1, 3000), port),
        lambda: net.tcp(a, a, "127.0.0.1", 100, 100, port),
        lambda: net.udp(a, a, "127.0.0.1", 100, port),
        lambda: net.raw(a, to),
        lambda: net.ping(a, to, seed),
        lambda: net.ping_socket(a, to),
        lambda: _spin(0.004),
    ]
    for _ in range(rounds):
        choose.choice(jobs)()


@scenario("many-syscalls", busy=True)
def many_syscalls(lab: Lab) -> Steps:
    """One task makes many different system calls, in an order that looks like chance."""
    n = lab.routed
    yield
    _mixture(n.near, n.far, n.FAR, 6000, 1, 80)
    yield


@scenario("two-cpus", busy=True)
def two_cpus(lab: Lab) -> Steps:
    """Both hosts do many things at once, each on a CPU of its own."""
    n = lab.routed
    yield
    at_once(
        lambda: _mixture(n.near, n.far, n.FAR, 6001, 2, 40),
        lambda: _mixture(n.far, n.near, n.NEAR, 6002, 3, 40),
        lambda: _spin(0.5),
        lambda: _spin(0.5),
    )
    yield


@scenario("nics-busy", net.have_cards, busy=True)
def nics_busy(lab: Lab) -> Steps:
    """Both cards receive as much as they can while tasks compute: polls on top of whatever runs."""
    c = lab.cards
    yield
    at_once(
        lambda: _mixture(c.left, c.right, c.RIGHT, 6003, 4, 25),
        lambda: _mixture(c.right, c.left, c.LEFT, 6004, 5, 25),
        lambda: net.udp_flood(c.left, c.RIGHT, 200),
        lambda: _spin(0.5),
    )
    yield
