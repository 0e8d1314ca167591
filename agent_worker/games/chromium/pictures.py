"""Comparing pictures of a page. Pure: bytes in, numbers and bytes out.

A picture is compared as a small grey *thumb*: 320 x 180 values from 0 to 255. That is a quarter of a desktop's viewport
each way: a sprite of 24 pixels is still 6 x 6 of them, and comparing two thumbs takes under 1 ms.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops, ImageOps

from broker.contract.frames import MAX_JPEG_BYTES

THUMB_SIZE: Final = (320, 180)
SCREENSHOT_SIZE: Final = (640, 360)
EVIDENCE_SIZE: Final = (644, 180)
"""Before and after side by side, 320 x 180 each, and a gap between them."""
_GAP: Final = 4
_GAP_COLOUR: Final = (255, 255, 255)

_NOISE_LEVELS: Final = 18
"""Grey levels within which two pixels count as the same: JPEG moves a flat pixel by up to about 10."""


@dataclass(frozen=True, slots=True)
class Thumb:
    """A picture as 320 x 180 grey values."""

    grey: Image.Image


@dataclass(frozen=True, slots=True)
class Envelope:
    """The darkest and brightest value of each pixel while nothing was done: the usual range."""

    low: Image.Image
    high: Image.Image


def thumb(jpeg: bytes) -> Thumb:
    """Decodes a picture (JPEG or PNG of any size) for comparisons.

    Raises:
        OSError: The bytes are no picture.
    """
    picture = Image.open(io.BytesIO(jpeg))
    picture.draft("L", THUMB_SIZE)  # lets the JPEG decoder itself scale down: 3 ms instead of 12
    return Thumb(picture.convert("L").resize(THUMB_SIZE, Image.Resampling.BOX))


def changed(one: Thumb, other: Thumb) -> float:
    """Part of the pixels, 0 to 1, that differ visibly."""
    return _visible(ImageChops.difference(one.grey, other.grey))


def envelope(thumbs: Sequence[Thumb]) -> Envelope:
    """The range that `thumbs` (at least one) span."""
    low = high = thumbs[0].grey
    for each in thumbs:
        low, high = ImageChops.darker(low, each.grey), ImageChops.lighter(high, each.grey)
    return Envelope(low, high)


def outside(normal: Envelope, seen: Thumb) -> float:
    """Part of the pixels, 0 to 1, that are outside the range `normal`."""
    above = ImageChops.subtract(seen.grey, normal.high)
    below = ImageChops.subtract(normal.low, seen.grey)
    return _visible(ImageChops.lighter(above, below))


def is_blank(seen: Thumb) -> bool:
    """Whether the picture is a single flat colour, but for a thousandth of its pixels."""
    histogram = seen.grey.histogram()
    window = 2 * _NOISE_LEVELS
    fullest = max(sum(histogram[start : start + window]) for start in range(0, 256 - window + 1, 4))
    return fullest >= 0.999 * sum(histogram)


def grey_levels(seen: Thumb) -> int:
    """How many of 32 bands of grey hold at least a two-thousandth of the picture: a rough measure of detail."""
    histogram = seen.grey.histogram()
    least = sum(histogram) / 2000
    return sum(1 for start in range(0, 256, 8) if sum(histogram[start : start + 8]) >= least)


def signature(seen: Thumb) -> int:
    """A coarse fingerprint (16 x 9 cells of 4 greys): equal for pictures a person would call the same scene."""
    small = seen.grey.resize((16, 9), Image.Resampling.BOX)
    number = 0
    for value in small.tobytes():
        number = number << 2 | value >> 6
    return number


def screenshot(jpeg: bytes) -> bytes:
    """The picture for viewers: JPEG, at most 640 x 360 pixels and 64 KiB. One that is so already stays as it is.

    Raises:
        OSError: The bytes are no picture.
    """
    picture: Image.Image = Image.open(io.BytesIO(jpeg))  # reads its header only
    fits = picture.width <= SCREENSHOT_SIZE[0] and picture.height <= SCREENSHOT_SIZE[1]
    if picture.format == "JPEG" and fits and len(jpeg) <= MAX_JPEG_BYTES:
        return jpeg
    picture.thumbnail(SCREENSHOT_SIZE, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _encoded(picture.convert("RGB"))


def side_by_side(before: bytes, after: bytes) -> bytes:
    """Two pictures as one for viewers: before on the left, after on the right, a JPEG of `EVIDENCE_SIZE`.

    Raises:
        OSError: One of them is no picture.
    """
    both = Image.new("RGB", EVIDENCE_SIZE, _GAP_COLOUR)
    half = (EVIDENCE_SIZE[0] // 2 - _GAP // 2, EVIDENCE_SIZE[1])
    for jpeg, left in ((before, 0), (after, EVIDENCE_SIZE[0] - half[0])):
        picture: Image.Image = Image.open(io.BytesIO(jpeg))
        picture.draft("RGB", half)
        both.paste(ImageOps.pad(picture.convert("RGB"), half, Image.Resampling.LANCZOS, color=_GAP_COLOUR), (left, 0))
    return _encoded(both)


def _encoded(picture: Image.Image) -> bytes:
    encoded = b""
    for quality in (80, 65, 50, 35, 20):
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, optimize=True)
        encoded = out.getvalue()
        if len(encoded) <= MAX_JPEG_BYTES:
            break
    return encoded  # 640 x 360 of pure noise at quality 20 is 40 KiB, so the last always fits


def _visible(difference: Image.Image) -> float:
    histogram = difference.histogram()
    return sum(histogram[_NOISE_LEVELS + 1 :]) / (difference.width * difference.height)
