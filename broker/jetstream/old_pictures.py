"""The bucket `SHOTS`: the newest picture of each run, as versions before 0.3.0 stored them.

This version writes nothing to it and does not make it. It reads it where it still stands, for runs of before an upgrade
and for agents that are not upgraded yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotThere
from broker.jetstream import kv
from broker.jetstream.api import Stored, Streams
from broker.jetstream.connection import Connection
from broker.jetstream.stream_config import is_left_over

_STREAM: Final = kv.stream(subjects.SHOTS)
_ASK_S: Final = 3.0
_KNOWN_S: Final = 60.0
"""How long it counts as known whether the bucket stands. An agent of an earlier version may make it anew."""

_log = logging.getLogger("testcast.topology")


async def retire(streams: Streams) -> None:
    """Deletes the bucket once it holds nothing. Never raises: nothing depends on it."""
    with contextlib.suppress(BrokerUnavailable, BrokerRefused):
        if is_left_over(await streams.api(f"STREAM.INFO.{_STREAM}", timeout_s=_ASK_S)):
            await streams.api(f"STREAM.DELETE.{_STREAM}", timeout_s=_ASK_S)
            _log.info("deleted %s, which earlier versions kept pictures in: it was empty", _STREAM)


class OldPictures:
    """Reads the old bucket over one connection."""

    def __init__(self, nats: Connection) -> None:
        self._streams = Streams(nats, mends=False)
        self._stands = False
        self._ask_at = float("-inf")

    def __repr__(self) -> str:
        return f"<OldPictures {subjects.SHOTS}>"

    async def newest(self, test_id: str) -> Stored | None:
        """Returns the run's picture; None when there is none, or no such bucket.

        Raises:
            BrokerUnavailable, BrokerRefused: it could not be read.
        """
        if not await self._is_there():
            return None
        try:
            found = await self._streams.newest(_STREAM, [kv.subject(subjects.SHOTS, test_id)])
        except NotThere:
            self._stands = False
            return None
        last = found.messages[0] if found.messages else None
        return last if last is not None and last.header(kv.OPERATION_HEADER) is None else None

    async def _is_there(self) -> bool:
        """Asks at most once a minute. A direct get of a stream that is not there may be answered by nobody."""
        now = asyncio.get_running_loop().time()
        if now >= self._ask_at:
            try:
                await self._streams.state(_STREAM, timeout_s=_ASK_S)
                self._stands = True
            except NotThere as error:
                if not error.certain:
                    raise
                self._stands = False
            self._ask_at = now + _KNOWN_S
        return self._stands
