"""A model in the seat of a whole search, on a real game and a real endpoint; and one that is gone."""

from __future__ import annotations

import asyncio
import base64
import io
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from agent_worker.games.browser import Browser, Pages
from agent_worker.games.episodes import Explored
from agent_worker.games.handle import GameJob
from agent_worker.games.model.endpoint import Endpoint
from agent_worker.games.model.policy import ModelPolicy, Seat
from agent_worker.games.model.settings import ModelSettings
from agent_worker.games.search import explore
from agent_worker.games.seat import Seeded
from agent_worker.games.stage import Stage
from tests.games.playing import OnlyThese, Written, game_server
from tests.model_server import ModelServer, completion, model_server

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[tuple[Pages, str]]:
    with game_server() as server:
        async with Browser(judge=OnlyThese(server.port), ahead=False) as browser, browser.pages() as pages:
            yield pages, f"{server.url}/index.html"


async def searched(opened: tuple[Pages, str], endpoint: Endpoint) -> tuple[Explored, Written, Seat]:
    pages, url = opened
    loop, run = asyncio.get_running_loop(), Written()
    job = GameJob("00000000-0000-4000-8000-000000000000", url, 300.0, 7)
    stage = Stage(pages, job, deadline=loop.time() + 300)
    # The clock stands: how busy the machine is does not decide how often the model is asked.
    seat = Seat(ModelPolicy(endpoint), Seeded(random.Random(7)), run.progress, lambda: 0.0)
    explored = await explore(stage, (), (), 7, run.progress, seat, loop.time() + 300, frames=150, most=2)
    return explored, run, seat


def as_a_player(server: ModelServer) -> None:
    """Begins with Space, then goes left and right in turn."""

    def say(request: Request) -> Response:
        keys = {tuple(each.get("keys", ())): name for name, each in server.offered.items()}
        wanted = (("Space",), ("ArrowLeft",), ("ArrowRight",))[min(len(server.bodies) - 1, 1 + len(server.bodies) % 2)]
        chosen = f'{{"action": "{keys[wanted]}", "frames": 20, "reason": "turn {len(server.bodies)}"}}'
        return completion(chosen, {"prompt_tokens": 900, "completion_tokens": 30})

    server.say = say


async def test_a_model_plays_the_demo_game(opened: tuple[Pages, str]) -> None:
    async with model_server() as server:
        as_a_player(server)
        async with Endpoint(ModelSettings(f"{server.url}/chat/completions", "see-4b", calls=6)) as endpoint:
            explored, run, seat = await searched(opened, endpoint)
    told = seat.model.statistics()
    assert (told.choices, told.fallbacks, told.input_tokens, told.output_tokens) == (6, 0, 5400, 180)
    chosen = [line for line in run.lines if line.startswith("The model chose")]
    assert chosen[0] == "The model chose Space for 20 frames: “turn 1”" and len(chosen) == 6
    played = [(step.action.name, step.hold) for episode in explored.episodes for step in episode.inputs.steps]
    assert ("Space", 20) in played and ("ArrowRight", 20) in played  # recorded like any other input
    body = server.bodies[-1]["messages"][1]["content"]
    assert "Score" in body[0]["text"] and "BEGIN UNTRUSTED" in body[0]["text"]
    picture = Image.open(io.BytesIO(_decoded(body[1]["image_url"]["url"])))
    assert picture.format == "JPEG" and picture.width >= 320
    assert run.lines[0] == "The model see-4b is asked for gestures; the search chooses in between"


async def test_without_its_endpoint_the_search_plays_on(opened: tuple[Pages, str]) -> None:
    async with model_server() as server:
        server.say = server.never
        settings = ModelSettings(f"{server.url}/chat/completions", "see-4b", timeout_s=0.2, calls=3)
        async with Endpoint(settings) as endpoint:
            explored, run, seat = await searched(opened, endpoint)
    told = seat.model.statistics()
    assert told.choices == 0 and told.fallbacks == 3
    assert len(explored.episodes) == 2 and explored.episodes[-1].inputs.steps
    said = [line for line in run.lines if "in place of" in line]
    assert said == ["The search chooses in place of the model see-4b: no answer within 0.2 s"]


def _decoded(url: str) -> bytes:
    return base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
