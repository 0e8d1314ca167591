"""The Live Feed and a run's own page, in a real browser: thousands of lines, what is shown of them, what is taken.

Longer than 400 lines: many small tests that share the helpers at the top.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect

from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from tests.browser.dashboard import card, complete, feed_lines, open_feed, opened, reloaded, scroll_by_parts
from tests.conftest import Stack
from tests.harness import PatientStreams, begin, publish, until

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

LINES = 10_000
MAX_ROWS = 150
"""In the page at once, whatever the run's length."""
LONG_TASK_MS = 200
"""CPU time of one task while scrolling. The aim is 100 ms; a shared and slow machine gets twice that."""
LONG = "a text that does not stand on one line of any feed, " * 7


async def publish_many(streams: Streams, test_id: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Publishes in order, many in flight.

    Returns:
        the events as a viewer gets them.
    """
    stored: list[dict[str, Any]] = []
    for start in range(0, len(events), 500):
        batch = [{"timestamp": now_ms()} | event for event in events[start : start + 500]]
        subject = subjects.events(test_id)
        acks = await asyncio.gather(*(streams.store(subject, orjson.dumps(event)) for event in batch))
        stored += [{"testId": test_id, "seq": ack.seq, **event} for ack, event in zip(acks, batch, strict=True)]
    assert [event["seq"] for event in stored] == sorted(event["seq"] for event in stored)
    return stored


def varied(n: int) -> dict[str, Any]:
    """The n-th event: phases come and go, one in seven is long, one in fifty is a problem, one in three an action."""
    event: dict[str, Any] = {
        "type": "progress",
        "message": f"line {n}" + (f" {LONG}" if n % 7 == 0 else ""),
        "phase": f"phase{1 + n * 4 // LINES}",
    }
    if n % 50 == 0:
        event["data"] = {"kind": "console", "detail": f"error {n % 3}"}
    elif n % 3 == 0:
        event["data"] = {"action": "keys"}
    return event


class LongRun(NamedTuple):
    """A run of 10,002 events that goes on."""

    test_id: str
    events: list[dict[str, Any]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def long_run(stack: Stack) -> LongRun:
    """One for all tests of this file that only read it; who publishes makes a run of its own."""
    nats = await Connection.connect(stack.nats_url, name="test")
    streams = PatientStreams(nats)
    test_id = await begin(streams)
    events = await publish_many(streams, test_id, [varied(n) for n in range(LINES)])
    await nats.close()
    return LongRun(test_id, events)


async def run_page(page: Page, stack: Stack, test_id: str) -> Locator:
    await opened(page, f"{stack.edge_url}/tests/{test_id}")
    return page.locator("main")


async def test_ten_thousand_lines(stack: Stack, browser: Browser, page: Page, long_run: LongRun) -> None:
    """Few rows in the page; each line once, in order, wherever one looks; no long task while scrolling.

    A third of them is looked at, all over the feed: all would take a minute.
    """
    shown = await run_page(page, stack, long_run.test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 9999")
    assert await shown.locator(".line").count() < MAX_ROWS
    await page.evaluate(
        """() => {
          const element = document.querySelector(".feed-lines");
          window.most = 0;
          new MutationObserver(() => (window.most = Math.max(window.most, element.childElementCount)))
            .observe(element, { childList: true });
        }"""
    )
    await browser.start_tracing(page=page, categories=["toplevel"])
    parts = await scroll_by_parts(shown, 10, 20)
    tasks = main_thread_tasks_ms(await browser.stop_tracing())
    details = {n: f"error {n % 3}" for n in range(0, LINES, 50)}
    lines = [f"line {n}" + (f" {LONG}" if n % 7 == 0 else "") + details.get(n, "") for n in range(LINES)]
    sequence = [event["seq"] for event in long_run.events]
    assert [text for _, text in parts[0][:2]] == ["Queued", "Running"]
    parts[0] = parts[0][2:]
    begins = [sequence.index(part[0][0]) for part in parts]
    for first, part in zip(begins, parts, strict=True):
        assert part == list(zip(sequence, lines, strict=True))[first : first + len(part)]
    assert begins[0] == 0 and begins[-1] + len(parts[-1]) == LINES, "its first and its last lines"
    assert len(parts) > 8 and LINES / 4 < sum(map(len, parts)) < LINES / 2
    assert 0 < await page.evaluate("window.most") < MAX_ROWS
    assert len(tasks) > 1000, "the trace holds the scrolling"
    assert max(tasks) < LONG_TASK_MS, sorted(tasks)[-10:]


def main_thread_tasks_ms(trace: bytes) -> list[float]:
    """How long each task of a renderer's main thread was on the CPU: what others on the machine do is not in it."""
    events = orjson.loads(trace)["traceEvents"]
    mains = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name" and "RendererMain" in e["args"]["name"]}
    return [
        e["tdur"] / 1000
        for e in events
        if "tdur" in e and (e["pid"], e["tid"]) in mains and e["name"].endswith("RunTask")
    ]


async def test_what_is_read_stays_where_it_is(stack: Stack, page: Page, long_run: LongRun) -> None:
    """Going up through lines that were never measured: each step moves what is read by exactly that step."""
    shown = await run_page(page, stack, long_run.test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 9999")
    jumps = await shown.locator(".feed-scroll").evaluate(
        """async (scroller) => {
          const frame = () => new Promise(requestAnimationFrame);
          const jumps = [];
          for (let step = 0; step < 150; step++) {
            const row = [...scroller.querySelectorAll(".line")]
              .find((line) => line.getBoundingClientRect().top > scroller.getBoundingClientRect().top);
            const before = row.getBoundingClientRect().top;
            scroller.scrollTop -= 97;
            await frame();
            await frame();
            const moved = row.getBoundingClientRect().top - before;
            if (!row.isConnected || Math.abs(moved - 97) > 2) jumps.push([step, moved]);
          }
          return jumps;
        }"""
    )
    assert jumps == []


async def test_keys(stack: Stack, page: Page, long_run: LongRun) -> None:
    shown = await run_page(page, stack, long_run.test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 9999")
    await shown.locator(".feed-scroll").focus()
    await page.keyboard.press("Home")
    await expect(shown.locator(".line-text").first).to_have_text("Queued")
    await expect(shown.locator(".line").first).to_have_attribute("aria-posinset", "1")
    before = await shown.locator(".feed-scroll").evaluate("e => e.scrollTop")
    await page.keyboard.press("PageDown")
    await until(lambda: further(shown, before))
    await page.keyboard.press("End")
    await expect(shown.locator(".line-text").last).to_have_text("line 9999")
    assert await from_bottom(shown) < 2
    last = shown.locator(".line").last
    assert await last.get_attribute("aria-posinset") == await last.get_attribute("aria-setsize")


async def further(within: Locator, before: float) -> bool:
    return bool(await within.locator(".feed-scroll").evaluate("e => e.scrollTop") > before + 100)


async def from_bottom(within: Locator) -> float:
    return float(await within.locator(".feed-scroll").evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight"))


async def test_twelve_new_below_a_long_feed(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await publish_many(stack_streams, test_id, [varied(n) for n in range(2000)])
    await opened(page, stack.edge_url)
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 1999")
    await until(lambda: all_lines_are_here(shown), within_s=20)  # before, there are no 5,000 pixels to scroll
    await shown.locator(".feed-scroll").evaluate("e => { e.scrollTop -= 5000 }")
    await until(lambda: far_up(shown))
    read = await shown.locator(".feed-scroll").evaluate(READ)
    await publish_many(stack_streams, test_id, [{"type": "progress", "message": f"new {n}"} for n in range(12)])
    jump = shown.locator(".feed-jump")
    await expect(jump).to_have_text("↓ 12 new")
    assert await shown.locator(".feed-scroll").evaluate(READ) == read
    await jump.click()
    await expect(jump).to_be_hidden()
    await expect(shown.locator(".line-text").last).to_have_text("new 11")
    assert await from_bottom(shown) < 2
    await publish(stack_streams, test_id, "and one more")
    await expect(shown.locator(".line-text").last).to_have_text("and one more")
    assert await from_bottom(shown) < 2, "sticks again"


async def test_earlier_lines_come_while_somebody_reads(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """A closed feed keeps little, and fetches the rest when it is opened: that moves nothing and is nothing new."""
    test_id = await begin(stack_streams)
    await publish_many(stack_streams, test_id, [varied(n) for n in range(2000)])
    release = asyncio.Event()

    async def held(route: Route) -> None:
        await release.wait()
        await route.continue_()

    await page.route("**/rpc/getEvents*", held)
    await opened(page, stack.edge_url)
    await expect(card(page, test_id).locator(".toggle .count")).to_have_text("(2,002)")
    shown = await open_feed(page, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 1999")
    await shown.locator(".feed-scroll").evaluate("e => { e.scrollTop -= 500 }")
    await publish_many(stack_streams, test_id, [{"type": "progress", "message": f"new {n}"} for n in range(3)])
    jump = shown.locator(".feed-jump")
    await expect(jump).to_have_text("↓ 3 new")
    read = await shown.locator(".feed-scroll").evaluate(READ)
    assert await lines_in_all(shown) < 110
    release.set()
    await until(lambda: all_lines_are_here(shown), within_s=20)
    assert await shown.locator(".feed-scroll").evaluate(READ) == read
    await expect(jump).to_have_text("↓ 3 new")


async def lines_in_all(within: Locator) -> int:
    return int(await within.locator(".line").first.get_attribute("aria-setsize") or 0)


async def all_lines_are_here(within: Locator) -> bool:
    return await lines_in_all(within) > 2000


READ = """scroller => {
  const top = scroller.getBoundingClientRect().top;
  const line = [...scroller.querySelectorAll(".line")].find((one) => one.getBoundingClientRect().top > top);
  return [line.textContent, Math.round(line.getBoundingClientRect().top)];
}"""


async def far_up(within: Locator) -> bool:
    """And drawn there: the page hears of the scrolling a frame later."""
    return await from_bottom(within) > 4000 and bool(await scroll_lines_on_screen(within))


async def test_filters_and_search(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "Testing WASD movement", phase="phase2", data={"action": "keys"})
    await publish(stack_streams, test_id, "Pressing W moves the picture", phase="phase2")
    told = {"kind": "console", "detail": "sprite.png is missing"}
    await publish(stack_streams, test_id, "Console error", phase="phase3", data=told)
    shown = await run_page(page, stack, test_id)
    await expect(shown.locator(".line")).to_have_count(7)

    async def choose(name: str, texts: list[str]) -> None:
        await shown.get_by_role("button", name=re.compile(f"^{name}")).click()
        await expect(shown.get_by_role("button", name=re.compile(f"^{name}"))).to_have_attribute("aria-pressed", "true")
        await expect(shown.locator(".line[data-seq]")).to_have_count(len(texts))
        assert await feed_lines(shown) == texts
        await expect(shown.locator(".line-phase")).to_have_count(2)

    await choose("Actions", ["Testing WASD movement"])
    await choose("Problems", ["Console errorsprite.png is missing"])
    await expect(shown.get_by_role("button", name=re.compile("^Problems"))).to_have_text("Problems1")
    await publish(stack_streams, test_id, "unheard", phase="phase3")
    await publish(stack_streams, test_id, "Script error", phase="phase3", data={"kind": "pageerror", "detail": "boom"})
    await expect(shown.get_by_role("button", name=re.compile("^Problems"))).to_have_text("Problems2")
    await expect(shown.locator(".line-text").last).to_have_text("Script errorboom")
    search = shown.get_by_label("Search the feed")
    await search.fill("SPRITE")
    await expect(shown.locator(".line[data-seq]")).to_have_count(1)
    await search.fill("no such thing")
    await expect(shown.locator(".line[data-seq]")).to_have_count(0)
    await choose("Steps", [])
    await search.fill("")
    await choose("Steps", ["Queued", "Running"])
    await shown.get_by_role("button", name=re.compile("^All")).click()
    await expect(shown.locator(".line[data-seq]")).to_have_count(7)


@pytest.mark.parametrize("clipboard", [True, False], ids=["clipboard", "none, as over http"])
async def test_copy_takes_what_is_shown(
    stack: Stack, stack_streams: Streams, page: Page, long_run: LongRun, clipboard: bool
) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.edge_url)
    if not clipboard:
        await page.add_init_script("navigator.clipboard.writeText = undefined")
    shown = await run_page(page, stack, long_run.test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 9999")
    await shown.get_by_role("button", name=re.compile("^Problems")).click()
    await shown.get_by_role("button", name="Copy", exact=True).click()
    await expect(shown.locator(".feed-copy")).to_have_text("Copied 204 lines")  # 200 and four headings
    await expect(page.get_by_role("status")).to_have_text("Copied 204 lines")
    text = str(await page.evaluate("navigator.clipboard.readText()"))
    assert text.startswith("── Phase 1/4 · Load and validate\n")
    times = r"\d\d:\d\d:\d\d  "
    assert len(re.findall(f"^{times}line", text, re.MULTILINE)) == 200
    assert re.search(f"^{times}line 9950\n {{10}}error 2$", text, re.MULTILINE)


async def test_download_is_what_was_stored(stack: Stack, page: Page, long_run: LongRun, tmp_path: Path) -> None:
    shown = await run_page(page, stack, long_run.test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 9999")
    await shown.get_by_role("button", name=re.compile("^Problems")).click()  # makes no difference
    async with page.expect_download() as started:
        await shown.locator(".feed-download").click()
    download = await started.value
    assert download.suggested_filename == f"A-game-{long_run.test_id[:8]}.jsonl"
    await download.save_as(tmp_path / "run.jsonl")
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    assert [orjson.loads(line) for line in lines[2:]] == long_run.events
    assert lines[2] == orjson.dumps(long_run.events[0]).decode(), "byte for byte, fields in their order"


async def test_selected_lines_stay_selected(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """While new lines push them off the screen, and further than what is drawn around it."""
    test_id = await begin(stack_streams)
    await publish_many(stack_streams, test_id, [{"type": "progress", "message": f"old {n}"} for n in range(60)])
    shown = await run_page(page, stack, test_id)
    await expect(shown.locator(".line-text").last).to_have_text("old 59")
    await page.evaluate(
        """() => {
          const rows = [...document.querySelectorAll(".line")];
          getSelection().setBaseAndExtent(rows.at(-3).querySelector(".line-text").firstChild, 0, rows.at(-1), 3);
        }"""
    )
    await publish_many(stack_streams, test_id, [{"type": "progress", "message": f"new {n}"} for n in range(200)])
    await expect(shown.locator(".line-text").last).to_have_text("new 199")
    selected = str(await page.evaluate("getSelection().toString()"))
    assert [f"old {n}" in selected for n in (56, 57, 58, 59)] == [False, True, True, True]
    assert "new" not in selected


async def test_another_width_keeps_the_place(stack: Stack, page: Page, long_run: LongRun) -> None:
    shown = await run_page(page, stack, long_run.test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 9999")
    await page.set_viewport_size({"width": 380, "height": 740})
    await until(lambda: at_bottom(shown))
    assert (await scroll_lines_on_screen(shown))[-1] == "line 9999"
    await shown.locator(".feed-scroll").evaluate("e => { e.scrollTop = 20000 }")
    await until(lambda: far_up(shown))
    before = (await scroll_lines_on_screen(shown))[0]
    await page.set_viewport_size({"width": 1280, "height": 800})
    await until(lambda: same_on_screen(shown, before), what=f"{before} is still on the screen")


async def at_bottom(within: Locator) -> bool:
    return await from_bottom(within) < 2


async def same_on_screen(within: Locator, text: str) -> bool:
    return text in (await scroll_lines_on_screen(within))[:3]


async def scroll_lines_on_screen(within: Locator) -> list[str]:
    """The texts of those lines that can be seen."""
    found: list[str] = await within.locator(".feed-scroll").evaluate(
        """scroller => {
          const box = scroller.getBoundingClientRect();
          return [...scroller.querySelectorAll(".line-text")].filter((text) => {
            const { top, bottom } = text.getBoundingClientRect();
            return bottom > box.top + 1 && top < box.bottom - 1;
          }).map((text) => text.textContent);
        }"""
    )
    return found


async def test_a_run_page_opened_midway_and_after_the_end(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """Time line, problems and feed are the same whoever comes when."""
    test_id = await begin(stack_streams)
    start = now_ms() - 60_000
    at = {"status": "running", "kind": "status"}
    await publish(stack_streams, test_id, "Loading", **at, phase="phase1", timestamp=start)
    await publish(stack_streams, test_id, "Trying", **at, phase="phase2", timestamp=start + 10_000)
    boom = {"kind": "console", "detail": "boom"}
    await publish(stack_streams, test_id, "Console error: boom", phase="phase2", data=boom, timestamp=start + 11_000)
    await publish(stack_streams, test_id, "Playing", **at, phase="phase3", timestamp=start + 30_000)
    await publish(stack_streams, test_id, "Console error: boom", phase="phase3", data=boom, timestamp=start + 31_000)

    shown = await run_page(page, stack, test_id)
    segments = shown.locator(".segment button")
    await expect(segments).to_have_count(3)
    await expect(segments.nth(2)).to_have_attribute("aria-current", "step")
    await expect(shown.locator(".phase-time").nth(0)).to_have_text("0:10")
    await expect(shown.locator(".phase-time").nth(1)).to_have_text("0:20")
    growing = shown.locator(".phase-time").nth(2)
    now = await growing.inner_text()
    await expect(growing).not_to_have_text(now)
    widths = await shown.locator(".segment").evaluate_all("all => all.map((e) => e.getBoundingClientRect().width)")
    assert 1.8 < widths[1] / widths[0] < 2.2, "in proportion to time"
    await segments.nth(1).focus()
    await expect(shown.locator(".timeline .phase")).to_have_text(
        re.compile(r"^Phase 2, Discover controls: \d\d:\d\d:\d\d to \d\d:\d\d:\d\d, 0:20$")
    )
    await expect(shown.locator(".problem")).to_have_count(1)
    await expect(shown.locator(".problem-count")).to_have_text("\u00d7 2")

    await publish(stack_streams, test_id, "Scoring", **at, phase="phase4", timestamp=start + 50_000)
    await complete(stack_streams, test_id)
    await expect(shown.locator(".segment button")).to_have_count(4)
    await expect(shown.locator('[aria-current="step"]')).to_have_count(0)
    midway = await shown.locator(".phase-names").inner_text(), await feed_lines(shown)
    await reloaded(page)
    await expect(shown.locator(".line-complete")).to_have_count(1)
    await expect(shown.locator(".segment button")).to_have_count(4)
    assert (await shown.locator(".phase-names").inner_text(), await feed_lines(shown)) == midway
    await expect(shown.locator(".verdict")).to_contain_text("first paint after 0.4 s")


async def test_attempts_on_the_time_line(stack: Stack, stack_streams: Streams, page: Page) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "Loading", "status", status="running", phase="phase1")
    again = {"attempt": 2, "worker": "w2"}
    await publish(stack_streams, test_id, "Attempt 2", "status", status="running", data=again)
    await publish(stack_streams, test_id, "Loading again", "status", status="running", phase="phase1")
    shown = await run_page(page, stack, test_id)
    await expect(shown.locator(".segment button")).to_have_count(2)
    await expect(shown.locator(".segment-attempt")).to_have_text("attempt 2")
    await expect(shown.locator(".segment").first).to_have_attribute("data-step", "failed")
    await expect(shown.locator(".segment button").nth(1)).to_have_attribute(
        "aria-label", re.compile("Phase 1, Load and validate, attempt 2: ")
    )


async def test_a_problem_and_a_phase_lead_to_their_lines(stack: Stack, page: Page, long_run: LongRun) -> None:
    shown = await run_page(page, stack, long_run.test_id)
    await expect(shown.locator(".line-text").last).to_have_text("line 9999")
    await expect(shown.locator(".problems h2")).to_have_text("3 problems")
    await shown.get_by_role("button", name=re.compile("^Steps")).click()
    await shown.get_by_role("button", name=re.compile("error 2")).click()  # first at line 50
    await until(lambda: on_screen(shown, "line 50error 2"))
    await expect(shown.get_by_role("button", name=re.compile("^All"))).to_have_attribute("aria-pressed", "true")
    await shown.get_by_role("button", name=re.compile("^Phase 3, Explore gameplay")).click()
    await until(lambda: on_screen(shown, "line 5000error 2"))


async def on_screen(within: Locator, text: str) -> bool:
    return text in await scroll_lines_on_screen(within)


async def test_markup_in_the_new_places_is_text(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """Every field of every type of event: in the feed, the problems, the time line, the search, the file's name."""
    evil = '<img src=x onerror="window.broken=1"><script>window.broken=1</script><b>\'"&amp;'
    test_id = identity.new_test_id()
    about = {"title": f"T{evil}", "gameUrl": f"javascript:window.broken=1//{evil}", "worker": evil}
    await publish(stack_streams, test_id, f"Q{evil}", "status", status="queued", data=about)
    await publish(stack_streams, test_id, f"R{evil}", "status", status="running", phase="phase1", data=about)
    told = {"kind": evil, "detail": f"D{evil}", "action": evil, "attempt": evil, "control": evil}
    await publish(stack_streams, test_id, f"P{evil}", phase="phase2", data=told)
    await publish(stack_streams, test_id, f"K{evil}", phase="phase2", data=told | {"kind": "console"})
    await publish(stack_streams, test_id, f"E{evil}", "error", phase="phase3", data=told | {"code": evil})
    await publish(stack_streams, test_id, f"C{evil}", "error", status="failed", phase="phase4", data=told)
    shown = await run_page(page, stack, test_id)
    await expect(shown.locator(".failure")).to_contain_text(f"C{evil}")
    # The error events have details of their own, which stand for them in the list of problems.
    await expect(shown.locator(".problem-text")).to_have_text([f"D{evil}"] * 3)
    assert await feed_lines(shown) == [
        f"Q{evil}",
        f"R{evil}",
        f"P{evil}D{evil}",
        f"K{evil}D{evil}",
        f"E{evil}D{evil}",
        f"C{evil}D{evil}",
    ]
    await shown.get_by_label("Search the feed").fill(f"{evil}x")
    await expect(shown.locator(".feed-empty")).to_contain_text(f"{evil}x")
    async with page.expect_download() as started:
        await shown.locator(".feed-download").click()
    assert re.fullmatch(r"[\w.-]+", (await started.value).suggested_filename)
    assert await shown.locator("script, b, img[src=x]").count() == 0
    assert await page.locator('a[href^="javascript"]').count() == 0
    assert await page.evaluate("window.broken") is None
