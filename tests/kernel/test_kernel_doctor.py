from __future__ import annotations

from dataclasses import replace

import pytest

from kpath.kernel.doctor import CHECKS, FEATURES, Check, Environment, examine, usable

GOOD = Environment(
    machine="x86_64",
    release="6.12.0",
    root=True,
    capabilities=frozenset({"CAP_SYS_ADMIN"}),
    lockdown="none",
    features=frozenset(FEATURES),
    traceable=60000,
    kprobes_enabled=True,
)


def check(name: str, environment: Environment) -> Check:
    return next(c for c in examine(environment) if c.name == name)


def test_a_good_machine() -> None:
    checks = examine(GOOD)
    assert len(checks) == len(CHECKS)
    assert all(c.ok is True and c.detail and not c.remedy for c in checks), checks
    assert usable(checks)


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("machine", replace(GOOD, machine="aarch64")),
        ("privileges", replace(GOOD, root=False, capabilities=frozenset())),
        ("privileges", replace(GOOD, capabilities=frozenset())),
        ("bcc", replace(GOOD, bcc=False)),
        ("libbpf", replace(GOOD, libbpf_error="libbpf 1 cannot be loaded")),
        ("BTF", replace(GOOD, btf_error="The kernel gives no BTF")),
        ("symbols", replace(GOOD, symbols_error="hidden")),
        ("kprobes", replace(GOOD, features=frozenset({"bpf_ringbuf_reserve"}))),
        ("kprobes", replace(GOOD, kprobes_enabled=False)),
        ("lockdown", replace(GOOD, lockdown="confidentiality")),
        ("ring buffer", replace(GOOD, features=frozenset({"register_kprobe"}))),
        ("tracefs", replace(GOOD, tracefs=None, traceable=None)),
    ],
)
def test_what_prevents_a_capture_has_a_remedy(name: str, environment: Environment) -> None:
    found = check(name, environment)
    assert found.ok is False
    assert found.detail
    assert found.remedy
    assert not usable(examine(environment))


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("privileges", replace(GOOD, root=False, capabilities=frozenset({"CAP_BPF", "CAP_PERFMON"}))),
        ("kprobe.multi", replace(GOOD, features=frozenset(FEATURES) - {"register_fprobe"})),
        ("kprobe.multi", replace(GOOD, features=None)),
        ("ring buffer", replace(GOOD, features=None)),
        ("kprobes", replace(GOOD, features=None)),
        ("tracefs", replace(GOOD, traceable=None)),
        ("kernel code", replace(GOOD, kcore_error="/proc/kcore: no.")),
    ],
)
def test_what_only_takes_something_away(name: str, environment: Environment) -> None:
    assert check(name, environment).ok is None
    assert usable(examine(environment))


def test_this_machine_can_be_examined() -> None:
    assert [c.name for c in examine()] == [c.name for c in examine(GOOD)]
