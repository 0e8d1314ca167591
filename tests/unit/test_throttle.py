"""The pace: at most one progress message per interval, nothing dropped, order kept, urgent events never wait."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ws_edge.fanout.throttle import Kind, Throttle


def test_the_first_goes_at_once_and_the_rest_together_at_the_windows_end() -> None:
    throttle: Throttle[int] = Throttle(5.0)
    assert throttle.offer(1, "progress", 0.0) == [1]
    assert throttle.due is None
    assert throttle.offer(2, "progress", 1.0) == []
    assert throttle.offer(3, "progress", 4.9) == []
    assert throttle.due == 5.0
    assert throttle.expire(4.99) == []
    assert throttle.expire(5.0) == [2, 3]
    assert throttle.offer(4, "progress", 9.0) == []  # the release opened a window of its own
    assert throttle.expire(10.0) == [4]
    assert throttle.offer(5, "progress", 15.0) == [5]


def test_an_urgent_event_takes_what_waits_with_it() -> None:
    throttle: Throttle[int] = Throttle(5.0)
    throttle.offer(1, "progress", 0.0)
    throttle.offer(2, "progress", 1.0)
    assert throttle.offer(3, "urgent", 2.0) == [2, 3]
    assert throttle.offer(4, "urgent", 2.1) == [4]
    assert throttle.offer(5, "progress", 6.9) == []


def test_silent_items_keep_their_place() -> None:
    throttle: Throttle[int] = Throttle(5.0)
    assert throttle.offer(1, "silent", 0.0) == [1]
    assert throttle.offer(2, "progress", 0.0) == [2]
    assert throttle.offer(3, "progress", 1.0) == []
    assert throttle.offer(4, "silent", 1.0) == []
    assert throttle.expire(5.0) == [3, 4]


def test_no_interval_no_waiting() -> None:
    throttle: Throttle[int] = Throttle(0.0)
    assert [throttle.offer(n, "progress", 1.0) for n in range(3)] == [[0], [1], [2]]


steps = st.lists(st.tuples(st.sampled_from(["progress", "urgent", "silent", "tick"]), st.floats(0, 4)), max_size=60)


@given(steps)
def test_for_every_history(history: list[tuple[str, float]]) -> None:
    throttle: Throttle[int] = Throttle(5.0)
    now, offered = 0.0, 0
    released: list[int] = []
    for kind, wait in history:
        now += wait
        if throttle.due is not None and throttle.due <= now:  # the timer fires when it is due, not later
            released += throttle.expire(throttle.due)
        if kind == "tick":
            continue
        item_kind: Kind = kind  # type: ignore[assignment]
        offered += 1
        out = throttle.offer(offered, item_kind, now)
        released += out
        if kind == "urgent":
            assert out and out[-1] == offered, "an urgent event never waits"
        assert throttle.due is None or now <= throttle.due <= now + 5.0
    if throttle.due is not None:
        released += throttle.expire(throttle.due)
    assert released == list(range(1, offered + 1)), "nothing dropped, order kept"


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_progress_alone_goes_out_at_most_once_per_interval(waits: list[float]) -> None:
    throttle: Throttle[int] = Throttle(5.0)
    now = 0.0
    sent_at: list[float] = []
    for number, wait in enumerate(waits):
        now += wait
        if throttle.due is not None and throttle.due <= now:
            sent_at.append(throttle.due)
            assert throttle.expire(sent_at[-1])
        if throttle.offer(number, "progress", now):
            sent_at.append(now)
    assert all(later - earlier >= 5.0 for earlier, later in pairwise(sent_at))
