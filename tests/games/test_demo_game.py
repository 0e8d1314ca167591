"""The demo game: an agent has to like it, and to catch each of its bugs."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator

import pytest
from PIL import Image

from agent_worker.games.chromium.browser import Browser
from tests.games.playing import GameServer, OnlyThese, game_server, played, played_until

pytestmark = pytest.mark.alone


@pytest.fixture
def server() -> Iterator[GameServer]:
    with game_server() as running:
        yield running


@pytest.fixture
async def browser(server: GameServer) -> AsyncIterator[Browser]:
    async with Browser(judge=OnlyThese(server.port)) as running:
        yield running


async def test_a_sound_game_loses_nothing(server: GameServer, browser: Browser) -> None:
    run = await played(browser, f"{server.url}/index.html", budget_s=18)
    assert run.failure is None
    assert run.phases == [1, 2, 3, 4]
    assert not run.metrics["findings"] and not run.metrics["seenOnce"], run.lines
    assert run.score == 100 and not run.metrics["lost"]
    assert not any(each.get("kind") for each in run.data), "a line with a kind is a problem of the game"
    assert sum(part["score"] for part in run.metrics["rubric"]) == run.score
    assert run.metrics["time"] == "owned"
    assert run.lines[-1].startswith("Test complete! Score: 100/100")
    assert len(run.data) <= 120
    assert run.screenshots and all(len(each) <= 64 * 1024 for each in run.screenshots)
    assert Image.open(io.BytesIO(run.screenshots[-1])).size == (640, 360)


@pytest.mark.long  # it has to play well first: about a minute
async def test_the_crash_is_caught(server: GameServer, browser: Browser) -> None:
    run = await played_until(
        browser, f"{server.url}/index.html?bug=crash", lambda run: bool(run.findings("error")), 120
    )
    (error,) = run.findings("error")
    assert "reading 'ignite'" in error["title"] and error["seen"] == [5, 5]
    assert error["inputs"] and "boost" in error["stack"]


async def test_the_blank_page_is_caught(server: GameServer, browser: Browser) -> None:
    run = await played(browser, f"{server.url}/index.html?bug=blank", budget_s=60)
    assert run.score is not None and run.score < 20
    assert [each["kind"] for each in run.metrics["findings"]] == ["blank"]
    assert run.part("visuals")["score"] == 0
    assert "Nothing is ever painted" in run.lines[-1]
    assert run.phases == [1, 4]


@pytest.mark.long
async def test_two_runs_at_once_do_not_mix(server: GameServer, browser: Browser) -> None:
    sound, blank = await asyncio.gather(
        played(browser, f"{server.url}/index.html", budget_s=20),
        played(browser, f"{server.url}/index.html?bug=blank", budget_s=20),
    )
    assert browser.launches >= 2  # each has one of its own
    assert not sound.of_kind("blank") and blank.of_kind("blank")
    assert sound.score is not None and blank.score is not None and sound.score > 40 > blank.score
