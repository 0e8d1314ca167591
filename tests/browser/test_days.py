"""A page that stands for days keeps what its reader sees, and no more."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from playwright.async_api import Page, Route, WebSocket, expect

from broker.clock import now_ms
from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.browser.dashboard import badge, card, complete, open_feed, opened, scroll_through
from tests.conftest import Stack
from tests.harness import begin, until

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

MANY = 300
KEPT = 100
"""The most events that a closed feed keeps (view/feed-log.js)."""


async def publish_many(streams: Streams, test_id: str, first: int, count: int) -> list[str]:
    texts = [f"Step {n}" for n in range(first, first + count)]
    for text in texts:
        event = {"type": "progress", "phase": "phase2", "message": text, "timestamp": now_ms()}
        await streams.store(subjects.events(test_id), orjson.dumps(event))
    return texts


async def lines_of(page: Page, test_id: str) -> list[str]:
    """Every line that the open feed has, headings and the page's own left out."""
    seen = [text for _, text in await scroll_through(card(page, test_id))]
    return [text for text in seen if text.startswith("Step")]


async def test_a_feed_that_was_closed_all_day_is_whole_when_it_opens(
    stack: Stack, stack_streams: Streams, page: Page
) -> None:
    test_id = await begin(stack_streams, "Long day")
    await opened(page, stack.edge.url)
    texts = await publish_many(stack_streams, test_id, 0, MANY)
    shown = card(page, test_id)
    await expect(shown.locator(".toggle .count")).to_have_text(f"({MANY + 2})")
    asked: list[str] = []
    held = asyncio.Event()

    async def hold(route: Route) -> None:
        asked.append(route.request.url)
        await held.wait()
        await route.continue_()

    await page.route("**/rpc/getEvents*", hold)
    await open_feed(page, test_id)
    await expect(shown.locator(".line").last).to_contain_text(texts[-1])  # at once, before anything is asked
    texts += await publish_many(stack_streams, test_id, MANY, 5)
    await expect(shown.locator(".line").last).to_contain_text(texts[-1])
    before = await lines_of(page, test_id)
    assert before == texts[-len(before) :]
    assert 0 < len(before) <= KEPT + 5
    held.set()
    await until(lambda: first_line(page, test_id, texts[0]), what="the feed begins at its beginning")
    assert await lines_of(page, test_id) == texts
    assert len(asked) == 1, "one question brings them"

    await shown.get_by_role("button", name="Live Feed").click()
    await open_feed(page, test_id)
    await until(lambda: first_line(page, test_id, texts[0]), what="again")
    assert await lines_of(page, test_id) == texts
    await complete(stack_streams, test_id)
    await expect(badge(shown)).to_have_text("completed")


async def first_line(page: Page, test_id: str, text: str) -> bool:
    """Whether the feed's beginning is this event's line."""
    scroller = card(page, test_id).locator(".feed-scroll")
    await scroller.evaluate("(scroller) => (scroller.scrollTop = 0)")
    return text in await scroller.locator(".line .line-text").all_text_contents()


async def test_the_feed_asks_again_while_the_edge_does_not_answer(
    stack: Stack, stack_streams: Streams, page: Page
) -> None:
    test_id = await begin(stack_streams, "Long day, bad line")
    await opened(page, stack.edge.url)
    texts = await publish_many(stack_streams, test_id, 0, MANY)
    shown = card(page, test_id)
    await expect(shown.locator(".toggle .count")).to_have_text(f"({MANY + 2})")
    failures = 0

    async def fail_once(route: Route) -> None:
        nonlocal failures
        failures += 1
        await (route.abort() if failures == 1 else route.continue_())

    await page.route("**/rpc/getEvents*", fail_once)
    await open_feed(page, test_id)
    await until(lambda: first_line(page, test_id, texts[0]), what="the second question brings it")
    assert failures == 2
    await complete(stack_streams, test_id)


async def test_what_has_ended_is_not_watched_any_more(stack: Stack, stack_streams: Streams, page: Page) -> None:
    said: list[dict[str, str]] = []

    def on_socket(socket: WebSocket) -> None:
        socket.on("framesent", lambda payload: said.append(orjson.loads(payload)))

    page.on("websocket", on_socket)
    test_id = await begin(stack_streams, "Soon over")
    await opened(page, stack.edge.url)
    await until(lambda: {"type": "subscribe", "testId": test_id} in said)
    await complete(stack_streams, test_id)
    await until(lambda: {"type": "unsubscribe", "testId": test_id} in said, what="it is let go of")
    shown = card(page, test_id)
    await expect(shown.locator(".toggle .count")).to_have_text("(3)")
    await open_feed(page, test_id)
    await expect(shown.locator(".line").last).to_contain_text("Test complete!")
