"""``kpath flows`` and ``kpath explain``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kpath.cli.explain import explain
from kpath.cli.flows import flows
from kpath.flow import BUILT_IN, Lineage, load
from kpath.flow.diff import difference
from kpath.flow.explain import explain as explained
from kpath.flow.graph import Graph


def run(*arguments: str) -> Result:
    return CliRunner().invoke(flows, arguments)


def test_documents_are_listed() -> None:
    result = run()
    assert result.exit_code == 0
    for name in BUILT_IN:
        assert name in result.output


def test_the_tree_has_the_lines_and_no_escapes() -> None:
    result = run("linux-2.6.21.1")
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "-> ip_rcv_finish  :17" in result.output
    assert "~> @netif_receive_skb through softnet_data.input_pkt_queue  :7-8 !" in result.output
    assert "written" not in result.output
    for flow in load("linux-2.6.21.1").flows:
        assert f"flow {flow.name}" in result.output


def test_one_flow_with_its_notes() -> None:
    result = run("linux-2.6.21.1", "icmp_push_reply", "--notes")
    assert '! written "ip_push_appending_frames"' in result.output
    assert "tcp_sendmsg" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("linux-2.4",), "expected linux-2.6.21.1, linux-2.6.32.27, linux-6, or the path of a .flow file"),
        (("linux-6", "ip_recv"), "linux-6 has no flow 'ip_recv'; it has ip_rcv"),
        (("--diff", "linux-6", "nothing"), "no document 'nothing'"),
    ],
)
def test_what_is_not_there_is_said(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_a_wrong_file_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "d.flow"
    path.write_text("document d\nflow f entry\n  f\n    -> 7\n")
    result = run(str(path))
    assert result.exit_code == 2
    assert f"{path}:4:8: found '7', expected" in result.output
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in run(str(path)).output


def test_checking_reports_what_is_not_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "d.flow"
    path.write_text("document d\nflow f entry\n  f\n    -> g when the moon is full\n")
    result = run(str(path), "--check")
    assert result.exit_code == 0
    assert "d:4: the condition 'the moon is full' is not in the vocabulary" in result.output


def test_dot_names_every_node_and_edge() -> None:
    result = run("linux-2.6.32.27", "--dot")
    graph = Graph.of(load("linux-2.6.32.27"))
    for edge in graph.edges:
        assert f'"{edge.source}" -> "{edge.target}"' in result.output
    assert result.output.count("{") == result.output.count("}")
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=result.output, text=True, check=True, capture_output=True)


def test_mermaid_is_well_formed() -> None:
    result = run("linux-6", "dst_output", "--mermaid")
    lines = result.output.splitlines()
    assert lines[0] == "flowchart LR"
    nodes = {match[1] for line in lines if (match := re.match(r"    (n\d+)[\[({]", line))}
    ends = {name for line in lines for name in re.findall(r"^  (n\d+) | (n\d+)$", line) for name in name if name}
    assert ends <= nodes and nodes
    assert sum(line.strip().startswith("subgraph") for line in lines) == sum(line.strip() == "end" for line in lines)
    assert "dst-&gt;output == ip_output" in result.output


@pytest.mark.parametrize("drawn", [True, False])
def test_svg_is_xml(drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not drawn:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    result = run("linux-2.6.21.1", "ip_forward", "--svg")
    ElementTree.fromstring(result.output)
    assert "ip_forward_finish" in result.output
    assert not re.search(r"url\([\"']?http", result.output), "it loads nothing"


def test_svg_without_a_working_dot_is_still_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    assert "<svg" in run("linux-2.6.21.1", "ip_forward", "--svg").output


def test_the_difference_of_two_documents() -> None:
    found = difference(load("linux-2.6.21.1"), load("linux-6"), Lineage.load())
    assert "xfrm_find_bundle" in {gone.name for gone in found.gone}
    assert ("xfrm4_output_finish2", ("xfrm_output_resume",)) in {(one.name, one.now) for one in found.renamed}
    moved = {one.name: one for one in found.moved}
    assert moved["tcp_v4_send_synack"].through == ("tcp_conn_request",)
    assert "ip_rcv_core" in found.new
    assert "ip_forward" in found.same
    every = [*(one.name for one in found.gone), *(one.name for one in found.renamed), *moved, *found.same]
    assert len(every) == len(set(every))
    result = run("--diff", "linux-2.6.21.1", "linux-6")
    assert result.exit_code == 0
    assert "- xfrm_find_bundle  Replaced by" in result.output
    assert "> tcp_v4_send_synack  under tcp_v4_conn_request, now through tcp_conn_request" in result.output


def test_a_document_does_not_differ_from_itself() -> None:
    for name in BUILT_IN:
        found = difference(load(name), load(name), Lineage.load())
        assert not (found.gone or found.renamed or found.moved or found.new)


def test_explain_tells_all() -> None:
    result = CliRunner().invoke(explain, ["ip_route_input"])
    assert result.exit_code == 0, result.output
    assert "linux-2.6.21.1.txt:18  -> ip_route_input" in result.output
    assert "407eadd996d" in result.output and "v2.6.35-rc1" in result.output
    assert "inlined" in result.output
    assert "\x1b" not in result.output


def test_explain_tells_a_slip() -> None:
    result = CliRunner().invoke(explain, ["ip_push_appending_frames"])
    assert "linux-2.6.21.1.txt:60" in result.output and "! written" in result.output and "never" in result.output


def test_every_function_is_mentioned_somewhere() -> None:
    for function in Lineage.load().entries:
        found = explained(function).mentions
        assert found, function
        assert all(mention.line > 0 for mention in found)


def test_explain_as_json() -> None:
    data = json.loads(CliRunner().invoke(explain, ["ip_forward", "--json"]).output)
    assert data["function"] == "ip_forward"
    assert {"file": "linux-2.6.21.1.txt", "line": 34, "text": "ip_forward", "notes": []} in data["mentions"]


def test_explain_without_kallsyms(monkeypatch: pytest.MonkeyPatch) -> None:
    from kpath.flow.resolve import Symbols

    def fail() -> Symbols:
        raise FileNotFoundError

    monkeypatch.setattr(Symbols, "of_kallsyms", staticmethod(fail))
    result = CliRunner().invoke(explain, ["ip_rcv"])
    assert result.exit_code == 0
    assert "there is no /proc/kallsyms here" in result.output


def test_unknown_functions_are_refused_with_close_names() -> None:
    result = CliRunner().invoke(explain, ["ip_forwad"])
    assert result.exit_code == 2
    assert "no document names the function 'ip_forwad'; close to it: ip_forward" in result.output
    assert CliRunner().invoke(explain, ["zzz"]).output == "kpath explain: no document names the function 'zzz'\n"


def test_the_package_needs_no_kernel() -> None:
    code = (
        "import sys; import kpath.flow, kpath.flow.explain, kpath.flow.diff, kpath.flow.picture, kpath.cli.flows,"
        " kpath.cli.explain; kpath.flow.load('linux-6');"
        " sys.exit(any(name in sys.modules for name in ('numpy', 'bcc', 'pyroute2')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
