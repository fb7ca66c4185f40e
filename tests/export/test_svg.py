"""The picture of a packet: XML that stands alone, with the tree that the terminal shows."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from kpath.report import text
from kpath.report.export import svg
from kpath.report.export.errors import ExportError
from kpath.report.export.source import Source
from tests.export.samples import KERNELS, capture, hostile

NS = "{http://www.w3.org/2000/svg}"


def exported(path: Path, only: tuple[int, ...] = ()) -> ElementTree.Element:
    out = io.BytesIO()
    with Source(path, only=only) as source:
        svg.write(source, out)
    return ElementTree.fromstring(out.getvalue().decode())


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_holds_what_the_terminal_shows(kernel: str) -> None:
    root = exported(capture("nft-drop", kernel))
    shown = ["".join(t.text or "" for t in line.iter(f"{NS}tspan")) for line in root.iter(f"{NS}text")]
    with Source(capture("nft-drop", kernel)) as source:
        packet = next(source.packets())
        lines = text.render(packet.journey, packet.traversals, source.knowledge)
    assert ["".join(s.split()) for s in shown] == ["".join(line.plain.split()) for line in lines]


def test_deeper_lines_stand_further_right_and_nothing_is_outside() -> None:
    root = exported(capture("nft-drop"))
    place = {t.text: float(t.get("x", "0")) for t in root.iter(f"{NS}tspan")}
    assert place["udp_sendmsg"] < place["udp_send_skb"] < place["ip_send_skb"]
    width = float(root.get("width", "0"))
    for run in root.iter(f"{NS}tspan"):
        assert float(run.get("x", "0")) + float(run.get("textLength", "0")) <= width


def test_only_plain_elements_whatever_was_captured(tmp_path: Path) -> None:
    root = exported(hostile(tmp_path / "a.kpath"))
    assert {element.tag.removeprefix(NS) for element in root.iter()} == {
        "svg",
        "title",
        "style",
        "rect",
        "text",
        "tspan",
    }
    assert "http" not in "".join(e.text or "" for e in root.iter(f"{NS}style"))


def test_a_packet_by_its_number() -> None:
    title = exported(capture("tcp"), (4,)).find(f"{NS}title")
    assert title is not None and (title.text or "").startswith("#4 ")
    with pytest.raises(ExportError, match="no such packet"):
        exported(capture("tcp"), (4000,))
