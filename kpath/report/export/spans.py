"""How long a frame lasted, as well as that can be said: kpath sees entries, never returns.

A frame has certainly returned when the function that called it calls the next one: that is the end of a frame that
has a younger sibling, at the latest. The last frame of a caller lasts, at the longest, as long as the caller. Of a
whole stack that empties only its last event is known, and that is when its last frames end here, at the earliest: the
next event on that stack may come a second later. What a function jumps to at its end counts as a part of it.
"""

from __future__ import annotations

from collections import OrderedDict

from kpath.trace.frames import Frame

NEXT_CALL, LAST_EVENT = "next call", "last event"
"""What the estimate of an end rests on: the end came before it; the end came after it."""

Span = tuple[int, str]
"""Time of the end (ns), and which of the two estimates it is."""

_TREES = 256


class Spans:
    """Ends of frames. Keeps those of the trees that were asked for last, so that memory stays bounded."""

    def __init__(self) -> None:
        self._trees: OrderedDict[int, dict[int, Span]] = OrderedDict()

    def end(self, frame: Frame) -> Span:
        """When this frame ended."""
        bottom = frame
        for ancestor in frame.ancestors():
            bottom = ancestor
        tree = self._trees.get(bottom.index)
        if tree is None or frame.index not in tree:  # the tree may have grown since it was looked at
            tree = self._trees[bottom.index] = _ends(bottom)
            if len(self._trees) > _TREES:
                self._trees.popitem(last=False)
        self._trees.move_to_end(bottom.index)
        return tree[frame.index]


def _ends(bottom: Frame) -> dict[int, Span]:
    last = bottom.time
    frames = [bottom]
    for frame in frames:  # grows while it is read
        last = max(last, frame.time)
        frames += frame.children
    ends: dict[int, Span] = {bottom.index: (last, LAST_EVENT)}
    for frame in frames:
        after = ends[frame.index]
        for child in reversed(frame.children):
            ends[child.index] = after
            after = (child.time, NEXT_CALL)
    return ends
