"""What share of the packets a capture followed, in words."""

from __future__ import annotations

from collections.abc import Mapping


def words(facts: Mapping[str | int, object]) -> str:
    """From a capture's facts ``followed`` (pairs of a time and N: one packet in N from then on) and ``left_out`` (how
    many were not followed); "" when every packet was. Facts of another form say nothing.
    """
    pairs = facts.get("followed")
    if not isinstance(pairs, list):
        return ""
    shares = [pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], int)]
    left_out = facts.get("left_out")
    others = f", and {left_out:,} were left out" if isinstance(left_out, int) else ""
    if not shares:
        return ""
    if max(shares) < 2:
        return f"every packet was followed while the buffer had room{others}" if others and left_out else ""
    text = f"one packet in {shares[0]:,} was followed"
    if len(shares) > 1:
        text = f"at least one packet in {max(shares):,} was followed, at the end one in {shares[-1]:,}"
    return text + others
