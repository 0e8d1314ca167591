"""A picture of a run at a moment: what is stored beside the JPEG, and the check that every reader applies to it. Pure.

A *moment* is an event's sequence, a time, and the picture that belongs to it. Pictures are no events: they take no part
in the fold, in positions or in resuming, and a run may have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from broker.contract.errors import BadInput

MAX_JPEG_BYTES: Final = 64 * 1024
MAX_FRAMES_PER_S: Final = 2
"""What an agent publishes at most, and only when something has changed."""
SEQ_HEADER: Final = "Testcast-Seq"
"""Sequence of the newest event that the picture's publisher knew to be stored, decimal. Absent: the time alone says
where the picture belongs."""
TIME_HEADER: Final = "Testcast-Time"
"""When the picture was taken, ms since 1970 by the publisher's clock, like an event's `timestamp`. Absent: when the
broker stored it."""
JPEG_MAGIC: Final = b"\xff\xd8\xff"
_SAFE_INT: Final = 2**53 - 1


class Frame(NamedTuple):
    """A stored picture without its bytes."""

    number: int
    """Its sequence in the stream of all pictures: larger is newer. It names the same picture for ever."""
    seq: int
    """Of the event that it belongs to; 0: only its time is known."""
    time_ms: int
    """When it was taken, by the publisher's clock."""
    size: int
    """Of the JPEG, bytes; 0: not known."""


class MalformedFrame(BadInput):
    """A picture that no viewer gets; the message says what is wrong with it."""

    code = "malformed_frame"


def check_jpeg(jpeg: bytes) -> bytes:
    """Returns the bytes of a JPEG of at most `MAX_JPEG_BYTES`.

    Raises:
        MalformedFrame: they are not.
    """
    if not jpeg.startswith(JPEG_MAGIC):
        raise MalformedFrame("the picture is not a JPEG")
    if len(jpeg) > MAX_JPEG_BYTES:
        raise MalformedFrame(f"the picture has {len(jpeg)} bytes: at most {MAX_JPEG_BYTES} are allowed")
    return jpeg


def headers_of(seq: int, time_ms: int) -> dict[str, str]:
    """Returns the headers to publish a picture with. 0: not known."""
    given = ((SEQ_HEADER, seq), (TIME_HEADER, time_ms))
    return {name: str(value) for name, value in given if value}


def frame_of(number: int, headers: Mapping[str, str | None], stored_ms: int, size: int) -> Frame:
    """Returns what is known of a stored picture.

    Args:
        number: its stream sequence.
        headers: `SEQ_HEADER` and `TIME_HEADER`, where it has them.
        stored_ms: when the broker stored it, ms since 1970.
        size: bytes of the JPEG, 0 where the reader does not know.

    Raises:
        MalformedFrame: a header is no whole number in its range, or the picture is too large.
    """
    if size > MAX_JPEG_BYTES:
        raise MalformedFrame(f"the picture has {size} bytes: at most {MAX_JPEG_BYTES} are allowed")
    seq = _whole(SEQ_HEADER, headers.get(SEQ_HEADER), 0)
    return Frame(number, seq, _whole(TIME_HEADER, headers.get(TIME_HEADER), stored_ms), size)


def _whole(name: str, given: str | None, default: int) -> int:
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal() and len(given) <= 16 and int(given) <= _SAFE_INT):
        raise MalformedFrame(f"the header {name} is not a whole number from 0 to 2^53-1")
    return int(given)
