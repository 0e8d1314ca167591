"""A watch that has a token: it says who it is, sends another token in time, and tells nobody else."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from testcast.client.errors import EdgeRefused
from testcast.client.events import State
from testcast.client.token import Token
from testcast.client.watch import watch
from tests.harness import NO_SUCH_TEST, until

SYNC = {"type": "sync", "testId": NO_SUCH_TEST, "epoch": "e", "outcome": "snapshot", "head": 1}
END = {"type": "complete", "testId": NO_SUCH_TEST, "seq": 1, "message": "done", "timestamp": 1, "data": {"score": 1}}


class Edge:
    """Something like an edge, which accepts the tokens in `good`. It writes down what it is told."""

    def __init__(self, *good: str) -> None:
        self.good = set(good)
        self.opened_with: list[str | None] = []
        self.told: list[dict[str, Any]] = []
        self.on_open: Callable[[ServerConnection], Any] = self._end
        self.redirect: str | None = None

    async def _end(self, socket: ServerConnection) -> None:
        await socket.send(json.dumps(END))

    def judge(self, _socket: ServerConnection, request: Request) -> Response | None:
        given = request.headers.get("authorization")
        self.opened_with.append(given)
        if self.redirect is not None:
            return Response(302, "Found", Headers(location=self.redirect), b"")
        if given is not None and given.removeprefix("Bearer ") in self.good:
            return None
        body = json.dumps({"error": {"code": "unauthenticated", "message": "who are you"}}).encode()
        headers = Headers({"WWW-Authenticate": "Bearer", "Content-Length": str(len(body))})
        return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", headers, body)

    async def talk(self, socket: ServerConnection) -> None:
        await socket.send(json.dumps(SYNC))
        self.on_open_task = asyncio.ensure_future(self.on_open(socket))
        async for frame in socket:
            self.told.append(json.loads(frame))
            if self.told[-1]["type"] == "authenticate":
                await socket.send(json.dumps({"type": "authenticated", "expiresAt": 1}))
                await self._end(socket)


@pytest.fixture
async def edge() -> AsyncIterator[tuple[Edge, str]]:
    edge = Edge("old", "new")
    async with serve(edge.talk, "127.0.0.1", 0, process_request=edge.judge) as server:
        yield edge, address(server)


def address(server: Server) -> str:
    return f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def followed(url: str, token: Token | None) -> int:
    """How many events a watch delivers until the run has ended."""
    async with asyncio.timeout(20):
        return len([item async for item in watch(url, NO_SUCH_TEST, token=token)])


async def test_a_socket_says_who_opens_it(edge: tuple[Edge, str]) -> None:
    standing, url = edge
    assert await followed(url, "old") == 1
    assert standing.opened_with == ["Bearer old"]


async def test_another_token_is_sent_on_the_open_socket(
    edge: tuple[Edge, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    standing, url = edge
    given = iter(["old", "new"])

    async def expire(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "error", "data": {"code": "token_expired", "graceMs": 25000}}))

    standing.on_open = expire
    assert await followed(url, lambda: next(given)) == 1
    assert standing.opened_with == ["Bearer old"], "one socket, all the time"
    ours = [each.getMessage() for each in caplog.records if each.name != "websockets.server"]
    assert not [each for each in ours if "Bearer" in each or "authenticate" in each]
    assert {"type": "authenticate", "token": "new"} in standing.told


@pytest.mark.parametrize("status", ["at the upgrade", "on the socket"])
async def test_a_refused_token_is_replaced(status: str, edge: tuple[Edge, str]) -> None:
    standing, url = edge
    given = iter(["old", "new"])

    async def close(socket: ServerConnection) -> None:
        if len(standing.opened_with) == 1:
            await socket.close(4401, "the token has expired")
        else:
            await socket.send(json.dumps(END))

    standing.on_open = close
    if status == "at the upgrade":
        standing.good = {"new"}
    assert await followed(url, lambda: next(given)) == 1
    assert standing.opened_with == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("token", ["old", None])
async def test_without_another_token_it_says_what_to_do(token: str | None, edge: tuple[Edge, str]) -> None:
    standing, url = edge
    standing.good = set()
    with pytest.raises(EdgeRefused) as refused:
        await followed(url, token)
    assert refused.value.code == "unauthenticated"
    assert refused.value.message.startswith("who are you; ")
    assert ("--token-file" if token is None else "token inspect") in refused.value.message
    assert len(standing.opened_with) == 1


async def test_a_socket_that_is_closed_for_its_token_says_so(edge: tuple[Edge, str]) -> None:
    standing, url = edge

    async def close(socket: ServerConnection) -> None:
        await socket.close(4401, "the token is revoked")

    standing.on_open = close
    with pytest.raises(EdgeRefused, match=r"the token is revoked; .*token inspect"):
        await followed(url, "old")


async def test_a_redirect_is_not_followed(edge: tuple[Edge, str]) -> None:
    standing, url = edge
    other = Edge("old")
    async with serve(other.talk, "127.0.0.1", 0, process_request=other.judge) as server:
        standing.redirect = f"{address(server).replace('http', 'ws')}/ws"
        states: list[State] = []
        source = watch(url, NO_SUCH_TEST, token="old", on_state=states.append)
        watching = asyncio.ensure_future(anext(aiter(source)))
        await until(lambda: states, what="the attempt has failed")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert standing.opened_with == ["Bearer old"]
    assert other.opened_with == [] and other.told == []
