"""Server-sent events: how messages are encoded, and which requests ask for them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import BadInput
from broker.contract.events import check, for_viewer
from broker.contract.position import Position
from tests.event_source import EventSource, Message
from tests.harness import NO_SUCH_TEST as RUN
from ws_edge.encoding import ENCODINGS
from ws_edge.transport.handshake import Refusal, request_of
from ws_edge.transport.stream_request import StreamRequest, check_count, stream_request

OTHER = "11111111-2222-4333-8444-555555555555"
SSE, SEVERAL = ENCODINGS["sse"], ENCODINGS["sse of several"]


def read(data: bytes) -> list[Message]:
    return list(EventSource().feed(data))


def test_each_event_is_a_message_with_its_position() -> None:
    bodies = [b'{"seq":%d}' % seq for seq in (3, 7)]
    assert SSE.frame(bodies, [3, 7], "E") == b'id: E.3\ndata: {"seq":3}\n\nid: E.7\ndata: {"seq":7}\n\n'
    assert read(SEVERAL.frame(bodies, [3, 7], "E")) == [Message("message", each.decode(), "") for each in bodies]


def test_a_control_message_is_an_event_of_its_own() -> None:
    [goodbye] = read(SSE.control("goodbye", retryAfterMs=250, reason="gone", none=None))
    assert (goodbye.event, goodbye.id, goodbye.retry_ms) == ("goodbye", "", 250)
    assert orjson.loads(goodbye.data) == {"type": "goodbye", "retryAfterMs": 250, "reason": "gone"}
    assert [each.id for each in read(SSE.control("heartbeat", Position("E", 9), head=9))] == ["E.9"]
    assert [each.id for each in read(SEVERAL.control("heartbeat", Position("E", 9), head=9))] == [""]


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers(-9, 9), max_size=3), st.integers(0, 2))
def test_any_published_json_is_one_message(extra: dict[str, Any], way: int) -> None:
    event = {"type": "log", "message": "a\nb\r\nc", "timestamp": 1, "data": extra}
    raw = orjson.dumps(event, option=orjson.OPT_INDENT_2 if way else 0)
    body = for_viewer(RUN, 5, check(raw.replace(b"\n", b"\r\n") if way == 2 else raw))
    for encoding in (SSE, SEVERAL):
        [message] = read(encoding.frame([body], [5], "E"))
        assert orjson.loads(message.data) == {"testId": RUN, "seq": 5} | event


def asked(target: str, accept: str | None = "text/event-stream", method: str = "GET", **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return stream_request(request_of(method, target.encode(), given | ({"accept": accept} if accept else {})))


@pytest.mark.parametrize(
    ("target", "headers", "expected"),
    [
        (f"/tests/{RUN}/events", {}, None),
        (f"/tests/{RUN}/events?after=0", {}, Position(None, 0)),
        (f"/tests/{RUN}/events?after=7&epoch=2020", {}, Position("2020", 7)),
        (f"/tests/{RUN}/events?epoch=2020", {}, None),
        (f"/tests/{RUN}/events", {"last_event_id": "2020.7"}, Position("2020", 7)),
        (f"/tests/{RUN}/events?after=3&epoch=E", {"last_event_id": "2020.7"}, Position("2020", 7)),
        (f"/tests/{RUN}/events?after=3&epoch=E", {"last_event_id": ""}, Position("E", 3)),
        (f"/tests/{RUN}/events?after=3&wait=9", {}, Position(None, 3)),
    ],
)
def test_a_stream_of_one_run(target: str, headers: dict[str, str], expected: Position | None) -> None:
    assert asked(target, **headers) == StreamRequest("sse", ((RUN, expected),))


def test_a_stream_of_several() -> None:
    several = asked(f"/events?watch={RUN}&watch={OTHER}:2020.7&channel=tests", "text/html, Text/Event-Stream;q=0.5")
    assert several == StreamRequest("sse of several", ((RUN, None), (OTHER, Position("2020", 7))), tests=True)
    assert several.alone is None
    check_count(several, 2)
    with pytest.raises(Refusal, match="more than 1 tests"):
        check_count(several, 1)


@pytest.mark.parametrize(
    ("target", "accept", "method"),
    [
        (f"/tests/{RUN}/events", None, "GET"),
        (f"/tests/{RUN}/events", "*/*", "GET"),
        (f"/tests/{RUN}/events", "application/json", "GET"),
        (f"/tests/{RUN}/events", "text/event-stream", "POST"),
        (f"/tests/{RUN}", "text/event-stream", "GET"),
        ("/events/", "text/event-stream", "GET"),
    ],
)
def test_what_asks_for_no_stream(target: str, accept: str | None, method: str) -> None:
    assert asked(target, accept, method) is None


@pytest.mark.parametrize(
    ("target", "last_event_id", "named"),
    [
        ("/tests/nothing/events", "", "nothing"),
        (f"/tests/{RUN}/events?after=-1", "", "after: '-1'"),
        (f"/tests/{RUN}/events?after={2**53}", "", "after"),
        (f"/tests/{RUN}/events?after=1&after=2", "", "more than once"),
        (f"/tests/{RUN}/events?after=1&epoch=a.b", "", "epoch: 'a.b'"),
        (f"/tests/{RUN}/events", "7", "Last-Event-ID: '7'"),
        (f"/tests/{RUN}/events", "E.x", "Last-Event-ID: 'x'"),
        (f"/tests/{RUN}/events", ".7", "Last-Event-ID: ''"),
        ("/events", "", "nothing to follow"),
        (f"/events?watch={RUN}&watch={RUN}:E.1", "", "more than once"),
        (f"/events?watch={RUN}:", "", "watch: ''"),
        ("/events?channel=frames", "", "channel: 'frames'"),
    ],
)
def test_what_is_malformed_is_named(target: str, last_event_id: str, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        asked(target, last_event_id=last_event_id)
