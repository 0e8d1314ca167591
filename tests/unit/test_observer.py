"""Which pictures of a game viewers get."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image, ImageDraw

from agent_worker.games.policy import plan
from agent_worker.games.realtime.observer import SCREENSHOT_EVERY_S, Observer
from agent_worker.publish import frames as publishing
from broker.contract.errors import BrokerUnavailable


def jpeg(x: int, words: str = "") -> bytes:
    picture = Image.new("RGB", (640, 360), "#102040")
    ImageDraw.Draw(picture).rectangle((x, 100, x + 12, 112), fill="#ffe060")
    ImageDraw.Draw(picture).text((20, 20), words, fill="#ffffff")
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=70)
    return out.getvalue()


class Game:
    """A page that shows what the test says, and a run that keeps what it is given."""

    def __init__(self) -> None:
        self.now = 100.0
        self.shown = jpeg(0)
        self.published: list[bytes] = []
        page: Any = SimpleNamespace(watch=self._watch)
        run: Any = SimpleNamespace(screenshot=self._screenshot)
        self.observer = Observer(run, page, plan(60), self.now)
        self.observer.clock = lambda: self.now

    async def _watch(self, _seconds: float) -> list[bytes]:
        return [self.shown]

    async def _screenshot(self, picture: bytes, on_lost: Callable[[], None]) -> None:
        self.published.append(picture)
        self.lose = on_lost

    async def shows(self, picture: bytes, after_s: float = SCREENSHOT_EVERY_S) -> None:
        self.now += after_s
        self.shown = picture
        await self.observer.look(0)


async def test_a_picture_is_published_when_something_has_changed() -> None:
    game = Game()
    a, b, c = jpeg(0), jpeg(20), jpeg(20, "score 1")
    for picture in (a, a, b, b, b, c, a):
        await game.shows(picture)
    assert game.published == [a, b, c, a]


async def test_one_that_stands_still_is_not_repeated_even_at_the_end() -> None:
    game = Game()
    paused = jpeg(0)
    for _ in range(20):
        await game.shows(paused)
    await game.observer.publish_screenshot(now=True)
    assert game.published == [paused]


async def test_at_most_two_a_second_and_the_newest_at_the_end() -> None:
    game = Game()
    shown = [jpeg(x) for x in range(0, 600, 30)]
    for picture in shown:
        await game.shows(picture, after_s=0.125)
    assert game.published == shown[::4]
    await game.observer.publish_screenshot(now=True)
    assert game.published[-1] == shown[-1]


async def test_one_that_viewers_have_not_got_is_published_again_while_the_game_stands_still() -> None:
    game = Game()
    a, b = jpeg(0), jpeg(20)
    await game.shows(a)
    lose_a = game.lose
    await game.shows(b)
    lose_a()  # another one has replaced it
    await game.shows(b)
    assert game.published == [a, b]
    game.lose()
    await game.shows(b)
    await game.shows(b)
    assert game.published == [a, b, b]


async def test_who_offered_a_picture_is_told_when_the_broker_has_not_taken_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, tries = list[str](), list[bytes]()

    async def put(_test_id: str, picture: bytes, **_: object) -> None:
        tries.append(picture)
        if len(tries) == 1:
            raise BrokerUnavailable("away")

    writer = SimpleNamespace(test_id="run", id=SimpleNamespace(nonce="n"), head=1)
    box: Any = SimpleNamespace(writer=writer, error=None)
    monkeypatch.setattr(publishing, "FrameStore", lambda _streams: SimpleNamespace(put=put))
    frames = publishing.Frames(cast("Any", None), box)
    for name in ("first", "second"):
        frames.offer(jpeg(20 * len(tries)), partial(lost.append, name))
        await frames.send_last()
    assert (lost, len(tries)) == (["first"], 2)
    assert (frames.statistics().stored, frames.statistics().failed) == (1, 1)
