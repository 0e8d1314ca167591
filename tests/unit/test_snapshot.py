"""The fold: the table in broker/PROTOCOL.md row by row, and what holds for every history."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.events import PHASES, STATUSES, Event
from broker.contract.snapshot import Snapshot, decode, fold

ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


def event(kind: str, **fields: Any) -> Event:
    given: dict[str, Any] = {"message": kind, "timestamp": 1000} | fields
    return Event(type=kind, **given)


def folded(*events: Event | None) -> Snapshot:
    snapshot = None
    for seq, each in enumerate(events, 1):
        snapshot = fold(snapshot, ID, seq, each)
    assert snapshot is not None
    return snapshot


QUEUED = event("status", status="queued", data={"title": "T", "gameUrl": "http://g/"})


def test_the_first_event_makes_the_run() -> None:
    run = folded(QUEUED)
    assert (run.status, run.title, run.game_url, run.created_at, run.started_at) == (
        "queued",
        "T",
        "http://g/",
        1000,
        None,
    )


def test_running_is_stamped_once() -> None:
    running = event("status", status="running", timestamp=2000, data={"attempt": 1, "worker": "w"})
    again = event("status", status="running", timestamp=3000, data={"attempt": 2, "worker": "v"})
    run = folded(QUEUED, running, again)
    assert (run.status, run.started_at, run.attempt, run.worker) == ("running", 2000, 2, "v")


def test_progress_sets_a_queued_run_going_and_moves_the_phase() -> None:
    run = folded(QUEUED, event("progress", phase="phase2", message="Looking"))
    assert (run.status, run.phase, run.message) == ("running", "phase2", "Looking")


def test_complete_brings_score_and_metrics() -> None:
    run = folded(QUEUED, event("complete", data={"score": 78, "metrics": {"fps": 60}}, timestamp=9000))
    assert (run.status, run.score, run.metrics, run.finished_at) == ("completed", 78, {"fps": 60}, 9000)


def test_a_score_out_of_range_is_no_score() -> None:
    for score in (101, -1, "78", True, None):
        assert folded(QUEUED, event("complete", data={"score": score})).score is None


def test_an_error_ends_the_run_only_when_it_says_so() -> None:
    assert folded(QUEUED, event("error", message="odd")).status == "queued"
    run = folded(QUEUED, event("error", status="failed", message="gone", data={"code": "cancelled"}))
    assert (run.status, run.error) == ("failed", "gone")


def test_nothing_changes_an_ended_run_but_its_position() -> None:
    ended = folded(QUEUED, event("complete", data={"score": 5}))
    after = fold(ended, ID, 3, event("status", status="running", message="late"))
    assert after is not None and (after.status, after.message, after.seq) == ("completed", "complete", 3)


def test_a_malformed_message_counts_as_seen() -> None:
    assert folded(QUEUED, None).seq == 2
    assert fold(None, ID, 1, None) is None


def test_an_event_of_an_unknown_type_moves_the_position_only() -> None:
    shiny = event("shiny", phase="phase2", status="failed", timestamp=9000, data={"title": "U", "score": 1})
    before = folded(QUEUED, event("progress"))
    assert fold(before, ID, 3, shiny) == msgspec.structs.replace(before, seq=3)
    assert fold(None, ID, 1, shiny) is None
    assert folded(shiny, QUEUED) == folded(None, QUEUED)


def test_an_event_at_or_below_the_position_changes_nothing() -> None:
    run = folded(QUEUED, event("progress"))
    assert fold(run, ID, 2, event("complete")) is run


events = st.builds(
    Event,
    type=st.sampled_from(["status", "progress", "complete", "error", "shiny"]),
    message=st.text(max_size=5),
    timestamp=st.integers(0, 2**53 - 1),
    phase=st.none() | st.sampled_from(PHASES),
    status=st.sampled_from(STATUSES),
    data=st.none()
    | st.dictionaries(st.sampled_from(["score", "attempt", "title", "worker"]), st.integers() | st.text()),
)


@given(st.lists(st.none() | events, max_size=20), st.integers(0, 20))
def test_folding_in_two_goes_and_over_again_is_folding(history: list[Event | None], cut: int) -> None:
    def run(snapshot: Snapshot | None, first: int) -> Snapshot | None:
        for seq, each in list(enumerate(history, 1))[first:]:
            snapshot = fold(snapshot, ID, seq, each)
        return snapshot

    whole = run(None, 0)
    half: Snapshot | None = None
    for seq, each in list(enumerate(history, 1))[:cut]:
        half = fold(half, ID, seq, each)
    assert run(half, 0) == whole  # what was folded already changes nothing
    assert whole is None or decode(whole.encode(), whole.test_id) == whole
