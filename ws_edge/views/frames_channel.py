"""The `frames` channel: tells viewers that a run has a new picture. Each viewer gets the newest one it has room for."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol

from broker.contract.errors import BadInput
from broker.contract.frames import Frame
from ws_edge.encoding import Encoding
from ws_edge.views.frames import Frames
from ws_edge.views.run_frames import RunFrames

MAX_FOLLOWED: Final = 200
"""Runs whose pictures one socket may follow."""
INTERVAL_S: Final = 0.25
"""A run's viewers are told at most as often, however many pictures come."""
_OWED_S: Final = 0.1


class Follower(Protocol):
    """What the channel needs of a viewer. None of it blocks, none of it raises."""

    @property
    def encoding(self) -> Encoding:
        """What messages to it are encoded with."""

    def waiting(self) -> int:
        """How many bytes wait to be sent to it."""

    def write(self, frames: bytes) -> None:
        """Sends encoded messages."""

    def frames_missing(self, test_id: str) -> None:
        """There is no such run. It does not follow its pictures any more."""


class FramesChannelStatistics(NamedTuple):
    """Who follows pictures at one moment, and what was sent since the start of the node."""

    followers: int
    runs: int
    owed: int
    """Messages that wait until their viewer has room; a newer one takes their place."""
    sent: int


class _Told:
    """What the followers of one run were told."""

    __slots__ = ("at", "frame", "messages", "timer")

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self.at = float("-inf")
        self.timer: asyncio.TimerHandle | None = None
        self.messages: dict[Encoding, bytes] = {}


class FramesChannel:
    """All viewers on this node that follow the pictures of runs.

    A viewer whose write buffer is beyond `high_water_bytes` is told of the newest picture once it has room.
    """

    def __init__(self, frames: Frames, high_water_bytes: int) -> None:
        self._frames = frames
        self._high_water_bytes = high_water_bytes
        self._followed: dict[Follower, set[str]] = {}
        self._followers: dict[str, set[Follower]] = {}
        self._told: dict[str, _Told] = {}
        self._owed: dict[Follower, set[str]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        frames.on_newest, frames.on_missing = self._on_newest, self._on_missing
        frames.followed = self._followers.__contains__

    def __repr__(self) -> str:
        return f"<FramesChannel followers={len(self._followed)} runs={len(self._followers)}>"

    def __contains__(self, follower: object) -> bool:
        return follower in self._followed

    def statistics(self) -> FramesChannelStatistics:
        """The figures of this moment."""
        owed = sum(map(len, self._owed.values()))
        return FramesChannelStatistics(len(self._followed), len(self._followers), owed, self._sent)

    def followed_by(self, follower: Follower) -> tuple[str, ...]:
        """The runs whose pictures a viewer follows."""
        return tuple(self._followed.get(follower, ()))

    def follows(self, follower: Follower, test_id: str) -> bool:
        """Whether a viewer follows a run's pictures."""
        return test_id in self._followed.get(follower, ())

    def add(self, follower: Follower, test_id: str) -> None:
        """The viewer is told of the run's newest picture now, and of newer ones as they come.

        Raises:
            BadInput: it follows too many.
        """
        followed = self._followed.get(follower, set())
        if test_id not in followed and len(followed) >= MAX_FOLLOWED:
            raise BadInput(f"at most {MAX_FOLLOWED} runs' pictures on one socket", code="too_many_subscriptions")
        followed.add(test_id)
        self._followed[follower] = followed
        self._followers.setdefault(test_id, set()).add(follower)
        run = self._frames.of(test_id)
        if run.state is None:
            run.begin()
        elif (newest := run.newest) is not None:
            self._give(self._of(test_id, newest), test_id, (follower,))

    def remove(self, follower: Follower, test_id: str) -> bool:
        """Ends that. Returns whether the viewer has followed the run's pictures."""
        followed = self._followed.get(follower, set())
        if test_id not in followed:
            return False
        followed.discard(test_id)
        if not followed:
            del self._followed[follower]
        self._settle(follower, test_id)
        followers = self._followers[test_id]
        followers.discard(follower)
        if not followers:
            del self._followers[test_id]
            told = self._told.pop(test_id, None)
            if told is not None and told.timer is not None:
                told.timer.cancel()
        return True

    def leave(self, follower: Follower) -> None:
        """The viewer follows nothing any more; harmless when it does not."""
        for test_id in self.followed_by(follower):
            self.remove(follower, test_id)

    def _on_missing(self, test_id: str) -> None:
        for follower in tuple(self._followers.get(test_id, ())):
            self.remove(follower, test_id)
            follower.frames_missing(test_id)

    def _on_newest(self, run: RunFrames) -> None:
        if run.test_id not in self._followers:
            return
        told = self._told.setdefault(run.test_id, _Told())
        now = asyncio.get_running_loop().time()
        if told.timer is None:
            if now >= told.at + INTERVAL_S:
                self._tell(run.test_id)
            else:
                told.timer = asyncio.get_running_loop().call_at(told.at + INTERVAL_S, self._tell, run.test_id)

    def _tell(self, test_id: str) -> None:
        run, told = self._frames.known(test_id), self._told[test_id]
        told.timer = None
        newest = None if run is None else run.newest
        if newest is not None and newest != told.frame:
            told.at = asyncio.get_running_loop().time()
            self._give(self._of(test_id, newest), test_id, self._followers[test_id])

    def _of(self, test_id: str, frame: Frame) -> _Told:
        told = self._told.setdefault(test_id, _Told())
        if told.frame != frame:
            told.frame, told.messages = frame, {}
        return told

    def _give(self, told: _Told, test_id: str, followers: set[Follower] | tuple[Follower, ...]) -> None:
        for follower in followers:
            if follower.waiting() > self._high_water_bytes:
                self._owed.setdefault(follower, set()).add(test_id)
            else:
                self._settle(follower, test_id)
                self._write(told, test_id, follower)
        self._arm()

    def _write(self, told: _Told, test_id: str, follower: Follower) -> None:
        encoding, frame = follower.encoding, told.frame
        message = told.messages.get(encoding)
        if message is None:
            assert frame is not None
            fields = {"testId": test_id, "number": frame.number, "eventSeq": frame.seq, "timeMs": frame.time_ms}
            message = told.messages[encoding] = encoding.control("frame", **fields)
        follower.write(message)
        self._sent += 1

    def _settle(self, follower: Follower, test_id: str) -> None:
        owed = self._owed.get(follower)
        if owed is not None:
            owed.discard(test_id)
            if not owed:
                del self._owed[follower]

    def _arm(self) -> None:
        if self._timer is None and self._owed:
            self._timer = asyncio.get_running_loop().call_later(_OWED_S, self._pay)

    def _pay(self) -> None:
        """Tells those who had no room and have it now."""
        self._timer = None
        for follower, owed in list(self._owed.items()):
            for test_id in tuple(owed):
                if follower.waiting() > self._high_water_bytes:
                    break
                self._settle(follower, test_id)
                self._write(self._told[test_id], test_id, follower)
        self._arm()
