"""The report of a run on its page and in an exported file: findings, controls, lost points, how it was tested."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from broker.jetstream.api import Streams
from tests.browser.conftest import Console
from tests.browser.dashboard import MAX_SHIFT, opened, shift, without_hurry
from tests.browser.test_accessibility import audit, audit_in
from tests.browser.test_exported_file import exported, offline
from tests.conftest import Stack
from tests.exporting import HOSTILE, Story
from tests.reporting import CONTROLS, DEAD, ERROR, FREEZE, METRICS, ONCE, STACK, Reported, begun, reported, told

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

ODD: Final[list[Any]] = [
    None,
    -1,
    1e300,
    "x" * 200,
    HOSTILE,
    [],
    {},
    [{"toString": 1}],
    {"toString": 1, "valueOf": 1},
    {"__proto__": {"x": 1}},
]
BROKEN: Final = """() => [...document.images].filter((each) => each.complete && !each.naturalWidth).length"""


def finding(page: Page | Locator, title: str) -> Locator:
    return page.locator("details.finding", has_text=title)


async def has_evidence(card: Locator) -> None:
    """The picture of a card is there, both of its halves named."""
    picture = card.locator(".evidence")
    await expect(picture).to_be_visible()
    await picture.scroll_into_view_if_needed()
    await expect(picture.locator(".evidence-names")).to_have_text("beforeafter")


async def shows_the_report(page: Page, run: Reported) -> None:
    """What stands on a run's page and in its file alike."""
    titles = page.locator("section.findings").first.get_by_role("heading", level=3)
    await expect(titles).to_have_text([FREEZE["title"], ERROR["title"], DEAD["title"]])
    worst = finding(page, FREEZE["title"])
    await expect(worst).to_have_attribute("open", "")
    await has_evidence(worst)
    await expect(worst.locator(".gestures li")).to_have_text(
        [
            "Space0.10 s",
            "↑ArrowUp+←ArrowLeft0.50 s, held 2.83 s",
            "click at 50 %, 40 %3.47 s",
            "it showsby 4.57 s",
        ]
    )
    await expect(worst.locator("code")).to_have_text(f"testcast reproduce {run.test_id} f1")
    await expect(page.locator(".findings-once")).to_contain_text(ONCE["title"])
    controls = page.locator("li.control")
    await expect(controls).to_have_count(len(CONTROLS))
    await expect(controls.first).to_contain_text("4 of 4 times in title, playing1.2 % of the picture changed")
    await expect(controls.first.locator(".promised")).to_be_visible()
    await expect(page.locator(".how")).to_contain_text("68 %, 34 of 50 KB")
    await expect(page.locator(".how")).to_contain_text("Not found outwhether it sounds right")
    await expect(page.locator(".lost li")).to_have_count(4)
    assert await page.evaluate(BROKEN) == 0


async def test_what_comes_while_the_page_loads_pushes_nothing_away(
    stack: Stack, stack_streams: Streams, page: Page
) -> None:
    """The foot is shown with the rest, though it stands below what is hidden and grows."""
    run = await reported(stack_streams)
    come = asyncio.Event()

    async def late(route: Route) -> None:
        await come.wait()
        await route.continue_()

    await page.route("**/rpc/getFrames*", late)
    await without_hurry(page)
    await page.goto(f"{stack.edge_url}/tests/{run.test_id}")
    await expect(page.locator("li.control")).to_have_count(len(CONTROLS))
    for hidden in ("main", ".foot"):
        await expect(page.locator(hidden)).to_have_css("visibility", "hidden")
    come.set()
    for shown in ("main", ".foot"):
        await expect(page.locator(shown)).to_have_css("visibility", "visible")
    assert await shift(page) < MAX_SHIFT


async def test_a_game_developer_sees_the_worst_first_and_how_to_see_it_again(
    stack: Stack, stack_streams: Streams, page: Page, console: Console
) -> None:
    run = await reported(stack_streams)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.edge_url)
    await without_hurry(page)
    await opened(page, f"{stack.edge_url}/tests/{run.test_id}")
    await shows_the_report(page, run)
    assert await shift(page) < MAX_SHIFT, "the report is there when the page is shown"
    await expect(page.locator(".metrics")).not_to_contain_text("inputs")
    await expect(page.locator(".problems")).to_be_hidden()
    await expect(page.locator(".verdict .rubric-reason").first).to_be_hidden()
    await page.get_by_role("button", name="What each part was given for").click()
    await expect(page.locator(".verdict .rubric-reason").first).to_be_visible()

    await finding(page, FREEZE["title"]).get_by_role("button", name="Copy").click()
    await expect(page.locator("#announcer")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == f"testcast reproduce {run.test_id} f1"

    await page.locator(".lost").get_by_role("button", name=ERROR["title"]).click()
    error = finding(page, ERROR["title"])
    await expect(error.locator("summary").first).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(error.locator(".evidence")).to_be_focused()
    await error.get_by_text("Stack", exact=True).click()
    await expect(error.locator("pre")).to_have_text(STACK)
    await error.locator(".evidence").click()
    await expect(page.locator(".frame .screen")).to_have_attribute("data-number", str(run.numbers["f2"]))
    await expect(page.locator(".frame .screen")).to_be_in_viewport(ratio=0.9)
    await expect(page.locator(".frame .message")).to_have_text(ERROR["title"])
    await expect(page).to_have_url(re.compile(rf"#{run.seqs['f2']}\b"))

    await audit_in(page, ("light", "dark"))
    await page.set_viewport_size({"width": 390, "height": 844})
    await audit(page, "narrow")
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    assert console.count("could not be shown") == 0


async def test_a_run_that_goes_on_reports_what_it_has_found_below_its_picture(
    stack: Stack, stack_streams: Streams, page: Page
) -> None:
    run = await begun(stack_streams, "Goes on")
    await opened(page, f"{stack.edge_url}/tests/{run.test_id}")
    await expect(page.locator("li.control")).to_have_count(2)
    await expect(page.locator("section.findings").first).to_be_hidden()
    await run.find(FREEZE)
    worst = finding(page, FREEZE["title"])
    await expect(worst.locator(".evidence")).to_have_count(1)
    await expect(worst).not_to_have_attribute("open", "")
    before = "(picture, report) => picture.compareDocumentPosition(report) & Node.DOCUMENT_POSITION_PRECEDING"
    frame = await page.locator(".frame").element_handle()
    assert not await page.evaluate(f"([a, b]) => ({before})(a, b)", [frame, await worst.element_handle()])
    await run.say("It dropped frames", data=told(ONCE))
    await expect(page.locator(".findings-once")).to_contain_text(ONCE["title"])
    await run.end(87, {**METRICS, "findings": [FREEZE], "seenOnce": []})
    await expect(worst).to_have_attribute("open", "")
    await has_evidence(worst)
    assert await page.evaluate(f"([a, b]) => ({before})(a, b)", [frame, await worst.element_handle()])


async def test_the_file_of_a_run_has_the_report(browser: Browser, stack_streams: Streams, tmp_path: Path) -> None:
    run = await reported(stack_streams)
    address = await exported(stack_streams, Story(run.test_id, [], 0), tmp_path / "run.html")
    async with offline(browser) as shown:
        await shown.page.goto(address)
        await shows_the_report(shown.page, run)
        border = await shown.page.locator(".severity").first.evaluate("e => getComputedStyle(e).borderRadius")
        assert border == "4px", "with its style"
        shown.check(address)


async def test_no_value_of_a_foreign_agent_breaks_the_report(
    stack: Stack, stack_streams: Streams, page: Page, console: Console
) -> None:
    """Nor is anything that it says markup. A run of an agent without a report is shown as before."""
    run = await begun(stack_streams, "Odd")
    for odd in ODD:
        await run.say("Odd", data={"kind": "finding", "finding": odd, "control": odd, "seen": odd})
        await run.say("Odd", data=told({**ERROR, "id": odd, "inputs": [odd, {"at": 1, "kind": odd, "keys": odd}]}))
    strange = [{**FREEZE, name: odd} for name in ("title", "seen", "atMs", "inputs", "severity") for odd in ODD]
    metrics = {
        **METRICS,
        "findings": [*ODD, *strange],
        "seenOnce": ODD,
        "lost": [*ODD, {"points": 1e300, "why": HOSTILE}],
    }
    await run.end(50, metrics | {"controls": [*ODD, *CONTROLS], "coverage": HOSTILE, "uncontrolled": [*ODD, HOSTILE]})
    await opened(page, f"{stack.edge_url}/tests/{run.test_id}")
    await expect(page.locator(".verdict .ring-number")).to_have_text("50")
    await expect(page.locator("details.finding").first).to_be_visible()
    await expect(page.locator("li.control")).to_have_count(len(CONTROLS))
    await expect(page).to_have_title(re.compile("Odd"))
    assert console.count("could not be shown") == 0
    old = await begun(stack_streams, "Old")
    rubric = [{"part": "controls", "score": 6, "max": 20, "reasons": ["two of nine gestures work"]}]
    await old.end(6, {"rubric": rubric, "controls": [{"control": "Space", "change": 0.2}], "problems": []})
    await opened(page, f"{stack.edge_url}/tests/{old.test_id}")
    await expect(page.locator(".verdict .rubric-reason")).to_be_visible()
    row = page.locator(".metrics tr", has_text="part of the picture that each changes")
    await expect(row.locator("td")).to_have_text("Space 20 %")
    await expect(page.locator(":is(.findings, .how, .lost):visible")).to_have_count(0)
