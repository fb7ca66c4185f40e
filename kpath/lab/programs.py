"""Filters and programs on a device: TC and XDP, which see a packet before the stack or after it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from kpath.lab import traffic, xdp
from kpath.lab.bpf import BPF
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import TC, Need, module
from kpath.lab.netns import Netns
from kpath.lab.topology import Routed, routed

CLS = (TC, module("sch_ingress"), module("cls_matchall"))
GACT, MIRRED = module("act_gact"), module("act_mirred")


@cache
def _classifiers_are_seen() -> bool:
    # 5.10 has tcf_classify_ingress, which has no probe: without its frame, a redirect looks like a wrong turn.
    try:
        return re.search(r" tcf_classify_ingress$", Path("/proc/kallsyms").read_text(), re.MULTILINE) is None
    except OSError:
        return True


SEEN_ON_THE_WAY_IN = Need("a kernel whose classifiers on the way in can be seen", _classifiers_are_seen)


@contextmanager
def classifier(netns: Netns, device: str, way: str, *action: str) -> Iterator[None]:
    """An action for all packets of a device on their way in ("ingress") or out ("egress")."""
    netns.run("tc", "qdisc", "add", "dev", device, "clsact")
    try:
        netns.run("tc", "filter", "add", "dev", device, way, "matchall", "action", *action)
        yield
    finally:
        netns.run("tc", "qdisc", "del", "dev", device, "clsact")


@contextmanager
def same_address(n: Routed) -> Iterator[None]:
    """The far host's device has the link address of the router's near one, so that it takes what was meant for that."""
    n.far.ip("link set vb address 02:00:00:01:00:02")
    try:
        yield
    finally:
        n.far.ip("link set vb address 02:00:00:02:00:01")
        n.know_neighbours()  # forgotten with the address (net/core/neighbour.c:neigh_changeaddr)


@scenario("tc-ingress-drop", routed, needs=(*CLS, GACT), exercises={"linux-6": ("__netif_receive_skb_core",)})
def tc_ingress_drop(n: Routed) -> Steps:
    """A classifier of the router drops a datagram on its way in."""
    with classifier(n.router, "ra", "ingress", "drop"):
        yield
        traffic.udp_send(n.near, n.FAR)
        yield


@scenario("tc-egress-drop", routed, needs=(*CLS, GACT), exercises={"linux-6": ("tcf_classify",)})
def tc_egress_drop(n: Routed) -> Steps:
    """A classifier of the router drops a datagram on its way out."""
    with classifier(n.router, "rb", "egress", "drop"):
        yield
        traffic.udp_send(n.near, n.FAR)
        yield


@scenario("tc-pass", routed, needs=(*CLS, GACT), exercises={"linux-6": ("tcf_classify", "@ip_forward")})
def tc_pass(n: Routed) -> Steps:
    """Classifiers of the router look at a datagram on its way in and on its way out, and let it pass."""
    with classifier(n.router, "ra", "ingress", "pass"), classifier(n.router, "rb", "egress", "pass"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario("tc-redirect", routed, needs=(*CLS, MIRRED, SEEN_ON_THE_WAY_IN), exercises={"linux-6": ("tcf_classify",)})
def tc_redirect(n: Routed) -> Steps:
    """A classifier of the router sends a datagram straight out of the other device, past IP."""
    with same_address(n), classifier(n.router, "ra", "ingress", "mirred", "egress", "redirect", "dev", "rb"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario("tc-other-device", routed, needs=(*CLS, MIRRED, SEEN_ON_THE_WAY_IN), exercises={"linux-6": ("tcf_classify",)})
def tc_other_device(n: Routed) -> Steps:
    """A classifier of the router makes a datagram come in by another device, which then receives it."""
    n.router.ip("link add d0 type dummy", "link set d0 up")
    with classifier(n.router, "ra", "ingress", "mirred", "ingress", "redirect", "dev", "d0"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield
    n.router.ip("link del d0")


# do_xdp_generic is not promised: where the compiler has put it into its caller, as in 5.10, it is not seen.
@scenario("xdp-drop", routed, needs=(BPF,))
def xdp_drop(n: Routed) -> Steps:
    """A generic XDP program of the router drops a datagram."""
    with xdp.generic(n.router, "ra", xdp.DROP):
        yield
        traffic.udp_send(n.near, n.FAR)
        yield


@scenario("xdp-pass", routed, needs=(BPF,), exercises={"linux-6": ("@ip_forward",)})
def xdp_pass(n: Routed) -> Steps:
    """A generic XDP program of the router lets a datagram pass."""
    with xdp.generic(n.router, "ra", xdp.PASS):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario("xdp-redirect", routed, needs=(BPF,), exercises={"linux-6": ("veth_xmit",)})
def xdp_redirect(n: Routed) -> Steps:
    """A generic XDP program of the router sends a datagram straight out of the other device, past everything."""
    with same_address(n), xdp.generic(n.router, "ra", xdp.redirect(n.router.ifindex("rb"))):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield
