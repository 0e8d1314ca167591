"""The page's way to the edge when it breaks: no line lost, none doubled, and the connection status says which it is."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.browser.conftest import Console
from tests.browser.dashboard import (
    LIVE,
    badge,
    card,
    complete,
    connection_status,
    end_all,
    feed_lines,
    open_feed,
    opened,
    without_polling_beside_streams,
)
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, EdgeProcess, PatientStreams, answers, begin, publish, until
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

POLLING = "Polling every 3 s"
STREAMING = "Live over HTTP"


async def test_reconnects_after_a_cut_without_a_lost_or_doubled_line(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    test_id = await begin(stack_streams)
    await opened(page, proxy.url)
    shown = await open_feed(page, test_id)
    expected = ["Queued", "Running"]
    for cut in range(3):
        for n in range(4):
            expected.append(f"{cut} live {n}")
            await publish(stack_streams, test_id, expected[-1])
        await expect(shown.locator(".line-text").last).to_have_text(expected[-1])
        proxy.sockets = "stall"  # the next socket waits until everything is there that it missed
        proxy.cut()
        for n in range(4):
            expected.append(f"{cut} away {n}")
            await publish(stack_streams, test_id, expected[-1])
        proxy.sockets = "pass"
        await expect(shown.locator(".line-system")).to_have_count(cut + 1)
        await expect(connection_status(page)).to_have_text(LIVE)
    assert await feed_lines(shown) == expected
    assert await shown.locator(".line-system").all_text_contents() == ["recovered 4 events"] * 3
    assert console.count("reconnecting, attempt 1 of 10") == 3, "a delivery resets the count"
    assert console.count("polling") == 0


async def try_now(page: Page) -> None:
    """Presses the button. Only an attempt of the page's own that came first can have taken it away."""
    try:
        await page.get_by_role("button", name="Try now").click(timeout=10_000)
    except PlaywrightTimeoutError:
        assert LIVE.match(await connection_status(page).inner_text()), "there is no button, and no connection"


async def test_falls_back_to_polling_and_returns_without_a_lost_or_doubled_line(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    """Sockets and streams are refused, other HTTP works: as behind a proxy without WebSockets that cuts streams."""
    test_id = await begin(stack_streams)
    await opened(page, proxy.url)
    shown = await open_feed(page, test_id)
    expected = ["Queued", "Running"]

    async def tell(text: str) -> None:
        expected.append(text)
        await publish(stack_streams, test_id, text)

    proxy.sockets = proxy.streams = "refuse"
    proxy.cut()
    await tell("while nothing was there")
    await expect(connection_status(page)).to_have_text(POLLING)
    await expect(shown.locator(".line-text").last).to_have_text(expected[-1])
    await tell("seen by polling")
    await expect(shown.locator(".line-text").last).to_have_text(expected[-1])
    await expect(shown.locator(".message")).to_have_text(expected[-1])

    await page.locator("#connection").click()
    await expect(page.locator("#connection-panel")).to_contain_text("nothing is lost")
    proxy.sockets = "pass"
    await tell("just before the return")
    await expect(connection_status(page)).to_have_text(LIVE)  # by the next attempt, in at most 8 s
    await tell("seen by the socket")
    await expect(shown.locator(".line[data-seq] .line-text").last).to_have_text(expected[-1])
    assert await feed_lines(shown) == expected
    assert (console.count("polling every 3 s"), console.count("polling ends")) == (1, 1)


async def test_lives_over_http_where_no_socket_passes_and_returns_to_the_socket(
    stack: Stack, stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    """A stream that is cut goes on where it was; another run joins it; nothing is polled but in its gaps."""
    await end_all(stack.edge_url, stack_streams)
    test_id = await begin(stack_streams)
    proxy.sockets = "refuse"
    await without_polling_beside_streams(page)
    await page.goto(proxy.url)
    await expect(connection_status(page)).to_have_text(STREAMING)
    assert console.count("polling every 3 s") == 0
    shown = await open_feed(page, test_id)
    expected = ["Queued", "Running"]

    async def tell(text: str) -> None:
        expected.append(text)
        await publish(stack_streams, test_id, text)
        await expect(shown.locator(".line[data-seq] .line-text").last).to_have_text(text)

    await tell("over HTTP")
    other = await begin(stack_streams, "Begun meanwhile")
    await publish(stack_streams, other, "also over HTTP")
    await expect(card(page, other).locator(".message")).to_have_text("also over HTTP")
    assert console.count("polling every 3 s") == 0
    await page.locator("#connection").click()
    await expect(page.locator("#connection-panel")).to_contain_text("as a stream over HTTP; nothing is lost")
    proxy.cut()
    await tell("after a cut")
    await expect(connection_status(page)).to_have_text(STREAMING)
    await tell("over another stream")
    proxy.sockets = "pass"
    await try_now(page)
    await expect(connection_status(page)).to_have_text(LIVE)
    await tell("over the socket")
    asked = proxy.streams_asked
    await tell("and no stream beside it")
    assert await feed_lines(shown) == expected
    assert proxy.streams_asked == asked


async def test_a_first_connection_without_sockets_polls(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    """A proxy that keeps streams to itself until they end: polling does not wait for them."""
    proxy.sockets, proxy.streams = "refuse", "stall"
    test_id = await begin(stack_streams, "Never a socket")
    await page.goto(proxy.url)
    await expect(connection_status(page)).to_have_text(POLLING)
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("Running")
    await complete(stack_streams, test_id)
    await expect(badge(shown)).to_have_text("completed")
    assert console.count("reconnecting, attempt 1 of 10") == 1
    assert console.count("reconnecting, attempt 2 of 10") <= 1, "and no attempt once it has ended"


async def test_an_edge_that_is_gone_is_named_and_found_again(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    """The whole way down and back, with the page's clock in our hands."""

    def closed(count: int) -> bool:
        return console.count("socket closed") == count

    await page.clock.install()
    test_id = await begin(stack_streams)
    await opened(page, proxy.url)
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("Running")
    await page.clock.pause_at(await page.evaluate("(Date.now() + 500) / 1000"))  # in s, as Python counts
    proxy.fail("refuse")
    proxy.cut()
    for attempt, wait_s in enumerate((1, 2, 4, 8, 16, 30, 30, 30, 30, 30), start=1):
        await until(partial(closed, attempt))
        await page.clock.run_for(20)  # a frame
        shown_wait = re.compile(rf"^Reconnecting {attempt}/10 · (\d+) s$")
        await expect(connection_status(page)).to_have_text(shown_wait)
        match = shown_wait.match(await connection_status(page).inner_text())
        assert match is not None
        # By chance 0.8 to 1.0 of it, less what has gone by since the last attempt failed, at most 2 s.
        assert 0.8 * wait_s - 3 <= int(match[1]) <= wait_s
        await page.clock.run_for((int(match[1]) + 1) * 1000)
    await until(lambda: console.count("socket closed") == 11)
    await page.clock.run_for(20)
    await expect(connection_status(page)).to_have_text(
        re.compile(r"^Stale since (\w{3} \d\d:\d\d|\d\d:\d\d:\d\d)$")
    )  # at midnight
    await expect(badge(shown)).to_have_text("running")

    await publish(stack_streams, test_id, "said to nobody")
    proxy.fail("pass")
    await page.clock.resume()
    await page.locator("#connection").click()
    try_now = page.get_by_role("button", name="Try now")
    await try_now.click()  # the page itself tries in 24 to 30 s
    await expect(connection_status(page)).to_have_text(LIVE)
    await expect(try_now).to_be_hidden()
    await expect(shown.locator(".line[data-seq]").last).to_contain_text("said to nobody")
    assert await feed_lines(shown) == ["Queued", "Running", "said to nobody"]


@pytest.mark.parametrize("page_was", ["awake", "frozen"])
async def test_a_half_open_socket_is_noticed(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console, page_was: str
) -> None:
    """The line holds every byte and says nothing: OPEN for ever, as far as the browser knows.

    A page that was frozen meanwhile (a closed lid) finds its timer late; it asks first, since the frames may only wait
    behind the timer, and gives up when no answer comes.
    """
    await page.clock.install()
    test_id = await begin(stack_streams)
    await opened(page, proxy.url)
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("Running")
    before = proxy.upgrades
    proxy.sockets = "stall"
    await publish(stack_streams, test_id, "held on the way")
    if page_was == "awake":
        await page.clock.run_for(36_000)
    else:
        await page.clock.fast_forward(3_600_000)
        assert console.count("socket given up") == 0, "not before it has asked"
        await page.clock.run_for(6_000)
    await until(lambda: console.count("socket given up") > 0)
    proxy.sockets = "pass"
    await page.clock.run_for(2_000)
    await until(lambda: proxy.upgrades > before)
    await page.clock.run_for(1_000)
    await expect(shown.locator(".line[data-seq] .line-text").last).to_have_text("held on the way")
    assert await feed_lines(shown) == ["Queued", "Running", "held on the way"]


async def test_a_frozen_page_with_a_sound_socket_keeps_it(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    await page.clock.install()
    test_id = await begin(stack_streams)
    await opened(page, proxy.url)
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("Running")
    await page.clock.fast_forward(3_600_000)
    await publish(stack_streams, test_id, "still here")
    await expect(shown.locator(".line-text").last).to_have_text("still here")
    await expect(connection_status(page)).to_have_text(LIVE)
    assert (proxy.upgrades, console.count("socket given up")) == (1, 0)


async def test_a_lost_broker_is_named(page: Page, tmp_path: Path) -> None:
    """The edge answers, the broker does not: what is shown may be old, and the page says since when."""
    async with EmbeddedServer(tmp_path / "nats") as server:
        edge = await EdgeProcess(server.url, tmp_path, TESTCAST_EDGE_HEARTBEAT_S="0.5").start()
        nats = await Connection.connect(server.url, name="test")
        try:
            streams = PatientStreams(nats)
            test_id = await begin(streams)
            await opened(page, edge.url)
            shown = await open_feed(page, test_id)
            await expect(shown.locator(".line-text").last).to_have_text("Running")
            await server.stop()
            await expect(connection_status(page)).to_have_text(re.compile(r"^Stale since \d\d:\d\d:\d\d$"))
            await expect(badge(shown)).to_have_text("running")
            await server.start()
            await expect(connection_status(page)).to_have_text(LIVE)
            await until(lambda: answers(nats), within_s=30)
            await publish(streams, test_id, "after the outage")
            await expect(shown.locator(".line[data-seq] .line-text").last).to_have_text("after the outage")
            assert await feed_lines(shown) == ["Queued", "Running", "after the outage"]
        finally:
            await nats.close()
            await edge.stop()


async def test_an_ended_test_makes_no_attempts(
    stack_streams: Streams, page: Page, proxy: Proxy, console: Console
) -> None:
    test_id = await begin(stack_streams)
    await opened(page, f"{proxy.url}/tests/{test_id}")
    await expect(connection_status(page)).to_have_text(LIVE)
    await complete(stack_streams, test_id)
    await expect(connection_status(page)).to_have_text("All tests ended")
    await expect(page.locator(".verdict")).to_contain_text("no reaction to the pointer")
    upgrades = proxy.upgrades
    await page.clock.install()
    proxy.cut()
    await until(lambda: console.count("socket closed") > 0)
    await page.clock.run_for(120_000)
    await page.evaluate("dispatchEvent(new Event('online')); document.dispatchEvent(new Event('visibilitychange'))")
    await page.clock.run_for(120_000)
    await expect(connection_status(page)).to_have_text("All tests ended")
    assert proxy.upgrades == upgrades
    assert console.count("reconnecting") == 0


@pytest.mark.parametrize(
    ("path", "reason"), [("not-a-test-id", "not-a-test-id"), (NO_SUCH_TEST, NO_SUCH_TEST)], ids=["invalid", "unknown"]
)
async def test_no_such_test(stack: Stack, page: Page, proxy: Proxy, path: str, reason: str) -> None:
    await page.goto(f"{proxy.url}/tests/{path}")
    await expect(page.get_by_role("heading", name="No such test")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text(reason)
    await expect(connection_status(page)).to_have_text("Not connected")
    assert proxy.upgrades == 0


async def test_connect_to_test(stack: Stack, stack_streams: Streams, page: Page, proxy: Proxy) -> None:
    """`connectToTest`: asks the RPC, then watches on the page's one socket, also a run that has ended."""
    test_id = await begin(stack_streams, "Watched by name")
    await opened(page, proxy.url)

    async def folded() -> dict[str, Any] | None:
        found: dict[str, Any] = await page.evaluate("id => testcast.connectToTest(id)", test_id)
        return found if found["snapshot"]["seq"] == found["head"] else None

    answer = await until(folded, what="the snapshot is at the head")
    assert answer is not None
    assert answer["url"] == f"ws://127.0.0.1:{proxy.port}/ws?testId={test_id}"
    assert answer["snapshot"]["title"] == "Watched by name"
    await expect(card(page, test_id)).to_be_visible()
    assert proxy.upgrades == 1
    refusal = await page.evaluate("testcast.connectToTest('nonsense').catch(e => [e.status, e.code, e.message])")
    assert refusal[:2] == [400, "invalid_test_id"]
    assert "nonsense" in refusal[2]


async def test_several_tests_share_one_socket(stack_streams: Streams, page: Page, proxy: Proxy) -> None:
    ids = [await begin(stack_streams, f"Game {n}") for n in range(4)]
    await opened(page, proxy.url)
    for n, test_id in enumerate(ids):
        await publish(stack_streams, test_id, f"only in {n}")
    for n, test_id in enumerate(ids):
        shown = await open_feed(page, test_id)
        await expect(shown.locator(".line-text").last).to_have_text(f"only in {n}")
        assert await feed_lines(shown) == ["Queued", "Running", f"only in {n}"]
    assert (proxy.upgrades, proxy.open_sockets) == (1, 1)
