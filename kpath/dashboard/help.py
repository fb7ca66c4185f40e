"""The text of the help screen."""

from __future__ import annotations

from rich.text import Text

from kpath.dashboard import theme
from kpath.dashboard.aggregate import EXAMPLES, RECENT

KEYS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Views", (
        ("1 … 5, tab", "paths, packets, drops, coverage, divergences"),
        ("↑ ↓ pgup pgdn", "move; also j k, home end, the wheel"),
        ("enter, click", "open the packet's call tree"),
        ("esc", "back; or undo the filter"),
        ("o  O", "sort by the next column; turn the order (or click a title)"),
        ("d", "next document: its verdicts, lines and coverage are shown"),
        ("t", "colours for a light screen, or for a dark one"),
    )),
    ("A packet's life", (
        ("← →  or  , .", "one step back, one step on"),
        ("<  >", "the packet before, the packet after, of the same path"),
        ("shift+← →", "sideways, where the tree is too wide; also h l"),
    )),
    ("Time", (
        ("space", "live: hold the screen still; recording: play"),
        ("[  ]", "recording: one packet back, one packet on"),
        ("{  }", "recording: a tenth back, a tenth on"),
        ("-  +", "recording: play slower, play faster"),
    )),
    ("Find", (
        ("/", "search; n and N: the next, the one before"),
        ("f", "filter: words that must occur, -words that must not"),
        ("s", "save what was captured so far: .kpath for events, else the counts"),
        ("m", "live: count paths in the kernel, or read every event again"),
        ("q, ctrl+c", "quit"),
    )),
)  # fmt: skip
"""Sections of keys with what they do."""

SYMBOLS = (
    ("✓ conforms", theme.STYLES[theme.CONFORMS], "the path is one that the document draws"),
    ("✗ diverges", theme.STYLES[theme.DIVERGES], "it is not, and nothing known explains it"),
    ("~ partial", theme.STYLES[theme.PARTIAL], "it began before or ended after the capture"),
    ("? inconclusive", theme.STYLES[theme.INCONCLUSIVE], "events were lost while the packet lived"),
    ("Δ evolution", theme.PURPLE, "differs from the document, and the lineage says why"),
    ("● ○", theme.GREEN, "coverage: seen, not yet"),
    ("◌ ∅", theme.SKY, "coverage: passed without a frame of its own; cannot be seen here"),
)


def text() -> list[Text]:
    """All lines."""
    out: list[Text] = []
    for title, keys in KEYS:
        out.append(Text(title, f"bold {theme.SKY}"))
        for key, what in keys:
            line = Text(f"  {key:<15}", f"bold {theme.INK}")
            out.append(line.append(what, "not bold"))
    out.append(Text("Symbols", f"bold {theme.SKY}"))
    for symbol, style, what in SYMBOLS:
        line = Text(f"  {symbol:<15}", style)
        out.append(line.append(what, f"not bold {theme.INK}"))
    out.append(Text("What is kept", f"bold {theme.SKY}"))
    out.append(Text(f"  The last {RECENT} packets, and {EXAMPLES} with the slowest for each path. When packets come"))
    out.append(Text("  faster than they can be looked at, fewer keep their steps; what is left out is said."))
    out.append(Text("While paths are counted", f"bold {theme.SKY}"))
    out.append(Text("  The kernel counts each packet on its path (⇒ between its passes) and how long it took. The"))
    out.append(Text("  hops of each path come up once, and those of one packet in 64 with their times. Hooks'"))
    out.append(Text("  verdicts and functions without a packet are not seen."))
    return out
