"""The pictures of runs on one edge: which there are, who follows them, and their bytes, read once for all."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from broker.contract.frames import MalformedFrame, check_jpeg
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_feed import FrameFeed
from broker.jetstream.frame_store import FrameStore, Picture
from ws_edge.views.frame_index import AHEAD, NO_JPEG
from ws_edge.views.frames import Frames, FramesStatistics
from ws_edge.views.frames_channel import FramesChannel, FramesChannelStatistics
from ws_edge.views.run_frames import Runs

_MAX_BYTES: Final = 32 << 20
"""About a thousand pictures: the last ten seconds of a wall of 50 runs."""
_EACH_BYTES: Final = 500
"""What a picture takes beside its bytes, or one that is none."""
_FRESH_S: Final = 0.9
"""How long the picture of an agent of an earlier version counts: it publishes at most one a second."""
_MAX_OLD: Final = 256
_AHEAD_S: Final = 1.0
"""How long it counts, where nobody watches the run, that a picture names an event which the run does not have."""
_TRIES: Final = 4

_Key = tuple[str, int]


class _TooEarly(MalformedFrame):
    """A picture names an event that the run does not have yet."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"the picture is not shown: {AHEAD}")
        self.seq = seq


class PicturesStatistics(NamedTuple):
    """What is held at one moment, and what was counted since the start of the node."""

    held: int
    held_bytes: int
    hits: int
    """Pictures that were answered from memory, or by a read that was under way."""
    reads: int
    lists: FramesStatistics
    channel: FramesChannelStatistics


class Pictures:
    """The pictures of one edge.

    Args:
        nats: the connection.
        runs: what is known of the runs.
        high_water_bytes: a viewer with more than this in its write buffer is told of new pictures later.
    """

    def __init__(self, nats: Connection, runs: Runs, high_water_bytes: int) -> None:
        self._store = FrameStore(Streams(nats))
        self._runs = runs
        self._feed = FrameFeed(nats)
        self.frames = Frames(self._feed, nats.on_reconnect, runs)
        self.channel = FramesChannel(self.frames, high_water_bytes)
        self.frames.on_new_stream = self._forget
        self._held: OrderedDict[_Key, Picture | MalformedFrame | None] = OrderedDict()
        """The one that was asked for longest ago first. None is never kept."""
        self._bytes = 0
        self._reading: dict[_Key, asyncio.Task[Picture | None]] = {}
        self._old: dict[str, tuple[float, asyncio.Task[Picture | None]]] = {}
        """By test id: when the read began, loop time, and the read."""
        self._hits = 0
        self._reads = 0

    def __repr__(self) -> str:
        return f"<Pictures held={len(self._held)} reads={self._reads}>"

    def statistics(self) -> PicturesStatistics:
        """The figures of this moment."""
        lists, channel = self.frames.statistics(), self.channel.statistics()
        return PicturesStatistics(len(self._held), self._bytes, self._hits, self._reads, lists, channel)

    async def run(self) -> None:
        """Keeps the lists current until cancelled."""
        await self.frames.run()

    async def newest(self, test_id: str) -> Picture | None:
        """The newest picture of a run, None while there is none.

        Raises:
            NotFound, BrokerUnavailable, BrokerRefused: it could not be read.
        """
        for _ in range(_TRIES):
            frame = await self.frames.newest(test_id)
            old = await self._of_earlier_version(test_id)
            if frame is None or old is not None:
                return old
            try:
                picture = await self.at(test_id, frame.number)
            except MalformedFrame:
                continue  # it is not the newest any more
            if picture is not None:
                return picture
        return None

    async def at(self, test_id: str, number: int) -> Picture | None:
        """One picture of a run; None when it is not kept, or is another run's.

        Raises:
            MalformedFrame: it is not shown; the message says why.
            BrokerUnavailable, BrokerRefused: it could not be read.
        """
        key = (test_id, number)
        held = self._held.get(key)
        if isinstance(held, _TooEarly) and held.seq <= self._runs.known_head(test_id):
            self._drop(key)
            held = None
        if held is not None:
            self._hits += 1
            self._held.move_to_end(key)
            if isinstance(held, MalformedFrame):
                raise held
            return held
        reading = self._reading.get(key)
        if reading is None:
            if not self._may_exist(test_id, number):
                return None
            reading = asyncio.get_running_loop().create_task(self._read(test_id, number), name=f"picture-{number}")
            self._reading[key] = reading
            reading.add_done_callback(lambda done: self._has_read(key, done))
        else:
            self._hits += 1
        return await asyncio.shield(reading)  # a viewer that leaves does not end the read for the others

    def _may_exist(self, test_id: str, number: int) -> bool:
        run = self.frames.known(test_id)
        return run is None or not run.whole or number > run.index.last_number or number in run.index

    async def _read(self, test_id: str, number: int) -> Picture | None:
        self._reads += 1
        picture = await self._store.at(test_id, number)
        if picture is None:  # the replica may lag
            picture = await self._feed.at(test_id, number)
        if picture is not None:
            check_jpeg(picture.jpeg)
            seq = picture.frame.seq
            if seq > self._runs.known_head(test_id) and seq > await self._runs.head(test_id):
                raise _TooEarly(seq)
        return picture

    def _has_read(self, key: _Key, done: asyncio.Task[Picture | None]) -> None:
        del self._reading[key]
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, MalformedFrame):
            self._refuse(*key, error)
            self._keep(key, error)
            if isinstance(error, _TooEarly):
                asyncio.get_running_loop().call_later(_AHEAD_S, self._drop, key, error)
        elif error is None and (picture := done.result()) is not None:
            self._keep(key, picture)

    def _refuse(self, test_id: str, number: int, error: MalformedFrame) -> None:
        """What the headers tell is noted where they are listed."""
        if NO_JPEG.removeprefix("it is ") in error.message:
            self.frames.refused.note_no_jpeg(test_id, number)
            run = self.frames.known(test_id)
            if run is not None:
                run.has_no_jpeg(number)

    def _keep(self, key: _Key, found: Picture | MalformedFrame) -> None:
        self._held[key] = found
        self._bytes += _size(found)
        while self._bytes > _MAX_BYTES:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= _size(oldest)

    def _drop(self, key: _Key, only: MalformedFrame | None = None) -> None:
        """Forgets what is held of a picture; `only`: if it is this."""
        if key in self._held and only in (None, self._held[key]):
            self._bytes -= _size(self._held.pop(key))

    def forget(self, test_id: str) -> None:
        """Drops what is held of a run that was deleted; who follows its pictures is told that there is none."""
        self.frames.forget(test_id)
        self._old.pop(test_id, None)
        for key in [each for each in self._held if each[0] == test_id]:
            self._drop(key)

    def _forget(self) -> None:
        self._held.clear()
        self._bytes = 0

    async def _of_earlier_version(self, test_id: str) -> Picture | None:
        """The newest picture of a run, where that is one of an agent that keeps only the newest."""
        now = asyncio.get_running_loop().time()
        held = self._old.get(test_id)
        if held is None or now - held[0] > _FRESH_S or _has_failed(held[1]):
            if len(self._old) >= _MAX_OLD:
                self._old = {each: old for each, old in self._old.items() if now - old[0] <= _FRESH_S}
            task = asyncio.get_running_loop().create_task(self._store.newest(test_id), name=f"picture-{test_id}")
            held = self._old[test_id] = (now, task)
        picture = await asyncio.shield(held[1])
        return picture if picture is not None and not picture.frame.number else None


def _size(found: Picture | MalformedFrame | None) -> int:
    return _EACH_BYTES + (len(found.jpeg) if isinstance(found, Picture) else 0)


def _has_failed(read: asyncio.Task[Picture | None]) -> bool:
    return read.done() and (read.cancelled() or read.exception() is not None)
