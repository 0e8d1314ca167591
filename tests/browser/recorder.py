"""What the tests of a run's recorder publish, and what they look for in the page.

Each picture has one colour, which tells its number: what is on the screen is compared with what was published.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, Final

from PIL import Image
from playwright.async_api import Locator, Page, expect

from broker import identity
from broker.clock import now_ms
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from tests.browser.dashboard import opened
from tests.harness import publish, until

STEP_MS: Final = 1000
"""Between two steps of a run, by its agent's clock."""
_LEVELS: Final = 6
_LEVEL: Final = 40
_SEEN: Final = """() => {
  const image = document.querySelector(".picture:not([hidden]) img");
  if (!image?.naturalWidth) return null;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}"""
_SHOWN: Final = """() => ({
  lines: [...document.querySelectorAll(".line[data-marked] .line-text")].map((e) => e.textContent),
  message: document.querySelector(".frame .message")?.textContent,
  words: document.querySelector(".track")?.getAttribute("aria-valuetext") ?? "",
  busy: document.querySelector(".screen")?.ariaBusy === "true",
})"""


def jpeg(number: int) -> bytes:
    """A picture of 64 by 36 pixels; `number` from 0 to 215."""
    levels = (number % _LEVELS, number // _LEVELS % _LEVELS, number // _LEVELS**2)
    colour = tuple(20 + _LEVEL * level for level in levels)
    out = io.BytesIO()
    Image.new("RGB", (64, 36), colour).save(out, "JPEG", quality=95)
    return out.getvalue()


async def seen(page: Page) -> int | None:
    """The number of the picture that is on the screen, by its colour; None when there is none."""
    colour: list[int] | None = await page.evaluate(_SEEN)
    if colour is None:
        return None
    levels = [round((value - 20) / _LEVEL) for value in colour]
    return levels[0] + _LEVELS * levels[1] + _LEVELS**2 * levels[2]


@dataclass
class Told:
    """A run whose n-th step is the event `step n`, a second after the one before, with the picture n."""

    streams: Streams
    test_id: str
    started_ms: int
    seqs: list[int] = field(default_factory=list)
    """Of the steps."""
    ended: bool = False

    async def step(self, picture: bool = True, **fields: Any) -> int:
        """Publishes the next step. Returns its number."""
        number = len(self.seqs)
        at = self.started_ms + STEP_MS * (number + 1)
        ack = await publish(self.streams, self.test_id, f"step {number}", timestamp=at, **fields)
        self.seqs.append(ack.seq)
        if picture:
            await FrameStore(self.streams).put(self.test_id, jpeg(number), seq=ack.seq, time_ms=at + 100)
        return number

    async def later_picture(self, number: int) -> None:
        """Publishes a picture that was taken 5 s after the last step."""
        at = self.started_ms + STEP_MS * len(self.seqs) + 5000
        await FrameStore(self.streams).put(self.test_id, jpeg(number), seq=self.seqs[-1], time_ms=at)

    async def end(self, score: int = 78) -> None:
        """Publishes the verdict, a second after the last step."""
        at = self.started_ms + STEP_MS * (len(self.seqs) + 1)
        data = {"score": score, "metrics": {"rubric": [{"part": "load", "score": 18, "max": 20, "reasons": ["fast"]}]}}
        await publish(self.streams, self.test_id, "All done", "complete", phase="phase4", timestamp=at, data=data)
        self.ended = True

    def place(self, number: int) -> float:
        """Where a step stands on the time line, from 0 to 1."""
        return (number + 1) / (len(self.seqs) + self.ended)


async def tell(streams: Streams, steps: int, *, pictures: bool = True, problems: tuple[int, ...] = ()) -> Told:
    """Publishes a running run with some steps, the first half of them in phase 2 and the others in phase 3."""
    told = Told(streams, identity.new_test_id(), now_ms() - 200 * STEP_MS)
    about = {"title": "Star Hopper", "gameUrl": "http://game.example/"}
    for status, data in (("queued", about), ("running", {"attempt": 1, "worker": "w1"})):
        words = status.capitalize()
        await publish(streams, told.test_id, words, "status", status=status, data=data, timestamp=told.started_ms)
    for number in range(steps):
        more: dict[str, Any] = {"phase": "phase2" if number < steps / 2 else "phase3"}
        if number in problems:
            more["data"] = {"kind": "console", "detail": f"error {number}"}
        await told.step(pictures, **more)
    return told


async def open_run(page: Page, url: str, told: Told, more: str = "") -> Locator:
    """Opens the run's page. Returns its time line, once every picture is known."""
    await opened(page, f"{url}/tests/{told.test_id}{more}")
    await expect(page.locator(".track")).to_be_visible()
    return page.locator(".track")


async def shows(page: Page, number: int, *, line: bool = True) -> None:
    """Waits until picture, line, message and time line are those of a step.

    Args:
        line: whether its line is marked, as at an earlier moment.
    """
    text = f"step {number}"

    async def all_of_it() -> bool:
        shown = await page.evaluate(_SHOWN)
        lines = [each[: len(text)] for each in shown["lines"]] == ([text] if line else [])
        rest = shown["message"] == text and shown["words"].endswith(text) and not shown["busy"]
        return lines and rest and await seen(page) == number

    async def instead() -> str:
        return f"picture {await seen(page)}, {await page.evaluate(_SHOWN)}"

    try:
        await until(all_of_it, within_s=30)
    except AssertionError:
        raise AssertionError(f"{text} is not shown, but {await instead()}") from None


async def drag(page: Page, told: Told, *numbers: int) -> None:
    """Takes the handle and moves it over some steps; lets it go at the last."""
    track = page.locator(".track")
    await track.scroll_into_view_if_needed()
    box = await track.bounding_box()
    assert box is not None
    for i, number in enumerate(numbers):
        await page.mouse.move(box["x"] + box["width"] * told.place(number), box["y"] + box["height"] / 2)
        if i == 0:
            await page.mouse.down()
    await page.mouse.up()
