"""The fast twin against the slow one: the same frames, lives, journeys, trees and verdicts, and keys that tell apart
what differs and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpath.capture.file import read
from kpath.capture.schema import EVENT, Class, Flag, Kind
from kpath.model.seen import observe
from kpath.trace.arrays import split
from kpath.trace.arrays.rebuild import journeys_of
from kpath.trace.arrays.split import Batch, Splitter
from kpath.trace.arrays.tables import ORPHAN, TAIL
from kpath.trace.assemble import Assembler
from kpath.trace.frames import Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.order import Order
from kpath.trace.traversal import traversals
from tests.trace.generated import ordered, rounds
from tests.trace.stream import Stream

FILES = sorted((Path(__file__).parents[1] / "captures").glob("*/*.kpath"))


def knowledge_of(path: Path) -> Knowledge:
    capture = read(path)
    known = Knowledge()
    known.add(capture.symbols)
    known.add(capture.names)
    known.add_facts(capture.facts)
    return known


def signatures(journeys: Any, known: Knowledge) -> list[Any]:
    """Of each traversal what the model judges by, with its journey and the time at which it began."""
    found = []
    for journey in journeys:
        for traversal in traversals(journey):
            begun = traversal.frames[0].time
            found.append((journey.number, begun, observe(traversal, known).signature, tuple(traversal.partial)))
    return sorted(found, key=lambda row: (*row[:2], str(row[2:])))


def slowly(events: Any, known: Knowledge) -> tuple[list[Frame], list[Any], Assembler]:
    """The slow assembler's frames and journeys."""
    assembler = Assembler(known, linger=1 << 62, idle=1 << 62)
    frames: list[Frame] = []
    entry = assembler.frames.entry

    def noted(event: Any) -> Frame:
        frames.append(entry(event))
        return frames[-1]

    assembler.frames.entry = noted  # type: ignore[method-assign]
    journeys = [*assembler.feed(events), *assembler.flush()]
    return frames, journeys, assembler


def rebuilt(batches: list[Batch], known: Knowledge) -> list[Any]:
    return [j for batch in batches for n in range(len(batch)) for j in journeys_of(batch.group(n), known)]


def fast(events: Any, known: Knowledge, gaps: list[int] | None = None, block: int = 1 << 16) -> list[Any]:
    """What the fast twin makes, rebuilt group by group."""
    splitter = Splitter(known)
    found: list[Any] = []
    for at in range(0, len(events), block):
        found += rebuilt([splitter.take(events[at : at + block], gaps if not at and gaps else ())], known)
    found += rebuilt([splitter.flush()], known)
    assert splitter.late == 0
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_same_as_the_slow_assembler(path: Path) -> None:
    events, _ = ordered(path)
    known = knowledge_of(path)
    frames, journeys, _ = slowly(events, known)
    splitter = Splitter(known)
    batch = splitter.take(events)
    table = splitter.frames()
    entries = np.flatnonzero(events["kind"] == Kind.ENTRY).tolist()
    place = {frame.index: at for frame, at in zip(frames, entries, strict=True)}
    for frame, at in zip(frames, entries, strict=True):
        expected = (place[frame.parent.index] if frame.parent else -1, frame.tail, frame.orphan)
        bits = int(table["bits"][at])
        assert (int(table["parent"][at]), bool(bits & TAIL), bool(bits & ORPHAN)) == expected, frame
    found = rebuilt([batch], known)
    found += rebuilt([splitter.flush()], known)
    assert signatures(found, known) == signatures(journeys, known)
    assert splitter.late == 0


KINDS = ("nics-udp", "esp-transport", "fragments-router", "tcp", "nft-masquerade", "vlan")
SOME = [file for file in FILES if file.stem in KINDS and file.parent.name in ("5.10", "6.12")]


@pytest.mark.parametrize("path", SOME, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_in_small_blocks_and_through_closing(path: Path) -> None:
    """Groups are closed while others are open, and the tables grow and shrink, and nothing changes."""
    events, _ = ordered(path)
    known = knowledge_of(path)
    long = np.concatenate(list(rounds(events, 12)), dtype=EVENT)
    _, journeys, _ = slowly(long, known)
    assert signatures(fast(long, known, block=97), known) == signatures(journeys, known)


@pytest.mark.parametrize("path", SOME, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_group_that_comes_again_has_the_same_key(path: Path) -> None:
    events, _ = ordered(path)
    splitter = Splitter(knowledge_of(path))
    keys: list[bytes] = []
    once: set[bytes] = set()
    for number, again in enumerate(rounds(events, 6)):
        for at in range(0, len(again), 1 << 16):
            batch = splitter.take(again[at : at + (1 << 16)])
            keys += batch.keys.view("V16").ravel().tolist()
        if number == 1:
            once = set(keys)
    keys += splitter.flush().keys.view("V16").ravel().tolist()
    # In the first round nothing has been probed yet, so what is known of the callers differs.
    assert len(set(keys)) <= 2 * len(keys) / 6
    assert once <= set(keys)


def groups(events: Any, known: Knowledge, seed: Any) -> list[tuple[bytes, list[Any]]]:
    """Each group's key, and what the model judges by of all that is in it."""
    splitter = Splitter(known, seed)
    found = []
    for batch in (splitter.take(events), splitter.flush()):
        keys = batch.keys.view("V16").ravel().tolist()
        for number, key in enumerate(keys):
            shown = signatures(journeys_of(batch.group(number), known), known)
            first = {j: n for n, j in enumerate(dict.fromkeys(row[0] for row in shown))}
            found.append((key, [(first[row[0]], *row[2:]) for row in shown]))
    return found


@pytest.mark.parametrize("path", SOME, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_keys_tell_apart_what_the_model_tells_apart(path: Path) -> None:
    """Change one field of one event at a time: where what is judged changes, the key does, too."""
    events, _ = ordered(path)
    known = knowledge_of(path)
    seed = np.array([1, 2], np.uint64)
    before = groups(events, known, seed)
    meaning = dict(before)
    assert all(meaning[key] == shown for key, shown in before)
    random = np.random.default_rng(7)
    names = [name for name in EVENT.names or () if name not in ("time", "seq", "ip", "caller", "kind", "spare")]
    for name in names:
        changed = events.copy()
        for at in random.choice(len(events), 3, replace=False).tolist():
            changed[name][at] = _other(events, name, int(random.integers(len(events))))
        for key, shown in groups(changed, known, seed):
            assert meaning.setdefault(key, shown) == shown, name


def _other(events: Any, name: str, at: int) -> Any:
    """Another value that the field has somewhere, or one that it has nowhere."""
    values = np.unique(events[name])
    return values[at % len(values)] if len(values) > 1 else values[0] ^ values.dtype.type(1)


def both(s: Stream) -> tuple[list[Any], list[Any]]:
    events = np.concatenate(s.rows, dtype=EVENT)
    order = Order()
    ready, gaps = order.push(events)
    ready = np.concatenate([ready, order.flush()], dtype=EVENT)
    assembler = Assembler(s.knowledge)
    journeys = assembler.feed(events) + assembler.flush()
    quick = fast(ready, s.knowledge, [gap.end for gap in gaps])
    return signatures(quick, s.knowledge), signatures(journeys, s.knowledge)


HOSTS = (0x0A010001, 0x0A020001)


def test_after_a_loss_nothing_on_a_stack_is_adopted() -> None:
    s = Stream()
    s.event("ip_rcv", sp=0x900, skb=1, birth=10, header=HOSTS)
    s.lose()
    site = s.site("ip_rcv", "ip_forward")
    s.event("ip_forward", caller=site, sp=0x800, parent_sp=0x900, skb=1, birth=10, header=HOSTS)
    quick, slow = both(s)
    assert quick == slow
    assert any("caller was not seen" in why for row in quick for why in row[3])


def test_a_caller_that_was_closed_makes_a_partial_traversal() -> None:
    """A frame that lasts longer than its group is kept is no longer there; that is said, and no tree is made up."""
    s = Stream()
    s.event("ip_rcv", sp=0x900, skb=1, birth=10, header=HOSTS)
    s.event("skb_release_head_state", sp=0x800, parent_sp=0x900, skb=1, birth=10, cls=Class.END)
    s.time += 10 * split.QUIET_NS
    s.event("udp_sendmsg", sp=0x900, stack=7, cls=Class.ROOT)
    first = np.concatenate(s.rows, dtype=EVENT)
    count = len(first)
    s.event("ip_rcv", sp=0x700, parent_sp=0x900, skb=2, birth=20, header=HOSTS)
    events = np.concatenate(s.rows, dtype=EVENT)
    splitter = Splitter(s.knowledge)
    assert len(splitter.take(first)) == 1
    assert len(splitter.take(events[count:])) == 0
    found = rebuilt([splitter.flush()], s.knowledge)
    assert splitter.late == 1
    (row,) = signatures(found, s.knowledge)
    assert any("caller was not seen" in why for why in row[3])


def test_an_address_used_again_is_another_packet() -> None:
    s = Stream()
    s.event("ip_rcv", skb=1, birth=10, header=HOSTS)
    s.event("skb_release_head_state", skb=1, birth=10, cls=Class.END)
    s.event("ip_rcv", skb=1, birth=20, header=HOSTS)
    quick, slow = both(s)
    assert quick == slow and len({row[0] for row in quick}) == 2


def test_events_out_of_order_are_like_no_others() -> None:
    """What was kept back longer than events are held comes late: such a group is never taken for another."""
    s = Stream()
    for birth in (10, 20):
        s.event("ip_rcv", sp=0x900, skb=birth, birth=birth, header=HOSTS)
        s.event("ip_forward", sp=0x800, parent_sp=0x900, skb=birth, birth=birth, header=HOSTS)
    events = np.concatenate(s.rows, dtype=EVENT)
    events["time"][[1, 3]] -= np.uint64(1500)
    splitter = Splitter(s.knowledge)
    splitter.take(events)
    keys = splitter.flush().keys
    assert len(keys) == 2 and keys[0].tolist() != keys[1].tolist()


def test_new_symbols_make_new_keys() -> None:
    s = Stream()
    s.event("ip_rcv", skb=1, birth=10, header=HOSTS)
    s.event("skb_release_head_state", skb=1, birth=10, cls=Class.END)
    events = np.concatenate(s.rows, dtype=EVENT)
    splitter = Splitter(s.knowledge)
    splitter.take(events)
    before = splitter.flush().keys.tolist()
    s.jumps("ip_rcv", "skb_release_head_state")
    splitter.relearn()
    again = events.copy()
    again["time"] += np.uint64(10**9)
    again["birth"] += np.uint64(10**9)
    splitter.take(again)
    assert splitter.flush().keys.tolist() != before


def test_after_a_hole_nothing_older_on_the_stack_is_believed() -> None:
    """The caller's event was overwritten, and a frame of the same function stood in the same place before."""
    s = Stream()
    site = s.site("__netif_receive_skb_one_core", "__netif_receive_skb_core")
    s.event("__netif_receive_skb_one_core", sp=0x900, skb=1, birth=10, header=HOSTS)
    s.event("__netif_receive_skb_core", sp=0x800, parent_sp=0x900, caller=site, cls=Class.FRAME)
    s.event("skb_release_head_state", sp=0x700, skb=1, birth=10, cls=Class.END)
    s.event("__netif_receive_skb_core", sp=0x800, parent_sp=0x900, caller=site, cls=Class.FRAME, flags=Flag.HOLE)
    s.event("ip_rcv", sp=0x700, parent_sp=0x800, skb=2, birth=20, header=HOSTS)
    s.event("ip_rcv", sp=0x600, stack=1, parent_sp=0x500, skb=3, birth=30, header=HOSTS)
    quick, slow = both(s)
    assert quick == slow
    frames, _, _ = slowly(np.concatenate(s.rows, dtype=EVENT), s.knowledge)
    assert frames[1].parent is frames[0]
    assert frames[3].parent is None and frames[3].orphan and frames[4].parent is frames[3]


def test_whether_a_packet_matched_is_in_the_key() -> None:
    """One that did not is recorded in part only, so another verdict is due."""
    s = Stream()
    for skb in (1, 2):
        s.event("ip_rcv", skb=skb, birth=skb * 10, header=HOSTS)
        s.event("skb_release_head_state", skb=skb, birth=skb * 10, cls=Class.END)
    events = np.concatenate(s.rows, dtype=EVENT)
    splitter = Splitter(s.knowledge)
    splitter.take(events)
    same = splitter.flush().keys
    assert same[0].tolist() == same[1].tolist()
    events["flags"][2:] &= np.uint16(~int(Flag.MATCHED) & 0xFFFF)
    splitter = Splitter(s.knowledge)
    splitter.take(events)
    other = splitter.flush().keys
    assert other[0].tolist() != other[1].tolist()


def test_flags_of_the_schema_are_known_to_the_twin() -> None:
    """A new flag may be a new rule of the slow assembler: then the fast one must learn it, too."""
    known = {"HEADER", "MATCHED", "SAME_SLOT", "BORN", "END", "CLONED", "TRACK_FULL", "STASHED", "HOLE", "CUT", "LATE"}
    assert {flag.name for flag in Flag} == known


@pytest.mark.parametrize("path", SOME[:3], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_several_arrays_are_taken_as_one(path: Path) -> None:
    events, _ = ordered(path)
    long, known, seed = np.concatenate(list(rounds(events, 12)), dtype=EVENT), knowledge_of(path), split._seed()
    one, several = (
        Splitter(known, seed).take(parts) for parts in (long, [long[:0], long[:100], long[100:103], long[103:]])
    )
    assert len(one) > 1
    assert one.keys.tolist() == several.keys.tolist() and one.starts.tolist() == several.starts.tolist()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60))
def test_groups_of_one_key_stand_together(rows: list[tuple[int, int]]) -> None:
    keys = np.array(rows, np.uint64)
    found = list(Batch(None, None, None, None, None, keys).forms())
    expected: dict[tuple[int, int], list[int]] = {}
    for number, key in enumerate(rows):
        expected.setdefault(key, []).append(number)
    assert [groups.tolist() for _, groups in found] == list(expected.values())
    assert [key for key, _ in found] == [np.array(key, np.uint64).tobytes() for key in expected]
