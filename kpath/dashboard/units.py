"""Numbers as few characters."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size


def duration(ns: int) -> str:
    """At most seven characters: ``812 ns``, ``12.3 µs``, ``4.56 ms``, ``1.2 s``, ``14 min``, ``3 d``; ``·`` if unknown,
    which is below 0."""
    if ns < 0:
        return "·"
    if ns < 1000:
        return f"{ns} ns"
    for factor, unit in ((1e3, "µs"), (1e6, "ms"), (1e9, "s")):
        value = ns / factor
        if value < 999.5:
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{ns / 60e9:.0f} min" if ns < 59_970e9 else f"{min(ns / 86_400e9, 9999):.0f} d"


def count(number: int) -> str:
    """At most six characters: ``12,345``, ``123 k``, ``1.23 M``."""
    if number < 100_000:
        return f"{number:,}"
    for factor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")):
        if number / factor < 999.5:
            return f"{number / factor:.3g} {unit}"
    return f"{number:.1e}"


def rate(per_second: float) -> str:
    """At most five characters, ``·`` for none."""
    if per_second < 0.05:
        return "·"
    if per_second < 99.95:
        return f"{per_second:.1f}"
    if per_second < 99_999.5:
        return f"{per_second:.0f}"
    if per_second < 999_500:
        return f"{per_second / 1e3:.0f}k"
    return f"{min(per_second / 1e6, 9999):.{1 if per_second < 9_950_000 else 0}f}M"


def age(ns: int) -> str:
    """How long ago, at most four characters."""
    seconds = max(0, ns) // 1_000_000_000
    if seconds < 1:
        return "now"
    for size, unit in ((60, "s"), (60, "m"), (24, "h")):
        if seconds < size:
            return f"{seconds}{unit}"
        seconds //= size
    return f"{min(seconds, 999)}d"


def fit(text: str, width: int, right: bool = False) -> str:
    """Exactly ``width`` cells, cut with an ellipsis where it is longer."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - length) + text if right else text + " " * (width - length)


def fit_way(text: str, width: int) -> str:
    """The same for a way: where it is longer, it is cut in the middle, for where it ended matters most."""
    if cell_len(text) <= width:
        return fit(text, width)
    cut = max(text.rfind(mark) for mark in (" → ", " ✗ "))
    end = text[cut + 1 :] if cut >= 0 else ""
    room = width - cell_len(end) - 2
    return fit(f"{set_cell_size(text, room).rstrip(' →')}… {end}", width) if end and room >= 8 else fit(text, width)


_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(share: float, width: int) -> str:
    """A bar of ``width`` cells that is ``share`` (0 to 1) full, to an eighth of a cell."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def share(part: float) -> str:
    """Of a whole, at most five characters: ``12.3%``, ``0.02%``, ``100%``."""
    return f"{part:.{0 if part >= 0.9995 else 1 if part >= 0.001 or not part else 2}%}"


def bars(counts: Sequence[int]) -> str:
    """A bar for each count, the highest for the largest; what is not nothing is seen."""
    most = max(counts, default=0)
    return "".join("▁▂▃▄▅▆▇█"[max(0, -(-count * 8 // most) - 1)] if count else " " for count in counts)


def plural(number: int, one: str, many: str = "") -> str:
    """``1 packet``, ``2 packets``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
