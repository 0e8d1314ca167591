"""What a reader learns while they look elsewhere: the tab's title and icon, notifications; and the agents."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from playwright.async_api import BrowserContext, Page, expect

from agent_worker.publish.run import TestRun
from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.browser.dashboard import badge, card, complete, connection_status, opened, without_hurry
from tests.browser.test_accessibility import audit
from tests.conftest import Stack
from tests.harness import EdgeProcess, begin, publish, until
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

HIDE: Final = """() => {
  Object.defineProperties(document, { hidden: { get: () => window.away ?? true, configurable: true } });
  window.away = true;
  window.drawFrames = window.requestAnimationFrame;
  window.heldFrames = [];
  window.requestAnimationFrame = (callback) => window.heldFrames.push(callback); // as in a hidden tab
  document.dispatchEvent(new Event("visibilitychange"));
}"""
SHOW: Final = """() => {
  window.away = false;
  window.requestAnimationFrame = window.drawFrames;
  window.heldFrames.splice(0).forEach((callback) => requestAnimationFrame(callback));
  document.dispatchEvent(new Event("visibilitychange"));
}"""
LOADS: Final = """() => new Promise((resolve) => {
  const picture = new Image();
  picture.onload = () => resolve(true);
  picture.onerror = () => resolve(false);
  picture.src = document.querySelector('link[rel="icon"]').href;
})"""
OS: Final = """window.Notification = class extends Notification {
  constructor(title, options) {
    super(title, options);
    window.newest = this;
    window.tellOs(title);
  }
};"""
"""The notification is the browser's, with its permission; only who it is shown to is the test."""


async def icon(page: Page) -> str:
    return await page.locator('link[rel="icon"]').get_attribute("href") or ""


async def test_the_tab_of_a_run_says_how_it_stands(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams, "Tabbed")
    await opened(page, f"{stack.edge_url}/tests/{test_id}")
    await expect(page).to_have_title("▶ Tabbed · running · testcast")
    running = await icon(page)
    assert running.startswith("data:image/svg+xml,")
    assert await page.evaluate(LOADS), "the page's policy permits it"
    await page.evaluate(HIDE)
    await complete(stack_streams, test_id)
    await expect(page).to_have_title("✓ 78 Tabbed · completed · testcast")  # no frame was drawn
    assert await icon(page) != running
    assert await page.evaluate(LOADS)


async def test_the_tab_of_the_list_says_what_has_ended_until_somebody_looks(
    stack: Stack, stack_streams: Streams, page: Page
) -> None:
    test_id = await begin(stack_streams, "Watched from afar")
    await opened(page, stack.edge_url)
    await expect(card(page, test_id)).to_be_visible()
    await expect(page).to_have_title(re.compile(r"^\d+ running · testcast$"))
    await page.evaluate(HIDE)
    await publish(stack_streams, test_id, "Cancelled", "error", status="failed", data={"code": "cancelled"})
    await expect(page).to_have_title(re.compile(r"^⊘ Watched from afar · (\d+ running · )?testcast$"))
    await page.evaluate(SHOW)
    await expect(page).to_have_title(re.compile(r"^(\d+ running · )?testcast$"))
    await expect(badge(card(page, test_id))).to_have_text("cancelled")


class Desk:
    """A reader whose window shows another program's page: no page of testcast is in front."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.told: list[str] = []
        """The titles of all notifications."""

    async def prepare(self, origin: str) -> None:
        await self.context.grant_permissions(["notifications"], origin=origin)
        await self.context.expose_function("tellOs", lambda title: self.told.append(title))
        await self.context.add_init_script(OS)

    async def leave(self, *pages: Page) -> None:
        """The reader turns to something else."""
        for page in pages:
            session = await self.context.new_cdp_session(page)
            await session.send("Emulation.setFocusEmulationEnabled", {"enabled": False})
        elsewhere = await self.context.new_page()
        await elsewhere.bring_to_front()
        for page in pages:
            await until(lambda page=page: page.evaluate("!document.hasFocus()"))  # type: ignore[misc]


async def follow(page: Page, test_id: str) -> None:
    button = page.locator(f'button.notify[data-test-id="{test_id}"]')
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")


async def test_one_notification_whatever_the_number_of_tabs(stack: Stack, stack_streams: Streams, page: Page) -> None:
    desk = Desk(page.context)
    await desk.prepare(stack.edge_url)
    first, second = await begin(stack_streams, "First"), await begin(stack_streams, "Second")
    await opened(page, stack.edge_url)
    for test_id in (first, second):
        await follow(page, test_id)
    other = await page.context.new_page()
    await opened(other, f"{stack.edge_url}/tests/{first}")
    await expect(other.get_by_role("button", name="Notify me when it ends")).to_have_attribute("aria-pressed", "true")
    await desk.leave(page, other)
    await complete(stack_streams, first)
    await until(lambda: desk.told, within_s=20.0, what="a notification")
    await complete(stack_streams, second)
    await until(lambda: len(desk.told) > 1, within_s=20.0, what="the second one")
    assert desk.told == ["✓ 78 First: completed", "✓ 78 Second: completed"]
    tags = [await each.evaluate("window.newest?.tag") for each in (page, other)]
    told_by = (page, other)[tags.index(second)]  # either knows the list
    await told_by.evaluate("newest.dispatchEvent(new Event('click'))")
    await expect(told_by).to_have_url(f"{stack.edge_url}/tests/{second}")


async def test_an_end_that_came_while_the_connection_was_away(
    stack: Stack, stack_streams: Streams, proxy: Proxy, page: Page
) -> None:
    desk = Desk(page.context)
    await desk.prepare(proxy.url)
    test_id = await begin(stack_streams, "Away")
    await opened(page, f"{proxy.url}/tests/{test_id}")
    await expect(page.locator(".line-text").last).to_be_visible()
    await follow(page, test_id)
    await desk.leave(page)
    proxy.fail("refuse")
    proxy.cut()
    await expect(connection_status(page)).to_have_text(re.compile("^Reconnecting"))
    await publish(stack_streams, test_id, "No answer", "error", status="failed")
    proxy.fail("pass")
    await until(lambda: desk.told, within_s=30.0, what="a notification")
    assert desk.told == ["✗ Away: failed"]


async def test_none_while_the_run_is_in_front_and_none_without_permission(
    stack: Stack, stack_streams: Streams, page: Page
) -> None:
    desk = Desk(page.context)
    await desk.prepare(stack.edge_url)
    test_id = await begin(stack_streams, "In front")
    await opened(page, f"{stack.edge_url}/tests/{test_id}")
    await follow(page, test_id)
    await complete(stack_streams, test_id)
    await expect(badge(page.locator("main"))).to_have_text("completed")
    await until(lambda: page.evaluate("localStorage.getItem('testcast.followed') === null"), what="it is taken")
    assert desk.told == []
    await page.context.clear_permissions()
    await page.context.grant_permissions([], origin=stack.edge_url)  # all others are denied
    refused = await begin(stack_streams, "Refused")
    await without_hurry(page)
    await opened(page, f"{stack.edge_url}/tests/{refused}")
    button = page.get_by_role("button", name="Notify me when it ends")
    await expect(button).to_be_visible()
    await expect(page.locator(".line-text").last).to_be_visible()  # the first state is here as a whole
    before = await page.locator(".run-columns").bounding_box()
    await button.press("Enter")
    said = page.get_by_role("alert").filter(has_text="blocks notifications")
    await expect(said).to_be_visible()
    assert await page.locator(".run-columns").bounding_box() == before, "nothing moves"
    await page.keyboard.press("Escape")
    await expect(said).to_be_hidden()
    await expect(button).to_have_attribute("aria-pressed", "false")
    await complete(stack_streams, refused)
    await expect(button).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_agents_and_what_they_play(
    nats_server: EmbeddedServer, nats_edge: EdgeProcess, page: Page, scheme: Any
) -> None:
    """An agent that publishes as any agent does, two runs at once, and gives signs of life by itself.

    On a broker of its own: axe would look at the runs of all other tests too.
    """
    worker = f"agent-{scheme}"
    async with (
        TestRun.create(nats_server.url, title="Played by an agent", worker=worker) as run,
        TestRun.create(nats_server.url, title="Beside it", worker=worker) as beside,
    ):
        await run.phase(1)
        await beside.phase(1)
        nats = await Connection.connect(nats_server.url, name="test")
        await page.emulate_media(color_scheme=scheme)
        await opened(page, nats_edge.url)
        await page.locator("#agents").press("Enter")
        panel = page.get_by_role("dialog", name="Agents")
        row = panel.get_by_role("listitem").filter(has_text=worker)

        async def heard() -> bool:
            for each in (run, beside):
                await nats.publish(subjects.control(each.test_id), b"")  # a wake-up: it looks at its run, and beats
            return await row.filter(has_text="Played by an agent").filter(has_text="Beside it").is_visible()

        await until(heard, within_s=30.0, what="its sign of life is on the page")
        for title in ("Played by an agent", "Beside it"):
            await expect(row).to_contain_text(re.compile(rf"Busy with {title} since \d\d:\d\d:\d\d"))
        await expect(row).to_contain_text(re.compile(r"last heard of \d\d:\d\d:\d\d"))
        await audit(page)
        await run.complete(78)
        await expect(row.locator(".agent-does")).to_have_text([re.compile("^Busy with Beside it since")])
        await beside.complete(78)
        await expect(row).to_contain_text("Not busy")
        await page.keyboard.press("Escape")
        await expect(panel).to_be_hidden()
        await nats.close()


async def test_without_agents_the_panel_says_how_to_start_one(nats_edge: EdgeProcess, page: Page) -> None:
    await page.goto(nats_edge.url)
    await expect(page.get_by_text("No tests yet")).to_be_visible()
    await page.set_viewport_size({"width": 380, "height": 700})
    await page.locator("#agents").click()
    panel = page.get_by_role("dialog", name="Agents")
    await expect(panel).to_contain_text("No agent is running. Start one: testcast agent. The queue is empty.")
    await audit(page)
