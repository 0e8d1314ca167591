"""A second encoding is one class and one registration: topics know nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
import pytest

from broker.contract.position import Position
from tests.harness import NO_SUCH_TEST as TEST_ID
from tests.harness import event_bytes
from tests.model import FrameReader, ModelBroker, VirtualLoop
from ws_edge.config import EdgeConfig
from ws_edge.encoding import ENCODINGS, Encoding
from ws_edge.fanout.hub import Hub
from ws_edge.fanout.session import Session


class LinesEncoding:
    """One JSON text a line."""

    name = "lines"

    def __init__(self) -> None:
        self.frames = 0

    def frame(self, bodies: Sequence[bytes], seqs: Sequence[int] = (), epoch: str = "") -> bytes:
        self.frames += 1
        return b"".join(body + b"\n" for body in bodies)

    def control(self, kind: str, at: Position | None = None, /, **fields: Any) -> bytes:
        return orjson.dumps({"type": kind} | {name: each for name, each in fields.items() if each is not None}) + b"\n"


class MemoryViewer:
    """A viewer whose transport is a list; `full` makes it refuse what is offered."""

    fd = -1

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.received = b""
        self.full = False
        self.session: Session | None = None

    def waiting(self) -> int:
        return 1 << 30 if self.full else 0

    def write(self, data: bytes) -> None:
        self.received += data

    def queue(self, rest: memoryview) -> None:
        raise AssertionError("it has no descriptor")

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        if self.full:
            return False
        self.write(frame)
        return True

    def session_missing(self, session: Session) -> None:
        raise AssertionError("the test exists")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was received, whatever the encoding."""
        if self.encoding.name == "lines":
            return [orjson.loads(line) for line in self.received.splitlines()]
        got: list[dict[str, Any]] = []
        FrameReader(got.append).feed(self.received)
        return got


class NoSnapshots:
    def snapshot(self, test_id: str) -> None:
        return None


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> LinesEncoding:
    encoding = LinesEncoding()
    monkeypatch.setitem(ENCODINGS, encoding.name, encoding)
    return encoding


def test_viewers_of_two_encodings_get_the_same_events(lines: LinesEncoding) -> None:
    loop = VirtualLoop()
    broker = ModelBroker(loop, TEST_ID)
    hub: Hub = loop.call(partial(Hub, broker, EdgeConfig(progress_interval_s=0, heartbeat_s=3), NoSnapshots()))
    loop.call(lambda: hub.spawn(hub.run()))

    def publish(number: int) -> None:
        loop.call(partial(broker.put, event_bytes(f"{number}"), True, [0.0]))
        loop.run_for(0.01)

    for number in range(5):
        publish(number)
    viewers = [MemoryViewer(ENCODINGS[name]) for name in ("websocket", "lines", "lines", "websocket")]
    for viewer in viewers:
        viewer.session = loop.call(partial(hub.subscribe, viewer, TEST_ID, Position(None, 2)))
        loop.run_for(0.2)
    framed = lines.frames
    for number in range(5, 10):
        publish(number)
    assert lines.frames - framed == 5, "each batch is framed once for both of them"
    viewers[1].full = True
    for number in range(10, 15):
        publish(number)
    assert (len(hub.topics[TEST_ID].live), len(hub.topics[TEST_ID].behind)) == (3, 1)
    viewers[1].full = False
    loop.run_for(4.0)
    (topic,) = hub.topics.values()
    assert topic.statistics()[:2] == (4, 0) and "websocket=2 lines=2" in repr(topic.live)
    for viewer in viewers:
        assert [message["seq"] for message in viewer.messages if "seq" in message] == list(range(3, 16))
        assert {message["type"] for message in viewer.messages if "seq" not in message} == {"sync", "heartbeat"}
        assert viewer.session is not None
        loop.call(viewer.session.close)
    assert not topic.live
    loop.finish()
