"""Devices on top of, or between, other devices."""

from __future__ import annotations

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.needs import module
from kpath.lab.netns import wait_for_carrier
from kpath.lab.topology import Bonded, Bridged, Routed, bonded, bridged, routed


@scenario("bridge", bridged, exercises={"linux-6": ("br_handle_frame", "br_forward", "br_dev_queue_push_xmit")})
def bridge(b: Bridged) -> Steps:
    """ping between two hosts on a bridge; ARP first."""
    b.forget_neighbours()
    yield
    expect(traffic.ping(b.one, b.TWO), "no answer over the bridge")
    yield


@scenario("vlan", routed, needs=(module("8021q"),))
def vlan(n: Routed) -> Steps:
    """ping to the router over a VLAN."""
    n.near.ip("link add link va name va.5 type vlan id 5", "addr add 10.5.0.1/24 dev va.5", "link set va.5 up")
    n.router.ip("link add link ra name ra.5 type vlan id 5", "addr add 10.5.0.2/24 dev ra.5", "link set ra.5 up")
    settle()
    yield
    expect(traffic.ping(n.near, "10.5.0.2"), "no answer over the VLAN")
    yield
    n.near.ip("link del va.5")
    n.router.ip("link del ra.5")


@scenario("bond", bonded, exercises={"linux-6": ("bond_handle_frame", "bond_start_xmit")})
def bond(b: Bonded) -> Steps:
    """ping over a bond of two links, of which one is used and the other is a spare (active-backup)."""
    yield
    expect(traffic.ping(b.one, b.TWO), "no answer over the bond")
    yield


@scenario("macvlan", routed, needs=(module("macvlan"),), exercises={"linux-6": ("macvlan_handle_frame",)})
def macvlan(n: Routed) -> Steps:
    """ping to a macvlan device on top of the router's, and its answer."""
    n.near.ip("addr add 10.12.0.1/24 dev va", "neigh add 10.12.0.2 lladdr 02:00:00:0c:00:02 dev va nud permanent")
    n.router.ip(
        "link add link ra name ra.m address 02:00:00:0c:00:02 type macvlan mode bridge",
        "addr add 10.12.0.2/24 dev ra.m", "link set ra.m up",
        "neigh add 10.12.0.1 lladdr 02:00:00:01:00:01 dev ra.m nud permanent",
    )  # fmt: skip
    wait_for_carrier((n.router, "ra.m"))
    yield
    expect(traffic.ping(n.near, "10.12.0.2"), "no answer from the macvlan")
    yield
    n.router.ip("link del ra.m")
    n.near.ip("neigh del 10.12.0.2 dev va", "addr del 10.12.0.1/24 dev va")
