"""Sockets that need a proof, over a node in memory with virtual time."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import orjson

from broker.contract.projects import DEFAULT
from tests.access_stand_ins import SESSION_KEY, MemoryBucket, NamedTokens
from tests.model import FrameReader, ModelTransport
from tests.unit.test_socket_fuzz import TEST_ID, FakeEdge, frame
from ws_edge.access import ALL_ACTIONS, Action, Principal
from ws_edge.access.proofs import ProofAccess
from ws_edge.access.records import Records, token_proof
from ws_edge.fanout.proofs import OpenProofs
from ws_edge.transport.websocket import ViewerSocket

FOREIGN: Final = "00000000-0000-4000-8000-00000000000f"
MISSING: Final = "00000000-0000-4000-8000-00000000000e"
ORIGIN: Final = "http://localhost:8000"


class Edge(FakeEdge):
    """A node whose sockets need a proof, with one run of the project `default`."""

    def __init__(self) -> None:
        super().__init__()
        self.loop_began = self.loop.now
        ann = Principal("ann", frozenset({DEFAULT}), ALL_ACTIONS, expires_at=self.loop.now + 100, token_id="a1")
        self.bucket = MemoryBucket()
        self.records = Records(self.bucket, self._now)
        self.records.filled = True
        self.tokens: NamedTokens = self.loop.call(
            lambda: NamedTokens(
                {
                    "ann": ann,
                    "ann2": ann._replace(expires_at=self.loop.now + 1000, token_id="a2"),
                    "ann-elsewhere": ann._replace(projects=frozenset({"other"}), token_id="a3"),
                    "ann-no-list": ann._replace(actions=frozenset({Action.WATCH}), token_id="a4"),
                    "bob": ann._replace(subject="bob", token_id="b1"),
                },
                projects={TEST_ID: DEFAULT},
                elsewhere={TEST_ID: DEFAULT, FOREIGN: "red"},
            )
        )
        self.access = ProofAccess(self.tokens, self.records, SESSION_KEY, self._now)
        self.node.access = self.access
        self.node.hub.proofs = OpenProofs(self._now)
        self.records.on_end.append(self.node.hub.proofs.end)

    def _now(self) -> float:
        return self.loop.now

    def connects(self, *lines: str, query: str = "") -> Browser:
        return Browser(self, lines, query)

    def publish(self, message: str) -> None:
        event = b'{"type":"error","message":"%b","timestamp":1}' % message.encode()
        self.loop.call(partial(self.broker.put, event, True, [0.01]))

    def revoke(self, token_id: str) -> None:
        self.loop.call(lambda: self.node.hub.spawn(self.records.revoke(token_proof(token_id), None, "root")))
        self.loop.turns(5)


class Browser:
    """One connection, with the headers that it is given."""

    def __init__(self, edge: Edge, lines: tuple[str, ...], query: str) -> None:
        self.edge, self.loop = edge, edge.loop
        self.messages: list[dict[str, Any]] = []
        self.frames = FrameReader(self.messages.append)
        self.head = b""
        self.gone = False
        head = [
            f"GET /ws{query} HTTP/1.1",
            "Host: localhost:8000",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *lines,
        ]
        self.socket = ViewerSocket(None, edge.server_state, {"node": edge.node})  # type: ignore[arg-type]
        self.transport = ModelTransport(self.loop, self._received, 1 << 16, 1 << 14)
        self.transport.on_resume = self.socket.resume_writing
        self.transport.on_lost = self._on_lost
        self.loop.call(lambda: self.socket.connection_made(self.transport))
        self.loop.call(lambda: self.socket.data_received("\r\n".join([*head, "", ""]).encode()))
        self.loop.turns(3)

    def _received(self, data: bytes) -> None:
        if b"\r\n\r\n" not in self.head:
            self.head += data
            self.head, separator, data = self.head.partition(b"\r\n\r\n")
            self.head += separator
        if data and b" 101 " in self.head:
            self.frames.feed(data)

    def _on_lost(self) -> None:
        self.gone = True
        self.socket.connection_lost(None)

    @property
    def status(self) -> int | None:
        return int(self.head.split(b" ")[1]) if self.head else None

    def sends(self, data: bytes) -> None:
        self.loop.call(lambda: self.socket.data_received(data))

    def says(self, *messages: dict[str, Any]) -> None:
        self.sends(b"".join(frame(orjson.dumps(each)) for each in messages))

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["type"] == kind and "seq" not in each]

    def errors(self) -> list[tuple[str, str | None]]:
        return [(each["data"]["code"], each.get("testId")) for each in self.told("error")]

    def events(self) -> list[str]:
        return [each["message"] for each in self.messages if "seq" in each]

    def leaves(self) -> None:
        self.loop.call(self.transport.abort)
        self.loop.turns(2)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def watch(test_id: str) -> dict[str, Any]:
    return {"type": "subscribe", "testId": test_id}


def follow(test_id: str) -> dict[str, Any]:
    return {"type": "subscribe", "channel": "frames", "testId": test_id}


def ticket_of(edge: Edge, origin: str = ORIGIN) -> str:
    assert edge.access.tickets is not None
    return edge.access.tickets.issue(edge.tokens.principals["ann"], origin)[0]
