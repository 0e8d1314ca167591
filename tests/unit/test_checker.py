"""The fault kit's checker is fed histories with something wrong in them, and must say so: a green table means nothing
if the checker would be silent about a loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.checker import (
    Acked,
    Fault,
    History,
    Mark,
    Reset,
    Seen,
    Stored,
    Told,
    Verdict,
    check,
    quantile,
)

RUN = "run"
EVENTS = 10


def sound() -> History:
    """Ten events, told a second apart, acknowledged 0.1 s and seen by two viewers 0.2 s later; nothing is wrong."""
    history = History(watching={"a": frozenset({RUN}), "b": frozenset({RUN})})
    history.stored.append(Stored(RUN, 1, None))
    for viewer in ("a", "b"):
        history.shown.append(Seen(viewer, RUN, 1, None, 0.0))
    for n in range(1, EVENTS + 1):
        mark = Mark(1, n)
        history.told.append(Told(RUN, mark, float(n)))
        history.acked.append(Acked(RUN, mark, n + 0.1))
        history.stored.append(Stored(RUN, 10 * n, mark))
        for viewer in ("a", "b"):
            history.shown.append(Seen(viewer, RUN, 10 * n, mark, n + 0.2))
    return history


def found(verdict: Verdict) -> list[tuple[str, str]]:
    return [(violation.what, violation.where) for violation in verdict.violations]


def index_of(history: History, viewer: str, n: int) -> int:
    return next(
        i for i, each in enumerate(history.shown) if isinstance(each, Seen) and each[:3] == (viewer, RUN, 10 * n)
    )


def test_a_sound_history_has_nothing_wrong() -> None:
    verdict = check(sound())
    assert verdict.violations == []
    assert (verdict.acked, verdict.stored, verdict.deliveries) == (EVENTS, EVENTS + 1, 2 * EVENTS + 2)
    assert verdict.longest_wait_s == pytest.approx(0.1)


def lose(history: History) -> None:
    del history.shown[index_of(history, "b", 5)]


def lose_the_last(history: History) -> None:
    del history.shown[index_of(history, "b", EVENTS)]


def lose_an_unnumbered_one(history: History) -> None:
    history.shown.remove(Seen("b", RUN, 1, None, 0.0))


def see_twice(history: History) -> None:
    history.shown.append(history.shown[index_of(history, "b", 5)])


def swap(history: History) -> None:
    one, other = index_of(history, "b", 5), index_of(history, "b", 6)
    history.shown[one], history.shown[other] = history.shown[other], history.shown[one]


def see_what_is_not_stored(history: History) -> None:
    history.shown.append(Seen("b", RUN, 999, Mark(1, 99), 20.0))


def see_another_event_in_its_place(history: History) -> None:
    at = index_of(history, "b", 5)
    seen = history.shown[at]
    assert isinstance(seen, Seen)
    history.shown[at] = seen._replace(mark=Mark(1, 6))


def reset(history: History) -> None:
    """Told to forget, and shown everything again."""
    history.shown.append(Reset("b", RUN, "ahead", 20.0))
    history.shown += [each for each in history.shown if isinstance(each, Seen) and each.viewer == "b"]


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lose, [("lost", "b")]),
        (lose_the_last, [("lost", "b")]),
        (lose_an_unnumbered_one, [("lost", "b")]),
        (see_twice, [("duplicated", "b")]),
        (swap, [("out of order", "b")]),
        (see_what_is_not_stored, [("phantom", "b")]),
        (see_another_event_in_its_place, [("phantom", "b"), ("lost", "b")]),
        (reset, [("reset", "b")]),
    ],
)
def test_what_is_wrong_with_a_viewer(spoil: Callable[[History], None], wrong: list[tuple[str, str]]) -> None:
    history = sound()
    spoil(history)
    assert found(check(history)) == wrong


def test_a_reset_that_is_expected_is_none_but_what_follows_it_has_to_be_whole() -> None:
    history = sound()
    reset(history)
    assert check(history, may_reset=frozenset({"ahead"})).violations == []
    history.shown.pop()
    assert found(check(history, may_reset=frozenset({"ahead"}))) == [("lost", "b")]


def test_acknowledged_and_not_stored() -> None:
    history = sound()
    gone = history.stored.pop()
    history.shown = [each for each in history.shown if not (isinstance(each, Seen) and each.seq == gone.seq)]
    assert found(check(history)) == [("lost", "stream")]


def test_told_and_not_stored_is_no_loss_unless_something_later_was() -> None:
    history = sound()
    history.told.append(Told(RUN, Mark(1, EVENTS + 1), 20.0))
    assert check(history).violations == []
    history.told.append(Told(RUN, Mark(1, EVENTS + 2), 21.0))
    history.stored.append(Stored(RUN, 999, Mark(1, EVENTS + 2)))
    history.shown += [Seen(viewer, RUN, 999, Mark(1, EVENTS + 2), 22.0) for viewer in ("a", "b")]
    assert found(check(history)) == [("lost", "stream")]


@pytest.mark.parametrize(
    ("mark", "wrong"),
    [
        (Mark(1, 5), "duplicated"),  # stored again
        (Mark(1, EVENTS + 7), "phantom"),  # never told
    ],
)
def test_stored_what_should_not_be(mark: Mark, wrong: str) -> None:
    history = sound()
    history.stored.append(Stored(RUN, 999, mark))
    history.shown += [Seen(viewer, RUN, 999, mark, 20.0) for viewer in ("a", "b")]
    assert (wrong, "stream") in found(check(history))


def test_a_zombie_that_writes_behind_its_successor() -> None:
    history = sound()
    for seq, mark in ((200, Mark(2, 1)), (201, Mark(1, EVENTS + 1))):
        history.told.append(Told(RUN, mark, 20.0))
        history.stored.append(Stored(RUN, seq, mark))
        history.shown += [Seen(viewer, RUN, seq, mark, 21.0) for viewer in ("a", "b")]
    assert found(check(history)) == [("out of order", "stream")]


@given(st.data())
def test_any_single_loss_is_found(data: st.DataObject) -> None:
    history = sound()
    at = data.draw(st.integers(0, len(history.shown) - 1))
    gone = history.shown.pop(at)
    assert found(check(history)) == [("lost", gone.viewer)]


@given(st.data())
def test_any_single_duplicate_is_found(data: st.DataObject) -> None:
    history = sound()
    at = data.draw(st.integers(0, len(history.shown) - 1))
    to = data.draw(st.integers(at, len(history.shown)))
    again = history.shown[at]
    history.shown.insert(to, again)
    assert found(check(history)) == [("duplicated", again.viewer)]


def delayed(history: History, viewer: str, n: int, at: float) -> History:
    shown = [
        each._replace(at=at) if isinstance(each, Seen) and each.viewer == viewer and each.mark == Mark(1, n) else each
        for each in history.shown
    ]
    return replace(history, shown=shown)


FAULT = Fault("edge killed", "8000", began=4.5, healed=6.0, until=8.5)


def test_recovery_ends_with_the_last_event_that_came_late() -> None:
    history = replace(sound(), faults=[FAULT])
    assert check(history).recoveries[0].took_s == pytest.approx(0.7)  # the first event told since, at 5.0, seen at 5.2
    history = delayed(history, "b", 6, at=8.0)
    [recovery] = check(history).recoveries
    assert recovery.by_viewer == {"a": pytest.approx(0.7), "b": pytest.approx(3.5)}
    assert recovery.took_s == pytest.approx(3.5)
    assert recovery.publishing_s == pytest.approx(0.6)
    assert check(history).longest_wait_s == pytest.approx(1.9)


def test_an_event_on_its_way_when_the_fault_came_counts_too() -> None:
    history = delayed(replace(sound(), faults=[FAULT]), "a", 4, at=7.0)
    assert check(history).recoveries[0].took_s == pytest.approx(2.5)


def test_a_run_that_publishes_no_more_has_not_recovered() -> None:
    history = sound()
    history.faults.append(Fault("agent killed", RUN, began=EVENTS + 0.5, healed=12.0, until=14.0))
    assert check(history).recoveries[0].took_s == math.inf


def test_quantile() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert quantile([5.0], 0.99) == 5.0


def restarted(first: int) -> History:
    """The sound history, of which a stream made again holds the events from `first` on, at sequences of its own."""
    history = sound()
    history.shown += [Reset(viewer, RUN, "epoch", 10.0) for viewer in ("a", "b")]
    history.stored = [Stored(RUN, n - first + 1, Mark(1, n)) for n in range(first, EVENTS + 1)]
    history.shown += [Seen(viewer, RUN, each.seq, each.mark, 11.0) for viewer in ("a", "b") for each in history.stored]
    history.restart()
    return history


def check_restarted(history: History) -> list[tuple[str, str]]:
    return found(check(history, may_reset=frozenset({"epoch"})))


@pytest.mark.parametrize("first", [1, 4, EVENTS])
def test_a_stream_made_again_need_not_hold_what_was_in_the_old_one(first: int) -> None:
    assert check_restarted(restarted(first)) == []


def test_nothing_of_a_stream_made_again_may_be_lost_repeated_or_reordered() -> None:
    history = restarted(4)
    del history.stored[2]
    assert ("lost", "stream") in check_restarted(history), "an event between two others"
    history = restarted(4)
    del history.stored[-1]
    assert ("lost", "stream") in check_restarted(history), "an acknowledged one at the end"
    history = restarted(4)
    lacking = next(each for each in history.shown if each.viewer == "b")
    history.shown.remove(lacking)
    assert check_restarted(history) == [("lost", "b")]
    history.shown += [lacking, lacking]
    assert check_restarted(history) == [("out of order", "b"), ("duplicated", "b")]


def test_a_viewer_that_was_not_told_of_the_new_stream_shows_phantoms() -> None:
    history = sound()
    history.stored = [Stored(RUN, n - 3, Mark(1, n)) for n in range(4, EVENTS + 1)]
    history.restart()
    assert {what for what, _ in check_restarted(history)} == {"phantom", "lost"}
