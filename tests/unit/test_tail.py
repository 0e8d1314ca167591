"""The tail over the model of the event log, in virtual time: missed, doubled and late events, and a lost broker."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import orjson
import pytest

from broker.contract.errors import BrokerUnavailable, NotFound
from broker.jetstream.scan import SECOND_LOOK_S
from testcast.client.errors import ConnectionLost
from testcast.client.events import Event, Item, State
from testcast.client.tail import LEADER_CHECK_S, Tail
from tests.model import ModelBroker, VirtualLoop

RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


class Tailed:
    """A tail in virtual time, and what it has delivered."""

    def __init__(self, loop: VirtualLoop, test_id: str | None = RUN, **options: Any) -> None:
        self.loop = loop
        self.broker = ModelBroker(loop, RUN)
        self.items: list[Item] = []
        self.states: list[State] = []
        self.tail = Tail(self.broker, test_id, on_state=self.states.append, address="nats://b:4222", **options)
        self.task: asyncio.Task[None]

    def put(self, message: str, *deliveries_s: float, kind: str = "progress", **fields: Any) -> int:
        """Stores an event, whose live message arrives so many times, each so much later."""
        raw = orjson.dumps({"type": kind, "message": message, "timestamp": 1} | fields)
        return self.broker.put(raw, True, list(deliveries_s)).seq

    def start(self) -> None:
        self.task = self.loop.create_task(self._collect())
        self.loop.run_for(0.1)

    async def _collect(self) -> None:
        async for item in self.tail:
            self.items.append(item)

    @property
    def messages(self) -> list[str]:
        return [each.message if isinstance(each, Event) else f"reset {each.reason}" for each in self.items]


def test_history_and_live_events_are_joined(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    tailed.put("one")
    tailed.start()
    tailed.put("two", 0.01)
    tailed.put("three", 0.02, 0.02, 0.5)  # delivered three times
    loop.run_for(1)
    assert tailed.messages == ["one", "two", "three"]
    assert tailed.tail.statistics()[2:] == (0, 3, 0, 1)


def test_the_next_live_event_reveals_a_missed_one(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    tailed.put("one")
    tailed.start()
    tailed.put("missed")
    tailed.put("late", 0.3)
    tailed.put("live", 0.01)
    loop.run_for(LEADER_CHECK_S / 2)
    assert tailed.messages == ["one", "missed", "late", "live"]


def test_a_leader_check_finds_a_missed_last_event_and_the_tail_ends(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    tailed.put("one")
    tailed.start()
    tailed.put("Done", kind="complete")
    loop.run_for(LEADER_CHECK_S - 0.2)
    assert tailed.messages == ["one"]
    loop.run_for(0.5)
    assert tailed.messages == ["one", "Done"]
    assert tailed.task.done()
    assert tailed.tail.verdict == "completed"


def test_a_live_event_that_the_leader_does_not_know_is_dropped(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    tailed.put("one")
    tailed.start()
    forged = tailed.broker.life.store(b'{"type":"complete","message":"forged","timestamp":1}', True, loop.now)
    tailed.broker.life.events.remove(forged)
    tailed.broker.deliver(forged._replace(seq=900, predecessor=899), 0.01)
    tailed.broker.deliver(forged._replace(seq=900, predecessor=899), 0.02)
    loop.run_for(1)
    assert tailed.messages == ["one"]
    assert tailed.tail.verdict is None


@pytest.mark.parametrize("seq", [2, 900, 2**62])
def test_a_forged_end_that_follows_is_taken_back(loop: VirtualLoop, seq: int) -> None:
    tailed = Tailed(loop)
    one = tailed.put("one")
    tailed.start()
    loop.call(lambda: tailed.broker.forge(seq, one, b'{"type":"complete","message":"forged","timestamp":1}'))
    loop.run_for(SECOND_LOOK_S + 0.5)
    assert not tailed.task.done() and tailed.tail.verdict is None
    assert tailed.messages == ["one", "forged", "reset ahead", "one"]
    tailed.put("Done", 0.01, kind="complete")
    loop.run_for(0.5)
    assert tailed.messages[-1] == "Done" and tailed.task.done() and tailed.tail.verdict == "completed"


def test_a_tail_that_was_made_deaf_by_a_forged_event_hears_again(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    one = tailed.put("one")
    tailed.start()
    loop.call(lambda: tailed.broker.forge(2**62, one, b'{"type":"progress","message":"forged","timestamp":1}'))
    for number in range(40):  # it is never quiet for as long as a look at the leader takes
        tailed.put(f"{number}", 0.01)
        loop.run_for(0.1)
    assert tailed.messages[-1] == "39" and "reset ahead" in tailed.messages


def test_a_lost_broker_is_told_and_the_tail_resumes(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    tailed.put("one")
    tailed.start()
    tailed.broker.disconnect()
    tailed.put("meanwhile")
    loop.run_for(3)
    assert {each.kind for each in tailed.states} == {"waiting"}
    assert tailed.messages == ["one"]
    tailed.broker.reconnect()
    loop.run_for(0.1)
    assert tailed.states[-1].kind == "live"
    assert tailed.messages == ["one", "meanwhile"]


def test_a_broker_that_stays_away_ends_the_tail_with_the_position(loop: VirtualLoop) -> None:
    tailed = Tailed(loop, timeout_s=5.0)
    seq = tailed.put("one")
    tailed.start()
    tailed.broker.disconnect()
    loop.run_for(4.5)
    assert not tailed.task.done()
    loop.run_for(1)
    error = tailed.task.exception()
    assert isinstance(error, ConnectionLost)
    assert error.after == seq
    assert "nats://b:4222 has been unavailable for 5 s" in error.message


def test_a_replaced_history_is_a_reset(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    for message in ("one", "two"):
        tailed.put(message)
    tailed.start()
    tailed.broker.recreate()
    tailed.put("new")
    loop.run_for(LEADER_CHECK_S + 0.1)
    assert tailed.messages == ["one", "two", "reset epoch", "new"]


def test_a_run_that_is_gone_ends_the_tail(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    tailed.put("one")
    tailed.start()
    tailed.broker.recreate()
    loop.run_for(LEADER_CHECK_S + 0.1)
    error = tailed.task.exception()
    assert isinstance(error, ConnectionLost)
    assert "its history is gone" in error.message


def test_an_unknown_run_is_an_error(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    tailed.start()
    assert isinstance(tailed.task.exception(), NotFound)


def test_a_deposed_leader_does_not_make_a_run_unknown(loop: VirtualLoop) -> None:
    tailed = Tailed(loop)
    tailed.broker.deposed_s = 10.0
    tailed.put("one")
    tailed.start()
    assert not tailed.task.done()
    tailed.broker.deposed_s = 0.0
    loop.run_for(2)
    assert tailed.messages == ["one"]


@pytest.mark.parametrize("test_id", [RUN, None])
def test_a_leader_that_forgets_for_a_moment_resets_no_tail(loop: VirtualLoop, test_id: str | None) -> None:
    """Its disk is full: what it has acknowledged is back when it was restarted."""
    tailed = Tailed(loop, test_id)
    tailed.put("one")
    tailed.start()
    two = tailed.put("two", 0.01)
    loop.run_for(LEADER_CHECK_S + 0.1)
    assert tailed.messages[-1] == "two"
    tailed.broker.forgets_from = two
    loop.run_for(LEADER_CHECK_S + SECOND_LOOK_S / 2)
    tailed.broker.forgets_from = math.inf
    loop.run_for(3 * LEADER_CHECK_S)
    tailed.put("three", 0.01)
    loop.run_for(LEADER_CHECK_S + 0.1)
    assert tailed.messages[-2:] == ["two", "three"] and "reset ahead" not in tailed.messages


@pytest.mark.parametrize(
    ("after", "expected"),
    [(1, ["two", "three"]), (3, []), (9, ["reset ahead", "one", "two", "three"])],
)
def test_a_position_decides_where_it_starts(loop: VirtualLoop, after: int, expected: list[str]) -> None:
    tailed = Tailed(loop, after=after)
    for message in ("one", "two", "three"):
        tailed.put(message)
    tailed.start()
    loop.run_for(SECOND_LOOK_S)
    assert tailed.messages == expected


def test_a_position_that_is_no_longer_stored_is_a_reset(loop: VirtualLoop) -> None:
    tailed = Tailed(loop, after=1)
    for message in ("one", "two", "three"):
        tailed.put(message)
    tailed.broker.life.purge(2, loop.now)
    tailed.start()
    assert tailed.messages == ["reset expired", "three"]


def test_a_position_after_the_end_of_a_run_ends_the_tail(loop: VirtualLoop) -> None:
    tailed = Tailed(loop, after=1)
    tailed.put("broken", kind="error", status="failed")
    tailed.start()
    assert (tailed.messages, tailed.task.done(), tailed.tail.verdict) == ([], True, "failed")


@pytest.mark.parametrize("lost", range(1, 7))
def test_a_tail_after_a_position_starts_there_although_its_first_questions_fail(loop: VirtualLoop, lost: int) -> None:
    """Whichever of its first requests is not answered."""
    tailed = Tailed(loop, after=5)
    for number in range(1, 8):
        tailed.put(f"{number}")
    answered = tailed.broker.request
    count = 0

    async def request(serve: Any) -> Any:
        nonlocal count
        count += 1
        if count == lost:
            raise BrokerUnavailable("no answer")
        return await answered(serve)

    tailed.broker.request = request  # type: ignore[method-assign]
    tailed.start()
    loop.run_for(5)
    assert tailed.messages == ["6", "7"]


def test_a_tail_after_the_end_of_a_run_ends_although_its_first_questions_fail(loop: VirtualLoop) -> None:
    tailed = Tailed(loop, after=2)
    tailed.put("one")
    tailed.put("two", kind="complete")
    tailed.broker.failing = 2
    tailed.start()
    loop.run_for(5)
    assert (tailed.messages, tailed.tail.verdict, tailed.task.done()) == ([], "completed", True)


def test_a_probe_that_has_gone_since_is_no_gap(loop: VirtualLoop) -> None:
    everything: Any = None
    tailed = Tailed(loop, everything)
    tailed.put("one")
    tailed.start()
    life = tailed.broker.life
    life.pass_over(1, loop.now)
    life.foreign[-1] = life.foreign[-1]._replace(test_id="")  # as for everything whose subject names no test
    loop.run_for(2 * LEADER_CHECK_S)
    assert tailed.tail.statistics().position == life.last_seq
    life.foreign.clear()  # its lifetime is over
    tailed.put("two")
    loop.run_for(2 * LEADER_CHECK_S)
    assert tailed.messages == ["two"], "and no reset"
    life.pass_over(1, loop.now)
    life.foreign.clear()  # the newest sequence is of nothing that is stored
    loop.run_for(3 * LEADER_CHECK_S)
    tailed.put("three")
    loop.run_for(2 * LEADER_CHECK_S)
    assert tailed.messages == ["two", "three"] and tailed.states == []
