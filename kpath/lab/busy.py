"""So much at once that no two runs are alike."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

from kpath.lab import traffic
from kpath.lab.declare import Steps, scenario
from kpath.lab.netns import Netns
from kpath.lab.topology import Cards, Routed, cards, routed


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


def _mixture(a: Netns, b: Netns, to: str, port: int, seed: int, rounds: int) -> None:
    """Many different system calls from one task, in an order that repeats: each leaves its traces on the stack."""
    choose = random.Random(seed)
    jobs: list[Callable[[], object]] = [
        lambda: traffic.udp(a, b, to, 100, port),
        lambda: traffic.udp(a, b, to, 3000, port),
        lambda: traffic.udp_send(a, to),
        lambda: traffic.udp_send(a, to, ttl=1),
        lambda: traffic.tcp(a, b, to, choose.randrange(1, 5000), choose.randrange(1, 3000), port),
        lambda: traffic.tcp(a, a, "127.0.0.1", 100, 100, port),
        lambda: traffic.udp(a, a, "127.0.0.1", 100, port),
        lambda: traffic.raw(a, to),
        lambda: traffic.ping(a, to, seed),
        lambda: traffic.ping_socket(a, to),
        lambda: _spin(0.004),
    ]
    for _ in range(rounds):
        choose.choice(jobs)()


@scenario("many-syscalls", routed, busy=True)
def many_syscalls(n: Routed) -> Steps:
    """One task makes many different system calls, in an order that looks like chance."""
    yield
    _mixture(n.near, n.far, n.FAR, 6000, 1, 80)
    yield


@scenario("two-cpus", routed, busy=True)
def two_cpus(n: Routed) -> Steps:
    """Both hosts do many things at once, each on a CPU of its own."""
    yield
    at_once(
        lambda: _mixture(n.near, n.far, n.FAR, 6001, 2, 40),
        lambda: _mixture(n.far, n.near, n.NEAR, 6002, 3, 40),
        lambda: _spin(0.5),
        lambda: _spin(0.5),
    )
    yield


@scenario("nics-busy", cards, busy=True)
def nics_busy(c: Cards) -> Steps:
    """Both cards receive as much as they can while tasks compute: polls on top of whatever runs."""
    yield
    at_once(
        lambda: _mixture(c.left, c.right, c.RIGHT, 6003, 4, 25),
        lambda: _mixture(c.right, c.left, c.LEFT, 6004, 5, 25),
        lambda: traffic.udp_flood(c.left, c.RIGHT, 200),
        lambda: _spin(0.5),
    )
    yield
