"""Mutants: real, conforming paths, each broken in one way, and what a right explanation of it may name.

What a mutation is, and when it means nothing to a document, stands in :mod:`tests.mutation`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kpath.capture.schema import Class
from kpath.flow import Kind
from kpath.model import decisions, invariants
from kpath.model.automaton import ANYWHERE, Machine, steps_of
from kpath.model.check import Judge
from kpath.model.explain import title
from kpath.model.scope import Standing
from kpath.model.seen import Facts, Seen, Tree

STRANGERS = (
    "ip_forward",
    "ip_local_deliver",
    "tcp_v4_rcv",
    "ip_mc_output",
    "arp_rcv",
    "xfrm4_output",
    "ip_do_fragment",
)
"""What a replaced frame becomes: functions that stand in one place of the path."""


@dataclass(slots=True)
class KnownPath:
    """A path of a capture, with its judge."""

    name: str
    tree: Tree
    judge: Judge


@dataclass(slots=True)
class Mutant:
    """A broken path. ``names``: functions that a right explanation may name; ``excuse``: why it means nothing."""

    kind: str
    tree: Tree
    names: set[str]
    what: str
    excuse: str = ""


@dataclass(slots=True)
class Place:
    """A frame in a copied tree, with what is around it."""

    seen: Seen
    parent: Seen | None
    siblings: list[Seen]
    index: int
    step: str | None
    """The step it was read as; "" for a transparent frame, None when it is not in the reading."""


def copy(tree: Tree) -> Tree:
    """A tree that may be changed; facts are shared."""
    roots = [_copy(root) for root in tree.roots]
    return Tree(roots, list(tree.cut), tree.end, tree.orphaned, list(tree.above), tree.goes_on)


def _copy(seen: Seen) -> Seen:
    return Seen(seen.name, seen.own, seen.complete, seen.life, seen.facts, [_copy(c) for c in seen.children])


# ---- places and excuses ----


def places(tree: Tree, machine: Machine) -> list[Place]:
    """All frames of a tree that conforms, with the steps that they are."""
    steps = steps_of(machine.reads(tree))
    found: list[Place] = []

    def walk(siblings: list[Seen], parent: Seen | None) -> None:
        for index, seen in enumerate(siblings):
            found.append(Place(seen, parent, siblings, index, steps.get(id(seen))))
            walk(seen.children, seen)

    walk(tree.roots, None)
    return found


def _is_step(place: Place) -> bool:
    return bool(place.step) and place.step != ANYWHERE


def _loop(machine: Machine, id: str) -> bool:
    """Does the document repeat the step, alone or as part of a loop, or name the function again in that frame?"""
    nodes = machine.graph.nodes
    node = nodes[id]
    if node.step.repeat in ("*", "+"):
        return True
    part = id
    while "." in part:
        part = part.rpartition(".")[0]
        if part == node.owner:
            break
        if nodes[part].step.kind is Kind.LOOP or nodes[part].step.repeat in ("*", "+"):
            return True
    owner = nodes.get(node.owner)
    if owner is not None and machine.sights.of(owner.id).silent:
        calls = [owner, *(n for n in nodes.values() if n.step.flow == owner.flow and not owner.owner)]
        if any(call.owner and _loop(machine, call.id) for call in calls):
            return True
    names = machine.labels(id)
    return any(n.id != id and n.owner == node.owner and n.step.is_frame and machine.labels(n.id) & names
               for n in nodes.values())  # fmt: skip


def _optional(machine: Machine, id: str) -> bool:
    """May the document do without the step?"""
    nodes = machine.graph.nodes
    node = nodes[id]
    part = id
    while part and part != node.owner:
        step = nodes[part].step
        if step.repeat in ("?", "*") or step.condition is not None or step.otherwise or step.kind is Kind.HOOK:
            return True
        if step.kind is Kind.LOOP or (part != id and step.kind is Kind.CHOICE):
            return True
        part = part.rpartition(".")[0] if "." in part else ""
    if not node.owner:
        return True  # the root of a flow: whoever calls it has a step of his own
    sight = machine.sights.of(node.owner)
    return sight.silent and _optional(machine, node.owner)


def _steps_below(place: Place, machine: Machine) -> bool:
    labels = machine.sights.labels
    return any(s.name in labels and s.name not in LIFE for c in place.seen.children for s in c.walk())


LIFE = frozenset({
    "kfree_skb", "kfree_skb_reason", "sk_skb_reason_drop", "consume_skb", "napi_consume_skb", "__kfree_skb",
    "kfree_skb_partial", "skb_release_head_state", "__copy_skb_header", "__consume_stateless_skb",
})  # fmt: skip


def _around(place: Place) -> set[str]:
    """Names that a right explanation of a change here may give."""
    names = {title(place.seen), place.seen.name}
    if place.parent is not None:
        names |= {title(place.parent)}
    names |= {title(child) for child in place.seen.children}
    for other in place.siblings[max(0, place.index - 1) : place.index + 2]:
        names |= {title(inner) for inner in other.walk()}
    return names


# ---- mutations ----


def _drop(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    if not _is_step(place):
        return None
    seen = place.seen
    names = _around(place)
    excuse = ""
    if machine.sights.of(place.step or "").silent if machine.graph.nodes[place.step or ""].step.is_frame else False:
        excuse = "may be inlined here"
    elif machine.graph.nodes[place.step or ""].step.kind is Kind.HOOK:
        excuse = "a hook may have nothing registered"
    elif place.parent is None:
        excuse = "nothing is known of what is below a stack's first frame"
    elif not _steps_below(place, machine):
        if _optional(machine, place.step or ""):
            excuse = "the document lets it be left out"
        elif not place.parent.complete:
            excuse = "the frame around worked for other packets too"
        elif place.parent.ends:
            excuse = "any function may drop the packet"
    elif _optional(machine, place.step or "") and _drawn_beside(place, machine):
        excuse = "the document draws what it called beside it too"
    if place.parent is not None and _free_inside(place, machine):
        excuse = BEYOND
    for child in seen.children:
        if not child.facts.tail and child.facts.caller == seen.name and place.parent is not None:
            child.facts = child.facts._replace(caller=place.parent.name)
        elif child.facts.tail:
            child.facts = child.facts._replace(caller=seen.facts.caller, tail=seen.facts.tail)
    place.siblings[place.index : place.index + 1] = seen.children
    return excuse, names


def _drawn_beside(place: Place, machine: Machine) -> bool:
    """Are all the steps that the frame called also drawn under the frame around it?"""
    owner = machine.graph.nodes[place.step or ""].owner
    beside = {label for n in machine.graph.frames() if n.owner == owner for label in machine.labels(n.id)}
    called = [c.name for c in place.seen.children if c.name in machine.sights.labels and c.name not in LIFE]
    return all(name in beside for name in called)


BEYOND = "hook functions and what is beyond the document may call anything"


def _repeat(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    if not _is_step(place) or place.parent is None:
        return None
    excuse = ""
    node = machine.graph.nodes[place.step or ""]
    if node.step.kind is Kind.HOOK:
        excuse = "" if not _hook_again(machine, node.id) else "the document asks the hook again"
    elif _loop(machine, node.id):
        excuse = "the document repeats it"
    if _free_inside(place, machine):
        excuse = BEYOND
    place.siblings.insert(place.index + 1, _copy(place.seen))
    return excuse, _around(place)


def _hook_again(machine: Machine, id: str) -> bool:
    nodes = machine.graph.nodes
    node = nodes[id]
    same = [
        n for n in nodes.values() if n.step.kind is Kind.HOOK and n.step.name == node.step.name and n.flow == node.flow
    ]
    return len(same) > 1 or _loop(machine, id)


def _free_inside(place: Place, machine: Machine) -> bool:
    parent = place.parent
    if parent is None:
        return True
    return parent.name == "nf_hook_slow" or (
        parent.name not in machine.sights.labels and machine.standing(parent) is Standing.OUTSIDE
    )


def _swap(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    if not _is_step(place) or place.index + 1 >= len(place.siblings) or place.parent is None:
        return None
    other = place.siblings[place.index + 1]
    if other.name not in machine.sights.labels or other.name == place.seen.name or other.name in LIFE:
        return None
    excuse = ""
    node = machine.graph.nodes[place.step or ""]
    if _loop(machine, node.id):
        excuse = "the document repeats it"
    elif _named_twice(machine, node.owner, other.name):
        excuse = "the document names the other twice there"
    elif not place.parent.complete:
        excuse = "the frame around worked for other packets too"
    if _free_inside(place, machine):
        excuse = BEYOND
    names = _around(place) | {title(inner) for inner in other.walk()}
    place.siblings[place.index], place.siblings[place.index + 1] = other, place.seen
    return excuse, names


def _named_twice(machine: Machine, owner: str, function: str) -> bool:
    nodes = [n for n in machine.graph.frames() if n.owner == owner and function in machine.labels(n.id)]
    return len(nodes) > 1 or any(_loop(machine, n.id) for n in nodes)


def _replace(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    if not _is_step(place) or place.seen.name == "nf_hook_slow":
        return None
    beside = {s.name for s in place.siblings} | {place.seen.name}
    stranger = rng.choice([name for name in STRANGERS if name not in beside and name in machine.sights.labels])
    names = _around(place) | {stranger}
    excuse = ""
    if place.parent is None and not _steps_below(place, machine):
        excuse = "nothing is known of what is below a stack's first frame"
    if _free_inside(place, machine) and not _steps_below(place, machine):
        excuse = BEYOND
    place.seen.name = stranger
    return excuse, names


def _caller(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    facts = place.seen.facts
    if place.parent is None or facts.orphan or not facts.caller:
        return None
    place.seen.facts = facts._replace(
        caller="ip_forward" if "ip_forward" not in (facts.caller, place.parent.name) else "ip_rcv"
    )
    if place.seen.facts.caller in (place.parent.name, place.parent.facts.caller):
        return None
    return "", _around(place)


def _facts(kind: str, at: Callable[[Place], bool], change: Callable[[Facts], Facts]) -> Mutation:
    def mutate(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
        if not place.seen.own or not at(place):
            return None
        changed = change(place.seen.facts)
        if changed == place.seen.facts:
            return None
        place.seen.facts = changed
        return "", _around(place)

    return Mutation(kind, mutate)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A way to break a path: changes the place, returns an excuse and the names to look for; None: not here."""

    kind: str
    apply: Callable[[Place, Machine, random.Random], tuple[str, set[str]] | None]


def _verdict(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    """An accepting verdict becomes a drop, though the packet went on."""
    seen = place.seen
    if seen.facts.verdict != 1 or seen.life < 0 or place.parent is None:
        return None
    later = [s for other in place.siblings[place.index + 1 :] for s in other.walk()]
    follows = [s for s in later if s.life == seen.life and s.facts.cls in (Class.IP, Class.NEIGHBOUR, Class.HOOK)]
    if not follows:
        return None
    seen.facts = seen.facts._replace(verdict=rng.choice((0, -1)))
    return "", _around(place) | {title(s) for s in follows}


def _hook(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    facts = place.seen.facts
    if facts.pf != 2 or place.seen.name != "nf_hook_slow" or place.parent is None:
        return None
    excuse = BEYOND if _free_inside(place, machine) else ""
    names = _around(place)
    place.seen.facts = facts._replace(hook=rng.choice([n for n in range(5) if n != facts.hook]))
    return excuse, names | _around(place)


def _ttl(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    facts = place.seen.facts
    if facts.ttl_step is None or not place.seen.own:
        return None
    excuse = ""
    if facts.before in invariants.REWRITERS | invariants.TUNNELS or place.seen.name in invariants.TUNNELS:
        excuse = "code of others, or another header, may change it there"
    if facts.before.startswith(("ip_mr", "ipmr")):
        excuse = "multicast forwarding lowers it"
    place.seen.facts = facts._replace(ttl_step=facts.ttl_step + rng.choice((-2, 1, 2)))
    return excuse, _around(place)


def _address(place: Place, machine: Machine, rng: random.Random) -> tuple[str, set[str]] | None:
    facts = place.seen.facts
    if not facts.before or facts.readdressed or not place.seen.own:
        return None
    excuse = ""
    allowed = invariants.REWRITERS | invariants.TUNNELS | invariants.OPTIONS
    if facts.before in allowed or place.seen.name in invariants.TUNNELS:
        excuse = "code of others, another header or a source route may change it there"
    place.seen.facts = facts._replace(readdressed=True, ttl_step=None)
    return excuse, _around(place)


def _at(*names: str) -> Callable[[Place], bool]:
    return lambda place: place.seen.name in names


def _goes_on(function: str, *to: str) -> Callable[[Place], bool]:
    def at(place: Place) -> bool:
        return place.seen.name == function and decisions.below(place.seen, *to) is not None

    return at


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("drop a frame", _drop),
    Mutation("repeat a frame", _repeat),
    Mutation("swap two frames", _swap),
    Mutation("replace a frame", _replace),
    Mutation("change a caller", _caller),
    Mutation("change a hook's number", _hook),
    Mutation("change a hook's verdict", _verdict),
    Mutation("change the TTL", _ttl),
    Mutation("change an address", _address),
    _facts(
        "change dst->input",
        lambda p: p.seen.name in decisions.INPUTS and p.seen.facts.dst_input == p.seen.name,
        lambda f: f._replace(dst_input="ip_error" if f.dst_input != "ip_error" else "ip_forward"),
    ),
    _facts(
        "change dst->output",
        lambda p: p.seen.name in decisions.OUTPUTS and p.seen.facts.dst_output == p.seen.name,
        lambda f: f._replace(dst_output="ip_mc_output" if f.dst_output != "ip_mc_output" else "ip_output"),
    ),
    _facts("change dst->xfrm", _at("ip_output", "xfrm4_output"), lambda f: f._replace(xfrm=not f.xfrm)),
    _facts("change the IP protocol", _at(*decisions.HANDLERS), lambda f: f._replace(proto=132)),
    _facts("change skb->protocol", _at("ip_rcv", "arp_rcv"), lambda f: f._replace(ether=0x86DD)),
    _facts(
        "let the TTL be used up", _goes_on("ip_forward", "ip_forward_finish"), lambda f: f._replace(ttl_expired=True)
    ),
    _facts(
        "make it longer than the MTU, DF set",
        lambda p: _goes_on("ip_forward", "ip_forward_finish")(p) and not p.seen.facts.gso and not p.seen.facts.xfrm,
        lambda f: f._replace(over_mtu=True, df=True),
    ),
    _facts(
        "make it longer than the MTU",
        lambda p: (
            p.seen.name == "__ip_finish_output"
            and not p.seen.facts.gso
            and not p.seen.facts.xfrm
            and any(c.name == "ip_finish_output2" and c.life == p.seen.life for c in p.seen.children)
        ),
        lambda f: f._replace(over_mtu=True),
    ),
    _facts(
        "make it a fragment",
        lambda p: (
            any(c.name in ("ip_local_deliver_finish", "nf_hook_slow") for c in p.seen.children)
            and p.seen.name == "ip_local_deliver"
        ),
        lambda f: f._replace(fragment=not f.fragment),
    ),
    _facts("make it GSO", _at("ip_fragment", "ip_do_fragment"), lambda f: f._replace(gso=True)),
    _facts(
        "give it a route before the lookup",
        lambda p: p.seen.name == "ip_route_input_noref" and p.seen.facts.header,
        lambda f: f._replace(dst_input="ip_forward"),
    ),
    _facts(
        "mark it rerouted",
        lambda p: p.seen.name == "ip_output" and any(c.facts.hook == 4 for c in p.seen.children),
        lambda f: f._replace(rerouted=True),
    ),
    _facts("let time run backwards", lambda p: p.parent is not None, lambda f: f._replace(backwards=True)),
)


def mutants(path: KnownPath, rng: random.Random) -> Iterator[Mutant]:
    """Every mutation at every place of a path, in random order."""
    machine = path.judge.machine
    count = sum(1 for _ in path.tree.walk())
    chances = [(mutation, place) for mutation in MUTATIONS for place in range(count)]
    rng.shuffle(chances)
    for mutation, number in chances:
        tree = copy(path.tree)
        tree.settle()
        place = places(tree, machine)[number]
        what = f"{path.name}: {mutation.kind} {title(place.seen)}"
        if place.parent is not None:
            what += f" in {title(place.parent)}"
        outside = place.seen.name not in machine.sights.labels | {"nf_hook_slow"}
        outside = outside and machine.standing(place.seen) is Standing.OUTSIDE
        done = mutation.apply(place, machine, rng)
        if done is None:
            continue
        excuse, names = done
        if outside:
            excuse = "the document does not treat the function"
        if len(tree.cut) != len(tree.roots):
            tree.cut, tree.above = [True] * len(tree.roots), [() for _ in tree.roots]
        tree.settle()
        if tree.signature == path.tree.signature:
            continue
        yield Mutant(mutation.kind, tree, names, what, excuse)
