"""Every kind of gesture reaches a page, as the events that a game would listen for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest
import pytest_asyncio

from agent_worker.games.actions import Action, environment, wheel
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.pages import Pages, Wanted
from agent_worker.games.screen import Screen
from tests.games.playing import OnlyThese, game_server
from tests.harness import until

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

NOTES = """<meta name=viewport content="width=device-width">
<body style="margin:0;height:720px;touch-action:none"><script>
  const seen = [], types = ["keydown", "keyup", "pointerdown", "mousedown", "mouseup", "click", "dblclick",
    "contextmenu", "wheel", "touchstart", "touchmove", "touchend", "blur", "focus", "resize", "online", "offline"];
  for (const type of types) addEventListener(type, (event) => seen.push(event.type));
  document.addEventListener("visibilitychange", () => seen.push(document.visibilityState));
  addEventListener("contextmenu", (event) => event.preventDefault());
</script>"""
SWIPE = Action("swipe", "swipe", x=0.5, y=0.5, to_x=0.7, to_y=0.6)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[tuple[Pages, str]]:
    with game_server() as server:
        async with Browser(judge=OnlyThese(server.port), ahead=False) as browser, browser.pages() as pages:
            yield pages, server.page("/", NOTES)


@pytest.mark.parametrize(
    ("touch", "gestures"),
    [
        (
            False,
            [
                (Action("a", "keys", ("a",)), ["keydown"], ["keyup"]),
                (Action("click", "click"), ["pointerdown", "mousedown"], ["mouseup", "click"]),
                (Action("right", "rightclick"), ["pointerdown", "mousedown", "contextmenu"], ["mouseup"]),
                (
                    Action("double", "doubleclick"),
                    ["pointerdown", "mousedown", "mouseup", "click", "pointerdown", "mousedown"],
                    ["mouseup", "click", "dblclick"],
                ),
                (wheel(0.5, 0.5, 0.2), ["wheel"], []),
                (SWIPE, ["pointerdown", "mousedown"], ["mouseup", "click"]),
                (environment("hide"), ["hidden"], []),
                (environment("show"), ["visible"], []),
                (environment("blur"), ["blur"], []),
                (environment("focus"), ["focus"], []),
                (environment("offline"), ["offline"], []),
                (environment("online"), ["online"], []),
                (environment("resize"), ["resize"], ["resize"]),
            ],
        ),
        (
            True,
            [
                (Action("tap", "tap"), ["pointerdown", "touchstart"], ["touchend", "mousedown", "mouseup", "click"]),
                (
                    Action("click", "click", x=0.2),
                    ["pointerdown", "touchstart"],
                    ["touchend", "mousedown", "mouseup", "click"],
                ),
                (SWIPE, ["pointerdown", "touchstart", "touchmove"], ["touchend"]),
                (replace(SWIPE, kind="drag"), ["pointerdown", "touchstart", "touchmove"], ["touchend"]),
            ],
        ),
    ],
)
async def test_a_gesture_begins_and_ends(
    opened: tuple[Pages, str], touch: bool, gestures: list[tuple[Action, list[str], list[str]]]
) -> None:
    pages, url = opened
    page = await pages.fresh(Wanted(screen=Screen(touch, portrait=touch)))
    await page.open(url, 20)
    await page.ask("void (seen.length = 0)", "forgetting")
    assert await page.ask("[innerWidth, innerHeight]", "looking") == ([412, 732] if touch else [1280, 720])

    async def heard(wanted: list[str]) -> list[str]:
        """All that the page heard, once as much has come as is wanted; moves of a finger in a row count once."""
        all_of_it: list[str] = []

        async def enough() -> bool:
            all_of_it[:] = await page.ask("seen.filter((e, n) => e != 'touchmove' || e != seen[n - 1])", "listening")
            return len(all_of_it) >= len(wanted)

        with suppress(AssertionError):  # which would not say what came instead
            await until(enough, within_s=20)
        return all_of_it

    wanted: list[str] = []
    for action, begins, ends in gestures:
        await page.begin(action)
        wanted += begins
        assert await heard(wanted) == wanted, action
        await page.end(action)
        wanted += ends
        assert await heard(wanted) == wanted, action


async def test_dialogs_are_answered(opened: tuple[Pages, str]) -> None:
    pages, url = opened
    page = await pages.fresh()
    await page.open(url, 20)
    assert await page.ask("[alert('hello'), confirm('sure?'), prompt('Your name?', 'x')]", "asking") == [
        None,
        True,
        "Player",
    ]
    assert [each.detail for each in page.incidents()] == ["alert: hello", "confirm: sure?", "prompt: Your name?"]
