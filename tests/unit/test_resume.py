"""What a session gets next, cell by cell; and the order of live events."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from broker.contract.ports import LiveEvent
from broker.contract.position import Decision, Position
from ws_edge.fanout import continuity
from ws_edge.fanout.continuity import Continuity, Verdict
from ws_edge.fanout.resume import (
    READ_ENDS,
    READ_STARTS,
    Act,
    LeaderAnswer,
    Plan,
    Stage,
    plan_catch_up,
    plan_resume,
)


class Page(NamedTuple):
    """A page at hand."""

    seqs: tuple[int, ...]

    def holds(self, seq: int) -> bool:
        return seq in self.seqs


def positions(first: int = 0) -> Continuity:
    order = Continuity()
    order.received, order.released, order.first = 20, 18, first
    return order


RING_AFTER = 10
KNOWN = positions()
FIRST_AT_8 = positions(first=8)
PAGE = Page((4, 6, 8))
ANSWER = LeaderAnswer(newest=6, received=9)
LIVE, RECOVERED = Decision("live", None, 0), "recovered"


def sync(decision: Decision) -> Plan:
    return Plan(Act.SYNC, decision.after, decision)


def recovered(seq: int) -> Plan:
    return sync(Decision("recovered", None, seq))


def reset(reason: str) -> Plan:
    return sync(Decision("reset", reason, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "known", "answer", "page", "plan"),
    [
        (None, KNOWN, None, None, sync(LIVE)),
        (Position("e", 0), KNOWN, None, None, sync(LIVE)),
        (Position("other", 5), KNOWN, None, None, reset("epoch")),
        (Position("other", 0), KNOWN, None, None, reset("epoch")),
        (Position("e", 20), KNOWN, None, None, recovered(20)),
        (Position(None, 15), KNOWN, None, None, recovered(15)),  # in the ring: retained, no need to read
        (Position("e", 10), KNOWN, None, None, recovered(10)),  # the ring begins behind it
        (Position("e", 21), KNOWN, None, None, Plan(Act.ASK)),
        (Position("e", 21), KNOWN, LeaderAnswer(20, 20), None, reset("ahead")),
        (Position("e", 6), KNOWN, None, None, Plan(Act.READ, 6)),
        (Position("e", 6), KNOWN, None, PAGE, recovered(6)),
        (Position("e", 5), KNOWN, None, PAGE, reset("expired")),
        (Position("e", 6), KNOWN, ANSWER, None, recovered(6)),  # the last one retained
        (Position("e", 7), KNOWN, ANSWER, None, reset("expired")),
        (Position("e", 5), KNOWN, ANSWER, None, Plan(Act.READ, 5)),  # before what the answer is about
        (Position("e", 9), KNOWN, ANSWER, None, Plan(Act.READ, 9)),  # after it
        (Position("e", 7), FIRST_AT_8, None, None, reset("expired")),
        (Position("e", 15), FIRST_AT_8, None, None, recovered(15)),
    ],
)
def test_a_resume(
    asked: Position | None, known: Continuity, answer: LeaderAnswer | None, page: Page | None, plan: Plan
) -> None:
    assert plan_resume(asked, "e", known, RING_AFTER, answer, page) == plan


@pytest.mark.parametrize(
    ("cursor", "answer", "page", "plan"),
    [
        (18, None, None, Plan(Act.REST)),
        (19, None, None, Plan(Act.REST)),  # another edge released more
        (17, None, None, Plan(Act.RING)),
        (10, None, None, Plan(Act.RING)),
        (9, None, None, Plan(Act.READ, 9)),
        (6, None, PAGE, Plan(Act.PAGE)),
        (0, None, PAGE, Plan(Act.PAGE)),  # a new viewer: nothing can be gone before the first
        (5, None, PAGE, reset("expired")),
        (7, ANSWER, None, reset("expired")),
        (6, ANSWER, None, Plan(Act.SKIP, 9)),
        (0, LeaderAnswer(0, 9), None, Plan(Act.SKIP, 9)),
        (0, LeaderAnswer(0, 30), None, Plan(Act.SKIP, 18)),  # never past what was released
        (0, ANSWER, None, Plan(Act.READ, 0)),
    ],
)
def test_a_catch_up(cursor: int, answer: LeaderAnswer | None, page: Page | None, plan: Plan) -> None:
    assert plan_catch_up(cursor, KNOWN, RING_AFTER, answer, page) == plan


def test_a_read_ends_where_it_started() -> None:
    assert READ_STARTS == {Stage.ASKED: Stage.JUDGING, Stage.BEHIND: Stage.READING}
    assert {READ_ENDS[during]: during for during in READ_ENDS} == READ_STARTS


# -- continuity ---------------------------------------------------------------------------------------------------


def event(seq: int, predecessor: int) -> LiveEvent:
    return LiveEvent(seq, predecessor, b"{}")


def sound(received: int) -> Continuity:
    order = Continuity()
    order.start(received)
    assert order.resolve() == []
    return order


@pytest.mark.parametrize(
    ("offered", "verdict", "gaps"),
    [
        (event(12, 10), Verdict.TAKE, 0),
        (event(10, 9), Verdict.DROP, 0),
        (event(3, 0), Verdict.DROP, 0),
        (event(12, 11), Verdict.GAP, 1),
        (event(12, 9), Verdict.GAP, 1),
        (event(2**62, 2**62 - 1), Verdict.GAP, 1),
    ],
)
def test_a_live_event_in_order(offered: LiveEvent, verdict: Verdict, gaps: int) -> None:
    order = sound(10)
    assert (order.offer(offered), order.gaps) == (verdict, gaps)
    assert order.sound == (verdict is not Verdict.GAP)
    assert order.held == ([offered] if verdict is Verdict.GAP else [])


def test_while_something_is_missing_everything_is_held_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuity, "MAX_HELD", 2)
    order = sound(10)
    assert order.doubt() and not order.doubt()
    assert [order.offer(event(seq, seq - 1)) for seq in (12, 13, 14)] == [Verdict.HOLD] * 3
    assert [held.seq for held in order.resolve()] == [12, 13]
    assert order.sound and order.held == []


def test_what_the_leader_knows_and_was_not_received_is_lacking() -> None:
    order = sound(10)
    assert not order.lacks(10) and not order.lacks(9)
    assert order.lacks(11) and order.gaps == 1 and not order.sound
    assert not order.lacks(12), "it is being read already"


def test_held_events_that_the_leader_does_not_have_are_dropped() -> None:
    order = sound(10)
    for seq in (12, 2**62):
        order.offer(event(seq, 1))
    order.offer(event(14, 13))  # came after the leader was asked
    order.forget_held(2, 12)
    assert [held.seq for held in order.held] == [12, 14]


def test_the_first_event_of_a_run_that_was_empty_is_remembered() -> None:
    order = sound(0)
    for seq in (7, 9):
        order.take(seq, b"")
    assert (order.first, order.received) == (7, 9)
    order.start(20)
    order.take(21, b"")
    assert (order.first, order.released) == (0, 20), "older events may be retained"


def taken(*seqs: int) -> Continuity:
    order = sound(10)
    for seq in seqs:
        order.take(seq, b"%d" % seq)
    return order


@pytest.mark.parametrize(
    ("seq", "data", "verdict"),
    [
        (14, b"14", Verdict.DROP),  # the same once more
        (14, b"other", Verdict.DISPUTED),
        (13, b"13", Verdict.DISPUTED),  # between two that are said to follow each other
        (12, b"12", Verdict.DROP),
        (12, b"other", Verdict.DROP),  # it was the newest, and had its time
        (9, b"9", Verdict.DROP),
    ],
)
def test_a_live_event_that_cannot_be_stored_beside_the_newest_one(seq: int, data: bytes, verdict: Verdict) -> None:
    order = taken(12, 14)
    assert order.offer(LiveEvent(seq, 10, data)) is verdict
    assert order.sound and order.received == 14


def test_a_live_event_further_than_the_stream_can_be_is_read_from_the_stream() -> None:
    order = taken(12)
    assert order.offer(event(continuity.AHEAD + 1, 12)) is Verdict.GAP
    order = taken(12)
    order.believe(20)
    assert order.offer(event(continuity.AHEAD + 20, 12)) is Verdict.TAKE


def test_what_the_leader_has_not_as_new_as_what_was_received() -> None:
    order = taken(12, 14)
    assert not order.exceeds(14, b"14") and not order.exceeds(14, None) and not order.exceeds(15, b"15")
    assert order.exceeds(13, b"13") and order.exceeds(0, None) and order.exceeds(14, b"other")
    assert not sound(10).exceeds(9, b""), "what was not received live was read from the stream"
