"""A frame for a large audience goes out in slices: everybody gets it once, whoever comes and goes meanwhile."""

from __future__ import annotations

from typing import cast

import pytest

from tests.keeping import Viewer
from ws_edge.encoding import Encoding
from ws_edge.fanout import audience
from ws_edge.fanout.audience import Audience
from ws_edge.fanout.figures import FanoutFigures
from ws_edge.fanout.one_call import one_by_one
from ws_edge.fanout.session import Owner, Session

HIGH_WATER = 1000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "SLICE", 3)


def many(count: int) -> tuple[Audience, list[Session]]:
    all_of_them = Audience(FanoutFigures(lambda: 0.0), one_by_one)
    sessions = [joined(all_of_them) for _ in range(count)]
    return all_of_them, sessions


def joined(to: Audience, takes: int = 1000) -> Session:
    session = Session(cast(Owner, None), Viewer(takes), None)
    to.add(session)
    return session


def got(sessions: list[Session]) -> list[int]:
    return [len(cast(Viewer, session.viewer).got) for session in sessions]


def frame(_by: Encoding) -> bytes:
    return b"frame"


def test_each_turn_writes_to_one_slice() -> None:
    live, sessions = many(8)
    live.offer(frame, before=4, events=2)
    for sent in (3, 6, 8):
        assert live.sending
        assert live.go_on(HIGH_WATER) == []
        assert sum(got(sessions)) == sent
        ahead = [live.position_of(session, 5) for session in sessions]
        assert ahead == [5] * sent + [4] * (8 - sent)
    assert not live.sending and live.go_on(HIGH_WATER) == [], "and then nothing"
    assert got(sessions) == [1] * 8 and len(live) == 8


def test_who_joins_meanwhile_has_it_already() -> None:
    live, sessions = many(4)
    live.offer(frame, before=4, events=1)
    live.go_on(HIGH_WATER)
    late = [joined(live) for _ in range(5)]
    assert [live.position_of(session, 5) for session in late] == [5] * 5
    while live.sending:
        live.go_on(HIGH_WATER)
    assert got(sessions) == [1] * 4 and got(late) == [0] * 5
    live.offer(frame, before=5, events=1)
    while live.sending:
        live.go_on(HIGH_WATER)
    assert got(sessions) == [2] * 4 and got(late) == [1] * 5


def test_who_leaves_takes_nobody_along() -> None:
    live, sessions = many(9)
    live.offer(frame, before=4, events=1)
    live.go_on(HIGH_WATER)
    for session in (sessions[0], sessions[4], *sessions[6:9]):
        live.discard(session)
    while live.sending:
        live.go_on(HIGH_WATER)
    assert got(sessions) == [1, 1, 1, 1, 0, 1, 0, 0, 0]
    assert {id(each) for each in live} == {id(sessions[at]) for at in (1, 2, 3, 5)}


def test_nothing_waits_for_those_that_were_all_removed() -> None:
    live, sessions = many(7)
    live.offer(frame, before=4, events=1)
    live.go_on(HIGH_WATER)
    live.clear()
    assert not live.sending and not live and sessions[6].live is None
    again = joined(live)
    live.offer(frame, before=4, events=1)
    assert live.go_on(HIGH_WATER) == [] and got([again]) == [1]


def test_who_takes_nothing_is_told_of_in_its_turn_and_lacks_no_heartbeat() -> None:
    live, _ = many(3)
    slow = joined(live, takes=0)
    live.offer(frame, before=4, events=1)
    assert live.go_on(HIGH_WATER) == []
    assert live.go_on(HIGH_WATER) == [slow]
    live.offer(frame, before=4)
    assert (live.go_on(HIGH_WATER), live.go_on(HIGH_WATER)) == ([], [])
