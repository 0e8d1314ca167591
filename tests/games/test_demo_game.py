"""The demo game: an agent has to like it, and to catch each of its bugs."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator

import pytest
from PIL import Image

from agent_worker.games.browser import Browser
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


async def test_a_sound_game_scores_well(server: GameServer, browser: Browser) -> None:
    run = await played(browser, f"{server.url}/index.html", budget_s=18)
    assert run.failure is None
    assert run.phases == [1, 2, 3, 4]
    assert run.score is not None and run.score >= 70
    assert run.part("stability")["score"] == 20
    assert run.part("visuals")["score"] == 15
    assert sum(part["score"] for part in run.metrics["rubric"]) == run.score
    assert run.metrics["bestScore"] is not None
    assert run.lines[-1] == f"Test complete! Score: {run.score}/100"
    assert run.doing("Testing arrow keys")
    assert 15 <= len(run.data) <= 120
    assert run.screenshots and all(len(each) <= 64 * 1024 for each in run.screenshots)
    assert Image.open(io.BytesIO(run.screenshots[-1])).size == (640, 360)


async def test_its_controls_are_found(server: GameServer, browser: Browser) -> None:
    run = await played_until(browser, f"{server.url}/index.html", lambda run: len(run.controls) >= 2)
    assert "Enter" not in run.controls  # which only starts a round


async def test_the_freeze_is_caught(server: GameServer, browser: Browser) -> None:
    run = await played(browser, f"{server.url}/index.html?bug=freeze", budget_s=20)
    assert run.metrics["freezes"] == 1
    assert "the game froze" in run.lines[-1]
    (freeze,) = run.of_kind("freeze")
    assert freeze["stillS"] >= 1.2
    assert any(line.startswith("The game froze: the picture has stood still for") for line in run.lines)
    assert run.score is not None and run.score <= 50
    assert run.part("stability")["score"] <= 5
    assert not run.metrics["incidents"].get("pageerror")
    assert run.seconds < 19  # there is no point in playing on


async def test_the_crash_is_caught(server: GameServer, browser: Browser) -> None:
    run = await played(browser, f"{server.url}/index.html?bug=crash", budget_s=18)
    assert run.metrics["incidents"]["pageerror"] >= 1
    errors = run.of_kind("pageerror")
    assert "reading 'ignite'" in errors[0]["detail"] and errors[0]["detail"].startswith("TypeError")
    assert "script error" in run.lines[-1]
    assert run.score is not None and run.score <= 55
    assert any("ignite" in reason for reason in run.part("stability")["reasons"])


async def test_the_blank_page_is_caught(server: GameServer, browser: Browser) -> None:
    run = await played(browser, f"{server.url}/index.html?bug=blank", budget_s=8)
    assert run.score is not None and run.score <= 15
    assert run.part("visuals") == {"part": "visuals", "score": 0, "max": 15, "reasons": ["the canvas stays empty"]}
    assert "nothing was ever painted" in run.lines[-1]
    assert run.of_kind("blank")
    assert run.phases == [1, 4]


async def test_two_runs_at_once_do_not_mix(server: GameServer, browser: Browser) -> None:
    sound, blank = await asyncio.gather(
        played(browser, f"{server.url}/index.html", budget_s=14),
        played(browser, f"{server.url}/index.html?bug=blank", budget_s=14),
    )
    assert browser.launches >= 2  # each has one of its own
    assert not sound.of_kind("blank") and blank.of_kind("blank")
    assert sound.score is not None and blank.score is not None and sound.score > 40 > blank.score
