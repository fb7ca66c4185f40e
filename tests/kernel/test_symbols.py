from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpath.kernel.errors import NoSymbolsError
from kpath.kernel.symbols import MAX_EXTENT, Symbols
from tests.kernel.frozen_kernels import SERIES, kernel

LINES = """\
ffffffff81000000 T _text
ffffffff81000ff0 t __pfx_ip_rcv
ffffffff81001000 T ip_rcv
ffffffff81001100 t dst_output
ffffffff81001200 t dst_output
ffffffff81001300 t ip_fragment.constprop.0
ffffffff81001380 t tcp_v4_rcv.cold
ffffffff81001400 D shared_data
ffffffff81001400 t __cfi_shared
ffffffff81001400 t __pi_shared
ffffffff81001400 t shared
ffffffffc0000000 t esp_output\t[esp4]
ffffffffc0000100 d dst_output\t[esp4]
ffffffffc0100000 t bpf_prog_6deef7357e7b4530\t[bpf]
""".splitlines()


@pytest.fixture(scope="module")
def symbols() -> Symbols:
    return Symbols.from_lines(LINES)


def test_names_to_addresses(symbols: Symbols) -> None:
    assert len(symbols) == len(LINES)
    assert symbols.addresses("ip_rcv") == [0xFFFFFFFF81001000]
    assert symbols.addresses("nonsense") == []
    assert len(symbols.addresses("dst_output")) == 3
    assert len(symbols.functions("dst_output")) == 2  # one of the three is data
    assert symbols.functions("esp_output")[0].module == "esp4"
    assert symbols.modules == {"esp4"}


def test_clones(symbols: Symbols) -> None:
    assert symbols.aliases("ip_fragment") == ["ip_fragment.constprop.0"]
    assert symbols.aliases("tcp_v4_rcv") == ["tcp_v4_rcv.cold"]
    assert symbols.aliases("ip_rcv") == []
    assert symbols.matching("ip_") == ["ip_fragment.constprop.0", "ip_rcv"]


def test_addresses_to_names(symbols: Symbols) -> None:
    inside = symbols.resolve(0xFFFFFFFF81001010)
    assert inside is not None
    assert (str(inside), inside.address, inside.module) == ("ip_rcv+0x10", 0xFFFFFFFF81001000, None)
    assert symbols.end(0xFFFFFFFF81001010) == 0xFFFFFFFF81001100
    shared = symbols.resolve(0xFFFFFFFF81001400)
    assert shared is not None
    assert shared.name == "shared"  # neither the data, nor the padding, nor the alias at the same address
    assert symbols.is_function_start(0xFFFFFFFF81001400)
    assert not symbols.is_function_start(0xFFFFFFFF81000FF0)
    assert not symbols.is_function_start(0xFFFFFFFF81001001)


@pytest.mark.parametrize(
    "address", [-1, 0, 1, 0x7FFF_0000_0000, 0xFFFFFFFFC0100001 + MAX_EXTENT, 1 << 64, 1 << 80]
)
def test_addresses_that_lie_nowhere(symbols: Symbols, address: int) -> None:
    assert symbols.resolve(address) is None
    assert not symbols.is_function_start(address)


def test_the_last_symbol_has_no_end(symbols: Symbols) -> None:
    assert symbols.end(0xFFFFFFFFC0100000) == 1 << 64


def test_hidden_addresses() -> None:
    with pytest.raises(NoSymbolsError, match=r"hides its addresses: run as root"):
        Symbols.from_lines(["0000000000000000 T _text", "0000000000000000 T ip_rcv"])
    with pytest.raises(NoSymbolsError, match="run as root"):
        Symbols(b"")
    with pytest.raises(NoSymbolsError, match="No such file"):
        Symbols.load(Path("/nonexistent"))


addresses = st.integers(1, 1 << 22).map(lambda n: 0xFFFFFFFF81000000 + n)


@given(st.lists(addresses, min_size=1, max_size=50), addresses)
def test_resolve_agrees_with_a_plain_search(starts: list[int], address: int) -> None:
    symbols = Symbols.from_lines(f"{start:016x} t f{i}" for i, start in enumerate(starts))
    below = [s for s in starts if s <= address]
    found = symbols.resolve(address)
    if not below or address - max(below) > MAX_EXTENT:
        assert found is None
    else:
        assert found is not None
        assert (found.address, found.offset) == (max(below), address - max(below))
        assert found.address in symbols.addresses(found.name)
    above = [s for s in starts if s > address]
    assert symbols.end(address) == (min(above) if above else 1 << 64)


@pytest.mark.parametrize("series", SERIES)
def test_frozen_symbols(series: str) -> None:
    symbols = kernel(series).symbols
    [start] = symbols.addresses("ip_rcv")
    found = symbols.resolve(start + 7)
    assert found is not None
    assert (found.name, found.offset) == ("ip_rcv", 7)
    assert 64 < symbols.end(start) - start < 4096
    assert {"esp4", "bridge"} <= symbols.modules


@given(
    st.lists(
        st.tuples(
            st.text("ab._", min_size=1, max_size=20), st.sampled_from("tTdb"), st.sampled_from(("", "ab", "b_"))
        ),
        min_size=1, max_size=40,
    )
)  # fmt: skip
def test_a_name_is_found_wherever_it_is_borne(lines: list[tuple[str, str, str]]) -> None:
    text = [
        f"{at:016x} {kind} {name}" + (f"\t[{owner}]" if owner else "")
        for at, (name, kind, owner) in enumerate(lines, 1)
    ]
    symbols = Symbols.from_lines(text)
    names = {name for name, _, _ in lines}
    for name in names | {"a", "ab", "bab", "ababababababababababa", ""}:
        assert symbols.addresses(name) == [at for at, line in enumerate(lines, 1) if line[0] == name]
    assert symbols.modules == {owner for _, _, owner in lines if owner}
    assert symbols.matching("a") == sorted(name for name in names if name.startswith("a"))
    for base in names:
        whole = {name for name in names if "." in name and name.partition(".")[0] == base}
        assert symbols.aliases(base) == sorted(whole)
