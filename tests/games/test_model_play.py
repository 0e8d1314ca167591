"""A model in the seat of a whole search, on a real game and a real endpoint."""

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

from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.handle import GameJob
from agent_worker.games.model.endpoint import Endpoint
from agent_worker.games.model.policy import ModelPolicy, Seat
from agent_worker.games.model.settings import ModelSettings
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.play.episodes import Explored
from agent_worker.games.play.search import explore
from agent_worker.games.play.seat import Seeded
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


def as_a_player(server: ModelServer, calls: int) -> None:
    """Begins with Space, then goes left and right in turn; after so many calls its key is refused."""

    def say(request: Request) -> Response:
        number = len(server.bodies)
        if number > calls:
            return Response(status_code=401)
        keys = {tuple(each.get("keys", ())): name for name, each in server.offered.items()}
        wanted = (("Space",), ("ArrowLeft",), ("ArrowRight",))[0 if number == 1 else 1 + number % 2]
        chosen = f'{{"action": "{keys[wanted]}", "frames": 20, "reason": "turn {number}"}}'
        return completion(chosen, {"prompt_tokens": 900, "completion_tokens": 30})

    server.say = say


async def test_a_model_plays_the_demo_game_until_its_endpoint_refuses(opened: tuple[Pages, str]) -> None:
    async with model_server() as server:
        as_a_player(server, calls=4)
        async with Endpoint(ModelSettings(f"{server.url}/chat/completions", "see-4b")) as endpoint:
            explored, run, seat = await searched(opened, endpoint)
    assert seat.model.statistics().as_json() == {
        "name": "see-4b", "choices": 4, "fallbacks": 1, "inputTokens": 3600, "outputTokens": 120,
        "reason": "it answered 401: is the key right?",
    }  # fmt: skip
    assert [line for line in run.lines if "model" in line] == [
        "The model see-4b is asked for gestures; the search chooses in between",
        "The model chose Space for 20 frames: “turn 1”",
        "The model chose ArrowLeft for 20 frames: “turn 2”",
        "The model chose ArrowRight for 20 frames: “turn 3”",
        "The model chose ArrowLeft for 20 frames: “turn 4”",
        "The search chooses in place of the model see-4b: it answered 401: is the key right?",
    ]
    steps = explored.episodes[-1].inputs.steps
    assert [(step.action.name, step.hold) for step in steps[:2]] == [("Space", 20), ("ArrowLeft", 20)]
    assert len(steps) > 4  # recorded like any other input, and the search has played on
    text, picture = server.bodies[-1]["messages"][1]["content"]
    assert "Score" in text["text"] and "BEGIN UNTRUSTED" in text["text"]
    shown = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].partition(",")[2])))
    assert shown.format == "JPEG" and shown.width >= 320
