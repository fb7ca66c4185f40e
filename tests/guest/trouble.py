"""Traffic on networks that lose, change and fail meanwhile: what a path may look like when nothing goes well.

No two runs are alike, and none has a right outcome; so these are no scenarios of the lab.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kpath.lab import traffic
from kpath.lab.declare import Scenario, Steps, Topology
from kpath.lab.errors import LabError
from kpath.lab.ipsec import ESP, XFRM, no_xfrm, policy, states
from kpath.lab.needs import NFT, TC, Need, module
from kpath.lab.netns import Netns, make_namespaces, remove_namespaces
from kpath.lab.queues import queue
from kpath.lab.topology import Bonded, Bridged, Cards, Routed, bonded, bridged, cards, routed

TROUBLE: dict[str, Scenario] = {}
NETEM = (TC, module("sch_netem"))
BRIEF = 1.0
"""Seconds for a connection that may not succeed."""


def trouble(topology: Topology[Any], *needs: Need) -> Callable[[Callable[..., Steps]], Scenario]:
    """Declares one, by the name of the function."""

    def add(steps: Callable[..., Steps]) -> Scenario:
        name = steps.__name__.replace("_", "-")
        made = TROUBLE[name] = Scenario(name, "trouble", topology, steps, needs, busy=True, fresh=True)
        return made

    return add


# ---- traffic that may fail ----


def burst(source: Netns, to: str, count: int, size: int = 64, ttl: int = 0) -> None:
    """Datagrams as fast as they go; whether they go is not asked."""
    with source.socket(socket.SOCK_DGRAM) as s:
        s.setblocking(False)
        if ttl:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        for _ in range(count):
            with contextlib.suppress(OSError):
                s.sendto(b"t" * size, (to, 9))


def connection(source: Netns, target: Netns, to: str, data: int, port: int, patience: float = BRIEF) -> None:
    """Data there and the same back, if it works."""

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            server, _ = listener.accept()
            with server:
                server.settimeout(patience)
                left = data
                while left > 0 and (part := server.recv(65536)):
                    left -= len(part)
                server.sendall(b"t" * data)

    with target.socket(socket.SOCK_STREAM) as listener, source.socket(socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(patience)
        client.settimeout(patience)
        thread = threading.Thread(target=serve, args=(listener,))
        with contextlib.suppress(OSError):
            listener.bind((to, port))
            listener.listen(4)
            thread.start()
            client.connect((to, port))
            client.sendall(b"t" * data)
            while client.recv(65536):
                pass
        if thread.ident:
            thread.join()


@contextlib.contextmanager
def meanwhile(*jobs: Callable[[], object]) -> Iterator[None]:
    """Each again and again in a thread of its own, with a little rest."""
    over = threading.Event()

    def run(job: Callable[[], object]) -> None:
        while not over.wait(0.06):
            with contextlib.suppress(OSError):
                job()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def through(n: Routed, port: int) -> tuple[Callable[[], object], ...]:
    """Datagrams, fragments and connections between the two hosts."""
    return (
        lambda: burst(n.near, n.FAR, 3),
        lambda: burst(n.far, n.NEAR, 1, 2500),
        lambda: connection(n.near, n.far, n.FAR, 2000, port),
    )


def change(netns: Netns, *commands: str) -> None:
    """Commands of ip, a moment apart; one that is refused is left out, as others are at work there."""
    for command in commands:
        with contextlib.suppress(LabError):
            netns.ip(command)
        time.sleep(0.08)


# ---- what goes wrong ----


@trouble(routed)
def errors_in_floods(n: Routed) -> Steps:
    """So many packets that cannot be delivered that most ICMP errors about them are not sent."""
    for number, kind in enumerate(("unreachable", "prohibit", "blackhole")):
        n.router.ip(f"route add {kind} 10.66.{number}.0/24")
    yield
    for to in (n.FAR, "10.99.0.1", "10.66.0.1", "10.66.1.1", "10.66.2.1"):
        burst(n.near, to, 25)
    burst(n.near, n.FAR, 25, ttl=1)
    yield


@trouble(routed, *NETEM)
def segments_lost(n: Routed) -> Steps:
    """TCP over links that lose, repeat, swap, delay and corrupt."""
    worse = ("netem", "loss", "10%", "delay", "2ms", "2ms", "duplicate", "5%", "corrupt", "2%")
    with queue(n.router, "ra", *worse), queue(n.router, "rb", *worse):
        yield
        for port in (7801, 7802):
            connection(n.near, n.far, n.FAR, 15_000, port, 5)
        yield


@trouble(routed, *NETEM)
def fragments_lost(n: Routed) -> Steps:
    """Fragments of which some never come; the time for the rest runs out."""
    n.far.sysctl(ipv4__ipfrag_time=1)
    with queue(n.near, "va", "netem", "loss", "25%", "duplicate", "10%", "delay", "1ms"):
        yield
        burst(n.near, n.FAR, 12, 6000)
        time.sleep(2)
        yield


@trouble(routed)
def resets(n: Routed) -> Steps:
    """Connections that are refused, broken off with data under way, never accepted, and idle until a window opens."""
    yield
    for port in range(7900, 7910):
        with n.near.socket(socket.SOCK_STREAM) as client, contextlib.suppress(OSError):
            client.connect((n.FAR, port))
    with n.far.socket(socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind((n.FAR, 7911))
        listener.listen(2)
        for _ in range(5):
            client = n.near.socket(socket.SOCK_STREAM)
            client.connect((n.FAR, 7911))
            server, _ = listener.accept()
            client.setblocking(False)
            with contextlib.suppress(OSError):
                for _ in range(20):
                    client.send(b"t" * 4000)
            time.sleep(0.3)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with contextlib.suppress(OSError):
                server.send(b"too late")
            server.close()
        waiting = [n.near.socket(socket.SOCK_STREAM) for _ in range(8)]
        for client in waiting:
            client.setblocking(False)
            with contextlib.suppress(OSError):
                client.connect((n.FAR, 7911))
        time.sleep(1.2)
    for client in waiting:
        client.close()
    yield


@trouble(routed, NFT, module("nf_conntrack"), module("nft_ct"))
def connections_not_tracked(n: Routed) -> Steps:
    """A router that tracks connections, and has no room for more."""
    most = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    rules = "\n".join((
        "table ip t {", "chain f {", "type filter hook forward priority 0", "ct state established accept", "}", "}",
    ))  # fmt: skip
    n.router.run("nft", "-f", "-", given=rules)
    before = most.read_text()
    yield
    try:
        most.write_text("5")
        for _ in range(30):
            burst(n.near, n.FAR, 2)
        connection(n.near, n.far, n.FAR, 200, 7912)
    finally:
        most.write_text(before)
    connection(n.near, n.far, n.FAR, 200, 7913)
    yield


@trouble(routed)
def neighbours_gone(n: Routed) -> Steps:
    """Nobody answers ARP, or the answer is forgotten at once."""
    n.forget_neighbours()
    yield
    for to in ("10.2.0.77", "10.1.0.77", n.FAR):
        burst(n.near, to, 10)
    with meanwhile(lambda: burst(n.near, n.FAR, 3)):
        for state in ("stale", "probe", "failed", "noarp"):
            change(n.router, "neigh flush dev rb")
            change(n.router, f"neigh replace 10.2.0.1 lladdr 02:00:00:02:00:01 dev rb nud {state}")
    yield


@trouble(routed)
def links_down(n: Routed) -> Steps:
    """Links go down and come back under traffic, and one becomes too small."""
    yield
    with meanwhile(*through(n, 7914)):
        for netns, device in ((n.router, "rb"), (n.far, "vb"), (n.router, "ra"), (n.near, "va")):
            change(netns, f"link set {device} down", f"link set {device} up")
            n.know_neighbours()
            change(n.near, "route replace default via 10.1.0.2")
            change(n.far, "route replace default via 10.2.0.2")
        change(n.router, "link set rb mtu 700", "link set rb mtu 1500")
    yield


@trouble(routed)
def routes_changed(n: Routed) -> Steps:
    """Routes come and go under traffic: of every type, smaller, back where packets came from, to nowhere."""
    yield
    with meanwhile(*through(n, 7915)):
        for kind in ("unreachable", "prohibit", "blackhole", "throw"):
            change(n.router, f"route add {kind} 10.2.0.1/32", f"route del {kind} 10.2.0.1/32")
        change(n.router, "route add 10.2.0.1/32 dev rb mtu 600", "route del 10.2.0.1/32")
        change(n.near, "route add 10.2.0.1/32 via 10.1.0.2 mtu lock 700", "route del 10.2.0.1/32")
        change(n.router, "route add 10.2.0.1/32 via 10.1.0.1", "route del 10.2.0.1/32")
        for forward in (0, 1):
            n.router.sysctl(ipv4__ip_forward=forward)
            time.sleep(0.1)
        change(n.far, "addr del 10.2.0.1/24 dev vb", "addr add 10.2.0.1/24 dev vb")
    yield


@trouble(routed, ESP, XFRM)
def states_deleted(n: Routed) -> Steps:
    """States and policies of IPsec are deleted and made anew under traffic."""
    both = states((n.NEAR, n.FAR, 0x300), (n.FAR, n.NEAR, 0x400), mode="transport")

    def protect() -> None:
        for host, a, b in ((n.near, n.NEAR, n.FAR), (n.far, n.FAR, n.NEAR)):
            change(host, *both, policy("out", a, b, "transport"), policy("in", b, a, "transport"))

    protect()
    yield
    with meanwhile(*through(n, 7916)):
        change(n.far, "xfrm state flush")
        change(n.near, "xfrm state flush", "xfrm policy flush")
        change(n.far, "xfrm policy flush")
        protect()
        change(n.near, "xfrm state deleteall", *both)
    no_xfrm(n.near, n.far)
    yield


@trouble(bridged)
def ports_flap(n: Bridged) -> Steps:
    """Ports leave the bridge and come back, and the bridge itself goes down."""
    yield
    jobs = (lambda: burst(n.one, n.TWO, 3), lambda: connection(n.one, n.two, n.TWO, 2000, 7917))
    with meanwhile(*jobs, lambda: burst(n.switch, n.TWO, 2)):
        change(n.switch, "addr add 10.4.0.9/24 dev br0", "link set p2 down", "link set p2 up")
        change(n.switch, "link set p2 nomaster", "link set p2 master br0", "link set br0 down", "link set br0 up")
    yield


@trouble(bonded)
def slaves_flap(n: Bonded) -> Steps:
    """The link in use of a bond fails, and one leaves it."""
    yield
    with meanwhile(lambda: burst(n.one, n.TWO, 3), lambda: connection(n.one, n.two, n.TWO, 2000, 7918)):
        for host in (n.one, n.two):
            change(host, "link set bond0 type bond active_slave s2", "link set s2 down", "link set s2 up")
        change(n.one, "link set s1 nomaster", "link set s1 down", "link set s1 master bond0")
    yield


@trouble(cards, *NETEM)
def cards_fail(c: Cards) -> Steps:
    """Real drivers: losses, a card that goes down, and one that is given less room."""
    with queue(c.left, "eth0", "netem", "loss", "5%", "delay", "1ms", "duplicate", "5%"):
        yield
        jobs = (lambda: connection(c.left, c.right, c.RIGHT, 10_000, 7919, 3), lambda: burst(c.right, c.LEFT, 2, 2500))
        with meanwhile(*jobs):
            time.sleep(0.5)
            change(c.right, "link set eth1 down", "link set eth1 up", "neigh flush dev eth1")
            change(c.left, "link set eth0 mtu 700", "link set eth0 mtu 1500")
            time.sleep(0.3)
        yield


@trouble(routed)
def namespace_deleted(n: Routed) -> Steps:
    """A host's namespace is deleted while it is talked to."""
    gone = f"{n.near.name}-gone"
    remove_namespaces(gone)
    (host,) = make_namespaces(gone)
    n.router.ip(f"link add rg type veth peer name vg netns {gone}", "addr add 10.8.0.2/24 dev rg", "link set rg up")
    host.ip("addr add 10.8.0.1/24 dev vg", "link set vg up", "route add default via 10.8.0.2")
    yield
    with meanwhile(lambda: burst(n.near, "10.8.0.1", 3), lambda: traffic.udp_send(n.near, "10.8.0.1", 2500)):
        time.sleep(0.3)
        remove_namespaces(gone)
        time.sleep(0.3)
    yield
