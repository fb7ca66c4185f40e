"""The networks that scenarios are played in.

Neighbours are known from the start unless a scenario wants to see ARP, and IPv6 is off: what is not asked for is
not sent.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kpath.lab.declare import Topology
from kpath.lab.errors import LabSetupError
from kpath.lab.needs import CARDS, module
from kpath.lab.netns import (
    TIMEOUT,
    Netns,
    ip_batch,
    make_namespaces,
    remove_namespaces,
    wait_for_carrier,
    wait_for_link,
)

VETH = module("veth")


@dataclass(frozen=True, slots=True)
class Routed:
    """near (10.1.0.1) → router (10.1.0.2, 10.2.0.2) → far (10.2.0.1), over veth."""

    near: Netns
    router: Netns
    far: Netns

    NEAR = "10.1.0.1"
    FAR = "10.2.0.1"

    @property
    def all(self) -> tuple[Netns, Netns, Netns]:
        """In the order of the way."""
        return self.near, self.router, self.far

    def know_neighbours(self) -> None:
        """No ARP from now on."""
        self.near.ip("neigh replace 10.1.0.2 lladdr 02:00:00:01:00:02 dev va nud permanent")
        self.router.ip(
            "neigh replace 10.1.0.1 lladdr 02:00:00:01:00:01 dev ra nud permanent",
            "neigh replace 10.2.0.1 lladdr 02:00:00:02:00:01 dev rb nud permanent",
        )
        self.far.ip("neigh replace 10.2.0.2 lladdr 02:00:00:02:00:02 dev vb nud permanent")

    def forget_neighbours(self) -> None:
        """The next packet needs ARP."""
        for netns in self.all:
            netns.ip("neigh flush all nud permanent", "neigh flush all")


@contextlib.contextmanager
def _routed(prefix: str) -> Iterator[Routed]:
    """Two hosts and a router between them; the namespaces are ``<prefix>-near`` and so on."""
    names = [f"{prefix}-{role}" for role in ("near", "router", "far")]
    remove_namespaces(*names)
    try:
        near, router, far = make_namespaces(*names)
        ip_batch([
            f"link add va address 02:00:00:01:00:01 netns {near.name} type veth"
            f" peer name ra address 02:00:00:01:00:02 netns {router.name}",
            f"link add vb address 02:00:00:02:00:01 netns {far.name} type veth"
            f" peer name rb address 02:00:00:02:00:02 netns {router.name}",
        ])  # fmt: skip
        near.ip("addr add 10.1.0.1/24 dev va", "link set va up", "route add default via 10.1.0.2")
        far.ip("addr add 10.2.0.1/24 dev vb", "link set vb up", "route add default via 10.2.0.2")
        router.ip(
            "addr add 10.1.0.2/24 dev ra", "link set ra up", "addr add 10.2.0.2/24 dev rb", "link set rb up"
        )
        router.sysctl(ipv4__ip_forward=1)
        net = Routed(near, router, far)
        wait_for_carrier((near, "va"), (router, "ra"), (router, "rb"), (far, "vb"))
        net.know_neighbours()
        yield net
    finally:
        remove_namespaces(*names)


@dataclass(frozen=True, slots=True)
class Cards:
    """left (10.3.0.1 on eth0, e1000) and right (10.3.0.2 on eth1, virtio-net): two real drivers on one wire."""

    left: Netns
    right: Netns
    left_link: str
    right_link: str
    """Their link addresses."""

    LEFT = "10.3.0.1"
    RIGHT = "10.3.0.2"

    def know_neighbours(self) -> None:
        """No ARP from now on."""
        self.left.ip(f"neigh replace {self.RIGHT} lladdr {self.right_link} dev eth0 nud permanent")
        self.right.ip(f"neigh replace {self.LEFT} lladdr {self.left_link} dev eth1 nud permanent")

    @property
    def all(self) -> tuple[Netns, Netns]:
        """Left and right."""
        return self.left, self.right


@contextlib.contextmanager
def _cards(prefix: str) -> Iterator[Cards]:
    """Each of the guest's two cards in a namespace of its own."""
    names = [f"{prefix}-left", f"{prefix}-right"]
    remove_namespaces(*names)
    mac = {name: _mac(name) for name in ("eth0", "eth1")}
    try:
        left, right = make_namespaces(*names)
        ip_batch([f"link set eth0 netns {left.name}", f"link set eth1 netns {right.name}"])
        left.ip("addr add 10.3.0.1/24 dev eth0", "link set eth0 up")
        right.ip("addr add 10.3.0.2/24 dev eth1", "link set eth1 up")
        wait_for_carrier((left, "eth0"), (right, "eth1"))
        both = Cards(left, right, mac["eth0"], mac["eth1"])
        both.know_neighbours()
        yield both
    finally:
        remove_namespaces(*names)


def _mac(card: str) -> str:
    """Its address. A card comes back from a namespace some time after that was removed."""
    address = Path(f"/sys/class/net/{card}/address")
    deadline = time.monotonic() + TIMEOUT
    while not address.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        return address.read_text().strip()
    except OSError as error:
        raise LabSetupError(f"the card {card} is gone: {error.strerror}.") from error


@dataclass(frozen=True, slots=True)
class Bridged:
    """one (10.4.0.1) and two (10.4.0.2) on a bridge in switch."""

    one: Netns
    switch: Netns
    two: Netns

    ONE = "10.4.0.1"
    TWO = "10.4.0.2"

    @property
    def all(self) -> tuple[Netns, Netns, Netns]:
        """In the order of the way."""
        return self.one, self.switch, self.two

    def forget_neighbours(self) -> None:
        """The next packet needs ARP."""
        for host in (self.one, self.two):
            host.ip("neigh flush all nud permanent", "neigh flush all")


@contextlib.contextmanager
def _bridged(prefix: str) -> Iterator[Bridged]:
    """Two hosts and a bridge between them."""
    names = [f"{prefix}-{role}" for role in ("b1", "sw", "b2")]
    remove_namespaces(*names)
    try:
        one, switch, two = make_namespaces(*names)
        ip_batch([
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
        wait_for_carrier((one, "w1"), (switch, "br0"), (two, "w2"))
        for port in ("p1", "p2"):
            wait_for_link(switch, port, "state forwarding")
        yield Bridged(one, switch, two)
    finally:
        remove_namespaces(*names)


@dataclass(frozen=True, slots=True)
class Bonded:
    """one (10.7.0.1) and two (10.7.0.2), each with a bond of two links to the other; the first link is in use."""

    one: Netns
    two: Netns

    ONE = "10.7.0.1"
    TWO = "10.7.0.2"

    @property
    def all(self) -> tuple[Netns, Netns]:
        """One and two."""
        return self.one, self.two


@contextlib.contextmanager
def _bonded(prefix: str) -> Iterator[Bonded]:
    names = [f"{prefix}-o1", f"{prefix}-o2"]
    remove_namespaces(*names)
    try:
        one, two = make_namespaces(*names)
        ip_batch(
            [f"link add s{i} netns {one.name} type veth peer name s{i} netns {two.name}" for i in (1, 2)]
        )
        for host, number in ((one, 1), (two, 2)):
            # No gratuitous ARP: it would come some time after the link is up.
            host.ip(
                f"link add bond0 address 02:00:00:07:00:0{number} type bond"
                " mode active-backup miimon 50 num_grat_arp 0",
                "link set s1 master bond0", "link set s2 master bond0",
                f"addr add 10.7.0.{number}/24 dev bond0", "link set bond0 up",
                f"neigh add 10.7.0.{3 - number} lladdr 02:00:00:07:00:0{3 - number} dev bond0 nud permanent",
            )  # fmt: skip
        for host in (one, two):
            wait_for_link(host, "bond0", "state UP", "active_slave")
            host.ip("link set bond0 type bond active_slave s1")
            wait_for_link(host, "bond0", "active_slave s1")
        yield Bonded(one, two)
    finally:
        remove_namespaces(*names)


routed = Topology(
    "routed", "two hosts and a router between them, over veth", _routed, ("near", "router", "far"), (VETH,)
)
cards = Topology("cards", "two hosts with a real card each, on one wire", _cards, ("left", "right"), (CARDS,))
bridged = Topology("bridged", "two hosts on a bridge", _bridged, ("b1", "sw", "b2"), (VETH, module("bridge")))
bonded = Topology("bonded", "two hosts with a bond of two links", _bonded, ("o1", "o2"), (VETH, module("bonding")))
