"""What share of the packets was followed, in words."""

from __future__ import annotations

import pytest

from kpath.report.followed import words


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ""),
        ({"followed": [[5, 1]], "left_out": 0}, ""),
        ({"followed": [[5, 8]]}, "one packet in 8 was followed"),
        ({"followed": [[5, 4096]], "left_out": 12345}, "one packet in 4,096 was followed, and 12,345 were left out"),
        (
            {"followed": [[5, 8], [9, 16], [12, 4]], "left_out": 70},
            "at least one packet in 16 was followed, at the end one in 4, and 70 were left out",
        ),
        (
            {"followed": [[5, 1]], "left_out": 1234},
            "every packet was followed while the buffer had room, and 1,234 were left out",
        ),
        ({"followed": "8", "left_out": 3}, ""),
        ({"followed": [[5], "x", [7, "8"]], "left_out": 3}, ""),
        ({"followed": [[5, 1]], "left_out": "many"}, ""),
        ({"followed": [[5, 8]], "left_out": "many"}, "one packet in 8 was followed"),
    ],
)
def test_words(facts: dict[str | int, object], said: str) -> None:
    assert words(facts) == said
