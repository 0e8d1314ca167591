"""Waiting for what a page answers, for as long as it is not its own fault that it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeVar

from agent_worker.games.errors import PageGone
from agent_worker.games.policy import no_reply

LOOK_S: Final = 1.0
"""How often it is asked why a page does not answer."""
T = TypeVar("T")


class Watched(NamedTuple):
    """What the processes of a browser tell of it."""

    exceeded: Callable[[], str | None]
    """What it was ended for, if it was: `Limits.exceeded`."""
    spent: Callable[[], Mapping[int, float]]
    """Processor time in seconds of the main threads that its pages have: `processes.main_threads`. Read in a thread."""
    lives: Callable[[], bool]
    """Whether its first process runs: `processes.lives`."""


async def while_it_lives(asked: Awaitable[T], watched: Watched) -> T:
    """What `asked` gives. Where a browser dies at the wrong moment, its driver does not answer at all.

    Raises:
        PageGone: It has died. What was asked is cancelled then.
    """
    task = asyncio.ensure_future(asked)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
            _check(watched)
        return task.result()
    finally:
        task.cancel()


async def answered(asked: Awaitable[T], deadline: float, watched: Watched, while_doing: str) -> T:
    """What `asked` gives.

    Args:
        deadline: On the event loop's clock.
        watched: Looked at once a second from the first second on.
        while_doing: What was asked, for the message of an error.

    Raises:
        PageHung, TimeUp: As `policy.no_reply` says. What was asked is cancelled then.
        PageGone: As from `while_it_lives`.
    """
    loop = asyncio.get_running_loop()
    began, before = loop.time(), None
    task = asyncio.ensure_future(asked)
    try:
        while True:
            left_s = max(0.0, deadline - loop.time())
            if (await asyncio.wait({task}, timeout=min(LOOK_S, left_s)))[0]:
                return task.result()
            _check(watched)
            now = await asyncio.to_thread(watched.spent)
            before = now if before is None else before
            used_s = max((all_s - before.get(pid, 0.0) for pid, all_s in now.items()), default=None)
            if silence := no_reply(loop.time() - began, used_s, deadline - loop.time(), while_doing):
                raise silence
    finally:
        task.cancel()


def _check(watched: Watched) -> None:
    if not watched.lives():
        raise PageGone("its browser died")
