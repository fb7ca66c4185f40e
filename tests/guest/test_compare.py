"""The running kernel against the documents, over the whole lab; and the command as a CI would call it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kpath.lab.scenarios import SCENARIOS
from tests.guest.conftest import Recorded

TIMEOUT = 1800.0
"""Seconds for one command: generous, for slow machines."""

FEW = ("udp-open", "ttl-expired", "nft-drop")


def compare(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    """Exit status, what ``--json`` prints, and what was said."""
    command = [sys.executable, "-m", "kpath.cli.main", "compare", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def files(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture file of each scenario that kernel and kpath say can be judged."""
    folder = tmp_path_factory.mktemp("lab")
    for name, take in recorded.takes.items():
        if not SCENARIOS[name].busy and name not in recorded.troubled:
            recorded.write(take, folder / f"{name}.kpath", ("kpath", "compare", name))
    return folder


def test_the_whole_lab_conforms(recorded: Recorded, files: Path, tmp_path: Path) -> None:
    """No divergence in any scenario, against any document, and each step that was promised was taken."""
    junit, sarif = tmp_path / "lab.xml", tmp_path / "lab.sarif"
    status, _, said = compare(files, "--junit", junit, "--sarif", sarif)
    assert status == 0, said
    cases = {case.get("name", "") for case in ElementTree.parse(junit).getroot().iter("testcase")}
    played = {path.stem for path in files.iterdir()}
    assert all(any(name in case for case in cases) for name in played), (played, cases)
    assert json.loads(sarif.read_text())["runs"][0]["results"] == []
    possible = [s.name for s in SCENARIOS.values() if not s.busy and s.possible()]
    assert len(played) > 0.9 * len(possible), f"not judged: {recorded.troubled}"


def test_a_wrong_document_is_found_out(files: Path, tmp_path: Path) -> None:
    """Two hooks in each other's place: what passes them diverges there, what passes none does not."""
    source = Path(__file__).parents[2] / "kpath/flow/documents/linux-6.flow"
    names = {"PRE_ROUTING": "FORWARD", "FORWARD": "PRE_ROUTING"}
    wrong = tmp_path / "wrong.flow"
    wrong.write_text(re.sub(r"=> (PRE_ROUTING|FORWARD)\b", lambda found: f"=> {names[found[1]]}", source.read_text()))
    status, _, said = compare(files / "nft-drop.kpath", "--document", wrong)
    assert status == 1, said
    status, _, said = compare(files / "bridge.kpath", "--document", wrong)
    assert status == 0, said


def test_a_redirect_past_ip_is_found_out(files: Path, tmp_path: Path) -> None:
    """Somebody's own document has no classifier that sends packets away; a router with one diverges from it."""
    if not (files / "tc-redirect.kpath").exists():
        pytest.skip("this kernel does not show classifiers on the way in, or the scenario could not be judged")
    source = Path(__file__).parents[2] / "kpath/flow/documents/linux-6.flow"
    text = source.read_text()
    allowed = "  tcf_classify\n    -> @dev_queue_xmit *\n    -> @netif_receive_skb *\n"
    assert text.count(allowed) == 1
    strict = tmp_path / "strict.flow"
    strict.write_text(text.replace(allowed, "  tcf_classify\n"))
    command = [sys.executable, "-m", "kpath.cli.main", "compare", str(files / "tc-redirect.kpath")]
    command += ["--document", str(strict)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    parts = r"at (\S+): .* in tcf_classify\n.*?document +linux-6:(\d+)\n.*?facts +(.+?)\n.*?path +(.+?)\n"
    told = re.search(parts, done.stdout, re.DOTALL)
    assert told, done.stdout
    step, line, facts, path = told.groups()
    assert step == "__dev_queue_xmit" and "called by" in facts and path.startswith("receive ra")
    assert strict.read_text().splitlines()[int(line) - 1].strip() == "tcf_classify"
    status, _, said = compare(files / "tc-pass.kpath", "--document", strict)
    assert status == 0, said


WRONG = """
import sys
from kpath.cli.main import run
from kpath.lab import traffic
from kpath.lab.declare import expect, scenario
from kpath.lab.programs import classifier, same_address
from kpath.lab.scenarios import SCENARIOS
from kpath.lab.topology import routed

@scenario("udp-open-astray", routed, exercises=SCENARIOS["udp-open"].exercises)
def astray(n):
    "A datagram to an open port behind a router that sends it on past IP."
    with same_address(n), classifier(n.router, "ra", "ingress", "mirred", "egress", "redirect", "dev", "rb"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield

sys.exit(run(["compare", "-s", "udp-open-astray"]))
"""


def test_a_network_that_leads_astray_fails(recorded: Recorded) -> None:
    """The datagram arrives, but never was forwarded: the step that was promised is missing, and is named."""
    if not SCENARIOS["tc-redirect"].possible():
        pytest.skip(SCENARIOS["tc-redirect"].missing())
    done = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode == 4:
        pytest.skip("this machine was too busy for the probes")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"udp-open-astray: .*ip_forward", done.stdout), done.stdout


def test_the_command_plays_and_judges(tmp_path: Path) -> None:
    """From the attach to the exit status, as in a CI."""
    junit, keep = tmp_path / "few.xml", tmp_path / "kept"
    wanted = [argument for name in FEW for argument in ("--scenario", name)]
    status, _, said = compare(*wanted, "--junit", junit, "--keep", keep)
    assert status in (0, 4), said  # 4: this machine was too busy for the probes, and the command said so
    assert {path.stem for path in keep.glob("*.kpath")} == set(FEW)
    assert len(list(ElementTree.parse(junit).getroot().iter("testcase"))) >= len(FEW)
