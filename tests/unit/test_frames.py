"""Frames and the opening handshake, byte for byte."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN
from websockets.protocol import Protocol as FrameParser

from ws_edge.encoding import websocket as frames
from ws_edge.transport import handshake
from ws_edge.transport.handshake import Refusal

WEBSOCKET = frames.WebSocketEncoding()


def parsed(data: bytes) -> list[Frame]:
    """Frames as a client reads them."""
    parser = FrameParser(CLIENT, state=OPEN, max_size=None)
    parser.receive_data(data)
    found = [event for event in parser.events_received() if isinstance(event, Frame)]
    assert parser.parser_exc is None
    return found


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_a_text_frame_of_every_length(size: int) -> None:
    (frame,) = parsed(frames.text_frame(b"x" * size))
    assert (frame.opcode, frame.fin, len(frame.data)) == (Opcode.TEXT, True, size)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_the_size_of_a_clients_frame(size: int) -> None:
    assert frames.wire_size(size) == len(Frame(Opcode.TEXT, b"x" * size).serialize(mask=True))


@given(st.text(max_size=200))
def test_a_close_frame_takes_any_reason(reason: str) -> None:
    (frame,) = parsed(frames.close_frame(4400, reason))
    assert frame.opcode is Opcode.CLOSE and bytes(frame.data[:2]) == (4400).to_bytes(2)
    assert reason.startswith(bytes(frame.data[2:]).decode())


bodies = st.lists(st.sampled_from([10, 3000, 60_000]), min_size=1, max_size=12)


@given(bodies)
def test_joined_events_come_apart_again(sizes: list[int]) -> None:
    events = [{"seq": number, "message": "x" * size} for number, size in enumerate(sizes)]
    got: list[Any] = []
    for frame in parsed(WEBSOCKET.frame([orjson.dumps(event) for event in events])):
        message = orjson.loads(frame.data)
        assert isinstance(message, dict) or len(message) > 1, "one event is itself, not an array"
        assert len(frame.data) <= frames.MAX_MESSAGE_BYTES + 64
        got += message if isinstance(message, list) else [message]
    assert got == events


def test_control_messages_leave_out_what_is_none() -> None:
    (frame,) = parsed(WEBSOCKET.control("sync", head=0, stale=None, snapshot=None))
    assert orjson.loads(frame.data) == {"type": "sync", "head": 0}


# -- the handshake ------------------------------------------------------------------------------------------------

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(target: str = "/ws", method: str = "GET", **headers: str) -> bytes:
    lines = {"host": "a.example", "sec-websocket-version": "13", "sec-websocket-key": KEY} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


def test_a_request_is_read() -> None:
    read = handshake.parse(request("/ws?testId=a%20b&testId=&after=3", X_Two="1") + b"")
    assert (read.method, read.path) == ("GET", "/ws")
    assert read.query == [("testId", "a b"), ("testId", ""), ("after", "3")]
    assert read.headers["x-two"] == "1"
    twice = handshake.parse(b"GET /ws HTTP/1.1\r\nX-Forwarded-For: a\r\nx-forwarded-for:b\r\nno colon\r\n\r\n")
    assert twice.headers == {"x-forwarded-for": "a, b"}


def test_the_example_of_the_rfc() -> None:
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" in handshake.accept(handshake.parse(request()))


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(method="POST"), HTTPStatus.METHOD_NOT_ALLOWED),
        (request(sec_websocket_version="8"), HTTPStatus.UPGRADE_REQUIRED),
        (request(sec_websocket_key=""), HTTPStatus.BAD_REQUEST),
        (request(sec_websocket_key=KEY[:-4]), HTTPStatus.BAD_REQUEST),
        (request(sec_websocket_key="é" * 24), HTTPStatus.BAD_REQUEST),
        (request(sec_websocket_key=KEY + "!"), HTTPStatus.BAD_REQUEST),
    ],
)
def test_what_is_no_handshake_is_refused(raw: bytes, status: HTTPStatus) -> None:
    overridden = raw.replace(b"sec-websocket-version: 13\r\n", b"", raw.count(b"sec-websocket-version") - 1)
    with pytest.raises(Refusal) as refused:
        handshake.accept(handshake.parse(overridden))
    answer = refused.value.encode()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b"connection: close" in head
    assert b"content-length: %d" % len(body) in head and orjson.loads(body)["error"]["code"] == "bad_handshake"


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "a.example", True),
        ("http://a.example", "a.example", True),
        ("HTTPS://A.example/", "a.example:443", True),
        ("http://a.example:80", "a.example", True),
        ("https://a.example:80", "a.example", False),
        ("http://a.example.evil.example", "a.example", False),
        ("http://evil.example", "a.example", False),
        ("https://named.example", "a.example", True),
        ("http://named.example", "a.example", False),
        ("null", "a.example", False),
        ("file://a.example", "a.example", False),
        ("http://a.example", None, False),
        ("http://[", "a.example", False),
        ("http://[::1", "[::1", False),
        ("http://[::1]:8000", "[::1]:8000", True),
    ],
)
def test_whose_pages_may_connect(origin: str | None, host: str | None, allowed: bool) -> None:
    assert handshake.origin_allowed(origin, host, {"https://named.example"}) is allowed


@given(st.text(st.characters(max_codepoint=255), max_size=30), st.text(max_size=20))
def test_any_origin_has_an_answer(origin: str, host: str) -> None:
    assert handshake.origin_allowed("http://" + origin, host, ()) in (True, False)
