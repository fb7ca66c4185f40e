"""What kpath needs of a machine, what this one has, and what to do about the rest."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from kpath.kernel.btf import Btf
from kpath.kernel.config import KernelConfig, is_root
from kpath.kernel.errors import KernelError
from kpath.kernel.kcore import Kcore
from kpath.kernel.libbpf import libbpf
from kpath.kernel.probeable import read_traceable, tracefs
from kpath.kernel.symbols import Symbols

FEATURES = ("register_kprobe", "bpf_kprobe_multi_link_attach", "register_fprobe", "bpf_ringbuf_reserve")
"""Kernel functions whose presence tells that a feature was built in, whatever the version."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. ``ok``: True; False: no capture here; None: capture with less, or unknown."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Environment:
    """What the checks look at. Each ``…_error`` is None when the thing works."""

    machine: str
    release: str
    root: bool
    capabilities: frozenset[str]
    lockdown: str | None
    features: frozenset[str] | None
    """Which of `FEATURES` this kernel has; None when its symbols cannot be read."""
    symbols_error: str | None = None
    btf_error: str | None = None
    libbpf_error: str | None = None
    kcore_error: str | None = None
    bcc: bool = True
    tracefs: str | None = "/sys/kernel/tracing"
    traceable: int | None = None
    """How many functions ftrace can patch; None when the list cannot be read."""
    kprobes_enabled: bool | None = None

    @classmethod
    def current(cls) -> Environment:
        """This machine, now. Raises nothing: what fails becomes an ``…_error``."""
        config = KernelConfig()
        features: frozenset[str] | None = None
        symbols_error = None
        try:
            symbols = Symbols.load()
            features = frozenset(name for name in FEATURES if symbols.addresses(name))
        except KernelError as error:
            symbols_error = str(error)
        root = tracefs()
        traceable = read_traceable()
        return cls(
            machine=config.machine,
            release=config.release,
            root=is_root(),
            capabilities=config.capabilities,
            lockdown=config.lockdown,
            features=features,
            symbols_error=symbols_error,
            btf_error=_error(Btf.load),
            libbpf_error=_error(libbpf),
            kcore_error=_error(lambda: Kcore().close()),
            bcc=importlib.util.find_spec("bcc") is not None,
            tracefs=str(root) if root else None,
            traceable=len(traceable) if traceable else None,
            kprobes_enabled=config.kprobes_enabled,
        )


def examine(environment: Environment | None = None) -> list[Check]:
    """All checks, of this machine unless another environment is given."""
    env = environment or Environment.current()
    return [check(env) for check in CHECKS]


def usable(checks: list[Check]) -> bool:
    """Can kpath capture here? (Not: does every check pass.)"""
    return all(check.ok is not False for check in checks)


def _privileges(env: Environment) -> Check:
    if env.root and "CAP_SYS_ADMIN" in env.capabilities:
        return Check("privileges", True, "root")
    if {"CAP_BPF", "CAP_PERFMON"} <= env.capabilities:
        return Check(
            "privileges",
            None,
            "CAP_BPF and CAP_PERFMON, not root: symbols may be hidden",
            "Run as root if it fails.",
        )
    detail = "root without CAP_SYS_ADMIN (a container?)" if env.root else "not root"
    return Check("privileges", False, detail, "Run as root (sudo kpath …) on the machine itself.")


def _machine(env: Environment) -> Check:
    if env.machine == "x86_64":
        return Check("machine", True, f"{env.machine}, Linux {env.release}")
    return Check(
        "machine",
        False,
        f"{env.machine}, Linux {env.release}",
        "Capture on x86-64; captures replay on any machine.",
    )


def _bcc(env: Environment) -> Check:
    if env.bcc:
        return Check("bcc", True, "installed")
    return Check(
        "bcc",
        False,
        "Python cannot import bcc",
        "apt install python3-bpfcc (Fedora: dnf install python3-bcc), and make kpath's virtual environment "
        "with: python3 -m venv --system-site-packages",
    )


def _libbpf(env: Environment) -> Check:
    if env.libbpf_error is None:
        return Check("libbpf", True, "libbpf.so.1")
    return Check("libbpf", False, env.libbpf_error, "apt install libbpf1 (Fedora: dnf install libbpf).")


def _btf(env: Environment) -> Check:
    if env.btf_error is None:
        return Check("BTF", True, "the kernel describes its types")
    return Check("BTF", False, env.btf_error, "Boot a kernel built with CONFIG_DEBUG_INFO_BTF=y.")


def _kallsyms(env: Environment) -> Check:
    if env.symbols_error is None:
        return Check("symbols", True, "kallsyms shows addresses")
    return Check("symbols", False, env.symbols_error, "Run as root; sysctl kernel.kptr_restrict=1.")


def _kprobes(env: Environment) -> Check:
    if env.features is not None and "register_kprobe" not in env.features:
        return Check("kprobes", False, "this kernel has none", "Boot a kernel built with CONFIG_KPROBES=y.")
    if env.kprobes_enabled is False:
        return Check("kprobes", False, "switched off", "echo 1 > /sys/kernel/debug/kprobes/enabled")
    if env.features is None:
        return Check("kprobes", None, "unknown, because the symbols cannot be read")
    return Check("kprobes", True, "built in")


def _lockdown(env: Environment) -> Check:
    if env.lockdown == "confidentiality":
        return Check(
            "lockdown",
            False,
            "confidentiality: the kernel refuses kprobes and reading its memory",
            "Boot without lockdown=confidentiality.",
        )
    return Check("lockdown", True, env.lockdown or "not in this kernel")


def _tracefs(env: Environment) -> Check:
    if env.tracefs is None:
        # Its directory is closed to others, so that only root can say that it is not there.
        where = "not mounted, or not readable" if env.root else "not to be seen without root"
        return Check("tracefs", False if env.root else None, where, "mount -t tracefs tracefs /sys/kernel/tracing")
    if env.traceable is None:
        return Check("tracefs", None, f"{env.tracefs} lists no functions", "Run as root.")
    return Check("tracefs", True, f"{env.tracefs}: {env.traceable} functions can be traced")


def _multi(env: Environment) -> Check:
    if env.features is None:
        return Check("kprobe.multi", None, "unknown, because the symbols cannot be read")
    if {"bpf_kprobe_multi_link_attach", "register_fprobe"} <= env.features:
        return Check("kprobe.multi", True, "all probes attach at once")
    return Check(
        "kprobe.multi",
        None,
        "this kernel has none (CONFIG_FPROBE, Linux 5.18): probes attach one by one, which takes seconds",
    )


def _ring_buffer(env: Environment) -> Check:
    if env.features is None:
        return Check("ring buffer", None, "unknown, because the symbols cannot be read")
    if "bpf_ringbuf_reserve" in env.features:
        return Check("ring buffer", True, "BPF_MAP_TYPE_RINGBUF")
    return Check("ring buffer", False, "this kernel has none", "Boot Linux 5.8 or later.")


def _kcore(env: Environment) -> Check:
    if env.kcore_error is None:
        return Check("kernel code", True, "/proc/kcore can be read")
    return Check(
        "kernel code", None, f"{env.kcore_error} Without it a tail jump and a repeated call look alike."
    )


CHECKS: tuple[Callable[[Environment], Check], ...] = (
    _machine,
    _privileges,
    _bcc,
    _libbpf,
    _btf,
    _kallsyms,
    _kprobes,
    _lockdown,
    _ring_buffer,
    _multi,
    _tracefs,
    _kcore,
)


def _error(action: Callable[[], object]) -> str | None:
    try:
        action()
    except KernelError as error:
        return str(error)
    return None
