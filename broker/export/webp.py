"""Animated WebP from still WebP pictures: the RIFF container alone, no picture is decoded. Pure.

The dashboard does the same in the browser (`dashboard_ui/view/webp.js`). The container is that of Google's "WebP
Container Specification": `RIFF`, `VP8X`, `ANIM`, and an `ANMF` for each picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from broker.contract.errors import BadInput

MAX_SIDE: Final = 1 << 24
MAX_DURATION_MS: Final = (1 << 24) - 1
_ANIMATION: Final = 0x02
_ALPHA: Final = 0x10
_NO_BLEND: Final = 0x02
"""Each picture replaces the one before: nothing shines through."""
_PICTURES: Final = (b"ALPH", b"VP8 ", b"VP8L")


class Shown(NamedTuple):
    """A still WebP, and how long it is shown."""

    webp: bytes
    duration_ms: int


def animated(pictures: Sequence[Shown], width: int, height: int) -> bytes:
    """Returns an animation that repeats for ever.

    Args:
        pictures: all of this width and height.

    Raises:
        BadInput: there is no picture, or one is no still WebP.
    """
    if not pictures:
        raise BadInput("an animation needs at least one picture")
    frames, alpha = [], False
    for picture in pictures:
        parts = [part for part in chunks(picture.webp) if part[0] in _PICTURES]
        if not parts:
            raise BadInput("a picture is no still WebP")
        alpha = alpha or parts[0][0] != b"VP8 "
        size = _u24(0) + _u24(0) + _u24(width - 1) + _u24(height - 1)
        duration = _u24(min(max(picture.duration_ms, 0), MAX_DURATION_MS))
        frames.append(_chunk(b"ANMF", size + duration + bytes([_NO_BLEND]) + b"".join(_chunk(*part) for part in parts)))
    flags = bytes([_ANIMATION | (_ALPHA if alpha else 0), 0, 0, 0])
    body = _chunk(b"VP8X", flags + _u24(width - 1) + _u24(height - 1))
    body += _chunk(b"ANIM", bytes(4) + bytes(2)) + b"".join(frames)  # background, loops
    return _chunk(b"RIFF", b"WEBP" + body)


def chunks(webp: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the chunks of a WebP file: name and content.

    Raises:
        BadInput: it is no WebP, or not a whole one.
    """
    if webp[:4] != b"RIFF" or webp[8:12] != b"WEBP":
        raise BadInput("a picture is no WebP")
    at = 12
    while at + 8 <= len(webp):
        size = int.from_bytes(webp[at + 4 : at + 8], "little")
        content = webp[at + 8 : at + 8 + size]
        if len(content) < size:
            raise BadInput("a WebP picture is not whole")
        yield webp[at : at + 4], content
        at += 8 + size + size % 2


def _u24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + (b"\0" if len(content) % 2 else b"")
