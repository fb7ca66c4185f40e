"""``python -m kpath.cli.demo`` (``make demo``): two hosts and a router in network namespaces, watched by kpath.

Nothing outside these namespaces is touched, and they are removed at the end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import click

NEAR, ROUTER, FAR = "kpath-near", "kpath-router", "kpath-far"
FAR_ADDRESS = "10.2.0.1"
READY_TIMEOUT = 900.0
"""Seconds; a guest without hardware virtualisation on a busy machine takes minutes."""
PAUSE = 1.5
"""Seconds from a packet to its tree on the screen, at most."""
BETWEEN = 0.7
"""Seconds between two packets while the dashboard is open."""

FILTER = "icmp or udp or tcp[tcpflags] & tcp-syn != 0"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

INTRODUCTION = f"""\
A host {NEAR} (10.1.0.1) reaches {FAR} ({FAR_ADDRESS}) through {ROUTER}:
three network namespaces, joined by veth. kpath puts probes on the functions of
the running kernel that packets go through. This takes a moment."""

LEGEND = """\
Each journey below is one packet, from its making to its end, and each part of it
one pass through one namespace's stack. Indented is what was called. Times are since
the packet was first seen."""

TOUR = """
Then the dashboard opens, and packets come every second: pings, datagrams to a
closed port, TCP connections. Try there
  enter      the packet's tree, and  right left  through it step by step
  3          what was dropped, where and why
  4          the document, lighting up where packets go
  space ?    hold still, all keys
  q          the end
"""

FAREWELL = "That was the demo. Your own packets: kpath watch IFACE; what they should do: kpath flows."


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tui/--plain", default=None, help="The dashboard, until q; or trees of text, which end by themselves. "
              "By default the dashboard in a terminal.")
def main(tui: bool | None) -> None:
    """Show the paths of a few packets from a host over a router to another host, all on this machine."""
    if os.geteuid() != 0:
        raise click.ClickException("the demo needs root for probes and namespaces: sudo python -m kpath.cli.demo")
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if tui is None:
        tui = terminal
    click.echo(INTRODUCTION)
    if tui:
        click.echo(TOUR)
        with network(), watching("--tui") as process:
            play(process)
    else:
        with network(), watching("--plain"):
            click.echo(LEGEND)
            step("ping: the neighbours are not known yet, so the packet waits for ARP, twice; then the answer.", ping)
            step("A UDP datagram to a port that nobody listens on: dropped, with the reason, and answered.", udp)
            step("A TCP connection is opened: SYN and SYN-ACK (the other segments are filtered out).", tcp)
    click.echo(f"\n{FAREWELL}")


def step(title: str, traffic: Callable[[], object]) -> None:
    """Announce, make traffic, and wait for its trees."""
    click.echo("\n" + click.style(f"### {title}", bold=True))
    traffic()
    time.sleep(PAUSE)


def play(process: subprocess.Popen[bytes]) -> None:
    """Make traffic until the dashboard is closed."""
    for traffic in cycle((ping, udp, tcp)):
        with suppress(OSError):  # a connection that did not come about is a packet's path, too
            traffic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(BETWEEN)
            return


# ---- watching ----


@contextmanager
def watching(how: str) -> Iterator[subprocess.Popen[bytes]]:
    """``kpath watch any`` runs meanwhile in this terminal."""
    with tempfile.TemporaryDirectory(prefix="kpath-demo-") as directory:
        ready = Path(directory, "ready")
        watch = ["watch", "any", how, "-f", FILTER, "--ready-file", str(ready)]
        # Ctrl-C in the dashboard is one of its keys; before it is there, it is for both.
        process = subprocess.Popen([sys.executable, "-m", "kpath.cli.main", *watch])
        try:
            _wait_for(ready, process)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            with suppress(KeyboardInterrupt):
                process.wait()


def _wait_for(ready: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while not ready.exists():
        status = process.poll()
        if status is not None:
            raise SystemExit(status or 1)  # it has said why
        if time.monotonic() > deadline:
            raise click.ClickException(f"kpath watch was not ready within {READY_TIMEOUT:.0f} s")
        time.sleep(0.1)


# ---- the network ----


@contextmanager
def network() -> Iterator[None]:
    """The three namespaces."""
    remove()
    try:
        _ip([f"netns add {name}" for name in (NEAR, ROUTER, FAR)])
        for name in (NEAR, ROUTER, FAR):
            with _inside(name):
                for which in ("all", "default"):
                    with suppress(OSError):  # a kernel without IPv6
                        Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
        with _inside(ROUTER):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        _ip([
            f"link add near netns {NEAR} type veth peer name left netns {ROUTER}",
            f"link add far netns {FAR} type veth peer name right netns {ROUTER}",
        ])  # fmt: skip
        _ip(["addr add 10.1.0.1/24 dev near", "link set near up", "route add default via 10.1.0.2"], NEAR)
        _ip([
            "addr add 10.1.0.2/24 dev left", "link set left up", "addr add 10.2.0.2/24 dev right", "link set right up",
        ], ROUTER)  # fmt: skip
        _ip([f"addr add {FAR_ADDRESS}/24 dev far", "link set far up", "route add default via 10.2.0.2"], FAR)
        yield
    finally:
        remove()


def remove() -> None:
    """Remove the namespaces that are there."""
    there = [name for name in (NEAR, ROUTER, FAR) if Path("/run/netns", name).exists()]
    if there:
        _ip([f"netns del {name}" for name in there])


def _ip(lines: Sequence[str], netns: str = "") -> None:
    command = ["ip", *(["-n", netns] if netns else []), "-batch", "-"]
    try:
        done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise click.ClickException("the program ip is missing: install iproute2") from error
    if done.returncode:
        raise click.ClickException(f"the demo's network cannot be made: {done.stderr.strip()}")


@contextmanager
def _inside(netns: str) -> Iterator[None]:
    """The calling thread is in the namespace meanwhile; a socket made there stays there."""
    with Path("/proc/thread-self/ns/net").open() as home, Path("/run/netns", netns).open() as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# ---- traffic ----


def ping() -> None:
    """One echo request from near to far."""
    subprocess.run(
        ["ip", "netns", "exec", NEAR, "ping", "-c", "1", "-W", "10", FAR_ADDRESS],
        stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def udp() -> None:
    """A datagram to a closed port."""
    with _inside(NEAR), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"anybody there?", (FAR_ADDRESS, 9999))


def tcp() -> None:
    """A connection, a few bytes, and its end."""
    with _inside(FAR):
        listener = socket.create_server((FAR_ADDRESS, 8080))
    with listener, _inside(NEAR), socket.create_connection((FAR_ADDRESS, 8080), timeout=20) as client:
        server, _ = listener.accept()
        with server:
            client.sendall(b"hello")
            server.recv(5)


if __name__ == "__main__":
    main()
