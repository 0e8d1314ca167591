"""Waiting for what a page answers, for as long as it is not its own fault that it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from agent_worker.games.policy import no_reply

LOOK_S: Final = 1.0
"""How often it is asked why a page does not answer."""

Spent = Callable[[], Mapping[int, float]]
"""Processor time in seconds of the main threads that pages have; see `processes.main_threads`."""
T = TypeVar("T")


async def answered(asked: Awaitable[T], deadline: float, spent: Spent, while_doing: str) -> T:
    """What `asked` gives.

    Args:
        deadline: On the event loop's clock.
        spent: Read in a thread, once a second from the first second on.
        while_doing: What was asked, for the message of an error.

    Raises:
        PageHung, TimeUp: As `policy.no_reply` says. What was asked is cancelled then.
    """
    loop = asyncio.get_running_loop()
    began, before = loop.time(), None
    task = asyncio.ensure_future(asked)
    try:
        while True:
            left_s = max(0.0, deadline - loop.time())
            if (await asyncio.wait({task}, timeout=min(LOOK_S, left_s)))[0]:
                return task.result()
            now = await asyncio.to_thread(spent)
            before = now if before is None else before
            used_s = max((all_s - before.get(pid, 0.0) for pid, all_s in now.items()), default=None)
            if silence := no_reply(loop.time() - began, used_s, deadline - loop.time(), while_doing):
                raise silence
    finally:
        task.cancel()
