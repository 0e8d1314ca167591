"""The stream of pictures in memory, as an edge reads it, and the runs that they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.contract.errors import BrokerUnavailable
from broker.contract.frames import Frame
from broker.contract.ports import Interest
from broker.jetstream.frame_feed import FramesState, Listed, LiveFrame


class _Following:
    def __init__(self, feed: MemoryFeed, test_id: str, on_frame: Callable[[LiveFrame], None]) -> None:
        self._feed, self.test_id, self.on_frame = feed, test_id, on_frame

    async def confirm(self) -> None:
        pass

    async def close(self) -> None:
        self._feed.following.remove(self)


class MemoryFeed:
    """Pictures by run. What it is told to lose is stored and not told."""

    def __init__(self) -> None:
        self.pictures: dict[str, list[Listed]] = {}
        self.following: list[_Following] = []
        self.epoch, self.number, self.per_run = "1", 0, 1500
        self.away = False
        self.lag = 0
        """So many pictures a replica lacks."""
        self.lists = 0

    def store(self, test_id: str, seq: int = 0, *, reason: str = "", told: bool = True) -> int:
        """Stores a picture. Returns its number."""
        self.number += 1
        kept = self.pictures.setdefault(test_id, [])
        predecessor = kept[-1].frame.number if kept else 0
        kept.append(Listed(Frame(self.number, seq, 1000 + self.number, 30_000), reason))
        del kept[: -self.per_run]
        if told:
            self.tell(test_id, LiveFrame(kept[-1], predecessor))
        return self.number

    def tell(self, test_id: str, live: LiveFrame) -> None:
        """Tells of a picture, whether or not it is stored."""
        for each in [each for each in self.following if each.test_id == test_id]:
            each.on_frame(live)

    def made_again(self) -> None:
        """The stream was deleted and made again."""
        self.pictures.clear()
        self.epoch, self.number = str(int(self.epoch) + 1), 0

    async def follow(self, test_id: str, on_frame: Callable[[LiveFrame], None]) -> Interest:
        self._check()
        following = _Following(self, test_id, on_frame)
        self.following.append(following)
        return following

    async def state(self, test_id: str) -> FramesState:
        self._check()
        await asyncio.sleep(0)
        everything = [each.frame for kept in self.pictures.values() for each in kept]
        oldest = min(everything, default=Frame(self.number + 1, 0, 0, 0))
        kept = len(self.pictures.get(test_id, ()))
        return FramesState(self.epoch, oldest.number, oldest.time_ms, self.number, self.per_run, kept)

    async def all_of(self, test_id: str) -> list[Listed]:
        self._check()
        self.lists += 1
        kept = self.pictures.get(test_id, [])
        found = kept[: len(kept) - self.lag]
        await asyncio.sleep(0)
        return found

    async def newest_of(self, test_id: str) -> list[Listed]:
        return (await self.all_of(test_id))[-1:]

    def _check(self) -> None:
        if self.away:
            raise BrokerUnavailable("away")


class MemoryRuns:
    """What is known of runs: their newest events."""

    def __init__(self, **heads: int) -> None:
        self.heads = heads
        self.known: dict[str, int] = {}
        self.asked = 0

    def known_head(self, test_id: str) -> int:
        return self.known.get(test_id, 0)

    async def head(self, test_id: str) -> int:
        self.asked += 1
        return self.heads.get(test_id, 0)
