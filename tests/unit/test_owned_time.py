"""What comes back from a page in owned time is data of any shape and size; what is made of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.games.chromium.inspection import Code, Coverage
from agent_worker.games.chromium.page_state import Clock, Loop, read_clock
from agent_worker.games.errors import PageGone
from agent_worker.games.owned_time.script import owned_time
from agent_worker.games.owned_time.stage import _together, _told

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=9), inner, max_size=6),
    max_leaves=12,
)
NAMES = ("loop", "dropped", "uncontrolled", "used", "text", "advances", "frame")


@given(st.dictionaries(st.sampled_from(NAMES), JSON) | JSON)
def test_a_clock_is_read_from_whatever_a_page_says(told: Any) -> None:
    clock = read_clock(told)
    assert clock.dropped >= 0 and len(clock.uncontrolled) <= 40
    assert clock.text is None or len(clock.text) <= 20_000


def test_the_clocks_of_a_page_and_of_a_frame_in_it() -> None:
    page = Clock(Loop(timers=1), 2, ("Worker",), ("fetch",))
    both = page.beside(Clock(Loop(frames=1), 1, (), ("setTimeout",), "score 5", True))
    named = ("Worker", "frame of another origin")
    assert both == Clock(Loop(1, 1), 3, named, ("fetch", "setTimeout"), "score 5", True)
    assert Loop().stopped and not both.loop.stopped


def test_what_advance_answers_is_frames_and_fingerprints() -> None:
    assert _told([4, [[1, 1, 2, 3, 4, 5], [4, -1, 2, 3, 4, 1 << 33]], 7.5, False], 4, 1) == (
        4,
        [[1, 1, 2, 3, 4, 5], [4, 2**32 - 1, 2, 3, 4, 0]],
        7.5,
        False,
    )
    assert _together([[3, 1, 2, 3, 4, 5]], [[3, 1, 0, 0, 0, 0]]) == [[3, 6, 10, 15, 20, 25]]


@pytest.mark.parametrize("numbers", [[0], [5], [2, 2], [3, 1], [1, 2, 3, 4, 5]])
def test_fingerprints_are_of_frames_that_were_played_each_once(numbers: list[int]) -> None:
    with pytest.raises(PageGone):
        _told([4, [[number, 1, 2, 3, 4, 5] for number in numbers], 7.5, False], 4, 1)


@given(JSON | st.tuples(JSON, JSON, JSON, JSON).map(list))
def test_anything_else_is_no_answer(told: Any) -> None:
    try:
        frames, prints, _, stale = _told(told, 3, 1)
    except PageGone:
        return
    assert 1 <= frames <= 3 and len(prints) <= frames and isinstance(stale, bool)


@pytest.mark.parametrize(
    ("spans", "used", "total"),
    [
        ([], 0, 0),
        ([(0, 100, True)], 100, 100),
        ([(0, 100, True), (10, 30, False)], 80, 100),
        ([(0, 100, True), (10, 50, False), (20, 30, True)], 70, 100),
        ([(0, 100, True), (0, 50, False)], 50, 100),
        ([(0, 100, True), (50, 100, False)], 50, 100),
        ([(0, 100, True), (10, 30, False), (30, 40, True)], 80, 100),
    ],
)
def test_code_that_ran_is_counted_without_what_did_not(
    spans: list[tuple[int, int, bool]], used: int, total: int
) -> None:
    known = {Code("http://a/b.js", 0, start, end): ran for start, end, ran in spans}
    covered = Coverage(frozenset(code for code, ran in known.items() if ran), frozenset(known))
    assert (covered.used, covered.total) == (used, total)


def test_the_script_knows_what_it_is_given() -> None:
    script = owned_time('a"b', 7, 1.5, {"image"})
    assert (
        script.endswith(
            'start({"token": "a\\"b", "seed": 7, "holdLimit": 1500, "gaveUp": ["image"], "skips": false});\n})();'
        )
        and script.count("function start(") == 1
    )
