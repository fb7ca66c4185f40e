"""The dashboard over a running capture: what it is given to show, to save, to tell and to change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kpath.capture.looks import EVENTS, PATHS, Switched

if TYPE_CHECKING:
    from kpath.capture.live import LiveSource
    from kpath.capture.tables import Header
    from kpath.cli.metrics import Counting
    from kpath.cli.options import Request
    from kpath.dashboard.counted import Counted
    from kpath.model.check import Checker

METRICS = "Metrics are made of events, so with --prometheus every event is read."


def board(
    source: LiveSource,
    request: Request,
    *,
    auto: bool,
    arp: bool,
    documents: Sequence[str],
    verdict: bool,
    selective: bool,
    budget: float | None,
    counting: Counting | None,
) -> None:
    """Show a capture that has been started until the user quits.

    ``auto``: count paths when events are too many, and come back; ``budget`` is the share of the machine (0 to 1) that
    this may take. ``selective``: the kernel side leaves packets out.
    """
    from kpath.capture.ending import INTERRUPT, Ending
    from kpath.capture.modes import Modes
    from kpath.cli.cost import Cost
    from kpath.dashboard.app import run
    from kpath.dashboard.referee import NEWEST_FIRST, referee
    from kpath.flow import load
    from kpath.model.check import Checker
    from kpath.model.view import build

    header = source.header()
    known = tuple(documents) or NEWEST_FIRST
    loaded = [load(name) for name in known]
    fixed = METRICS if counting else ""
    modes = Modes(source, source.session.options, request.filter_text, auto=auto, budget=budget, fixed=fixed)
    reads_events = modes.mode == EVENTS
    ending = Ending(request.duration)
    ending.begin()
    cost = Cost(modes, selective=selective)
    saver = Saver(header)
    stream = saver.pass_on(cost.pass_on(modes.chunks(ending)))

    def checker(header: Header) -> Checker:
        return Checker.for_stream(header.probes, loaded, build(header))

    run(
        counting.pass_on(stream, cost) if counting else stream,
        request.iface,
        referee(header.probes, loaded, build(header)) if verdict and reads_events else None,
        header=header,
        documents=loaded,
        arp=arp,
        stop=lambda: ending.end(INTERRUPT),
        save=saver.save,
        cost=cost.words,
        observe=counting,
        settled=lambda: modes.settled,
        checkers=checker if verdict else None,
        change=modes.go,
        counts=saver.counts,
    )


class Saver:
    """Keeps what passes by, and writes it when the user asks: events to a capture, counts to JSON."""

    def __init__(self, header: Header) -> None:
        from kpath.dashboard.keep import Keeper

        self._keeper = Keeper(header)
        self._mode = EVENTS
        self._counted: Callable[[], Counted | None] = lambda: None

    def counts(self, counted: Callable[[], Counted | None]) -> None:
        """Where counted paths are to be asked for."""
        self._counted = counted

    def pass_on(self, stream: Iterable[object]) -> Iterator[object]:
        """The same chunks, as they come."""
        from kpath.dashboard.keep import Keeper

        for chunk in stream:
            if isinstance(chunk, Switched) and chunk.header is not None:
                if chunk.mode == EVENTS:  # events of two captures cannot be told apart in one file
                    self._keeper = Keeper(chunk.header)
                self._mode = chunk.mode
            elif self._mode == EVENTS:
                self._keeper.keep(chunk)
            yield chunk

    def save(self, path: str) -> str:
        """Write to a new file; returns what to tell the user. Raises OSError when it cannot be written."""
        counted = self._counted()
        if path.endswith(".kpath") or counted is None:
            if self._mode == PATHS and self._keeper.empty:
                return "There are no events to save: paths are counted; save to a name that ends with .json."
            return self._keeper.save(path)
        target = Path(path).expanduser()
        lines = [*counted.as_json(), {"account": asdict(counted.counting())}]
        with target.open("x", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        return f"Saved the counts of {len(lines) - 1} paths to {target}, one JSON object a line, and their account."
