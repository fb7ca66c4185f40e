"""How kpath's cost grows: with the functions that it probes, with flows, and with distinct paths.

Run it in a guest that counts instructions as time, as benchmarks/cost.py, whose network and way of measuring this uses:

    python -m kpath.guest run --kernel 6.12 --icount --cpus 1 -- python benchmarks/growth.py

Each row is measured against the same packets without probes. A flow is a socket of its own; a path of its own is taken
by what goes to another device of the router.
"""

from __future__ import annotations

import argparse
import os
import resource
from collections.abc import Iterator

from cost import BATCH, Bench, Load, Row, shell

from kpath.capture.plan import PLAN, PLAN_BY_NAME
from kpath.capture.program import Sizes
from kpath.capture.session import Options

FEW = ("ip_rcv", "ip_forward", "ip_output", "ip_finish_output2", "__dev_queue_xmit")
IP = tuple(planned.name for planned in PLAN if planned.name.startswith(("ip_", "__ip_", "udp_", "__udp_")))
FLOWS, PATHS = (32, 1024), (8, 32)
TARGETS = ["10.2.0.1", *(f"10.3.{number}.1" for number in range(1, max(PATHS)))]


def devices(paths: int) -> None:
    """More ways from the router to the far host."""
    for number in range(1, paths):
        shell(f"ip link add vb{number} netns kb-b type veth peer name rb{number} netns kb-r")
        shell(f"ip -n kb-b addr add 10.3.{number}.1/24 dev vb{number} && ip -n kb-b link set vb{number} up")
        shell(f"ip -n kb-r addr add 10.3.{number}.2/24 dev rb{number} && ip -n kb-r link set rb{number} up")


def measure(bench: Bench) -> Iterator[tuple[str, Row]]:
    """All rows, each with what it is about."""
    devices(max(PATHS))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def row(mode: str, names: tuple[str, ...] = (), flows: int = 1, paths: int = 1) -> Row:
        bench.load.close()
        bench.load, bench.bare = Load([TARGETS[number % paths] for number in range(flows)]), float("inf")
        bench.load.run(max(flows, paths) + BATCH)  # neighbours and routes are found
        plan = tuple(PLAN_BY_NAME[name] for name in names) or PLAN
        return bench.kpath(mode, Options(sizes=Sizes(ring_bytes=64 << 20), mode=mode, plan=plan))

    for mode in ("events", "paths"):
        if mode == "events":  # paths are counted at their end, which needs the functions that free and send
            yield "five functions", row(mode, FEW)
            yield f"{len(IP)} planned functions", row(mode, IP)
        yield "all functions", row(mode)
        for flows in FLOWS:
            yield f"all, {flows} flows", row(mode, flows=flows)
        for paths in PATHS:
            yield f"all, {paths} ways", row(mode, flows=paths, paths=paths)


def main() -> None:
    """Prints a line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    bench = Bench(arguments.packets, arguments.rounds)
    print(f"Linux {os.uname().release}")
    for what, row in measure(bench):
        per_hit = row.packet / row.hits if row.hits else float("nan")
        cost = f"{row.hits:6.1f} hits {per_hit:7.0f} a hit {row.packet:9.0f} a packet"
        print(f"{row.what:16} {what:24} {cost}  {row.remark}", flush=True)


if __name__ == "__main__":
    main()
