"""Runs a stack in the foreground until it is done or a signal stops it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from broker.local.signals import not_ignored
from testcast.exit_codes import EXIT_SIGNAL
from testcast.local.stack import Stack

CANCEL_AGAIN_S: Final = 4.0
"""How long the body may take to clean up after a cancellation before it is cancelled again."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run(stack: Stack, body: Callable[[], Awaitable[int]], on_stopping: Callable[[], None]) -> int:
    """Runs `body` and then stops the stack, whatever the outcome.

    The first SIGINT, SIGTERM or SIGHUP cancels the body. A second one kills every process at once. One that is ignored
    when this is called stays ignored.

    Args:
        body: returns the exit status. It may return one of its own when it is cancelled.
        on_stopping: called at the first signal.

    Returns:
        What `body` returned; 128 + the signal's number when a signal cancelled it.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(body())
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            stack.kill()
            os._exit(EXIT_SIGNAL + number)
        cancel()
        on_stopping()  # may raise: the terminal is gone

    def cancel() -> None:
        # One cancellation may be lost: before Python 3.12 asyncio.wait_for, which nats-py uses to connect and flush,
        # loses one that comes in the same turn as its result.
        if not task.done():
            task.cancel()
            loop.call_later(CANCEL_AGAIN_S, cancel)

    handled = not_ignored(_SIGNALS)
    for number in handled:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return EXIT_SIGNAL + received[0]
    finally:
        await stack.stop()
        for number in handled:
            loop.remove_signal_handler(number)
