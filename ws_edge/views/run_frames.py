"""What pictures one run has, kept current while somebody is interested.

The broker tells of each stored picture by its headers. Whatever that leaves open (a gap, a broker that was away, a
stream that was made again) is closed by reading the list once more: 16 ms of this process for 1,500 pictures.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotFound, TestcastError
from broker.contract.frames import Frame
from broker.contract.ports import Interest
from broker.jetstream.frame_feed import FramesState, Listed, LiveFrame
from broker.log import RateLimited
from broker.retry import Backoff
from ws_edge.views.flood import MAX_PER_S, Flood
from ws_edge.views.frame_index import NO_JPEG, FrameIndex
from ws_edge.views.refused_frames import RefusedFrames

FEW: Final = 64
"""Pictures that are remembered of a run of which nobody wants the list."""
_LAG_S: Final = 0.2
_MAX_LAGS: Final = 10
"""Looks at a replica that has fewer pictures than the leader, before its answer counts."""
_HEAD_SOON_S: Final = 0.03
"""An event that somebody watches is known here in less than this."""
_HEAD_EVERY_S: Final = 1.0
"""After a picture that named an event which does not exist."""
_READ_EVERY_S: Final = 2.0
_SHARE: Final = 50
"""A flooded run takes at most a fiftieth of this process's time."""
_FIRST_LOOK_S: Final = 1.0
_LOOK_S: Final = 10.0
_LONGEST_LOOK_S: Final = 60.0
_limited = RateLimited(logging.getLogger("testcast.frames"), per_s=10.0)


class Runs(Protocol):
    """What must be known of the runs that the pictures belong to."""

    def known_head(self, test_id: str) -> int:
        """The newest event of a run as far as this node knows it; 0 for none. Asks nobody."""

    async def head(self, test_id: str) -> int:
        """The newest event of a run as the broker's leader has it; 0: there is no such run.

        Raises:
            BrokerUnavailable: no leader.
        """


class Feed(Protocol):
    """Where it is read what pictures there are. Every method raises `BrokerUnavailable` and `BrokerRefused`."""

    async def follow(self, test_id: str, on_frame: Callable[[LiveFrame], None]) -> Interest:
        """Calls `on_frame` with each picture of a run as it is stored."""

    async def state(self, test_id: str) -> FramesState:
        """The leader's view."""

    async def all_of(self, test_id: str) -> list[Listed]:
        """The run's pictures in order of number, as a replica has them."""

    async def newest_of(self, test_id: str) -> list[Listed]:
        """The run's newest picture, or nothing, as a replica has it."""


class Shared(NamedTuple):
    """What the runs of one node have in common."""

    feed: Feed
    runs: Runs
    refused: RefusedFrames
    clock: Callable[[], float]
    """Monotonic, seconds."""
    on_newest: Callable[[RunFrames], None]
    """The run has another newest picture, or is known for the first time."""
    on_missing: Callable[[RunFrames], None]
    """There is no such run."""
    on_epoch: Callable[[str], None]
    """Names the life of the stream that was met."""
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class RunFrames:
    """The pictures of one run. All calls from the loop."""

    def __init__(self, test_id: str, shared: Shared) -> None:
        self.test_id = test_id
        self.index = FrameIndex()
        self.state: FramesState | None = None
        """None until the run's pictures have been read."""
        self.whole = False
        """The index has all pictures that are kept; otherwise the newest few."""
        self.missing = False
        self.received = 0
        """Pictures that the broker has told."""
        self.reads = 0
        self.flood = Flood()
        self._shared = shared
        self._wants_whole = False
        self._interest: Interest | None = None
        self._task: asyncio.Task[None] | None = None
        self._dirty = False
        self._reading: bool | None = None
        """Whether the whole list is being read; None: nothing is."""
        self._held: deque[LiveFrame] | None = None
        """What was told while the list is read."""
        self._waiters: list[asyncio.Future[None]] = []
        self._told = -1
        self._closed = False
        self._next_read = 0.0
        self._next_look = 0.0
        self._look_s = _FIRST_LOOK_S
        self._next_head = 0.0
        self._head = 0
        """The newest event of the run when it was last asked for."""

    def __repr__(self) -> str:
        return f"<RunFrames {self.test_id} {self.index!r} {'whole' if self.whole else 'newest'}>"

    async def ready(self, *, whole: bool) -> None:
        """Returns once the pictures are known.

        Args:
            whole: all of them; otherwise the newest.

        Raises:
            NotFound: there is no such run.
            BrokerUnavailable, BrokerRefused: they could not be read.
        """
        while not self._closed:
            if self.missing:
                raise NotFound(self.test_id)
            if self.state is not None and (self.whole or not whole):
                return
            self._wants_whole = self._wants_whole or whole
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self.begin(whole=whole)
            await waiter
        raise BrokerUnavailable("the pictures of this run were given up meanwhile")

    def begin(self, *, whole: bool = False) -> None:
        """Reads the pictures, unless they are being read."""
        if self._reading is None or (whole and not self._reading):
            self.read_again()

    def read_again(self) -> None:
        """What is known may be wrong."""
        self._dirty = True
        self._work_on()

    def shorten(self) -> None:
        """Nobody wants the list any more."""
        self._wants_whole = self.whole = False
        self.index.keep_newest(FEW)

    def has_no_jpeg(self, number: int) -> None:
        """A picture was read, and is none."""
        if self.index.refuse(number, NO_JPEG):
            self._tell()

    def close(self) -> None:
        """Ends the interest."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        self._wake(BrokerUnavailable("the pictures of this run were given up meanwhile"))
        self._unfollow()

    def sweep(self, now: float) -> None:
        """Looks after what no message brings up. Called about twice a second."""
        if self.state is None or self._task is not None:
            return
        if self._interest is None:
            if now >= self._next_read:
                self.read_again()
        elif now >= self._next_read and self._has_caught_up():
            self.read_again()
        elif now >= self._next_look:
            self._look_s = min(_LONGEST_LOOK_S, max(_LOOK_S, 2 * self._look_s))
            self._next_look = now + self._look_s
            if self.whole:
                self._start(self._compare)
            else:
                self.read_again()

    def _has_caught_up(self) -> bool:
        """Whether the run has by now the event that a picture named too early, as where its events were deleted."""
        ahead = self.index.lowest_ahead()
        return ahead is not None and self._shared.runs.known_head(self.test_id) >= ahead

    # -- what the broker tells -----------------------------------------------------------------------------------

    def _on_live(self, live: LiveFrame) -> None:
        if self._closed:
            return
        self.received += 1
        now = self._shared.clock()
        if self.flood.is_one(now):
            self._pause(now)
            return
        if self._held is not None:
            self._held.append(live)
        if self.state is not None:
            self._next_look = now + self._look_s
            self._take(live)
            self._judge()

    def _take(self, live: LiveFrame) -> None:
        frame, last = live.listed.frame, self.index.last_number
        if frame.number <= last:
            if frame.number not in self.index:
                self.doubt()
            return
        if self.whole and live.predecessor != last:
            self.doubt()
        self._add(live.listed)

    def _add(self, listed: Listed) -> None:
        self._append(self.index, listed)
        kept = self.state.per_run if self.state is not None else 0
        self.index.keep_newest((kept or len(self.index)) if self.whole else FEW)

    def _append(self, index: FrameIndex, listed: Listed) -> None:
        refused, number = self._shared.refused, listed.frame.number
        if listed.reason:
            refused.note(self.test_id, number, listed.reason)
        index.add(listed.frame, listed.reason or (NO_JPEG if refused.is_no_jpeg(self.test_id, number) else ""))

    def doubt(self) -> None:
        """A picture is missing, or one was told that is none: the list is read again, not too often."""
        if self._shared.clock() >= self._next_read:
            self.read_again()
        else:
            self._next_look = min(self._next_look, self._next_read)
            self._look_s = _FIRST_LOOK_S

    def _pause(self, now: float) -> None:
        """There are too many: from now on the list is read from time to time."""
        if self._interest is None:
            return
        self.flood.pause(now)
        self._next_read = max(self._next_read, now + _READ_EVERY_S)
        text = "test %s: more than %d pictures a second: its list is read from time to time"
        _limited.warning(text, self.test_id, MAX_PER_S)
        self._unfollow()

    def _unfollow(self) -> None:
        interest, self._interest = self._interest, None
        if interest is not None:
            self._shared.spawn(interest.close())

    # -- what is asked for ---------------------------------------------------------------------------------------

    def _work_on(self) -> None:
        if self._task is None and not self._closed:
            self._start(self._work)

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            backoff = Backoff()
            try:
                while True:
                    try:
                        await work()
                        return
                    except (BrokerUnavailable, BrokerRefused) as error:
                        _limited.info("test %s: reading its pictures: %s", self.test_id, error)
                        self._wake(error)
                        self._held = self._reading = None
                        await asyncio.sleep(backoff.next())
            finally:
                self._task = self._held = self._reading = None
                if not self._closed and (self._dirty or self.index.waits) and not self.missing:
                    self._work_on()

        self._task = self._shared.spawn(run())

    async def _work(self) -> None:
        if self._dirty:
            self._dirty = False
            try:
                await self._read()
            except BaseException:
                self._dirty = True
                raise
        try:
            if self.index.waits and not self.missing:
                await self._ask_head()
        finally:
            if self.state is not None:
                self._wake(None)

    async def _read(self) -> None:
        shared, self._reading = self._shared, self._wants_whole
        if self.state is None and not await shared.runs.head(self.test_id):
            self.missing = True
            self._wake(NotFound(self.test_id))
            shared.on_missing(self)
            return
        self._held = deque(maxlen=4 * MAX_PER_S)
        if self._interest is None and shared.clock() >= self.flood.paused_until:
            interest = await shared.feed.follow(self.test_id, self._on_live)
            self._interest = interest
            await interest.confirm()
        began = shared.clock()
        for lags in range(_MAX_LAGS):
            whole = self._reading = self._wants_whole
            state = await shared.feed.state(self.test_id)
            listed = await (shared.feed.all_of if whole else shared.feed.newest_of)(self.test_id)
            self.reads += 1
            if len(listed) >= (state.pictures if whole else min(1, state.pictures)) or lags == _MAX_LAGS - 1:
                break
            await asyncio.sleep(_LAG_S)
        self._replace(state, listed, whole)
        took_s = shared.clock() - began
        self._next_read = shared.clock() + max(_READ_EVERY_S, _SHARE * took_s if self._interest is None else 0.0)

    def _replace(self, state: FramesState, listed: list[Listed], whole: bool) -> None:
        first = self.state is None
        self._shared.on_epoch(state.epoch)
        self.index = FrameIndex()
        for each in listed:
            self._append(self.index, each)
        self.state, self.whole = state, whole
        held, self._held, self._reading = self._held or (), None, None
        for live in held:
            if live.listed.frame.number > self.index.last_number:
                self._add(live.listed)
        if first:
            self._look_s = _FIRST_LOOK_S
        self._next_look = self._shared.clock() + self._look_s
        self._judge()

    async def _ask_head(self) -> None:
        """A picture names an event that is not known here."""
        clock = self._shared.clock
        await asyncio.sleep(max(_HEAD_SOON_S, self._next_head - clock()))
        self._judge()
        if not self.index.waits:
            return
        index, up_to = self.index, self.index.last_number
        self._head = await self._shared.runs.head(self.test_id)
        if index is self.index:
            refused = index.judge(self._head, up_to)
            self._next_head = clock() + _HEAD_EVERY_S if refused else 0.0
            self._note(refused)
            self._tell()

    async def _compare(self) -> None:
        """Looks whether the leader has as many pictures as are known here."""
        state = await self._shared.feed.state(self.test_id)
        assert self.state is not None
        if state.epoch == self.state.epoch:
            self.index.drop_before(state.oldest_number)
        if state.epoch != self.state.epoch or state.pictures != len(self.index):
            self._dirty = True
        self.state = state

    def _judge(self) -> None:
        if self.index.waits:
            head = max(self._head, self._shared.runs.known_head(self.test_id))
            self._note(self.index.judge(head))
        self._tell()
        if self.index.waits:
            self._work_on()

    def _note(self, refused: list[tuple[int, str]]) -> None:
        for number, reason in refused:
            self._shared.refused.note(self.test_id, number, reason)

    def _tell(self) -> None:
        newest = self.newest
        number = 0 if newest is None else newest.number
        if number != self._told and self.state is not None:
            self._told = number
            self._shared.on_newest(self)

    @property
    def newest(self) -> Frame | None:
        """The newest picture that is shown."""
        return self.index.newest()

    def _wake(self, error: TestcastError | None) -> None:
        waiters, self._waiters = self._waiters, []
        for each in waiters:
            if each.done():
                continue
            if error is None:
                each.set_result(None)
            else:
                each.set_exception(error)
