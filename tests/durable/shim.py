"""What stands between the conformance kit and an edge: writes become runs and events, reads are the edge's own.

A message of the kit is an event with the message as its `data.ds`; of what the edge answers only those parts are passed
on, and everything else (status, offsets, headers, control events) as it is. A run exists with its first event, so each
has one that the kit never sees. A write is acknowledged once the edge's readers see it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from broker import identity
from broker.jetstream.api import Streams
from tests.event_source import EventSource, Message
from tests.harness import publish, until

_NOT_PASSED_ON = ("content-length", "transfer-encoding", "connection", "date", "server")
_JSON = "application/json"
_PIECE_CHARS = 8_000
"""Of a text, in one event: the reader joins them."""


class Stream(NamedTuple):
    """One stream of the kit."""

    test_id: str
    content_type: str

    @property
    def is_json(self) -> bool:
        """Its messages are JSON values."""
        return self.content_type.partition(";")[0].strip().lower() == _JSON

    def messages(self, body: bytes) -> list[Any]:
        """The messages of a write."""
        if not self.is_json:
            text = body.decode("latin-1")
            return [text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)]
        value = orjson.loads(body)
        return value if isinstance(value, list) else [value]

    def body(self, events: list[dict[str, Any]]) -> bytes:
        """The messages among a run's events, as the kit reads them."""
        found = [event["data"]["ds"] for event in events if "ds" in (event.get("data") or {})]
        return orjson.dumps(found) if self.is_json else "".join(found).encode("latin-1")


class Shim:
    """The streams of one run of the kit."""

    def __init__(self, edge_url: str, streams: Streams) -> None:
        self._streams = streams
        self._known: dict[str, Stream] = {}
        self._closed: set[str] = set()
        self._client = httpx.AsyncClient(base_url=edge_url, timeout=60)
        self.app = Starlette(
            routes=[
                Route("/{path:path}", self._write, methods=["PUT", "POST", "DELETE"]),
                Route("/{path:path}", self._read, methods=["GET"]),
            ]
        )

    async def _write(self, request: Request) -> Response:
        path, body = request.url.path, await request.body()
        if request.method == "DELETE":
            return Response(status_code=204 if self._known.pop(path, None) else 404)
        stream = self._known.get(path)
        created = request.method == "PUT" and stream is None
        if created:
            stream = Stream(identity.new_test_id(), request.headers.get("content-type", "application/octet-stream"))
            self._known[path] = stream
            await publish(self._streams, stream.test_id, "Created", "log")
        if stream is None:
            return Response(status_code=404)
        closes = request.headers.get("stream-closed") == "true" and path not in self._closed
        if created or request.method == "POST":
            await self._append(path, stream, body, closes)
        tail = await self._about(stream)
        headers = {
            name: value for name, value in tail.headers.items() if name in ("stream-next-offset", "stream-closed")
        }
        headers |= {"content-type": stream.content_type} | ({"location": str(request.url)} if created else {})
        return Response(status_code=201 if created else 200 if request.method == "PUT" else 204, headers=headers)

    async def _append(self, path: str, stream: Stream, body: bytes, closes: bool) -> None:
        messages = stream.messages(body) if body else []
        seq = 0
        for place, message in enumerate(messages):
            last = closes and place == len(messages) - 1
            kind = "complete" if last else "log"
            seq = (await publish(self._streams, stream.test_id, "m", kind, data={"ds": message})).seq
        if closes:
            self._closed.add(path)
            if not messages:
                seq = (await publish(self._streams, stream.test_id, "Closed", "complete")).seq

        async def seen() -> bool:
            tail = await self._about(stream)
            offset = int(tail.headers["stream-next-offset"].rpartition("_")[2])
            return offset >= seq and ("stream-closed" in tail.headers or path not in self._closed)

        await until(seen, what="the edge's readers see what was written")

    async def _about(self, stream: Stream) -> httpx.Response:
        return await self._client.head(f"/ds/tests/{stream.test_id}")

    async def _read(self, request: Request) -> Response:
        stream = self._known.get(request.url.path) or Stream(identity.new_test_id(), _JSON)
        query: list[tuple[str, Any]] = list(request.query_params.multi_items())
        while True:
            address = f"/ds/tests/{stream.test_id}"
            asked = self._client.build_request(request.method, address, params=query, headers=self._headers(request))
            found = await self._client.send(asked, stream=True)
            headers = {name: value for name, value in found.headers.items() if name not in _NOT_PASSED_ON}
            if found.status_code == 200 and "event-stream" in headers["content-type"] and request.method == "GET":
                return StreamingResponse(self._events(stream, found), headers=headers)
            content = await found.aread()
            await found.aclose()
            if found.status_code != 200 or request.method == "HEAD":
                if found.status_code == 200:
                    headers["content-type"] = stream.content_type
                return Response(content, status_code=found.status_code, headers=headers)
            body = stream.body(orjson.loads(content))
            headers["content-type"] = stream.content_type
            waits = request.query_params.get("live") == "long-poll"
            if waits and body in (b"", b"[]"):  # what came is not for the kit
                if "stream-closed" in headers:
                    return Response(status_code=204, headers=headers)
                query = [each for each in query if each[0] != "offset"] + [("offset", headers["stream-next-offset"])]
                continue
            return Response(body, headers=headers)

    @staticmethod
    def _headers(request: Request) -> dict[str, str]:
        passed = ("accept", "if-none-match", "origin")
        return {name: value for name, value in request.headers.items() if name in passed}

    @staticmethod
    async def _events(stream: Stream, found: httpx.Response) -> AsyncIterator[bytes]:
        """The edge's stream, with the kit's messages alone in its data."""
        source = EventSource()
        try:
            async for piece in found.aiter_raw():
                yield b"".join(_block(stream, message) for message in source.feed(piece))
        finally:
            await found.aclose()


def _block(stream: Stream, message: Message) -> bytes:
    """One event of the edge's stream, as the kit gets it; nothing where none of it is for the kit."""
    data = message.data.encode()
    if message.event == "data":
        data = stream.body(orjson.loads(data))
        if data in (b"", b"[]"):
            return b""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"event: %b\n%b\n" % (message.event.encode(), b"".join(b"data:%b\n" % each for each in lines))
