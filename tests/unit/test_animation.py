"""Animations of a run's pictures: the time of each, the limits, pictures that cannot be read; and WebP's container."""

from __future__ import annotations

import io
from typing import Final

import pytest
from PIL import Image, ImageSequence

from broker.contract.errors import BadInput
from broker.contract.frames import Frame
from broker.export.document import Pictures
from broker.export.webp import Shown, animated, chunks
from testcast.cli.animation import LIMITS, Animation, animation, durations_ms
from tests.exporting import COLOURS, jpeg

T: Final = 1_795_724_900_000
STILL: Final = b"RIFF" + (12 + 5).to_bytes(4, "little") + b"WEBPVP8 " + (5).to_bytes(4, "little") + b"abcde\0"
"""As `tests/unit/js/webp.test.js` has it."""
ANIMATED: Final = (
    "524946464a00000057454250565038580a000000020000000f0000080000414e494d06000000000000000000414e4d461e000000000000000000"
    "0f0000080000f40100025650382005000000616263646500"
)


def pictures(*times: int, end: int = 0, size: tuple[int, int] = (320, 180)) -> Pictures:
    """Pictures taken at these times, ms after `T`, each of another colour."""
    frames = []
    for index, at in enumerate(times):
        made = jpeg(COLOURS[index % len(COLOURS)], size)
        frames.append((Frame(index + 1, index + 1, T + at, len(made)), made))
    return Pictures(frames, (T, T + end))


def shown(content: bytes) -> tuple[list[int], tuple[int, int]]:
    """How long each picture of an animation is shown, ms, as Pillow reads it; and its size."""
    with Image.open(io.BytesIO(content)) as read:
        durations = []
        for each in ImageSequence.Iterator(read):
            each.load()
            durations.append(int(each.info["duration"]))
        return durations, read.size


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_each_picture_is_shown_as_long_as_it_was(form: Animation) -> None:
    made = animation(form, pictures(0, 500, 1250, 4000, end=6000))
    durations, size = shown(made.content)
    assert durations == [500, 750, 2750, 2000]
    assert (size, made.pictures, made.seconds, made.skipped) == ((320, 180), 4, 6.0, 0)


def test_what_a_gif_rounds_off_is_added_to_the_next() -> None:
    made = animation("gif", pictures(*range(0, 333 * 30, 333)))
    assert sum(shown(made.content)[0]) == 29 * 333 + 1000 + 3


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_colours_stay(form: Animation) -> None:
    with Image.open(io.BytesIO(animation(form, pictures(0, 500, 1000)).content)) as read:
        for index, picture in enumerate(ImageSequence.Iterator(read)):
            pixel = picture.convert("RGB").getpixel((160, 90))
            assert isinstance(pixel, tuple)
            assert all(abs(a - b) <= 12 for a, b in zip(pixel, COLOURS[index], strict=True))


def test_the_first_picture_may_be_older_than_the_stretch() -> None:
    frames = [Frame(1, 1, T - 9000, 1), Frame(2, 2, T + 400, 1)]
    assert durations_ms(frames, (T, T + 5000)) == [400, 4600]


@pytest.mark.parametrize(("form", "most"), [("gif", 655_350), ("webp", 2**24 - 1)])
def test_a_picture_that_stood_for_hours_is_shown_as_long_as_the_format_holds(form: Animation, most: int) -> None:
    made = animation(form, pictures(0, 500, end=20_000_000))
    assert shown(made.content)[0] == [500, most] and made.seconds == (500 + most) / 1000


def test_equal_pictures_of_a_gif_are_one_and_last_no_longer_than_it_holds() -> None:
    one, hour = jpeg(COLOURS[0]), 3_600_000
    frames = [(Frame(each + 1, each + 1, T + each * hour, len(one)), one) for each in range(3)]
    assert shown(animation("gif", Pictures(frames, (T, T))).content)[0] == [655_350]


def test_pictures_of_one_moment_and_times_out_of_order_are_shown_shortly() -> None:
    frames = [Frame(1, 1, T, 1), Frame(2, 2, T, 1), Frame(3, 3, T - 50, 1)]
    assert durations_ms(frames, (0, 0)) == [20, 20, 1000]


def test_wide_pictures_are_made_smaller_and_others_are_centred() -> None:
    wide, narrow = jpeg((0, 0, 200), (1280, 720)), jpeg((200, 0, 0), (100, 200))
    given = Pictures([(Frame(1, 1, T, 1), wide), (Frame(2, 2, T + 500, 1), narrow)], (T, T))
    durations, size = shown(animation("gif", given).content)
    assert (size, len(durations)) == ((480, 270), 2)


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_a_picture_that_cannot_be_read_leaves_its_time_to_the_one_before(form: Animation) -> None:
    given = pictures(0, 500, 1000, end=3000)
    for broken in (b"\xff\xd8\xff no picture", given.frames[1][1][:200]):
        given.frames[1] = (given.frames[1][0], broken)
        made = animation(form, given)
        assert (made.skipped, shown(made.content)[0]) == (1, [1000, 2000])


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_what_is_no_animation_is_refused_in_words(form: Animation) -> None:
    with pytest.raises(BadInput, match="no pictures"):
        animation(form, Pictures([], (0, 0)))
    with pytest.raises(BadInput, match="can be read"):
        animation(form, Pictures([(Frame(1, 1, T, 3), b"\xff\xd8\xff")], (0, 0)))
    many = pictures(0).frames * (LIMITS[form].pictures + 1)
    with pytest.raises(BadInput, match="--from and --to"):
        animation(form, Pictures(many, (0, 0)))


def test_the_container_is_the_one_that_the_page_writes() -> None:
    assert animated([Shown(STILL, 500)], 16, 9).hex() == ANIMATED


def test_a_container_that_is_none_or_not_whole_is_refused() -> None:
    for given in (b"", b"RIFF", b"RIFF\0\0\0\0WAVE", STILL[:-3]):
        with pytest.raises(BadInput):
            list(chunks(given)) and animated([Shown(given, 1)], 1, 1)
    with pytest.raises(BadInput):
        animated([], 1, 1)
