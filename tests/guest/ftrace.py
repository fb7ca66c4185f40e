"""Call trees from ftrace's function_graph tracer: a witness that shares nothing with kpath's way to a tree.

The tracer replaces return addresses and so knows when each function really returns. Limited to the functions that kpath
probes, it shows which of them was running inside which.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

TRACING = Path("/sys/kernel/tracing")
SOFTIRQ = ("handle_softirqs", "__do_softirq")
"""Where softirqs begin: the tracer nests them in whatever they interrupted, although they run on another stack."""

_OPTIONS = {
    "funcgraph-cpu": 1, "funcgraph-proc": 1, "funcgraph-tail": 1, "funcgraph-duration": 0, "funcgraph-overhead": 0,
    "funcgraph-irqs": 1, "funcgraph-abstime": 0,
}  # fmt: skip
_BUFFER_KB = 16384

# " 0)  python3-204  |    ip_rcv() {", "... |      ip_rcv_core();", "... |    } /* ip_rcv */"
_LINE = re.compile(
    r"\s*(?P<cpu>\d+)\)\s+(?P<task>\S.*?)-(?P<pid>\d+)\s*\|\s*"
    r"(?:(?P<name>[\w.]+)\s*(?:\[\w+\]\s*)?\(\)(?:\s*\[\w+\])?\s*(?P<kind>;|\{)|(?P<end>\}))"
)


@dataclass(eq=False, slots=True)
class Call:
    """One activation of a function."""

    name: str
    children: list[Call] = field(default_factory=list)

    def walk(self) -> Iterator[Call]:
        """This call and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


class FunctionGraph:
    """The tracer on some functions, as long as the context lasts."""

    def __init__(self, functions: Iterable[str]) -> None:
        self._wanted = set(functions)
        self.functions: set[str] = set()
        """Those that ftrace can trace; the softirq's beginning is traced, too, and not among them."""
        self.text = ""
        self.lost = 0
        """Events between ``begin`` and ``end`` that did not fit into the buffer."""

    def __enter__(self) -> FunctionGraph:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        _write("tracing_on", "0")
        _write("current_tracer", "nop")
        _write("buffer_size_kb", str(_BUFFER_KB))
        numbers = []
        # By number, not by name: for each name the kernel would look up all others.
        for number, line in enumerate((TRACING / "available_filter_functions").read_text().splitlines(), 1):
            name = line.split()[0]
            if name in self._wanted or name in SOFTIRQ:
                numbers.append(str(number))
                self.functions.add(name)
        self.functions -= set(SOFTIRQ)
        _write("set_ftrace_filter", "\n".join(numbers) + "\n")
        _write("current_tracer", "function_graph")
        for option, value in _OPTIONS.items():
            path = TRACING / "options" / option
            if path.exists():
                path.write_text(str(value))

    def __exit__(self, *_: object) -> None:
        for name, value in (("tracing_on", "0"), ("current_tracer", "nop"), ("set_ftrace_filter", ""), ("trace", "")):
            with contextlib.suppress(OSError):
                _write(name, value)
        with contextlib.suppress(OSError):
            _write("tracing_on", "1")

    def begin(self) -> None:
        """Forget what came up to now, and trace."""
        _write("trace", "")
        _write("tracing_on", "1")

    def end(self) -> None:
        """Stop; from now on ``text`` is what came since ``begin``."""
        _write("tracing_on", "0")
        self.text = (TRACING / "trace").read_text(errors="replace")
        self.lost = sum(map(_lost, TRACING.glob("per_cpu/cpu*/stats")))


def _lost(stats: Path) -> int:
    # "entries: 12\noverrun: 0\ncommit overrun: 0\n...\ndropped events: 0\n"
    numbers = dict(line.split(": ") for line in stats.read_text().splitlines())
    return sum(int(numbers[name]) for name in ("overrun", "commit overrun", "dropped events"))


def _write(name: str, text: str) -> None:
    (TRACING / name).write_text(text)


def parse(text: str, plain: Callable[[str], str] = str) -> list[Call]:
    """The trees in the text of a trace; ``plain`` changes the functions' names.

    Nesting is kept for each task, as the tracer does; the idle tasks of all CPUs have the same number. What began
    before the trace is not there. A softirq is a tree of its own.
    """
    stacks: dict[tuple[int, int], list[Call]] = {}
    roots: list[Call] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        pid = int(match["pid"])
        stack = stacks.setdefault((pid, 0 if pid else int(match["cpu"])), [])
        if match["end"]:
            if stack:
                stack.pop()
            continue
        call = Call(plain(match["name"]))
        if stack:
            stack[-1].children.append(call)
        else:
            roots.append(call)
        if match["kind"] == "{":
            stack.append(call)
    return [tree for root in roots for tree in _cut(root, SOFTIRQ)]


def cut(roots: Iterable[Call], names: Collection[str]) -> list[Call]:
    """The same trees, with each call of these functions as a root of its own."""
    found: list[Call] = []
    for root in roots:
        _cut_off(root, names, found)
    return found


def _cut_off(call: Call, names: Collection[str], found: list[Call]) -> None:
    found.append(call)
    kept: list[Call] = []
    for child in call.children:
        _keep_or_cut(child, kept, names, found)
    call.children = kept


def _keep_or_cut(call: Call, siblings: list[Call], names: Collection[str], found: list[Call]) -> None:
    if call.name in names:
        _cut_off(call, names, found)
        return
    siblings.append(call)
    kept: list[Call] = []
    for child in call.children:
        _keep_or_cut(child, kept, names, found)
    call.children = kept


def _cut(root: Call, markers: Collection[str]) -> list[Call]:
    """The tree without the markers; what was called below one is a root."""
    trees = cut([root], markers)
    return [tree for each in trees for tree in (each.children if each.name in markers else [each])]
