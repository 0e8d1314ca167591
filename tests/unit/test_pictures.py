"""What pictures tell (agent_worker/games/chromium/pictures.py)."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image, ImageDraw

from agent_worker.games.chromium import pictures
from broker.contract.frames import MAX_JPEG_BYTES

Box = tuple[int, int, int, int]


def jpeg(*boxes: Box, size: tuple[int, int] = (640, 360), colour: str = "#102040") -> bytes:
    picture = Image.new("RGB", size, colour)
    for box in boxes:
        ImageDraw.Draw(picture).rectangle(box, fill="#ffe060")
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=70)
    return out.getvalue()


def test_equal_pictures_do_not_differ_and_a_moved_sprite_does() -> None:
    here, there = (pictures.thumb(jpeg((x, 100, x + 40, 140))) for x in (100, 200))
    assert pictures.changed(here, here) == 0
    assert pictures.changed(here, there) == pytest.approx(2 * 41 * 41 / (640 * 360), rel=0.15)


def test_the_envelope_explains_what_happens_anyway() -> None:
    bounce = [pictures.thumb(jpeg((100, y, 140, y + 40))) for y in range(40, 200, 20)]
    normal = pictures.envelope(bounce)
    assert pictures.outside(normal, bounce[3]) == 0
    assert pictures.outside(normal, pictures.thumb(jpeg((100, 90, 140, 130)))) == 0
    aside = pictures.thumb(jpeg((300, 90, 340, 130)))
    assert pictures.outside(normal, aside) == pytest.approx(41 * 41 / (640 * 360), rel=0.15)


def test_a_small_sprite_moving_is_above_the_smallest_effect() -> None:
    from agent_worker.games.policy import MIN_EFFECT

    here, there = (pictures.thumb(jpeg((x, 100, x + 12, 112))) for x in (100, 130))  # 24 pixels of the viewport
    assert pictures.changed(here, there) > MIN_EFFECT


def test_blank() -> None:
    assert pictures.is_blank(pictures.thumb(jpeg()))
    assert pictures.is_blank(pictures.thumb(jpeg(colour="#ffffff")))
    assert not pictures.is_blank(pictures.thumb(jpeg((100, 100, 130, 130))))


def test_detail() -> None:
    gradient = Image.linear_gradient("L").resize((640, 360))
    out = io.BytesIO()
    gradient.save(out, "PNG")
    assert pictures.grey_levels(pictures.thumb(out.getvalue())) > 25
    assert pictures.grey_levels(pictures.thumb(jpeg())) == 1


def test_signatures_tell_scenes_apart_but_not_specks() -> None:
    scene = pictures.thumb(jpeg((0, 0, 300, 200)))
    assert pictures.signature(scene) == pictures.signature(pictures.thumb(jpeg((0, 0, 300, 200), (500, 300, 503, 303))))
    assert pictures.signature(scene) != pictures.signature(pictures.thumb(jpeg((300, 100, 600, 300))))


@pytest.mark.parametrize("size", [(640, 360), (1280, 720), (300, 900)])
def test_a_shot_always_fits(size: tuple[int, int]) -> None:
    noise = Image.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3))
    out = io.BytesIO()
    noise.save(out, "JPEG", quality=95)
    made = pictures.screenshot(out.getvalue())
    assert len(made) <= MAX_JPEG_BYTES
    width, height = Image.open(io.BytesIO(made)).size
    assert width <= 640 and height <= 360 and abs(width / height - size[0] / size[1]) < 0.05


def test_a_picture_that_fits_is_not_encoded_again() -> None:
    fits = jpeg((100, 100, 130, 130))
    assert pictures.screenshot(fits) is fits
    larger = jpeg(size=(1280, 720))
    assert Image.open(io.BytesIO(pictures.screenshot(larger))).size == (640, 360)
    png = io.BytesIO()
    Image.new("RGB", (64, 36)).save(png, "PNG")
    assert Image.open(io.BytesIO(pictures.screenshot(png.getvalue()))).format == "JPEG"


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(OSError):
        pictures.thumb(b"no picture")


def test_before_and_after_stand_side_by_side_and_always_fit() -> None:
    red, blue = (encoded(Image.new("RGB", (1280, 720), colour)) for colour in ("#c00", "#00c"))
    both = Image.open(io.BytesIO(pictures.side_by_side(red, blue)))
    assert (both.size, both.format) == (pictures.EVIDENCE_SIZE, "JPEG")
    left, right = both.convert("RGB").getpixel((150, 90)), both.convert("RGB").getpixel((490, 90))
    assert isinstance(left, tuple) and isinstance(right, tuple)
    assert left[0] > 150 > left[2] and right[2] > 150 > right[0]
    noise = encoded(Image.frombytes("RGB", (318, 180), random.Random(7).randbytes(318 * 180 * 3)), quality=100)
    assert len(pictures.side_by_side(noise, noise)) <= MAX_JPEG_BYTES


def encoded(picture: Image.Image, quality: int = 80) -> bytes:
    """A JPEG."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()
