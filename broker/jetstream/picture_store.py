"""The bucket `SHOTS`: the newest screenshot of each run, written by its agent and read by every edge."""

from __future__ import annotations

from typing import NamedTuple

from broker.contract import subjects
from broker.jetstream import kv
from broker.jetstream.api import Streams


class Picture(NamedTuple):
    """A screenshot."""

    jpeg: bytes
    revision: int
    """Grows with every picture of the bucket; equal revisions mean the same picture."""


class PictureStore:
    """Reads and writes pictures.

    Every method raises `BrokerUnavailable` when the broker does not answer in time, and `BrokerRefused` when it answers
    with an error.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def __repr__(self) -> str:
        return f"<PictureStore {subjects.SHOTS}>"

    async def put(self, test_id: str, jpeg: bytes) -> int:
        """Replaces the run's picture. Returns the new revision.

        Args:
            jpeg: at most `topology.MAX_SHOT_BYTES`.
        """
        return await self._streams.kv_put(subjects.SHOTS, test_id, jpeg)

    async def newest(self, test_id: str) -> Picture | None:
        """Returns the run's newest picture, None when there is none.

        Any replica answers: the picture may be up to half a second older than the newest.
        """
        wanted = [kv.subject(subjects.SHOTS, test_id)]
        found = (await self._streams.newest(kv.stream(subjects.SHOTS), wanted)).messages
        return Picture(found[0].data, found[0].seq) if found else None
