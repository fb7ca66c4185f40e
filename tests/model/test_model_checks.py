"""Decisions, invariants, scope and verdicts by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from kpath.capture.plan import PLAN
from kpath.capture.schema import Class
from kpath.capture.tables import Loss, PlannedProbe
from kpath.flow import BUILT_IN, Lineage, load
from kpath.model import decisions, invariants
from kpath.model.scope import Scope, Standing
from kpath.model.scope import load as load_scope
from kpath.model.seen import Facts, Seen, Tree
from kpath.model.verdict import Judgement, Verdict, weaken
from kpath.model.view import CaptureView


def ip(name: str, *children: Seen, **facts: Any) -> Seen:
    return Seen(name, facts=Facts(cls=int(Class.IP))._replace(**facts), children=list(children))


@pytest.mark.parametrize("document", BUILT_IN)
def test_every_planned_function_has_a_standing(document: str) -> None:
    """A function that kpath probes is documented, or there is a reason why it may be seen beside the document."""
    doc = load(document)
    scope = Scope(doc, Lineage.load())
    placed = doc.functions()
    unknown = [p.name for p in PLAN if p.name not in placed and scope.of(p.name).standing is Standing.UNEXPLAINED]
    assert not unknown


def test_scope_names_only_planned_functions() -> None:
    planned = {p.name for p in PLAN}
    for group in load_scope():
        assert set(group.functions) <= planned, group.reason


def test_every_check_says_what_it_checks() -> None:
    docs = {check.name: check.doc for check in decisions.DECISIONS}
    docs |= {check.name: check.doc for check in invariants.INVARIANTS}
    for name, doc in docs.items():
        assert doc.endswith("."), name
    for decision in decisions.DECISIONS:
        assert ":" in decision.source


WRONG = [
    ("dst->input", ip("ip_forward", dst_input="ip_local_deliver")),
    ("dst->output", ip("ip_output", dst_output="xfrm4_output")),
    ("IPsec or not", ip("ip_output", dst_output="ip_output", xfrm=True)),
    ("IPsec or not", ip("xfrm4_output", dst_output="xfrm4_output")),
    ("ether type", ip("ip_rcv", ether=0x0806)),
    ("ip protocol", ip("tcp_v4_rcv", header=True, proto=17)),
    ("route lookup", ip("ip_route_input_noref", header=True, dst_input="ip_forward")),
    ("TTL", ip("ip_forward", ip("ip_forward_finish"), header=True, ttl_expired=True)),
    ("forward too big", ip("ip_forward", ip("ip_forward_finish"), header=True, df=True, over_mtu=True)),
    ("fragment or not", ip("__ip_finish_output", ip("ip_finish_output2"), over_mtu=True)),
    ("fragment GSO", ip("ip_do_fragment", gso=True)),
    ("DF", ip("ip_fragment", ip("__icmp_send"), header=True)),
    ("reassembly", ip("ip_local_deliver", ip("ip_local_deliver_finish"), header=True, fragment=True)),
    ("reassembly", ip("ip_local_deliver", ip("ip_defrag"), header=True)),
    ("rerouted", ip("ip_output", ip("nf_hook_slow", hook=4, pf=2), rerouted=True)),
    ("neighbour", ip("neigh_resolve_output", ip("__neigh_event_send", nud=0x02), nud=0x02)),
    ("hook of the caller", ip("nf_hook_slow", hook=2, pf=2, okfn="ip_local_deliver_finish")),
]


@pytest.mark.parametrize(("name", "seen"), WRONG, ids=[f"{name}-{seen.name}" for name, seen in WRONG])
def test_a_decision_speaks_when_its_facts_are_at_hand(name: str, seen: Seen) -> None:
    assert name in [decision.name for decision, _ in decisions.judge([seen])]


UNDECIDED = [
    ip("ip_forward"),
    ip("ip_forward", dst_input="vrf_input"),
    ip("ip_output", dst_output="lwtunnel_output"),
    ip("__ip_finish_output", ip("ip_finish_output2"), over_mtu=None),
    ip("__ip_finish_output", ip("ip_finish_output2"), over_mtu=True, gso=True),
    ip("neigh_resolve_output", ip("__neigh_event_send", nud=0x04), nud=0x02),
    ip("tcp_v4_rcv", proto=17),
]


@pytest.mark.parametrize("seen", UNDECIDED, ids=lambda seen: seen.name)
def test_a_decision_is_silent_without_certain_facts(seen: Seen) -> None:
    assert not list(decisions.judge([seen]))


def broken(root: Seen, attached: tuple[str, ...] = ()) -> set[str]:
    root.settle()
    found = invariants.check(Tree([root], [True]), CaptureView.of_names(attached))
    return {invariant.name for invariant, _ in found}


def test_invariants() -> None:
    end = Seen("skb_release_head_state", facts=Facts(cls=int(Class.END)))
    assert broken(ip("ip_rcv", end, ip("ip_forward"))) == {"nothing after free"}
    assert broken(ip("ip_rcv", end, end)) == {"one end"}
    dropped = Seen("nf_hook_slow", facts=Facts(cls=int(Class.HOOK), hook=0, pf=2, verdict=-1))
    assert broken(ip("ip_rcv", dropped, ip("ip_forward"))) == {"nothing after a hook's drop"}
    assert broken(ip("ip_rcv", ip("ip_forward", before="ip_rcv", ttl_step=-1))) == {"TTL"}
    forward = ip("ip_forward", ip("ip_forward_finish", before="ip_forward", ttl_step=-2), before="ip_rcv", ttl_step=0)
    assert broken(forward) == {"TTL"}
    assert broken(ip("ip_output", ip("ip_finish_output", before="ip_output", readdressed=True))) == {"addresses"}
    assert broken(ip("xfrm_output", dst_output="ip_output")) == {"IPsec after a lookup"}
    assert broken(ip("ip_rcv", ip("ip_rcv_core", backwards=True))) == {"time"}
    hooks = [Seen("nf_hook_slow", facts=Facts(cls=int(Class.HOOK), hook=n, pf=2, verdict=1)) for n in (4, 2)]
    assert broken(ip("ip_forward", *hooks)) == {"hook order"}
    assert broken(ip("ip_rcv", ip("ip_rcv_core", caller="ip_list_rcv")), ("ip_list_rcv",)) == {"caller"}


def test_a_forward_that_is_right_breaks_nothing() -> None:
    finish = ip("ip_forward_finish", before="ip_forward", ttl_step=-1)
    assert not broken(ip("ip_forward", finish, before="ip_rcv_core", ttl_step=0))


def test_losses_weaken_and_never_strengthen() -> None:
    for verdict in Verdict:
        judgement = Judgement("d", verdict)
        lost = weaken(judgement, [], [Loss(0, 1, {1: 2}, {"ip_rcv": 1})]).verdict
        assert lost is (verdict if verdict is Verdict.NOT_COVERED else Verdict.INCONCLUSIVE)
        partial = weaken(judgement, ["it was under way"], []).verdict
        assert partial is not Verdict.DIVERGES
        assert weaken(judgement, [], []) == judgement


def test_the_view_keeps_absent_and_unknown_apart() -> None:
    view = CaptureView(
        [
            PlannedProbe("ip_fragment", "ip_fragment.constprop.0", 1, "ip", "attachable", program="ip_1"),
            PlannedProbe("__netif_rx", "", 0, "link", "absent"),
            PlannedProbe("esp_output", "", 0, "link", "module not loaded"),
        ]
    )
    assert view.attached("ip_fragment")
    assert view.probed("ip_fragment.constprop.0")
    assert view.absent("__netif_rx")
    assert not view.absent("esp_output")
    assert not view.absent("never_planned")
