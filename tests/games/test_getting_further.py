"""Ways into games and to their controls that one look does not show: short rounds, one button, ends without a word."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent_worker.games import candidates
from agent_worker.games.browser import Browser
from agent_worker.games.starting import get_in
from tests.games import control_games
from tests.games.playing import OnlyThese, game_server
from tests.games.test_controls import Heard, House

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    with game_server() as server:
        async with Browser(judge=OnlyThese(server.port), ahead=False) as browser, browser.pages() as pages:
            yield House(pages, server)


@pytest.mark.long
async def test_a_game_of_one_button_and_a_key_that_follows_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "RARER", ())  # all keys take a minute
    monkeypatch.setattr(candidates, "USUAL", ("ArrowLeft", "ArrowDown", "Space", "Enter"))
    situations, controls, _ = await house.searched(control_games.RUNNER)
    assert [action.name for action in situations.begun_by] == ["P"]
    assert {name: each.situations for name, each in controls.found.items()} == {
        "Space": ["playing"],
        "ArrowDown": ["playing"],
        "P": ["title"],
    }


async def test_a_round_that_lasts_for_less_than_a_second(house: House) -> None:
    situations = await get_in(house.stage(control_games.BRIEF), Heard(), math.inf)
    playing = situations.playing[0]
    assert "again" not in situations.states[playing].words and playing.calm <= 45
    assert situations.over is not None and "(P)lay again" in situations.states[situations.over].words
    assert situations.restarted_by is not None and situations.restarted_by.name == "P"


async def test_an_end_that_no_word_tells(house: House) -> None:
    situations = await get_in(house.stage(control_games.STOPS), Heard(), math.inf)
    assert situations.over is not None and 300 <= situations.over.frame <= 420
    assert situations.restarted_by is not None and situations.restarted_by.name == "Enter"


@pytest.mark.long
async def test_a_hand_over_the_canvas_says_where_to_drag(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "RARER", ())
    monkeypatch.setattr(candidates, "USUAL", ("ArrowLeft",))
    _, controls, _ = await house.searched(control_games.SPRITE)
    assert {"drag left", "drag right"} <= controls.found.keys()
    assert "click" not in controls.found
