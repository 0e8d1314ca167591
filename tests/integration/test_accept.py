"""What an edge does with very many connections and with clients that send incomplete requests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import MakeEdge, Stack
from tests.harness import EdgeProcess, until


async def refusal(edge: EdgeProcess, **headers: str) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(edge.ws_url, additional_headers=headers):
            pass
    return refused.value


async def test_a_full_node_says_when_to_come_again(make_edge: MakeEdge) -> None:
    edge = await make_edge(TESTCAST_EDGE_MAX_SOCKETS="3")
    async with AsyncExitStack() as open_sockets:
        for _ in range(3):
            await open_sockets.enter_async_context(connect(edge.ws_url))
        response = (await refusal(edge)).response
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert response.body is not None and b"node_full" in response.body

    async def room() -> bool:
        try:
            async with connect(edge.ws_url):
                return True
        except InvalidStatus:
            return False

    await until(room, what="those who left made room")


async def test_an_address_is_counted_by_the_word_of_trusted_proxies_only(make_edge: MakeEdge) -> None:
    limits = {"TESTCAST_EDGE_MAX_SOCKETS_PER_ADDRESS": "1"}
    trusting = await make_edge(**limits, TESTCAST_EDGE_TRUSTED_PROXIES="127.0.0.0/8")
    async with (
        connect(trusting.ws_url, additional_headers={"X-Forwarded-For": "1.1.1.1"}),
        connect(trusting.ws_url, additional_headers={"X-Forwarded-For": "2.2.2.2"}),
    ):
        assert (await refusal(trusting, **{"X-Forwarded-For": "9.9.9.9, 1.1.1.1"})).response.status_code == 503
    wary = await make_edge(**limits)
    async with connect(wary.ws_url, additional_headers={"X-Forwarded-For": "1.1.1.1"}):
        assert (await refusal(wary, **{"X-Forwarded-For": "2.2.2.2"})).response.status_code == 503


async def test_handshakes_beyond_the_rate_are_refused_and_http_goes_on(make_edge: MakeEdge) -> None:
    edge = await make_edge(TESTCAST_EDGE_HANDSHAKES_PER_S="2")

    async def knock() -> int:
        try:
            async with connect(edge.ws_url):
                return 101
        except InvalidStatus as refused:
            assert refused.response.headers["retry-after"] == "1"
            return refused.response.status_code

    answers = await asyncio.gather(*(knock() for _ in range(20)))
    assert 101 in answers and 503 in answers
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200" in await reader.readline()
    writer.close()


HALF_REQUESTS = [
    b"",
    b"GET / HT",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    b"POST /rpc/listTests HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",  # whole and answered; then nothing
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he",
]


async def test_half_a_request_is_cut_off(stack: Stack) -> None:
    async def ask(begun: bytes) -> None:
        began = time.monotonic()  # before the edge can have begun to count
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.edge.port)
        writer.write(begun)
        async with asyncio.timeout(30):  # otherwise it would stay open for ever
            with contextlib.suppress(ConnectionResetError):
                while await reader.read(4096):
                    pass
        assert time.monotonic() - began > 3, f"before its time: {begun!r}"
        writer.close()

    await asyncio.gather(*(ask(each) for each in HALF_REQUESTS))


async def test_a_request_in_small_pieces_is_served_when_it_is_in_time(stack: Stack) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.edge.port)
    for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":
        writer.write(bytes((byte,)))
        await writer.drain()
    assert b"200" in await reader.readline()
    writer.close()


async def test_a_connection_goes_on_after_an_answer_that_came_before_the_body(stack: Stack) -> None:
    """A refusal need not wait for what it refuses: the rest is read and left aside."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.edge.port)

    async def answer(request: bytes) -> bytes:
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head.partition(b"\r\n")[0] + b" " + await reader.readexactly(length)

    host = b"Host: 127.0.0.1\r\n"
    for _ in range(3):
        refused = await answer(b"POST /rpc/nothing HTTP/1.1\r\n" + host + b"Content-Length: 10\r\n\r\n")
        assert b"404" in refused and b"unknown_method" in refused
        writer.write(b'{"x": ')
        await writer.drain()
        assert b"200 OK" in await answer(b"123}GET /healthz HTTP/1.1\r\n" + host + b"\r\n")
    writer.close()


async def test_half_a_frame_and_no_interest_are_closed(make_edge: MakeEdge) -> None:
    edge = await make_edge(TESTCAST_EDGE_HEARTBEAT_S="0.5")
    async with connect(edge.ws_url) as half, connect(edge.ws_url) as silent:
        half.transport.write(bytes((0x81, 0x90, 0, 0, 0, 0)) + b"half")
        assert await close_code(silent) == 1008
        assert await close_code(half) == 1008


async def close_code(connection: object) -> int | None:
    async with asyncio.timeout(30):
        try:
            while True:
                await connection.recv()  # type: ignore[attr-defined]
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
