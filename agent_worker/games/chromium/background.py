"""Tasks that no caller awaits: the reactions to a page's events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """Runs reactions until they are done or cancelled. An error in one ends only that one, and is not reported."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Background tasks={len(self._tasks)}>"

    def start(self, reaction: Coroutine[Any, Any, Any]) -> None:
        """Runs `reaction` in a task of its own."""
        task = asyncio.get_running_loop().create_task(reaction)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def cancel(self) -> None:
        """Cancels what is under way."""
        for task in self._tasks:
            task.cancel()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        retrieved(task)  # a page that went away shows itself in the next call


def retrieved(done: asyncio.Future[Any]) -> None:
    """Marks what a task has raised as retrieved: it is told elsewhere, or by what follows."""
    if not done.cancelled():
        done.exception()
