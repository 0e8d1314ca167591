"""The dashboard behind proxies: below a prefix, and where another Host arrives and no socket passes."""

from __future__ import annotations

import asyncio
import re

import pytest
from PIL import Image
from playwright.async_api import Page, Route, expect

from broker.jetstream.api import Streams
from tests.browser.dashboard import LIVE, badge, card, connection_status, open_feed, opened
from tests.conftest import Stack
from tests.harness import begin, publish, store_picture
from tests.proxy import Proxy, Rewrite

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all


async def test_all_of_it_works_below_a_prefix(
    stack: Stack, stack_streams: Streams, page: Page, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The proxy removes the prefix and tells the edge nothing. Whatever is asked for beside the prefix is 404."""
    test_id = await begin(stack_streams, "Below")
    picture = tmp_path_factory.mktemp("picture") / "picture.jpg"
    await asyncio.to_thread(Image.new("RGB", (64, 36), "orange").save, picture)
    await store_picture(stack_streams, test_id, picture.read_bytes())
    missing: list[str] = []
    page.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
    async with Proxy(stack.edge.port, rewrite=Rewrite("/testcast")) as proxy:
        root = f"{proxy.url}/testcast/"
        await opened(page, root)
        shown = await open_feed(page, test_id)
        await expect(shown.locator(".line-text").last).to_have_text("Running")
        await publish(stack_streams, test_id, "seen in the list")
        await expect(shown.locator(".line-text").last).to_have_text("seen in the list")
        await expect(shown.locator("img").first).to_have_js_property("naturalWidth", 64)

        await shown.get_by_role("link", name="Below").first.click()
        await expect(page).to_have_url(f"{root}tests/{test_id}")
        await expect(connection_status(page)).to_have_text(LIVE)
        await publish(stack_streams, test_id, "seen on its page")
        await expect(page.locator(".line-text").last).to_have_text("seen on its page")
        await expect(page.locator("main img").first).to_have_js_property("naturalWidth", 64)

        await page.get_by_role("link", name="All tests").click()
        await expect(page).to_have_url(root)
        await expect(badge(card(page, test_id))).to_have_text("running")
        await page.go_back()
        await expect(page).to_have_url(f"{root}tests/{test_id}")
        await expect(page.locator("h1")).to_have_text("Below")
        await page.locator("a.brand").click()
        await expect(page).to_have_url(root)
        assert missing == []


async def test_a_run_s_page_lives_over_http_where_another_host_arrives_and_no_socket_passes(
    stack: Stack, stack_streams: Streams, page: Page
) -> None:
    """nginx with nothing but `proxy_pass`."""
    test_id = await begin(stack_streams, "Behind")
    async with Proxy(stack.edge.port, rewrite=Rewrite(host="edge", upgrades=False)) as proxy:
        await page.goto(f"{proxy.url}/tests/{test_id}")
        await expect(page.locator("h1")).to_have_text("Behind")
        await expect(connection_status(page)).to_have_text("Live over HTTP")
        await publish(stack_streams, test_id, "by a stream")
        await expect(page.locator(".line-text").last).to_have_text("by a stream")
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Yes, cancel").click()
        refused = page.get_by_role("main").get_by_role("alert")
        await expect(refused).to_contain_text("TESTCAST_EDGE_PUBLIC_URL")
        await expect(refused).to_contain_text(re.compile(f"'{re.escape(proxy.url)}'.*'edge'"))


async def test_only_the_edge_says_that_there_is_no_such_test(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """A 403 or a 404 of somebody in between says nothing about the test."""
    test_id = await begin(stack_streams, "Still there")
    statuses = [403, 404]

    async def answer(route: Route) -> None:
        await route.fulfill(status=statuses[-1], body="<html>")

    await page.route("**/rpc/connectToTest*", answer)
    while statuses:
        await page.goto(f"{stack.edge_url}/tests/{test_id}")
        await expect(page.locator("h1")).to_have_text("Still there")
        statuses.pop()
    await page.unroute_all()
    await page.goto(f"{stack.edge_url}/tests/{test_id[:-4]}abcd")
    await expect(page.locator("h1")).to_have_text("No such test")
