"""The history of games and the comparison of two runs: by mouse, by the keyboard alone, and with axe-core."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import PIL.Image
import pytest
from playwright.async_api import Page, Route, expect

from broker import identity
from broker.clock import now_ms
from broker.jetstream.api import Streams
from tests.browser.dashboard import MAX_SHIFT, card, opened, shift, without_hurry
from tests.browser.test_accessibility import LOOKS, audit_in
from tests.conftest import Stack
from tests.harness import publish

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

MINUS: Final = "\N{MINUS SIGN}"
BEGAN_MS: Final = 60_000
"""How long ago the runs began, by the clock of their agent."""
PHASES_MS: Final = (0, 4_000, 14_000, 34_000)
ENDED_MS: Final = 36_000


async def played(
    streams: Streams, game: str, score: int | None, problems: tuple[str, ...] = (), controls: tuple[str, ...] = (),
    **labels: str,
) -> str:  # fmt: skip
    """A run of an agent, with the phases of `PHASES_MS`. Without a score it fails."""
    test_id, began = identity.new_test_id(), now_ms() - BEGAN_MS

    async def tell(after_ms: int, message: str, kind: str, **fields: Any) -> None:
        await publish(streams, test_id, message, kind, timestamp=began + after_ms, **fields)

    data = {"title": "Star Hopper", "gameUrl": game, "labels": labels}
    await tell(0, "Queued", "status", status="queued", data=data)
    for number, after_ms in enumerate(PHASES_MS, 1):
        await tell(after_ms, f"Phase {number} begins", "status", status="running", phase=f"phase{number}")
        for detail in problems if number == 3 else ():
            await tell(
                after_ms + 1000, f"Console error: {detail}", "progress", data={"kind": "console", "detail": detail}
            )
    listed = {
        "problems": [{"kind": "console", "detail": each} for each in problems],
        "controls": [{"control": each, "change": 0.1} for each in controls],
        "rubric": [{"part": "load", "score": 15, "max": 15, "reasons": []}],
    }
    if score is None:
        await tell(ENDED_MS, "The game did not answer", "error", status="failed")
    else:
        await tell(ENDED_MS, f"Score {score}", "complete", data={"score": score, "metrics": listed})
    return test_id


async def four_runs(streams: Streams, game: str) -> list[str]:
    """Oldest first: the second fails."""
    return [
        await played(streams, game, 60, ("a at 1", "b"), ("Space",), commit="one"),
        await played(streams, game, None, commit="two"),
        await played(streams, game, 70, ("a at 2",), ("Space", "click"), commit="three"),
        await played(streams, game, 80, ("c",), ("click",), commit="four"),
    ]


def history_of(stack: Stack, game: str) -> str:
    return f"{stack.edge_url}/games?url={quote(game, safe='')}"


async def test_from_the_games_to_the_comparison_of_two_runs(stack: Stack, stack_streams: Streams, page: Page) -> None:
    game = f"http://{identity.new_test_id()}.example/"
    ids = await four_runs(stack_streams, game)
    short = f"http://{identity.new_test_id()}.example/"
    only = await played(stack_streams, short, 1)
    await opened(page, f"{stack.edge_url}/games")
    await expect(page.locator(".game", has_text=short)).to_be_visible()
    await page.request.post(f"{stack.edge_url}/rpc/deleteTest", data={"testId": only})
    await expect(page.locator(".game", has_text=short)).to_have_count(0)
    row = page.locator(".game", has_text=game)
    await expect(row).to_contain_text("4 tests")
    await expect(row.locator(".game-score")).to_have_text("80")
    await row.get_by_role("link", name="Star Hopper").click()
    await expect(page.get_by_role("heading", name="Star Hopper")).to_be_visible()
    rows = page.locator(".past-runs tbody tr")
    await expect(rows).to_have_count(4)
    newest = page.locator(f'tr[data-test-id="{ids[3]}"]')
    await expect(newest.locator('td[data-name="Problems"]')).to_have_text(re.compile(rf"^1\+1{MINUS}1"))
    await expect(newest.locator('td[data-name="Controls"]')).to_have_text(re.compile(f"^1{MINUS}1"))
    await expect(page.locator(f'tr[data-test-id="{ids[2]}"] td[data-name="Problems"]')).to_have_text(
        re.compile(f"^1{MINUS}1")
    )
    await expect(page.locator(f'tr[data-test-id="{ids[1]}"] td[data-name="Problems"]')).to_have_text("not known")
    await expect(page.get_by_text("Not known: the agent")).to_be_visible()
    await expect(page.locator(".chart-box circle.chart-point")).to_have_count(3)
    await expect(page.locator(".chart-box path.chart-miss")).to_have_count(1)
    await expect(page.locator(".chart-date")).to_have_count(4)
    corner = rows.last.locator("td").first
    await expect(corner).to_have_css("border-bottom-left-radius", "7px")  # what is coloured stays within the border
    more = await played(stack_streams, game, 90, ("c",), ("click",), commit="five")  # while the page is open
    await expect(rows).to_have_count(5)
    await expect(page.get_by_text("5 tests", exact=True)).to_be_visible()
    compare = page.get_by_role("button", name="Compare")
    await expect(compare).to_be_disabled()
    for test_id in (more, ids[0], ids[3]):  # a third tick takes the first one away
        await page.locator(f'tr[data-test-id="{test_id}"] input').check()
    await expect(page.locator(".past-runs input:checked")).to_have_count(2)
    await compare.click()
    await page.wait_for_url(re.compile(rf"/compare\?a={ids[0]}&b={ids[3]}"))
    problems = page.get_by_role("region", name="Problems")
    await expect(problems).to_contain_text("New in B (1)")
    await expect(problems).to_contain_text("Gone in B (2)")
    await expect(page.get_by_role("region", name="Controls")).to_contain_text("Lost in B (1)")
    await expect(page.get_by_role("row", name=re.compile("^Score"))).to_contain_text("+20")


async def test_the_pictures_of_one_moment_and_its_address(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """One slider moves both runs, locked by phase; the address holds the moment; the runs can be swapped."""
    game = f"http://{identity.new_test_id()}.example/"
    first, _, _, last = await four_runs(stack_streams, game)

    async def list_of_pictures(route: Route) -> None:
        """Every second a picture, whose number is its second."""
        began = now_ms() - BEGAN_MS - 60_000
        frames = [[n, 0, began + 1000 * n, 500] for n in range(1, 121)]
        await route.fulfill(json={"frames": frames, "newest": 120, "more": False, "gone": False})

    await page.route("**/rpc/getFrames*", list_of_pictures)
    jpeg = io.BytesIO()
    PIL.Image.new("RGB", (16, 9), "teal").save(jpeg, "JPEG")
    picture = {"body": jpeg.getvalue(), "content_type": "image/jpeg"}
    await page.route("**/tests/*/frames/*", lambda route: route.fulfill(**picture))
    await without_hurry(page)
    await opened(page, f"{stack.edge_url}/compare?a={first}&b={last}#3.5")
    slider = page.get_by_role("slider", name="Moment of both runs")
    await expect(slider).to_have_attribute("aria-valuetext", "Phase 3, Explore gameplay, 50 %")
    sides = page.locator(".side")
    await expect(sides.nth(0).locator(".side-words")).to_contain_text("Console error: b")
    await expect(sides.nth(1).locator(".side-words")).to_contain_text("Console error: c")
    pictures = page.locator(".side .screen img")
    for n in (0, 1):
        await expect(pictures.nth(n)).to_be_visible()
        await expect(pictures.nth(n)).to_have_attribute("src", re.compile(rf"tests/{(first, last)[n]}/frames/\d+$"))
    assert await shift(page) < MAX_SHIFT
    before = await pictures.nth(0).get_attribute("src")
    await slider.focus()
    await page.keyboard.press("Home")
    await expect(slider).to_have_attribute("aria-valuetext", "Phase 1, Load and validate, 0 %")
    await expect(sides.nth(0).locator(".side-words")).to_contain_text("Phase 1 begins")
    await expect(pictures.nth(0)).not_to_have_attribute("src", str(before))
    for _ in range(10):
        await page.keyboard.press("PageUp")
    await page.keyboard.press("ArrowRight")
    await expect(slider).to_have_attribute("aria-valuetext", "Phase 2, Discover controls, 1 %")
    await expect(page).to_have_url(re.compile(r"#2\.01"))
    await page.get_by_role("button", name="Swap").click()
    await expect(page).to_have_url(re.compile(rf"a={last}&b={first}#2\.01"))
    await expect(sides.nth(0)).to_have_attribute("data-test-id", last)
    await expect(page.get_by_role("row", name=re.compile("^Score"))).to_contain_text(f"{MINUS}20")
    await page.reload()
    await expect(slider).to_have_attribute("aria-valuetext", "Phase 2, Discover controls, 1 %")
    await page.locator(".strip").nth(1).click(position={"x": 2, "y": 10})
    await expect(slider).to_have_attribute("aria-valuetext", re.compile("^Phase 1,"))


async def test_a_run_that_goes_on_is_compared_as_it_goes(stack: Stack, stack_streams: Streams, page: Page) -> None:
    game = f"http://{identity.new_test_id()}.example/"
    done = await played(stack_streams, game, 60, (), ("Space",))
    going = identity.new_test_id()
    data = {"title": "Now", "gameUrl": game}
    await publish(stack_streams, going, "Queued", "status", status="queued", data=data)
    await publish(stack_streams, going, "Loading", "status", status="running", phase="phase1")
    busy = {"error": {"code": "too_many_requests", "message": "Too many requests: try again in 1 s."}}
    await page.route("**/rpc/connectToTest*", lambda route: route.fulfill(status=429, json=busy), times=1)
    await opened(page, f"{stack.edge_url}/compare?a={done}&b={going}")
    words = page.locator(".side-words").nth(1)
    await expect(words).to_contain_text("Loading")
    await expect(page.get_by_role("region", name="Controls")).to_contain_text("Not known of run B.")
    failed = {"kind": "console", "detail": "boom"}
    await publish(stack_streams, going, "Console error: boom", phase="phase1", data=failed)
    await expect(page.get_by_role("region", name="Problems")).to_contain_text("New in B (1)")
    await page.request.post(f"{stack.edge_url}/rpc/deleteTest", data={"testId": done})
    await expect(page.get_by_role("alert").filter(has_text=f"Test {done[:8]} was deleted")).to_be_visible()
    done = await played(stack_streams, game, 60)
    for address in ("", f"?a={done}", f"?a={done}&b={done}", "?a=x&b=y", f"?a={done}&b={identity.new_test_id()}"):
        await page.goto(f"{stack.edge_url}/compare{address}")
        await expect(
            page.get_by_role("alert").filter(has_text=re.compile("must name two tests|there is no test"))
        ).to_be_visible()


async def test_labels_are_submitted_shown_and_found(stack: Stack, stack_streams: Streams, page: Page) -> None:
    value = identity.new_test_id()
    await opened(page, stack.edge_url)
    await page.get_by_text("Options", exact=True).click()
    await page.get_by_role("textbox", name="Labels").fill("commit")
    await page.get_by_label("Address of the game").fill("http://127.0.0.1:9/")
    await page.get_by_role("button", name="Test this game").click()
    await expect(page.locator("#form-error")).to_contain_text("name=value")
    await page.get_by_role("textbox", name="Labels").fill(f"commit={value}, branch=main")
    async with page.expect_response("**/rpc/submitTest") as answered:
        await page.get_by_role("button", name="Test this game").click()
    mine = (await (await answered.value).json())["testId"]
    await played(stack_streams, "http://game.example/", 5, commit=f"{value}0")  # begins like it, and is another
    await expect(page.get_by_role("link", name=f"commit={value}0", exact=True)).to_be_visible()
    await card(page, mine).get_by_role("link", name=f"commit={value}", exact=True).click()
    await page.wait_for_url(re.compile(rf"/games\?label=commit%3D{value}$"))
    await expect(page.locator(".past-runs tbody tr")).to_have_count(1)
    await expect(page.locator(f'.past-runs tr[data-test-id="{mine}"]')).to_be_visible()
    await page.request.post(f"{stack.edge_url}/rpc/cancelTest", data={"testId": mine})
    await opened(page, f"{stack.edge_url}/tests/{mine}")
    await expect(page.locator(".run-head .label")).to_have_text(["branch=main", f"commit={value}"])
    async with page.expect_request("**/rpc/submitTest") as asked:
        await page.get_by_role("button", name="Test again").click()
    sent: Any = (await asked.value).post_data_json
    assert sent["labels"] == {"branch": "main", "commit": value}
    await page.wait_for_url(re.compile("/tests/(?!" + mine + ")"))
    again = page.url
    await page.locator(".run-head").get_by_role("link", name=f"commit={value}").click()
    await expect(page.locator(".past-runs tbody tr")).to_have_count(2)
    for row in (again, mine):
        await page.request.post(f"{stack.edge_url}/rpc/cancelTest", data={"testId": row[-36:]})


@pytest.mark.parametrize(("schemes", "width"), LOOKS)
async def test_axe_and_the_keyboard(
    stack: Stack, stack_streams: Streams, page: Page, schemes: Sequence[str], width: int
) -> None:
    game = f"http://{identity.new_test_id()}.example/"
    ids = await four_runs(stack_streams, game)
    await page.set_viewport_size({"width": width, "height": 780})
    await opened(page, f"{stack.edge_url}/games")
    await expect(page.locator(".game", has_text=game)).to_be_visible()
    await audit_in(page, schemes)
    await opened(page, history_of(stack, game))
    await expect(page.locator(".past-runs tbody tr")).to_have_count(4)
    await page.locator('.chart a[tabindex="0"]').focus()
    await expect(page.locator(".chart-words")).to_contain_text("score 80 of 100, commit=four")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator(".chart-words")).to_contain_text("no score, failed, commit=two")
    await page.keyboard.press("Tab")  # "Compare" is not to be used yet
    for _ in range(2):
        await page.keyboard.press("Space")
        for _ in range(4):  # the run, its two... the next row
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.matches('.past-tick input')"):
                break
    await expect(page.locator(".past-runs input:checked")).to_have_count(2)
    await audit_in(page, schemes)
    await page.get_by_role("button", name="Compare").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(rf"b={ids[3]}"))
    await expect(page.get_by_role("slider")).to_be_visible()
    await expect(page.get_by_role("region", name="Problems")).to_be_visible()
    await audit_in(page, schemes)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut off"
