"""An exported run in Chromium, opened from the disk with the network off; and the menu that exports it."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image, ImageSequence
from playwright.async_api import Browser, Page, Route, expect

from broker.export.assets import assets
from broker.export.page import html_pieces
from broker.export.source import WHOLE, Stretch
from broker.jetstream.api import Streams
from broker.jetstream.run_source import open_run
from tests.browser.test_accessibility import audit
from tests.conftest import Stack
from tests.exporting import COLOURS, Story, told
from tests.harness import event_log, until

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

COLOUR: Final = """() => {
  const picture = document.querySelector(".run .frame img");
  if (!picture?.complete || !picture.naturalWidth) return null;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""
"""The colour of the picture that is shown."""

SIZES: Final = {"WebP": (640, 360), "GIF": (480, 270)}


async def exported(streams: Streams, story: Story, to: Path, stretch: Stretch = WHOLE) -> str:
    """Writes the run into a file, as the command and the edge do. Returns the file's address."""
    source = await open_run(event_log(streams), streams, story.test_id, stretch)
    write(to, b"".join([piece async for piece in html_pieces(source, assets())]))
    return to.as_uri()


def write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


class Offline:
    """A page without a network, and what it tried all the same."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.console: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(str(error)))

    def check(self, address: str) -> None:
        """Nothing was asked for but the file, and nothing went wrong."""
        asked = {url.partition("#")[0] for url in self.requests if not url.startswith("data:")}
        assert asked == {address}
        assert self.console == []


@asynccontextmanager
async def offline(browser: Browser, **options: Any) -> AsyncIterator[Offline]:
    """A context whose network is off, and whose requests over one would be refused besides."""
    size: Any = {"width": 1280, "height": 900}
    context = await browser.new_context(reduced_motion="reduce", **({"viewport": size} | options))
    try:
        context.set_default_timeout(60_000)
        await context.set_offline(True)
        await context.route(re.compile("^(?!file:|data:)"), _abort)
        yield Offline(await context.new_page())
    finally:
        await context.close()


async def _abort(route: Route) -> None:
    await route.abort()


async def shows_colour(page: Page, colour: tuple[int, int, int]) -> None:
    async def shown() -> bool:
        found = await page.evaluate(COLOUR)
        return found is not None and all(abs(a - b) <= 12 for a, b in zip(found, colour, strict=True))

    await until(shown, within_s=60, what=f"a picture of {colour}")


async def test_every_moment_is_as_it_was_published(browser: Browser, stack_streams: Streams, tmp_path: Path) -> None:
    story = await told(stack_streams)
    address = await exported(stack_streams, story, tmp_path / "run.html")
    async with offline(browser) as shown:
        page = shown.page
        for index, moment in enumerate(story.moments):
            await page.goto("about:blank")
            await page.goto(f"{address}#{moment.seq}")
            await expect(page.locator(".frame .message")).to_have_text(moment.message.replace("\u2028", " "))
            await expect(page.locator(f'.line[data-seq="{moment.seq}"]')).to_be_visible()
            await expect(page.get_by_text(re.compile("^No score yet"))).to_be_visible()
            await shows_colour(page, COLOURS[index])
        await page.reload()
        await shows_colour(page, COLOURS[len(story.moments) - 1])
        await page.get_by_role("button", name=re.compile("^(Live|End)")).click()
        await expect(page.locator(".ring")).to_contain_text("61")
        await expect(page).to_have_title(re.compile("^Star Hopper · (.* · )?testcast$"))
        shown.requests = [url for url in shown.requests if url != "about:blank"]
        shown.check(address)


async def test_keyboard_search_and_the_menu_work_from_the_file(
    browser: Browser, stack_streams: Streams, tmp_path: Path
) -> None:
    story = await told(stack_streams)
    address = await exported(stack_streams, story, tmp_path / "run.html")
    async with offline(browser, accept_downloads=True) as shown:
        page = shown.page
        await page.goto(address)
        await shows_colour(page, COLOURS[len(story.moments) - 1])
        await page.keyboard.press("/")
        await page.keyboard.type("Step 2")
        await expect(page.locator(f'.line[data-seq="{story.moments[2].seq}"]')).to_be_visible()
        await expect(page.locator(f'.line[data-seq="{story.moments[0].seq}"]')).to_have_count(0)
        await page.keyboard.press("Escape")
        menu = page.get_by_role("button", name="Export")
        await menu.focus()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Export this test")
        await expect(dialog.get_by_role("link")).to_have_count(0)  # a file has no edge
        await dialog.get_by_label("From event").fill(str(story.moments[1].seq))
        await dialog.get_by_label("To event").fill(str(story.moments[3].seq))
        await expect(dialog).to_contain_text("4 pictures")  # also the one that was shown when it began
        for name in ("WebP", "GIF"):
            async with page.expect_download() as download:
                await dialog.get_by_role("button", name=name).click()
            assert (await download.value).suggested_filename == f"testcast-{story.test_id[:8]}.{name.lower()}"
            made = (await (await download.value).path()).read_bytes()
            with Image.open(io.BytesIO(made)) as animation:
                times = []
                for each, colour in zip(ImageSequence.Iterator(animation), COLOURS, strict=False):
                    found: Any = each.convert("RGB").getpixel((each.width // 2, each.height // 2))
                    assert all(abs(a - b) <= 12 for a, b in zip(found, colour, strict=True)), name
                    times.append(each.info["duration"])
                assert (animation.format, animation.size) == (name.upper(), SIZES[name])
            assert times == [20, 1000, 1000, 1000]
        await dialog.get_by_label("To event").fill("1")
        await expect(dialog.get_by_role("alert")).to_contain_text("before the last")
        shown.requests = [url for url in shown.requests if not url.startswith("blob:")]
        shown.check(address)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
async def test_a_file_breaks_no_rule_of_accessibility(
    browser: Browser, stack_streams: Streams, tmp_path: Path, scheme: Any, width: int
) -> None:
    story = await told(stack_streams, ended=False)
    stretch = Stretch(story.moments[1].seq, story.moments[3].seq)
    address = await exported(stack_streams, story, tmp_path / "run.html", stretch)
    async with offline(browser, color_scheme=scheme, viewport={"width": width, "height": 780}) as shown:
        page = shown.page
        await page.goto(address)
        await shows_colour(page, COLOURS[3])
        await expect(page.get_by_text("The run had not ended when this file was made.")).to_be_visible()
        await expect(page.get_by_text(f"events {stretch.first} to {stretch.last}")).to_be_visible()
        await audit(page)
        await page.get_by_role("button", name="Export").click()
        await audit(page)
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0
        shown.check(address)


async def test_a_file_that_was_cut_off_says_so(browser: Browser, stack_streams: Streams, tmp_path: Path) -> None:
    story = await told(stack_streams)
    file = tmp_path / "run.html"
    address = await exported(stack_streams, story, file)
    file.write_bytes(file.read_bytes()[:-200])
    async with offline(browser) as shown:
        await shown.page.goto(address)
        await expect(shown.page.locator("main")).to_contain_text("cut off: export the run again")
        shown.check(address)


async def test_the_pages_menu_leads_to_the_edges_files(stack: Stack, stack_streams: Streams, page: Page) -> None:
    story = await told(stack_streams)
    await page.goto(f"{stack.edge_url}/tests/{story.test_id}#{story.moments[2].seq}")
    await expect(page.locator(f'.line[data-seq="{story.moments[2].seq}"]')).to_be_visible()
    await page.get_by_role("button", name="Export").click()
    dialog = page.get_by_role("dialog", name="Export this test")
    await dialog.get_by_role("button", name="To here").click()
    await expect(dialog.get_by_label("To event")).to_have_value(str(story.moments[2].seq))
    for name, ending, words in (("HTML", "html", "Star Hopper"), ("JUnit", "xml", "<testsuites")):
        async with page.expect_download() as download:
            await dialog.get_by_role("link", name=name).click()
        done = await download.value
        assert done.suggested_filename == f"testcast-star-hopper-{story.test_id[:8]}.{ending}"
        assert words in (await done.path()).read_text()
    await audit(page)
