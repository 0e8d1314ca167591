"""Batches that are published under a key: what is refused before anything is stored, and that each event is stored once
and in order however often the batch is sent, whoever writes in between, and whatever acknowledgement is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.contract.batch import MAX_BATCH_EVENTS, Batch, Progress, advance, make_batch
from broker.contract.errors import (
    AlreadyEnded,
    BadInput,
    BrokerRefused,
    BrokerUnavailable,
    Conflict,
    KeyReused,
    NotFound,
    TestcastError,
    WrongLastSequence,
)
from broker.contract.events import MAX_EVENT_BYTES, check
from broker.contract.ports import Ack, Heads, Interest, OnLive, Page, StoredEvent, Unstored
from broker.contract.snapshot import Snapshot, fold
from broker.jetstream.answers import BATCHES_DISABLED
from broker.jetstream.publishing import Published, publish
from tests.model import VirtualLoop

ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
END = {"type": "complete", "message": "done", "timestamp": 1}


def event(message: str, **fields: Any) -> dict[str, Any]:
    return {"type": "progress", "message": message, "timestamp": 1} | fields


# -- what is refused -----------------------------------------------------------------------------------------------

DEEP: dict[str, Any] = event("deep", data=[])
for _ in range(300):
    DEEP = event("deep", data=DEEP)

REFUSED = (
    ([event("a"), {"type": "progress"}], "events[1]: `message` is missing", "malformed_event"),
    ([event("a"), event("b", timestamp=1.5)], "events[1]: `timestamp` is not a whole number", "malformed_event"),
    (["a"], "events[0]: it is not a JSON object", "malformed_event"),
    ([None], "events[0]: it is not a JSON object", "malformed_event"),
    ([event("a", type="sync")], "events[0]: `type` is reserved", "malformed_event"),
    ([event("a", type="status")], "events[0]: `status` is missing", "malformed_event"),
    ([event("a", phase="phase9")], "events[0]: `phase` is not one of", "malformed_event"),
    ([DEEP], "events[0]: ", "malformed_event"),
    ([event("a"), event("x" * MAX_EVENT_BYTES)], "events[1]: ", "too_large"),
    ([event("a"), END, event("b"), event("c")], "events[1]: it ends the run, and 2 events follow it", "bad_input"),
    ([event("a")] * (MAX_BATCH_EVENTS + 1), f"events: at most {MAX_BATCH_EVENTS}", "bad_input"),
)


@pytest.mark.parametrize(("events", "message", "code"), REFUSED)
def test_one_wrong_event_refuses_the_batch_and_is_named(events: list[Any], message: str, code: str) -> None:
    with pytest.raises(BadInput) as refused:
        make_batch(ID, "k", events)
    assert refused.value.message.startswith(message)
    assert refused.value.code == code


@pytest.mark.parametrize("key", ["", "a.b", "a b", "a\n", "a\r\nX: y", "*", ">", "ä", "a" * 65])
def test_a_key_that_could_be_taken_for_something_else_is_refused(key: str) -> None:
    with pytest.raises(BadInput):
        make_batch(ID, key, [event("a")])


def test_message_ids_belong_to_one_run_key_and_place() -> None:
    batch = make_batch(ID, "k-1", [event("a"), event("b")])
    assert [batch.index_of(batch.msg_id(index)) for index in (0, 1)] == [0, 1]
    other = make_batch(ID, "k", [event("a")])
    others = [None, "", f"{ID}.http.k-1", f"{ID}.http.k-1.", f"{ID}.http.k-1.x", f"{ID}.k-1.0", other.msg_id(0)]
    assert [batch.index_of(each) for each in others] == [None] * len(others)


# -- what is stored of it ------------------------------------------------------------------------------------------


def stored(seq: int, raw: dict[str, Any], msg_id: str | None = None) -> StoredEvent:
    return StoredEvent(ID, seq, orjson.dumps(raw), msg_id=msg_id)


def test_a_retry_in_another_notation_is_the_same_batch_and_another_batch_is_not() -> None:
    batch = make_batch(ID, "k", [{"type": "progress", "message": "a", "timestamp": 1}])
    again = stored(5, {"timestamp": 1, "message": "a", "type": "progress"}, batch.msg_id(0))
    assert advance(Progress(4), batch, again, 4) == Progress(5, 1, 5)
    for other in (stored(5, event("b"), batch.msg_id(0)), stored(5, event("b"), batch.msg_id(1))):
        with pytest.raises(KeyReused):
            advance(Progress(4), batch, other, 4)
    with pytest.raises(KeyReused):
        advance(Progress(4), batch, StoredEvent(ID, 5, b"\xff", msg_id=batch.msg_id(0)), 4)


def test_who_writes_after_the_whole_batch_is_no_conflict() -> None:
    batch = make_batch(ID, "k", [event("a")])
    progress = advance(Progress(4), batch, stored(5, event("a"), batch.msg_id(0)), 4)
    assert advance(progress, batch, stored(6, END), 4) == Progress(6, 1, 5)
    strange = advance(Progress(4), batch, stored(5, event("b")), 4)
    assert strange.strangers and not advance(Progress(4), batch, stored(5, event("b")), None).strangers


# -- storing it ----------------------------------------------------------------------------------------------------


class Log:
    """A log that refuses an old expectation before it looks at the message id, as the broker does."""

    def __init__(self, faults: Sequence[str] = ()) -> None:
        self.events: list[StoredEvent] = []
        self.on_reconnect: list[Callable[[], None]] = []
        self.on_disconnect: list[Callable[[], None]] = []
        self.connected = True
        self.recognises = True
        """Whether the duplicate window still holds the message ids."""
        self.takes_batches = True
        self._faults = list(faults)

    def put(self, raw: bytes, msg_id: str | None = None) -> int:
        seq = self.head + 2  # other runs write as well
        self.events.append(StoredEvent(ID, seq, raw, msg_id=msg_id))
        return seq

    @property
    def head(self) -> int:
        return self.events[-1].seq if self.events else 0

    async def append(
        self,
        test_id: str,
        payload: bytes,
        *,
        msg_id: str | None = None,
        expected_last: int | None = None,
        writer: str | None = None,
    ) -> Ack:
        fault = self._arrive(expected_last)
        known = [each.seq for each in self.events if each.msg_id == msg_id]
        if known and self.recognises:
            return Ack(known[0], True)
        ack = Ack(self.put(payload, msg_id), False)
        self._answer(fault)
        return ack

    async def append_batch(
        self, test_id: str, events: Sequence[Unstored], *, expected_last: int, writer: str | None = None
    ) -> int:
        if not self.takes_batches:
            raise BrokerRefused("atomic publish is disabled", BATCHES_DISABLED)
        fault = self._arrive(expected_last)
        if self.recognises and {each.msg_id for each in events} & {each.msg_id for each in self.events}:
            raise BrokerRefused("atomic publish batch contains duplicate message id", 10201)
        last = [self.put(each.payload, each.msg_id) for each in events][-1]
        self._answer(fault)
        return last

    def _arrive(self, expected_last: int | None) -> str:
        """A publish reaches the log, unless its fault is that it does not. Returns the fault."""
        fault = self._faults.pop(0) if self._faults else ""
        if fault == "unsent":
            raise BrokerUnavailable("not sent")
        if fault == "stranger":
            self.put(orjson.dumps(event("stranger")))
        if expected_last != self.head:
            raise WrongLastSequence("wrong last sequence", 10071, self.head)
        return fault

    def _answer(self, fault: str) -> None:
        if fault == "unacknowledged":
            raise BrokerUnavailable("no acknowledgement")
        if fault == "gone":  # this edge is killed: nothing more is stored by it
            raise BadInput("the edge was killed")

    async def last(self, test_id: str | None, *, confirmed: bool = False) -> int:
        return self.head

    async def read(self, test_id: str | None, after: int, limit: int, *, max_bytes: int = 0) -> Page:
        found = [each for each in self.events if each.seq > after]
        return Page(found[:limit], len(found) <= limit)

    async def follow(self, test_id: str | None, on_event: OnLive) -> Interest:
        raise NotImplementedError

    async def heads(self, test_ids: Sequence[str] = ()) -> Heads:
        raise NotImplementedError

    def snapshot(self) -> Snapshot | None:
        found: Snapshot | None = None
        for each in self.events:
            found = fold(found, ID, each.seq, check(each.data).event, each.seq)
        return found

    def places(self, batch: Batch) -> list[int | None]:
        return [index for each in self.events if (index := batch.index_of(each.msg_id)) is not None]


def call(
    loop: VirtualLoop, log: Log, batch: Batch, after: int | None, since: Snapshot | None = None
) -> Published | TestcastError:
    task = loop.create_task(publish(log, batch, after=after, since=since))
    loop.run_for(60)
    assert task.done()
    error = task.exception()
    if error is not None:
        assert isinstance(error, TestcastError), error
        return error
    return task.result()


faults = st.lists(st.sampled_from(["", "", "unsent", "unacknowledged", "stranger", "gone"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 5),
    faults=faults,
    fenced=st.booleans(),
    ends=st.booleans(),
    folded=st.booleans(),
    at_once=st.booleans(),
)
def test_each_event_is_stored_once_and_in_order(
    count: int, faults: list[str], fenced: bool, ends: bool, folded: bool, at_once: bool
) -> None:
    loop = VirtualLoop()
    log = Log(faults)
    log.takes_batches = at_once
    first = log.put(orjson.dumps(event("first")))
    events = [event(f"e{index}") for index in range(count - ends)] + [END] * ends
    batch = make_batch(ID, "key", events)
    answers: list[Published | TestcastError] = []
    for _ in range(len(faults) + 2):  # the publisher sends it again until it knows
        answers.append(call(loop, log, batch, first if fenced else None, log.snapshot() if folded else None))
        if isinstance(answers[-1], (Published, Conflict)):
            break
    answer, places = answers[-1], log.places(batch)
    assert places == list(range(len(places))), "a beginning of the batch, in order, nothing twice"
    if isinstance(answer, Conflict):
        assert fenced and any("stranger" in each.data.decode() for each in log.events)
        assert answer.details == {"head": log.head}
    else:
        assert isinstance(answer, Published) and len(places) == count
        last = next(each.seq for each in log.events if batch.index_of(each.msg_id) == count - 1)
        assert answer == Published(last, count)
        assert call(loop, log, batch, first if fenced else None, log.snapshot()) == answer, (
            "sent again, the same answer"
        )
        assert log.places(batch) == places
    loop.finish()


def test_with_a_position_a_retry_is_recognised_however_late(loop: VirtualLoop) -> None:
    log = Log()
    first = log.put(orjson.dumps(event("first")))
    batch = make_batch(ID, "key", [event("a"), event("b")])
    answer = call(loop, log, batch, first)
    log.recognises = False
    log.put(orjson.dumps(event("stranger")))
    log.put(orjson.dumps(END))
    for since in (None, log.snapshot()):
        assert call(loop, log, batch, first, since) == answer
    assert log.places(batch) == [0, 1]


def test_a_conflict_names_the_head_and_stores_nothing(loop: VirtualLoop) -> None:
    log = Log()
    first = log.put(orjson.dumps(event("first")))
    head = log.put(orjson.dumps(event("stranger")))
    batch = make_batch(ID, "key", [event("a")])
    for after in (first, first - 1, head + 1):
        for since in (None, log.snapshot()):
            refused = call(loop, log, batch, after, since)
            assert isinstance(refused, Conflict) and refused.head == head
    assert log.places(batch) == []
    assert isinstance(call(loop, log, batch, head), Published)


def test_after_the_end_nothing_is_stored(loop: VirtualLoop) -> None:
    log = Log()
    log.put(orjson.dumps(event("first")))
    head = log.put(orjson.dumps(END))
    batch = make_batch(ID, "key", [event("a")])
    for since in (None, log.snapshot()):
        for after in (None, head):
            assert isinstance(call(loop, log, batch, after, since), AlreadyEnded)
    assert log.places(batch) == []


def test_a_run_without_events_is_not_found(loop: VirtualLoop) -> None:
    assert isinstance(call(loop, Log(), make_batch(ID, "key", [event("a")]), None), NotFound)


def test_an_empty_batch_tells_the_head(loop: VirtualLoop) -> None:
    log = Log()
    head = log.put(orjson.dumps(event("first")))
    assert call(loop, log, make_batch(ID, "key", []), None) == Published(head, 0)


def test_the_same_key_with_other_events_is_refused(loop: VirtualLoop) -> None:
    log = Log()
    first = log.put(orjson.dumps(event("first")))
    call(loop, log, make_batch(ID, "key", [event("a"), event("b")]), first)
    before = list(log.events)
    for events in ([event("b")], [event("a")], [event("a"), event("c")], [event("c"), event("b"), event("d")]):
        for after, since in ((first, None), (None, log.snapshot()), (log.head, log.snapshot())):
            answer = call(loop, log, make_batch(ID, "key", events), after, since)
            assert isinstance(answer, KeyReused) or answer == Published(before[1].seq, 1), (events, after)
    assert log.events == before
