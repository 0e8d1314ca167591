"""The run's page as a recorder: whatever way one comes to a moment, picture, line, message and score are its own."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.browser.dashboard import LIVE, MAX_SHIFT, connection_status, reloaded, shift, without_hurry
from tests.browser.recorder import Told, drag, open_run, seen, shows, tell
from tests.browser.test_accessibility import LOOKS, audit_in
from tests.conftest import Stack
from tests.harness import EdgeProcess, publish, until
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all


async def test_scrub_during_a_run_and_after_it(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """Nothing moves under the reader, what comes is counted, and Live is now again."""
    told = await tell(stack_streams, 12)
    track = await open_run(page, stack.edge_url, told)
    live = page.locator(".recorder-live")
    await shows(page, 11, line=False)
    await expect(live).to_have_attribute("aria-pressed", "true")

    await drag(page, told, 9, 7, 4, 3)
    await shows(page, 3)
    await expect(track).to_have_attribute("aria-valuetext", "0:04 of 0:12, phase 2, step 3")
    await expect(page.locator(".meta .elapsed")).to_have_text("0:04")
    await expect(page.locator('.phase-name[data-step="current"]')).to_contain_text("Discover controls")
    await expect(page).to_have_url(re.compile(rf"#{told.seqs[3]}$"))
    for _ in range(12):
        await told.step(phase="phase3")
    await expect(live).to_have_text("Live12 new")
    await expect(page.locator(".feed-jump")).to_have_text("↓ 12 new")
    await shows(page, 3)
    await drag(page, told, 15)
    await shows(page, 15)
    await expect(page.locator('.phase-name[data-step="current"]')).to_contain_text("Explore gameplay")
    await page.keyboard.press("l")
    await shows(page, 23, line=False)
    await expect(live).to_have_text("Live")
    await told.step(phase="phase4")
    await shows(page, 24, line=False)

    await drag(page, told, 10)
    await told.end()
    await expect(page.locator(".badge")).to_have_text("completed")
    await shows(page, 10)
    await expect(page.locator(".not-yet:visible")).to_have_text("No score yet at 0:11")
    await expect(page.locator(".verdict .ring-number")).to_be_hidden()
    await live.click()
    await expect(page.locator(".verdict .ring-number")).to_have_text("78")
    await expect(page.locator(".verdict .ring-number")).to_be_visible()
    await expect(page.locator(".frame .message")).to_have_text("All done")
    assert await seen(page) == 24


async def test_an_address_of_a_moment(stack: Stack, stack_streams: Streams, tmp_path: Path, page: Page) -> None:
    """It shows the same after a reload and on another edge, leads back, and without one the verdict is seen first."""
    told = await tell(stack_streams, 10)
    other = await EdgeProcess(stack.nats_url, tmp_path, TESTCAST_EDGE_PROGRESS_INTERVAL_S="3600").start()
    await without_hurry(page)
    try:
        await holds_one_moment(page, other.url, told)
        await open_run(page, stack.edge_url, told)
        await expect(page.locator(".verdict .ring-number")).to_have_text("78")
        await expect(page.locator(".verdict .ring-number")).to_be_in_viewport()
        await until(lambda: _sees(page, 11), within_s=30)
        assert await shift(page) < MAX_SHIFT
        await page.locator(f'.line[data-seq="{told.seqs[6]}"] .line-text').click()
        await shows(page, 6)
        await page.locator(f'.line[data-seq="{told.seqs[2]}"] a').click()
        await shows(page, 2)
        await page.go_back()
        await shows(page, 6)
        await reloaded(page)
        await shows(page, 6)
        await expect(page.locator(".not-yet:visible")).to_have_text("No score yet at 0:07")
        await open_run(page, other.url, told, f"#{told.seqs[6]}")
        await shows(page, 6)
        await expect(page.locator(".recorder-fresh")).to_be_hidden()
        await page.keyboard.press("ArrowRight")
        await shows(page, 7)
    finally:
        await other.stop()


async def holds_one_moment(page: Page, url: str, told: Told) -> None:
    """An edge tells of progress that it holds back in its list at once: message, phase, time line wait for the feed."""
    await open_run(page, url, told)
    await shows(page, 9, line=False)
    await told.step(phase="phase3")  # sent at once
    await shows(page, 10, line=False)
    await told.step(phase="phase4")  # held back
    await until(lambda: _sees(page, 11), within_s=30)
    for method, pressed in (("pinTest", "true"), ("unpinTest", "false")):  # by then the list has told of the step too
        await page.request.post(f"{url}/rpc/{method}", data={"testId": told.test_id})
        await expect(page.get_by_role("button", name="Pin Star Hopper")).to_have_attribute("aria-pressed", pressed)
    await expect(page.locator(".line[data-seq] .line-text").last).to_have_text("step 10")
    await expect(page.locator(".frame .message")).to_have_text("step 10")
    await expect(page.locator(".track")).to_have_attribute("aria-valuetext", re.compile("phase 3, step 10$"))
    await expect(page.locator('.phase-name[data-step="current"]')).to_contain_text("Explore gameplay")
    await told.end()
    await expect(page.locator(".frame .message")).to_have_text("All done")
    await expect(page.locator(".line[data-seq] .line-text").last).to_contain_text("All done")


async def test_a_picture_between_two_events_has_an_address(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """And a click on the picture shows its line."""
    told = await tell(stack_streams, 3, problems=(1,))
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.edge_url)
    await open_run(page, stack.edge_url, told)
    await told.later_picture(40)
    await until(lambda: _sees(page, 40))
    await page.locator("button.picture").click()
    await shows_picture(page, 40, "step 2")
    address = re.compile(rf"#{told.seqs[2]}@\d+$")
    await expect(page).to_have_url(address)
    await page.get_by_role("button", name="Copy link").first.click()
    assert address.search(await page.evaluate("navigator.clipboard.readText()"))
    await page.get_by_role("button", name="1 problem").click()
    await shows(page, 1)
    await reloaded(page)
    await shows(page, 1)
    await page.go_back()
    await shows_picture(page, 40, "step 2")


async def shows_picture(page: Page, number: int, line: str) -> None:
    """A picture that no event has as its own: the line is the one before it."""
    await until(lambda: _sees(page, number), within_s=30)
    await expect(page.locator(".line[data-marked] .line-text")).to_have_text(line)


async def _sees(page: Page, number: int) -> bool:
    return await seen(page) == number


async def test_an_edge_is_killed_in_the_middle(
    stack: Stack, stack_streams: Streams, tmp_path: Path, page: Page
) -> None:
    """The moment stays, what came meanwhile is counted, and pictures come from the other edge."""
    first, second = [EdgeProcess(stack.nats_url, tmp_path) for _ in range(2)]
    await asyncio.gather(first.start(), second.start())
    told = await tell(stack_streams, 40)
    try:
        async with Proxy(first.port) as proxy:
            await open_run(page, proxy.url, told)
            await shows(page, 39, line=False)
            await drag(page, told, 20)
            await shows(page, 20)
            first.child.signal(signal.SIGKILL)
            await expect(connection_status(page)).to_have_text(re.compile("^(Reconnecting|Polling)"))
            await drag(page, told, 5)
            await expect(page.locator(".screen-empty")).to_have_text("This picture cannot be loaded now")
            await told.step(phase="phase3")
            proxy.lead_to(second.port)
            await shows(page, 5)
            await expect(page.locator(".recorder-live")).to_have_text("Live1 new")
            await expect(connection_status(page)).to_have_text(LIVE)
            await page.keyboard.press("l")
            await shows(page, 40, line=False)
    finally:
        await asyncio.gather(first.stop(), second.stop())


async def test_watched_by_polling(stack_streams: Streams, page: Page, proxy: Proxy) -> None:
    proxy.sockets = proxy.streams = "refuse"
    told = await tell(stack_streams, 8)
    await page.goto(f"{proxy.url}/tests/{told.test_id}")
    await expect(connection_status(page)).to_have_text("Polling every 3 s")
    await shows(page, 7, line=False)
    await drag(page, told, 2)
    await shows(page, 2)
    await told.step(phase="phase3")
    await expect(page.locator(".recorder-live")).to_have_text("Live1 new")
    await shows(page, 2)
    await page.keyboard.press("l")
    await shows(page, 8, line=False)


async def test_the_keyboard_alone_is_enough(stack: Stack, stack_streams: Streams, page: Page) -> None:
    told = await tell(stack_streams, 30, problems=(4, 17))
    track = await open_run(page, stack.edge_url, told)
    await shows(page, 29, line=False)
    press = page.keyboard.press
    for keys, number in (
        (("ArrowLeft",), 28),
        (("ArrowLeft", "ArrowLeft", "ArrowRight"), 27),
        (("Shift+ArrowLeft",), 17),
        (("Shift+ArrowLeft",), 4),
        (("Shift+ArrowLeft",), 4),
        (("Shift+ArrowRight",), 17),
    ):
        for key in keys:
            await press(key)
        await shows(page, number)
    await page.get_by_label("Search the feed").focus()
    await page.keyboard.type("l 1")
    await press("ArrowLeft")
    await page.get_by_label("Search the feed").fill("")
    await shows(page, 17)
    await track.focus()
    await press("Home")
    await expect(track).to_have_attribute("aria-valuetext", re.compile("^0:00 of .*Queued$"))
    await press("PageUp")
    await press("ArrowUp")
    await shows(page, 9)  # the run is queued, then runs, then come the steps
    await press("End")
    await shows(page, 29, line=False)
    await page.locator(".feed-scroll").focus()
    for key in ("Enter", "ArrowUp", "ArrowUp", "Enter"):
        await press(key)
    await shows(page, 27)
    await press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_contain_text("The moment before")
    await press("ArrowLeft")
    await press("Escape")
    await shows(page, 27)
    await press("l")
    await shows(page, 29, line=False)


async def test_it_plays(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """With the page's clock in our hands."""
    told = await tell(stack_streams, 30)
    await page.clock.install()
    await open_run(page, stack.edge_url, told)
    await shows(page, 29, line=False)
    await drag(page, told, 3)
    await shows(page, 3)
    await page.clock.pause_at(await page.evaluate("(Date.now() + 1000) / 1000"))  # in s, as Python counts
    await page.keyboard.press("Space")
    play = page.locator(".recorder-play")
    await page.clock.run_for(20)  # a frame
    await expect(play).to_have_attribute("aria-label", "Pause")
    await page.clock.run_for(3200)
    await shows(page, 6)
    await page.keyboard.press("4")
    await page.clock.run_for(2000)
    await shows(page, 14)
    await page.keyboard.press("Space")
    await page.clock.run_for(5000)
    await shows(page, 14)
    await expect(play).to_have_attribute("aria-label", "Play")
    await expect(page).to_have_url(re.compile(rf"#{told.seqs[14]}$"))
    await play.click()
    await page.clock.run_for(5000)
    await shows(page, 29, line=False)


async def test_a_late_picture_never_replaces_a_newer_wish(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """While the picture of a moment loads, the old one stays."""
    told = await tell(stack_streams, 30)
    held: dict[str, asyncio.Event] = {}
    asked: list[str] = []
    shown: list[int | None] = []

    async def hold(route: Route) -> None:
        asked.append(route.request.url)
        if route.request.url in held:
            await held[route.request.url].wait()
        await route.continue_()

    await open_run(page, stack.edge_url, told)
    await shows(page, 29, line=False)
    infos = (await (await page.request.get(f"{stack.edge_url}/rpc/getFrames?testId={told.test_id}")).json())["frames"]
    number = {step: row[0] for step, row in enumerate(infos)}
    address = {step: f"{stack.edge_url}/tests/{told.test_id}/frames/{number[step]}" for step in (10, 20)}
    await page.evaluate("document.querySelectorAll('.track-strip img').forEach((image) => image.remove())")
    held |= {url: asyncio.Event() for url in address.values()}
    await page.route(re.compile(r"/frames/\d+$"), hold)
    for step in (10, 20):
        await page.evaluate("(hash) => { location.hash = hash }", f"#{told.seqs[step]}")
        await until(partial(asked.__contains__, address[step]), within_s=30, what="the picture is asked for")
        shown.append(await seen(page))
    assert shown == [29, 29], "the old one stays"
    held[address[20]].set()
    await shows(page, 20)
    held[address[10]].set()
    await page.keyboard.press("ArrowRight")
    await shows(page, 21)
    await page.keyboard.press("ArrowLeft")
    await shows(page, 20)


async def test_a_foreign_agent_without_pictures(stack: Stack, stack_streams: Streams, page: Page) -> None:
    """The strip of its events, and no empty frame."""
    told = await tell(stack_streams, 10, pictures=False)
    track = await open_run(page, stack.edge_url, told)
    await expect(page.locator(".screen")).to_be_hidden()
    await expect(track.locator(".track-strip")).to_be_hidden()
    await drag(page, told, 4)
    await expect(page.locator(".line[data-marked] .line-text")).to_have_text("step 4")
    await expect(page.locator(".frame .message")).to_have_text("step 4")
    await expect(page.locator(".screen")).to_be_hidden()
    box = await page.locator(".frame").bounding_box()
    assert box is not None
    assert box["height"] < 60


async def test_early_pictures_have_gone(nats_server: EmbeddedServer, nats_edge: EdgeProcess, page: Page) -> None:
    """The stream of pictures has become too large for its broker, and the oldest have gone."""
    nats = await Connection.connect(nats_server.url, name="test")
    streams = Streams(nats)
    told = await tell(streams, 28)
    frames = f"STREAM.INFO.{subjects.FRAMES}"
    info = await streams.api(frames)
    limits = info["config"] | {"max_bytes": info["state"]["bytes"] * 9 // 16}
    await streams.api(f"STREAM.UPDATE.{subjects.FRAMES}", limits)
    first = (await streams.api(frames))["state"]["first_seq"] - 1
    assert 9 < first < 20
    await open_run(page, nats_edge.url, told)
    await shows(page, 27, line=False)
    await expect(page.locator(".recorder-note")).to_have_text("No earlier pictures of this run are kept.")
    await expect(page.locator(".track-gone")).to_be_visible()
    await drag(page, told, 1)
    await expect(page.locator(".screen-empty")).to_have_text("No picture of this moment is kept")
    await expect(page.locator(".frame .message")).to_have_text("step 1")
    await drag(page, told, first)
    await shows(page, first)
    bare = await tell(streams, 10, pictures=False)
    track = await open_run(page, nats_edge.url, bare)
    await expect(track.locator(".track-strip")).to_be_hidden()
    await expect(page.locator(".recorder-note")).to_be_hidden()  # it may have had pictures, and it may not
    await nats.close()


@pytest.mark.parametrize(("schemes", "width"), LOOKS)
async def test_without_violations(
    stack: Stack, stack_streams: Streams, page: Page, schemes: Sequence[str], width: int
) -> None:
    told = await tell(stack_streams, 12, problems=(4,))
    await publish(
        stack_streams, told.test_id, "Game over after 9 s", phase="phase3", timestamp=told.started_ms + 13_000
    )
    await page.set_viewport_size({"width": width, "height": 780})
    await open_run(page, stack.edge_url, told)
    await expect(page.locator(".track-marks span")).to_have_count(2)
    await until(lambda: _sees(page, 11), within_s=30)
    await audit_in(page, schemes)
    await page.keyboard.press("Shift+ArrowLeft")
    await shows(page, 4)
    await told.step(phase="phase4")
    await expect(page.locator(".recorder-fresh")).to_have_text("1 new")
    await audit_in(page, schemes)
    await fails(told)
    await expect(page.locator(".badge")).to_have_text("failed")
    await expect(page.locator(".not-yet:visible")).to_have_text("Not ended yet at 0:05")
    await shows(page, 4)
    await audit_in(page, schemes)


async def fails(told: Told) -> None:
    """The run ends without a verdict."""
    await publish(told.streams, told.test_id, "The game did not answer", "error", status="failed")
