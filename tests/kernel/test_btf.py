from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpath.kernel.btf import Btf, BtfKind, Param, Prototype, position, skb_position
from kpath.kernel.btf_functions import Functions, is_type
from kpath.kernel.errors import KernelError, NoBtfError, UnknownTypeError
from kpath.kernel.reduce import reduce_btf
from tests.kernel.frozen_kernels import SERIES, kernel

MODULE_BTF = [series for series in SERIES if series != "5.10"]
"""Modules describe their types since Linux 5.11."""

each_kernel = pytest.mark.parametrize("series", SERIES)


@each_kernel
def test_offsets_of_what_every_kernel_has(series: str) -> None:
    btf = kernel(series).btf
    skb = btf.struct("sk_buff")
    assert skb["len"].size == skb["data_len"].size == 4
    assert skb["data_len"].offset == skb["len"].offset + 4
    assert skb["head"].size == 8
    assert skb["data"].offset == skb["head"].offset + 8
    assert skb["_skb_refdst"].size == 8
    assert all(0 <= m.bit_offset < skb.size * 8 for m in skb.members.values())
    assert btf.offset("nf_hook_state.okfn").offset == 40
    assert btf.offset("neighbour.nud_state").size == 1
    assert btf.offset("dst_entry.output").offset == btf.offset("dst_entry.input").offset + 8
    assert btf.offset("task_struct.stack").size == 8


@each_kernel
def test_members_of_anonymous_parts_count_as_the_structures_own(series: str) -> None:
    skb = kernel(series).btf.struct("sk_buff")
    assert skb["dev"].offset == 16  # in a union in a struct in a union
    assert skb["next"].offset == 0
    cloned = skb["cloned"]
    assert cloned.bit_size == 1
    assert cloned.size == 1


@each_kernel
def test_a_path_adds_up(series: str) -> None:
    btf = kernel(series).btf
    inum = btf.offset("net.ns.inum")
    assert inum == btf.member_path("net", "ns.inum")
    assert inum.bit_offset == btf.offset("net.ns").bit_offset + btf.offset("ns_common.inum").bit_offset
    assert inum.size == 4
    assert btf.offset("net_device.nd_net.net").offset == btf.offset("net_device.nd_net").offset


def test_offsets_known_from_elsewhere() -> None:
    # read from Debian's debug information of 6.12, not from BTF
    skb = kernel("6.12").btf.struct("sk_buff")
    assert skb.size == 232
    expected = {"sk": 24, "_skb_refdst": 88, "len": 112, "mark": 168, "protocol": 180, "network_header": 184}
    assert {name: skb[name].offset for name in expected} == expected


@each_kernel
def test_what_is_absent_has_a_plain_error(series: str) -> None:
    btf = kernel(series).btf
    with pytest.raises(UnknownTypeError, match="sk_buff has no member nonsense in this kernel"):
        btf.offset("sk_buff.nonsense")
    with pytest.raises(UnknownTypeError, match="no struct or union nonsense"):
        btf.struct("nonsense")
    with pytest.raises(UnknownTypeError, match="no enum nonsense"):
        btf.enum("nonsense")
    with pytest.raises(UnknownTypeError, match=r"sk_buff\.dev is no structure"):
        btf.offset("sk_buff.dev.ifindex")  # leads through a pointer
    assert btf.find("sk_buff.nonsense") is None
    assert btf.struct("sk_buff").get("nonsense") is None
    assert btf.function("nonsense") is None
    assert not btf.has_struct("nonsense")


@each_kernel
def test_prototypes(series: str) -> None:
    btf = kernel(series).btf
    rcv = btf.function("ip_rcv")
    assert rcv is not None
    assert str(rcv) == (
        "int ip_rcv(struct sk_buff *skb, struct net_device *dev, struct packet_type *pt, "
        "struct net_device *orig_dev)"
    )
    assert skb_position(rcv) == 0
    hook = btf.function("nf_hook_slow")
    assert hook is not None
    assert hook.params[1] == Param("state", "struct nf_hook_state *")
    output = btf.function("ip_output")
    assert output is not None
    assert skb_position(output) == 2
    fragment = btf.function("ip_do_fragment")
    assert fragment is not None
    assert fragment.params[3].type == "int (*)(struct net *, struct sock *, struct sk_buff *)"


@pytest.mark.parametrize("series", MODULE_BTF)
def test_a_pointer_to_a_pointer_is_no_skb(series: str) -> None:
    handler = kernel(series).btf.function("br_handle_frame")
    assert handler is not None
    assert handler.params[0].type == "struct sk_buff **"
    assert skb_position(handler) is None


def test_position_finds_any_type() -> None:
    proto = Prototype("f", (Param("net", "struct net *"), Param("skb", "struct sk_buff *")), "int")
    assert position(proto, "struct net *") == 0
    assert position(proto, "struct sock *") is None
    assert str(Prototype("g", (), "void")) == "void g(void)"


@pytest.mark.parametrize("series", MODULE_BTF)
def test_functions_of_modules_are_known(series: str) -> None:
    esp = kernel(series).btf.function("esp_output")
    assert esp is not None
    assert skb_position(esp) == 1


@each_kernel
def test_reducing_again_changes_nothing_that_was_kept(series: str) -> None:
    btf = kernel(series).btf
    again = Btf.from_bytes(reduce_btf([btf], ["sk_buff", "net"], ["ip_rcv"], ["skb_drop_reason"]))
    for name in ("sk_buff", "net"):
        for member, before in btf.struct(name).members.items():
            after = again.struct(name)[member]
            assert (after.bit_offset, after.bit_size, after.size) == (
                before.bit_offset,
                before.bit_size,
                before.size,
            )
    assert again.function("ip_rcv") == btf.function("ip_rcv")
    assert again.function("ip_output") is None
    assert bool(again.find_id("skb_drop_reason", BtfKind.ENUM)) == bool(
        btf.find_id("skb_drop_reason", BtfKind.ENUM)
    )


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(NoBtfError, match="No such file"):
        Btf.load(tmp_path / "none")
    (tmp_path / "junk").write_bytes(b"junk" * 100)
    with pytest.raises(NoBtfError, match="no BTF"):
        Btf.load(tmp_path / "junk")
    with pytest.raises(NoBtfError, match="Module nonsense"):
        Btf.module("nonsense", kernel("6.12").btf)


@given(st.binary(max_size=200))
def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(KernelError):
        Btf.from_bytes(data)


@each_kernel
def test_functions_are_those_that_libbpf_finds(series: str) -> None:
    btf = kernel(series).btf
    swept = Functions.sweep(btf._handle)
    assert swept is not None
    names = {swept.names[i] for i in range(len(swept.names))}
    assert len(names) > 50
    for name in (*sorted(names), b"sk_buff", b"ip_rcv_", b""):
        type_id = btf.find_id(name.decode(), BtfKind.FUNC)
        found = btf.function(name.decode())
        assert (found is not None) == bool(type_id), name
        if found is not None:
            assert str(found) == str(btf._prototype(name.decode(), btf.type(type_id).ref))


def test_only_where_a_type_begins_is_one() -> None:
    addresses = [0, 100, 112, 124, 140]
    begins = [a for a in range(90, 150) if is_type(a, len(addresses), addresses.__getitem__)]
    assert begins == addresses[1:]
    assert not is_type(0, 1, addresses.__getitem__)
