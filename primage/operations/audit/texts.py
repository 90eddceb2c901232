"""Lines of text out of pieces of bytes, as they arrive; whoever fills a log decides how long they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

LONGEST = 16 * 1024 * 1024
"""Bytes of a line. An address of a request may have a megabyte, of which each byte may be spelled by six."""


def lines(pieces: Iterable[bytes], longest: int = LONGEST) -> Iterator[bytes | None]:
    """Each line, without its end; None for one that is too long. The last need not have an end: it may be cut off."""
    begun, skipping = bytearray(), False
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for end in whole:
            begun += end
            yield None if skipping or len(begun) > longest else bytes(begun)
            begun.clear()
            skipping = False
        begun += rest
        if len(begun) > longest:
            begun.clear()
            skipping = True
    if begun or skipping:
        yield None if skipping else bytes(begun)
