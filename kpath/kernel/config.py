"""The running kernel's build, configuration and present state, as far as it tells.

Everything here reads small text files; what cannot be read is None, never an error.
"""

from __future__ import annotations

import gzip
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

CAPABILITIES: Mapping[str, int] = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
"""Bit numbers in ``include/uapi/linux/capability.h`` of those that tracing may need."""


@dataclass(frozen=True)
class KernelConfig:
    """What is to be read below ``root``; tests give a directory of their own."""

    root: Path = Path("/")

    @property
    def release(self) -> str:
        """``uname -r``: ``6.1.0-56-amd64``."""
        return self._text("proc/sys/kernel/osrelease") or platform.release()

    @property
    def build(self) -> str:
        """``uname -v``: what tells two builds of one release apart."""
        return self._text("proc/sys/kernel/version") or platform.version()

    @property
    def machine(self) -> str:
        """``uname -m``: ``x86_64``."""
        return platform.machine()

    @property
    def lockdown(self) -> str | None:
        """``none``, ``integrity`` or ``confidentiality``; None where the kernel has no lockdown.

        Where securityfs is not mounted, it is what the kernel was booted with.
        """
        text = self._text("sys/kernel/security/lockdown")
        if text is None:
            words = (self._text("proc/cmdline") or "").split()
            return next((w.removeprefix("lockdown=") for w in words if w.startswith("lockdown=")), None)
        if "[" not in text:
            return None
        return text.partition("[")[2].partition("]")[0]

    @property
    def kptr_restrict(self) -> int | None:
        """2 hides the addresses in kallsyms from root too."""
        return self._number("proc/sys/kernel/kptr_restrict")

    @property
    def kprobes_enabled(self) -> bool | None:
        """Are kprobes armed? None where debugfs is not mounted."""
        number = self._number("sys/kernel/debug/kprobes/enabled")
        return None if number is None else bool(number)

    @property
    def refusal(self) -> str:
        """Why this kernel puts no probe anywhere at present, and what to do; empty if it does, for all that it says."""
        if self.lockdown == "confidentiality":
            return "the kernel is locked down and refuses probes: boot without lockdown=confidentiality."
        if self.kprobes_enabled is False:
            return "kprobes are switched off: echo 1 > /sys/kernel/debug/kprobes/enabled"
        return ""

    @property
    def kprobes_optimized(self) -> bool | None:
        """May the kernel turn breakpoints into jumps (cheaper probes)? None without kprobes."""
        number = self._number("proc/sys/debug/kprobes-optimization")
        return None if number is None else bool(number)

    @property
    def perf_event_paranoid(self) -> int | None:
        """Above 1, kernel tracing needs privileges."""
        return self._number("proc/sys/kernel/perf_event_paranoid")

    @property
    def unprivileged_bpf_disabled(self) -> int | None:
        """0 allowed, 1 forbidden for good, 2 forbidden."""
        return self._number("proc/sys/kernel/unprivileged_bpf_disabled")

    @property
    def bpf_stats(self) -> bool | None:
        """Does the kernel time every BPF program (which slows them)? ``kernel.bpf_stats_enabled``."""
        number = self._number("proc/sys/kernel/bpf_stats_enabled")
        return None if number is None else bool(number)

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of `CAPABILITIES` that this process has in effect."""
        line = next((x for x in self._lines("proc/self/status") if x.startswith("CapEff:")), "CapEff: 0")
        bits = int(line.split()[1], 16)
        return frozenset(name for name, bit in CAPABILITIES.items() if bits >> bit & 1)

    @cached_property
    def options(self) -> Mapping[str, str]:
        """Build options without ``CONFIG_``, as ``y``, ``m`` or a value; empty if they cannot be read."""
        packed = self.root / "proc/config.gz"
        try:
            text = gzip.decompress(packed.read_bytes()).decode(errors="replace")
        except (OSError, EOFError):
            text = "\n".join(
                self._lines(f"boot/config-{self.release}")
                or self._lines(f"lib/modules/{self.release}/config")
            )
        pairs = (
            line.removeprefix("CONFIG_").partition("=") for line in text.splitlines() if line[:7] == "CONFIG_"
        )
        return {name: value.strip('"') for name, _, value in pairs}

    def option(self, name: str) -> bool | None:
        """Is ``CONFIG_<name>`` built in or a module? None when the configuration cannot be read."""
        if not self.options:
            return None
        return self.options.get(name) in ("y", "m")

    def _text(self, path: str) -> str | None:
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None

    def _lines(self, path: str) -> list[str]:
        return (self._text(path) or "").splitlines()

    def _number(self, path: str) -> int | None:
        try:
            return int(self._text(path) or "")
        except ValueError:
            return None


def is_root() -> bool:
    """Does this process run as root?"""
    return os.geteuid() == 0
