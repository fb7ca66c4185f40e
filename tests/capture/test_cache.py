"""Kept programs: the same comes back, and nothing that somebody else could have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kpath.capture import cache, direct
from kpath.capture.bytecode import ARRAYS, Code, MapSpec, with_maps
from kpath.capture.cache import Cache

KEY = "0" * 64
MAPS = (MapSpec("counts", 2, 4, 64, 2, 1024), MapSpec("interrupt_shadow", 6, 4, 8, 1, 0))
LOAD = bytes.fromhex("1811000001000000" "0000000000000000")  # r1 = map number 1
EXIT = bytes.fromhex("9500000000000000")
CODE = Code(MAPS, {"body": LOAD + EXIT, "drop": EXIT})


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    found = Cache(tmp_path / "kpath")
    assert not found.used()
    assert found.get(KEY) is None
    found.put(KEY, CODE)
    return found


def file_of(kept: Cache, tmp_path: Path) -> Path:
    (found,) = (tmp_path / "kpath").iterdir()
    return found


def test_what_was_kept_comes_back(kept: Cache) -> None:
    assert kept.used()
    assert kept.get(KEY) == CODE
    assert kept.get("1" * 64) is None
    assert kept.get("") is None


@pytest.mark.parametrize("size", [0, 1, 64, 65, 100, -1])
def test_a_file_that_is_cut_off_is_nothing(kept: Cache, tmp_path: Path, size: int) -> None:
    path = file_of(kept, tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    assert kept.get(KEY) is None


def test_a_file_with_a_wrong_bit_is_nothing(kept: Cache, tmp_path: Path) -> None:
    path = file_of(kept, tmp_path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert kept.get(KEY) is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_believed(kept: Cache, tmp_path: Path, mode: int) -> None:
    file_of(kept, tmp_path).chmod(mode)
    assert kept.get(KEY) is None


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_directory_that_others_may_write_is_not_used(kept: Cache, tmp_path: Path, mode: int) -> None:
    (tmp_path / "kpath").chmod(mode)
    assert kept.get(KEY) is None
    kept.put("1" * 64, CODE)
    assert len(list((tmp_path / "kpath").iterdir())) == 1


def test_links_are_not_followed(kept: Cache, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "kpath")
    assert Cache(tmp_path / "link").get(KEY) is None
    path = file_of(kept, tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert kept.get(KEY) is None


def test_what_belongs_to_somebody_else_is_not_believed(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    assert kept.get(KEY) is None


def test_the_oldest_go(tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    for number in range(cache.KEPT + 3):
        kept.put(f"{number:064}", CODE)
        os.utime(tmp_path / f"{number:064}.json", (number, number))
    assert kept.get(f"{2:064}") is None
    assert kept.get(f"{3:064}") == CODE
    assert len(list(tmp_path.iterdir())) == cache.KEPT


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = Cache(tmp_path / "file")
    kept.put(KEY, CODE)
    assert not kept.used()
    assert kept.get(KEY) is None


def test_the_key_tells_texts_and_headers_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").touch()
    version = tmp_path / "bcc" / "version.py"
    version.write_text("1")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "bcc", raising=False)
    header = tmp_path / "a.h"
    header.write_text("x")
    keys = [cache.key("text", ["-O2"], [header]), cache.key("other text", ["-O2"], [header])]
    keys.append(cache.key("text", ["-O1"], [header]))
    header.write_text("y")
    keys.append(cache.key("text", ["-O2"], [header]))
    version.write_text("2")
    keys.append(cache.key("text", ["-O2"], [header]))
    assert len({*keys, ""}) == 6
    assert cache.key("text", ["-O2"], [header]) == keys[-1]


def test_maps_are_named_by_other_numbers() -> None:
    assert with_maps(LOAD + EXIT, {1: 0x1234}) == bytes.fromhex("1811000034120000" "0000000000000000") + EXIT
    value = bytes.fromhex("1801000001000000" "0000000000000000")  # r1 = 1, no map
    assert with_maps(value, {}) == value


def test_arrays_are_named_by_other_numbers_where_their_address_is_asked_for() -> None:
    mark = ARRAYS["homes"].to_bytes(4, "little")
    asked = bytes([0x18, 0x21, 0, 0]) + mark + bytes(8)
    assert with_maps(asked, {ARRAYS["homes"]: 3}) == bytes([0x18, 0x21, 0, 0, 3, 0, 0, 0]) + bytes(8)


def test_calls_of_the_helper_that_does_not_exist_become_calls_of_the_kernels_function() -> None:
    call = bytes([0x85, 0, 0, 0]) + direct.CALL.to_bytes(4, "little")
    other = bytes([0x85, 0, 0, 0]) + (5).to_bytes(4, "little")
    assert direct.patched(call + other, 77) == bytes([0x85, 0x20, 0, 0]) + (77).to_bytes(4, "little") + other
