"""The screenshots of one run on their way to the broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final, NamedTuple

from broker.contract.errors import TestcastError
from broker.jetstream.api import Streams
from broker.jetstream.picture_store import PictureStore
from broker.jetstream.topology import MAX_SHOT_BYTES
from broker.log import RateLimited

SEND_EVERY_S: Final = 1.0
"""A card shows one picture at a time; more than one a second only costs the broker and the viewers."""
_LAST_PATIENCE_S: Final = 1.0

_limited = RateLimited(logging.getLogger("testcast.run"), per_s=5.0)


class ScreenshotStatistics(NamedTuple):
    """What became of the screenshots that were offered."""

    stored: int
    """The broker has acknowledged them."""
    refused: int
    """No JPEG, or larger than `MAX_SHOT_BYTES`."""
    failed: int
    """The broker did not take them."""


class Screenshots:
    """Stores the newest screenshot at most once a second. Whatever fails is dropped: the next one replaces it.

    `send` is a task's body. `offer` never blocks and never raises.
    """

    def __init__(self, streams: Streams, test_id: str) -> None:
        self._pictures = PictureStore(streams)
        self._test_id = test_id
        self._newest: bytes | None = None
        self._came = asyncio.Event()
        self._stored = self._refused = self._failed = 0

    def __repr__(self) -> str:
        return f"<Screenshots of {self._test_id} {self.statistics()}>"

    def statistics(self) -> ScreenshotStatistics:
        """The counts since this object was made."""
        return ScreenshotStatistics(self._stored, self._refused, self._failed)

    def offer(self, jpeg: bytes) -> None:
        """Replaces the screenshot that waits to be stored. Drops what is not a JPEG of at most `MAX_SHOT_BYTES`."""
        if not jpeg.startswith(b"\xff\xd8") or len(jpeg) > MAX_SHOT_BYTES:
            self._refused += 1
            _limited.warning(
                "run %s: dropped a screenshot of %d bytes: not a JPEG of at most %d bytes",
                self._test_id,
                len(jpeg),
                MAX_SHOT_BYTES,
            )
            return
        self._newest = jpeg
        self._came.set()

    async def send(self) -> None:
        """Stores what is offered, at most one a second, until cancelled."""
        while True:
            await self._came.wait()
            await self._store()
            await asyncio.sleep(SEND_EVERY_S)

    async def send_last(self) -> None:
        """Stores the screenshot that waits, if any; gives up after a second."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_PATIENCE_S):
                await self._store()

    async def _store(self) -> None:
        jpeg, self._newest = self._newest, None
        self._came.clear()
        if jpeg is None:
            return
        try:
            await self._pictures.put(self._test_id, jpeg)
            self._stored += 1
        except TestcastError as error:
            self._failed += 1
            _limited.info("run %s: a screenshot was not stored: %s", self._test_id, error)
