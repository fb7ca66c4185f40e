"""The documents transcribe their sources completely, and say where the sources slipped."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kpath.flow import BUILT_IN, Document, FlowSyntaxError, Graph, Kind, Lineage, NoteKind, Role, Step, load, parse
from kpath.flow.check import check
from kpath.flow.conditions import CONDITIONS, terms
from kpath.flow.document import ENDS, FRAMES
from kpath.flow.graph import EdgeKind
from kpath.flow.library import source_lines

DATA = Path(__file__).parent / "data"
OLD = {"s1": "linux-2.6.21.1", "s2": "linux-2.6.32.27"}
SLIPS = {"typo", "wrong", "wrong-parent", "macro"}


def arrows() -> list[dict[str, Any]]:
    """Every arrow of both sources, read from them line by line, with what the kernel of the release has."""
    return list(json.loads((DATA / "arrows.json").read_text("utf-8")))


@cache
def graph(name: str) -> Graph:
    return Graph.of(load(name))


def cites(step: Step, line: int) -> bool:
    return any(span.first <= line <= span.last for span in step.lines)


def says(step: Step) -> str:
    """All that a step and its notes name, as one text."""
    words = [step.label, step.name, step.value, step.flow, *(note.subject for note in step.notes)]
    return " ".join(words).replace(" ", "")


def tokens(text: str) -> list[str]:
    return [word for word in re.findall(r"!?[\w>-]+", text.replace(" = ", "=")) if word not in ("NF_HOOK", "nf_hook")]


HOOKS = {
    "PREROUTING": "PRE_ROUTING",
    "NF_INPUT": "LOCAL_IN",
    "NF_FORWARD": "FORWARD",
    "NF_OUTPUT": "LOCAL_OUT",
    "POSTROUTING": "POST_ROUTING",
    "NF_INET_LOCAL_OUT": "LOCAL_OUT",
    "NF_INET_POST_ROUTING": "POST_ROUTING",
}


def is_callee(step: Step, arrow: dict[str, Any]) -> bool:
    """Whether a step is what the arrow points to, under the author's name or under the true one."""
    callee: str = arrow["callee"]
    match arrow["kind"]:
        case "queue":
            return step.kind is Kind.QUEUE
        case "hook":
            hook = HOOKS[re.sub(r".*\(\s*|\s*\)", "", callee)]
            return step.kind is Kind.HOOK and step.name == hook
        case "test":
            return step.kind is Kind.CHOICE
        case "assign" | "register":
            value = re.split(r"\s*=\s*|\s*\(", arrow.get("true_callee") or callee)
            return step.kind in (Kind.SET, Kind.REGISTER) and (
                step.value in value or step.name in callee or callee == "dst_list"
            )
    names = {callee, arrow.get("true_callee", "")}
    if step.kind in FRAMES:
        subjects = {note.subject for note in step.notes if note.kind is NoteKind.WRITTEN}
        return bool(names & {*step.targets, step.via, *subjects} - {""}) or any(
            step.via and step.via.rpartition(">")[2] in name for name in names
        )
    return step.name in names


@pytest.mark.parametrize("arrow", arrows(), ids=lambda arrow: arrow["id"])
def test_no_arrow_is_missing(arrow: dict[str, Any]) -> None:
    document = load(OLD[arrow["id"][:2]])
    found = [step for _, step in document.walk() if cites(step, arrow["line"]) and is_callee(step, arrow)]
    assert found, f"no step cites line {arrow['line']} for {arrow['caller']} -> {arrow['callee']}"


@pytest.mark.parametrize("arrow", [one for one in arrows() if one["verdict"] in SLIPS], ids=lambda arrow: arrow["id"])
def test_every_slip_is_recorded(arrow: dict[str, Any]) -> None:
    document = load(OLD[arrow["id"][:2]])
    at = [step for _, step in document.walk() if cites(step, arrow["line"])]
    notes = [note for step in at for note in step.notes if note.kind is not NoteKind.REMARK]
    assert notes or any(step.kind in (Kind.MACRO, Kind.NEVER) for step in at)
    if arrow["verdict"] == "wrong-parent":
        assert any(note.kind is NoteKind.DRAWN for note in notes)
    if arrow["verdict"] == "typo" and "true_callee" in arrow:
        assert any(note.kind is NoteKind.WRITTEN for note in notes)


# What looks like a call, or like an entry of a table, in the C of the second source, and is none of the path.
NO_ARROW = re.compile(
    r"""^(static|int)\b                                              # a definition
      | \.(netns_ok|no_policy|family)\s*=
      | printk\( | likely\( | htons\( | ip_hdr\( | inet_c?sk\(         # a message, a hint, an accessor
      | ^struct\ net_device | ^const\ struct""",
    re.VERBOSE,
)


@pytest.mark.parametrize("id", OLD)
def test_the_list_of_arrows_has_every_arrow_of_the_text(id: str) -> None:
    """Read from the text itself: ``->`` and assignments of the first source, calls and tables of the second."""
    looks = {
        "s1": re.compile(r"^\s*->|\w ?= ?\w"),
        "s2": re.compile(r"\b[a-z_]\w+\(|^\.\w+\s*=|\.(in|out)put\s*=|= *&"),
    }
    listed = {arrow["line"] for arrow in arrows() if arrow["id"].startswith(id)}
    lines = [line.strip() for line in source_lines(load(OLD[id]))]
    found = [n for n, line in enumerate(lines, 1) if looks[id].search(line) and not NO_ARROW.search(line)]
    assert len(found) > 40
    assert [(n, lines[n - 1]) for n in found if n not in listed] == []


@pytest.mark.parametrize("arrow", arrows(), ids=lambda arrow: arrow["id"])
def test_each_arrow_of_the_list_stands_in_the_text(arrow: dict[str, Any]) -> None:
    line = source_lines(load(OLD[arrow["id"][:2]]))[arrow["line"] - 1]
    # Line 72 has the author's spelling; on line 96 the pointer stands for the function.
    spelt = {"s2-L72": "ip_qeueu_xmit", "s2-L96": "queue_xmit"}.get(arrow["id"], arrow["callee"])
    words = [set(re.findall(r"\w+", text, re.ASCII)) for text in (spelt, line)]
    assert words[0] & words[1]


def owners(name: str, id: str) -> set[str]:
    """The functions in whose frame a step stands; those that jump there, when it is a root."""
    drawn = graph(name)
    node = drawn.nodes[id]
    if node.owner:
        return set(drawn.functions(node.owner))
    jumps = [drawn.nodes[edge.source] for edge in drawn.edges_to(id, EdgeKind.JUMP)]
    return {caller for jump in jumps if jump.owner for caller in drawn.functions(jump.owner)}


@pytest.mark.parametrize(
    "arrow", [one for one in arrows() if one["kind"] in ("call", "indirect", "okfn")], ids=lambda arrow: arrow["id"]
)
def test_every_arrow_comes_from_the_true_caller(arrow: dict[str, Any]) -> None:
    name = OLD[arrow["id"][:2]]
    caller = arrow.get("true_caller") or arrow["caller"]
    places = [
        node for node in graph(name).nodes.values() if cites(node.step, arrow["line"]) and is_callee(node.step, arrow)
    ]
    above: set[str] = set()
    for node in places:
        above |= owners(name, node.id)
        above |= {note.subject for note in node.step.notes if note.kind is NoteKind.DRAWN}
        above |= {step.via for step in [node.step] if step.via}
        above |= {written for owner in above for written in written_as(name, owner)}
        if node.step.kind is Kind.NEVER:
            return
        if node.step.kind is Kind.REGISTER:
            above.add(node.step.name)
    if caller in ("ipprot->handler", "hook", "arp_hh_ops", "inet_init") or "(" in caller or "!" in caller:
        return  # not a function: a pointer, a hook or a table, whose steps have their own tests
    assert caller in above, f"{caller} is not among {sorted(above)}"


def written_as(name: str, function: str) -> set[str]:
    """The author's spellings of a function."""
    return {
        note.subject
        for _, step in load(name).walk()
        if function in step.targets
        for note in step.notes
        if note.kind is NoteKind.WRITTEN
    }


@pytest.mark.parametrize("name", OLD.values())
def test_every_line_with_a_function_is_cited_or_omitted_with_a_reason(name: str) -> None:
    document = load(name)
    known = set(Lineage.load().entries) | {word for one in arrows() for word in tokens(one["callee"])}
    known |= set(re.findall(r"\b[a-z_][a-z0-9_]{3,}(?=\()", "\n".join(source_lines(document)))) | {"ip_qeueu_xmit"}
    covered: set[int] = set()
    for omission in document.omissions:
        assert len(omission.reason) > 5
        covered |= {line for span in omission.lines for line in range(span.first, span.last + 1)}
    for flow in document.flows:
        for spans in (flow.lines, *(step.lines for step in flow.walk())):
            covered |= {line for span in spans for line in range(span.first, span.last + 1)}
    missing = [
        (number, line.strip())
        for number, line in enumerate(source_lines(document), 1)
        if number not in covered and known & set(re.findall(r"[A-Za-z_]\w+", line))
    ]
    assert [line for line in missing if not harmless(line[1])] == []


def harmless(line: str) -> bool:
    """C around the calls that are cited: brackets, assignments of header fields, jumps, ends."""
    return re.match(r"(skb->(dev|protocol)\s*=|iph->\w+\s*=|struct \w+ \*|goto |return|[{}]|/\*IPV4)", line) is not None


@pytest.mark.parametrize("name", BUILT_IN)
def test_documents_agree_with_themselves(name: str) -> None:
    document = load(name)
    assert check(document, len(source_lines(document)) or None) == []
    assert document.name == name


@pytest.mark.parametrize("name", OLD.values())
def test_what_the_source_lacks_is_marked(name: str) -> None:
    """In a transcription, a frame without a line says that it was added, or stands under one that does."""

    def unmarked(step: Step, added: bool) -> list[str]:
        added = added or any(note.kind is NoteKind.ADDED for note in step.notes)
        own = [step.label] if step.is_frame and not step.lines and not added else []
        return own + [label for child in step.children for label in unmarked(child, added)]

    for flow in load(name).flows:
        for step in flow.steps:
            assert unmarked(step, False) == [], flow.name


def test_the_authors_slips_by_name() -> None:
    first = load("linux-2.6.21.1")
    written = {note.subject for _, step in first.walk() for note in step.notes if note.kind is NoteKind.WRITTEN}
    assert {"ip_push_appending_frames", "__tcp_push_appending_frames", "bond", "bridge", "dst->list"} <= written
    assert [step.name for _, step in first.walk() if step.kind is Kind.NEVER] == ["ip_route_input_cached"]
    assert {step.name for _, step in first.walk() if step.kind is Kind.MACRO} == {"skb_queue_walk", "net_xmit_eval"}
    assert "ip_qeueu_xmit" in {note.subject for _, step in load("linux-2.6.32.27").walk() for note in step.notes}


# What today's document has otherwise than the list of edges, and why.
OTHERWISE = {
    "driver_poll": "n->poll, with the pollers by name",
    "ndo_start_xmit": "ops->ndo_start_xmit, with the drivers by name",
    "nf_hook_slow": "a hook is a hook, not a call",
}
WRAPPED = {
    ("ip_protocol_deliver_rcu", "__icmp_send"): "icmp_send",
    ("__udp4_lib_rcv", "__icmp_send"): "icmp_send",
    ("ip_forward", "__icmp_send"): "icmp_send",
    ("icmp_route_lookup", "ip_route_output_key_hash"): "__ip_route_output_key",
    ("icmp_reply", "ip_route_output_flow"): "ip_route_output_key",
}


def test_todays_document_has_every_known_edge() -> None:
    drawn = graph("linux-6")
    pairs = {
        (caller, callee)
        for node in drawn.frames()
        if node.owner
        for caller in drawn.functions(node.owner)
        for callee in drawn.functions(node.id)
    }
    missing = []
    for caller, callee, kind in json.loads((DATA / "edges-6.json").read_text("utf-8")):
        if kind in ("hook", "assign") or callee in OTHERWISE or caller in OTHERWISE:
            continue
        wrapper = WRAPPED.get((caller, callee))
        there = (caller, callee) in pairs or (wrapper and (caller, wrapper) in pairs and (wrapper, callee) in pairs)
        if not there:
            missing.append((caller, callee))
    assert missing == []


def test_todays_hooks_and_assignments() -> None:
    drawn = graph("linux-6")
    hooks = {
        (caller, node.step.name)
        for node in drawn.nodes.values()
        if node.step.kind is Kind.HOOK
        for caller in drawn.functions(node.owner)
    }
    for caller, hook in (
        ("ip_rcv", "PRE_ROUTING"),
        ("nf_hook_slow_list", "PRE_ROUTING"),
        ("ip_local_deliver", "LOCAL_IN"),
        ("ip_forward", "FORWARD"),
        ("__ip_local_out", "LOCAL_OUT"),
        ("raw_send_hdrinc", "LOCAL_OUT"),
        ("ip_output", "POST_ROUTING"),
        ("xfrm4_output", "POST_ROUTING"),
        ("xfrm_output_resume", "POST_ROUTING"),
        ("xfrm4_transport_finish", "PRE_ROUTING"),
        ("ipmr_queue_xmit", "FORWARD"),
    ):
        assert (caller, hook) in hooks
    sets = {(step.name, step.value) for _, step in load("linux-6").walk() if step.kind is Kind.SET}
    assert {("dst->input", "ip_forward"), ("dst->input", "ip_error"), ("dst->output", "xfrm4_output")} <= sets


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_graph_reaches_every_frame(name: str) -> None:
    drawn = graph(name)
    reached: set[str] = set()
    waiting = [drawn.roots[flow.name] for flow in drawn.document.flows if flow.role in (Role.ENTRY, Role.ANYWHERE)]
    while waiting:
        id = waiting.pop()
        if id not in reached:
            reached.add(id)
            waiting += [edge.target for edge in drawn.edges_from(id)]
    setup = {flow.name for flow in drawn.document.flows if flow.role is Role.SETUP}
    assert {node.id for node in drawn.frames() if node.flow not in setup} <= reached


def test_bodies_say_what_may_follow() -> None:
    drawn = graph("linux-2.6.21.1")
    body = drawn.bodies["ip_rcv/0.0.0"]
    names = {position: drawn.nodes[position].step.name for position in body.positions}
    assert {names[position] for position in body.first} == {"ip_route_input", "dst_input"}
    assert {names[position] for position in body.last} == {"dst_input"}
    assert not body.nullable
    route = next(position for position, name in names.items() if name == "ip_route_input")
    assert {names[position] for position in body.after(route)} == {"dst_input"}
    assert not body.may_return(route) and not body.may_return(None)
    output = drawn.body(drawn.roots["dst_output"])
    assert {drawn.nodes[position].step.name for position in output.first} == {
        "xfrm4_output",
        "ip_output",
        "ip_mc_output",
    }
    jump = next(node for node in drawn.named("dst_output") if node.step.flow)
    assert drawn.body(jump.id) is output


def test_a_conditional_hook_keeps_its_continuation() -> None:
    drawn = graph("linux-6")
    body = drawn.bodies[drawn.roots["ip_output"]]
    assert {drawn.nodes[position].step.name for position in body.first} == {"POST_ROUTING", "ip_finish_output"}
    assert {drawn.nodes[position].step.name for position in body.last} == {"ip_finish_output"}
    finish = next(position for position in body.positions if drawn.nodes[position].step.name == "ip_finish_output")
    assert drawn.nodes[finish].guards == ()


def test_else_needs_that_the_others_do_not_hold() -> None:
    drawn = graph("linux-2.6.32.27")
    node = next(
        node for node in drawn.named("ip_finish_output2") if node.step.otherwise and node.flow == "ip_finish_output"
    )
    assert [str(guard) for guard in node.guards] == ["not (fragment needed)"]


def test_a_document_from_a_file_is_checked_against_the_source_beside_it(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("one\ntwo\n")
    path = tmp_path / "d.flow"
    path.write_text("document d\n  source s.txt\nflow f entry\n  f :2\n")
    assert isinstance(load(path), Document)
    path.write_text("document d\n  source s.txt\nflow f entry\n  f :3\n")
    with pytest.raises(FlowSyntaxError, match="expected at most 2"):
        load(str(path))


def test_the_example_of_the_manual_is_right() -> None:
    manual = Path(__file__).parents[2] / "docs" / "flow-notation.md"
    lines = manual.read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("    document "))
    end = next(number for number, line in enumerate(lines) if line.startswith("## ") and number > start)
    text = "\n".join(line.removeprefix("    ") for line in lines[start:end])
    document = parse(text, "flow-notation.md")
    assert [flow.name for flow in document.flows] == ["ip_rcv", "ip_forward"]


def test_the_manual_names_every_end_note_and_role() -> None:
    text = (Path(__file__).parents[2] / "docs" / "flow-notation.md").read_text("utf-8")
    for word in (
        *ENDS,
        *(kind.value for kind in NoteKind if kind is not NoteKind.SLIP),
        *(role.value for role in Role),
    ):
        assert word in text


def test_no_condition_of_the_vocabulary_is_left_over() -> None:
    used = {term.name for name in BUILT_IN for term, _ in terms(load(name))}
    used |= {
        term.name
        for name in BUILT_IN
        for node in graph(name).nodes.values()
        for guard in node.guards
        for term in guard.condition.terms
    }
    assert set(CONDITIONS) - used <= {"kernel lacks", "rx_handler ==", "hh->hh_output =="}
