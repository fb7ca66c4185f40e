"""One group becomes Python objects again, as the slow assembler would have made them."""

from __future__ import annotations

from kpath.capture.schema import Kind
from kpath.trace.arrays.split import Group
from kpath.trace.frames import Event, Frame, events_of, hang
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey, Life, Lives


class _Told(Lives):
    """Lives whose identity and links beyond the group are told, because they rest on events outside it."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self._group = group
        self._lives: dict[int, Life] = {}
        self.at = 0

    def life(self, event: Event) -> Life | None:
        """The life that the event at ``at`` belongs to."""
        number = self._group.life[self.at]
        if number < 0:
            return None
        if number not in self._lives:
            self._lives[number] = Life(event.skb, event.birth)
        return self._lives[number]

    def other(self, event: Event) -> Life | None:
        """The life of that event's second buffer."""
        return self._lives.get(self._group.other[self.at])

    def _from_wire(self, life: Life, frame: Frame) -> None:
        """Told by ``settle``."""

    def _reassembled(self, life: Life, e: Event) -> None:
        """Told by ``settle``."""

    def settle(self) -> list[Journey]:
        """The journeys, with the numbers that they have in the whole stream."""
        first: dict[int, Life] = {}
        for number, life in self._lives.items():
            journey = self._group.journey[number]
            if journey:
                self.join(first.setdefault(journey, life), life)
        found = []
        for journey, life in sorted(first.items()):
            if life.journey is not None:
                life.journey.number = journey
                found.append(life.journey)
        return found


def journeys_of(group: Group, knowledge: Knowledge) -> list[Journey]:
    """The journeys of a group. A frame's index is the place of its event in the group."""
    lives = _Told(group)
    frames: dict[int, Frame] = {}
    for place, event in enumerate(events_of(group.events)):
        lives.at = place
        above = group.parent[place]
        if event.kind == Kind.ENTRY:
            frame = Frame(place, knowledge.function(event.ip), event, knowledge.function(event.caller))
            frame.tail, frame.orphan = group.tail[place], group.orphan[place]
            hang(frame, frames.get(above), knowledge)
            frames[place] = frame
            if event.skb:
                lives.frame(frame)
        elif event.kind == Kind.VERDICT:
            frames[above].verdict = event.value
        else:
            lives.drop(event, knowledge.drop_reason(event.value), knowledge.function(event.caller))
    return lives.settle()
