"""The log of a real edge as JSON lines, and the request ids in its answers."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import MakeEdge
from tests.harness import NO_SUCH_TEST, EdgeProcess, until

ID = "x-request-id"
_MADE = re.compile(r"[0-9a-f]{16}")


def lines_of(edge: EdgeProcess) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in edge.log.read_bytes().splitlines()]


async def line_with(edge: EdgeProcess, **fields: object) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        return next((each for each in lines_of(edge) if fields.items() <= each.items()), None)

    return await until(found, what=str(fields))


async def raw(edge: EdgeProcess, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(request)
    async with asyncio.timeout(30):
        answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer


def id_in(head: bytes) -> str:
    [found] = re.findall(rb"(?im)^x-request-id: (\S+)\r$", head)
    return str(found, "ascii")


async def test_refusals_are_told_with_their_reason_and_ids(make_edge: MakeEdge) -> None:
    edge = await make_edge(
        TESTCAST_LOG_FORMAT="json",
        TESTCAST_LOG_LEVEL="debug",
        TESTCAST_EDGE_TRUSTED_PROXIES="127.0.0.1",
        TESTCAST_EDGE_LISTS_PER_S="0.001",
    )
    async with httpx.AsyncClient(base_url=edge.url, timeout=30) as client:
        unknown = await client.get("/rpc/nope?token=hush-hush", headers={ID: "proxy-1", "X-Forwarded-For": "192.0.2.7"})
        assert (unknown.status_code, unknown.headers[ID]) == (404, "proxy-1")
        told = await line_with(edge, request="proxy-1", code="unknown_method")
        assert (told["status"], told["path"], told["level"]) == (404, "/rpc/nope", "info")
        assert told["address"] == "192.0.2.7"
        assert told["message"].startswith("refused a request: 'nope' is no method")
        for wrong in ("a b", "x" * 200, 'a"b', ""):
            answer = await client.get("/healthz", headers={ID: wrong})
            assert answer.status_code == 200 and _MADE.fullmatch(answer.headers[ID]), wrong
        twice = await client.get("/healthz", headers=[(ID, "a"), (ID, "b")])
        assert _MADE.fullmatch(twice.headers[ID])
        assert (await client.get("/")).headers[ID] != (await client.get("/")).headers[ID]
        limited = await until_limited(client)
        assert (await line_with(edge, code="too_many_requests"))["request"] == limited.headers[ID]
    assert not [each for each in lines_of(edge) if each.get("path") == "/readyz"], "to be not ready is no refusal"
    wrong_host = await raw(edge, b"GET / HTTP/1.1\r\nHost: evil.example\r\nX-Request-Id: of-a-proxy\r\n\r\n")
    assert wrong_host.startswith(b"HTTP/1.1 421 ") and id_in(wrong_host) == "of-a-proxy"
    assert (await line_with(edge, request="of-a-proxy", code="wrong_host"))["level"] == "warning"
    large = await raw(edge, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n")
    assert large.startswith(b"HTTP/1.1 431 ")
    await line_with(edge, request=id_in(large), code="head_too_large", status=431)
    await sockets(edge)
    lines = lines_of(edge)
    assert all({"time", "level", "logger", "message"} < set(line) for line in lines)
    assert {(line["part"], line["process"]) for line in lines} == {("edge", edge.child.pid)}
    assert b"hush-hush" not in edge.log.read_bytes()


async def until_limited(client: httpx.AsyncClient) -> httpx.Response:
    while True:
        answer = await client.post("/rpc/listTests", json={})
        if answer.status_code == 429:
            return answer


async def sockets(edge: EdgeProcess) -> None:
    with pytest.raises(InvalidStatus) as foreign:
        await connect(edge.ws_url, origin="https://evil.example", additional_headers={ID: "s-1"})  # type: ignore[arg-type]
    assert foreign.value.response.headers[ID] == "s-1"
    refused = await line_with(edge, request="s-1", code="foreign_origin", status=403)
    assert refused["message"].startswith("refused a socket: pages of ")
    audit = await line_with(edge, request="s-1", logger="testcast.audit")
    assert (audit["message"], audit["outcome"], audit["action"]) == ("refused: connect", "refused", "connect")
    async with connect(edge.ws_url) as socket:
        assert socket.response is not None
        request = socket.response.headers[ID]
        assert _MADE.fullmatch(request)
        opened = await line_with(edge, request=request, message="a socket has opened")
        await socket.send("\x1b[2J not JSON")
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(socket.recv(), 30)
    closed = await line_with(edge, request=request, code=4400)
    assert closed["viewer"] == opened["viewer"] and re.fullmatch(r"[0-9a-f]{8}", closed["viewer"])
    async with connect(f"{edge.ws_url}?testId={NO_SUCH_TEST}") as socket:
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(socket.recv(), 30)
    assert (await line_with(edge, run=NO_SUCH_TEST, code="not_found"))["viewer"] != opened["viewer"]


def test_a_wrong_format_ends_the_edge_with_its_name() -> None:
    environment = {**os.environ, "TESTCAST_LOG_FORMAT": "xml"}
    done = subprocess.run([sys.executable, "-m", "ws_edge"], capture_output=True, env=environment, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith(b"testcast edge: TESTCAST_LOG_FORMAT: 'xml' is none of text")
