"""Waiting for a driver: it may never answer once its browser has died."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator

import pytest

from agent_worker.games.chromium import patience, processes
from agent_worker.games.chromium.patience import Watched, answered, while_it_lives
from agent_worker.games.errors import PageGone

Ask = Callable[[Awaitable[str], Watched], Awaitable[str]]


async def asked_of_a_page(asked: Awaitable[str], watched: Watched) -> str:
    return await answered(asked, math.inf, watched, "asking")


@pytest.fixture(params=[while_it_lives, asked_of_a_page])
def ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    monkeypatch.setattr(patience, "LOOK_S", 0.01)
    return request.param  # type: ignore[no-any-return]


def watched(lives: Callable[[], bool]) -> Watched:
    return Watched(lambda: None, dict, lives)


async def test_the_answer_of_a_browser_that_lives(ask: Ask) -> None:
    looks: list[int] = []

    async def slow() -> str:
        while len(looks) < 3:
            await asyncio.sleep(0.001)
        return "here"

    def lives() -> bool:
        looks.append(1)
        return True

    assert await ask(slow(), watched(lives)) == "here"


async def test_a_browser_that_dies_is_not_waited_for(ask: Ask) -> None:
    looks, cancelled = iter((True, True, False)), asyncio.Event()

    async def never() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "never"

    with pytest.raises(PageGone, match="its browser died"):
        await ask(never(), watched(lambda: next(looks)))
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_what_fails_fails_as_it_does(ask: Ask) -> None:
    async def fails() -> str:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        await ask(fails(), watched(lambda: False))


def test_a_process_that_was_killed_lives_no_more() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        browser = processes.process(child.pid)
        assert processes.lives(browser)
        assert not processes.lives(browser._replace(started=browser.started + 1)), "another one with its number"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not processes.lives(browser), "nobody has asked yet how it ended"
    assert not processes.lives(browser)
