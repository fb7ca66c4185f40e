"""Can this function have made that call? The machine code of the running kernel answers.

An edge that chance kept from the tracer, for it needs a timer or a full queue, is believed if the parent leads to the
function that called, by direct calls and jumps through functions that are not probed. A parent that was made up has no
such way, or a way that the return address does not lie on.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection

from kpath.kernel.symbols import MAX_EXTENT, Symbols
from kpath.kernel.text import KernelText

DEPTH = 7
"""Calls and jumps in a row. The longest seen have four."""

POINTERS = {
    # net/core/sock.c:release_sock: sk->sk_prot->release_cb(sk)
    "release_sock": ("tcp_release_cb",),
    # net/ipv4/tcp_output.c:__tcp_retransmit_skb: icsk_af_ops->rebuild_header(sk); compiled into its caller by some.
    "__tcp_retransmit_skb": ("inet_sk_rebuild_header",),
    "tcp_retransmit_skb": ("inet_sk_rebuild_header",),
}
"""What a function calls through a pointer, where that has to be known."""

_CALL = re.compile(rb"(?s)(?=\xe8(....))")


class Reach:
    """Answers from one kernel; ``probed`` are the addresses of the functions whose calls are all seen."""

    def __init__(self, text: KernelText, symbols: Symbols, probed: Collection[int]) -> None:
        self._text = text
        self._symbols = symbols
        self._probed = probed
        self._next: dict[int, frozenset[int]] = {}

    def leads(self, parent: int, caller: int) -> bool:
        """Is there a way from the function at ``parent`` to the one at ``caller``, past all that are probed?"""
        seen = edge = {parent}
        for _ in range(DEPTH):
            edge = {to for function in edge for to in self._following(function)} - seen
            if caller in edge:
                return True
            edge = {to for to in edge if to not in self._probed}
            seen = seen | edge
        return caller == parent

    def _following(self, function: int) -> frozenset[int]:
        if function not in self._next:
            self._next[function] = self._look(function)
        return self._next[function]

    def _look(self, function: int) -> frozenset[int]:
        symbols = self._symbols
        symbol = symbols.resolve(function)
        if symbol is None:
            return frozenset()
        parts = [function, *(part.address for part in symbols.functions(f"{symbol.name}.cold"))]
        found: set[int] = set(parts)
        for start in parts:
            end = min(symbols.end(start), start + MAX_EXTENT)
            found |= self._text.jumps(start, end).targets
            for match in _CALL.finditer(self._text.read(start, end - start)):
                (distance,) = struct.unpack("<i", match[1])
                target = symbols.resolve(start + match.end(1) + distance)
                # A call may be patched to skip the landing pad of an indirect one.
                if target is not None and target.offset in (0, 4):
                    found.add(target.address)
        for name in POINTERS.get(symbol.name, ()):
            found |= set(symbols.addresses(name))
        return frozenset(found - {function})
