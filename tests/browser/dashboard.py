"""What the dashboard's tests look for in the page."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import httpx
from playwright.async_api import Locator, Page, Route, expect

from broker.jetstream.api import Streams
from tests.harness import publish, until

LIVE: Final = re.compile(r"^Live( · [\d.]+ m?s)?$")
RUBRIC: Final = [
    {"part": "load", "score": 18, "max": 20, "reasons": ["first paint after 0.4 s"]},
    {"part": "controls", "score": 6, "max": 20, "reasons": ["no reaction to the pointer"]},
]


MAX_SHIFT: Final = 0.05
"""Cumulative layout shift up to which a page counts as still: half of what is commonly called good."""


async def without_hurry(page: Page) -> None:
    """On a slow machine, too, the page waits until its first state is here, and is not shown because of the time."""
    await page.add_init_script(
        "const set = window.setTimeout; window.setTimeout = (f, ...more) => (f.name === 'show' ? 0 : set(f, ...more));"
    )


async def without_polling_beside_streams(page: Page) -> None:
    """On a slow machine, too, the page waits for the stream that it has asked for, and does not poll after 3 s."""

    async def patient(route: Route) -> None:
        answer = await route.fetch()
        body, found = re.subn(r"\bSTREAM_MS = 3000\b", "STREAM_MS = 120000", await answer.text())
        assert found == 1
        await route.fulfill(response=answer, body=body)

    await page.route("**/client/connection.js", patient)


async def shift(page: Page) -> float:
    """How far the page has moved under its reader since it was opened (Layout Instability: the sum of all shifts)."""
    return float(await page.evaluate(_SHIFT))


_SHIFT: Final = """() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) sum += value;
  }).observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => resolve(sum))));
})"""


def card(page: Page, test_id: str) -> Locator:
    return page.locator(f'article[data-test-id="{test_id}"]')


def connection_status(page: Page) -> Locator:
    return page.locator("#connection .connection-status-label")


def badge(within: Locator) -> Locator:
    return within.locator(".badge")


async def height_of(shown: Locator) -> float:
    """Its height on the screen, CSS pixels."""
    box = await shown.bounding_box()
    assert box is not None, "it is not on the screen"
    return box["height"]


async def feed_lines(within: Locator) -> list[str]:
    """The texts of the feed's lines, in order, without headings and the page's own remarks."""
    found: list[str] = await within.locator(".line[data-seq] .line-text").all_text_contents()
    return found


async def scroll_through(within: Locator) -> list[tuple[int, str]]:
    """Every line of the feed that can be brought to the screen, from the first to the last, as (seq, text) in the
    order in which it was seen; a line that stands in the page twice is here twice."""
    (found,) = await scroll_by_parts(within, math.inf, 0)
    return found


async def scroll_by_parts(within: Locator, read: float, left_out: int) -> list[list[tuple[int, str]]]:
    """The same in parts: after so many screens are read, so many are left out, and the last ones are read."""
    asked = [None if math.isinf(read) else read, left_out]
    found: list[list[list[Any]]] = await within.locator(".feed-scroll").evaluate(_SCROLL_THROUGH, asked)
    return [[(seq, text) for seq, text in part] for part in found]


_SCROLL_THROUGH: Final = """async (scroller, [read, leftOut]) => {
  const frame = () => new Promise(requestAnimationFrame);
  const parts = [[]];
  let last = null; // the newest row that was taken down
  scroller.scrollTop = 0;
  for (let screens = 1; ; screens++) {
    const seen = parts.at(-1);
    await frame();
    await frame();
    const rows = [...scroller.querySelectorAll(".line[data-seq]")];
    for (const row of rows.slice(rows.indexOf(last) + 1)) {
      seen.push([Number(row.dataset.seq), row.querySelector(".line-text").textContent]);
      last = row;
    }
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    if (below <= 1) return parts;
    if (read && screens % read === 0 && below > (leftOut + read) * scroller.clientHeight) {
      scroller.scrollTop += leftOut * scroller.clientHeight;
      last = null;
      parts.push([]);
    } else scroller.scrollTop += scroller.clientHeight * 0.9;
  }
}"""


async def open_feed(page: Page, test_id: str) -> Locator:
    shown = card(page, test_id)
    await shown.get_by_role("button", name="Live Feed").click()
    return shown


async def opened(page: Page, url: str) -> None:
    """Goes there and waits until the socket delivers and the page is shown."""
    await page.goto(url)
    await _is_shown(page)


async def reloaded(page: Page) -> None:
    """Loads the page again and waits as `opened` does."""
    await page.reload()
    await _is_shown(page)


async def _is_shown(page: Page) -> None:
    """While a page hides what it loads, its texts are empty and nothing on it has a place."""
    await expect(connection_status(page)).to_have_text(re.compile(r"Live|All tests ended"))
    await expect(page.locator("main[data-loading]")).to_have_count(0)


async def complete(streams: Streams, test_id: str, score: int = 78) -> None:
    data = {"score": score, "metrics": {"rubric": RUBRIC}}
    await publish(streams, test_id, f"Test complete! Score {score}/100", "complete", phase="phase4", data=data)


async def end_all(edge_url: str, streams: Streams) -> None:
    """Ends what other tests have left on a shared edge: a page follows 64 runs at most by a stream, and polls more."""
    async with httpx.AsyncClient() as client:
        done: set[str] = set()

        async def ended() -> bool:
            left: list[str] = []
            for status in ("queued", "running"):
                listed = (await client.get(f"{edge_url}/rpc/listTests?status={status}&limit=100")).json()
                left += [run["testId"] for run in listed["tests"]]
            for test_id in set(left) - done:
                await complete(streams, test_id)
            done.update(left)  # the list follows
            return not left

        await until(ended, within_s=60, what="no test is left that runs")
