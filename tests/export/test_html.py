"""The page: it says what the capture holds, needs nothing from anywhere, and takes nothing captured at its word."""

from __future__ import annotations

import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kpath.capture.tables import Loss
from kpath.report.export import divergences, html
from kpath.report.export.documents import Documents
from kpath.report.export.html import duration
from kpath.report.export.paths import Latencies, signature, summary
from kpath.report.export.source import Source
from tests.export.samples import ALL, KERNELS, MONOTONIC, capture, diverging, hostile


class Page(HTMLParser):
    """Text and elements; checks that elements are closed in order."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return re.sub(r"\s+", " ", "".join(self.texts))


def exported(path: Path) -> str:
    out = io.BytesIO()
    with Source(path) as source:
        html.write(source, out)
    return out.getvalue().decode()


@pytest.mark.parametrize("path", ALL[:: max(1, len(ALL) // 45)], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_capture_makes_a_page_that_stands_alone(path: Path) -> None:
    page = Page(exported(path))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "link", "iframe", "object", "a", "form", "base"}
    for _tag, attributes in page.elements:
        assert not {"src", "href", "onclick", "onload"} & attributes.keys()


def test_it_says_what_happened() -> None:
    text = Page(exported(capture("nft-drop"))).text
    assert "1 packets" in text and "2 traversals" in text and "1 dropped" in text
    assert "forward → ip_rcv → ip_forward → dropped NETFILTER_DROP" in text
    assert re.search(r"NETFILTER_DROP ?nft_do_chain\+0x[0-9a-f]+ \[nf_tables\] ?forward ?kp-router ?1", text)
    assert "nf_hook_slow FORWARD → drop" in text
    assert "No event was lost" in text


def test_trees_are_indented_by_who_called_whom() -> None:
    source = exported(capture("nft-drop"))
    lines = re.sub(r"<[^>]*>", "", source[source.index('<div class="tree">') :]).splitlines()
    column = {
        name: next(x.index(name) for x in lines if name in x) for name in ("udp_sendmsg", "udp_send_skb", "ip_output")
    }
    assert column["udp_sendmsg"] < column["udp_send_skb"] < column["ip_output"]


def test_nothing_captured_becomes_markup(tmp_path: Path) -> None:
    source = exported(hostile(tmp_path / "<b>&.kpath"))
    page = Page(source)
    assert "<script" not in source and "\x1b" not in source
    assert "script" not in {tag for tag, _ in page.elements}
    for place in ("fn", "by", "at", "WHY", "ns", "eth", "host", "udp"):
        assert f"{place}<script>alert(1)</script>" in page.text, place


def test_losses_and_a_cut_recording_are_said_at_the_top(tmp_path: Path) -> None:
    loss = Loss(MONOTONIC + 1_000_000, MONOTONIC + 2_000_000, {1: 30}, {"ip_rcv": 2})
    text = Page(exported(hostile(tmp_path / "a.kpath", losses=(loss,), end=False))).text
    assert "Not everything was seen." in text and "30 events were lost" in text
    assert "the file has no footer" in text
    assert "1 ms2 ms CPU 1: 30 ip_rcv: 2" in text or "CPU 1: 30" in text


def test_documents_are_spoken_of_when_it_is_known_what_could_be_seen(tmp_path: Path) -> None:
    assert "Documents" not in Page(exported(hostile(tmp_path / "a.kpath"))).text
    text = Page(exported(capture("ping"))).text
    assert re.search(r"linux-6 ?\d+ conforms", text) and "functions not seen" in text


def test_the_tree_of_each_document_shows_what_was_seen() -> None:
    source = exported(capture("nft-drop"))
    text = Page(source).text
    for document in ("linux-2.6.21.1", "linux-2.6.32.27", "linux-6"):
        assert re.search(rf"{re.escape(document)} ?\d+ / \d+", text)
    assert re.search(r"flow ip_forward · [1-9]\d* of \d+", text)
    assert re.search(r"1 ● ip_forward", text) and "○ -> ip_forward_finish" in text
    assert re.search(r'class="invisible" title="[^"]+">∅', source), "why it cannot be seen"
    with Source(capture("nft-drop")) as opened:
        documents = Documents(opened)
        for packet in opened.packets():
            documents.add(packet)
        for covered in documents.covered():
            marks = Counter(line.mark for branch in covered.branches for line in branch.lines)
            assert marks["●"] and marks["○"]
            assert sum(branch.seen for branch in covered.branches) == marks["●"] + marks["◌"]


def test_what_diverges_is_shown_with_what_was_expected(tmp_path: Path) -> None:
    source = exported(diverging(tmp_path / "a.kpath"))
    text = Page(source).text
    assert "went to ip_local_deliver where the facts say ip_forward" in text
    assert "expected: ip_forward" in text and "facts: dst->input is ip_forward" in text
    assert re.search(r"written in: linux-6:\d+", text) and "first: #1 10.1.0.1" in text
    assert re.search(r"┄ expected ip_forward\s+✗ ip_local_deliver\s+ip_local_deliver_finish", text)
    assert "Nothing that was seen whole diverges" not in text
    assert "Nothing that was seen whole diverges" in Page(exported(capture("udp-open"))).text


def test_a_loss_that_is_told_late_takes_back_what_diverges(tmp_path: Path) -> None:
    lost = Loss(0, (1 << 63) - 1, {0: 1})
    text = Page(exported(diverging(tmp_path / "a.kpath", losses=(lost,)))).text
    assert "Nothing that was seen whole diverges" in text and "where the facts say" not in text
    assert "inconclusive" in text


def test_what_diverges_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergences, "MAX_DIVERGENCES", 1)
    assert "and 1 more finding" in Page(exported(diverging(tmp_path / "a.kpath"))).text


def test_a_loss_that_is_told_late_makes_verdicts_inconclusive() -> None:
    with Source(capture("ping")) as source:
        documents = Documents(source)
        for packet in source.packets():
            documents.add(packet)
        whole = {c.document: c.verdicts for c in documents.covered()}
        source.assembler.losses.append(Loss(0, source.assembler.now, {0: 1}))
        lossy = {c.document: c.verdicts for c in documents.covered()}
    assert whole["linux-6"].get("conforms")
    for document, verdicts in lossy.items():
        assert set(verdicts) <= {"inconclusive"} and sum(verdicts.values()) == sum(whole[document].values())


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MAX_PATHS", 1)
    monkeypatch.setattr(html, "MAX_VARIANTS", 1)
    text = Page(exported(capture("tcp"))).text
    assert "traversals by further variants" in text and "20 traversals by further paths" in text


def test_latencies() -> None:
    some = Latencies()
    for value in range(1, 1001):
        some.add(value * 1000)
    assert some.count == 1000
    for share in (0.5, 0.9, 0.99, 1.0):
        assert share * 1e6 * 0.99 <= some.quantile(share) <= share * 1e6
    assert Latencies().quantile(0.5) == 0
    one = Latencies()
    one.add(0)
    assert one.quantile(0.99) == 0


@pytest.mark.parametrize(
    ("ns", "said"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1500, "1.5 µs"),
        (77_312, "77.3 µs"),
        (2_000_000, "2 ms"),
        (1_234 * 10**9, "1234 s"),
    ],
)
def test_durations_in_words(ns: int, said: str) -> None:
    assert duration(ns) == said


def test_equal_ways_have_equal_signatures_and_others_not() -> None:
    found: dict[str, set[str]] = {}
    for name in ("ping", "nft-drop", "ping-socket"):
        with Source(capture(name)) as source:
            for packet in source.packets():
                for traversal in packet.traversals:
                    found.setdefault(signature(traversal), set()).add(summary(traversal))
    assert all(len(ways) == 1 for ways in found.values())
    assert len(found) >= 4


@pytest.mark.parametrize("kernel", KERNELS)
def test_two_captures_of_one_way_agree(kernel: str) -> None:
    ways = []
    for name in ("ping", "ping-socket"):
        with Source(capture(name, kernel)) as source:
            ways.append(
                {summary(t) for packet in source.packets() for t in packet.traversals if t.direction == "forward"}
            )
    assert ways[0] == ways[1] != set()
