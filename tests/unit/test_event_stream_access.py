"""Streams of server-sent events over a node in memory: who may watch what, how a proof ends, and how a stream does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import orjson
import pytest

from tests.event_source import EventSource, Message
from tests.model import ModelTransport
from tests.socket_stand_ins import FOREIGN, MISSING, Edge, bearer
from tests.unit.test_socket_fuzz import TEST_ID
from ws_edge.origins import Origins
from ws_edge.transport.event_stream import EventStream
from ws_edge.transport.handshake import parse
from ws_edge.transport.stream_request import stream_request

OWN = f"/tests/{TEST_ID}/events"


class Page:
    """One stream, as its reader sees it."""

    def __init__(self, edge: Edge, path: str, *lines: str) -> None:
        self.edge = edge
        self.received = b""
        self.gone = False
        head = [f"GET {path} HTTP/1.1", "Host: localhost:8000", "Accept: text/event-stream", *lines, "", ""]
        request = parse("\r\n".join(head).encode())
        asked = stream_request(request)
        assert asked is not None
        self.stream = EventStream(None, edge.server_state, {"node": edge.node}, asked)  # type: ignore[arg-type]
        self.transport = ModelTransport(edge.loop, self._on_data, 1 << 16, 1 << 14)
        self.transport.on_resume = self.stream.resume_writing
        self.transport.on_lost = self._on_lost
        edge.loop.call(lambda: self.stream.connection_made(self.transport))
        edge.loop.call(partial(self.stream.begin, request))
        edge.loop.run_for(0.5)

    def _on_data(self, data: bytes) -> None:
        self.received += data

    def _on_lost(self) -> None:
        self.gone = True
        self.stream.connection_lost(None)

    @property
    def status(self) -> int:
        return int(self.received.split(b" ", 2)[1])

    @property
    def code(self) -> str:
        """Of an error in place of the stream."""
        return str(orjson.loads(self.received.partition(b"\r\n\r\n")[2])["error"]["code"])

    @property
    def messages(self) -> list[Message]:
        assert self.status == 200, self.received
        return list(EventSource().feed(self.received.partition(b"\r\n\r\n")[2]))

    def kinds(self) -> list[str]:
        return [each.event for each in self.messages]

    def errors(self) -> list[str]:
        return [orjson.loads(each.data)["data"]["code"] for each in self.messages if each.event == "error"]


@pytest.fixture
def edge() -> Iterator[Edge]:
    edge = Edge()
    yield edge
    edge.close()


def test_who_may_not_watch_is_told_with_a_status(edge: Edge) -> None:
    for lines, path, status, code in (
        ((), OWN, 401, "unauthenticated"),
        ((bearer("nobody"),), OWN, 401, "unauthenticated"),
        ((bearer("ann-elsewhere"),), OWN, 404, "not_found"),
        ((bearer("ann"),), f"/tests/{FOREIGN}/events", 404, "not_found"),
        ((bearer("ann"),), f"/tests/{MISSING}/events", 404, "not_found"),
        ((bearer("ann-no-list"),), "/events?channel=tests", 403, "forbidden"),
        ((bearer("ann"), "Origin: http://elsewhere.example"), OWN, 403, "foreign_origin"),
    ):
        page = Page(edge, path, *lines)
        assert (page.status, page.code) == (status, code), (lines, path)
        assert page.gone and page.stream not in edge.node.hub.sockets
    assert edge.node.admission.open == 0 and not edge.node.hub.finite


def test_of_several_runs_those_that_may_be_watched_come(edge: Edge) -> None:
    page = Page(edge, f"/events?watch={TEST_ID}&watch={FOREIGN}", bearer("ann"))
    assert "sync" in page.kinds() and page.errors() == ["not_found"] and not page.gone
    edge.publish("still here")
    edge.loop.run_for(0.5)
    assert orjson.loads(page.messages[-1].data)["message"] == "still here"


def test_a_stream_ends_with_its_proof(edge: Edge) -> None:
    page, other = Page(edge, OWN, bearer("ann")), Page(edge, OWN, bearer("ann2"))
    edge.loop.run_for(101.0)
    assert page.errors() == ["token_expired"] and page.gone and not other.gone
    edge.revoke("a2")
    edge.loop.run_for(0.1)
    assert other.errors() == ["token_revoked"] and other.gone
    assert edge.node.admission.open == 0 and edge.node.hub.proofs.statistics() == (0, 0)


def test_the_end_of_a_run_ends_its_stream_and_a_deletion_does_too(edge: Edge) -> None:
    page, several = Page(edge, OWN, bearer("ann")), Page(edge, f"/events?watch={TEST_ID}", bearer("ann"))
    edge.loop.call(partial(edge.broker.put, b'{"type":"complete","message":"Done","timestamp":1}', True, [0.0]))
    edge.loop.run_for(1.0)
    last = page.messages[-1]
    assert (last.event, orjson.loads(last.data)["reason"]) == ("goodbye", "ended") and page.gone
    assert not several.gone, "it is for any number of runs, and stays"
    edge.loop.call(partial(edge.node.hub.deleted, TEST_ID))
    edge.loop.run_for(0.1)
    assert several.errors() == ["not_found"] and several.gone, "nothing is left that it is for"


def test_a_node_that_goes_away_sends_its_streams_away(edge: Edge) -> None:
    page = Page(edge, OWN, bearer("ann"))
    edge.loop.call(partial(page.stream.goodbye, 250, "this node is going away"))
    edge.loop.run_for(0.1)
    assert (page.messages[-1].event, page.messages[-1].retry_ms, page.gone) == ("goodbye", 250, True)
    edge.node.draining = True
    late = Page(edge, OWN, bearer("ann"))
    assert (late.status, late.code) == (503, "restarting") and b"retry-after: 1" in late.received


def test_a_stream_before_its_first_message_is_refused_with_a_status(edge: Edge) -> None:
    edge.loop.call(edge.broker.disconnect)
    page = Page(edge, OWN, bearer("ann"))
    assert not page.received, "nobody knows yet whether there is such a run"
    edge.loop.call(partial(page.stream.goodbye, 250, "this node is going away"))
    edge.loop.run_for(0.1)
    assert (page.status, page.code) == (503, "restarting") and page.gone


def test_who_goes_on_talking_is_cut_off(edge: Edge) -> None:
    page = Page(edge, OWN, bearer("ann"))
    edge.loop.call(partial(page.stream.data_received, b"GET / HTTP/1.1\r\n\r\n"))
    edge.publish("one")
    edge.loop.run_for(0.5)
    assert orjson.loads(page.messages[-1].data)["message"] == "one" and not page.gone
    for _ in range(2):
        edge.loop.call(partial(page.stream.data_received, b"x" * 40_000))
    edge.loop.run_for(0.1)
    assert page.gone


def test_a_slow_reader_costs_a_cursor_and_misses_nothing(edge: Edge) -> None:
    page, quick = Page(edge, OWN, bearer("ann2")), Page(edge, OWN, bearer("ann2"))
    edge.loop.call(partial(page.transport.room, 0))
    for _ in range(40):
        edge.publish("x" * 6000)
        edge.loop.run_for(0.1)
    topic = edge.node.hub.topics[TEST_ID]
    assert (len(topic.live), len(topic.behind)) == (1, 1)
    edge.loop.call(partial(page.transport.room, float("inf")))
    edge.loop.run_for(30.0)
    assert [each.id for each in page.messages if each.event == "message"] == [
        each.id for each in quick.messages if each.event == "message"
    ]


def test_pages_of_allowed_origins_may_read_a_stream_and_why_there_is_none(edge: Edge) -> None:
    allowed = "https://pages.example"
    edge.node.config = edge.node.config._replace(allowed_origins=Origins([allowed]))
    for path, status in ((OWN, 200), (f"/tests/{MISSING}/events", 404)):
        page = Page(edge, path, bearer("ann"), f"Origin: {allowed}")
        assert page.status == status
        assert f"\r\naccess-control-allow-origin: {allowed}\r\n".encode() in page.received
        assert b"allow-credentials" not in page.received
