"""Losses on other CPUs that cannot have hidden anything of a traversal.

Nobody knows what a lost event was, so in general any loss while a packet lived makes its verdict inconclusive: a task
moves from CPU to CPU, and queues hand packets on. One case is sure: a traversal that is a single call tree on the
interrupt stack of one CPU, from the buffer's first sight to an end after which nothing follows. Such a tree cannot
leave its CPU, each event of that CPU is accounted for, and that nothing came before the first sight is the kernel
side's own word, whatever was lost on the way to userspace.
"""

from __future__ import annotations

from collections.abc import Iterable

from kpath.capture.schema import Flag
from kpath.capture.tables import Loss
from kpath.model.seen import KEEPERS
from kpath.trace.lives import SOCKET_QUEUES
from kpath.trace.traversal import Traversal

ENDS = frozenset({"sent", "delivered", "dropped", "merged"})
"""Ends after which nothing of the traversal follows."""
CPUS = 1 << 16
"""Below, the number of a stack is the CPU whose interrupt stack it is (kpath.capture.schema, ``stack``)."""


def home(traversal: Traversal) -> int | None:
    """The one CPU that all of the traversal ran on, when it is sure; else None."""
    if traversal.partial or traversal.end.how not in ENDS or len(traversal.roots) != 1:
        return None
    if not traversal.frames[0].event.flags & Flag.BORN:
        return None
    waiting = list(traversal.roots)
    frames = list(traversal.frames)
    while waiting:
        node = waiting.pop()
        frames.append(node.frame)
        waiting += node.children
    cpu = int(frames[0].event.stack)
    if cpu >= CPUS or any(frame.event.stack != cpu or frame.event.cpu != cpu for frame in frames):
        return None
    # What a queue kept goes on when, and where, nobody here has seen; a socket's queue is the end.
    return None if any(frame.name in KEEPERS - SOCKET_QUEUES for frame in frames) else cpu


def concerning(losses: Iterable[Loss], traversal: Traversal) -> list[Loss]:
    """The losses that may have hidden something of the traversal. Missed probes always may: they have no CPU."""
    found = list(losses)
    cpu = home(traversal) if found else None
    if cpu is None:
        return found
    return [loss for loss in found if loss.missed or cpu in loss.lost or cpu in loss.tables]
