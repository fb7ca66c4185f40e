"""The lineage covers every documented function, and claims nothing that was not seen."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from kpath.flow import BUILT_IN, Became, Change, Graph, How, Lineage, LineageError, load, resolve
from kpath.flow.document import Kind, NoteKind
from kpath.flow.lineage import Entry, Found
from kpath.flow.resolve import Symbols, variants

DATA = Path(__file__).parent / "data"
KERNELS = ("6.1", "6.12", "6.18")


@cache
def symbols(kernel: str) -> Symbols:
    """What Debian's kernel has, of the functions that were looked up."""
    return Symbols(json.loads((DATA / "symbols.json").read_text("utf-8"))[kernel].split())


@cache
def looked_up() -> frozenset[str]:
    return frozenset(json.loads((DATA / "looked-up.json").read_text("utf-8")).split())


def entries() -> list[Entry]:
    return list(Lineage.load().entries.values())


def test_every_documented_function_has_an_entry() -> None:
    lineage = Lineage.load()
    for name in BUILT_IN:
        document = load(name)
        named = set(document.functions())
        named |= {
            note.subject
            for _, step in document.walk()
            for note in step.notes
            if note.kind is NoteKind.WRITTEN and step.kind in (Kind.CALL, Kind.ROOT) and "_" in note.subject
        }
        missing = named - set(lineage.entries) - {"ip_qeueu_xmit"}
        assert not missing, f"{name}: {sorted(missing)}"


def test_every_entry_is_documented() -> None:
    named = {function for name in BUILT_IN for function in load(name).functions()}
    spellings = {"bundle_create", "ip_push_appending_frames", "__tcp_push_appending_frames"}
    no_steps = {"NF_HOOK", "NF_HOOK_COND", "nf_hook", "nf_hook_slow", "hh_output"}
    assert set(Lineage.load().entries) - named == spellings | no_steps


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_every_probe_symbol_was_seen(entry: Entry) -> None:
    for symbol in entry.symbols:
        seen = any(symbols(kernel).has_symbol(variant) for kernel in KERNELS for variant in variants(symbol))
        # An optimistic candidate costs nothing, since the kernel is asked; but it must be the function itself,
        # or one that was looked up and was inlined in all of these builds.
        unverified = entry.unverified or (symbol in Lineage.load().entries and Lineage.load().of(symbol).unverified)
        assert seen or unverified or (symbol == entry.name and symbol in looked_up()), symbol


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_entries_are_fit_to_read(entry: Entry) -> None:
    assert entry.does and entry.does.endswith(".") and "\n" not in entry.does and len(entry.does) < 90
    assert not entry.story or entry.story.endswith(".")
    if entry.became in (Became.SAME, Became.MOVED) and not entry.unverified:
        assert not entry.trees or not entry.trees[-1].endswith("absent") or entry.name in RECENT, entry.trees
    if entry.became is Became.REMOVED and entry.trees:
        assert entry.trees[-1].endswith("absent"), entry.trees
    if entry.became is Became.NEVER:
        assert not entry.symbols
    if entry.unverified:
        assert entry.name not in looked_up()


RECENT = {
    "xfrm_state_lookup",
    "kfree_skb_reason",
    "napi_gro_receive",
    "napi_gro_complete",
}
"""Functions that some of the kernels from 5.10 on have, and others not."""


def test_no_commit_without_a_word_on_how_it_was_found() -> None:
    commits = {commit.hash: commit for entry in entries() for commit in entry.changes}
    commits |= {commit.hash: commit for arrow in Lineage.load().arrows.values() for commit in arrow.changes}
    assert commits["89aef8921bfb"].found is Found.MAIL
    assert commits["c439cb2e4b1"].found is Found.HISTORY
    assert str(commits["1fb6f159fd21"]) == '1fb6f159fd21 "tcp: add tcp_conn_request", v3.17'
    assert all(commit.release.startswith("v") for commit in commits.values())


def test_arrows_of_the_lineage_are_arrows_of_the_documents() -> None:
    drawn: set[tuple[str, str]] = set()
    for name in BUILT_IN[:2]:
        graph = Graph.of(load(name))
        for node in graph.nodes.values():
            for caller in graph.functions(node.owner) if node.owner else ():
                drawn |= {(caller, callee) for callee in (*graph.functions(node.id), node.step.name, node.step.label)}
    for arrow in Lineage.load().arrows.values():
        assert (arrow.caller, arrow.callee) in drawn, (arrow.caller, arrow.callee)
        assert arrow.changes or arrow.evidence or arrow.what is Change.REMOVED
        assert arrow.through or arrow.what is Change.REMOVED
        for function in arrow.through:
            assert function in Lineage.load().entries


@pytest.mark.parametrize(
    ("function", "kernel", "how", "first", "certain"),
    [
        ("ip_forward", "6.1", How.FRAME, "ip_forward", True),
        ("ip_rcv_finish", "6.1", How.FRAME, "ip_rcv_finish", False),
        ("ip_rcv_finish_core", "6.1", How.FRAME, "ip_rcv_finish_core.constprop.0", True),
        ("ip_rcv_finish_core", "6.18", How.FRAME, "ip_rcv_finish_core", True),
        ("ip_local_out", "6.12", How.FRAME, "ip_local_out", False),
        ("xfrm_lookup", "6.12", How.FRAME, "xfrm_lookup_with_ifid", True),
        ("dev_queue_xmit", "6.1", How.FRAME, "__dev_queue_xmit", True),
        ("kfree_skb", "6.1", How.FRAME, "kfree_skb_reason", True),
        ("kfree_skb", "6.12", How.FRAME, "sk_skb_reason_drop", True),
        ("napi_gro_receive", "6.18", How.FRAME, "gro_receive_skb", True),
        ("xfrm4_output_finish2", "6.1", How.FRAME, "xfrm_output_resume", True),
        ("xfrm4_policy_check", "6.12", How.IMPLIED, "__xfrm_policy_check", False),
        ("neigh_hh_output", "6.12", How.IMPLIED, "__dev_queue_xmit", False),
        ("dst_input", "6.12", How.FACT, "", False),
        ("__mkroute_input", "6.12", How.FACT, "", False),
        ("ip_route_input_cached", "6.12", How.NEVER, "", False),
        ("net_xmit_eval", "6.12", How.NEVER, "", False),
        ("xfrm_find_bundle", "6.12", How.NEVER, "", False),
    ],
)
def test_resolution_asks_the_kernel(function: str, kernel: str, how: How, first: str, certain: bool) -> None:
    found = resolve(Lineage.load().of(function), symbols(kernel))
    assert found.how is how, found
    assert found.symbols[:1] == ((first,) if first else ())
    assert found.certain is certain
    assert found.reason


def test_several_functions_may_stand_for_one() -> None:
    found = resolve(Lineage.load().of("ip_rcv"), symbols("6.12"))
    assert found.symbols == ("ip_rcv", "ip_list_rcv")


def test_what_is_there_but_not_probed_is_seen_as_a_caller() -> None:
    class Bare(Symbols):
        def probed(self, name: str) -> bool:
            return False

    found = resolve(Lineage.load().of("ip_forward"), Bare(["ip_forward"]))
    assert (found.how, found.symbols, found.visible) == (How.CALLER, ("ip_forward",), False)
    assert resolve(Lineage.load().of("dst_output"), Bare([])).how is How.FACT


def test_unknown_functions_get_close_names() -> None:
    with pytest.raises(LineageError, match="ip_forward"):
        Lineage.load().of("ip_foward")
    assert Lineage.load().close("xfrm_find") and not Lineage.load().close("q")
    assert Lineage.load().successors("ip_fragment") == ("ip_fragment", "ip_do_fragment")
    assert Lineage.load().successors("nothing") == ("nothing",)


def test_kallsyms_are_read_without_a_version(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("ffffffff81000000 T ip_rcv\nffffffff81000010 t esp_output\t[esp4]\n0 D jiffies\nbroken\n")
    kernel = Symbols.of_kallsyms(path)
    assert kernel.has_symbol("ip_rcv") and kernel.probed("esp_output") and not kernel.has_symbol("jiffies")


def test_a_function_that_the_document_names_stands_for_itself() -> None:
    entry = Lineage.load().of("tcp_transmit_skb")
    assert resolve(entry, symbols("6.12"), load("linux-2.6.21.1").functions()).symbols == ("__tcp_transmit_skb",)
    assert resolve(entry, symbols("6.12"), load("linux-6").functions()).how is How.NEVER
    assert not resolve(Lineage.load().of("xfrm_lookup"), symbols("6.12"), load("linux-6").functions()).certain
