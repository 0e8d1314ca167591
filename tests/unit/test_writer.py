"""Who may write to a run (agent_worker/publish/writer.py), case by case."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from agent_worker.publish.outbox import encode
from agent_worker.publish.writer import History, WriterId, judge, remember, writer_of
from broker.contract.errors import BadInput, Fenced
from broker.contract.events import MAX_EVENT_BYTES, Event
from broker.contract.ports import StoredEvent

OWN = WriterId(2, "me")
MSG_ID = "run.me.7"


def message(seq: int, writer: str | None = None, msg_id: str | None = None, **fields: Any) -> StoredEvent:
    event = Event(**{"type": "progress", "message": "x", "timestamp": 1, **fields})
    return StoredEvent("run", seq, event.encode(), writer, msg_id)


def stranger(seq: int, **fields: Any) -> StoredEvent:
    return message(seq, **fields)


END = {"type": "error", "status": "failed"}


@pytest.mark.parametrize(
    ("since", "stored_at"),
    [
        ([], None),
        ([stranger(8)], None),
        ([StoredEvent("run", 8, b"\xffnot an event")], None),
        ([message(8, "2.me", "run.me.6")], None),
        ([message(8, "2.me", MSG_ID)], 8),
        ([stranger(8), message(9, "2.me", MSG_ID), stranger(10)], 9),
        ([message(8, "2.me", MSG_ID), stranger(9, **END)], 8),  # it was stored; the end is met at the next publish
        ([message(8, "1.other")], None),  # a fenced writer's event that came before ours
        ([message(8, "9.me", MSG_ID)], 8),
        ([message(8, "no writer")], None),
        ([message(8, "99999999999.evil")], None),  # more digits than any attempt has
        ([stranger(8, msg_id=MSG_ID)], None),  # our Msg-Id, but not our name
        ([stranger(8, type="status", status="running", data={"attempt": 9})], None),  # says so, but is no writer
        ([message(8, "2.me", "run.me.6", type="complete")], None),  # our own end
    ],
)
def test_what_lets_a_writer_go_on(since: list[StoredEvent], stored_at: int | None) -> None:
    assert judge(since, OWN, MSG_ID).get(MSG_ID) == stored_at


def test_all_of_its_own_events_are_found_at_once() -> None:
    since = [message(8, "2.me", MSG_ID), stranger(9), message(10, "2.me", "run.me.8"), message(11, "3.other")]
    assert judge(since, OWN, MSG_ID) == {MSG_ID: 8, "run.me.8": 10}


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        ([message(8, "2.other")], "attempt"),
        ([message(8, "3.other")], "attempt"),
        ([stranger(8), message(9, "3.other")], "attempt"),
        ([message(8, "3.other", **END)], "attempt"),
        ([stranger(8, **END)], "ended"),
        ([stranger(8, type="complete")], "ended"),
        ([stranger(8, type="status", status="completed")], "ended"),
        ([message(8, "1.other", type="complete")], "ended"),
        ([stranger(8, **END), message(9, "2.me", MSG_ID)], "ended"),
    ],
)
def test_what_fences_a_writer(since: list[StoredEvent], reason: str) -> None:
    with pytest.raises(Fenced) as fenced:
        judge(since, OWN, MSG_ID)
    assert fenced.value.reason == reason


def test_a_look_passes_over_its_own_events() -> None:
    own = [message(8, "2.me", MSG_ID), message(9, "2.me", "run.me.8", type="complete")]
    assert judge(own, OWN, None) == {MSG_ID: 8, "run.me.8": 9}


def history(*messages: StoredEvent) -> History:
    return reduce(remember, messages, History())


def test_attempts_are_counted_by_their_writers() -> None:
    handover: dict[str, Any] = {"type": "status", "status": "queued", "data": {"handover": True}}
    told = [
        stranger(1, type="status", status="queued"),
        message(2, "1.a"),
        message(3, "1.a"),
        stranger(4, type="status", status="running", data={"attempt": 7}),
        message(5, "2.b"),
        message(6, "2.b", **handover),
        message(9, "3.c"),
    ]
    seen = history(*told)
    assert seen == History(9, False, frozenset({1, 2, 3}), frozenset({2}))
    assert (seen.lost, seen.next_attempt, seen.last_handed_on) == (2, 4, False)
    assert history(*told[:6]).last_handed_on


def test_a_strangers_handover_hands_nothing_on() -> None:
    seen = history(message(1, "1.a"), stranger(2, data={"handover": True}))
    assert seen.lost == 1


def test_a_new_run_has_no_history() -> None:
    assert (History().next_attempt, History().lost, History().last_handed_on) == (1, 0, False)


@pytest.mark.parametrize("end", [END, {"type": "complete"}, {"type": "status", "status": "completed"}])
def test_a_terminal_event_ends_whoever_wrote_it(end: dict[str, Any]) -> None:
    assert history(stranger(1), stranger(2, **end), stranger(3)).ended
    assert not history(stranger(1), stranger(2, type="error")).ended


def test_a_writers_name_survives_its_header() -> None:
    assert writer_of(message(1, str(OWN))) == OWN


def test_an_event_that_is_just_small_enough() -> None:
    def event(size: int) -> Event:
        return Event(type="progress", message="", timestamp=1, data="x" * size)

    room = MAX_EVENT_BYTES - len(encode(event(0)))
    assert len(encode(event(room))) == MAX_EVENT_BYTES
    with pytest.raises(BadInput, match=f"has {MAX_EVENT_BYTES + 1} bytes"):
        encode(event(room + 1))


def test_attempts_that_what_was_played_ended_are_remembered_with_their_reason() -> None:
    lost: dict[str, Any] = {"type": "progress", "data": {"lostTo": "the game's browser died"}}
    unreadable = message(3, "2.b", type="progress", data={"lostTo": 7})
    seen = history(message(1, "1.a", **lost), stranger(2, **lost), unreadable)
    assert seen.lost == 2 and seen.lost_to == ("the game's browser died",)
