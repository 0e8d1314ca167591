"""Heartbeats that the hub sends to sockets without a live session."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tests.model import ModelBroker, VirtualLoop
from ws_edge.config import EdgeConfig
from ws_edge.encoding import ENCODINGS
from ws_edge.fanout.hub import Hub


@dataclass(eq=False)
class Waiting:
    """A socket that has asked for a run of which it is not known yet whether it exists."""

    unsent: bytes = b"HTTP/1.1 200 OK"
    sessions: dict[str, Any] = field(default_factory=lambda: {"a-test": SimpleNamespace(live=None)})
    closing_since: float = 0.0
    partial_since: float = 0.0
    idle_beats: int = 0
    encoding: Any = ENCODINGS["sse"]
    written: list[bytes] = field(default_factory=list)

    def waiting(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written.append(data)


def test_a_heartbeat_does_not_answer_a_request_that_has_just_come() -> None:
    loop = VirtualLoop()
    broker = ModelBroker(loop, "a-test")
    hub: Hub = loop.call(lambda: Hub(broker, EdgeConfig(), SimpleNamespace(snapshot=lambda _id: None)))
    late, answered = Waiting(), Waiting(unsent=b"")
    hub.sockets |= {late, answered}  # type: ignore[arg-type]  # what a sweep touches of one
    loop.call(hub._sweep_idle_sockets)
    assert not late.written and len(answered.written) == 1
    loop.call(hub._sweep_idle_sockets)  # by now a proxy between may take silence for death
    assert len(late.written) == 1
    loop.finish()
