"""Events that cannot be read: what is counted, what is logged, and what a viewer is told."""

from __future__ import annotations

import logging

import orjson
import pytest

from broker.contract.errors import MalformedEvent
from ws_edge.encoding import ENCODINGS
from ws_edge.fanout.batch import BatchCache, count_of, framed
from ws_edge.fanout.ring import Entry, entry_of
from ws_edge.fanout.unreadable import WINDOW_S, UnreadableEvents, told

RUN = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
OTHER = "5f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
GOOD = {"type": "progress", "message": "m", "timestamp": 1}
WEBSOCKET = ENCODINGS["websocket"]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "testcast.unreadable"]


def test_each_event_counts_once_whoever_reads_it(clock: Clock) -> None:
    unreadable = UnreadableEvents(clock)
    for seq, reason in ((3, "it is empty"), (4, "it is not JSON"), (3, "it is empty"), (4, "it is not JSON")):
        unreadable.note(RUN, seq, MalformedEvent(reason))
    unreadable.note(OTHER, 4, MalformedEvent("it is empty"))
    assert unreadable.statistics() == (3, {"it is empty": 2, "it is not JSON": 1})
    unreadable.forget()
    unreadable.note(RUN, 1, MalformedEvent("it is empty"))
    assert unreadable.statistics().events == 4, "a stream that was made again counts anew"


def test_a_reason_is_logged_once_for_a_run_and_window(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    unreadable = UnreadableEvents(clock)
    for seq in range(1, 6):
        unreadable.note(RUN, seq, MalformedEvent("`timestamp` is missing"))
    unreadable.note(RUN, 6, MalformedEvent("`phase` is not one of phase1 … phase4", "it is 1"))
    unreadable.note(OTHER, 7, MalformedEvent("`timestamp` is missing"))
    assert lines(caplog) == [
        f"test {RUN}: event 1 cannot be read and is not shown: `timestamp` is missing",
        f"test {RUN}: event 6 cannot be read and is not shown: `phase` is not one of phase1 … phase4: it is 1",
        f"test {OTHER}: event 7 cannot be read and is not shown: `timestamp` is missing",
    ]
    clock.now_s += WINDOW_S
    unreadable.note(RUN, 8, MalformedEvent("`timestamp` is missing"))
    assert lines(caplog)[3:] == [
        "4 more events could not be read, for the reasons logged before",
        f"test {RUN}: event 8 cannot be read and is not shown: `timestamp` is missing",
    ]


def test_a_flood_of_runs_does_not_fill_the_log(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    unreadable = UnreadableEvents(clock)
    for number in range(20_000):
        unreadable.note(f"run {number}", 1, MalformedEvent("it is empty"))
    assert len(lines(caplog)) == 50
    assert unreadable.statistics().events == 20_000
    assert len(unreadable._noted) == 10_000


def entry(seq: int, raw: bytes | None = None) -> Entry:
    return entry_of(RUN, seq, orjson.dumps(GOOD) if raw is None else raw)


def test_what_a_viewer_is_told() -> None:
    assert told([]) is None and told([entry(1)]) is None
    assert told([entry(1, b""), entry(2), entry(3, b"x"), entry(4, b""), entry(5)]) == {
        "seq": 4,
        "count": 3,
        "reasons": {"it is empty": 2, "it is not JSON": 1},
    }


def test_the_word_follows_its_batch() -> None:
    entries = [entry(1, b""), entry(2)]
    expected = WEBSOCKET.frame([entries[1].body])
    control = {"testId": RUN, "seq": 1, "count": 1, "reasons": {"it is empty": 1}}
    expected += WEBSOCKET.control("unreadable", **control)
    assert framed(RUN, WEBSOCKET, entries) == expected
    assert BatchCache(RUN).frame(WEBSOCKET, entries, 0, 2) == (expected, 2, count_of(entries))
    assert framed(RUN, WEBSOCKET, entries[1:]) == WEBSOCKET.frame([entries[1].body]), "nothing is said of nothing"
    assert framed(RUN, WEBSOCKET, []) == b""
