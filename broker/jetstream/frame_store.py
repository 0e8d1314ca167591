"""The stream `FRAMES`: the pictures of all runs, written by their agents and read by every edge."""

from __future__ import annotations

import logging
from typing import NamedTuple

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.contract.frames import (
    SEQ_HEADER,
    TIME_HEADER,
    Frame,
    MalformedFrame,
    check_jpeg,
    frame_of,
    headers_of,
)
from broker.jetstream.api import Stored, Streams
from broker.jetstream.old_pictures import OldPictures
from broker.log import RateLimited

_limited = RateLimited(logging.getLogger("testcast.frames"), per_s=1.0)


class Picture(NamedTuple):
    """A picture with its bytes."""

    frame: Frame
    """Its number is 0 where it comes from the bucket of earlier versions: it has no address of its own then."""
    jpeg: bytes

    @property
    def tag(self) -> str:
        """Differs for any two pictures of a run."""
        return f"{self.frame.number}" if self.frame.number else f"0.{self.frame.time_ms}"


class FrameStore:
    """Reads and writes pictures.

    Every method raises `BrokerUnavailable` when the broker does not answer in time, and `BrokerRefused` when it answers
    with an error.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._old = OldPictures(streams.nats)

    def __repr__(self) -> str:
        return f"<FrameStore {subjects.FRAMES}>"

    async def put(self, test_id: str, jpeg: bytes, *, seq: int = 0, time_ms: int = 0, msg_id: str | None = None) -> int:
        """Stores a picture. Returns its number.

        Args:
            seq: of the event that it belongs to; 0: not known.
            time_ms: when it was taken, ms since 1970; 0: now, by the broker's clock.
            msg_id: the stream stores one picture of each id within its duplicate window.

        Raises:
            MalformedFrame: it is not a JPEG of at most 64 KiB.
        """
        subject, headers = subjects.frames(test_id), headers_of(seq, time_ms)
        return (await self._streams.store(subject, check_jpeg(jpeg), msg_id=msg_id, headers=headers)).seq

    async def newest(self, test_id: str) -> Picture | None:
        """Returns the run's newest picture; None when there is none, or when the newest is malformed.

        It may be one that an agent of an earlier version has stored. Any replica answers: the picture may be up to half
        a second older than the newest.
        """
        found = (await self._streams.newest(subjects.FRAMES, [subjects.frames(test_id)])).messages
        frame, old = found[0] if found else None, None
        try:
            old = await self._old.newest(test_id)
        except (BrokerUnavailable, BrokerRefused) as error:
            if frame is None:
                raise
            _limited.info("test %s: the pictures of earlier versions cannot be read: %s", test_id, error)
        try:
            if old is not None and (frame is None or frame.stored_ms < old.stored_ms):
                return Picture(Frame(0, 0, old.stored_ms, len(old.data)), check_jpeg(old.data))
            return _picture(frame) if frame is not None else None
        except MalformedFrame as error:
            _limited.warning("test %s: the newest picture is not shown: %s", test_id, error)
            return None

    async def at(self, test_id: str, number: int) -> Picture | None:
        """Returns one picture of a run by its number; None when the run has none of that number, or it has gone.

        Raises:
            MalformedFrame: it is not a JPEG, or its headers are wrong.
        """
        page = await self._streams.read(subjects.FRAMES, subjects.frames(test_id), number - 1, 1)
        return _picture(page.messages[0]) if page.messages and page.messages[0].seq == number else None


def _picture(stored: Stored) -> Picture:
    given = {name: stored.header(name) for name in (SEQ_HEADER, TIME_HEADER)}
    return Picture(frame_of(stored.seq, given, stored.stored_ms, len(stored.data)), check_jpeg(stored.data))
