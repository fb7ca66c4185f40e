"""``kpath compare`` on recordings of real kernels: verdicts, exit statuses, and the files that a CI reads."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from kpath.cli.main import run
from kpath.compare.statistics import apart, fewest, proportion, quantile
from kpath.flow.library import text_of

CAPTURES = Path(__file__).parents[1] / "captures"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Some scenarios of one kernel."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("ping", "nft-drop", "udp-open"):
        (folder / f"{name}.kpath").symlink_to(CAPTURES / "6.1" / f"{name}.kpath")
    return folder


def tampered(folder: Path) -> Path:
    """A document in which FORWARD comes before the route lookup."""
    text = text_of("linux-6.flow")
    first = "    => PRE_ROUTING\n      -> @ip_rcv_finish\n"
    then = "    => FORWARD\n      -> ip_forward_finish\n"
    assert text.count(first) == text.count(then) == 1
    text = text.replace(then, then.replace("FORWARD", "PRE_ROUTING"))
    path = folder / "wrong.flow"
    path.write_text(text.replace(first, first.replace("PRE_ROUTING", "FORWARD")))
    return path


def test_a_conforming_kernel_passes(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit, sarif = tmp_path / "j.xml", tmp_path / "s.sarif"
    assert run(["compare", str(few), "--junit", str(junit), "--sarif", str(sarif)]) == 0
    assert "conforms (3 scenarios" in capsys.readouterr().out
    root = ET.parse(junit).getroot()
    assert int(root.get("tests", "0")) == len(root.findall(".//testcase")) == 9
    assert set(root.attrib) <= {"name", "time", "tests", "failures", "errors"}, "Jenkins' schema knows no others"
    assert not root.findall(".//failure") and not root.findall(".//error")
    assert json.loads(sarif.read_text())["runs"][0]["results"] == []


def test_a_wrong_document_is_refuted_at_its_line(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, junit, sarif = tampered(tmp_path), tmp_path / "j.xml", tmp_path / "s.sarif"
    arguments = ["--document", str(wrong), "--junit", str(junit), "--sarif", str(sarif)]
    assert run(["compare", str(few), *arguments]) == 1
    out = capsys.readouterr().out
    assert "at hook FORWARD" in out and "expected" in out and "document   linux-6:" in out
    failures = ET.parse(junit).getroot().findall(".//failure")
    assert failures and "hook FORWARD" in str(failures[0].get("message"))
    log = json.loads(sarif.read_text())
    results = log["runs"][0]["results"]
    assert log["version"] == "2.1.0" and results
    lines = wrong.read_text().splitlines()
    place = results[0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].endswith("wrong.flow")
    assert 1 <= place["region"]["startLine"] <= len(lines)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in results)


def test_too_little_coverage_fails(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", str(few), "--document", "linux-6", "--min-coverage", "99"]) == 1
    out = capsys.readouterr().out
    assert "less than the 99 % demanded" in out and "conforms, but was not exercised as demanded" in out
    assert run(["compare", str(few), "--document", "linux-6", "--min-coverage", "1"]) == 0


def test_a_recording_that_was_cut_short_is_inconclusive(tmp_path: Path) -> None:
    data = (CAPTURES / "6.1" / "tcp.kpath").read_bytes()
    cut = tmp_path / "cut.kpath"
    cut.write_bytes(data[:-40])
    assert run(["compare", str(cut), "--document", str(tampered(tmp_path))]) == 4


@pytest.mark.parametrize("arguments", [["nowhere.kpath"], ["--duration", "3"], ["x.kpath", "--iface", "any"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert run(["compare", *arguments]) == 2


def test_two_kernels_differ_where_the_lineage_says(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(CAPTURES / kernel / "udp-closed.kpath") for kernel in ("5.10", "7.3")]
    assert run(["compare", *files, "--json"]) == 0
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert not changes["new"] and not changes["gone"] and changes["same"]
    absent = {step["function"]: step for step in changes["steps"] if step["why"] == "absent"}
    assert "sk_skb_reason_drop" in absent and absent["sk_skb_reason_drop"]["lineage"]


def test_few_values_say_nothing_of_a_quantile() -> None:
    assert quantile(list(range(fewest(0.99) - 1)), 0.99) is None
    found = quantile(list(range(1000)), 0.5)
    assert found is not None and 400 < found.low < 500 <= found.value < found.high < 600


def test_shares_differ_only_by_more_than_chance() -> None:
    assert not apart(proportion(5, 10), proportion(6, 10))
    assert apart(proportion(10, 1000), proportion(200, 1000))
