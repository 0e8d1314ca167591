"""What a client may say, and what it may not, in every form and cut anywhere: a real socket, hub and topic.

Whatever comes: no exception, no traceback, no flood in the log, sound frames back and nothing behind a close frame;
and when the client has gone nothing of it is left. How the bytes are cut into reads makes no difference.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.contract.events import Event
from broker.jetstream import runs
from tests.frame_stand_ins import MemoryFeed, MemoryRuns
from tests.harness import NO_SUCH_TEST
from tests.model import FrameReader, ModelBroker, ModelTransport, VirtualLoop
from ws_edge.access import OpenAccess
from ws_edge.config import EdgeConfig
from ws_edge.fanout.hub import Hub
from ws_edge.transport.admission import Admission
from ws_edge.transport.inbound import Inbound
from ws_edge.transport.quotas import Quotas
from ws_edge.transport.websocket import ViewerSocket
from ws_edge.views.frames import Frames
from ws_edge.views.frames_channel import FramesChannel
from ws_edge.views.tests_channel import TestsChannel

TEST_ID: Final = "00000000-0000-4000-8000-000000000001"
HUNT: Final = os.environ.get("HYPOTHESIS_PROFILE") == "hunt"
UPGRADE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

# -- what a client sends ------------------------------------------------------------------------------------------


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True, rsv: int = 0, mask: bytes | None = b"mask") -> bytes:
    """One frame of a client; lawful by default."""
    size = len(payload)
    long = b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    length = bytes([size]) if size < 126 else long
    head = bytes([fin << 7 | rsv << 4 | opcode, length[0] | (0x80 if mask else 0)]) + length[1:]
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


ids: st.SearchStrategy[Any] = st.sampled_from(
    [TEST_ID, TEST_ID, NO_SUCH_TEST, TEST_ID.upper().replace("0", "A"), "", 7, None, [[]], "é" * 90]
)
deep = st.sampled_from([64, 250, 1000, 1023, 2000]).map(lambda depth: b"[" * depth + b"]" * depth)
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70).map(lambda n: n % 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
sound = st.fixed_dictionaries(
    {"type": st.sampled_from(["subscribe", "subscribe", "unsubscribe", "cancel", "authenticate"])},
    optional={
        "testId": ids,
        "after": st.sampled_from([0, 1, 3, 99, 2**53 - 1, 2**53, 2**64, -1, 1.5, True, "3", None]),
        "epoch": st.sampled_from(["1", "2", "", "e" * 64, "e" * 65, 1, None]),
        "channel": st.sampled_from(["tests", "tests", "frames", "frames", "other", [], None]),
        "token": st.sampled_from(["x", "", "é", "\n", 1, None]),
        "ticket": st.sampled_from(["x", None]),
    },
).map(lambda message: orjson.dumps({k: v if v != 2**64 else 1e19 for k, v in message.items()}))
messages = st.one_of(
    sound,
    sound,
    junk.map(orjson.dumps),
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    deep,
    deep.map(lambda nested: b'{"type":' + nested + b"}"),
    deep.map(lambda nested: b'{"type":"subscribe","testId":' + nested + b"}"),
    deep.map(lambda nested: b'{"type":"subscribe","channel":' + nested + b"}"),
    st.integers(0, 20_000).map(lambda size: b'"' + b"x" * size + b'"'),
)
lawful = messages.map(frame)
pieces = st.tuples(messages, st.integers(0, 50), st.binary(max_size=10)).map(
    lambda m: frame(m[0][: m[1]], 1, fin=False) + frame(m[2], 9) + frame(m[0][m[1] :], 0)
)
pings = st.binary(max_size=125).map(lambda payload: frame(payload, 9))
closes = st.one_of(
    st.just(frame(b"", 8)),
    st.tuples(st.integers(0, 5000), st.binary(max_size=20)).map(lambda c: frame(c[0].to_bytes(2) + c[1], 8)),
    st.just(frame(b"\x03", 8)),
)
odd = st.builds(
    frame,
    st.binary(max_size=130),
    st.integers(0, 15),
    fin=st.booleans(),
    rsv=st.integers(0, 7),
    mask=st.sampled_from([b"mask", b"\0\0\0\0", None]),
)
headers = st.binary(min_size=1, max_size=14)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A lawful frame with a byte that is not what it was, or cut short, or with something in the middle."""
    whole = bytearray(draw(lawful))
    at = draw(st.integers(0, min(len(whole) - 1, 40)))
    match draw(st.sampled_from(["change", "cut", "insert"])):
        case "change":
            whole[at] = draw(st.integers(0, 255))
        case "cut":
            del whole[at:]
        case _:
            whole[at:at] = draw(headers)
    return bytes(whole)


said = st.lists(st.one_of(lawful, lawful, lawful, pieces, pings, closes, odd, mutated(), headers), max_size=8)
cuts = st.lists(st.integers(0, 400), max_size=12)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The same bytes in several reads; sizes of 0 stand for one byte at a time from there on."""
    parts: list[bytes] = []
    for size in sizes:
        if size == 0:
            parts += [data[index : index + 1] for index in range(min(len(data), 300))]
            data = data[300:]
        else:
            parts.append(data[:size])
            data = data[size:]
    return [part for part in [*parts, data] if part]


# -- the edge it connects to ---------------------------------------------------------------------------------------


class Logged(logging.Handler):
    """What the edge logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Heard(NamedTuple):
    """What the client got."""

    messages: list[dict[str, Any]]
    pongs: list[bytes]
    closed: int | None
    ended: bool


CANCELLED = Event(type="error", status="failed", message="Cancelled", timestamp=1, data={"code": "cancelled"})


class FakeEdge:
    """A node's parts that a socket touches, with one test of three events."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.broker = ModelBroker(self.loop, TEST_ID)
        config = EdgeConfig(progress_interval_s=0.0, high_water_bytes=4096, max_subscriptions=3)
        quotas = Quotas(config.limits._replace(messages_per_s=1000), config.max_subscriptions)
        hub: Hub = self.loop.call(lambda: Hub(self.broker, config, SimpleNamespace(snapshot=lambda _id: None)))
        self.node = SimpleNamespace(
            hub=hub,
            log=self.broker,
            access=OpenAccess(),
            cancel=lambda test_id: runs.end(self.broker, test_id, CANCELLED),
            config=config,
            draining=False,
            tests=TestsChannel(config.high_water_bytes, lambda: False),
            admission=Admission(10, 10, 0),
            quotas=quotas,
            inbound=Inbound(quotas),
            pictures=SimpleNamespace(channel=self.loop.call(lambda: self._channel(hub))),
        )
        hub.listeners = (self.node.tests, self.node.pictures.channel)
        self.server_state = SimpleNamespace(connections=set())
        self.loop.call(lambda: hub.spawn(hub.run()))
        for number in range(3):
            event = b'{"type":"error","message":"%d","timestamp":%d}' % (number, number)
            self.loop.call(partial(self.broker.put, event, True, []))
        self.logged = Logged()
        logging.getLogger().addHandler(self.logged)

    def _channel(self, hub: Hub) -> FramesChannel:
        self.feed, self.runs = MemoryFeed(), MemoryRuns(**{TEST_ID: 3})
        self.frames = Frames(self.feed, [], self.runs)
        return FramesChannel(self.frames, hub.config.high_water_bytes)

    def close(self) -> None:
        logging.getLogger().removeHandler(self.logged)
        self.loop.finish()

    def client(self, room: float = float("inf")) -> Client:
        return Client(self, room)

    def judge(self) -> None:
        """All viewers have gone."""
        self.loop.run_for(12.0)
        hub = self.node.hub
        assert (self.node.admission.open, len(hub.sockets), len(self.server_state.connections)) == (0, 0, 0)
        assert not hub.topics and "listeners=0" in repr(self.node.tests)
        assert self.node.pictures.channel.statistics()[:3] == (0, 0, 0)
        assert len(hub._tasks) <= 2, "the hub's own, and a leader check at most"
        assert len(self.logged.records) <= 3, [record.getMessage() for record in self.logged.records]
        assert not any(record.exc_info for record in self.logged.records)


class Client:
    """One connection."""

    def __init__(self, edge: FakeEdge, room: float) -> None:
        self.edge, self.loop = edge, edge.loop
        self.messages: list[dict[str, Any]] = []
        self.frames = FrameReader(self.messages.append)
        self.head = b""
        self.lost = False
        self.socket = ViewerSocket(SimpleNamespace(), edge.server_state, {"node": edge.node})  # type: ignore[arg-type]
        self.transport = ModelTransport(self.loop, self._received, 1 << 16, 1 << 14)
        self.transport.on_resume = self.socket.resume_writing
        self.transport.on_lost = self._on_lost
        self.loop.call(lambda: self.socket.connection_made(self.transport))
        self.loop.call(lambda: self.socket.data_received(UPGRADE))
        self.loop.turns(2)
        self.transport.room(room)

    def _received(self, data: bytes) -> None:
        if b"\r\n\r\n" not in self.head:
            self.head += data
            head, _, data = self.head.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101")
        if data:
            self.frames.feed(data)

    def _on_lost(self) -> None:
        self.lost = True
        self.socket.connection_lost(None)

    def says(self, parts: list[bytes]) -> None:
        """As the transport would hand it on: nothing once closed, nothing while it is not to read."""

        def hand_on() -> None:
            for part in parts:
                if not self.transport.is_closing() and self.transport.reading:
                    self.socket.data_received(part)

        self.loop.call(hand_on)

    def goes(self) -> Heard:
        """Waits for what there is to hear, then the connection breaks."""
        self.loop.run_for(0.5)
        ended = self.transport.is_closing() or bool(self.socket.closing_since)
        if self.socket.closing_since:
            self.loop.run_for(4.0)
            assert self.lost, "a client that does not answer a close is cut off"
        elif not self.lost:
            self.loop.call(self.transport.abort)
            self.loop.turns(2)
        assert self.lost and not self.socket.sessions
        for message in self.messages:
            message.pop("timestamp", None)
        said = [message for message in self.messages if message["type"] != "heartbeat"]
        return Heard(said, self.frames.pongs, self.frames.closed, ended)


def listen(said: list[bytes], sizes: list[int]) -> Heard:
    """A client says this, cut like that, on a node of its own."""
    edge = FakeEdge()
    try:
        client = edge.client()
        client.says(cut(b"".join(said), sizes))
        heard = client.goes()
        edge.judge()
        return heard
    finally:
        edge.close()


quick = settings(
    deadline=None,
    max_examples=5000 if HUNT else 250,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
pytestmark = pytest.mark.timeout(1800 if HUNT else 120)


@quick
@given(said, cuts)
@example([frame(b'{"type":' + b"[" * 1015 + b"]" * 1015 + b"}")], [])
@example([frame(b'{"type":"subscribe","testId":' + b"[" * 1015 + b"]" * 1015 + b"}")], [])
@example([frame(b"x" * 200), frame(b"{}")], [0])
@example([frame(b"", 9), frame(b'{"type":"subscribe","testId":"%b"}' % TEST_ID.encode())], [2, 4, 2, 4])
def test_however_it_is_cut(said: list[bytes], sizes: list[int]) -> None:
    assert listen(said, []) == listen(said, sizes)


@settings(quick, max_examples=500 if HUNT else 40)
@given(said, st.integers(0, 3000))
def test_a_client_that_talks_and_does_not_listen_is_not_read_from(said: list[bytes], room: int) -> None:
    """Answers to what it says are bounded: what it says without end is not taken in."""
    edge = FakeEdge()
    try:
        client = edge.client(room)
        talk = [frame(b'{"type":"unsubscribe","testId":"%b"}' % TEST_ID.encode()), frame(b"ping" * 30, 9), *said]
        for _ in range(60):
            client.says([each for each in talk for _ in range(4)])
            client.loop.run_for(0.01)
        assert client.transport.get_write_buffer_size() < 40_000
        client.loop.run_for(11.0)
        client.loop.call(partial(client.transport.room, float("inf")))
        client.goes()
        edge.judge()
    finally:
        edge.close()


def test_what_is_sound_is_answered() -> None:
    """The fake edge works: a subscribe brings the run, in one piece or byte by byte."""
    subscribe = frame(b'{"type":"subscribe","testId":"%b"}' % TEST_ID.encode())
    for sizes in ([], [0], [1, 1, 5]):
        heard = listen([subscribe, frame(b"hello", 9)], sizes)
        assert [message["type"] for message in heard.messages] == ["sync", "error", "error", "error"]
        assert heard.closed is None and not heard.ended


def test_a_ping_is_answered_in_its_turn() -> None:
    """Before what the message behind it brings, and not after a close frame (RFC 6455, 5.5.1)."""
    heard = listen([frame(b"in time", 9), frame(b"not JSON"), frame(b"too late", 9)], [])
    assert (heard.pongs, heard.closed) == ([b"in time"], 4400)


@pytest.mark.parametrize(("said", "answered"), [(b"\x03\xe9bye", 1001), (b"", 1000), (b"\x03\xedbye", 1002)])
def test_a_goodbye_in_the_middle_of_a_message_is_one(said: bytes, answered: int) -> None:
    """Control frames may come between a message's pieces (RFC 6455, 5.4). 1005 is never said, and an error."""
    assert listen([frame(b"half", fin=False), frame(said, 8), frame(b"the rest", 0)], []).closed == answered
