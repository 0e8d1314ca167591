"""What a game in owned time costs: `python -m tests.bench.owned_time`.

Prints ms of processor time (other loads count little in it) of Chromium, its driver and this process: for an opening of
the demo game, for a frame of it, and for a frame whose fingerprints are taken.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent_worker.games.actions import key
from agent_worker.games.chromium import processes
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.processes import Process
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from tests.games.playing import OnlyThese, game_server

OPENINGS, FRAMES, SAMPLES = 5, 600, 300
PLAYED = Inputs((Step(5, key("Enter")),))


def spent_s() -> float:
    """Processor time of all that this process started and that lives, and of what has ended and was waited for."""
    ticks = 0
    for pid in processes.members(Process(os.getpid(), processes.process(os.getpid()).started)):
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        ticks += sum(map(int, text[text.rindex(")") + 2 :].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def cost_ms(times: int, act: Callable[[], Awaitable[object]]) -> float:
    """Of one of `times` that `act` does."""
    before = spent_s()
    await act()
    return (spent_s() - before) / times * 1000


async def main() -> None:
    """Measures, and prints."""
    with game_server() as server:
        async with Browser(judge=OnlyThese(server.port), ahead=False) as browser, browser.pages() as pages:
            stage = Stage(pages, GameJob("a-test", f"{server.url}/index.html", 60, 7), deadline=math.inf)
            await stage.open()

            async def open_often() -> None:
                for _ in range(OPENINGS):
                    await stage.open()

            print(f"opening: {await cost_ms(OPENINGS, open_often):.0f} ms")
            await stage.play(PLAYED, 60)
            frame = await cost_ms(FRAMES, lambda: stage.play(PLAYED, 60 + FRAMES))
            print(f"frame: {frame:.1f} ms")
            end = 60 + FRAMES
            sampled = await cost_ms(SAMPLES, lambda: stage.play(PLAYED, end + SAMPLES, watch_from=end))
            print(f"sampled frame: {sampled:.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
