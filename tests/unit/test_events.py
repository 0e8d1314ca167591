"""What is an event, and how it reaches a viewer (broker/contract/events.py)."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import InvalidTestId, MalformedEvent
from broker.contract.events import CONTROL_TYPES, EVENT_TYPES, MAX_DEPTH, MAX_TYPE_CHARS, check, for_viewer
from broker.contract.ids import parse_test_id
from broker.contract.subjects import test_id_of

ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
GOOD = {"type": "progress", "message": "m", "timestamp": 1}


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


NO_TIMES: list[object] = ["2026-01-02T03:04:05Z", "1767323045000", 1767323045000.5, None, True, [1], {"ms": 1}]
NO_PHASES: list[object] = ["phase9", "Phase1", "", 1, ["phase1"], {}]
NO_STATUSES: list[object] = ["done", "Running", 1, False, []]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (b"nonsense", "it is not JSON"),
        (b"{'type': 'progress'}", "it is not JSON"),
        (orjson.dumps(GOOD)[:-1], "it is not JSON"),
        (orjson.dumps(GOOD) * 2, "it is not JSON"),
        (b'{"type":"progress","message":"m","timestamp":NaN}', "it is not JSON"),
        (b'{"type":"progress","message":"m","timestamp":1,"x":"\xff"}', "it is not UTF-8"),
        (orjson.dumps(GOOD).decode().encode("utf-16"), "it is not UTF-8"),
        (b"[1]", "it is not a JSON object"),
        (b'"text"', "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b"1.5", "it is not a JSON object"),
        (b"true", "it is not a JSON object"),
        (b"{}", "`type` is missing"),
        (b'{"type":"progress","timestamp":1}', "`message` is missing"),
        (b'{"type":"progress","message":"m"}', "`timestamp` is missing"),
        (orjson.dumps(GOOD | {"type": ""}), "`type` is not of 1 to 64 characters"),
        (orjson.dumps(GOOD | {"type": "x" * (MAX_TYPE_CHARS + 1)}), "`type` is not of 1 to 64 characters"),
        (orjson.dumps(GOOD | {"type": 3}), "`type` is not a string"),
        (orjson.dumps(GOOD | {"type": None}), "`type` is not a string"),
        *(
            (orjson.dumps(GOOD | {"type": kind}), "`type` is reserved for the messages of an edge")
            for kind in sorted(CONTROL_TYPES)
        ),
        (orjson.dumps({"type": "shiny", "deep": nested(MAX_DEPTH)}), "it is nested more than 64 deep"),
        (orjson.dumps(GOOD | {"message": 3}), "`message` is not a string"),
        (orjson.dumps(GOOD | {"message": {"text": "m"}}), "`message` is not a string"),
        *(
            (orjson.dumps(GOOD | {"timestamp": value}), "`timestamp` is not a whole number of milliseconds")
            for value in NO_TIMES
        ),
        (orjson.dumps(GOOD | {"timestamp": -1}), "`timestamp` is not between 0 and 2^53-1"),
        (orjson.dumps(GOOD | {"timestamp": 2**53}), "`timestamp` is not between 0 and 2^53-1"),
        *((orjson.dumps(GOOD | {"phase": value}), "`phase` is not one of phase1 … phase4") for value in NO_PHASES),
        (orjson.dumps(GOOD | {"type": "status"}), "`status` is missing"),
        (orjson.dumps(GOOD | {"type": "status", "status": None}), "`status` is missing"),
        *(
            (orjson.dumps(GOOD | {"status": value}), "`status` is not one of queued, running, completed, failed")
            for value in NO_STATUSES
        ),
    ],
)
def test_a_malformed_message_has_a_precise_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(MalformedEvent) as raised:
        check(raw)
    assert raised.value.reason == reason
    assert raised.value.message.startswith(reason)


def test_a_reason_quotes_no_long_value() -> None:
    with pytest.raises(MalformedEvent) as raised:
        check(orjson.dumps(GOOD | {"timestamp": "x" * 10_000}))
    assert len(raised.value.message) < 200


def test_a_byte_order_mark_is_skipped() -> None:
    checked = check(b"\xef\xbb\xbf" + orjson.dumps(GOOD))
    assert checked.event.message == "m"
    assert orjson.loads(for_viewer(ID, 7, checked)) == {"testId": ID, "seq": 7} | GOOD


@pytest.mark.parametrize(
    ("fields", "message", "timestamp"),
    [
        ({}, "", 0),
        ({"message": "m", "timestamp": 7}, "m", 7),
        ({"message": ["m"], "timestamp": "now"}, "", 0),
        ({"timestamp": -1}, "", 0),
        ({"timestamp": True}, "", 0),
        ({"timestamp": 2**53}, "", 0),
        ({"phase": "phase9", "status": {"odd": 1}}, "", 0),
        ({"phase": "phase2", "status": "failed"}, "", 0),
    ],
)
def test_an_event_of_an_unknown_type_needs_nothing_else(
    fields: dict[str, object], message: str, timestamp: int
) -> None:
    """Another version defines what is in it: a publisher and an edge of two versions may work side by side."""
    checked = check(orjson.dumps({"type": "shiny", "data": [1]} | fields))
    event = checked.event
    assert (event.type, event.known, event.message, event.timestamp) == ("shiny", False, message, timestamp)
    assert (event.phase, event.status, event.end, event.data) == (None, None, None, [1])
    assert event.urgent, "only progress is throttled"
    shown = orjson.loads(for_viewer(ID, 7, checked))
    assert shown == {"testId": ID, "seq": 7, "type": "shiny", "data": [1]} | fields


def test_the_types_of_this_version() -> None:
    for kind in EVENT_TYPES:
        assert check(orjson.dumps(GOOD | {"type": kind, "status": "running"})).event.known
    assert not EVENT_TYPES & CONTROL_TYPES


def test_unknown_fields_pass_through() -> None:
    raw = b'  {"extra": {"deep": [1, 2]}, "type": "progress", "message": "m", "timestamp": 1}\n'
    assert orjson.loads(for_viewer(ID, 7, check(raw))) == {"testId": ID, "seq": 7, "extra": {"deep": [1, 2]}} | GOOD


def test_a_publisher_cannot_forge_the_envelope() -> None:
    raw = orjson.dumps(GOOD | {"seq": 10**6, "testId": "someone else's"})
    shown = for_viewer(ID, 7, check(raw))
    assert shown.count(b'"seq"') == 1
    assert orjson.loads(shown) == {"testId": ID, "seq": 7} | GOOD


_OTHER_FIELDS = st.text().filter(lambda name: name not in ("phase", "status"))


@given(st.dictionaries(_OTHER_FIELDS, st.recursive(st.none() | st.booleans() | st.text(), st.lists, max_leaves=5)))
def test_the_spliced_bytes_are_the_same_event(extra: dict[str, object]) -> None:
    fields = extra | GOOD
    shown = orjson.loads(for_viewer(ID, 7, check(orjson.dumps(fields))))
    assert shown == fields | {"testId": ID, "seq": 7}


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_malformed(raw: bytes) -> None:
    try:
        check(raw)
    except MalformedEvent as error:
        assert error.message


@pytest.mark.parametrize(
    "given_id",
    [ID.upper(), ID[:-1], ID + "\n", "{" + ID + "}", ID.replace("-", ""), "", None, 7, "\u0661" * 36, ">"],
)
def test_other_ids_are_refused(given_id: object) -> None:
    with pytest.raises(InvalidTestId):
        parse_test_id(given_id)


def test_ids_in_subjects() -> None:
    assert parse_test_id(ID) == ID
    assert test_id_of(f"test.{ID}.events") == ID
    assert test_id_of(f"jobs.test.{ID}".encode()) == ID
    assert test_id_of(f"$KV.RUNS.{ID}") is None
    assert test_id_of(f"jobs.other.{ID}") is None
    assert test_id_of(b"test.\xff\xfe.events") is None
    assert test_id_of("test.a.b.c") is None
