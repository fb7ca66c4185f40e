"""The guest runner, as far as it can be tested without booting anything: QEMU is played by a script."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from kpath.guest import archive, initramfs, kernels, machine, pytest_plugin
from kpath.guest.errors import ArchiveError, GuestDiedError, GuestTimeoutError, ImageError

NAMES = [
    "linux-image-6.1-amd64",
    "linux-image-6.1.0-9-amd64",
    "linux-image-6.1.0-56-amd64",
    "linux-image-6.1.0-57-cloud-amd64",
    "linux-image-6.1.0-57-rt-amd64",
    "linux-image-6.1.0-57-amd64-unsigned",
    "linux-image-6.1.0-57-amd64-dbg",
    "linux-image-6.12.9+deb12-amd64",
    "linux-image-6.12.117+deb12-amd64",
    "linux-headers-6.12.200-amd64",
    "linux-image-7.3.4+deb13-amd64",
    "linux-binary-7.3.4+deb13-amd64",
    "linux-modules-7.3.4+deb13-amd64",
    "linux-base-7.3.4+deb13-amd64",
    "linux-binary-unsigned-7.3.5+deb13-amd64",
    "linux-binary-7.3.6+deb13-amd64",
    "linux-image-amd64",
]


class TestArchive:
    def test_newest_stock_kernel_of_each_series(self) -> None:
        found = archive.newest(NAMES)
        assert {series: packages.packages for series, packages in found.items()} == {
            "6.1": ("linux-image-6.1.0-56-amd64",),
            "6.12": ("linux-image-6.12.117+deb12-amd64",),
            "7.3": (
                "linux-binary-7.3.4+deb13-amd64",
                "linux-modules-7.3.4+deb13-amd64",
                "linux-base-7.3.4+deb13-amd64",
            ),
        }
        assert found["6.12"].release == "6.12.117+deb12-amd64"

    def test_suites_of_a_series_that_is_not_listed_are_all_suites(self) -> None:
        assert set(archive.suites_for(["6.1"])) == {"bookworm", "bookworm-security"}
        assert set(archive.suites_for(["6.18"])) >= {"bullseye", "trixie-backports", "sid"}

    def test_archives_are_those_of_the_machine(self, fake_tool: FakeTool) -> None:
        fake_tool(
            "apt-get",
            """
            echo "'http://m.example/x/debian/dists/bookworm/InRelease' a 0"
            echo "'http://m.example/x/debian/dists/bookworm-updates/InRelease' a 0"
            echo "'http://s.example/debian-security/dists/bookworm-security/InRelease' a 0"
            echo "'http://other.example/tool/dists/stable/InRelease' a 0"
            """,
        )
        assert archive.machine_archives() == (
            "http://m.example/x/debian",
            "http://s.example/debian-security",
        )

    def test_machine_without_debian(self, fake_tool: FakeTool) -> None:
        fake_tool("apt-get", "echo \"'http://other.example/tool/dists/stable/InRelease' a 0\"")
        with pytest.raises(ArchiveError, match="name no Debian archive"):
            archive.machine_archives()


class TestKernels:
    @staticmethod
    def image(payload: bytes, setup_sectors: int = 4) -> bytes:
        header = bytearray((setup_sectors + 1) * 512)
        header[0x1F1] = setup_sectors
        header[0x202:0x206] = b"HdrS"
        struct.pack_into("<II", header, 0x248, 16, len(payload))
        return bytes(header) + bytes(16) + payload + b"more"

    @pytest.mark.parametrize("compress", [lzma.compress, zstandard.ZstdCompressor().compress])
    def test_image_is_decompressed(self, compress: object) -> None:
        assert callable(compress)
        elf = b"\x7fELF" + bytes(5000)
        assert kernels.decompressed(self.image(compress(elf))) == elf

    @pytest.mark.parametrize(
        ("image", "complaint"),
        [
            (bytes(4096), "no x86 kernel"),
            (image(b"BZh91"), "compressed in a way"),
            (image(lzma.compress(b"text")), "no ELF"),
        ],
    )
    def test_image_that_is_none(self, image: bytes, complaint: str) -> None:
        with pytest.raises(ImageError, match=complaint):
            kernels.decompressed(image)

    @pytest.mark.parametrize("name", ["6", "v6.1", "6.1/..", ""])
    def test_name_that_is_no_series(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ArchiveError, match="not the name of a kernel series"):
            kernels.KernelCache(tmp_path, lambda text: None).get(name)

    def test_half_a_kernel_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "kernels/.6.1-x/tree").mkdir(parents=True)
        (tmp_path / "kernels/.6.1-x/tree/kernel.json").write_text("{}")
        assert kernels.KernelCache(tmp_path, lambda text: None).cached() == {}

    def test_lock_makes_the_second_wait(self, tmp_path: Path) -> None:
        lock = tmp_path / "lock"
        program = f"""
from pathlib import Path
from kpath.guest.kernels import locked
with locked(Path({str(lock)!r}), lambda: print("waiting", flush=True)):
    print("has it", flush=True)
"""
        with kernels.locked(lock, lambda: None):
            second = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
            assert second.stdout is not None
            with second.stdout as said:
                assert said.readline() == "waiting\n"
                second_waits = second.poll() is None
        assert second_waits
        assert second.wait(120) is not None


class TestInitramfs:
    def test_archive_holds_what_was_put_in(self, tmp_path: Path) -> None:
        busybox = initramfs.busybox()
        entries = [
            ("dir", initramfs.DIRECTORY, b""),
            ("dir/odd", initramfs.FILE, b"12345"),
            ("dir/run", initramfs.EXECUTABLE, b"#!/bin/sh\n"),
        ]
        subprocess.run([busybox, "cpio", "-id"], input=initramfs.cpio(entries), cwd=tmp_path, check=True)
        assert (tmp_path / "dir/odd").read_bytes() == b"12345"
        assert stat.S_IMODE((tmp_path / "dir/run").stat().st_mode) & 0o111


FAKE_QEMU = r"""
import os, re, signal, sys, time
words = " ".join(sys.argv)
port = {name: int(fd) for name, fd in re.findall(r"socket,id=(\w+),fd=(\d+)", words)}
console = re.search(r"file:(\S+)", words)[1]
def status(text): os.write(port["status"], text.encode())
def output(text): os.write(port["output"], text.encode())
def log(text): open(console, "a").write(text)
"""


@pytest.fixture(name="fake_tool")
def fixture_fake_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    return FakeTool(tmp_path / "bin", monkeypatch)


class FakeTool:
    """Puts programs in front of the real ones."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        directory.mkdir()
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def __call__(self, name: str, script: str, interpreter: str = "/bin/sh") -> None:
        path = self.directory / name
        path.write_text(f"#!{interpreter}\n{script}")
        path.chmod(0o755)


class TestMachine:
    @pytest.fixture(autouse=True)
    def no_initramfs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(initramfs, "build", lambda kernel, files: b"")

    def run(
        self, fake_tool: FakeTool, tmp_path: Path, script: str, options: machine.Options | None = None
    ) -> tuple[machine.Outcome, bytes]:
        fake_tool(machine.QEMU, FAKE_QEMU + script, sys.executable)
        kernel = kernels.Kernel("6.1", "6.1.0-56-amd64", tmp_path / "kernel")
        said = bytearray()
        outcome = machine.run(kernel, ["true"], tmp_path / "out", options or machine.Options(), said.extend)
        return outcome, bytes(said)

    def test_output_and_status(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        script = """
status("rea"); time.sleep(0.1); status("dy 1.5\\n")
output("a\\n"); output("b"); status("exit 7\\n")
"""
        outcome, said = self.run(fake_tool, tmp_path, script)
        assert outcome.status == 7
        assert 0.1 <= outcome.boot <= outcome.total
        assert said == b"a\nb"

    def test_guest_that_does_not_boot(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        with pytest.raises(GuestDiedError, match=r"did not boot(?s:.*)no root here") as raised:
            self.run(fake_tool, tmp_path, 'log("no root here\\n")')
        assert raised.value.console == tmp_path / "out/console.log"

    def test_guest_that_dies(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        with pytest.raises(GuestDiedError, match=r"guest died(?s:.*)panic"):
            self.run(fake_tool, tmp_path, 'status("ready 1\\n"); output("x"); log("panic\\n")')

    def test_qemu_that_refuses(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        with pytest.raises(GuestDiedError, match=r"status 1, saying: no such device"):
            self.run(fake_tool, tmp_path, 'sys.exit("no such device")')

    def test_boot_that_hangs(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        options = machine.Options(boot_timeout=0.2)
        with pytest.raises(GuestDiedError, match="did not start the command within 0 s"):
            self.run(fake_tool, tmp_path, "time.sleep(3600)", options)

    def test_command_that_hangs_and_qemu_that_will_not_go(
        self, fake_tool: FakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(machine, "PATIENCE_WITH_QEMU", 0.2)
        script = (
            f'open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))\n'
            'signal.signal(signal.SIGTERM, signal.SIG_IGN); status("ready 1\\n"); time.sleep(3600)'
        )
        with pytest.raises(GuestTimeoutError, match=r"did not end within 0\.2 s") as raised:
            self.run(fake_tool, tmp_path, script, machine.Options(timeout=0.2))
        assert raised.value.exit_status == 124
        assert not Path("/proc", (tmp_path / "pid").read_text()).exists()

    def test_command_line(self, tmp_path: Path) -> None:
        kernel = kernels.Kernel("6.1", "6.1.0-56-amd64", tmp_path)
        options = machine.Options(cpus=4, icount=True, nics=True, kaslr=True, append=("quick",))
        words = machine.arguments_for(kernel, options, Path("/o,ut"), Path("/i"), [7, 8], False)
        assert words[words.index("-smp") + 1] == "1"
        assert words[words.index("-kernel") + 1] == str(tmp_path / "vmlinuz")
        assert words[words.index("-append") + 1].endswith(" quick")
        assert "local,id=out,path=/o,,ut,security_model=none,multidevs=remap" in words
        assert {"socket,id=output,fd=7", "socket,id=status,fd=8", "shift=0,sleep=off"} <= set(words)

    def test_command_reaches_the_guest_word_by_word(self, tmp_path: Path) -> None:
        kernel = kernels.Kernel("6.1", "6.1.0-56-amd64", tmp_path)
        command = ["printf", "%s\\n", "it's", "$HOME", "a b"]
        options = machine.Options(environment={"WHAT": "x y"})
        files = machine.guest_files(kernel, command, tmp_path, options, False)
        script = tmp_path / "command"
        script.write_bytes(files["command"])
        done = subprocess.run(["bash", script], capture_output=True, text=True, check=True)
        assert done.stdout == "it's\n$HOME\na b\n"
        assert b"export WHAT='x y'\n" in files["command"]
        assert b"KPATH_TMPFS=''\n" in files["env"] or not tmp_path.is_relative_to("/tmp")


def test_what_was_started_goes_when_its_starter_is_killed() -> None:
    program = """
import subprocess, time
from kpath.guest.machine import gone_with_us
print(subprocess.Popen(gone_with_us(["sleep", "3600"], "TERM")).pid, flush=True)
time.sleep(3600)
"""

    def state(pid: int) -> str:
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
        except FileNotFoundError:
            return "gone"
        return "gone" if rest.startswith("Z") else name

    def wait_for(pid: int, wanted: str) -> None:
        deadline = time.monotonic() + 120
        while state(pid) != wanted:
            assert time.monotonic() < deadline, f"{state(pid)}, not {wanted}"
            time.sleep(0.02)

    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        wait_for(pid, "sleep")
        starter.kill()
    wait_for(pid, "gone")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_a", "test_a[6.1]"),
        ("test_a[x]", "test_a[6.1-x]"),
        ("TestA.test_b[x[0]]", "TestA.test_b[6.1-x[0]]"),
    ],
)
def test_kernel_becomes_the_first_parameter(name: str, expected: str) -> None:
    assert pytest_plugin.with_parameter(name, "6.1") == expected
