"""Retries: the one policy for everything that waits for the broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from broker.contract.errors import BrokerUnavailable

T = TypeVar("T")

FIRST_S: Final = 0.1
LONGEST_S: Final = 2.0
"""A broker that is available again is used within this time. Most pauses end earlier, with the reconnect."""


class Reconnects(Protocol):
    """Something that reports reconnects: a connection, or an event log."""

    on_reconnect: list[Callable[[], None]]


class Backoff:
    """Pauses that double from `first_s` to `longest_s`.

    Args:
        first_s: the first pause, seconds.
        longest_s: the longest pause, seconds.
        rng: draws each pause from its upper half, so many clients do not retry in step. None: no jitter.
    """

    __slots__ = ("_first_s", "_longest_s", "_rng", "tries")

    def __init__(
        self, first_s: float = FIRST_S, longest_s: float = LONGEST_S, rng: random.Random | None = None
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._rng = rng
        self.tries = 0
        """Pauses since the start or the last `reset`."""

    def __repr__(self) -> str:
        return f"<Backoff tries={self.tries}>"

    def next(self) -> float:
        """Returns the pause before the next try, seconds."""
        pause = min(self._longest_s, self._first_s * 2 ** min(self.tries, 16))
        self.tries += 1
        return pause if self._rng is None else self._rng.uniform(pause / 2, pause)

    def reset(self) -> None:
        """Starts over: the next pause is the first one."""
        self.tries = 0


async def pause(delay_s: float, source: Reconnects | None = None) -> bool:
    """Waits for `delay_s`, or until `source` reconnects. Returns whether it has reconnected."""
    if source is None:
        await asyncio.sleep(delay_s)
        return False
    back = asyncio.Event()
    source.on_reconnect.append(back.set)
    try:
        async with asyncio.timeout(delay_s):
            return await back.wait()
    except TimeoutError:
        return False
    finally:
        source.on_reconnect.remove(back.set)


async def retry(
    work: Callable[[], Awaitable[T]],
    *,
    on: tuple[type[Exception], ...] = (BrokerUnavailable,),
    within_s: float | None = None,
    backoff: Backoff | None = None,
    source: Reconnects | None = None,
    on_failure: Callable[[Exception], None] | None = None,
) -> T:
    """Calls `work` until it succeeds.

    Args:
        work: one try.
        on: the errors that another try may cure; every other error is raised.
        within_s: no try begins after this time, and the last error is raised. None: no limit.
        backoff: the pauses; default `Backoff()`.
        source: when it reconnects, a pause ends, and the next one is the shortest again.
        on_failure: called with each error before the pause that follows it. It may raise to give up.

    Raises:
        Exception: one of `on`, when the time is up; whatever else `work` or `on_failure` raises.
    """
    pauses = backoff or Backoff()
    clock = asyncio.get_running_loop().time
    deadline = None if within_s is None else clock() + within_s
    while True:
        try:
            return await work()
        except on as error:
            delay_s = pauses.next()
            if deadline is not None and clock() + delay_s > deadline:
                raise
            if on_failure is not None:
                on_failure(error)
        if await pause(delay_s, source):
            pauses.reset()
