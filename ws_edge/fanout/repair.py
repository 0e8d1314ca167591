"""Opening a topic, reading what it missed, asking the leader: one piece of work at a time, tried until it succeeds.

No order of "subscribe" and "read" is sound by itself in a cluster: direct gets may be stale by half a second, and
interest takes time to spread. Three checks carry it. The gap check (`continuity`) finds a missing event at the next
one. The leader check of the hub finds a missing last one. A read always begins with the newest event received, so
events that were removed meanwhile are noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from broker.contract.errors import NotFound, TestcastError
from broker.contract.ids import is_probe_id
from broker.contract.ports import EventLog, Interest, LiveEvent, Page, StoredEvent
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.scan import LAG_PAUSE_S, MAX_LAG_S, PAGE_EVENTS, SECOND_LOOK_S, certain_last, pages
from broker.log import RateLimited
from broker.retry import Backoff, retry
from ws_edge.fanout.continuity import Continuity
from ws_edge.fanout.resume import NOWHERE, LeaderAnswer, Stage
from ws_edge.fanout.session import Session

_RETRY_S: Final = 0.25
_LONGEST_RETRY_S: Final = 0.5
_limited = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)


class LogSource(Protocol):
    """What a repair needs of the node."""

    epoch: str
    """This life of the stream; empty until the broker has been asked."""

    @property
    def log(self) -> EventLog:
        """The event log of this node."""

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here."""


class Repaired(Protocol):
    """What a repair needs of its topic."""

    test_id: str
    epoch: str
    """The life of the stream that its positions belong to."""
    order: Continuity
    behind: set[Session]

    def on_arrival(self, test_id: str, event: LiveEvent) -> None:
        """Takes a live event as it comes."""

    def on_live(self, test_id: str, event: LiveEvent) -> None:
        """Takes a live event that was held."""

    def take(self, seq: int, data: bytes, stored_ms: int) -> None:
        """Receives the next event in order."""

    def resume_all(self, received: int) -> None:
        """What is held is not continuous with the event after `received`: every viewer resumes."""

    def on_opened(self, epoch: str, received: int, fallback: Snapshot | None) -> None:
        """Interest stands, and `received` is the newest event."""

    def on_missing(self) -> None:
        """There is no such test."""

    def disproved(self, seq: int, newest: int) -> None:
        """What was received at `seq` was never stored there. The run's newest event is `newest`."""

    def on_resolved(self) -> None:
        """Nothing is known to be missing."""

    def pump_all(self) -> None:
        """Pumps every session that is behind."""


class Repair:
    """The work of one topic that has to wait for the broker."""

    def __init__(self, topic: Repaired, source: LogSource) -> None:
        self._topic = topic
        self._source = source
        self._interest: Interest | None = None
        self._task: asyncio.Task[None] | None = None
        self._exists = False
        self._disputed: tuple[int, bytes] | None = None
        """What was received, and may never have been stored."""
        self._judged = 0
        """The newest sequence that was found to be what the stream has, or had."""

    def __repr__(self) -> str:
        return f"<Repair of {self._topic.test_id} {'busy' if self._task is not None else 'idle'}>"

    def open(self) -> None:
        """Starts the splice."""
        self._start(self._open)

    def catch_up(self, newest: int = 0) -> None:
        """Starts reading what was missed; nothing happens while other work is under way, which ends with this.

        Args:
            newest: what the leader says is the last event; 0 when it was not asked.
        """
        self._start(partial(self._catch_up, newest))

    def ask_leader(self) -> None:
        """Starts asking the leader, for a position past everything known here or events that a read did not find.

        Stores the answer in every session that is behind.
        """
        self._start(self._ask_leader)

    def judge(self) -> None:
        """Starts comparing the newest event received with what is stored, when the work under way has ended.

        Whoever may publish live events may forge them.
        """
        order = self._topic.order
        if is_probe_id(self._topic.test_id):
            return  # the canary knows its own events
        if order.data is not None and order.received > self._judged:
            self._disputed = (order.received, order.data)
            self._start(self._judge)

    def abandon(self) -> None:
        """Gives up the work under way."""
        self._disputed, self._judged = None, 0
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """Gives up the work and the interest."""
        self.abandon()
        if self._interest is not None:
            await self._interest.close()

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._until_done(work), name=f"topic-{self._topic.test_id}")

    async def _until_done(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        backoff = Backoff(_RETRY_S, _LONGEST_RETRY_S)
        await retry(work, on=(Exception,), backoff=backoff, source=self._source.log, on_failure=self._on_failure)
        self._task = None
        if self._exists and self._disputed is not None:
            self._start(self._judge)
        elif self._exists and not self._topic.order.sound:  # found while this work was under way
            self.catch_up()
        self._topic.pump_all()

    def _on_failure(self, error: Exception) -> None:
        # Also after an unexpected error: a topic that stops repairing itself would lose events silently.
        expected = isinstance(error, TestcastError)
        _limited.warning("topic %s: %s", self._topic.test_id, error, exc_info=not expected)

    async def _open(self) -> None:
        """The splice: interest first, then the newest sequence. Live events wait in between."""
        log, test_id = self._source.log, self._topic.test_id
        if self._interest is None:
            self._interest = await log.follow(test_id, self._topic.on_arrival)
        await self._interest.confirm()
        epoch = self._source.epoch or (await log.heads()).epoch
        self._topic.order.held.clear()  # the leader's answer takes in what has come until now
        last = await log.last(test_id)
        if not last and not self._exists:
            last = await log.last(test_id, confirmed=True)
        if not last and not self._exists:
            self._topic.on_missing()
            return
        self._exists = True
        fallback = None
        if last and self._source.snapshot(test_id) is None:
            with contextlib.suppress(NotFound):
                fallback = (await runs.read(log, test_id)).snapshot
        self._topic.on_opened(epoch, last, fallback)
        self._resolve()

    async def _catch_up(self, newest: int) -> None:
        """Reads what was missed, in order, until no event is known that was not received."""
        log, topic, order = self._source.log, self._topic, self._topic.order
        while True:
            missing = pages(log, topic.test_id, order.received, newest, overlap=True, limit=PAGE_EVENTS)
            async for page in missing:
                if self._contradicts(page.events[0]):
                    if not await self._is_of_this_life():
                        await asyncio.sleep(LAG_PAUSE_S)
                        return  # the hub restarts the topic
                    topic.disproved(page.events[0].seq, page.events[0].seq - 1)
                self._take_page(page)
            self._resolve()
            if order.sound and order.received >= newest:
                return
            order.doubt()
            await asyncio.sleep(LAG_PAUSE_S)
            asked_of = len(order.held)
            newest = await log.last(topic.test_id, confirmed=True)
            order.forget_held(asked_of, newest)
            order.believe(newest)

    def _take_page(self, page: Page) -> None:
        topic = self._topic
        # Where the newest event received is still there, nothing behind it is gone.
        first = page.events[0]
        if 0 < (received := topic.order.received) < first.seq:
            topic.resume_all(first.seq - 1)
            if received == first.seq - 1:  # else a viewer there would count as one that lacks nothing
                topic.order.first = first.seq
        for event in page.events:
            if event.seq > topic.order.received:
                topic.take(event.seq, event.data, event.stored_ms)

    def _resolve(self) -> None:
        """Ends a splice or a catch-up. What was held is next, or old, or shows that there is more to read."""
        order, gaps = self._topic.order, self._topic.order.gaps
        self._topic.on_resolved()
        for event in order.resolve():
            self._topic.on_live(self._topic.test_id, event)
        order.gaps = gaps

    async def _judge(self) -> None:
        """Compares what was received with what is stored at its sequence.

        It is forged where the stream has not reached that sequence, or has something else there. A sequence that was
        purged proves nothing.
        """
        log, topic = self._source.log, self._topic
        if self._disputed is None:
            return
        seq, data = self._disputed
        if (await log.heads()).last_seq < seq:
            await asyncio.sleep(SECOND_LOOK_S)  # as in `certain_last`
        newest = await log.last(topic.test_id, confirmed=True)
        reached = newest >= seq or (await log.heads()).last_seq >= seq
        found = await self._at(seq) if reached else None
        same = await self._is_of_this_life()
        if self._disputed == (seq, data):
            self._disputed = None
        if not same:
            return  # the hub restarts the topic
        if found is not None and (found.test_id, found.seq, found.data) == (topic.test_id, seq, data):
            self._judged = max(self._judged, seq)
        elif not reached or (found is not None and found.seq == seq):
            _limited.warning("topic %s: the live event at %d was never stored: it is forged", topic.test_id, seq)
            topic.disproved(seq, newest)
        else:
            self._judged = max(self._judged, seq)  # purged

    def _contradicts(self, stored: StoredEvent) -> bool:
        """What is stored in the place of the newest event received is something else."""
        order = self._topic.order
        return order.received == stored.seq and order.data not in (None, stored.data)

    async def _is_of_this_life(self) -> bool:
        """Whether the stream is still the one that the topic's positions belong to: it may have been made anew."""
        return (await self._source.log.heads()).epoch == self._topic.epoch

    async def _at(self, seq: int) -> StoredEvent | None:
        """The first event of any run at `seq` or later; None where it was purged."""
        deadline = asyncio.get_running_loop().time() + MAX_LAG_S
        while not (found := (await self._source.log.read(None, seq - 1, 1)).events):
            if asyncio.get_running_loop().time() >= deadline:
                return None
            await asyncio.sleep(LAG_PAUSE_S)  # the replica lags, or it is gone
        return found[0]

    async def _ask_leader(self) -> None:
        """The answer may be a `reset`, so it has to be certain: a deposed leader lacks what its successor has stored,
        one whose disk is full what it has acknowledged, and viewers would throw good positions away."""
        topic, log = self._topic, self._source.log
        asking, received = tuple(topic.behind), topic.order.received
        known = max(received, *(_claimed(session, topic.epoch) for session in asking), 0)
        newest = await certain_last(log, topic.test_id, known, self._pause_while_sound)
        if newest < known and not topic.order.sound:
            return  # the pause was cut short
        if newest > topic.order.received:
            topic.order.doubt()
            await self._catch_up(newest)
            return
        for session in asking:
            session.leader_answer = LeaderAnswer(newest, received)
        await asyncio.sleep(LAG_PAUSE_S)

    async def _pause_while_sound(self, seconds: float) -> None:
        """Ends as soon as events are found to be missing: who claims a position delays nobody else."""
        order, clock = self._topic.order, asyncio.get_running_loop().time
        until = clock() + seconds
        while order.sound and clock() < until:
            await asyncio.sleep(LAG_PAUSE_S)


def _claimed(session: Session, epoch: str) -> int:
    """The sequence that a session says it has of this life of the stream; 0 for none."""
    asked = session.asked
    if asked is None or session.stage not in (Stage.ASKED, Stage.JUDGING) or asked.epoch not in (None, epoch):
        return 0
    return 0 if asked.seq == NOWHERE else asked.seq
