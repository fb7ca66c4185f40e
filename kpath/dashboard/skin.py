"""Colours, layout and keys, for Textual."""

from __future__ import annotations

from typing import Final

from textual.binding import Binding
from textual.theme import Theme

from kpath.dashboard import theme, theme_light

THEME: Final = Theme(
    name="kpath",
    primary=theme.SKY,
    accent=theme.ORANGE,
    foreground=theme.INK,
    background=theme.PAPER,
    surface=theme.PAPER,
    panel=theme.BAND,
    success=theme.GREEN,
    warning=theme.YELLOW,
    error=theme.VERMILION,
    dark=True,
)

LIGHT: Final = Theme(
    name="kpath-light",
    primary=theme_light.LIGHT[theme.SKY],
    accent=theme_light.LIGHT[theme.ORANGE],
    foreground=theme_light.LIGHT[theme.INK],
    background=theme_light.PAPER,
    surface=theme_light.PAPER,
    panel=theme_light.BAND,
    success=theme_light.LIGHT[theme.GREEN],
    warning=theme_light.LIGHT[theme.YELLOW],
    error=theme_light.LIGHT[theme.VERMILION],
    dark=False,
)

CSS: Final = """
Screen { background: $background; color: $foreground; overflow: hidden; }
#status { height: 2; background: $panel; }
#status.three { height: 3; }
#lower { height: 2fr; display: none; border-top: solid $panel-lighten-2; }
.split #lower, .detail #lower, .help #lower { display: block; }
.detail #list, .help #list { display: none; }
.detail #lower, .help #lower { border-top: none; }
#packet { height: 1; }
.help #packet { display: none; }
#inspector { height: 4; background: $panel; padding: 0 1; }
.detail #inspector { height: 5; }
.split #inspector, .high #inspector { height: 7; }
.help #inspector { display: none; }
#notice { display: none; height: auto; max-height: 4; }
#notice.on { display: block; }
#prompt { display: none; height: 1; border: none; padding: 0 1; background: $panel; }
#prompt.on { display: block; }
#keys { height: 1; background: $panel; }
"""
"""Which widgets are seen depends on classes of the screen: split, high, detail, help."""

KEYS: Final = (
    Binding("q,ctrl+c,ctrl+q", "leave", priority=False, show=False),
    Binding("question_mark", "help", show=False),
    *(Binding(str(number + 1), f"show_view({number})", show=False) for number in range(5)),
    Binding("tab", "view(1)", show=False, priority=True),
    Binding("shift+tab", "view(-1)", show=False, priority=True),
    Binding("escape", "back", show=False),
    Binding("space", "pause", show=False),
    Binding("left,comma", "step(-1)", show=False),
    Binding("right,full_stop", "step(1)", show=False),
    Binding("less_than_sign", "packet(-1)", show=False),
    Binding("greater_than_sign", "packet(1)", show=False),
    Binding("left_square_bracket", "travel(-1)", show=False),
    Binding("right_square_bracket", "travel(1)", show=False),
    Binding("left_curly_bracket", "travel(-10)", show=False),
    Binding("right_curly_bracket", "travel(10)", show=False),
    Binding("minus", "pace(-1)", show=False),
    Binding("plus,equals_sign", "pace(1)", show=False),
    Binding("slash", "ask('search')", show=False),
    Binding("n", "found(1)", show=False),
    Binding("N", "found(-1)", show=False),
    Binding("f", "ask('filter')", show=False),
    Binding("s", "ask('save')", show=False),
    Binding("o", "sort", show=False),
    Binding("O", "turn", show=False),
    Binding("d", "document", show=False),
    Binding("m", "change", show=False),
    Binding("t", "light", show=False),
)
"""None is shown by Textual; the last line of the screen and ``help.py`` tell them."""
