"""The page is current within 2 s of being looked at, whatever its connection was doing; and what it does not do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, WebSocketRoute, expect

from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.browser.conftest import Console
from tests.browser.dashboard import LIVE, badge, card, complete, connection_status, feed_lines, open_feed, opened
from tests.conftest import Stack
from tests.harness import EdgeProcess, PatientStreams, begin, publish, until
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

CURRENT_WITHIN_S = 2.0
WAITS_S = (1, 2, 4, 8, 16, 30)
LOOKS = {
    "visible": "document.dispatchEvent(new Event('visibilitychange'))",
    "online": "dispatchEvent(new Event('online'))",
    "restored": "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))",
}


async def watched(streams: Streams, page: Page, proxy: Proxy) -> tuple[str, Locator]:
    """A run's open feed on a page whose clock is ours."""
    await page.clock.install()
    test_id = await begin(streams)
    await opened(page, proxy.url)
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("Running")
    return test_id, shown


async def newest_becomes(shown: Locator, text: str) -> None:
    """Waits, as long as the page may take, until the newest event in this feed has this text."""
    newest = shown.locator(".line[data-seq] .line-text").last

    async def says() -> bool:
        return await newest.text_content() == text

    await until(says, within_s=CURRENT_WITHIN_S, what=text)


async def fail_times(page: Page, proxy: Proxy, console: Console, times: int) -> None:
    """Lets this many attempts fail; the page then waits for the next."""
    before = console.count("socket closed")

    def closed(count: int) -> bool:
        return console.count("socket closed") == count

    proxy.cut()
    for n in range(1, times + 2):
        await until(partial(closed, before + n))
        if n <= times:
            await page.clock.run_for(1000 * WAITS_S[min(n, len(WAITS_S)) - 1])


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("was", ["live, half-open", "waiting", "connecting, for ever", "polling, and hanging"])
async def test_current_within_two_seconds(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console, was: str, look: str
) -> None:
    """The clock stands still until somebody looks, and no socket passes: what is shown then, the look has brought."""
    test_id, shown = await watched(stack_streams, page, proxy)
    await page.clock.pause_at(await page.evaluate("Date.now() + 500"))
    if was == "live, half-open":
        proxy.sockets = "stall"
    elif was == "waiting":
        proxy.sockets = "refuse"
        await fail_times(page, proxy, console, 1)
    elif was == "connecting, for ever":
        proxy.sockets = "refuse"
        await fail_times(page, proxy, console, 1)
        proxy.sockets = "stall"
        upgrades = proxy.upgrades
        await page.clock.run_for(2_000)
        await until(lambda: proxy.upgrades > upgrades)
    else:
        proxy.fail("refuse")
        await fail_times(page, proxy, console, 3)
        proxy.http = "stall"
        await page.clock.run_for(3_000)
        proxy.cut()
        proxy.http = "pass"
    await publish(stack_streams, test_id, "while nobody looked")
    assert await feed_lines(shown) == ["Queued", "Running"]
    await page.clock.resume()
    await page.evaluate(LOOKS[look])
    await newest_becomes(shown, "while nobody looked")
    proxy.sockets = "pass"
    await page.evaluate(LOOKS["restored"])
    await expect(connection_status(page)).to_have_text(LIVE)
    await publish(stack_streams, test_id, "afterwards")
    await expect(shown.locator(".line[data-seq] .line-text").last).to_have_text("afterwards")
    assert await feed_lines(shown) == ["Queued", "Running", "while nobody looked", "afterwards"]


async def test_a_frozen_tab_whose_connection_died(stack_streams: Streams, page: Page, proxy: Proxy) -> None:
    """Chromium freezes the page, as it does with tabs in the background: no timer and no event runs in it."""
    test_id = await begin(stack_streams)
    await opened(page, proxy.url)
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("Running")
    browser = await page.context.new_cdp_session(page)
    await browser.send("Page.setWebLifecycleState", {"state": "frozen"})
    proxy.cut()
    await publish(stack_streams, test_id, "while it was frozen")
    await browser.send("Page.setWebLifecycleState", {"state": "active"})
    await page.evaluate(LOOKS["visible"])
    await newest_becomes(shown, "while it was frozen")
    await expect(connection_status(page)).to_have_text(LIVE)
    assert await feed_lines(shown) == ["Queued", "Running", "while it was frozen"]


async def test_no_socket_in_the_back_forward_cache(stack_streams: Streams, page: Page, proxy: Proxy) -> None:
    test_id, shown = await watched(stack_streams, page, proxy)
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    await until(lambda: proxy.open_sockets == 0)
    await publish(stack_streams, test_id, "while it was away")
    upgrades = proxy.upgrades
    await page.clock.run_for(600_000)
    assert proxy.upgrades == upgrades, "nothing is tried from there"
    await page.evaluate(LOOKS["restored"])
    await newest_becomes(shown, "while it was away")
    await expect(connection_status(page)).to_have_text(LIVE)
    assert proxy.upgrades == upgrades + 1


async def test_a_socket_that_opens_and_dies_does_not_reset_the_backoff(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    await watched(stack_streams, page, proxy)
    opens = console.count("socket open")
    proxy.sockets, proxy.streams = "drop", "refuse"
    await fail_times(page, proxy, console, 4)
    assert console.count("socket open") == opens + 4, "each of them was open for a moment"
    for attempt in (1, 2, 3, 4):
        assert console.count(f"reconnecting, attempt {attempt} of 10") == 1
    assert console.count("polling every 3 s") == 1


async def test_polling_every_three_seconds_and_a_socket_every_thirty(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    """After the tenth attempt, with nothing but HTTP."""
    await watched(stack_streams, page, proxy)
    polls = 0

    def count(url: str) -> None:
        nonlocal polls
        polls += "listTests" in url

    def more_than(count: int) -> bool:
        return polls > count

    page.on("requestfinished", lambda request: count(request.url))
    await page.clock.pause_at(await page.evaluate("Date.now() + 500"))
    proxy.sockets = proxy.streams = "refuse"
    await fail_times(page, proxy, console, 12)
    assert console.count("reconnecting, attempt 10 of 10") == 1
    assert console.count("reconnecting, attempt 12") == 1
    # Two rounds of questions: each waits for the answer and for the rest of its 3 s.
    await until(lambda: polls > 0)
    for _ in range(2):
        before = polls
        await page.clock.run_for(2_900)
        assert polls - before <= 2, "one is due, and one may have been on its way"
        await until(partial(_further, page, partial(more_than, before)))
    attempts = console.count("reconnecting")
    closed = console.count("socket closed")
    await page.clock.run_for(30_000)
    await until(lambda: console.count("socket closed") == closed + 1)
    assert console.count("reconnecting") == attempts + 1


async def _further(page: Page, reached: object) -> bool:
    """A little more of the page's time, until it is reached."""
    await page.clock.run_for(100)
    return bool(reached())  # type: ignore[operator]


async def test_what_changes_changes_with_the_event(stack_streams: Streams, page: Page, proxy: Proxy) -> None:
    """Badge, phase, message and feed, with a clock that stands but for the frames: no timer asks for anything."""
    test_id, shown = await watched(stack_streams, page, proxy)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "listTests" in request.url else None)
    proxy.http = "stall"
    await page.clock.pause_at(await page.evaluate("Date.now() + 500"))
    await publish(stack_streams, test_id, "Exploring", "status", status="running", phase="phase3")
    await until(lambda: _shows(page, shown.locator(".message"), "Exploring"))
    await expect(shown.locator("[aria-current=step]")).to_have_count(1)
    await complete(stack_streams, test_id)
    await until(lambda: _shows(page, badge(shown), "completed"))
    assert asked == []


async def _shows(page: Page, where: Locator, text: str) -> bool:
    await page.clock.run_for(17)  # a frame
    return (await where.inner_text()).lower() == text.lower()


async def test_another_edge_goes_on_where_the_first_was(
    stack: Stack, stack_streams: Streams, page: Page, proxy: Proxy, tmp_path: Path
) -> None:
    other = await EdgeProcess(stack.nats_url, tmp_path).start()
    try:
        test_id = await begin(stack_streams)
        await opened(page, proxy.url)
        shown = await open_feed(page, test_id)
        expected = ["Queued", "Running"]
        # What is cut before its first event has nothing to recover.
        await expect(shown.locator(".line-text").last).to_have_text(expected[-1])
        for turn, port in enumerate((other.port, stack.edge.port, other.port)):
            proxy.sockets = "stall"
            proxy.lead_to(port)
            proxy.cut()
            expected.append(f"during the move {turn}")
            await publish(stack_streams, test_id, expected[-1])
            proxy.sockets = "pass"
            await expect(shown.locator(".line-system")).to_have_count(turn + 1)
            expected.append(f"on the next edge {turn}")
            await publish(stack_streams, test_id, expected[-1])
            await expect(shown.locator(".line[data-seq] .line-text").last).to_have_text(expected[-1])
        assert await feed_lines(shown) == expected
    finally:
        await other.stop()


async def test_a_reset_is_shown_for_what_it_is(
    stack: Stack, stack_streams: Streams, page: Page, proxy: Proxy, tmp_path: Path
) -> None:
    """On an edge that has not seen what is gone: the first one's memory would still join on."""
    other = EdgeProcess(stack.nats_url, tmp_path)
    test_id = await begin(stack_streams)
    await opened(page, proxy.url)
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("Running")
    proxy.sockets = "stall"
    proxy.cut()
    await publish(stack_streams, test_id, "no longer kept")
    kept = await publish(stack_streams, test_id, "kept")
    gone = {"filter": subjects.events(test_id), "seq": kept.seq}
    await stack_streams.api(f"STREAM.PURGE.{subjects.EVENTS}", gone)
    try:
        await other.start()
        proxy.lead_to(other.port)
        proxy.cut()
        proxy.sockets = "pass"
        await expect(shown.locator(".line-system")).to_contain_text("no longer kept")
        assert await feed_lines(shown) == ["kept"]
        await expect(connection_status(page)).to_have_text(LIVE)
    finally:
        await other.stop()


@pytest.mark.parametrize("code", [4400, 4404, 4429])
async def test_no_attempt_after_a_refusal(stack_streams: Streams, page: Page, proxy: Proxy, code: int) -> None:
    asked = 0

    async def refuse(socket: WebSocketRoute) -> None:
        nonlocal asked
        asked += 1
        await socket.close(code=code, reason="too many")

    await page.clock.install()
    await page.route_web_socket(re.compile("/ws$"), refuse)
    await begin(stack_streams)
    await page.goto(proxy.url)
    await expect(connection_status(page)).to_have_text("Connection refused")
    await page.clock.run_for(300_000)
    for look in LOOKS.values():
        await page.evaluate(look)
    await page.clock.run_for(300_000)
    assert asked == 1
    await page.locator("#connection").click()
    await expect(page.locator("#connection-panel")).to_contain_text("too many")


class Alone(NamedTuple):
    """A stack on which nobody else has runs."""

    streams: Streams
    proxy: Proxy


@pytest_asyncio.fixture(loop_scope="session")
async def alone(tmp_path: Path) -> AsyncIterator[Alone]:
    async with EmbeddedServer(tmp_path / "nats") as server:
        edge = await EdgeProcess(server.url, tmp_path).start()
        nats = await Connection.connect(server.url, name="test")
        async with Proxy(edge.port) as proxy:
            yield Alone(PatientStreams(nats), proxy)
        await nats.close()
        await edge.stop()


@pytest.mark.parametrize("how", ["in time", "at a look"])
async def test_a_list_on_which_everything_has_ended_is_not_dead(
    alone: Alone, page: Page, console: Console, how: str
) -> None:
    """A second screen: no attempt without need, a look every 30 s, and a connection when somebody has begun a run."""
    streams, proxy = alone
    await page.clock.install()
    first = await begin(streams, "The first")
    await complete(streams, first)
    looks: list[str] = []
    page.on("request", lambda request: looks.append(request.url) if "listTests" in request.url else None)
    await opened(page, proxy.url)
    await expect(connection_status(page)).to_have_text("All tests ended")
    upgrades = proxy.upgrades
    proxy.cut()
    await until(lambda: console.count("socket closed") + console.count("socket given up") == 1)
    looks.clear()
    await page.clock.run_for(65_000)
    await until(lambda: len(looks) == 2)
    assert (proxy.upgrades, console.count("reconnecting")) == (upgrades, 0)
    await expect(connection_status(page)).to_have_text("All tests ended")

    second = await begin(streams, "The second")
    await until(lambda: listed(proxy.url, second))  # the page's clock makes half a minute of no time at all
    if how == "in time":
        for _ in range(31):  # no further than to the look: an attempt's time would pass before its answer comes
            if len(looks) == 2:
                await page.clock.run_for(1000)
        await until(lambda: len(looks) == 3)
    else:
        await page.evaluate(LOOKS["visible"])
    await expect(badge(card(page, second))).to_have_text("running")
    await expect(connection_status(page)).to_have_text(LIVE)
    assert proxy.upgrades == upgrades + 1


async def listed(url: str, test_id: str) -> bool:
    async with httpx.AsyncClient() as client:
        tests = (await client.get(f"{url}/rpc/listTests")).json()["tests"]
    return test_id in [test["testId"] for test in tests]


async def test_a_hidden_list_does_not_look(alone: Alone, page: Page, console: Console) -> None:
    streams, proxy = alone
    await page.clock.install()
    await complete(streams, await begin(streams))
    await opened(page, proxy.url)
    await expect(connection_status(page)).to_have_text("All tests ended")
    proxy.cut()
    await until(lambda: console.count("socket closed") + console.count("socket given up") == 1)
    looks: list[str] = []
    page.on("request", lambda request: looks.append(request.url) if "listTests" in request.url else None)
    await page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })")
    await page.clock.run_for(300_000)
    assert looks == []
    await page.evaluate("delete document.hidden")
    await page.evaluate(LOOKS["visible"])
    await until(lambda: len(looks) == 1)
