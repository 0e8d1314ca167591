"""The window on the stream of events: what it says of a run is all that the stream holds, or it says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.ports import StoredEvent
from ws_edge.views import event_window
from ws_edge.views.event_window import EventWindow

RUNS = ("a", "b", "c", "")
"""The last one stands for events that are of no run."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.sampled_from(RUNS), st.booleans()),
        st.tuples(st.just("read"), st.integers(1, 6)),
        st.tuples(st.just("begin"), st.integers(0, 8)),
        st.tuples(st.just("forget"), st.sampled_from(RUNS[:3]), st.integers(0, 6)),
    ),
    max_size=60,
)


def event(test_id: str, seq: int, expected_last: int | None = None, data: bytes = b"{}") -> StoredEvent:
    return StoredEvent(test_id, seq, data, expected_last=expected_last)


@given(STEPS, st.integers(1, 6))
def test_it_tells_all_events_of_a_run_or_nothing(steps: list[Any], most: int) -> None:
    stream: list[StoredEvent] = []
    window = EventWindow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_window, "MAX_EVENTS", most)
        for name, *how in steps:
            if name == "store":
                last = max((each.seq for each in stream if each.test_id == how[0]), default=0)
                stream.append(event(how[0], len(stream) + 1, last if how[1] else None))
            elif name == "read":
                window.add(stream[window.up_to : window.up_to + how[0]])
            elif name == "begin":
                window.begin(max(0, len(stream) - how[0]))
            else:
                window.forget(how[0], max(0, len(stream) - how[1]))
            assert len(window) <= most
            for test_id in RUNS[:3]:
                for seq in range(1, len(stream) + 1):
                    told = window.since(test_id, seq)
                    held = [each for each in stream[: window.up_to] if each.test_id == test_id and each.seq > seq]
                    assert told is None or told == held


def test_it_tells_of_runs_whose_last_event_is_before_it_by_what_their_publishers_named() -> None:
    window = EventWindow()
    window.begin(100)
    window.add([event("a", 101, 7), event("b", 102), event("a", 103)])
    assert [each.seq for each in window.since("a", 7) or ()] == [101, 103]
    assert window.since("a", 6) is None, "there may be others between"
    assert window.since("b", 7) is None, "its publisher named no predecessor"
    assert [each.seq for each in window.since("b", 100) or ()] == [102]
    window.forget("b", 102)
    assert window.since("b", 102) == [] and window.since("b", 100) is None


def test_what_is_read_twice_counts_once() -> None:
    window = EventWindow()
    window.add([event("a", 1), event("a", 2)])
    window.add([event("a", 2), event("a", 3)])
    assert [each.seq for each in window.since("a", 1) or ()] == [2, 3] and len(window) == 3


def test_large_bodies_are_forgotten_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_window, "MAX_BYTES", 250)
    window = EventWindow()
    window.add(event("a", seq, data=b"x" * 100) for seq in range(1, 6))
    assert [each.seq for each in window.since("a", 3) or ()] == [4, 5] and window.since("a", 2) is None
    assert len(window) == 2


def test_it_begins_again_rather_than_remember_any_number_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_window, "_MAX_RUNS", 3)
    window = EventWindow()
    window.add(event(f"run {seq}", seq) for seq in range(1, 6))
    window.add([event("a", 6)])
    assert window.since("run 4", 3) is None and [each.seq for each in window.since("a", 5) or ()] == [6]
