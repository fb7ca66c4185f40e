"""What kpath costs the kernel, in instructions per hit and per packet.

Run it in a guest that counts instructions as time (one virtual nanosecond is one instruction):

    python -m kpath.guest run --kernel 6.12 --icount --cpus 1 -- python benchmarks/cost.py

A fixed number of UDP packets goes host -> router -> host in a closed loop; the fastest of several rounds counts, less
the same without probes in the same boot. Userspace stands still meanwhile, so this is the kernel side alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from kpath.capture.filter import compile_filter, to_c
from kpath.capture.program import Selection, Sizes
from kpath.capture.session import Options, Session

NETWORK = """
netns add kb-a
netns add kb-r
netns add kb-b
link add va netns kb-a type veth peer name ra netns kb-r
link add vb netns kb-b type veth peer name rb netns kb-r
-n kb-a addr add 10.1.0.1/24 dev va
-n kb-r addr add 10.1.0.2/24 dev ra
-n kb-r addr add 10.2.0.2/24 dev rb
-n kb-b addr add 10.2.0.1/24 dev vb
"""
BATCH = 32
CLONE_NEWNET = 0x40000000


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


def network() -> None:
    """Three namespaces in a row, quiet but for what is sent here."""
    for line in NETWORK.strip().splitlines():
        shell(f"ip {line}")
    for ns, devices in (("kb-a", ("lo", "va")), ("kb-r", ("lo", "ra", "rb")), ("kb-b", ("lo", "vb"))):
        shell(f"ip netns exec {ns} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.ip_forward=1")
        for device in devices:
            shell(f"ip -n {ns} link set {device} up")
    shell("ip -n kb-a route add default via 10.1.0.2")
    shell("ip -n kb-b route add default via 10.2.0.2")


def _setns(fd: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def in_namespace(name: str) -> socket.socket:
    """A UDP socket of that namespace, made by joining it for a moment."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _setns(there)
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    finally:
        _setns(here)
        os.close(here)
        os.close(there)


class Load:
    """A closed loop: sends a batch, then takes it in at the other end."""

    def __init__(self) -> None:
        self._sender, self._receiver = in_namespace("kb-a"), in_namespace("kb-b")
        self._receiver.bind(("10.2.0.1", 9999))
        self._receiver.settimeout(30)
        self._sender.connect(("10.2.0.1", 9999))

    def run(self, packets: int) -> int:
        """ns for so many packets."""
        begin = time.monotonic_ns()
        for _ in range(packets // BATCH):
            for _ in range(BATCH):
                self._sender.send(b"x" * 64)
            for _ in range(BATCH):
                self._receiver.recv(100)
        return time.monotonic_ns() - begin


def best(load: Load, packets: int, rounds: int, between: Callable[[], object] = lambda: None) -> float:
    """ns per packet of the fastest round."""
    times = []
    for _ in range(rounds):
        times.append(load.run(packets) / (packets // BATCH * BATCH))
        between()
    return min(times)


def main() -> None:
    """Prints a table, and with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    shell("modprobe veth")
    network()
    load = Load()
    load.run(64)
    selections = {
        "all events": Selection(),
        "filter that rejects everything": Selection(pcap_c=to_c(compile_filter("host 192.0.2.1"))),
    }
    results = {}
    bare = float("inf")
    for name, selection in selections.items():
        # What an earlier capture leaves behind for the kernel to clean up must not count as bare work.
        bare = min(bare, best(load, arguments.packets, arguments.rounds))
        with ExitStack() as stack:
            session = Session(Options(selection=selection, sizes=Sizes(ring_bytes=64 << 20), backend=arguments.backend))
            session.start()
            stack.callback(session.stop)
            load.run(64)
            before = session.totals()
            probed = best(load, arguments.packets, arguments.rounds, session.poll)
            after = session.totals()
            packets = arguments.packets // BATCH * BATCH * arguments.rounds
            hits = (after.hits - before.hits) / packets
            lost = sum(after.lost.values())
            results[name] = {
                "backend": session.backend,
                "bare": round(bare),
                "probed": round(probed),
                "hits_per_packet": round(hits, 2),
                "per_hit": round((probed - bare) / hits, 1),
                "per_packet": round(probed - bare),
                "lost": lost,
            }
    if arguments.json:
        json.dump(results, sys.stdout)
        return
    for name, r in results.items():
        print(f"{name} ({r['backend']}): {r['per_hit']} ns/hit, {r['hits_per_packet']} hits/packet, "
              f"{r['per_packet']} ns/packet over {r['bare']}; lost {r['lost']}")  # fmt: skip


if __name__ == "__main__":
    main()
