"""Following runs over NATS: the events of one run, or of all, each once and in order, or a `Reset` where some are gone.

A tail joins history and live events: it takes interest in live events, asks the leader of the stream for the newest
sequence, reads the stream up to it, and continues with the live events that have arrived meanwhile. Every live event
names its predecessor, so the next one reveals a missed event. A missed last event is found by asking the leader again
when no event has come for `LEADER_CHECK_S`. A tail makes no consumer on the broker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

from broker.contract.errors import BrokerUnavailable, NotFound, NotThere
from broker.contract.ports import EventLog, Heads, Interest, LiveEvent, StoredEvent
from broker.contract.position import Position, Reason, decide, link
from broker.contract.snapshot import CANCELLED
from broker.jetstream import runs
from broker.jetstream.scan import certain_last, pages, retains
from broker.retry import pause
from testcast.client.errors import ConnectionLost
from testcast.client.events import Event, Item, Reset, State, Unreadable, Verdict, from_stored
from testcast.client.unreadable import Tally

LEADER_CHECK_S: Final = 2.0
"""How long a tail waits for a live event before it asks the leader for the newest sequence."""
DEFAULT_TIMEOUT_S: Final = 60.0
_TICK_S: Final = 1.0
"""How often `on_state` is called, and the broker tried, while it is unavailable."""


class TailStatistics(NamedTuple):
    """A tail in numbers, since it was made."""

    position: int
    """As `Tail.position`."""
    head: int
    """Newest sequence that the leader has named."""
    held: int
    """Live events that wait until the tail has read up to them."""
    events: int
    """Events delivered."""
    resets: int
    """Resets delivered."""
    leader_checks: int
    """Times that the leader was asked for the newest sequence."""


class Tail:
    """An iterable over the items of a run: `async for item in Tail(log, test_id)`. Iterate over it once.

    The iteration ends with the run (never, for all runs). Leaving it early is safe.

    Args:
        log: the event log, on a connection that the caller closes.
        test_id: the run, None for all runs.
        after: the position to resume after. None: a run from its first event, all runs from now on.
        timeout_s: how long the broker may be unavailable, seconds.
        on_state: called when the broker becomes unavailable or available; runs on the loop and must not block.
        on_unreadable: called after messages that are no events were passed over.
        address: the broker's address, without credentials, for error messages.

    Raises (from the iteration):
        NotFound: nothing is stored under this id.
        ConnectionLost: the broker was unavailable for `timeout_s`, or is back without the run.
    """

    def __init__(
        self,
        log: EventLog,
        test_id: str | None,
        *,
        after: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_state: Callable[[State], None] = lambda _state: None,
        on_unreadable: Callable[[Unreadable], None] = lambda _told: None,
        address: str = "",
    ) -> None:
        self.test_id = test_id
        self.verdict: Verdict | None = None
        """How the run ended; None before that, and for all runs."""
        self.cancelled = False
        """A person has ended the run, as far as its snapshot was read; its end event says so too."""
        self.position = 0
        """Stream sequence up to which everything was delivered."""
        self._log = log
        self._broker = f"the broker at {address}" if address else "the broker"
        self._after = after
        self._timeout_s = timeout_s
        self._on_state = on_state
        self._on_unreadable = on_unreadable
        self._unreadable = Tally()
        self._epoch: str | None = None
        self._head = 0
        """Newest sequence that the leader has named. The stream is read up to it before any live event is taken."""
        self._check_leader = True
        """The leader must be asked before anything else."""
        self._checked_gap = 0
        """Sequence of the live event whose gap led to the newest leader check. The same gap is not checked twice."""
        self._before = 0
        """The position before the newest live event."""
        self._passed_over = 0
        """The newest sequence that was read and is of no run."""
        self._held: deque[tuple[str, LiveEvent]] = deque()
        self._wake_up = asyncio.Event()
        self._unavailable_since: float | None = None
        self._events = self._resets = self._leader_checks = 0

    def __repr__(self) -> str:
        return f"<Tail {self.test_id or 'all'} position={self.position} head={self._head} held={len(self._held)}>"

    def statistics(self) -> TailStatistics:
        """The tail in numbers."""
        return TailStatistics(
            self.position, self._head, len(self._held), self._events, self._resets, self._leader_checks
        )

    async def __aiter__(self) -> AsyncIterator[Item]:
        self._log.on_reconnect.append(self._on_reconnect)
        self._log.on_disconnect.append(self._wake_up.set)
        interest: Interest | None = None
        try:
            while True:
                try:
                    if interest is None:
                        interest = await self._log.follow(self.test_id, self._on_live)
                        await interest.confirm()
                    async for item in self._deliver():
                        yield item
                    for told in self._unreadable.take():
                        self._on_unreadable(told)
                    if self.verdict is not None and self.position >= self._head:
                        return
                    await self._wait_for_event()
                except BrokerUnavailable as error:
                    await self._wait_for_broker(error.message)
        finally:
            self._log.on_reconnect.remove(self._on_reconnect)
            self._log.on_disconnect.remove(self._wake_up.set)
            if interest is not None:
                await interest.close()

    def _on_live(self, test_id: str, event: LiveEvent) -> None:
        self._held.append((test_id, event))
        self._wake_up.set()

    def _on_reconnect(self) -> None:
        self._check_leader = True
        self._wake_up.set()

    async def _deliver(self) -> AsyncIterator[Item]:
        """Asks the leader, reads the stream and takes live events until there is nothing left to deliver."""
        while self._check_leader or self._head > self.position or self._held:
            if self._check_leader:
                self._check_leader = False
                try:
                    reset = await self._ask_leader()
                except BrokerUnavailable:
                    self._check_leader = True
                    raise
                if reset is not None:
                    self._resets += 1
                    yield reset
                self._tell_available()
            if self._head > self.position:
                async for item in self._read_to_head():
                    yield item
            elif self._held and (event := self._take_live()) is not None:
                yield event

    def _take_live(self) -> Event | None:
        """Takes the next live event if it joins on. If there is a gap before it, the leader is asked instead."""
        test_id, (seq, predecessor, data, *_) = self._held[0]
        # The stream holds only events, so for all runs the predecessor of an event is the sequence before it.
        before = seq - 1 if self.test_id is None else predecessor
        match link(self.position, seq, before):
            case "next":
                self._held.popleft()
                self._before = self.position
                event = self._seen(test_id, seq, data)
                # The end is told once the leader has it: whoever may publish live events may forge one.
                self._check_leader |= event is not None and event.ends is not None
                return event
            case "old":
                self._held.popleft()
                self._check_leader |= self._before < seq < self.position  # one of the two was never stored
            case "gap" if seq == self._checked_gap:  # the leader does not know it: it is not an event of the stream
                self._held.popleft()
            case "gap":
                self._checked_gap = seq
                self._check_leader = True
        return None

    def _seen(self, test_id: str, seq: int, data: bytes) -> Event | None:
        self.position = seq
        event = from_stored(test_id, seq, data)
        if event is None:
            self._unreadable.note(test_id, seq, data)
            return None
        self._events += 1
        if self.test_id is not None and self.verdict is None:
            self.verdict = event.ends
        return event

    async def _ask_leader(self) -> Reset | None:
        """Takes the epoch and the newest sequence from the leader. Returns a `Reset` when the position is invalid."""
        self._leader_checks += 1
        try:
            heads = await self._log.heads()
            head = await self._newest(heads)
        except NotThere as error:
            if not error.certain:
                raise
            raise BrokerUnavailable(
                f"{self._broker} holds no runs yet: start an edge or an agent that uses it"
            ) from None
        self._head = head
        if self._epoch is None:
            reset = await self._begin(head, heads.epoch)
            self._epoch = heads.epoch  # only now: a beginning that failed is tried again
            return reset
        if heads.epoch != self._epoch or head < self.position:
            reason: Reason = "ahead" if heads.epoch == self._epoch else "epoch"
            self._epoch = heads.epoch
            self._restart()
            return Reset(self.test_id, reason, self._epoch)
        return None

    async def _newest(self, heads: Heads) -> int:
        known = max(self.position, self._after or 0) if self._epoch in (None, heads.epoch) else 0
        last = heads.last_seq if self.test_id is None else await self._log.last(self.test_id)
        least = known if self.test_id is None else max(known, 1)
        if last < least:  # "ahead" and "gone" need a confirmed answer
            last = max(last, await certain_last(self._log, self.test_id, known))
        if not last and self.test_id is not None:
            if self._epoch is None:
                raise NotFound(self.test_id)
            raise ConnectionLost(f"test {self.test_id} is no longer stored by {self._broker}: its history is gone")
        return last

    async def _begin(self, head: int, epoch: str) -> Reset | None:
        """Sets the position from which the first read starts."""
        if self._after is None:
            self.position = head if self.test_id is None else 0
            return None
        retained = 0 < self._after < head and await retains(self._log, self.test_id, self._after, head)
        decision = decide(Position(None, self._after), epoch, head, retained=retained)
        if decision.outcome == "reset":
            assert decision.reason is not None
            self.position = decision.after
            return Reset(self.test_id, decision.reason, epoch)
        if self.test_id is not None and decision.after:  # the run may have ended before the position
            run = await runs.read(self._log, self.test_id)
            if run.snapshot is not None and run.snapshot.ended:
                self.verdict = "completed" if run.snapshot.status == "completed" else "failed"
                self.cancelled = run.snapshot.list_status == CANCELLED
        self.position = decision.after
        return None

    def _restart(self) -> None:
        self.position = 0
        self.verdict = None
        self._held.clear()

    async def _read_to_head(self) -> AsyncIterator[Item]:
        """Reads the stream from the position to the head.

        Raises:
            BrokerUnavailable: the replica that answers stays behind the leader.
        """
        # Each page starts with the last event that was seen. When that one is gone, events after it may be gone too.
        try:
            async for page in pages(self._log, self.test_id, self.position, self._head, overlap=True):
                if 0 < self.position < page.events[0].seq and self.position != self._passed_over:
                    self._resets += 1
                    yield Reset(self.test_id, "expired", self._epoch)
                for stored in page.events:
                    if stored.seq > self.position and (event := self._stored_event(stored)) is not None:
                        yield event
        except BrokerUnavailable:
            self._check_leader = True  # the event at the head may have been removed since
            raise
        self._head = min(self._head, self.position)

    def _stored_event(self, stored: StoredEvent) -> Event | None:
        if not stored.test_id:  # the stream accepts test.<anything>.events; only a UUID names a run
            self.position = self._passed_over = stored.seq  # it may be a probe's, and gone in a while
            return None
        return self._seen(stored.test_id, stored.seq, stored.data)

    async def _wait_for_event(self) -> None:
        """Waits for the next live event, and for a leader check when none comes.

        Raises:
            BrokerUnavailable: the connection is down.
        """
        self._wake_up.clear()
        if self._held or self._check_leader:
            return
        if not self._log.connected:
            raise BrokerUnavailable("the connection is down")
        try:
            async with asyncio.timeout(LEADER_CHECK_S):
                await self._wake_up.wait()
        except TimeoutError:
            self._check_leader = True

    async def _wait_for_broker(self, detail: str) -> None:
        """Tells that the broker is unavailable, and waits for a tick or for the reconnect.

        Raises:
            ConnectionLost: it has been unavailable for `timeout_s`.
        """
        now = asyncio.get_running_loop().time()
        if self._unavailable_since is None:
            self._unavailable_since = now
        waited_s = now - self._unavailable_since
        if waited_s >= self._timeout_s:
            raise ConnectionLost(
                f"{self._broker} has been unavailable for {waited_s:.0f} s: {detail}", self.position or None
            )
        self._check_leader = True
        self._on_state(State("waiting", "the broker is unavailable", waited_s))
        await pause(min(_TICK_S, self._timeout_s - waited_s), self._log)

    def _tell_available(self) -> None:
        if self._unavailable_since is not None:
            waited_s = asyncio.get_running_loop().time() - self._unavailable_since
            self._unavailable_since = None
            self._on_state(State("live", waited_s=waited_s))
