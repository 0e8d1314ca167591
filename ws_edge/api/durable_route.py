"""`/ds/tests/<id>`: the read side of Durable Streams, an open protocol of reading a log over HTTP.

A run is a stream of JSON messages, and its end is the stream's. An offset is a position as one word that sorts as text.
All of it stands on `fanout.poll`: who reads along by `live=sse` asks again behind each answer. Runs are written to by
agents, not by this.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, Literal, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from broker.contract.errors import NotFound, TestcastError
from broker.contract.position import Position
from ws_edge.access import Principal
from ws_edge.api import event_route
from ws_edge.api.event_route import as_viewer, proved
from ws_edge.api.export import Proof
from ws_edge.api.http_cache import if_none_match, matches
from ws_edge.encoding.event_stream import MEDIA_TYPE, one_line
from ws_edge.fanout.answer import Answer
from ws_edge.fanout.poll import MAX_EVENTS
from ws_edge.node import Node
from ws_edge.transport.stream_request import malformed

PATH: Final = "/ds/tests/{test_id}"
EXPOSED: Final = ["stream-next-offset", "stream-cursor", "stream-up-to-date", "stream-closed", "etag"]
"""Headers that pages of allowed origins may read."""
_OFFSET: Final = re.compile(r"([0-9A-Za-z-]{1,64})_([0-9]{16})")
_WAIT_S: Final = 25.0
_PIECE_BYTES: Final = 32 * 1024
_BEAT_S: Final = 12.0
"""A stream on which nothing comes says so before a viewer takes it for dead."""
_INTERVAL_S: Final = 20
_INTERVALS_SINCE: Final = 1_728_432_000
"""The protocol counts intervals from 9 October 2024."""
_MAX_JITTER: Final = 180
_START: Final = "-1"
_NOW: Final = "now"
_STREAM: Final = {"content-type": MEDIA_TYPE, "cache-control": "no-cache", "x-accel-buffering": "no"}


class OffsetGone(TestcastError):
    """Nothing can be read on from this offset."""

    code = "offset_gone"

    def __init__(self, reason: str) -> None:
        super().__init__(f"there is nothing to go on from at this offset ({reason}): read from the start, offset=-1")
        self.reason = reason

    @property
    def details(self) -> dict[str, object]:
        """Why, as in the resume table."""
        return {"reason": self.reason}


class _Asked(NamedTuple):
    """What a request asks for."""

    live: Literal["long-poll", "sse"] | None
    offset: Position | None
    """None: the stream's beginning."""
    now: bool
    """The stream's end at this moment, in place of `offset`."""
    cursor: int


async def stream(request: Request) -> Response:
    """A run as a stream."""
    return await event_route.answered(request, _stream)


async def _stream(node: Node, request: Request, test_id: str, who: Principal) -> Response:
    asked = _asked(request)
    if request.method == "HEAD":
        return await _about(node, test_id)
    at = await _tail(node, test_id) if asked.now else asked.offset
    wait_s = 0.0 if asked.live is None else _WAIT_S
    if asked.live == "sse":
        return await _live(node, request, who, test_id, at, asked.cursor)
    answer = _checked(await event_route.poll(node, request, who, test_id, at, MAX_EVENTS, wait_s))
    headers = _headers(answer) | event_route.closing(node)
    if asked.live is not None:
        headers |= {"stream-cursor": str(_cursor(asked.cursor)), "cache-control": "no-store"}
        if not answer.events:
            return Response(status_code=204, headers=headers)
    if asked.now:
        headers["cache-control"] = "no-store"
    else:
        headers["etag"] = etag = _etag(at, answer)
        if asked.live is None:
            headers |= event_route.cached(node, answer, at)
            if headers["cache-control"] == "no-store":
                headers["cache-control"] = "no-cache"
        if matches(if_none_match(request.scope["headers"]), etag):
            return Response(status_code=304, headers=headers)
    return Response(answer.array, headers=headers, media_type="application/json")


async def _about(node: Node, test_id: str) -> Response:
    tail = await _tail(node, test_id)
    headers = _headers(await node.polls.ask(test_id, tail, MAX_EVENTS, 0.0))
    headers.pop("stream-up-to-date")
    return Response(headers=headers | {"cache-control": "no-store"}, media_type="application/json")


class _Live(StreamingResponse):
    """A stream whose viewer counts until it has ended, in whatever way, also before its first piece."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], held: AsyncExitStack) -> None:
        super().__init__(pieces, headers=_STREAM)
        self._pieces = pieces
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._pieces.aclose()
            await self._held.aclose()


async def _live(
    node: Node, request: Request, who: Principal, test_id: str, at: Position | None, cursor: int
) -> Response:
    """A stream from the position on. What is wrong at its beginning has a status."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(as_viewer(node, request))
        proof = await stack.enter_async_context(proved(node, who, test_id))
        first = _checked(await node.polls.ask(test_id, at, MAX_EVENTS, 0.0))
        proof.check()
        return _Live(_events(node, test_id, first, cursor, proof), stack.pop_all())


async def _events(node: Node, test_id: str, answer: Answer, cursor: int, proof: Proof) -> AsyncGenerator[bytes, None]:
    """Each answer as an event with the messages and one with the position behind it. A client that takes its time is
    asked for where it is, and holds up nobody. While it takes a message, nothing else of the answer is held for it."""
    said = False
    while True:
        at, ended = Position(answer.epoch, answer.after), answer.ended
        data = b"event: data\ndata:%b\n\n" % one_line(answer.array) if answer.events else b""
        if data or not said or ended:
            cursor, said = _cursor(cursor), True
            control = b"event: control\ndata:%b\n\n" % orjson.dumps(_control(answer, cursor))
        else:
            control = b": nothing new\n\n"
        del answer
        for start in range(0, len(data), _PIECE_BYTES):
            yield data[start : start + _PIECE_BYTES]
        del data
        yield control
        if ended or node.draining or proof.ended:
            return
        asking = asyncio.ensure_future(node.polls.ask(test_id, at, MAX_EVENTS, _BEAT_S))
        proof.on_end = partial(_stop, asking)
        try:
            answer = _checked(await asking)
        except TestcastError:
            return  # it comes back with its offset, and is told with a status
        except asyncio.CancelledError:
            if not proof.ended:
                raise
            return
        finally:
            proof.on_end = lambda: None
            asking.cancel()


def _stop(asking: asyncio.Future[Answer]) -> None:
    asking.cancel()


def _control(answer: Answer, cursor: int) -> dict[str, object]:
    said: dict[str, object] = {"streamNextOffset": _offset(answer)}
    if answer.ended:
        return said | {"streamClosed": True, "upToDate": True}
    return said | {"streamCursor": str(cursor)} | ({} if answer.more else {"upToDate": True})


def _headers(answer: Answer) -> dict[str, str]:
    headers = {"stream-next-offset": _offset(answer)}
    if not answer.more:
        headers["stream-up-to-date"] = "true"
    if answer.ended:
        headers["stream-closed"] = "true"
    return headers


def _etag(at: Position | None, answer: Answer) -> str:
    """The same end, in another life of the stream or after its first events have gone, is another answer."""
    return f'"{_START if at is None else at.seq}.{answer.after}.{int(answer.ended)}.{answer.array_mark}"'


def _offset(answer: Answer) -> str:
    return f"{answer.epoch}_{answer.after:016d}"


def _checked(answer: Answer) -> Answer:
    """The answer, where it goes on from the position that was asked about.

    Raises:
        OffsetGone: it begins anew.
    """
    if answer.outcome == "reset":
        raise OffsetGone(answer.sync["reason"])
    return answer


async def _tail(node: Node, test_id: str) -> Position:
    """The newest position that viewers are sent.

    Raises:
        NotFound, BrokerUnavailable.
    """
    topic = node.hub.topics.get(test_id)
    if topic is not None and topic.state == "open":
        return Position(topic.epoch, topic.order.released)
    head = await node.hub.head(test_id)
    if not head:
        raise NotFound(test_id)
    return Position(node.hub.epoch or (await node.log.heads()).epoch, head)


def _cursor(given: int) -> int:
    """The interval of this moment, or a later one where the client has that: no cache gives it an old answer again."""
    now = int(time.time() - _INTERVALS_SINCE) // _INTERVAL_S
    return now if now > given else given + random.randint(1, _MAX_JITTER)


def _asked(request: Request) -> _Asked:
    """What a request asks for. What it says besides is left aside, as the protocol demands.

    Raises:
        BadInput: naming what is wrong.
    """
    query = request.query_params
    live, offsets = query.get("live"), query.getlist("offset")
    if live not in (None, "long-poll", "sse"):
        raise malformed(f"live: {live[:40]!r} is none of long-poll, sse")
    if len(offsets) > 1:
        raise malformed("offset: given more than once")
    if live is not None and not offsets:
        raise malformed(f"offset: needed with live={live}; -1 is the start, now is the end")
    offset = offsets[0] if offsets else _START
    found = _OFFSET.fullmatch(offset)
    if found is None and offset not in (_START, _NOW):
        raise malformed(f"offset: {offset[:60]!r} is none that this server has given")
    cursor = query.get("cursor", "")
    given = int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) <= 15 else 0
    position = None if found is None else Position(found[1], int(found[2]))
    return _Asked(live, position, offset == _NOW, given)  # type: ignore[arg-type]  # one of the three, as checked
