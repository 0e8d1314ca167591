"""The main page as a table and grouped by game: sorting, live updates under the pointer, what is remembered."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from playwright.async_api import Locator, Page, expect

from broker import identity
from broker.clock import now_ms
from broker.jetstream.api import Streams
from tests.browser.dashboard import badge, card, complete, opened
from tests.browser.test_accessibility import audit
from tests.conftest import Stack
from tests.harness import publish, until

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all


WORDS: Final = """(cell) => {
  const words = document.createRange();
  words.selectNodeContents(cell);
  return words.getBoundingClientRect();
}"""
"""Where the words of an element are on the screen."""


class Game:
    """Runs of one game that no other test knows; the search for its word shows them alone."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.word = f"g{identity.new_test_id()[:8]}"
        self._at_ms = 0
        """When the newest began: no two begin in one millisecond, by which the list is ordered."""
        self.url = f"http://{self.word}.example/play"

    async def begin(self, title: str, url: str | None = None, **data: Any) -> str:
        test_id = identity.new_test_id()
        await until(lambda: now_ms() > self._at_ms)
        about = {"title": f"{title} {self.word}", "gameUrl": url or self.url} | data
        await publish(self.streams, test_id, "Queued", "status", status="queued", data=about)
        await publish(self.streams, test_id, "Started", "status", status="running", phase="phase1")
        self._at_ms = now_ms()
        return test_id

    def address(self, stack: Stack, **state: str) -> str:
        return f"{stack.edge_url}/?{'&'.join(f'{name}={value}' for name, value in (state | {'q': self.word}).items())}"


@pytest.fixture
def game(stack_streams: Streams) -> Game:
    return Game(stack_streams)


def rows(page: Page) -> Locator:
    return page.locator(".rows .row[data-test-id]")


async def order(page: Page) -> list[str]:
    """The rows' titles, without the game's word."""
    return [text.rsplit(" ", 1)[0] for text in await rows(page).locator(".cell-title a").all_inner_texts()]


async def expect_order(page: Page, *titles: str) -> None:
    async def as_wanted() -> bool:
        return await order(page) == list(titles)

    await until(as_wanted, within_s=20.0, what=f"rows {titles}, not {await order(page)}")


async def test_a_table_is_sorted_by_a_click_and_stays_a_table(stack: Stack, game: Game, page: Page) -> None:
    first = await game.begin("beta", labels={"commit": "abc1"})
    second = await game.begin("alpha")
    third = await game.begin("gamma")
    await complete(game.streams, first, 31)
    await complete(game.streams, third, 78)
    await opened(page, game.address(stack))
    await expect(card(page, second)).to_be_visible()
    await page.get_by_role("button", name="Table", exact=True).click()
    await expect_order(page, "gamma", "alpha", "beta")
    await expect(card(page, second)).to_have_count(0)
    row = page.get_by_role("row").filter(has_text="beta")
    for text in ("completed", "31", "commit=abc1", "0:00"):
        await expect(row).to_contain_text(text)
    await expect(row.locator("time")).to_have_attribute("title", re.compile(r"\d{4}, \d\d:\d\d:\d\d GMT[+-]\d{4}$"))
    tops = await page.locator(".sort").evaluate_all("all => all.map((each) => each.getBoundingClientRect().top)")
    assert len(set(tops)) == 1, "the headings stand on one line"
    duration, label = [await row.locator(f".cell-{name}").evaluate(WORDS) for name in ("duration", "label")]
    assert label["left"] - duration["right"] >= 20
    await page.get_by_role("button", name="Score").click()
    await expect_order(page, "gamma", "beta", "alpha")
    heading = page.get_by_role("columnheader", name="Score")
    await expect(heading).to_have_attribute("aria-sort", "descending")
    await page.get_by_role("button", name="Score").press("Enter")
    await expect_order(page, "beta", "gamma", "alpha")
    await expect(heading).to_have_attribute("aria-sort", "ascending")
    await page.reload()
    await expect_order(page, "beta", "gamma", "alpha")
    await page.goto(f"{stack.edge_url}/?q={game.word}")  # an address that says nothing of it
    await expect_order(page, "beta", "gamma", "alpha")
    await expect(page).to_have_url(re.compile(r"view=table&sort=score"))
    await page.get_by_role("button", name="Cards", exact=True).click()
    await expect(card(page, second)).to_be_visible()
    await expect(badge(card(page, third))).to_have_text("completed")
    await page.go_back()
    await expect_order(page, "beta", "gamma", "alpha")


async def test_rows_stay_where_they_are_while_somebody_points_at_them(stack: Stack, game: Game, page: Page) -> None:
    first = await game.begin("one")
    await game.begin("two")
    await opened(page, game.address(stack, view="table"))
    await expect_order(page, "two", "one")
    await page.locator(f'.row[data-test-id="{first}"]').hover()
    await game.begin("three")
    waiting = page.get_by_role("button", name="1 new")
    await expect(waiting).to_be_visible()
    await publish(game.streams, first, "Again", "status", status="running", phase="phase3")
    await expect(page.locator(f'.row[data-test-id="{first}"] .cell-phase')).to_have_text("Phase 3/4")
    assert await order(page) == ["two", "one"], "the row under the pointer has not moved, and shows what is new of it"
    await page.mouse.move(5, 5)
    await expect_order(page, "three", "two", "one")
    await expect(waiting).to_be_hidden()

    await page.locator(f'.row[data-test-id="{first}"] a').focus()  # the keyboard's reader
    await page.keyboard.press("ArrowUp")
    await expect(page.locator(":focus")).to_contain_text("two")
    await game.begin("four")
    await expect(waiting).to_be_visible()
    await waiting.click()
    await expect_order(page, "four", "three", "two", "one")


async def test_runs_by_game_in_cards_and_in_the_table(stack: Stack, game: Game, page: Page) -> None:
    other = f"http://{game.word}-other.example/"
    old = await game.begin("old")
    await complete(game.streams, old, 64)
    elsewhere = await game.begin("elsewhere", other)
    new = await game.begin("new")
    await opened(page, game.address(stack))
    await page.get_by_role("button", name="By game").click()
    headings = page.locator(".group")
    await expect(headings).to_have_count(2)
    await expect(headings.first).to_contain_text(re.compile(rf"new {game.word}.*2 runs.*last score 64.*History"))
    await expect(headings.first.get_by_role("link")).to_have_attribute(
        "href", f"{stack.edge_url}/games?url=http%3A%2F%2F{game.word}.example%2Fplay"
    )
    shown = await page.locator("article.card:visible").evaluate_all("all => all.map((each) => each.dataset.testId)")
    assert shown == [new, old, elsewhere]
    await complete(game.streams, new, 80)
    await expect(headings.first).to_contain_text("last score 80")
    await headings.first.get_by_role("button").click()
    await expect(card(page, old)).to_be_hidden()
    await expect(card(page, elsewhere)).to_be_visible()
    await page.reload()
    await expect(card(page, elsewhere)).to_be_visible()
    await expect(card(page, old)).to_be_hidden()
    await page.get_by_role("button", name="Table", exact=True).click()
    await expect_order(page, "elsewhere")
    await headings.first.get_by_role("button").press("Enter")
    await expect_order(page, "new", "old", "elsewhere")
    await expect(headings.first.get_by_role("button")).to_have_attribute("aria-expanded", "true")
    await page.get_by_role("button", name="By game").click()
    await expect_order(page, "new", "elsewhere", "old")
    await expect(headings).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
async def test_the_table_with_groups_is_without_violations(
    stack: Stack, game: Game, page: Page, scheme: Any, width: int
) -> None:
    running, lost = await game.begin("running", labels={"commit": "abc"}), await game.begin("lost", "http://x.example/")
    done, away = await game.begin("done"), await game.begin("away")
    await complete(game.streams, done)
    await publish(game.streams, lost, "The game did not answer", "error", status="failed")
    await publish(game.streams, away, "Cancelled", "error", status="failed", data={"code": "cancelled"})
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 780})
    await opened(page, game.address(stack, view="table", group="game"))
    for test_id, look in ((running, "running"), (lost, "failed"), (done, "completed"), (away, "cancelled")):
        await expect(badge(page.locator(f'.row[data-test-id="{test_id}"]'))).to_have_text(look)
    await audit(page)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
