"""The dashboard in a real browser, against a real edge and broker: what people see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image
from playwright.async_api import Locator, Page, Request, expect

from broker import identity
from broker.contract import subjects
from broker.jetstream import runs
from broker.jetstream.api import Streams
from tests.browser.dashboard import badge, card, complete, connection_status, feed_lines, height_of, open_feed, opened
from tests.conftest import Stack
from tests.harness import begin, event_log, publish, store_picture, until

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

GAME = "http://127.0.0.1:1/game"


async def test_submit_socket_events_card(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """From the form to the score, over the socket alone: no poll has to help."""
    polls: list[str] = []

    def noted(request: Request) -> None:
        if "/rpc/listTests" in request.url or "/rpc/getEvents" in request.url:
            polls.append(request.url)

    await opened(page, stack.edge_url)
    page.on("request", noted)
    await page.get_by_label("Address of the game").fill(GAME)
    async with page.expect_response("**/rpc/submitTest") as answered:
        await page.get_by_role("button", name="Test this game").click()
    test_id = (await (await answered.value).json())["testId"]

    shown = card(page, test_id)
    await expect(badge(shown)).to_have_text("queued")
    await expect(page.get_by_label("Address of the game")).to_have_value("")
    await publish(stack_streams, test_id, "Started", "status", status="running", data={"attempt": 1, "worker": "w"})
    await expect(badge(shown)).to_have_text("running")
    await publish(stack_streams, test_id, "Testing WASD movement", phase="phase2", data={"action": "keys"})
    await expect(shown.locator(".message")).to_have_text("Testing WASD movement")
    await expect(shown.locator(".phase")).to_have_text("Phase 2/4")
    await complete(stack_streams, test_id)
    await expect(badge(shown)).to_have_text("completed")
    await expect(shown.locator(".ring-number")).to_have_text("78")
    await expect(shown.get_by_role("button", name="Cancel")).to_be_hidden()
    assert polls == []


async def test_a_score_without_parts(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """An agent of somebody else's may say no more than the number."""
    test_id = await begin(stack_streams)
    await opened(page, stack.edge_url)
    await publish(stack_streams, test_id, "Done", "complete", data={"score": 41})
    await expect(card(page, test_id).locator(".ring-number")).to_have_text("41")


async def test_badge_colours(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """Gray, blue, green, red, with a fade of 200 ms; the word always stands beside the colour."""
    done, lost = await begin(stack_streams), await begin(stack_streams)
    queued = identity.new_test_id()
    await publish(stack_streams, queued, "Queued", "status", status="queued")
    await opened(page, stack.edge_url)
    await complete(stack_streams, done)
    await publish(stack_streams, lost, "The game did not answer", "error", status="failed")
    running = await begin(stack_streams)

    async def hue(test_id: str, word: str) -> str:
        await expect(badge(card(page, test_id))).to_have_text(word)
        colour = await badge(card(page, test_id)).evaluate("e => getComputedStyle(e).color")
        red, green, blue = (int(n) for n in re.findall(r"\d+", colour)[:3])
        spread = max(red, green, blue) - min(red, green, blue)
        return "gray" if spread < 40 else {red: "red", green: "green", blue: "blue"}[max(red, green, blue)]

    assert await hue(queued, "queued") == "gray"
    assert await hue(running, "running") == "blue"
    assert await hue(done, "completed") == "green"
    assert await hue(lost, "failed") == "red"
    await page.emulate_media(reduced_motion="no-preference")
    fade = await badge(card(page, running)).evaluate("e => getComputedStyle(e).transitionDuration")
    assert set(fade.split(", ")) == {"0.2s"}


async def test_phases_and_attempts(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await opened(page, stack.edge_url)
    shown = await open_feed(page, test_id)
    for n in (1, 2, 3, 4):
        await publish(stack_streams, test_id, f"Phase {n} begins", "status", status="running", phase=f"phase{n}")
        await expect(shown.locator(".phase")).to_have_text(f"Phase {n}/4")
        await expect(shown.locator('.step[data-step="done"]')).to_have_count(n - 1)
        await expect(shown.locator('.step[data-step="current"]')).to_have_count(1)
    headings = await shown.locator(".line-phase").all_text_contents()
    assert [heading[:9] for heading in headings] == [f"Phase {n}/4" for n in (1, 2, 3, 4)]
    await publish(stack_streams, test_id, "Attempt 2", "status", status="running", data={"attempt": 2, "worker": "v"})
    await expect(shown.locator(".marks")).to_contain_text("attempt 2")
    await expect(shown.locator(".line-system")).to_have_text(re.compile("Attempt 2"))
    await complete(stack_streams, test_id)
    await expect(shown.locator('.step[data-step="done"]')).to_have_count(4)


async def test_feed_expands_sticks_and_lets_go(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    for n in range(40):
        await publish(stack_streams, test_id, f"line {n}")
    await opened(page, stack.edge_url)
    shown = card(page, test_id)
    toggle = shown.get_by_role("button", name="Live Feed")
    await expect(toggle).to_have_attribute("aria-expanded", "false")
    await expect(toggle).to_contain_text("(42)")
    await expect(shown.locator(".feed")).to_be_hidden()
    height = await height_of(shown)
    await publish(stack_streams, test_id, "a message so long that it can not stand on one line of a card " * 9)
    await expect(toggle).to_contain_text("(43)")
    assert await height_of(shown) == height, "a card never jumps when a message comes"

    await toggle.focus()
    await page.keyboard.press("Enter")
    await expect(toggle).to_have_attribute("aria-expanded", "true")
    scroll = shown.locator(".feed-scroll")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", await shown.locator(".line-time").first.inner_text())

    async def from_bottom() -> float:
        return float(await scroll.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight"))

    await publish(stack_streams, test_id, "line 40")
    await expect(shown.locator(".line-text").last).to_have_text("line 40")
    assert await from_bottom() < 2

    jump = shown.locator(".feed-jump")
    await scroll.hover()
    await page.mouse.wheel(0, -300)
    await until(lambda: from_bottom_is_large(scroll))
    top = await scroll.evaluate("e => e.scrollTop")
    for n in range(12):
        await publish(stack_streams, test_id, f"unseen {n}")
    await expect(jump).to_have_text("↓ 12 new")
    assert await scroll.evaluate("e => e.scrollTop") == top, "what is being read stays where it is"
    await jump.click()
    await expect(jump).to_be_hidden()
    assert await from_bottom() < 2

    await toggle.click()
    await expect(shown.locator(".feed")).to_be_hidden()


async def from_bottom_is_large(scroll: Locator) -> bool:
    return bool(await scroll.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight > 100"))


@pytest.mark.parametrize("own_page", [False, True], ids=["card", "page"])
async def test_markup_in_every_field_is_text(stack: Stack, stack_streams: Streams, page: Page, own_page: bool) -> None:
    evil = '<img src=x onerror="window.broken=1"><script>window.broken=1</script><b>\'"&amp;'
    test_id = identity.new_test_id()
    about = {"title": f"T{evil}", "gameUrl": f"javascript:window.broken=1//{evil}", "worker": f"W{evil}"}
    await publish(stack_streams, test_id, f"Q{evil}", "status", status="queued", data=about)
    started = about | {"attempt": 2}
    await publish(stack_streams, test_id, f"R{evil}", "status", status="running", phase="phase1", data=started)
    told = {"kind": "console", "detail": f"D{evil}", "action": evil}
    await publish(stack_streams, test_id, f"P{evil}", data=told)
    rubric = [{"part": f"X{evil}", "score": 1, "max": 2, "reasons": [f"Y{evil}"]}]
    end = {"score": 50, "metrics": {"rubric": rubric}}
    await publish(stack_streams, test_id, f"C{evil}", "complete", phase="phase4", data=end)

    await opened(page, f"{stack.edge_url}/tests/{test_id}" if own_page else stack.edge_url)
    shown = page.locator("main") if own_page else card(page, test_id)
    if not own_page:
        await open_feed(page, test_id)
    await expect(shown.locator(".line-complete .line-text")).to_have_text(f"C{evil}")
    await expect(shown.locator("h1" if own_page else "h2")).to_have_text(f"T{evil}")
    text = await shown.evaluate("e => e.textContent")
    for field in "TQRPDCXY" + ("W" if own_page else ""):
        assert f"{field}{evil}" in text, f"{field} is not shown as it is"
    assert await shown.locator("script, b, img[src=x]").count() == 0
    assert await page.locator('a[href^="javascript"]').count() == 0
    assert await page.evaluate("window.broken") is None


async def test_an_ended_test_opened_late_shows_all_of_it(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "The game reported an error", data={"kind": "pageerror", "detail": "boom"})
    await complete(stack_streams, test_id)
    await opened(page, f"{stack.edge_url}/tests/{test_id}")
    main = page.locator("main")
    await expect(main.locator(".line-complete")).to_have_count(1)
    expected = ["Queued", "Running", "The game reported an errorboom", "Test complete! Score 78/100"]
    assert await feed_lines(main) == expected
    await expect(main.locator(".verdict")).to_contain_text("first paint after 0.4 s")
    await expect(connection_status(page)).to_have_text("All tests ended")
    await expect(main.get_by_role("button", name="Test again")).to_be_visible()


@pytest.mark.parametrize("given", ["ftp://example.com/", "http://", "javascript:alert(1)"])
async def test_a_wrong_address_is_named_below_the_field(stack: Stack, page: Page, given: str) -> None:
    await opened(page, stack.edge_url)
    field = page.get_by_label("Address of the game")
    await field.fill(given)
    async with page.expect_response("**/rpc/submitTest") as answered:
        await field.press("Enter")
    reason = (await (await answered.value).json())["error"]["message"]
    await expect(page.locator("#form-error")).to_have_text(reason)
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_value(given)
    await field.fill("x")
    await expect(page.locator("#form-error")).to_be_empty()


async def test_cancel(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await opened(page, stack.edge_url)
    shown = card(page, test_id)
    ask = shown.get_by_role("button", name="Cancel", exact=True)
    height = await height_of(shown)
    await ask.focus()
    await page.keyboard.press("Enter")
    await expect(shown.get_by_role("group", name="Cancel this run?")).to_be_visible()
    assert await height_of(shown) == height
    await expect(shown.get_by_role("button", name="Keep it")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(ask).to_be_focused()
    await ask.click()
    await shown.get_by_role("button", name="Keep it").click()
    await expect(ask).to_be_focused()
    before = (await runs.read(event_log(stack_streams), test_id)).snapshot
    assert before is not None and before.status == "running", "a question is no cancellation"
    await ask.click()
    await shown.get_by_role("button", name="Yes, cancel").click()
    await expect(badge(shown)).to_have_text("cancelled")
    snapshot = (await runs.read(event_log(stack_streams), test_id)).snapshot
    assert snapshot is not None
    await expect(shown.locator(".message")).to_have_text(snapshot.error or "?")
    await expect(shown.get_by_role("button", name="Cancel")).to_be_hidden()


async def test_filters_and_search(stack: Stack, stack_streams: Streams, page: Page) -> None:
    mark = identity.new_test_id()[:8]
    going, done = await begin(stack_streams, f"Going {mark}"), await begin(stack_streams, f"Done {mark}")
    await complete(stack_streams, done)
    await opened(page, stack.edge_url)
    await expect(page.get_by_label("Search tests")).to_be_visible()  # with the list, which may come after the socket
    await page.keyboard.press("/")
    await expect(page.get_by_label("Search tests")).to_be_focused()
    await page.keyboard.type(mark)
    await expect(page.locator("article.card:visible")).to_have_count(2)
    await page.get_by_role("button", name=re.compile("^Completed")).click()
    await expect(card(page, going)).to_be_hidden()
    await expect(card(page, done)).to_be_visible()
    await page.get_by_role("button", name=re.compile("^Queued")).click()
    await expect(page.get_by_text(f"No queued test matches “{mark}”.")).to_be_visible()
    await page.locator("button[data-filter=all]").click()
    counts: dict[str, int] = {}
    for name in ("All", "Running", "Queued", "Completed", "Failed", "Cancelled"):
        button = page.locator(f"button[data-filter={name.lower()}]")
        counts[name] = int(await button.locator(".count").inner_text())
    assert counts.pop("All") == sum(counts.values())
    assert counts["Running"] >= 1
    assert counts["Completed"] >= 1


async def test_score_parts_on_focus(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await complete(stack_streams, test_id)
    await opened(page, stack.edge_url)
    shown = card(page, test_id)
    ring = shown.locator(".ring")
    await expect(ring).to_have_attribute("aria-label", "Score 78 of 100, load 18 of 20, controls 6 of 20")
    await expect(shown.get_by_text("no reaction to the pointer")).to_be_hidden()
    await ring.focus()
    await expect(shown.get_by_text("no reaction to the pointer")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(shown.get_by_text("no reaction to the pointer")).to_be_hidden()


async def test_the_picture_of_a_running_game(stack: Stack, stack_streams: Streams, page: Page, tmp_path: Path) -> None:
    test_id = await begin(stack_streams)
    file = tmp_path / "shot.jpg"
    Image.new("RGB", (64, 36), (200, 40, 40)).save(file)
    await store_picture(stack_streams, test_id, file.read_bytes())
    await opened(page, stack.edge_url)
    picture = card(page, test_id).locator("img")
    await expect(picture).to_be_visible()
    first = await picture.get_attribute("src")
    Image.new("RGB", (64, 36), (40, 200, 40)).save(file)
    await store_picture(stack_streams, test_id, file.read_bytes())
    await expect(picture).not_to_have_attribute("src", first or "")


async def test_status_is_announced_and_progress_is_not(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams, "Said aloud")
    await opened(page, stack.edge_url)
    voice = page.get_by_role("status")
    await publish(stack_streams, test_id, "chatter")
    await expect(card(page, test_id).locator(".message")).to_have_text("chatter")
    assert "chatter" not in await voice.inner_text()
    await complete(stack_streams, test_id)
    await expect(voice).to_have_text("Said aloud: completed, score 78 of 100")
    assert await page.locator("[aria-live], [role=log]").count() == 0, "one live region, and the alerts"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_words_have_contrast(stack: Stack, stack_streams: Streams, page: Page, scheme: Any) -> None:
    """AA: 4.5 to 1 for every text that can be seen, measured in the page."""
    running, failed = await begin(stack_streams), await begin(stack_streams)
    await publish(stack_streams, running, "An action", phase="phase1", data={"action": "x"})
    await publish(stack_streams, running, "Trouble", data={"kind": "console", "detail": "boom"})
    await publish(stack_streams, failed, "The game did not answer", "error", status="failed")
    await page.emulate_media(color_scheme=scheme)
    await opened(page, stack.edge_url)
    await open_feed(page, running)
    await open_feed(page, failed)
    await expect(card(page, failed).locator(".line-error")).to_be_visible()
    weak = await page.evaluate(CONTRAST)
    assert weak == []


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (css) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const weak = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.data.trim();
    if (!text || text === "·" || !element.checkVisibility({ visibilityProperty: true })) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color).slice(0, 3)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${element.className}: ${text.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


async def test_a_phone_needs_no_sideways_scrolling(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams, "A title that is much longer than a phone is wide, and then some more")
    await publish(stack_streams, test_id, "https://" + "x" * 300, phase="phase1")
    await page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/", f"/tests/{test_id}"):
        await opened(page, stack.edge_url + path)
        if path == "/":
            await open_feed(page, test_id)
        await expect(page.locator(".line-text").last).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


async def test_unknown_messages_are_ignored(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """A malformed event on the subject is skipped by the edge; the page goes on and loses nothing."""
    test_id = await begin(stack_streams)
    await opened(page, stack.edge_url)
    shown = await open_feed(page, test_id)
    await stack_streams.store(subjects.events(test_id), b"{not json")
    await stack_streams.store(subjects.events(test_id), orjson.dumps({"type": "fancy", "message": "?"}))
    await publish(stack_streams, test_id, "after the broken ones", extra={"unknown": True})
    await expect(shown.locator(".line-text").last).to_have_text("after the broken ones")
    assert await feed_lines(shown) == ["Queued", "Running", "after the broken ones"]
