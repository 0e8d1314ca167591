"""What no time was left for is named, step by step."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent_worker.games.controls import candidates
from agent_worker.games.controls.discovery import ControlSearch
from agent_worker.games.controls.starting import get_in
from agent_worker.games.handle import GameJob
from agent_worker.games.run.course import Course
from agent_worker.games.run.further import Further
from tests.games.owned import House, a_house
from tests.games.playing import Written

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

GAME = """<p>Arrow keys: steer</p><canvas id=c></canvas><script>const x = c.getContext("2d"); let at = 9, n = 0;
  addEventListener("keydown", ({ key }) => { at += { ArrowLeft: -9, ArrowRight: 9 }[key] ?? 0; });
  const frame = () => { requestAnimationFrame(frame); n += 1; x.clearRect(0, 0, 300, 150);
    x.fillRect((at % 300 + 300) % 300, n % 99, 20, 20); }; frame();</script>"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with a_house() as running:
        yield running


async def test_what_no_time_was_left_for_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "USUAL", candidates.ARROWS)  # all keys take long
    loop = asyncio.get_running_loop()
    job = GameJob("a-test", house.server.page("/", GAME), 60, 7)
    course = Course(Written(), house.pages, job, loop.time())
    course.stage._deadline = math.inf
    situations = await get_in(course.stage, course.live, math.inf)
    search = ControlSearch(situations, course.live)
    await search.likely_ones(math.inf)
    await course.searched(search)
    course.started = loop.time() - job.budget_s  # all of its time has passed
    course.stage.playing_s = 1e6  # and a frame takes long
    await Further(course, situations, search, None).all()
    unknown = {area: "; ".join(lines) for area, lines in course.summary.unknown.items()}
    assert "at true speed" in unknown["visuals"]
    assert "whether these work more than once, for want of time: ArrowLeft, ArrowRight" in unknown["controls"]
    assert '"Arrow keys: steer" also means ArrowUp, ArrowDown' in unknown["controls"]
    assert "how much of its code runs" in unknown["playability"]
    assert "whether its memory grows" in unknown["stability"]
    assert "what these do to it, for want of time: rapid inputs, one control hammered" in unknown["stability"]
