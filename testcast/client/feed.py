"""A tail over NATS: the events of one run, or of all, each once, in order, or a `Reset` that says why not.

DESIGN 5's splice for a reader of one: hear live events, read the stream up to what its leader has, let the held ones
through. Every live event names its predecessor, so a hole shows with the next one; a last event that was missed shows
in a look at the leader, made every 2 s while it is quiet. No consumer is made on the broker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotFound
from broker.contract.ports import Interest, LiveEvent, StoredEvent
from broker.contract.position import Position, Reason, decide, link
from broker.jetstream import runs
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.scan import pages, retains
from testcast.client.errors import ConnectionLost
from testcast.client.events import Event, Item, Reset, State, Verdict, from_stored

SETTLE_S: Final = 2.0
DEFAULT_TIMEOUT_S: Final = 60.0
_TICK_S: Final = 1.0
_NO_STREAM: Final = 10059


class Tail:
    """Iterate over it once: `async for item in Tail(nats, test_id)`.

    The iteration ends with the run (never, for all runs). It is safe to leave it early.

    Args:
        nats: a connection of the caller's, who closes it.
        test_id: the run, None for all runs.
        after: the position to go on after. None: a run from its first event, all runs from now on.
        timeout_s: how long the broker may be away, seconds.
        on_state: told about the connection; called on the loop, must not block.

    Raises (from the iteration):
        NotFound: nothing is stored under this id.
        ConnectionLost: the broker was away for `timeout_s`, or came back without the run.
    """

    def __init__(
        self,
        nats: Connection,
        test_id: str | None,
        *,
        after: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_state: Callable[[State], None] = lambda _state: None,
    ) -> None:
        self.test_id = test_id
        self.verdict: Verdict | None = None
        """How the run ended; None before, and for all runs."""
        self.position = 0
        """Stream sequence up to which everything was seen."""
        self._nats = nats
        self._log = JetStreamLog(nats)
        self._after = after
        self._timeout_s = timeout_s
        self._on_state = on_state
        self._epoch: str | None = None
        self._target = 0
        """What the leader has at least: reading is not done before it is reached."""
        self._look = True
        """Ask the leader before anything else is believed."""
        self._doubted = 0
        """The live event whose gap made us look; one look is enough."""
        self._held: deque[tuple[str, LiveEvent]] = deque()
        self._wake = asyncio.Event()
        self._away_since: float | None = None

    def __repr__(self) -> str:
        return f"<Tail {self.test_id or 'all'} position={self.position} target={self._target} held={len(self._held)}>"

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._items()

    async def _items(self) -> AsyncIterator[Item]:
        self._nats.on_reconnect.append(self._on_reconnect)
        self._nats.on_disconnect.append(self._wake.set)
        interest: Interest | None = None
        try:
            while True:
                try:
                    if interest is None:
                        interest = await self._log.follow(self.test_id, self._on_live)
                        await interest.confirm()
                    async for item in self._advance():
                        yield item
                    if self.verdict is not None and self.position >= self._target:
                        return
                    await self._rest()
                except BrokerUnavailable as error:
                    await self._away(error.message)
        finally:
            self._nats.on_reconnect.remove(self._on_reconnect)
            self._nats.on_disconnect.remove(self._wake.set)
            if interest is not None:
                await interest.close()

    def _on_live(self, test_id: str, event: LiveEvent) -> None:
        self._held.append((test_id, event))
        self._wake.set()

    def _on_reconnect(self) -> None:
        self._look = True
        self._wake.set()

    async def _advance(self) -> AsyncIterator[Item]:
        """Everything there is to show now: looks, reads and lets held events through until nothing is left."""
        while self._look or self._target > self.position or self._held:
            if self._look:
                self._look = False
                try:
                    reset = await self._ask_leader()
                except BrokerUnavailable:
                    self._look = True
                    raise
                if reset is not None:
                    yield reset
                self._back()
            if self._target > self.position:
                async for item in self._read_on():
                    yield item
            elif self._held and (event := self._take()) is not None:
                yield event

    def _take(self) -> Event | None:
        """The next held event, if it fits; one that leaves a gap makes the leader be asked instead."""
        test_id, (seq, predecessor, data) = self._held[0]
        # The stream holds nothing but events, so among all runs an event's predecessor is the sequence before it.
        before = seq - 1 if self.test_id is None else predecessor
        match link(self.position, seq, before):
            case "next":
                self._held.popleft()
                return self._seen(test_id, seq, data)
            case "old":
                self._held.popleft()
            case "gap" if seq == self._doubted:  # the leader was asked and does not know it: no event of the stream
                self._held.popleft()
            case "gap":
                self._doubted = seq
                self._look = True
        return None

    def _seen(self, test_id: str, seq: int, data: bytes) -> Event | None:
        self.position = seq
        event = from_stored(test_id, seq, data)
        if event is not None and self.test_id is not None and self.verdict is None:
            self.verdict = event.ends
        return event

    async def _ask_leader(self) -> Reset | None:
        """Takes the stream's life and the newest position from its leader; a `Reset` when ours is not to be had."""
        try:
            heads = await self._log.heads()
            head = heads.last_seq if self.test_id is None else await self._newest(self.test_id)
        except BrokerRefused as error:
            if error.err_code == _NO_STREAM:
                raise BrokerUnavailable(
                    f"{self._nats.address} holds no runs yet: is an edge or an agent connected to it?"
                ) from None
            raise
        self._target = head
        if self._epoch is None:
            self._epoch = heads.epoch
            return await self._begin(head)
        if heads.epoch != self._epoch or head < self.position:
            reason: Reason = "ahead" if heads.epoch == self._epoch else "epoch"
            self._epoch = heads.epoch
            self._restart()
            return Reset(self.test_id, reason, self._epoch)
        return None

    async def _newest(self, test_id: str) -> int:
        last = await self._log.last(test_id)
        if last < max(self.position, self._after or 0, 1):  # "gone" and "ahead" only if certain
            last = await self._log.last(test_id, confirmed=True)
        if not last:
            if self._epoch is None:
                raise NotFound(test_id)
            raise ConnectionLost(f"test {test_id} is not on {self._nats.address} any more: its history is gone")
        return last

    async def _begin(self, head: int) -> Reset | None:
        if self._after is None:
            self.position = head if self.test_id is None else 0
            return None
        retained = 0 < self._after < head and await retains(self._log, self.test_id, self._after, head)
        decision = decide(Position(None, self._after), self._epoch or "", head, retained=retained)
        self.position = decision.after
        if decision.outcome == "reset":
            assert decision.reason is not None
            return Reset(self.test_id, decision.reason, self._epoch)
        if self.test_id is not None and decision.after:  # it may have ended before the position
            run = await runs.read(self._log, self.test_id)
            if run.snapshot is not None and run.snapshot.ended:
                self.verdict = "completed" if run.snapshot.status == "completed" else "failed"
        return None

    def _restart(self) -> None:
        self.position = 0
        self.verdict = None
        self._held.clear()

    async def _read_on(self) -> AsyncIterator[Item]:
        """Reads the stream from the position to the target.

        Raises:
            BrokerUnavailable: the replica that answers stays behind the leader.
        """
        # From the last one seen, and that one must come first: otherwise what followed it is gone as well.
        try:
            async for page in pages(self._log, self.test_id, self.position, self._target, overlap=True):
                if 0 < self.position < page.events[0].seq:
                    yield Reset(self.test_id, "expired", self._epoch)
                for stored in page.events:
                    if stored.seq > self.position and (event := self._stored_event(stored)) is not None:
                        yield event
        except BrokerUnavailable:
            self._look = True  # the event at the target may have been removed since
            raise
        self._target = min(self._target, self.position)

    def _stored_event(self, stored: StoredEvent) -> Event | None:
        if not stored.test_id:  # the stream takes test.<anything>.events; only a UUID names a run
            self.position = stored.seq
            return None
        return self._seen(stored.test_id, stored.seq, stored.data)

    async def _rest(self) -> None:
        """Waits for the next live event; when none comes, asks the leader whether there was one."""
        self._wake.clear()
        if self._held or self._look:
            return
        if not self._nats.connected:
            raise BrokerUnavailable("the connection is down")
        try:
            async with asyncio.timeout(SETTLE_S):
                await self._wake.wait()
        except TimeoutError:
            self._look = True

    async def _away(self, detail: str) -> None:
        """Tells, and waits for a second or for the broker.

        Raises:
            ConnectionLost: it has been away for too long.
        """
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = now
        waited_s = now - self._away_since
        if waited_s >= self._timeout_s:
            raise ConnectionLost(
                f"the broker at {self._nats.address} has been away for {waited_s:.0f} s: {detail}",
                self.position or None,
            )
        self._look = True
        self._on_state(State("waiting", "broker away", waited_s))
        self._wake.clear()
        try:
            async with asyncio.timeout(min(_TICK_S, self._timeout_s - waited_s)):
                await self._wake.wait()
        except TimeoutError:
            pass
        else:
            await asyncio.sleep(0.05)  # disconnected and woken in one: no reason to spin

    def _back(self) -> None:
        if self._away_since is not None:
            waited_s = asyncio.get_running_loop().time() - self._away_since
            self._away_since = None
            self._on_state(State("live", waited_s=waited_s))
