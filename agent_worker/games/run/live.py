"""What viewers see while a game is played: a line every few seconds, and pictures of the page.

The steps of a run tell what they find; while one of them is silent, a line says what goes on. Both go through one
`Live`, since a run takes one call at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from agent_worker.games.chromium import pictures
from agent_worker.games.chromium.pictures import Thumb
from agent_worker.games.handle import RunHandle
from agent_worker.games.owned_time.stage import Stage

SILENCE_S: Final = 4.0
"""For how long nothing is told before a line says what goes on."""
LOOK_EVERY_S: Final = 0.5


class Live:
    """A run handle that may be used by several tasks, and speaks up when nobody else does.

    Attributes:
        doing: What goes on, as the beginning of a sentence; empty: silence is not broken.
    """

    def __init__(self, run: RunHandle, stage: Stage) -> None:
        self._run = run
        self._stage = stage
        self._lock = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._told_at = self._clock()
        self._published: Thumb | None = None
        self.doing = ""

    def __repr__(self) -> str:
        return f"<Live doing={self.doing!r}>"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Speaks up and shows pictures inside the block. Nothing of it is under way when the block is left."""
        task = asyncio.get_running_loop().create_task(self._keep_alive())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    # -- the run, one call at a time ----------------------------------------------------------------------

    async def phase(self, n: int, message: str = "") -> None:
        """See `RunHandle`."""
        await self._in_turn(lambda: self._run.phase(n, message))

    async def progress(self, message: str, **data: object) -> None:
        """See `RunHandle`."""
        await self._in_turn(lambda: self._run.progress(message, **data))

    async def action(self, action: str, message: str | None = None) -> None:
        """See `RunHandle`."""
        await self._in_turn(lambda: self._run.action(action, message))

    async def complete(self, score: int, metrics: dict[str, object], message: str | None = None) -> None:
        """See `RunHandle`."""
        await self._in_turn(lambda: self._run.complete(score, metrics, message))

    async def fail(self, message: str, code: str) -> None:
        """See `RunHandle`."""
        await self._in_turn(lambda: self._run.fail(message, code))

    async def screenshot(self, jpeg: bytes, on_lost: Callable[[], None] | None = None) -> None:
        """See `RunHandle`."""
        async with self._lock:
            await self._run.screenshot(jpeg, on_lost)

    async def evidence(self, message: str, jpeg: bytes | None, **data: object) -> None:
        """See `RunHandle`."""
        await self._in_turn(lambda: self._run.evidence(message, jpeg, **data))

    async def _in_turn(self, call: Callable[[], Awaitable[None]]) -> None:
        async with self._lock:
            self._told_at = self._clock()
            await call()
            self._told_at = self._clock()

    # -- on its own ---------------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.doing and self._clock() - self._told_at > SILENCE_S:
                await self.progress(f"{self.doing}: {self._figures()}")

    def _figures(self) -> str:
        stage = self._stage
        return f"{stage.played / 60:.0f} s of the game's time so far, opened {stage.opened} times"

    async def show_picture(self, jpeg: bytes | None) -> None:
        """Publishes a picture where it differs visibly from the one that viewers have; None: there is none."""
        if jpeg is None:
            return
        with suppress(OSError):
            seen = await asyncio.to_thread(pictures.thumb, jpeg)
            if self._published is not None and not await asyncio.to_thread(pictures.changed, self._published, seen):
                return
            self._published = seen
            await self.screenshot(await asyncio.to_thread(pictures.screenshot, jpeg), partial(self._lost, seen))

    def _lost(self, seen: Thumb) -> None:
        """Viewers have not got a picture: it is published again, also of a game that stands still."""
        if self._published is seen:
            self._published = None
