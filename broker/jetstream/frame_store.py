"""The stream `FRAMES`: the pictures of all runs, written by their agents and read by every edge."""

from __future__ import annotations

from typing import NamedTuple

from broker.contract import subjects
from broker.contract.frames import SEQ_HEADER, TIME_HEADER, Frame, check_jpeg, frame_of, headers_of
from broker.jetstream.api import Stored, Streams


class Picture(NamedTuple):
    """A picture with its bytes."""

    frame: Frame
    jpeg: bytes


class FrameStore:
    """Reads and writes pictures.

    Every method raises `BrokerUnavailable` when the broker does not answer in time, and `BrokerRefused` when it answers
    with an error. What is stored and malformed raises `MalformedFrame`.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def __repr__(self) -> str:
        return f"<FrameStore {subjects.FRAMES}>"

    async def put(self, test_id: str, jpeg: bytes, *, seq: int = 0, time_ms: int = 0) -> int:
        """Stores a picture. Returns its number.

        Args:
            seq: of the event that it belongs to; 0: not known.
            time_ms: when it was taken, ms since 1970; 0: now, by the broker's clock.

        Raises:
            MalformedFrame: it is not a JPEG of at most 64 KiB.
        """
        subject, headers = subjects.frames(test_id), headers_of(seq, time_ms)
        return (await self._streams.store(subject, check_jpeg(jpeg), headers=headers)).seq

    async def newest(self, test_id: str) -> Picture | None:
        """Returns the run's newest picture, None when there is none.

        Any replica answers: the picture may be up to half a second older than the newest.
        """
        found = (await self._streams.newest(subjects.FRAMES, [subjects.frames(test_id)])).messages
        return _picture(found[0]) if found else None

    async def at(self, test_id: str, number: int) -> Picture | None:
        """Returns one picture of a run by its number; None when the run has none of that number, or it has gone."""
        page = await self._streams.read(subjects.FRAMES, subjects.frames(test_id), number - 1, 1)
        return _picture(page.messages[0]) if page.messages and page.messages[0].seq == number else None


def _picture(stored: Stored) -> Picture:
    given = {name: stored.header(name) for name in (SEQ_HEADER, TIME_HEADER)}
    return Picture(frame_of(stored.seq, given, stored.stored_ms, len(stored.data)), stored.data)
