from __future__ import annotations

import gzip
from pathlib import Path

from kpath.kernel.config import KernelConfig


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_reads_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, "proc/sys/kernel/osrelease", "6.12.0-test\n")
    write(tmp_path, "proc/sys/kernel/kptr_restrict", "2\n")
    write(tmp_path, "proc/sys/kernel/bpf_stats_enabled", "1\n")
    write(tmp_path, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    write(tmp_path, "sys/kernel/debug/kprobes/enabled", "0\n")
    write(tmp_path, "proc/self/status", "Name:\tx\nCapEff:\t0000008000200000\n")
    write(
        tmp_path, "boot/config-6.12.0-test", '# comment\nCONFIG_FPROBE=y\nCONFIG_VETH=m\nCONFIG_CC="gcc 12"\n'
    )
    config = KernelConfig(tmp_path)
    assert config.release == "6.12.0-test"
    assert config.kptr_restrict == 2
    assert config.bpf_stats is True
    assert config.lockdown == "integrity"
    assert config.kprobes_enabled is False
    assert config.capabilities == {"CAP_SYS_ADMIN", "CAP_BPF"}
    assert config.option("FPROBE") is config.option("VETH") is True
    assert config.option("KPROBES") is False
    assert config.options["CC"] == "gcc 12"


def test_a_kernel_that_refuses_probes_says_why(tmp_path: Path) -> None:
    assert KernelConfig(tmp_path).refusal == ""
    write(tmp_path, "sys/kernel/debug/kprobes/enabled", "1\n")
    write(tmp_path, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    assert KernelConfig(tmp_path).refusal == ""
    write(tmp_path, "sys/kernel/debug/kprobes/enabled", "0\n")
    assert "switched off" in KernelConfig(tmp_path).refusal
    write(tmp_path, "sys/kernel/security/lockdown", "none integrity [confidentiality]\n")
    assert "boot without" in KernelConfig(tmp_path).refusal


def test_without_securityfs_the_command_line_tells_of_lockdown(tmp_path: Path) -> None:
    write(tmp_path, "proc/cmdline", "console=ttyS0 lockdown=confidentiality quiet\n")
    assert KernelConfig(tmp_path).lockdown == "confidentiality"
    write(tmp_path, "sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    assert KernelConfig(tmp_path).lockdown == "none"


def test_the_packed_configuration_comes_first(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_KPROBES=y\n"))
    assert KernelConfig(tmp_path).option("KPROBES") is True


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, "proc/sys/kernel/kptr_restrict", "junk")
    config = KernelConfig(tmp_path)
    assert config.lockdown is None
    assert config.kptr_restrict is None
    assert config.kprobes_enabled is None
    assert config.kprobes_optimized is None
    assert config.perf_event_paranoid is None
    assert config.unprivileged_bpf_disabled is None
    assert config.bpf_stats is None
    assert config.capabilities == frozenset()
    assert config.option("KPROBES") is None


def test_this_machine_answers() -> None:
    config = KernelConfig()
    assert config.release
    assert config.build
    assert config.machine
