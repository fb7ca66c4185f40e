"""One capture: resolves the plan, compiles, attaches, hands over events and an account of what was lost."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from kpath.capture import attach, fentry, loader, paths, program
from kpath.capture.account import Batch, LossReport, Totals, grown
from kpath.capture.attach import KprobeGroup, MultiLink, Target, Tracepoint, start_heir
from kpath.capture.compiler import Compiler
from kpath.capture.counters import NO_COUNTS, Control, Counters, Counts
from kpath.capture.direct import direct_type
from kpath.capture.errors import CaptureSetupError
from kpath.capture.loader import Loaded
from kpath.capture.offsets import defines, tells_returns
from kpath.capture.plan import GATES, INNER, PLAN, Planned
from kpath.capture.resolve import Probe, resolve
from kpath.capture.ring import MappedReader, PerfReader, RingReader
from kpath.capture.unrun import Unrun
from kpath.kernel.btf import Btf, BtfKind
from kpath.kernel.config import KernelConfig
from kpath.kernel.probeable import Probeability, State, tracefs
from kpath.kernel.symbols import Symbols

_VERDICT = "nf_hook_slow"


@dataclass(frozen=True, slots=True)
class Options:
    """How to capture. ``backend`` is auto, multi, kprobe or fentry; ``buffer`` is auto, mapped, ring or perf."""

    selection: program.Selection = field(default_factory=program.Selection)
    sizes: program.Sizes = field(default_factory=program.Sizes)
    backend: str = "auto"
    buffer: str = "auto"
    direct: bool = True
    """Read the kernel's memory by load instructions where it lets kprobes do so."""
    plan: tuple[Planned, ...] = PLAN
    mode: str = "events"
    """events: every hit comes up; paths: the kernel counts paths (``Session.tables``)."""
    hand_over: bool = False
    """At the end, leave it to another process to wait until the kernel has taken the links off (kprobe.multi): it takes
    0.13 s for each. From then on their programs do nothing."""


class Session:
    """One capture. ``start``, then ``poll`` again and again, then ``stop``; a context manager stops by itself."""

    def __init__(self, options: Options | None = None, say: Callable[[str], None] | None = None) -> None:
        """``say`` is told what takes time, in a few words."""
        self.options = options or Options()
        self._say = say or (lambda _text: None)
        self._closers: list[Callable[[], None]] = []
        self.programs: dict[str, int] = {}
        self._tables_of_bodies: dict[bool, int] = {}
        self._cast = 0
        self._counts_misses = False
        self._links: dict[str, list[MultiLink | fentry.Link]] = {}
        self._sites: dict[int, fentry.Site] = {}
        self._group: KprobeGroup | None = None
        self._bpf: Loaded | None = None
        self._drops: Tracepoint | None = None
        self._reader: MappedReader | RingReader | PerfReader | None = None
        self._counters: Counters | paths.Tables | None = None
        self._control: Control | None = None
        self.tables: paths.Tables | None = None
        self._unrun = Unrun()
        self._last = Totals({}, {}, 0, {}, 0, {})
        self._final_missed: dict[str, int] | None = None
        self._stopped = False
        self._last_time = 0
        self._received = 0
        self._before = NO_COUNTS
        self._modules = ""
        self.backend = ""
        self.buffer = ""
        self.probes: list[Probe] = []
        self.troubles: list[str] = []
        self.symbols: Symbols
        self.btf: Btf
        self.start_ns = 0

    def __enter__(self) -> Session:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- starting ----

    def start(self) -> None:
        """Attach everything. Raises CaptureSetupError or a KernelError; then nothing stays attached."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        if platform.machine() != "x86_64":
            raise CaptureSetupError(f"kpath reads x86-64 stacks and registers; this machine is {platform.machine()}.")
        if os.geteuid() != 0:
            raise CaptureSetupError("probes need root: run kpath with sudo.")
        if refusal := KernelConfig().refusal:
            raise CaptureSetupError(refusal)
        tracing = attach.tracing_or_error(tracefs())
        compiler = Compiler()
        self.btf = Btf.load()
        self.symbols = Symbols.load()
        if not self.symbols.addresses("register_kprobe"):
            raise CaptureSetupError("this kernel has no kprobes: boot one built with CONFIG_KPROBES=y.")
        offsets = defines(self.btf, self.symbols)
        self._counts_misses = self.btf.find("bpf_link_info.kprobe_multi.missed") is not None
        self._choose_buffer()
        looks_through = direct_type(self.btf) if self.options.direct else 0
        self._cast = self.btf.find_id("bpf_rdonly_cast", BtfKind.FUNC) if looks_through else 0
        chosen = self.options
        text = program.text(
            offsets, chosen.selection, chosen.sizes, self.buffer, looks_through, chosen.mode,
            count_runs=not self._counts_misses, through_fentry=self._choose_backend() == "fentry",
            large_values=loader.takes_large_values(),
        )  # fmt: skip
        compiler.begin(text, perf=self.buffer == "perf")
        kernel = Probeability.load(self.symbols, self.btf)
        self.probes = self._chosen(resolve(kernel, self._plan()))
        single = self.backend != "multi"
        self._say("compiling and attaching")
        group = self._group = KprobeGroup(tracing, next(iter(self.symbols.addresses("_text")), 0))
        self._closers.append(group.close)
        self._sites = self._find_sites() if self.backend == "fentry" else {}
        # Returns by kprobe always: what kprobe.multi puts there, function_graph's trampoline, hides who called. And so
        # the entries of these functions, too, if they can tell who called when another's return probe was there before:
        # for two kinds in one place ftrace walks through a list, which costs as much as five hits.
        returns = self._verdict_targets()
        apart = {t.address for t in returns} if tells_returns(self.btf) else set()
        targets = returns + self._single_targets(p for p in self.probes if single or p.address in apart)
        targets = [t for t in targets if t.address not in self._sites]
        failed = group.define(targets) | group.arm()
        self._drops = Tracepoint(tracing, "skb", "kfree_skb")
        self._closers.append(self._drops.close)
        self._bpf = compiler.result()
        self._open_buffer(self._bpf)
        self._put_on_tracepoint(self._drops)
        self._note_failures(failed | group.run(self._load))
        if self.backend == "fentry":
            self._attach_sites(group, text)
        if not single:
            self._attach_multi([p for p in self.probes if p.program and p.address not in apart])
        self._settle_unrun()
        self._modules = _modules()
        self._forget()
        self.start_ns = self._last_time = time.monotonic_ns()
        if self.tables is not None:
            self.tables.begin(self.start_ns)
        self._last = self.totals()

    def _forget(self) -> None:
        """What came while probes were put on, one kind after the other, is no part of the capture."""
        if self._reader is not None and isinstance(self._counters, Counters):
            before = self._counters.read()
            left = Counter(before.lost)
            for _ in range(2):  # the first takes its time, in which more came
                left.update(self._reader.skip())
            self._before = replace(before, sent=left)

    def _plan(self) -> tuple[Planned, ...]:
        return paths.planned(self.options.plan) if self.options.mode == "paths" else self.options.plan

    def _chosen(self, probes: list[Probe]) -> list[Probe]:
        """The probes with the programs of this mode."""
        if self.options.mode != "paths":
            return [replace(p, program=self._gated(p)) for p in probes]
        # Without a packet in a known place a function tells nothing here.
        probes = [replace(p, program="" if p.program == "frame" else p.program) for p in probes]
        probed = {p.name for p in (*self.probes, *probes) if p.program}
        return [replace(p, program=paths.lighten(p.program, p.name, probed)) for p in probes]

    def _gated(self, probe: Probe) -> str:
        """The program; where there is a filter, the one that knows what may be left out of rejected packets."""
        if not self.options.selection.active:
            return probe.program
        if probe.name in INNER and probe.program == "frame":
            return "inner"
        kind, _, position = probe.program.rpartition("_")
        gated = f"{kind}_gate_{position}"
        return gated if probe.name in GATES and gated in program.GATE_PROGRAMS else probe.program

    def _choose_buffer(self) -> None:
        if self.options.buffer == "ring" and not self.symbols.addresses("bpf_ringbuf_reserve"):
            raise CaptureSetupError("this kernel has no BPF ring buffer (it came with 5.8): use --buffer mapped.")
        self.buffer = "mapped" if self.options.buffer == "auto" else self.options.buffer

    def _choose_backend(self) -> str:
        # fprobe is what kprobe.multi is made of; whether it really works is known when the link is made.
        possible = bool(self.symbols.addresses("register_fprobe_ips"))
        if self.options.backend == "multi" and not possible:
            raise CaptureSetupError(
                "this kernel has no kprobe.multi (CONFIG_FPROBE is off): use --backend kprobe."
            )
        # Before 6.7 nobody counts what such a link misses, and a miss that is not known of looks like a wrong path.
        if self.options.backend == "fentry":
            if not self._counts_misses:
                raise CaptureSetupError(
                    "this kernel does not count what programs miss (it came with 6.7), which fentry cannot do "
                    "without: use --backend kprobe."
                )
            self.backend = "fentry"
            return self.backend
        wanted = self.options.backend == "multi" or (self.options.backend == "auto" and self._counts_misses)
        self.backend = "multi" if possible and wanted else "kprobe"
        return self.backend

    def _verdict_targets(self) -> list[Target]:
        # What a hook said needs a probe at its return, which costs as much as four others: paths do without.
        found = [p for p in self.probes if p.name == _VERDICT and p.program and self.options.mode != "paths"]
        return [Target(p.symbol, p.module, p.address, "verdict", returns=True) for p in found]

    def _single_targets(self, probes: Iterable[Probe]) -> list[Target]:
        return [Target(p.symbol, p.module, p.address, p.program) for p in probes if p.program]

    def _open_buffer(self, bpf: Loaded) -> None:
        cpus, size = program.possible_cpus(), self.options.sizes.ring_bytes
        if self.options.mode == "paths":
            self.tables = self._counters = paths.Tables(bpf, cpus, program.rings())
            self._closers.append(self.tables.close)
            return
        counters = self._counters = Counters(bpf["counts"].map_fd, cpus)
        if self.buffer == "mapped":
            fds = bpf["places"].map_fd, bpf["taken"].map_fd
            self._reader = MappedReader(*fds, cpus, program.rings(), program.slots(size), counters)
        elif self.buffer == "ring":
            self._reader = RingReader(bpf["events"].map_fd, size)
        else:
            self._reader = PerfReader(bpf.owner, size, os.cpu_count() or 1)
        self._closers += [counters.close, self._reader.close]
        if self.options.selection.sampled:
            self._control = Control(bpf["controls"].map_fd)
            self._closers.append(self._control.close)

    def _load(self, name: str, multi: bool = False) -> int:
        assert self._bpf is not None
        key = f"{name}/multi" if multi else name
        if key not in self.programs:
            kind = loader.TRACEPOINT if name == "drop" else loader.KPROBE
            how = attach.BPF_TRACE_KPROBE_MULTI if multi else 0
            bodies = {} if name in ("drop", "verdict") else {"bodies": self._bodies(multi)}
            self.programs[key] = self._bpf.load(name, kind, how, self._cast, instead=bodies)
        return self.programs[key]

    def _bodies(self, multi: bool) -> int:
        """The table of what the programs of that kind go on to: a kernel may refuse to mix kinds in one table."""
        assert self._bpf is not None
        if multi not in self._tables_of_bodies:
            table = self._tables_of_bodies[multi] = self._bpf.another("bodies")
            filtered = self.options.selection.active and self.options.mode == "events"
            for place, name in enumerate(("body", "decide") if filtered else ("body",)):
                self._bpf.to_call(table, place, self._load(name, multi))
        return self._tables_of_bodies[multi]

    def _put_on_tracepoint(self, tracepoint: Tracepoint) -> None:
        try:
            tracepoint.run(self._load("drop"))
        except OSError as error:
            raise CaptureSetupError(
                f"the kernel does not let kpath use the tracepoint skb:kfree_skb: {error}."
            ) from error

    def _note_failures(self, failed: dict[Target, str]) -> None:
        why = {t.address: reason for t, reason in failed.items() if not t.returns}
        self.troubles += [f"{t.symbol} (return): {reason}" for t, reason in failed.items() if t.returns]
        self.probes = [
            replace(p, state=State.NOTRACE, reason=why[p.address], program="")
            if p.program and p.address in why
            else p
            for p in self.probes
        ]

    def _find_sites(self) -> dict[int, fentry.Site]:
        """By address, what can be attached through fentry; the others get kprobes."""
        found = (fentry.site(self.btf, p.name, p.symbol, p.address, p.module) for p in self.probes if p.program)
        return {site.address: site for site in found if site}

    def _attach_sites(self, group: KprobeGroup, text: str) -> None:
        assert self._bpf is not None
        jumps = bool(self.symbols.addresses("ftrace_regs_caller_jmp"))
        programs = fentry.Programs(self._bpf, text, self._cast, jumps)
        links = self._links.setdefault("fentry", [])
        left: list[Target] = []
        returning = {t.address: t for t in self._verdict_targets() if t.address in self._sites}
        for address in list(returning):
            try:
                links.append(programs.attach_verdict(self._sites[address]))
            except (OSError, CaptureSetupError):
                left.append(returning.pop(address))
        for target in self._single_targets(self.probes):
            if target.address in self._sites:
                try:
                    site, returns = self._sites[target.address], target.address in returning
                    links.append(programs.attach(target.program, site, returns))
                except (OSError, CaptureSetupError) as error:
                    self.troubles.append(f"{target.symbol} (fentry): {error}")
                    left.append(target)
        if left:
            self._note_failures(group.define(left) | group.arm() | group.run(self._load))

    def _attach_multi(self, probes: list[Probe]) -> None:
        by_program: dict[str, list[Probe]] = {}
        for p in probes:
            by_program.setdefault(p.program, []).append(p)
        refused: dict[int, str] = {}
        for name, members in by_program.items():
            refused |= self._link(name, members)
        targets = {t.address: t for t in self._single_targets(probes)}
        self._note_failures({targets[address]: why for address, why in refused.items()})

    def _link(self, name: str, probes: list[Probe]) -> dict[int, str]:
        """One link for all; if the kernel refuses it, halves, until those that it refuses stand alone."""
        try:
            link = MultiLink(self._load(name, multi=True), [p.address for p in probes])
            self._links.setdefault(name, []).append(link)
        except OSError as error:
            if len(probes) == 1:
                return {probes[0].address: f"the kernel refuses the probe: {error.strerror}"}
            half = len(probes) // 2
            return self._link(name, probes[:half]) | self._link(name, probes[half:])
        return {}

    # ---- running ----

    def poll(self, account: bool = True) -> Batch:
        """What came since the last poll, in the order of time; does not wait.

        Without ``account`` the losses are left for a later poll, unless there are events.
        """
        assert self._reader is not None
        events = self._reader.read()
        self._received += len(events)
        return Batch(events, self.loss() if account or len(events) else None)

    def loss(self) -> LossReport | None:
        """What was lost or missed since the last time that somebody asked."""
        now, totals, before = time.monotonic_ns(), self.totals(), self._last
        lost = grown(totals.lost, before.lost)
        missed = grown(totals.missed, before.missed)
        tables = grown(totals.tables, before.tables)
        report = LossReport(self._last_time, now, lost, missed, tables) if lost or missed or tables else None
        self._last, self._last_time = totals, now
        return report

    def totals(self) -> Totals:
        """The account so far; after ``stop``, that of the end."""
        if self._stopped:
            return self._last
        profile = self._profile()
        counts = self._counters.read() if self._counters else NO_COUNTS
        missed = self._missed(profile, counts) if self._final_missed is None else self._final_missed
        counts = counts.since(self._before)
        return Totals(
            counts.sent, counts.lost, self._received, missed, counts.hits, counts.tables, counts.left_out
        )  # fmt: skip

    def follow(self, one_in: int) -> None:
        """Follow one packet in so many of those that come from now on; where the selection is ``sampled``."""
        if self._control is not None:
            self._control.follow(one_in)

    def _profile(self) -> list[tuple[Target, int, int]]:
        return self._group.profile() if self._group and self._final_missed is None else []

    def _missed(self, profile: list[tuple[Target, int, int]], counts: Counts) -> dict[str, int]:
        missed = {str(target): misses for target, _, misses in profile if misses}
        # Copies, because late modules are attached to by another thread.
        for key, links in list(self._links.items()):
            if count := sum(link.missed() for link in links):
                missed[f"program {key} (link)"] = count
        skipped = {f"program {key}": attach.recursion_misses(fd) for key, fd in list(self.programs.items())}
        missed |= {key: count for key, count in skipped.items() if count}
        if counts.busy:
            missed["any program (another one was running)"] = counts.busy
        if self.backend == "kprobe" and not self._counts_misses:
            # Before 6.7 nobody counts the hits for which a program did not run as another one was running.
            silent = self._unrun.at_least(sum(n for _, n, _ in profile), counts.hits) - sum(skipped.values())
            if silent > 0:
                missed["any program (BPF was busy)"] = silent
        return missed

    def _settle_unrun(self) -> None:
        if self.backend == "kprobe" and not self._counts_misses and self._counters:
            for _ in range(4):
                hits = self._counters.read().hits
                self._unrun.at_most(sum(n for _, n, _ in self._profile()), hits)

    def comms(self) -> dict[int, str]:
        """Names of the threads that began something (a system call, a softirq), by thread id, even if gone since."""
        # Each system call that reads a map makes its CPU skip all probes for a moment: call this after detaching.
        if self._bpf is None or self.options.mode == "paths":
            return {}
        found = self._bpf.items("comms")
        return {int.from_bytes(k, "little"): v.partition(b"\0")[0].decode(errors="replace") for k, v in found}

    def modules_changed(self) -> bool:
        """Has a module been loaded or unloaded since the start, or since ``attach_new_modules``?"""
        return _modules() != self._modules

    def attach_new_modules(self) -> list[Probe]:
        """Attach to functions whose module was loaded since; returns their probes.

        Takes seconds; another thread may poll meanwhile.
        """
        now = _modules()
        if now == self._modules or self._bpf is None or self._group is None:
            return []
        self._modules = now
        self.symbols = Symbols.load()
        self._forget_unloaded(set(now.splitlines()))
        missing = [p.planned for p in self.probes if not p.program]
        resolved = self._chosen(resolve(Probeability.load(self.symbols, self.btf), missing))
        found = [p for p in resolved if p.program]
        names = {p.name: p for p in found}
        self.probes = [names.get(p.name, p) for p in self.probes]
        if self.backend == "multi":
            self._attach_multi(found)
        else:
            self._unrun.pause()
            failed = self._group.define(self._single_targets(found)) | self._group.arm()
            self._note_failures(failed | self._group.run(self._load))
            self._settle_unrun()
        attached = {p.name for p in self.probes if p.program}
        return [p for p in found if p.name in attached]

    def _forget_unloaded(self, loaded: set[str]) -> None:
        # A kprobe in tracefs comes back with its module by itself; a link does not.
        if self.backend == "multi":
            self.probes = [
                replace(p, state=State.MODULE_NOT_LOADED, reason=f"module {p.module} was unloaded", program="")
                if p.program and p.module and p.module not in loaded
                else p
                for p in self.probes
            ]

    # ---- stopping ----

    def detach(self) -> None:
        """Take all probes off, so that no more events come; what is in the buffer can still be polled."""
        if self._final_missed is None:
            # From here on kprobes hit with no program left on them: those are no misses.
            self._final_missed = self.totals().missed
        links = [link for group in self._links.values() for link in group if link.fd >= 0]
        heir = -1
        if self.options.hand_over and self.backend == "multi" and links and self._bpf is not None:
            self._bpf.to_call_nothing(self._tables_of_bodies[True], 0)
            heir = start_heir([link.fd for link in links])
        for link in reversed(links):
            link.close()
        if self._drops:
            self._drops.close()
        if self._group:
            self._group.disarm()
        if heir >= 0:
            os.close(heir)  # last: what was closed above would have to wait for the links, too

    def settled(self) -> bool:
        """After ``detach``: has every event been received or counted as lost?"""
        counts = self._counters.read().since(self._before) if self._counters else NO_COUNTS
        return self._received + sum(counts.lost.values()) == sum(counts.sent.values())

    def stop(self) -> None:
        """Take everything off and free it. Can be called more than once."""
        if not self._stopped:
            self.detach()
            self._last = self.totals()
            self._stopped = True
        self._reader = None
        self._counters = self._control = None
        while self._closers:
            self._closers.pop()()
        if self._bpf is not None:
            self._bpf.close()
            self._bpf = None


def _modules() -> str:
    try:
        return "\n".join(line.split()[0] for line in Path("/proc/modules").read_text().splitlines())
    except OSError:
        return ""
