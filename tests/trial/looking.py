"""A look at a game without the agent: whether it runs, and whether a bug is really in it.

Plays a fixed round of the game's documented gestures in real time, in a Chromium of its own, and tells what a person
would look at: errors, what was not found, frames, memory, and pictures.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from playwright.async_api import Page, async_playwright

from agent_worker.games.chromium.browser import find_chromium
from tests.trial.catalogue import Game
from tests.trial.served import serving, site

GESTURES: Final = 24
"""In one look."""
HOLD_S: Final = 0.08
HUNG_S: Final = 60
"""From when on a round that has not ended means that the page hangs; it takes 10 s on a machine with nothing to do."""
PAUSE_S: Final = 0.15
VIEWPORT: Final = (1280, 720)
_PLACES: Final = ((640, 300), (640, 420), (300, 400), (900, 250), (640, 470))
"""Where clicks and drags begin, in pixels."""


@dataclass
class Look:
    """What was seen of one game with one bug."""

    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    frames: int = 0
    """Animation frames that the game asked for in the last second."""
    heard: dict[str, int] = field(default_factory=dict)
    """How often a key came to the document's listeners."""
    changed: bool = False
    """Whether the picture changed in the last second."""
    hung: bool = False
    """The page did not answer."""
    heap_kb: list[float] = field(default_factory=list)
    """After a collection: at the start and at the end."""


def _note(into: list[str], really: bool, what: str) -> None:
    if really:
        into.append(what)


async def look(game: Game, kind: str, cache: Path, pictures: Path | None = None) -> Look:
    """Plays the fixed round; pictures of start and end are written to `pictures` if given."""
    seen = Look()
    with serving(site(game, kind, cache)) as url:
        async with async_playwright() as driver:
            browser = await driver.chromium.launch(
                executable_path=find_chromium(None), args=["--no-sandbox", "--enable-precise-memory-info"]
            )
            page = await browser.new_page(viewport={"width": VIEWPORT[0], "height": VIEWPORT[1]})
            page.on("pageerror", lambda error: seen.errors.append(str(error).partition("\n")[0]))
            page.on("response", lambda answer: _note(seen.missing, answer.status >= 400, answer.url))
            page.on("requestfailed", lambda request: seen.missing.append(f"{request.url}: {request.failure}"))
            await page.add_init_script(_COUNTING)
            await page.goto(url)
            await asyncio.sleep(1.5)
            try:
                async with asyncio.timeout(HUNG_S):
                    await _round(page, game, seen, pictures and pictures / f"{game.name}-{kind}")
            except TimeoutError:
                seen.hung = True
            await browser.close()
    return seen


_COUNTING: Final = """
{ const real = window.requestAnimationFrame.bind(window); let asked = 0; const heard = {};
  window.requestAnimationFrame = (call) => real((time) => { asked += 1; call(time); });
  document.addEventListener('keydown', (event) => { heard[event.key] = (heard[event.key] ?? 0) + 1; });
  Object.defineProperty(window, '__look', { value: { asked: () => asked, heard } }); }
"""


async def _round(page: Page, game: Game, seen: Look, picture: Path | None) -> None:
    session = await page.context.new_cdp_session(page)

    async def heap() -> float:
        await session.send("HeapProfiler.collectGarbage")
        return float(await page.evaluate("performance.memory.usedJSHeapSize / 1024"))

    if picture:
        await page.screenshot(path=picture.with_suffix(".0.png"))
    seen.heap_kb.append(await heap())
    gestures = [control.gestures[0] for control in game.controls if control.counts]
    for number, gesture in enumerate(itertools.islice(itertools.cycle(gestures), GESTURES)):
        await _gesture(page, gesture, number)
        if picture and number == GESTURES // 3:
            await page.screenshot(path=picture.with_suffix(".1.png"))
    before, asked = await page.screenshot(), await page.evaluate("__look.asked()")
    await asyncio.sleep(1)
    seen.frames = await page.evaluate("__look.asked()") - asked
    for number, gesture in enumerate(gestures):
        await _gesture(page, gesture, number)
    seen.changed = await page.screenshot() != before
    seen.heap_kb.append(await heap())
    seen.heard = await page.evaluate("__look.heard")
    if picture:
        await page.screenshot(path=picture.with_suffix(".2.png"))


async def _gesture(page: Page, gesture: str, number: int) -> None:
    x, y = _PLACES[number % len(_PLACES)]
    if gesture.startswith(("click", "drag", "wheel")):
        await page.mouse.move(x, y)
        await page.mouse.down()
        if gesture.startswith("drag"):
            await page.mouse.move(x + 150, y + 60, steps=4)
        await asyncio.sleep(HOLD_S)
        await page.mouse.up()
    else:
        key = gesture.strip("*+") if len(gesture) > 1 else gesture.lower()
        await page.keyboard.down(key)
        await asyncio.sleep(HOLD_S)
        await page.keyboard.up(key)
    await asyncio.sleep(PAUSE_S)
