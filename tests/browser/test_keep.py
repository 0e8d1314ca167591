"""Pinning and deleting on the page, with the keyboard alone."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, Page, expect

from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.browser.dashboard import card, opened
from tests.conftest import Stack
from tests.harness import begin
from tests.keeping import ended

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

WAIT_MS = 60_000


async def asked_to_delete(page: Page) -> Locator:
    """Opens the question with the keyboard. The focus is on what deletes nothing."""
    await page.get_by_role("button", name="More").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    question = page.get_by_role("dialog", name="Delete this test?")
    await expect(question.get_by_role("button", name="Keep it")).to_be_focused()
    return question


async def test_a_run_is_pinned_unpinned_and_deleted_with_the_keyboard(
    page: Page, stack: Stack, stack_streams: Streams
) -> None:
    test_id, watched = await ended(stack_streams, "Star Hopper"), await begin(stack_streams, "Still running")
    other = await page.context.new_page()
    try:
        await opened(other, stack.edge_url)
        await expect(card(other, watched)).to_be_visible(timeout=WAIT_MS)
        listed = card(other, test_id)
        await expect(listed.locator(".badge")).to_have_text("completed", timeout=WAIT_MS)
        await opened(page, f"{stack.edge_url}/tests/{test_id}")
        pin = page.get_by_role("button", name="Pin Star Hopper")
        await expect(pin).to_have_attribute("aria-pressed", "false", timeout=WAIT_MS)
        await pin.focus()
        await page.keyboard.press("Enter")
        await expect(pin).to_have_attribute("aria-pressed", "true", timeout=WAIT_MS)
        await expect(pin).to_be_focused()
        on_card = listed.get_by_role("button", name="Pin Star Hopper")
        await expect(on_card).to_have_attribute("aria-pressed", "true", timeout=WAIT_MS)

        question = await asked_to_delete(page)
        await expect(question).to_contain_text("“Star Hopper” goes for good")
        await expect(question).to_contain_text("It is pinned: unpin it first.")
        await expect(question.get_by_role("button", name="Delete")).to_be_disabled()
        await page.keyboard.press("Escape")
        await expect(question).to_be_hidden()

        await pin.press("Enter")
        await expect(on_card).to_have_attribute("aria-pressed", "false", timeout=WAIT_MS)
        await expect(pin).to_have_attribute("aria-pressed", "false", timeout=WAIT_MS)
        await asked_to_delete(page)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(rf"^{re.escape(stack.edge_url)}/(\?|$)"), timeout=WAIT_MS)
        await expect(listed).to_have_count(0, timeout=WAIT_MS)
        await expect(card(page, watched)).to_be_visible(timeout=WAIT_MS)
        await expect(card(page, test_id)).to_have_count(0)
        assert await stack_streams.last(subjects.EVENTS, subjects.events(test_id)) is None
        await page.goto(f"{stack.edge_url}/tests/{test_id}")
        await expect(page.get_by_role("heading", name="No such test")).to_be_visible(timeout=WAIT_MS)
    finally:
        await other.close()
