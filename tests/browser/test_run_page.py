"""A run's own page: the verdict at once, metrics, dates, the same test again, and a feed that lets go."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
import pytest
from playwright.async_api import Locator, Page, expect

from broker import identity
from broker.clock import now_ms
from broker.jetstream.api import Streams
from tests.browser.dashboard import badge, card, complete, opened, reloaded
from tests.conftest import Stack
from tests.harness import begin, publish, until

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

DAY_MS: Final = 86_400_000
Move = Callable[[Page, Locator], Awaitable[None]]


async def run_page(page: Page, stack: Stack, test_id: str, more: str = "") -> Locator:
    await opened(page, f"{stack.edge_url}/tests/{test_id}{more}")
    return page.locator("main")


async def small_turns_of_the_wheel(page: Page, scroller: Locator) -> None:
    await scroller.hover()
    for _ in range(12):
        await page.mouse.wheel(0, -4)


async def one_pixel(_: Page, scroller: Locator) -> None:
    await scroller.evaluate("e => { e.scrollTop -= 1 }")  # as the slowest drag of the scroll bar


async def a_finger(page: Page, scroller: Locator) -> None:
    box = await scroller.bounding_box()
    assert box is not None
    session = await page.context.new_cdp_session(page)
    at = {"x": box["x"] + 50, "y": box["y"] + 50}
    await session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    await session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    for step in range(1, 13):  # a drag of a few pixels a move
        points = [at | {"y": at["y"] + 5 * step}]
        await session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
    await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    await session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})


def key(name: str) -> Move:
    async def press(page: Page, scroller: Locator) -> None:
        await scroller.focus()
        await page.keyboard.press(name)

    return press


STANDS_STILL: Final = """async (scroller) => {
  for (let [still, top] = [0, -1]; still < 10; still = scroller.scrollTop === top ? still + 1 : 0) {
    top = scroller.scrollTop;
    await new Promise(requestAnimationFrame);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}"""

ON_A_CARD: Final = {"wheel", "finger", "ArrowUp"}
MOVES: Final[dict[str, Move]] = {
    "wheel": small_turns_of_the_wheel,
    "one pixel": one_pixel,
    "finger": a_finger,
    "ArrowUp": key("ArrowUp"),
    "PageUp": key("PageUp"),
    "Home": key("Home"),
}


@pytest.mark.parametrize("own_page", [True, False], ids=["page", "card"])
async def test_any_movement_upward_lets_go(stack: Stack, stack_streams: Streams, page: Page, own_page: bool) -> None:
    test_id = await begin(stack_streams)
    for n in range(40):
        await publish(stack_streams, test_id, f"line {n}")
    if own_page:
        shown = await run_page(page, stack, test_id)
    else:
        await opened(page, stack.edge_url)
        shown = card(page, test_id)
        await shown.get_by_role("button", name="Live Feed").click()
    scroller, jump = shown.locator(".feed-scroll"), shown.locator(".feed-jump")

    async def below() -> float:
        return float(await scroller.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight"))

    async def away() -> bool:
        return await below() >= 1

    async def at_the_bottom() -> bool:
        return await below() < 1

    for name, move in MOVES.items():
        if not own_page and name not in ON_A_CARD:
            continue  # the feed is the same there
        last = shown.locator(".line-text").last
        await publish(stack_streams, test_id, f"followed before {name}")
        await expect(last).to_have_text(f"followed before {name}")
        await until(at_the_bottom, what=f"it follows before {name}")
        await move(page, scroller)
        await until(away, what=f"{name} lets go")
        await scroller.evaluate(STANDS_STILL)  # the browser moves smoothly, and would go on after the next step
        await publish(stack_streams, test_id, f"not followed after {name}")
        await expect(jump).to_have_text("↓ 1 new")
        assert await away(), name
        await scroller.evaluate("e => { e.scrollTop = e.scrollHeight }")  # by hand to the bottom: it follows again
        await expect(jump).to_be_hidden()


async def test_a_feed_that_comes_late_is_shown_from_its_end(stack: Stack, page: Page) -> None:
    """The page of a run that has ended draws its feed once without lines, once with all of them, and then no more."""
    await opened(page, stack.edge_url)
    below = await page.evaluate(
        """async () => {
          const { Feed } = await import("/view/feed.js");
          const { FeedLog } = await import("/view/feed-log.js");
          const feed = new Feed("late");
          document.querySelector("#main").prepend(feed.root);
          const run = { feed: new FeedLog({ whole: true }), refusal: null, seq: 0, snapshot: { seq: 60 } };
          feed.update(run);
          for (let seq = 1; seq <= 60; seq++)
            run.feed.take({ type: "progress", message: `line ${seq}`, seq, timestamp: Date.now() });
          run.seq = 60;
          feed.update(run);
          const { scrollHeight, scrollTop, clientHeight } = feed.scroller;
          return [scrollHeight, scrollHeight - scrollTop - clientHeight];
        }"""
    )
    assert below[0] > 1000
    assert below[1] < 1


@pytest.mark.parametrize(
    ("data", "number", "metric"),
    [
        ({"score": 66}, "66", None),
        ({"score": 0, "metrics": None}, "0", None),
        ({"score": 91, "metrics": {"fps": 60}}, "91", ("fps", "60")),
        ({"metrics": {"memory": {"heap": 12.5}}}, None, ("memory.heap", "12.5")),
        ({"score": 78, "metrics": {"bestScore": 1250, "untried": ["drag", "Enter"]}}, "78", ("Untried", "drag")),
        ({"score": 50, "metrics": [{"toString": 1}]}, "50", ("0.toString", "1")),
    ],
)
async def test_the_verdict_is_seen_at_once(
    stack: Stack, stack_streams: Streams, page: Page, data: dict[str, Any], number: str | None, metric: Any
) -> None:
    """On a window 800 px high, with every phase passed, a run without pictures keeps no space for one."""
    test_id = await begin(stack_streams)
    for n in (1, 2, 3, 4):
        await publish(stack_streams, test_id, f"Phase {n}", "status", status="running", phase=f"phase{n}")
    await publish(stack_streams, test_id, "All levels played", "complete", phase="phase4", data=data)
    shown = await run_page(page, stack, test_id)
    await expect(badge(shown)).to_have_text("completed")
    if number is not None:
        await expect(shown.locator(".verdict .ring-number")).to_have_text(number)
        box = await shown.locator(".verdict").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 800
        await expect(shown.locator(".verdict")).to_contain_text("All levels played")
    if metric is not None:
        row = shown.locator(".metrics tr", has=page.get_by_role("rowheader", name=metric[0], exact=True))
        await expect(row.locator("td")).to_contain_text(metric[1])
    else:
        await expect(shown.locator(".metrics")).to_be_hidden()
    await expect(shown.locator(".screen")).to_be_hidden()


async def test_a_foreign_run_has_no_space_for_a_picture(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = identity.new_test_id()
    await publish(stack_streams, test_id, "Level 1 passed")
    shown = await run_page(page, stack, test_id)
    await expect(shown.locator(".frame .message")).to_have_text("Level 1 passed")
    await expect(shown.locator(".screen")).to_be_hidden()
    await expect(shown.locator(".timeline")).to_be_hidden()
    frame = await shown.locator(".frame").bounding_box()
    assert frame is not None
    assert frame["height"] < 60


async def test_test_again_is_the_same_again(stack: Stack, page: Page) -> None:
    job = {"gameUrl": "http://127.0.0.1:1/game", "title": "Twice", "budgetSeconds": 15, "seed": 42}
    answer = await page.request.post(f"{stack.edge_url}/rpc/submitTest", data=job)
    test_id = (await answer.json())["testId"]
    await page.request.post(f"{stack.edge_url}/rpc/cancelTest", data={"testId": test_id})
    shown = await run_page(page, stack, test_id)
    facts = shown.locator(".run-facts")
    await expect(facts.locator("div", has_text="Time to play").locator("dd")).to_have_text("15 s")
    await expect(facts.locator("div", has_text="Seed").locator("dd")).to_have_text("42")
    async with page.expect_request("**/rpc/submitTest") as asked:
        await shown.get_by_role("button", name="Test again").click()
    assert orjson.loads((await asked.value).post_data or "") == job
    await page.wait_for_url(re.compile(rf"/tests/(?!{test_id})"))
    await expect(facts.locator("div", has_text="Seed").locator("dd")).to_have_text("42")
    again = page.url.rsplit("/", 1)[1]
    await page.request.post(f"{stack.edge_url}/rpc/cancelTest", data={"testId": again})


async def test_one_phase_on_card_and_page(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """The snapshot's, also where an agent goes back."""
    test_id = await begin(stack_streams)
    for phase in ("phase1", "phase4", "phase1"):
        await publish(stack_streams, test_id, phase, "status", status="running", phase=phase)
    await opened(page, stack.edge_url)
    await expect(card(page, test_id).locator(".phase")).to_have_text("Phase 1/4")
    shown = await run_page(page, stack, test_id)
    await expect(shown.locator(".timeline .phase")).to_have_text("Phase 1/4")
    await expect(shown.locator('.phase-name[data-step="current"]')).to_contain_text("Load and validate")
    await expect(shown.locator('.segment button[aria-current="step"]')).to_have_text("1")
    await complete(stack_streams, test_id)


async def test_another_day_is_named(stack: Stack, stack_streams: Streams, page: Page) -> None:
    today = await page.evaluate("new Date().setHours(12, 0, 0, 0)")
    test_id = identity.new_test_id()
    for at, text in ((today - 2 * DAY_MS, "long ago"), (today - DAY_MS, "yesterday"), (now_ms(), "now")):
        await publish(stack_streams, test_id, text, timestamp=at)
    shown = await run_page(page, stack, test_id)
    headings = shown.locator(".line-day")
    await expect(headings).to_have_count(3)
    await expect(headings.first).to_have_text(re.compile(r"^\w{3} \d{1,2} \w{3} \d{4}$"))
    time = shown.locator(".line time").first
    await expect(time).to_have_text("12:00:00")
    await expect(time).to_have_attribute("datetime", re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z$"))
    await expect(time).to_have_attribute("title", re.compile(r"^\w{3} \d{1,2} \w{3} \d{4}, 12:00:00 GMT"))
    for place in (shown.locator(".run-facts time").first, shown.locator(".meta time")):
        await expect(place).to_have_attribute("datetime", re.compile("Z$"))
    await opened(page, stack.edge_url)
    await expect(card(page, test_id).locator("time.when")).to_have_attribute("title", re.compile(r"\d{4}, "))


async def test_a_line_has_an_address(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """It leads there when the page is opened with it, when it is clicked, and on Back; a wrong one is named."""
    test_id = await begin(stack_streams)
    acks = [await publish(stack_streams, test_id, f"line {n}") for n in range(120)]
    shown = await run_page(page, stack, test_id, f"#{acks[20].seq}")
    marked = shown.locator(".line[data-marked]")
    await expect(marked.locator(".line-text")).to_have_text("line 20")
    await expect(marked).to_be_in_viewport()
    await publish(stack_streams, test_id, "goes on")
    await expect(shown.locator(".feed-jump")).to_have_text("↓ 1 new")
    await shown.locator(f'.line[data-seq="{acks[22].seq}"] a').click()
    await expect(marked.locator(".line-text")).to_have_text("line 22")
    assert page.url.endswith(f"#{acks[22].seq}")
    await page.go_back()
    await expect(marked.locator(".line-text")).to_have_text("line 20")
    await page.evaluate("location.hash = '#1'")  # of another run
    await expect(page.get_by_role("alert")).to_contain_text("no event 1")
    await opened(page, f"{stack.edge_url}/?open={test_id}")
    link = card(page, test_id).locator(".line a").last
    await expect(link).to_have_attribute("href", re.compile(rf"/tests/{test_id}#\d+$"))
    await complete(stack_streams, test_id)


async def test_keys_and_the_feeds_address(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "Testing WASD", phase="phase2", data={"action": "keys"})
    shown = await run_page(page, stack, test_id)
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    await page.keyboard.press("/")
    await expect(shown.get_by_label("Search the feed")).to_be_focused()
    await page.keyboard.type("wasd?/")
    await expect(shown.get_by_label("Search the feed")).to_have_value("wasd?/")
    await shown.get_by_label("Search the feed").fill("wasd")
    await shown.get_by_role("button", name=re.compile("^Actions")).click()
    await reloaded(page)
    await expect(shown.get_by_label("Search the feed")).to_have_value("wasd")
    await expect(shown.get_by_role("button", name=re.compile("^Actions"))).to_have_attribute("aria-pressed", "true")
    await expect(shown.locator(".line[data-seq] .line-text")).to_have_text(["Testing WASD"])
    await complete(stack_streams, test_id)
