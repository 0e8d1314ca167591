"""The wall: all running tests as pictures that fill the window."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from typing import Any, Final

import pytest
from PIL import Image
from playwright.async_api import Locator, Page, Route, WebSocketRoute, expect

from broker import identity
from broker.clock import now_ms
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from tests.browser.dashboard import LIVE, badge, complete, connection_status
from tests.browser.test_accessibility import LOOKS, audit, audit_in
from tests.conftest import Stack
from tests.harness import EdgeProcess, publish, until
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)
_NAMES: Final = ("red", "green", "blue")
_PIXEL: Final = """(canvas) => {
  const one = new OffscreenCanvas(1, 1).getContext("2d");
  one.drawImage(canvas, 0, 0, 1, 1);
  return [...one.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""

_COVERED: Final = """() => {
  const boxes = [...document.querySelectorAll(".tile")].map((tile) => tile.getBoundingClientRect());
  const area = boxes.reduce((sum, { width, height }) => sum + width * height, 0);
  const columns = new Set(boxes.map(({ x }) => Math.round(x)));
  const rows = new Set(boxes.map(({ y }) => Math.round(y)));
  return [columns.size, rows.size, area / innerWidth / innerHeight];
}"""
"""Columns, rows, and the share of the window that pictures cover."""


class Game:
    """Runs of one game: a wall that shows only them is this test's alone."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.url = f"http://{identity.new_test_id()}.example/"
        self._begun_ms = 0
        self.wall = f"/wall?gameUrl={self.url}"

    async def begin(self, title: str, colour: tuple[int, int, int] | None = None) -> str:
        test_id = identity.new_test_id()
        await until(lambda: now_ms() > self._begun_ms)  # the wall is ordered by when a run was submitted
        data = {"title": title, "gameUrl": self.url}
        await publish(self.streams, test_id, "Queued", "status", status="queued", data=data)
        await publish(self.streams, test_id, "Running", "status", status="running")
        self._begun_ms = now_ms()
        if colour is not None:
            await self.picture(test_id, colour)
        return test_id

    async def picture(self, test_id: str, colour: tuple[int, int, int]) -> None:
        out = io.BytesIO()
        Image.new("RGB", (64, 36), colour).save(out, "JPEG")
        await FrameStore(self.streams).put(test_id, out.getvalue())


@pytest.fixture
def game(stack_streams: Streams) -> Game:
    return Game(stack_streams)


def tile(page: Page, test_id: str) -> Locator:
    return page.locator(f'.tile[data-test-id="{test_id}"]')


async def shows(page: Page, test_id: str, colour: str) -> None:
    """Waits until the tile's picture has this colour."""

    async def seen() -> bool:
        canvas = tile(page, test_id).locator("canvas:not([hidden])")
        pixel: list[int] = await canvas.first.evaluate(_PIXEL) if await canvas.count() else []
        return bool(pixel) and _NAMES[pixel.index(max(pixel))] == colour

    await until(seen, within_s=30, what=f"a {colour} picture")


async def awake(page: Page, shown: Locator, style: str, value: str) -> None:
    """Waits until an element has a style while somebody touches the page: untouched, it would hide after 5 s."""

    async def seen() -> bool:
        await page.keyboard.press("Shift")
        return bool(await shown.evaluate("(e, style) => getComputedStyle(e)[style]", style) == value)

    await until(seen, within_s=30, what=f"{style}: {value}")


async def test_pictures_come_and_runs_come_and_go(stack: Stack, game: Game, page: Page) -> None:
    await page.clock.install()
    first = await game.begin("First", RED)
    await page.goto(stack.edge_url + game.wall)
    await shows(page, first, "red")
    await game.picture(first, GREEN)
    await shows(page, first, "green")
    second = await game.begin("Second")
    await expect(tile(page, second)).to_contain_text("Second")
    await expect(tile(page, second).locator("canvas")).to_be_hidden()
    await game.picture(second, BLUE)
    await shows(page, second, "blue")

    await complete(game.streams, second, score=78)
    ended = tile(page, second)
    await expect(badge(ended)).to_have_text("completed")
    await expect(ended.locator(".tile-result")).to_have_text("78/100")
    await expect(ended).to_have_class(re.compile("tile-flash"))
    await shows(page, second, "blue")
    await page.clock.fast_forward(21_000)
    await expect(ended).to_have_count(0)
    await expect(tile(page, first)).to_be_visible()


async def test_the_pictures_fill_the_window(stack: Stack, game: Game, page: Page) -> None:
    ids = [await game.begin(f"Game {n}") for n in range(4)]
    await page.set_viewport_size({"width": 1280, "height": 720})
    await page.goto(stack.edge_url + game.wall)
    for test_id in ids:
        await expect(tile(page, test_id)).to_be_visible()
    columns, rows, share = await page.evaluate(_COVERED)
    assert (columns, rows) == (2, 2)
    assert share > 0.98
    await page.set_viewport_size({"width": 400, "height": 900})
    await until(lambda: page.evaluate(f"({_COVERED})()[0] === 1"), within_s=20, what="one column")
    columns, rows, share = await page.evaluate(_COVERED)
    assert (columns, rows) == (1, 4)
    assert await page.evaluate("document.documentElement.scrollWidth") == 400


async def test_a_click_opens_the_run(stack: Stack, game: Game, page: Page) -> None:
    test_id = await game.begin("Clicked", RED)
    await page.goto(stack.edge_url + game.wall)
    await shows(page, test_id, "red")
    await tile(page, test_id).hover()
    await awake(page, tile(page, test_id).locator(".tile-label"), "opacity", "1")
    await tile(page, test_id).click()
    await expect(page).to_have_url(f"{stack.edge_url}/tests/{test_id}")
    await expect(page.get_by_role("heading", name="Clicked")).to_be_visible()


async def test_the_keyboard_alone_is_enough(stack: Stack, game: Game, page: Page) -> None:
    ids = [await game.begin(f"Game {n}") for n in range(3)]
    await page.goto(stack.edge_url)
    await expect(page.get_by_role("link", name="Wall")).to_be_visible()
    await page.keyboard.press("w")
    await expect(page).to_have_url(f"{stack.edge_url}/wall")
    await page.goto(stack.edge_url + game.wall)
    for test_id in ids:
        await expect(tile(page, test_id)).to_be_visible()
    for key, focused in (("ArrowDown", 0), ("ArrowRight", 1), ("End", 2), ("Home", 0), ("ArrowRight", 1)):
        await page.keyboard.press(key)
        await expect(tile(page, ids[focused])).to_be_focused()
    await awake(page, tile(page, ids[1]), "outlineStyle", "solid")
    await awake(page, tile(page, ids[1]).locator(".tile-label"), "opacity", "1")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{stack.edge_url}/tests/{ids[1]}")
    await page.go_back()
    await expect(tile(page, ids[1])).to_be_visible()
    await page.keyboard.press("w")
    await expect(page).to_have_url(f"{stack.edge_url}/")


async def test_only_pictures_remain_when_nobody_touches_anything(game: Game, page: Page, proxy: Proxy) -> None:
    await page.clock.install()
    test_id = await game.begin("Seen from afar", RED)
    await page.goto(proxy.url + game.wall)
    await shows(page, test_id, "red")
    await expect(connection_status(page)).to_have_text(LIVE)
    bar, root = page.locator(".bar"), page.locator("html")
    await awake(page, bar, "visibility", "visible")
    await page.clock.fast_forward(5100)
    await expect(bar).to_be_hidden()
    await expect(page.locator("#connection")).to_be_hidden()
    await expect(root).to_have_css("cursor", "none")
    await expect(tile(page, test_id).locator(".tile-label")).to_have_css("opacity", "0")
    places = iter(range(300, 500))

    async def moved() -> bool:
        await page.mouse.move(next(places), 300)
        return await bar.is_visible()

    await until(moved, within_s=30, what="the bar comes back")
    await page.clock.fast_forward(5100)
    await expect(bar).to_be_hidden()

    proxy.sockets = proxy.http = "refuse"
    proxy.cut()
    await expect(connection_status(page)).to_have_text(re.compile("^Reconnecting"))
    await expect(page.locator("#connection")).to_be_visible()
    await expect(bar).to_be_hidden()


async def test_without_a_socket_pictures_come_by_polling(game: Game, page: Page, proxy: Proxy) -> None:
    """They are polled also while a stream brings the events, which does not tell of pictures."""
    proxy.sockets = "refuse"
    first = await game.begin("Polled", RED)
    await page.goto(proxy.url + game.wall)
    await shows(page, first, "red")
    await expect(connection_status(page)).to_have_text("Live over HTTP")
    await game.picture(first, GREEN)
    await shows(page, first, "green")
    second = await game.begin("Polled too", BLUE)
    await shows(page, second, "blue")
    proxy.sockets = "pass"
    await expect(connection_status(page)).to_have_text(LIVE)
    await game.picture(first, BLUE)
    await shows(page, first, "blue")


async def test_an_edge_of_the_version_before_shows_its_newest_pictures(stack: Stack, game: Game, page: Page) -> None:
    refused: list[str] = []

    def on_socket(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def to_edge(message: str | bytes) -> None:
            if json.loads(message).get("channel") != "frames":
                server.send(message)
                return
            refused.append(str(message))
            text = "channel: 'frames' is not 'tests'"
            socket.send(json.dumps({"type": "error", "code": "malformed_message", "message": text}))

        socket.on_message(to_edge)

    async def on_frames(route: Route) -> None:
        error: dict[str, Any] = {"error": {"code": "unknown_method", "message": "getFrames is no method"}}
        await route.fulfill(status=404, json=error)

    await page.route_web_socket("**/ws", on_socket)
    await page.route("**/rpc/getFrames*", on_frames)
    ids = [await game.begin(f"Game {n}", RED) for n in range(3)]
    await page.goto(stack.edge_url + game.wall)
    for each in ids:
        await shows(page, each, "red")
    await game.picture(ids[0], GREEN)
    await shows(page, ids[0], "green")
    assert refused


@pytest.mark.parametrize(("schemes", "width"), LOOKS)
async def test_axe_finds_nothing(stack: Stack, game: Game, page: Page, schemes: Sequence[str], width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 780})
    shown, without = await game.begin("Shown", RED), await game.begin("Without a picture")
    done, failed = await game.begin("Done", GREEN), await game.begin("Lost", BLUE)
    await page.goto(stack.edge_url + game.wall)
    for test_id, colour in ((shown, "red"), (done, "green"), (failed, "blue")):
        await shows(page, test_id, colour)
    await complete(game.streams, done)
    await publish(game.streams, failed, "The game did not answer", "error", status="failed")
    await expect(badge(tile(page, failed))).to_have_text("failed")
    await expect(badge(tile(page, done))).to_have_text("completed")
    await tile(page, without).focus()
    await audit_in(page, schemes)
    await page.locator("#connection").evaluate(
        "(button) => (dispatchEvent(new KeyboardEvent('keydown', { key: 'Shift' })), button.click())"
    )
    await expect(page.get_by_role("dialog", name="Connection")).to_be_visible()
    await audit_in(page, schemes)


async def test_a_wall_without_tests_says_so(nats_edge: EdgeProcess, page: Page) -> None:
    await page.goto(f"{nats_edge.url}/wall")
    await expect(page.get_by_text("No test is running: a picture appears here as soon as one starts.")).to_be_visible()
    await audit(page)
