"""Devices on top of, or between, other devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab import ethtool, traffic
from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.needs import module
from kpath.lab.netns import Netns, wait_for_carrier
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


@contextmanager
def spread(netns: Netns, device: str) -> Iterator[None]:
    """What the device receives is handed on to the second CPU (RPS)."""

    def cpus(mask: int) -> None:
        # ip netns exec mounts the namespace's own /sys, where its devices are.
        path = f"/sys/class/net/{device}/queues/rx-0/rps_cpus"
        netns.run("ip", "netns", "exec", netns.name, "sh", "-c", f"echo {mask} > {path}")

    cpus(2)
    try:
        yield
    finally:
        cpus(0)


@contextmanager
def _on_the_bridge(b: Bridged) -> Iterator[str]:
    """The bridge's host has an address in the network; no link address is known."""
    address = "10.4.0.9"
    b.switch.ip(f"addr add {address}/24 dev br0")
    b.forget_neighbours()
    yield address
    b.switch.ip(f"addr del {address}/24 dev br0", "neigh flush all")
    b.forget_neighbours()


@scenario("bridge-host", bridged, exercises={"linux-6": ("br_dev_xmit", "br_pass_frame_up", "netif_receive_skb")})
def bridge_host(b: Bridged) -> Steps:
    """ping from the bridge itself to a host on it; ARP first."""
    with _on_the_bridge(b):
        yield
        expect(traffic.ping(b.switch, b.ONE), "no answer over the bridge")
        yield


@scenario("bridge-host-rps", bridged, exercises={"linux-6": ("netif_receive_skb", "@enqueue_to_backlog")})
def bridge_host_rps(b: Bridged) -> Steps:
    """ping to the bridge itself, which hands on what it receives to the second CPU (RPS)."""
    with _on_the_bridge(b) as address, spread(b.switch, "br0"):
        yield
        expect(traffic.ping(b.one, address), "no answer from the bridge")
        yield


# Not promised: before 5.13 a veth device polls only for an XDP program (d3256efd8e8b).
@scenario("veth-gro", routed)
def veth_gro(n: Routed) -> Steps:
    """A TCP connection to a veth device that polls, and merges the segments that another has cut."""
    with ethtool.gro(n.far, "vb", True), ethtool.tso(n.router, "rb", False):
        yield
        expect(traffic.tcp(n.near, n.far, n.FAR, 6000, 0, port=7811), "lost")
        yield
