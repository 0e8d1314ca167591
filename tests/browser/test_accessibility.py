"""axe-core on every state of the page: what it can find of WCAG 2.2 A and AA, and of good practice, is nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Page, expect

from broker import identity
from broker.jetstream.api import Streams
from tests.browser.dashboard import badge, card, complete, connection_status, open_feed, opened
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, EdgeProcess, begin, publish
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

AXE: Final = Path(__file__).parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js"
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PHONE: Final[Any] = {"width": 380, "height": 780}
# Half-way from one colour to another, text has a contrast that no reader is shown for long.
SETTLED: Final = """
  new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))).then(() => {
    for (const each of document.getAnimations()) if (each instanceof CSSTransition) each.finish();
  })
"""

LOOKS: Final = [
    pytest.param(("light", "dark"), 1280, id="wide-light-dark"),
    pytest.param(("light",), 380, id="narrow-light"),
]
"""Colour schemes in which a page of this width, CSS pixels, is looked at: one page for both, which costs seconds."""


async def audit_in(page: Page, schemes: Sequence[Any]) -> None:
    """The same in each of these colour schemes. The page keeps the last one."""
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        await audit(page, scheme)


async def audit(page: Page, look: str = "") -> None:
    """Fails with each rule that is broken and where; `look` names what was looked at."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())  # in the page's world, past its content security policy
    await page.evaluate(f"async () => {{ await {SETTLED} }}")
    found: dict[str, Any] = await page.evaluate(
        "(tags) => axe.run(document, { runOnly: tags, resultTypes: ['violations'] })", TAGS
    )
    assert len(found["passes"]) > 10, "it has looked"
    broken = [f"{each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}" for each in found["violations"]]
    assert broken == [], look


async def all_statuses(streams: Streams) -> dict[str, str]:
    """A run of every kind that a card knows: also a second attempt, long texts, a score."""
    queued = identity.new_test_id()
    await publish(streams, queued, "Queued", "status", status="queued", data={"title": "Waiting", "gameUrl": "x"})
    running, done, lost = [await begin(streams, title) for title in ("Going", "Done " * 30, "Lost")]
    await publish(streams, running, "Again", "status", status="running", phase="phase3", data={"attempt": 2})
    await publish(streams, running, "Testing WASD movement", phase="phase3", data={"action": "keys"})
    await publish(streams, running, "The game logged", data={"kind": "console", "detail": "boom " * 60})
    await complete(streams, done)
    await publish(streams, lost, "The game did not answer", "error", status="failed")
    return {"queued": queued, "running": running, "completed": done, "failed": lost}


@pytest.mark.parametrize(("schemes", "width"), LOOKS)
async def test_the_list_with_every_status_and_a_feed(
    nats_edge: EdgeProcess, own_streams: Streams, page: Page, schemes: Sequence[str], width: int
) -> None:
    """On a broker of its own: axe would look at the runs of all other tests too, which costs a minute."""
    made = await all_statuses(own_streams)
    await page.set_viewport_size({"width": width, "height": 780})
    await page.add_init_script("localStorage.setItem('testcast.recent', '[\"http://game.example/\"]')")
    await opened(page, nats_edge.url)
    for status, test_id in made.items():
        await expect(badge(card(page, test_id))).to_have_text(status)
    await audit_in(page, schemes)
    await open_feed(page, made["running"])
    await expect(card(page, made["running"]).locator(".line-text").last).to_contain_text("boom")
    await card(page, made["running"]).get_by_role("button", name="Cancel", exact=True).click()
    await audit_in(page, schemes)
    await card(page, made["completed"]).locator(".ring").focus()
    await expect(card(page, made["completed"]).get_by_text("no reaction to the pointer")).to_be_visible()
    await audit_in(page, schemes)


async def test_the_page_of_the_api(stack: Stack, page: Page) -> None:
    """Made on the edge, without scripts; a phone shows it without scrolling sideways."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.set_viewport_size({"width": 390, "height": 780})
    await page.goto(f"{stack.edge_url}/api#getEvents")
    await expect(page.locator("#getEvents h3")).to_be_in_viewport()
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    assert all(url.startswith(stack.edge_url) for url in asked)
    alike = "document.querySelectorAll('section:nth-of-type(n + 5)').forEach((each) => each.remove())"
    await page.evaluate(alike)  # axe would take half a minute for a hundred of one kind
    await audit_in(page, ("light", "dark"))


@pytest.mark.parametrize(("schemes", "width"), LOOKS)
async def test_the_page_of_a_run(
    stack: Stack, stack_streams: Streams, page: Page, schemes: Sequence[str], width: int
) -> None:
    made = await all_statuses(stack_streams)
    await page.set_viewport_size({"width": width, "height": 780})
    for status in ("running", "completed", "failed"):
        await opened(page, f"{stack.edge_url}/tests/{made[status]}")
        await expect(badge(page.locator("main"))).to_have_text(status)
        await expect(page.locator(".line-text").last).to_be_visible()
        await audit_in(page, schemes)
    await page.get_by_role("button", name="More").click()
    await expect(page.get_by_role("button", name="Delete")).to_be_visible()
    await audit_in(page, schemes)
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("dialog", name="Delete this test?")).to_be_visible()
    await audit_in(page, schemes)
    await page.goto(f"{stack.edge_url}/tests/{NO_SUCH_TEST}")
    await expect(page.get_by_role("heading", name="No such test")).to_be_visible()
    await audit_in(page, schemes)


async def test_reconnecting_with_its_panel_open(stack: Stack, stack_streams: Streams, proxy: Proxy, page: Page) -> None:
    await begin(stack_streams)
    await opened(page, proxy.url)
    await expect(page.locator("article.card").first).to_be_visible()
    proxy.fail("refuse")
    proxy.cut()
    await expect(connection_status(page)).to_have_text(re.compile("^Reconnecting"))
    await page.locator("#connection").click()
    await expect(page.get_by_role("dialog", name="Connection")).to_be_visible()
    await audit(page)


async def test_the_empty_page_and_a_refused_address(nats_edge: EdgeProcess, page: Page) -> None:
    await page.goto(nats_edge.url)
    await expect(page.get_by_text("No tests yet")).to_be_visible()
    await audit(page)
    field = page.get_by_label("Address of the game")
    await field.fill("ftp://example.com/")
    await field.press("Enter")
    await expect(page.locator("#form-error")).not_to_be_empty()
    await audit(page)


async def test_the_keyboard_reaches_everything(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """Tab goes through all that can be used, in the order of the page, and what has the focus shows it."""
    made = await all_statuses(stack_streams)
    await opened(page, stack.edge_url)
    await expect(badge(card(page, made["failed"]))).to_have_text("failed")
    await page.keyboard.press("/")
    await page.keyboard.type("Going")
    going = card(page, made["running"])
    for name in ("Going", "Live Feed", "Pin", "Cancel"):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        await expect(focused).to_contain_text(name)
        assert await focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid", name
        assert await focused.evaluate("e => e.closest('article')?.dataset.testId") == made["running"]
    for _ in ("Pin", "Live Feed"):
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Space")
    await expect(going.locator(".feed")).to_be_visible()


async def test_nothing_moves_for_those_who_asked_for_stillness(
    stack: Stack, stack_streams: Streams, page: Page
) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "Phase 1", "status", status="running", phase="phase1")
    await opened(page, stack.edge_url)
    dot = card(page, test_id).locator('.step[data-step="current"] .dot')
    await expect(dot).to_be_visible()
    moving = "e => e.getAnimations({ subtree: true }).length"  # with what CSS draws after it: the pulse
    assert await dot.evaluate(moving) == 0
    await page.emulate_media(reduced_motion="no-preference")
    assert await dot.evaluate(moving) == 1
