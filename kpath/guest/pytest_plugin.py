"""A pytest plugin that runs the tests marked ``guest``: here if this kernel can be probed, else in guests.

With ``--kernels 6.1,7.3`` each such test becomes one test for each kernel. A kernel is booted once, for all of them;
pytest runs there and writes its reports, one to a line, into the directory that it shares with us; and as they come,
we hand them on as our own.

A guest keeps one processor busy, whatever it does. So as many run at a time as there are processors, and while the
other tests run here, one fewer. ``$KPATH_GUESTS`` sets another number.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from kpath.guest.kernels import guest_places
from kpath.guest.machine import gone_with_us

REPORTS = "KPATH_GUEST_REPORTS"
"""Names the file into which pytest writes its reports, in the guest."""

FILTER_FUNCTIONS = Path("/sys/kernel/tracing/available_filter_functions")

LOG_TAIL = 60
"""Lines of the guest's output shown with a test that did not run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds our options."""
    group = parser.getgroup("guest", "tests that need a kernel that can be probed")
    group.addoption("--kernels", metavar="SERIES,...", help="run them in a guest of each, such as 6.1,7.3")
    group.addoption("--guest-out", metavar="DIR", default="guest-out", help="where guests write (%(default)s)")
    group.addoption(
        "--guest-timeout",
        metavar="SECONDS",
        type=float,
        default=3600,
        help="for all tests of a kernel (%(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Reports to the outside if we are inside."""
    path = os.environ.get(REPORTS)
    if path is not None:
        config.pluginmanager.register(ReportWriter(config, Path(path)), "kpath-guest-reports")
    kernels = wanted_kernels(config)
    if kernels:
        config.pluginmanager.register(GuestRunner(config, kernels), "kpath-guest-runner")


def pytest_report_header(config: pytest.Config) -> str:
    """Says where guest tests run, so that nobody misses that they do not."""
    kernels = wanted_kernels(config)
    if kernels:
        return f"guest tests: in guests of {', '.join(kernels)}"
    if kprobes_here():
        return f"guest tests: here, on {os.uname().release}"
    return "guest tests: NOT RUN, this kernel cannot be probed; --kernels 6.1,7.3 runs them in guests"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves guest tests as they are, puts one for each kernel in their place, or deselects them."""
    kernels = wanted_kernels(config)
    if not kernels and kprobes_here():
        return
    guests = [item for item in items if item.get_closest_marker("guest") is not None]
    items[:] = [item for item in items if item.get_closest_marker("guest") is None]
    for kernel in kernels:
        items.extend(GuestItem.standing_for(item, kernel) for item in guests)
    if not kernels and guests:
        config.hook.pytest_deselected(items=guests)


def wanted_kernels(config: pytest.Config) -> tuple[str, ...]:
    """The kernels named by ``--kernels``."""
    value: str | None = config.getoption("--kernels")
    return tuple(name for name in (value or "").split(",") if name)


def kprobes_here() -> bool:
    """Whether this process may probe this kernel."""
    return os.geteuid() == 0 and FILTER_FUNCTIONS.exists()


class ReportWriter:
    """Inside: writes each report as a line."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self.config = config
        self.handle = path.open("w")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """At once, for somebody is waiting."""
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.handle.write(json.dumps(data) + "\n")
        self.handle.flush()


class GuestItem(pytest.Item):
    """Outside: stands for one test in the guest of one kernel."""

    inner: str
    kernel: str
    where: tuple[str, int | None, str]

    @classmethod
    def standing_for(cls, item: pytest.Item, kernel: str) -> GuestItem:
        """The item in the place of `item`."""
        assert item.parent is not None
        new: GuestItem = cls.from_parent(item.parent, name=with_parameter(item.name, kernel))
        new.inner, new.kernel, new.where = item.nodeid, kernel, item.location
        return new

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where the test stands."""
        return self.path, self.where[1], with_parameter(self.where[2], self.kernel)

    def runtest(self) -> None:
        """Never called: `GuestRunner` has the protocol."""
        raise AssertionError("a test of a guest is run in the guest, by GuestRunner")


def with_parameter(name: str, kernel: str) -> str:
    """The name of a test with the kernel as its first parameter."""
    base, bracket, rest = name.partition("[")
    return f"{base}[{kernel}-{rest}" if bracket else f"{base}[{kernel}]"


class GuestRunner:
    """Outside: boots guests and hands on their reports."""

    def __init__(self, config: pytest.Config, kernels: tuple[str, ...]) -> None:
        self.config = config
        self.kernels = kernels
        self.places = guest_places(len(os.sched_getaffinity(0)))
        self.inner: dict[str, list[str]] = {}
        self.runs: dict[str, GuestRun] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """The first guests run beside the tests that need none."""
        if session.config.option.collectonly:
            return
        for item in session.items:
            if isinstance(item, GuestItem):
                self.inner.setdefault(item.kernel, []).append(item.inner)
        alone = all(isinstance(item, GuestItem) for item in session.items)
        self.fill(self.places if alone else self.places - 1)

    def fill(self, places: int) -> None:
        """Boots guests, in the order of their tests, until so many run."""
        running = sum(run.process.poll() is None for run in self.runs.values())
        for kernel in [kernel for kernel in self.inner if kernel not in self.runs][: max(0, places - running)]:
            self.runs[kernel] = GuestRun(self.config, kernel, self.inner[kernel], self.places)

    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Reports of the guest in the place of a run here."""
        if not isinstance(item, GuestItem):
            return None
        for kernel, other in self.runs.items():
            if kernel == item.kernel:
                break
            other.end()  # all that it had to tell was told
        self.fill(self.places)
        run = self.runs[item.kernel]
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in run.reports(item, meanwhile=lambda: self.fill(self.places)):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self) -> None:
        """No guest outlives the session."""
        for run in self.runs.values():
            run.end()


class GuestRun:
    """One guest: pytest on the given tests, and what it has reported up to now."""

    def __init__(self, config: pytest.Config, kernel: str, tests: list[str], places: int) -> None:
        self.config = config
        self.kernel = kernel
        out = Path(config.getoption("--guest-out"))
        self.directory = out / kernel
        self.directory.mkdir(parents=True, exist_ok=True)
        self.path = self.directory / "reports.jsonl"
        self.path.unlink(missing_ok=True)
        self.log = self.directory / "output.log"
        self.done: dict[str, list[pytest.TestReport]] = {}
        self.open: dict[str, list[pytest.TestReport]] = {}
        self.source: TextIO | None = None
        self.partial = ""
        self.told = 0
        self.log_shown = False
        inner = [
            "python", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=600",
            *tests,
        ]  # fmt: skip
        command = [
            sys.executable, "-m", "kpath.guest", "run", "--kernel", kernel, "--nics", "--out", str(out),
            "--timeout", str(config.getoption("--guest-timeout")),
            "--env", f"{REPORTS}={self.path.resolve()}", "--env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1",
            "--", *inner,
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                gone_with_us(command, "TERM"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                env={**os.environ, "KPATH_GUESTS": str(places)},
            )

    def reports(self, item: GuestItem, meanwhile: Callable[[], None]) -> Iterator[pytest.TestReport]:
        """The reports of one test, as soon as they are there; ``meanwhile`` is called while they are waited for."""
        ended = False
        while item.inner not in self.done and not ended:
            ended = self.process.poll() is not None
            self.tell()
            if not self.read() and not ended:
                meanwhile()
                time.sleep(0.1)
        found = self.done.get(item.inner) or [*self.open.get(item.inner, []), self.missing(item)]
        for report in found:
            report.nodeid, report.location = item.nodeid, item.location
            yield report

    def tell(self) -> None:
        """Passes on what the runner says, until tests begin: they may have to wait for another guest."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if self.source is not None or reporter is None:
            return
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("guest: ")]
        for line in lines[self.told :]:
            reporter.ensure_newline()
            reporter.write_line(line)
        self.told = len(lines)

    def read(self) -> bool:
        """Takes in what the guest has reported since; whether there was anything."""
        if self.source is None:
            if not self.path.exists():
                return False
            self.source = self.path.open()
        text = self.source.read()
        *lines, self.partial = (self.partial + text).split("\n")
        for line in lines:
            self.take(json.loads(line))
        return bool(text)

    def take(self, data: dict[str, Any]) -> None:
        """One report; the last of a test is that of its teardown."""
        report = self.config.hook.pytest_report_from_serializable(config=self.config, data=data)
        # JSON has no tuples; pytest wants this one back.
        if isinstance(report.longrepr, list):
            report.longrepr = tuple(report.longrepr)
        self.open.setdefault(report.nodeid, []).append(report)
        if report.when == "teardown":
            self.done[report.nodeid] = self.open.pop(report.nodeid)

    def missing(self, item: GuestItem) -> pytest.TestReport:
        """An error for a test that the guest did not finish."""
        began = item.inner in self.open
        how = "did not end" if began else "did not run"
        text = f"This test {how} in the guest of {self.kernel}: exit status {self.process.returncode}."
        if not self.log_shown:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])
            text += f"\n--- end of {self.log} ---\n{tail}"
            self.log_shown = True
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call" if began else "setup")

    def end(self) -> None:
        """Ends the guest, if it still runs."""
        if self.source is not None:
            self.source.close()
            self.source = None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
