"""Makes an animation of a run's pictures: GIF or WebP. The one file of the command that knows Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from PIL import Image, UnidentifiedImageError

from broker.contract.errors import BadInput
from broker.contract.frames import Frame
from broker.export.document import Pictures
from broker.export.webp import MAX_DURATION_MS, Shown, animated

Animation = Literal["gif", "webp"]


class Limits(NamedTuple):
    """What an animation may be."""

    pictures: int
    width: int
    """Pixels. Wider pictures are made smaller."""


LIMITS: Final[dict[Animation, Limits]] = {"gif": Limits(600, 480), "webp": Limits(3000, 960)}
"""A GIF has no compression worth the name, and all of its pictures are in memory while it is written."""
_LAST_MS: Final = 1000
"""How long the last picture is shown at least."""
_SHORTEST_MS: Final = 20
"""Browsers show a GIF's pictures ten times as long where a shorter time is asked for."""
_MAX_PIXELS: Final = 1 << 25
"""A JPEG of a few bytes may claim any size."""
_WEBP_QUALITY: Final = 75
_GIF_UNIT_MS: Final = 10
_LONGEST_MS: Final[dict[Animation, int]] = {"gif": 655_350, "webp": MAX_DURATION_MS}
"""What the format holds for one picture: 16 bits of hundredths, 24 bits of milliseconds."""


class Made(NamedTuple):
    """An animation."""

    content: bytes
    pictures: int
    seconds: float
    skipped: int
    """Pictures that cannot be read."""


def animation(form: Animation, pictures: Pictures) -> Made:
    """Makes an animation that repeats for ever. Each picture is shown for as long as it was.

    Raises:
        BadInput: there are no pictures, or more than `LIMITS` allows.
    """
    limits = LIMITS[form]
    given = pictures.frames
    if not given:
        raise BadInput("there are no pictures in it: its agent published none, or they are no longer kept")
    if len(given) > limits.pictures:
        raise BadInput(
            f"{len(given)} pictures are more than the {limits.pictures} of a {form.upper()}: "
            "name a shorter stretch with --from and --to"
        )
    durations = durations_ms([frame for frame, _ in given], pictures.times)
    size = next((size for _, jpeg in given if (size := _size_in(jpeg, limits.width)) is not None), None)
    if size is None:
        raise BadInput("none of its pictures can be read")
    readable = _readable([jpeg for _, jpeg in given], durations, size)
    shown = [(jpeg, min(duration, _LONGEST_MS[form])) for jpeg, duration in readable]
    make = _gif if form == "gif" else _webp
    seconds = sum(each for _, each in shown) / 1000
    return Made(make(shown, size), len(shown), seconds, len(given) - len(shown))


def durations_ms(frames: Sequence[Frame], times: tuple[int, int]) -> list[int]:
    """How long each picture was shown: until the next one, the last until the stretch ends.

    Args:
        times: of the first and the last event of the stretch, ms. The first picture may be older than it.
    """
    begin, end = times
    at = [max(frame.time_ms, begin) for frame in frames]
    at.append(max(at[-1] + _LAST_MS, end))
    return [max(_SHORTEST_MS, after - before) for before, after in pairwise(at)]


def _readable(jpegs: Sequence[bytes], durations: Sequence[int], size: tuple[int, int]) -> Iterator[tuple[bytes, int]]:
    """Those that can be read. The time of another belongs to the one before it."""
    waiting: tuple[bytes, int] | None = None
    for jpeg, duration in zip(jpegs, durations, strict=True):
        if _picture(jpeg, size) is not None:
            if waiting is not None:
                yield waiting
            waiting = (jpeg, duration)
        elif waiting is not None:
            waiting = (waiting[0], waiting[1] + duration)
    if waiting is not None:
        yield waiting


def _size_in(jpeg: bytes, width: int) -> tuple[int, int] | None:
    """The size of a picture, made smaller where it is too wide; None when it cannot be read."""
    opened = _opened(jpeg)
    if opened is None or _picture(jpeg, opened.size) is None:
        return None
    share = min(1.0, width / opened.width)
    return max(1, round(opened.width * share)), max(1, round(opened.height * share))


def _opened(jpeg: bytes) -> Image.Image | None:
    try:
        opened = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    return opened if 0 < opened.width * opened.height <= _MAX_PIXELS else None


def _picture(jpeg: bytes, size: tuple[int, int]) -> Image.Image | None:
    """A picture of this size; one of another form is centred on black. None when it cannot be read."""
    opened = _opened(jpeg)
    if opened is None:
        return None
    try:
        opened.draft("RGB", size)
        fitted = opened.convert("RGB")
    except (OSError, ValueError):
        return None
    share = min(size[0] / fitted.width, size[1] / fitted.height)
    within = (max(1, round(fitted.width * share)), max(1, round(fitted.height * share)))
    if fitted.size != within:
        fitted = fitted.resize(within, Image.Resampling.LANCZOS)
    if within == size:
        return fitted
    whole = Image.new("RGB", size)
    whole.paste(fitted, ((size[0] - within[0]) // 2, (size[1] - within[1]) // 2))
    return whole


def _pictures(shown: Sequence[tuple[bytes, int]], size: tuple[int, int]) -> Iterator[Image.Image]:
    for jpeg, _ in shown:
        picture = _picture(jpeg, size)
        assert picture is not None, "it was read before"
        yield picture


def _webp(shown: Sequence[tuple[bytes, int]], size: tuple[int, int]) -> bytes:
    stills = []
    for picture, (_, duration) in zip(_pictures(shown, size), shown, strict=True):
        still = io.BytesIO()
        picture.save(still, "WEBP", quality=_WEBP_QUALITY)
        stills.append(Shown(still.getvalue(), duration))
    return animated(stills, *size)


def _gif(shown: Sequence[tuple[bytes, int]], size: tuple[int, int]) -> bytes:
    """Times of a GIF are in hundredths of a second: what is rounded off one is added to the next. Of equal pictures in
    a row there is one: Pillow would add up their times beyond what the format holds."""
    stills, durations, rest, before = list[Image.Image](), list[int](), 0, b""
    for picture, (_, duration) in zip(_pictures(shown, size), shown, strict=True):
        rounded = max(2, round((duration + rest) / _GIF_UNIT_MS)) * _GIF_UNIT_MS
        rest += duration - rounded
        still = picture.quantize(256, Image.Quantize.MEDIANCUT)
        if (pixels := still.convert("RGB").tobytes()) == before:
            durations[-1] = min(durations[-1] + rounded, _LONGEST_MS["gif"])
            continue
        stills.append(still)
        durations.append(min(rounded, _LONGEST_MS["gif"]))
        before = pixels
    made = io.BytesIO()
    first, *others = stills
    first.save(made, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=False)
    return made.getvalue()
