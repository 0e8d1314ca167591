"""Writers at a log that answers, keeps silent and refuses as it likes: stored once, in order, and fenced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_worker.publish.outbox import Outbox
from agent_worker.publish.writer import Writer
from broker.contract.errors import BrokerRefused, BrokerUnavailable, Fenced, TestcastError, WrongLastSequence
from broker.contract.events import Event
from broker.contract.ports import Ack, EventLog, Page, StoredEvent, Unstored
from broker.jetstream.answers import BATCHES_DISABLED
from tests.model import VirtualLoop

T = TypeVar("T")
RUN: Final = "5b6a5a3e-3f6f-4a6b-9d2b-0f6f3a1c2d4e"
LOSES: Final = ("nothing", "the request", "the answer")
OTHERS: Final = 3
"""What else the log may hold between two events of the run, each of another run."""


def payload(name: str) -> bytes:
    return Event(type="progress", message=name, timestamp=1).encode()


END: Final = Event(type="error", status="failed", message="Cancelled", timestamp=1).encode()


class Log:
    """What the broker does with the events of one run.

    Args:
        faults: what becomes of each request that stores, one after the other; then of none.
        delays: how long each request and each answer travels, in turn, ms.
        recognises: whether it knows the ids of what it has stored. It forgets them after two minutes.
        recognises_first: an id that it knows is a duplicate, whatever last sequence is expected.
        batches: whether it takes batches.
    """

    def __init__(
        self,
        faults: list[str],
        delays: list[int],
        *,
        recognises: bool = True,
        recognises_first: bool = False,
        batches: bool = True,
    ) -> None:
        self.connected = True
        self.on_reconnect: list[Callable[[], None]] = []
        self.stored: list[StoredEvent] = []
        self.seq = 0
        self._faults, self._delays, self._turn = iter(faults), delays, 0
        self._recognises, self._recognises_first, self._batches = recognises, recognises_first, batches
        self.batches_stored = 0
        self.messages = 0
        """That were published."""

    @property
    def newest(self) -> int:
        return self.stored[-1].seq if self.stored else 0

    def put(self, data: bytes, msg_id: str | None = None, writer: str | None = None, *, together: bool = False) -> int:
        self.seq += 1 if together else 1 + self.seq % OTHERS
        self.stored.append(StoredEvent(RUN, self.seq, data, writer, msg_id))
        return self.seq

    async def append(self, _run: str, data: bytes, *, msg_id: str, expected_last: int, writer: str) -> Ack:
        self.messages += 1

        def store() -> Ack:
            known = [each.seq for each in self.stored if each.msg_id == msg_id]
            if self._recognises and known and (self._recognises_first or expected_last == self.newest):
                return Ack(known[0], True)
            self._expect(expected_last)
            return Ack(self.put(data, msg_id, writer), False)

        return await self._request(store)

    async def append_batch(self, _run: str, events: Sequence[Unstored], *, expected_last: int, writer: str) -> int:
        self.messages += len(events)

        def store() -> int:
            if not self._batches:
                raise BrokerRefused("atomic publish is disabled", BATCHES_DISABLED)
            self._expect(expected_last)
            if self._recognises and {each.msg_id for each in events} & {each.msg_id for each in self.stored}:
                raise BrokerRefused("atomic publish batch contains duplicate message id", 10201)
            self.batches_stored += 1
            return [self.put(each.payload, each.msg_id, writer, together=bool(at)) for at, each in enumerate(events)][
                -1
            ]

        return await self._request(store, of_a_batch=True)

    def _expect(self, last: int) -> None:
        if last != self.newest:
            raise WrongLastSequence(f"wrong last sequence: {self.newest}", 10071, self.newest)

    async def last(self, _run: str, *, confirmed: bool = False) -> int:
        await self._travel()
        return self.newest

    async def read(self, _run: str, after: int, limit: int, *, max_bytes: int = 0) -> Page:
        await self._travel()
        found = [each for each in self.stored if each.seq > after]
        return Page(found[:limit], len(found) <= limit)

    async def _request(self, store: Callable[[], T], *, of_a_batch: bool = False) -> T:
        fault = next(self._faults, "nothing")
        await self._travel()
        if fault == "a batch" and of_a_batch:
            raise BrokerRefused("too many batches", 10176)
        answer = store() if fault != "the request" else None
        await self._travel()
        if fault in ("the request", "the answer"):
            raise BrokerUnavailable("no answer")
        return cast("T", answer)

    async def _travel(self) -> None:
        self._turn += 1
        await asyncio.sleep(self._delays[self._turn % len(self._delays)] / 1000)


class Publisher:
    """An attempt that puts its events into an outbox."""

    def __init__(self, log: Log, attempt: int, names: list[str]) -> None:
        self.outbox = Outbox(Writer(cast("EventLog", log), RUN, attempt, log.newest))
        self.names = names
        self.told: list[asyncio.Future[int]] = []
        self.error: TestcastError | None = None

    async def play(self) -> None:
        sending = asyncio.ensure_future(self.outbox.send())
        try:
            for name in self.names:
                told = asyncio.get_running_loop().create_future()
                self.told.append(told)
                await self.outbox.put(payload(name), last=False, stored=told)
                if name.endswith(("3", "5")):
                    await asyncio.sleep(0.004)  # the events before it go alone
            await self.outbox.flush()
        except TestcastError as error:
            self.error = error
        finally:
            sending.cancel()


def names_of(log: Log, publisher: Publisher) -> list[str]:
    """Its events, as they are stored."""
    nonce = publisher.outbox.writer.id.nonce
    return [_message(each.data) for each in log.stored if (each.writer or "").endswith(f".{nonce}")]


def _message(data: bytes) -> str:
    return str(orjson.loads(data)["message"])


faults = st.lists(st.sampled_from([*LOSES, "a batch"]), max_size=12)
delays = st.lists(st.integers(0, 6), min_size=3, max_size=9)
moments = st.lists(st.integers(0, 60), max_size=4)


@settings(max_examples=500, deadline=None)
@given(
    faults,
    delays,
    moments,
    st.none() | st.integers(0, 80),
    st.none() | st.integers(0, 80),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_each_event_once_in_order_by_its_owner(
    faults: list[str],
    delays: list[int],
    strangers: list[int],
    taken_over_ms: int | None,
    ended_ms: int | None,
    recognises: bool,
    recognises_first: bool,
    batches: bool,
) -> None:
    loop = VirtualLoop()
    try:
        log = Log(faults, delays, recognises=recognises, recognises_first=recognises_first, batches=batches)
        publishers = [Publisher(log, 1, [f"a{number}" for number in range(9)])]
        tasks = [loop.create_task(publishers[0].play())]

        def take_over() -> None:
            if any(each.data == END for each in log.stored):
                return  # nobody begins at a run that has ended
            publishers.append(Publisher(log, 2, [f"b{number}" for number in range(7)]))
            tasks.append(loop.create_task(publishers[1].play()))

        for moment in strangers:
            loop.call_later(moment / 1000, log.put, payload("stranger"))
        if taken_over_ms is not None:
            loop.call_later(taken_over_ms / 1000, take_over)
        if ended_ms is not None:
            loop.call_later(ended_ms / 1000, log.put, END)
        loop.run_for(600)
        assert all(task.done() for task in tasks)
        check(log, publishers, ended=ended_ms is not None)
    finally:
        loop.finish()


def check(log: Log, publishers: list[Publisher], *, ended: bool) -> None:
    owners = [each.writer for each in log.stored if each.writer is not None]
    assert owners == sorted(owners, key=lambda writer: int(writer.partition(".")[0])), "who was fenced has written"
    end = next((at for at, each in enumerate(log.stored) if each.data == END), len(log.stored))
    assert all(each.writer is None for each in log.stored[end:]), "somebody has written behind the end"
    at = {each.seq: each for each in log.stored}
    for publisher in publishers:
        stored = names_of(log, publisher)
        assert stored == publisher.names[: len(stored)], "once, and in order"
        told = [each.result() for each in publisher.told if each.done()]
        assert [_message(at[seq].data) for seq in told] == publisher.names[: len(told)], "the sequences are their own"
        assert len(told) <= len(stored)
        if publisher.error is None:
            assert stored == publisher.names and len(told) == len(stored)
        else:
            assert isinstance(publisher.error, Fenced) and (ended or publisher is not publishers[-1])


def test_what_waits_is_stored_at_once() -> None:
    """A backlog takes two requests: the one that was under way, and one for all the rest."""
    loop = VirtualLoop()
    try:
        log = Log([], [1])
        publisher = Publisher(log, 1, [f"a{number}" for number in (0, 1, 2, 4, 6)])
        loop.create_task(publisher.play())
        loop.run_for(1)
        assert names_of(log, publisher) == publisher.names
        assert log.batches_stored == 1
    finally:
        loop.finish()


@pytest.mark.parametrize("recognises_first", [False, True])
@pytest.mark.parametrize(("faults", "least"), [(["nothing", "the answer"], 1), (["nothing"] + 20 * ["a batch"], 3)])
def test_a_batch_that_fails_is_not_sent_again_and_again(faults: list[str], least: int, recognises_first: bool) -> None:
    """Each of many events that wait is published alone at most once, and batches a few times."""
    loop, count = VirtualLoop(), 300
    try:
        log = Log(faults, [1], recognises_first=recognises_first)
        publisher = Publisher(log, 1, [f"a{number}0" for number in range(count)])
        loop.create_task(publisher.play())
        loop.run_for(30)
        assert names_of(log, publisher) == publisher.names
        assert log.messages <= (1 + least) * count + 10
    finally:
        loop.finish()
