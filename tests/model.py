"""A virtual clock, a model of the broker, and model viewers. A test controls them and checks any interleaving.

Waiting takes no real time, and the same steps always give the same history. The broker is a model of what `EventLog`
promises to a topic: a leader that answers correctly, replicas that lag, and live messages that may be late, lost,
duplicated or out of order. It keeps every event, so that a test can check what each viewer received.

Longer than 400 lines: the model's parts (loop, broker, transport, client) are only used together.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import orjson
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN
from websockets.protocol import Protocol as FrameParser

from broker.contract.errors import BrokerUnavailable
from broker.contract.ports import Ack, Heads, Interest, LiveEvent, OnLive, Page, StoredEvent, Unstored

T = TypeVar("T")


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without I/O. Its clock jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.errors: list[dict[str, Any]] = []
        self._busy = 0
        self._selector = self
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def time(self) -> float:
        return self.now

    def select(self, timeout: float | None) -> list[Any]:
        assert timeout is not None, "no callback and no timer is left: the test waits forever"
        self._busy = 0 if timeout > 0 else self._busy + 1
        assert self._busy < 2000, "callbacks keep the loop busy forever"
        self.now += max(0.0, timeout)
        return []

    def _process_events(self, events: list[Any]) -> None:
        pass

    def call(self, work: Callable[[], Any]) -> Any:
        """Runs `work` in one turn of the loop. Callbacks that it schedules run in the next turn."""
        result: list[Any] = []
        self.call_soon(lambda: result.append(work()))
        self.turns(1)
        self.check()
        return result[0]

    def turns(self, count: int) -> None:
        """Runs `count` turns of the loop. No virtual time passes."""
        for _ in range(count):
            self.call_soon(self.stop)
            self.run_forever()
        self.check()

    def run_for(self, seconds: float) -> None:
        """Lets `seconds` of virtual time pass."""
        self.call_later(seconds, self.stop)
        self.run_forever()
        self.check()

    def check(self) -> None:
        """Raises AssertionError if a callback or task failed with an unhandled exception."""
        for context in self.errors:
            raise AssertionError(f"in the loop: {context}") from context.get("exception")

    def finish(self) -> None:
        """Cancels the remaining tasks and closes the loop."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.close()


class Kept(NamedTuple):
    """A stored event, whether its payload is valid, and when it was stored."""

    seq: int
    predecessor: int
    raw: bytes
    valid: bool
    stored_at: float


class Life:
    """The stream between two recreations, one epoch. Keeps purged events too; they are the ones up to `floor`."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.events: list[Kept] = []
        self.last_seq = 0
        self.foreign: list[StoredEvent] = []
        """Events of other runs."""
        self.floor = 0
        """Events up to this sequence are purged."""
        self._floors: list[tuple[float, int]] = []
        self._lasts: list[tuple[float, int]] = [(0.0, 0)]

    def store(self, raw: bytes, valid: bool, now: float) -> Kept:
        predecessor = self.retained()[-1].seq if self.retained() else 0
        self._advance(1, now)
        kept = Kept(self.last_seq, predecessor, raw, valid, now)
        self.events.append(kept)
        return kept

    def pass_over(self, count: int, now: float) -> None:
        """Advances the sequence by events of other runs."""
        for seq in range(self.last_seq + 1, self.last_seq + count + 1):
            self.foreign.append(StoredEvent("another run", seq, b"{}", stored_ms=int(now * 1000)))
        self._advance(count, now)

    def _advance(self, count: int, now: float) -> None:
        self.last_seq += count
        self._lasts.append((now, self.last_seq))

    def purge(self, up_to: int, now: float) -> None:
        self.floor = max(self.floor, up_to)
        self._floors.append((now, self.floor))

    def retained(self, at: float = float("inf")) -> list[Kept]:
        """The retained events as a replica has them that applied everything up to the time `at`."""
        floor = max((seq for when, seq in self._floors if when <= at), default=0)
        return [event for event in self.events if event.stored_at <= at and event.seq > floor]

    def last_at(self, at: float) -> int:
        return max((seq for when, seq in self._lasts if when <= at), default=0)

    def valid(self, after: int, up_to: float = float("inf")) -> list[int]:
        """Sequences of the valid events in (after, up_to], including purged ones."""
        return [event.seq for event in self.events if event.valid and after < event.seq <= up_to]

    def valid_retained(self, after: int, up_to: float = float("inf")) -> list[int]:
        return [seq for seq in self.valid(after, up_to) if seq > self.floor]


class ModelBroker:
    """A model of `broker.contract.ports.EventLog` with one run."""

    def __init__(self, loop: VirtualLoop, test_id: str) -> None:
        self.loop = loop
        self.test_id = test_id
        self.connected = True
        self.on_reconnect: list[Callable[[], None]] = []
        self.on_disconnect: list[Callable[[], None]] = []
        self.life = Life("1")
        self.lives = {"1": self.life}
        self.latency_s = 0.001
        self.lags_s = [0.0]
        """Replicas answer in turn; each is this many seconds behind the leader."""
        self.deposed_s = 0.0
        """If not 0, a leader that was deposed this long ago answers. Only `last(confirmed=True)` detects it."""
        self.forgets_from: float = math.inf
        """The leader and its replicas answer as if nothing was stored from here on: they could not write it."""
        self.failing = 0
        """Number of further requests that fail."""
        self.max_page_bytes = 1 << 20
        self.forged: set[tuple[int, bytes]] = set()
        """Sequence and payload of each live message that was forged."""
        self.reads = 0
        self._turn = 0
        self._handlers: list[OnLive] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._in_flight: list[asyncio.TimerHandle] = []

    # -- controlled by the test ----------------------------------------------------------------------------------

    def put(self, raw: bytes, valid: bool, deliveries_s: list[float]) -> Kept:
        """Stores an event, and sends its live message once for each delay in `deliveries_s`."""
        kept = self.life.store(raw, valid, self.loop.now)
        for delay in deliveries_s:
            self.deliver(kept, delay)
        return kept

    def forge(self, seq: int, predecessor: int, raw: bytes) -> None:
        """Sends a live message of an event that was never stored."""
        self.forged.add((seq, raw))
        self._deliver(Kept(seq, predecessor, raw, True, self.loop.now))

    def deliver(self, kept: Kept, delay_s: float) -> None:
        """Sends the live message of a stored event, also repeatedly."""
        self._in_flight.append(self.loop.call_later(delay_s, self._deliver, kept))

    def _deliver(self, kept: Kept) -> None:
        if not self.connected:
            return
        event = LiveEvent(kept.seq, kept.predecessor, kept.raw, int(kept.stored_at * 1000))
        for handler in tuple(self._handlers):
            handler(self.test_id, event)

    def recreate(self) -> None:
        """Deletes and recreates the stream. Live messages in flight are lost; answers in flight arrive."""
        for timer in self._in_flight:
            timer.cancel()
        self.life = Life(str(int(self.life.epoch) + 1))
        self.lives[self.life.epoch] = self.life

    def disconnect(self) -> None:
        self.connected = False
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(BrokerUnavailable("lost the broker"))
        for callback in self.on_disconnect:
            callback()

    def reconnect(self) -> None:
        if not self.connected:
            self.connected = True
            for callback in self.on_reconnect:
                callback()

    # -- EventLog ------------------------------------------------------------------------------------------------

    async def follow(self, test_id: str | None, on_event: OnLive) -> Interest:
        handlers = self._handlers if test_id == self.test_id else []
        handlers.append(on_event)
        return ModelInterest(self, lambda: handlers.remove(on_event))

    async def read(self, test_id: str | None, after: int, limit: int, *, max_bytes: int = 4 << 20) -> Page:
        def serve() -> Page:
            self.reads += 1
            if test_id is None:
                return self._any(after, limit)
            stored = self.life.retained(self._replica_time()) if test_id == self.test_id else []
            behind = [event for event in stored if after < event.seq < self.forgets_from]
            taken: list[StoredEvent] = []
            size = 0
            for event in behind[:limit]:
                size += len(event.raw)
                if taken and size > min(max_bytes, self.max_page_bytes):
                    break
                stored_ms = int(event.stored_at * 1000)
                taken.append(StoredEvent(self.test_id, event.seq, event.raw, stored_ms=stored_ms))
            return Page(taken, len(taken) == len(behind))

        return await self.request(serve)

    def _any(self, after: int, limit: int) -> Page:
        """The events of all runs."""
        at = self._replica_time()
        ours = [
            StoredEvent(self.test_id, each.seq, each.raw, stored_ms=int(each.stored_at * 1000))
            for each in self.life.retained(at)
        ]
        others = [each for each in self.life.foreign if each.stored_ms <= at * 1000]
        found = sorted((each for each in (*ours, *others) if each.seq > after), key=lambda each: each.seq)
        return Page(found[:limit], len(found) <= limit)

    async def last(self, test_id: str | None, *, confirmed: bool = False) -> int:
        if confirmed and self.deposed_s:
            raise BrokerUnavailable("the answering node is not the leader any more")

        def serve() -> int:
            at = self.loop.now - (0.0 if confirmed else self.deposed_s)
            retained = self._known(at) if test_id in (self.test_id, None) else []
            others = [each.seq for each in self.life.foreign] if test_id is None else []
            return max([*others, *(each.seq for each in retained[-1:])], default=0)

        return await self.request(serve)

    async def heads(self, test_ids: Sequence[str] = ()) -> Heads:
        def of_leader() -> tuple[str, int]:
            last_seq = self.life.last_at(self.loop.now - self.deposed_s)
            return self.life.epoch, int(min(last_seq, self.forgets_from - 1))

        epoch, last_seq = await self.request(of_leader)
        if not test_ids:
            return Heads(epoch, last_seq, {})

        def of_replica() -> Heads:
            at = self._replica_time()
            if self.life.last_at(at) < last_seq:
                return Heads(epoch, last_seq, None)
            retained = self._known(at)
            if not retained:
                return Heads(epoch, last_seq, {})
            return Heads(epoch, last_seq, {self.test_id: retained[-1].seq}, {self.test_id: retained[-1].raw})

        return await self.request(of_replica)

    async def append(
        self,
        test_id: str,
        payload: bytes,
        *,
        msg_id: str | None = None,
        expected_last: int | None = None,
        writer: str | None = None,
    ) -> Ack:
        return await self.request(lambda: Ack(self.put(payload, True, [0.0]).seq, False))

    async def append_batch(
        self, test_id: str, events: Sequence[Unstored], *, expected_last: int, writer: str | None = None
    ) -> int:
        return await self.request(lambda: [self.put(each.payload, True, [0.0]).seq for each in events][-1])

    async def request(self, serve: Callable[[], T]) -> T:
        """Serves a request after half the latency and returns the answer after the other half.

        Raises:
            BrokerUnavailable: not connected, the connection was lost meanwhile, or `failing` is not 0.
        """
        if not self.connected:
            raise BrokerUnavailable("not connected")
        await self._travel()
        if self.failing:
            self.failing -= 1
            raise BrokerUnavailable("no answer")
        answer = serve()
        await self._travel()
        return answer

    async def _travel(self) -> None:
        arrived: asyncio.Future[None] = self.loop.create_future()
        self._waiting.add(arrived)
        timer = self.loop.call_later(self.latency_s / 2, _arrive, arrived)
        try:
            await arrived
        finally:
            timer.cancel()
            self._waiting.discard(arrived)

    def _known(self, at: float) -> list[Kept]:
        return [event for event in self.life.retained(at) if event.seq < self.forgets_from]

    def _replica_time(self) -> float:
        self._turn += 1
        return self.loop.now - self.lags_s[self._turn % len(self.lags_s)]


def _arrive(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)


class ModelInterest:
    """Interest in the model's live events."""

    def __init__(self, broker: ModelBroker, end: Callable[[], None]) -> None:
        self._broker = broker
        self._end = end

    async def confirm(self) -> None:
        await self._broker.request(lambda: None)

    async def close(self) -> None:
        self._end()


class ModelTransport(asyncio.Transport):
    """A transport whose peer reads only when told to. Buffer, water marks and callbacks behave as asyncio's.

    Args:
        received: called with the bytes that the peer has read.
        high, low: the water marks, bytes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, received: Callable[[bytes], None], high: int, low: int) -> None:
        super().__init__()
        self._loop = loop
        self._received = received
        self._high, self._low = high, low
        self._buffer = bytearray()
        self._room: float = float("inf")
        self._paused = False
        self._closing = False
        self.reading = True
        self.on_resume: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.largest = 0
        """The largest write so far, bytes."""
        self.most_before = 0
        """The largest buffer size at the time of a write, bytes."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        self.largest = max(self.largest, len(data))
        self.most_before = max(self.most_before, len(self._buffer))
        self._buffer += data
        self._move()
        if len(self._buffer) > self._high:
            self._paused = True

    def write_direct(self, data: bytes) -> int:
        """`os.write` to the socket's descriptor. Returns how many bytes the kernel took.

        Raises:
            BlockingIOError: there is no room.
        """
        assert not self._buffer, "overtakes buffered bytes"
        taken = min(len(data), self._room)
        if not taken:
            raise BlockingIOError
        self._buffer += data[: int(taken)]
        self._move()
        return int(taken)

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None and low is not None
        self._high, self._low = high, low

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 4711) if name == "peername" else default

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        """Closes the transport when the buffer is empty."""
        self._closing = True
        self._lose()

    def abort(self) -> None:
        self._closing = True
        self._buffer.clear()
        self._lose()

    def _lose(self) -> None:
        if not self._buffer:
            lost, self.on_lost = self.on_lost, lambda: None
            self._loop.call_soon(lost)

    def room(self, size: float) -> None:
        """The peer reads up to `size` more bytes."""
        self._room = size
        if self._move() and self._paused and len(self._buffer) <= self._low:
            self._paused = False
            self._loop.call_soon(self.on_resume)
        if self._closing:
            self._lose()

    def _move(self) -> int:
        size = int(min(self._room, len(self._buffer)))
        if size:
            self._room -= size
            gone = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._received(gone)
        return size


class FrameReader:
    """The client side of RFC 6455. Passes each JSON message to `on_message`, also those in arrays."""

    def __init__(self, on_message: Callable[[dict[str, Any]], None]) -> None:
        self._parser = FrameParser(CLIENT, state=OPEN, max_size=None)
        self._on_message = on_message
        self.closed: int | None = None
        self.pongs: list[bytes] = []

    def feed(self, data: bytes) -> None:
        assert self.closed is None, "nothing may follow a close frame"
        self._parser.receive_data(data)
        for frame in self._parser.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.CLOSE:
                self.closed = int.from_bytes(bytes(frame.data[:2]))
            elif frame.opcode is Opcode.PONG:
                self.pongs.append(bytes(frame.data))
            else:
                assert frame.opcode is Opcode.TEXT and frame.fin
                message = orjson.loads(frame.data)
                assert isinstance(message, dict) or len(message) > 1, "an array of one is an event by itself"
                for each in message if isinstance(message, list) else [message]:
                    self._on_message(each)
        assert self._parser.parser_exc is None, f"bytes that are no frames: {self._parser.parser_exc!r}"
