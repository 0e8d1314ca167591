"""What the tests of owned time share: games of a test's own on a stage, in one Chromium for each file of tests."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import Inputs
from agent_worker.games.owned_time.stage import Stage
from tests.games.playing import GameServer, OnlyThese, game_server


class House(NamedTuple):
    """A browser, and two servers that it may reach."""

    pages: Pages
    server: GameServer
    other: GameServer
    """Of another origin."""

    def stage(self, url: str, seed: int = 7, measure_code: bool = False) -> Stage:
        """The game there, not yet opened."""
        return Stage(self.pages, GameJob("a-test", url, 60, seed), deadline=math.inf, measure_code=measure_code)

    async def ran(self, script: str, frames: int = 10, body: str = "") -> Any:
        """What the page's script has written into `out` after so many frames."""
        url = self.server.page("/", f"<body>{body}<script>const out = [];\n{script}</script>")
        stage = self.stage(url)
        await stage.play(Inputs(), frames)
        assert stage.page is not None
        return await stage.page.ask("out", "reading what it wrote")


@asynccontextmanager
async def a_house() -> AsyncIterator[House]:
    """All of it, running."""
    with game_server() as server, game_server() as other:
        async with Browser(judge=OnlyThese(server.port, other.port), ahead=False) as browser, browser.pages() as pages:
            yield House(pages, server, other)
