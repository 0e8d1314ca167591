"""Viewers that poll, over a model of the event log: one answer for all at one position, and when it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import orjson
import pytest

from broker.contract.errors import NotFound
from broker.contract.position import Position
from tests.harness import NO_SUCH_TEST as RUN
from tests.harness import event_bytes
from tests.model import ModelBroker, VirtualLoop
from ws_edge.api import durable_route
from ws_edge.config import EdgeConfig
from ws_edge.fanout import audience
from ws_edge.fanout import poll as polling
from ws_edge.fanout.answer import Answer, Stretch
from ws_edge.fanout.hub import Hub
from ws_edge.fanout.poll import Polls
from ws_edge.fanout.session import Session

END = orjson.dumps({"type": "complete", "message": "Done", "timestamp": 1})


class NoSnapshots:
    def snapshot(self, test_id: str) -> None:
        return None


class World:
    """A node, a broker with one run, and those who poll."""

    def __init__(self, progress_interval_s: float = 0.0) -> None:
        self.loop = VirtualLoop()
        self.broker = ModelBroker(self.loop, RUN)
        config = EdgeConfig(progress_interval_s=progress_interval_s)
        self.hub: Hub = self.loop.call(partial(Hub, self.broker, config, NoSnapshots()))
        self.loop.call(lambda: self.hub.spawn(self.hub.run()))
        self.polls: Polls = self.loop.call(partial(Polls, self.hub))

    def publish(self, count: int = 1, raw: bytes = b"") -> None:
        for _ in range(count):
            self.loop.call(lambda: self.broker.put(raw or event_bytes("an event"), True, [0.0]))
            self.loop.run_for(0.01)

    def ask(self, after: int | None, wait_s: float = 0.0, limit: int = 500, run: str = RUN) -> asyncio.Task[Answer]:
        asked = None if after is None else Position(self.broker.life.epoch, after)
        return self.loop.create_task(self.polls.ask(run, asked, limit, wait_s))

    def answer(self, after: int | None, limit: int = 500) -> Answer:
        asking = self.ask(after, limit=limit)
        self.loop.run_for(1.0)
        return asking.result()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.loop.finish()


def seqs(answer: Answer) -> list[int]:
    return [event["seq"] for event in orjson.loads(answer.body)["events"]]


def test_all_who_wait_at_one_position_get_one_answer(world: World) -> None:
    world.publish(3)
    asking = [world.ask(3, 30.0) for _ in range(50)]
    world.loop.run_for(2.0)
    [topic] = world.hub.topics.values()
    assert world.polls.statistics()[:2] == (50, 1) and len(topic.live) == 1, "all of them are one viewer"
    world.publish()
    answers = [each.result() for each in asking]
    assert len({id(each) for each in answers}) == 1 and seqs(answers[0]) == [4]
    for each in answers:
        assert each.body is answers[0].body
    assert not topic.live and not topic.behind and world.polls.statistics()[:2] == (0, 0)
    assert world.polls.statistics()[2:] == (50, 1)


def test_what_is_there_is_answered_at_once_and_nothing_at_the_deadline(world: World) -> None:
    world.publish(5)
    assert (seqs(world.answer(2)), world.answer(2).more) == ([3, 4, 5], False)
    first = world.answer(None)
    assert (first.outcome, seqs(first), first.immutable) == ("live", [1, 2, 3, 4, 5], False)
    asking = world.ask(5, 10.0)
    world.loop.run_for(9.0)
    assert not asking.done()
    world.loop.run_for(1.1)
    assert (seqs(asking.result()), asking.result().after, asking.result().more) == ([], 5, False)


def test_a_full_page_says_that_there_is_more_and_never_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(9)
    page = world.answer(2, limit=3)
    assert (seqs(page), page.after, page.more, page.immutable) == ([3, 4, 5], 5, True, True)
    world.publish()
    assert world.answer(2, limit=3) is page, "kept: whoever follows asks for the same one"
    world.loop.call(partial(world.polls.forget, RUN))
    assert world.answer(2, limit=3) is not page
    monkeypatch.setattr(polling, "_KEPT_BYTES", 2000)
    after, found = 0, []
    while after < 10:
        page = world.answer(after, limit=4)
        assert page.more is (page.after < 10) and world.polls._kept_bytes <= 2000
        found += seqs(page)
        after = page.after
    assert found == list(range(1, 11))


def test_events_that_cannot_be_read_are_passed_over(world: World) -> None:
    world.publish()
    world.loop.call(lambda: world.broker.put(b"nonsense", False, [0.0]))
    world.loop.run_for(0.01)
    answer = world.answer(1)
    assert (seqs(answer), answer.after) == ([], 2)
    assert orjson.loads(answer.body)["unreadable"]["count"] == 1


def test_the_end_of_a_run_is_told_at_once(world: World) -> None:
    world.publish(2)
    asking = world.ask(2, 30.0)
    world.loop.run_for(1.0)
    world.publish(raw=END)
    assert (seqs(asking.result()), asking.result().ended, asking.result().immutable) == ([3], True, True)
    at_the_end = world.ask(3, 30.0)
    world.loop.run_for(0.5)
    assert (seqs(at_the_end.result()), at_the_end.result().ended) == ([], True)


def test_a_drained_node_answers_with_what_there_is(world: World) -> None:
    world.publish(2)
    waiting = world.ask(2, 30.0)
    world.loop.run_for(0.5)
    world.loop.call(world.polls.drain)
    world.loop.run_for(0.01)
    assert (seqs(waiting.result()), waiting.result().after) == ([], 2)
    late = world.ask(2, 30.0)
    world.loop.run_for(0.5)
    assert late.done() and seqs(late.result()) == []


def test_progress_comes_at_the_pace_of_sockets() -> None:
    world = World(progress_interval_s=5.0)
    world.publish(3)
    asking = world.ask(3, 30.0)
    world.loop.run_for(1.0)
    world.publish(raw=orjson.dumps({"type": "progress", "message": "1", "timestamp": 1}))
    assert seqs(asking.result()) == [4]
    held = world.ask(4, 30.0)
    world.loop.run_for(0.5)
    for number in ("2", "3"):
        world.publish(raw=orjson.dumps({"type": "progress", "message": number, "timestamp": 1}))
    world.loop.run_for(3.0)
    assert not held.done(), "nobody is sent it yet"
    world.loop.run_for(3.0)
    assert seqs(held.result()) == [5, 6], "together, at the end of the interval"
    world.loop.finish()


def test_who_waits_is_told_of_another_life_of_the_stream(world: World) -> None:
    world.publish(3)
    asking = world.ask(3, 30.0)
    world.loop.run_for(1.0)
    world.loop.call(world.broker.recreate)
    world.publish(2)
    world.loop.run_for(6.0)
    answer = asking.result()
    assert (answer.outcome, answer.sync["reason"], answer.epoch) == ("reset", "epoch", world.broker.life.epoch)
    assert seqs(answer) == [1, 2]


def test_a_run_that_does_not_exist_or_is_deleted(world: World) -> None:
    missing = world.ask(None, 30.0, run="11111111-2222-4333-8444-555555555555")
    world.loop.run_for(5.0)
    assert isinstance(missing.exception(), NotFound)
    world.publish(2)
    asking = world.ask(2, 30.0)
    world.loop.run_for(1.0)
    world.loop.call(partial(world.hub.deleted, RUN))
    world.loop.run_for(0.1)
    assert isinstance(asking.exception(), NotFound)


def test_a_position_is_let_go_of_when_nobody_waits_there(world: World) -> None:
    world.publish(2)
    asking = [world.ask(2, 30.0) for _ in range(2)]
    world.loop.run_for(1.0)
    for number, each in enumerate(asking):
        assert world.polls.statistics().open == 1
        each.cancel()
        world.loop.run_for(0.1)
        assert world.polls.statistics()[:2] == (1 - number, 1 - number)
    [topic] = world.hub.topics.values()
    assert not topic.live and not topic.behind


def test_an_answer_that_leads_nowhere_is_kept_by_nobody() -> None:
    """As of a node that goes away: from a cache it would be the answer for ever, and its reader would never get on."""
    told, at = {"testId": RUN, "outcome": "recovered", "epoch": "1"}, Position("1", 5)
    nowhere, on = Stretch([], None, 5, 9, True, False), Stretch([b"{}"], None, 6, 9, True, False)
    assert not Answer(told, nowhere, at).immutable and Answer(told, on, at).immutable
    assert Answer(told, Stretch([], None, 9, 9, False, True), Position("1", 9)).immutable, "the run has ended"
    assert not Answer(told | {"stale": True}, on, at).immutable


def test_nothing_is_kept_of_a_run_that_is_deleted_before_its_answer_is_taken(world: World) -> None:
    world.publish(3)
    asking = world.ask(3, 30.0)
    world.loop.run_for(1.0)
    [poll] = world.polls._open.values()
    done = poll._on_done

    def deleted(of: polling.Poll, answer: Answer | None) -> None:
        done(of, answer)
        world.polls.forget(RUN)

    poll._on_done = deleted
    world.publish(raw=END)
    assert seqs(asking.result()) == [4] and asking.result().immutable
    assert not world.polls._kept and not world.polls._kept_bytes


def test_nothing_is_kept_of_an_event_that_was_forged(world: World) -> None:
    world.publish(3)
    asking = world.ask(3, 30.0)
    world.loop.run_for(1.0)
    world.loop.call(partial(world.broker.forge, 4, 3, END))
    world.loop.run_for(0.1)
    assert asking.result().ended and asking.result().immutable, "as far as anybody knows"
    world.loop.run_for(10.0)
    assert seqs(world.answer(3)) == [] and not world.answer(3).ended


def test_a_wait_is_no_longer_than_it_was_asked_for(world: World) -> None:
    world.publish(3)
    world.broker.latency_s = 1.0
    asking = world.ask(3, 8.0)
    world.loop.run_for(7.5)
    [poll] = world.polls._open.values()
    assert not asking.done() and poll.decided.is_set(), "it took long to find out where the position stands"
    world.loop.run_for(1.0)
    assert seqs(asking.result()) == []


def test_who_is_not_decided_when_a_node_drains_is_answered_then(world: World) -> None:
    world.publish(3)
    world.broker.latency_s = 1.0
    asking = world.ask(3, 30.0)
    world.loop.run_for(0.5)
    world.loop.call(world.polls.drain)
    assert not asking.done()
    world.loop.run_for(6.0)
    assert seqs(asking.result()) == []


def test_a_durable_stream_that_begins_with_other_events_has_another_tag(world: World) -> None:
    same = orjson.dumps({"type": "progress", "message": "as before", "timestamp": 1})
    world.publish(3, same)
    first = world.answer(None)
    assert durable_route._etag(None, first) == durable_route._etag(None, world.answer(None))
    world.loop.call(world.broker.recreate)
    world.publish(3, same)
    world.loop.run_for(6.0)
    again = world.answer(None)
    assert (again.after, again.ended, again.array) == (first.after, first.ended, first.array), "as it was before"
    assert durable_route._etag(None, again) != durable_route._etag(None, first)


def test_a_poll_is_answered_though_a_heartbeat_waits_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat for a large audience goes out in slices. A poll has all that was released before its turn comes."""
    monkeypatch.setattr(audience, "SLICE", 1)
    world.publish(3)
    others = [world.ask(3, 30.0, limit) for limit in (10, 20)]
    world.loop.run_for(1.0)
    [topic] = world.hub.topics.values()
    add = audience.Audience.add

    def add_and_beat(live: audience.Audience, session: Session) -> None:
        add(live, session)
        topic.heartbeat()

    monkeypatch.setattr(audience.Audience, "add", add_and_beat)
    asking = world.ask(1, 30.0)
    world.loop.run_for(0.1)
    assert seqs(asking.result()) == [2, 3] and not any(each.done() for each in others)


def test_polls_of_a_large_audience_are_told_that_the_run_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "SLICE", 1)
    world.publish(3)
    asking = [world.ask(3, 30.0, limit) for limit in (10, 20, 30)]
    world.loop.run_for(1.0)
    world.publish(raw=event_bytes("over", "complete", data={"score": 1}))
    for each in asking:
        assert seqs(each.result()) == [4] and orjson.loads(each.result().body)["ended"] is True
