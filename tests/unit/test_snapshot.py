"""The fold: the table in broker/PROTOCOL.md row by row, and what holds for every history."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import MalformedEvent
from broker.contract.events import PHASES, STATUSES, Event, check
from broker.contract.snapshot import Snapshot, decode, fold

ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


def event(kind: str, **fields: Any) -> Event:
    given: dict[str, Any] = {"message": kind, "timestamp": 1000} | fields
    return Event(type=kind, **given)


def folded(*events: Event | None) -> Snapshot:
    snapshot = None
    for seq, each in enumerate(events, 1):
        snapshot = fold(snapshot, ID, seq, each, 1000 * seq)
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
    running = event("status", status="running", data={"attempt": 1, "worker": "w"})
    again = event("status", status="running", data={"attempt": 2, "worker": "v"})
    run = folded(QUEUED, running, again)
    assert (run.status, run.started_at, run.attempt, run.worker) == ("running", 2000, 2, "v")


def test_progress_sets_a_queued_run_going_and_moves_the_phase() -> None:
    run = folded(QUEUED, event("progress", phase="phase2", message="Looking"))
    assert (run.status, run.phase, run.message) == ("running", "phase2", "Looking")


def test_titles_of_phases_are_kept_and_those_of_another_form_change_nothing() -> None:
    named = event("status", status="running", phase="phase1", data={"phases": ["Install", "x" * 70]})
    run = folded(QUEUED, named)
    assert run.phases == ["Install", "x" * 59 + "…"]
    for wrong in ([], ["a"] * 5, "Install", [1], None, {"1": "a"}):
        assert folded(QUEUED, named, event("status", status="running", data={"phases": wrong})).phases == run.phases
    assert folded(QUEUED, event("progress", data={"phases": ["a"]})).phases is None


@pytest.mark.parametrize(
    ("message", "said"), [("one\ntwo", "two"), ("one\ntwo\n\n", "two"), ("one", "one"), ("\n\n", ""), ("", "")]
)
def test_of_output_the_last_line_is_the_message(message: str, said: str) -> None:
    assert folded(QUEUED, event("progress", message=message, data={"stream": "stdout"})).message == said
    assert folded(QUEUED, event("progress", message=message, data={"stream": 5})).message == message


def test_complete_brings_score_and_metrics() -> None:
    run = folded(QUEUED, event("complete", data={"score": 78, "metrics": {"fps": 60}}))
    assert (run.status, run.score, run.metrics, run.finished_at) == ("completed", 78, {"fps": 60}, 2000)


def test_a_score_out_of_range_is_no_score() -> None:
    for score in (101, -1, "78", True, None):
        assert folded(QUEUED, event("complete", data={"score": score})).score is None


def test_an_error_ends_the_run_only_when_it_says_so() -> None:
    assert folded(QUEUED, event("error", message="odd")).status == "queued"
    run = folded(QUEUED, event("error", status="failed", message="gone", data={"code": "cancelled"}))
    assert (run.status, run.error, run.error_code, run.list_status) == ("failed", "gone", "cancelled", "cancelled")
    again = folded(QUEUED, event("error", data={"code": "odd"}), event("error", status="failed", message="gone"))
    assert (again.error_code, again.list_status) == (None, "failed"), "of the event that set `error`"


@pytest.mark.parametrize("timestamp", [0, 1, 1_700_000_000, 2**53 - 1])
def test_a_publishers_clock_sets_no_time(timestamp: int) -> None:
    first = event("status", status="queued", timestamp=timestamp)
    run = folded(first, event("progress", timestamp=timestamp), event("complete", timestamp=timestamp))
    assert (run.created_at, run.started_at, run.finished_at, run.updated_at) == (1000, 2000, 3000, 3000)


def test_a_time_that_is_not_known_changes_none() -> None:
    before = folded(QUEUED, event("progress"))
    after = fold(before, ID, 3, event("complete"), 0)
    assert after is not None and (after.status, after.updated_at, after.finished_at) == ("completed", 2000, None)


def test_a_brokers_clock_that_is_set_back_makes_no_negative_time() -> None:
    before = folded(QUEUED, event("progress"))
    after = fold(before, ID, 3, event("complete"), 5)
    assert after is not None and (after.started_at, after.finished_at) == (2000, 2000)


WIDE = ("x", "é", "€", "😀", "\x01", '"')
"""One, two, three and four bytes of UTF-8; two characters that JSON escapes."""


@pytest.mark.parametrize("char", WIDE)
def test_each_folded_field_has_a_limit(char: str) -> None:
    long = char * 9000
    run = folded(
        event("status", status="queued", message=long, data={"title": long, "gameUrl": long, "worker": long}),
        event("status", status="running", data={"attempt": 2**31}),
        event("error", message=long, data={"code": long}),
        event("complete", message=long, data={"metrics": {"m": long}}),
    )
    assert (len(run.title), len(run.message), len(run.error or ""), len(run.worker or "")) == (200, 2000, 2000, 200)
    assert run.title == char * 199 + "…" and run.message == run.error
    assert (run.game_url, run.error_code, run.attempt) == ("", None, 0), "a part of it would mean something else"
    assert (run.metrics is None) == (len(msgspec.json.encode({"m": long})) > 32 * 1024)
    assert len(run.encode()) < 80 * 1024
    exact = folded(event("status", status="queued", message=char * 2000, data={"title": char * 200}))
    assert (exact.title, exact.message) == (char * 200, char * 2000)


def test_half_a_surrogate_pair_is_malformed() -> None:
    """So no field that is folded contains one, and cutting by characters makes none."""
    for half in (b"\\ud83d", b"\\ude00", b"\\ude00\\ud83d"):
        with pytest.raises(MalformedEvent):
            check(b'{"type":"progress","timestamp":1,"message":"' + half + b'"}')


def test_nothing_changes_an_ended_run_but_its_position() -> None:
    ended = folded(QUEUED, event("complete", data={"score": 5}))
    after = fold(ended, ID, 3, event("status", status="running", message="late"), 9)
    assert after is not None and (after.status, after.message, after.seq) == ("completed", "complete", 3)


def test_a_malformed_message_counts_as_seen() -> None:
    assert folded(QUEUED, None).seq == 2
    assert fold(None, ID, 1, None, 9) is None


def test_an_event_of_an_unknown_type_moves_the_position_only() -> None:
    shiny = event("shiny", phase="phase2", status="failed", timestamp=9000, data={"title": "U", "score": 1})
    before = folded(QUEUED, event("progress"))
    assert fold(before, ID, 3, shiny, 9) == msgspec.structs.replace(before, seq=3)
    assert fold(None, ID, 1, shiny, 9) is None
    assert folded(shiny, QUEUED) == folded(None, QUEUED)


def test_an_event_at_or_below_the_position_changes_nothing() -> None:
    run = folded(QUEUED, event("progress"))
    assert fold(run, ID, 2, event("complete"), 9) is run


times = st.integers(1, 2**53 - 1)
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


@given(st.lists(st.tuples(st.none() | events, times), max_size=20), st.integers(0, 20))
def test_folding_in_two_goes_and_over_again_is_folding(history: list[tuple[Event | None, int]], cut: int) -> None:
    def run(snapshot: Snapshot | None, first: int) -> Snapshot | None:
        for seq, (each, stored_ms) in list(enumerate(history, 1))[first:]:
            snapshot = fold(snapshot, ID, seq, each, stored_ms)
        return snapshot

    whole = run(None, 0)
    half: Snapshot | None = None
    for seq, (each, stored_ms) in list(enumerate(history, 1))[:cut]:
        half = fold(half, ID, seq, each, stored_ms)
    assert run(half, 0) == whole  # what was folded already changes nothing
    assert whole is None or decode(whole.encode(), whole.test_id) == whole


BASE: dict[str, Any] = {
    "testId": ID, "title": "T", "gameUrl": "", "status": "queued", "phase": None, "message": "m", "seq": 1,
    "createdAt": 1, "updatedAt": 1, "attempt": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"testId": "another"},
        {"testId": None},
        {"seq": 2**62},
        {"seq": -1},
        {"seq": 1.5},
        {"seq": "1"},
        {"createdAt": 2**63},
        {"createdAt": 2**53},
        {"createdAt": -1},
        {"updatedAt": None},
        {"startedAt": 2**62},
        {"status": "done"},
        {"status": ["queued"]},
        {"phase": "phase5"},
        {"score": 101},
        {"score": "78"},
        {"attempt": -1},
        {"title": None},
        {"error": 5},
        {"errorCode": {}},
        {"epoch": 5},
    ],
    ids=str,
)
def test_a_forged_value_is_no_snapshot(fields: dict[str, Any]) -> None:
    assert decode(msgspec.json.encode(BASE), ID).title == "T"
    with pytest.raises(msgspec.MsgspecError):
        decode(msgspec.json.encode(BASE | fields), ID)


DEEP = b"[" * 100_000
BASE_HEAD = msgspec.json.encode(BASE)[:-1] + b',"metrics":'


@pytest.mark.parametrize(
    "value",
    [b"", b"no JSON", b"\xff", b"[]", b"null", b"5", b"{}", DEEP, BASE_HEAD + b"[" * 99_999 + b"]" * 99_999 + b"}"],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_object_is_no_snapshot(value: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(value, ID)


def test_what_a_forged_snapshot_may_not_say_is_cut_or_left_out() -> None:
    marks = {"stalled": True, "queuePlace": 1, "noAgent": True}
    far = {"createdAt": 2**53 - 1, "updatedAt": 2**53 - 1, "startedAt": 2**53 - 1, "finishedAt": 2**53 - 1}
    long = {"title": "t" * 99_999, "message": "m" * 99_999, "gameUrl": "g" * 9999, "metrics": ["x" * 99_999]}
    found = decode(msgspec.json.encode(BASE | marks | far | long), ID, 500_000)
    assert (found.stalled, found.queue_place, found.no_agent) == (False, None, False)
    assert {found.created_at, found.updated_at, found.started_at, found.finished_at} == {500_000}
    assert (len(found.title), len(found.message), found.game_url, found.metrics) == (200, 2000, "", None)
    for metrics in (b"[" * 70 + b"]" * 70, b'{"a":' * 500 + b"1" + b"}" * 500):  # not every writer of JSON can take it
        assert decode(BASE_HEAD + metrics + b"}", ID).metrics is None
    assert isinstance(decode(BASE_HEAD + b"1" + b"0" * 40 + b"}", ID).metrics, float)
    near = decode(msgspec.json.encode(BASE | {"createdAt": 501_000}), ID, 500_000)
    assert near.created_at == 501_000, "another server of the cluster stored the event"


# -- the project ---------------------------------------------------------------------------------------------------

NAMED = (
    ("team-a", "team-a"),
    ("a", "a"),
    ("0_-", "0_-"),
    ("a" * 63, "a" * 63),
    ("default", "default"),
    (None, "default"),
    ("a" * 64, ""),
    ("Team", ""),
    ("", ""),
    ("-a", ""),
    ("a/b", ""),
    ("a\n", ""),
    ("*", ""),
    ("ä", ""),
    ("٣", ""),
    (5, ""),
    (["a"], ""),
    (True, ""),
)
"""`data.project` of a run's first event, and the run's project. "": not known, which hides it from all but who may see
everything."""


@pytest.mark.parametrize(("given", "project"), NAMED)
@pytest.mark.parametrize("kind", ["status", "progress", "complete", "error"])
def test_the_first_event_fixes_the_project(kind: str, given: object, project: str) -> None:
    fields: dict[str, Any] = {"status": "queued"} if kind == "status" else {}
    first = event(kind, data={"project": given}, **fields)
    later = event("status", status="running", data={"project": "other", "attempt": 2})
    assert (
        folded(first).project == folded(first, later, event("complete", data={"project": "other"})).project == project
    )


def test_an_event_without_data_is_of_the_default_project() -> None:
    given: tuple[Any, ...] = (None, [], "team-a", {})
    for data in given:
        assert folded(event("progress", data=data)).project == "default"


def test_what_is_no_event_of_a_known_type_fixes_no_project() -> None:
    shiny = event("shiny", data={"project": "other"})
    assert folded(None, shiny, event("progress", data={"project": "team-a"})).project == "team-a"


@pytest.mark.parametrize(("stored", "project"), [("team-a", "team-a"), ("Team", ""), ("", ""), (None, "default")])
def test_a_stored_snapshot_has_a_project_or_is_of_none(stored: str | None, project: str) -> None:
    fields = msgspec.to_builtins(folded(QUEUED)) | ({} if stored is None else {"project": stored})
    assert decode(orjson.dumps(fields), ID).project == project


def test_the_default_project_is_left_out_of_the_bytes() -> None:
    assert b"project" not in folded(QUEUED).encode()
    named = check(b'{"type":"progress","message":"m","timestamp":1,"data":{"project":"default"}}').event
    assert b"project" not in folded(named).encode()
    stored = orjson.dumps(msgspec.to_builtins(folded(named)) | {"project": "default"})
    assert b"project" not in decode(stored, ID).encode()
    assert b'"project":"team-a"' in folded(event("progress", data={"project": "team-a"})).encode()
