"""The gate (agent_worker/games/egress_proxy.py) against a real server, without a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent_worker.games.egress_proxy import Gate, Judge, Trouble, judge_any, judge_public


class Upstream:
    """A server that writes down what it is sent, and answers every request without closing."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    yield upstream
    server.close()


class Names:
    """A resolver that answers from a script, one line a question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if not self.answers:
            raise OSError("no such name")
        return self.answers.pop(0)


async def ask(gate: Gate, request: str, size: int | None = None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gate.url.rpartition(":")[2]))
    try:
        writer.write(request.encode())
        async with asyncio.timeout(10):
            return await (reader.readexactly(size) if size else reader.read())
    finally:
        writer.close()


def get(url: str) -> str:
    return f"GET {url} HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: keep-alive\r\nX-Mine: 1\r\n\r\n"


async def test_a_request_is_carried_with_its_own_headers_only(upstream: Upstream) -> None:
    troubles: list[Trouble] = []
    async with Gate(judge_any, troubles.append, Names(["127.0.0.1"])) as gate:
        answer = await ask(gate, get(f"http://a.example:{upstream.port}/x?y#z"), 58)
        assert gate.carried == 1
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"Connection: close" in answer
    (head,) = upstream.heads
    assert head.startswith("GET /x?y#z HTTP/1.1\r\n") and "X-Mine: 1" in head
    assert "Connection: close" in head and "keep-alive" not in head
    assert not troubles


async def test_a_second_request_on_one_connection_is_not_carried_to_the_first_ones_host(upstream: Upstream) -> None:
    async with Gate(judge_any, lambda _: None, Names(["127.0.0.1"], ["127.0.0.1"])) as gate:
        url = f"http://a.example:{upstream.port}/first"
        await ask(gate, get(url) + get("http://b.example/second"))
    assert len(upstream.heads) == 1


async def test_a_tunnel(upstream: Upstream) -> None:
    async with Gate(judge_any, lambda _: None, Names(["127.0.0.1"])) as gate:
        request = f"CONNECT a.example:{upstream.port} HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        answer = await ask(gate, request, 100)
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize("verb", ["GET http://{}/ HTTP/1.1\r\n\r\n", "CONNECT {} HTTP/1.1\r\n\r\n"])
async def test_a_name_is_judged_by_what_it_leads_to_each_time(upstream: Upstream, verb: str) -> None:
    """DNS rebinding: a name that was public a moment ago and is not now."""
    judged: list[list[str]] = []

    def judge(host: str, port: int, addresses: list[str]) -> None:
        judged.append(addresses)
        if len(judged) > 1:
            judge_public(host, port, addresses)

    troubles: list[Trouble] = []
    names = Names(["127.0.0.1"], ["127.0.0.1"])
    async with Gate(judge, troubles.append, names) as gate:
        request = verb.format(f"rebind.example:{upstream.port}")
        await ask(gate, request + "GET / HTTP/1.1\r\n\r\n" * verb.startswith("CONNECT"), 12)
        second = await ask(gate, request)
    assert second.startswith(b"HTTP/1.1 403") and b"x-testcast-gate: url_refused" in second
    assert names.asked == ["rebind.example"] * 2 and len(judged) == 2  # one look-up for each connection
    assert [each.code for each in troubles] == ["url_refused"]
    assert len(upstream.heads) == 1


@pytest.mark.parametrize(
    ("judge", "names", "code", "status"),
    [
        (judge_public, Names(["8.8.8.8", "127.0.0.1"]), "url_refused", b"403"),
        (judge_any, Names(), "dns_not_found", b"502"),
        (judge_any, Names(["127.0.0.1"]), "connection_refused", b"502"),
    ],
)
async def test_troubles(judge: Judge, names: Names, code: str, status: bytes) -> None:
    troubles: list[Trouble] = []
    async with Gate(judge, troubles.append, names) as gate:
        answer = await ask(gate, get("http://a.example:1/"))
    assert answer.split()[1] == status
    assert [(each.code, each.host, each.port) for each in troubles] == [(code, "a.example", 1)]


@pytest.mark.parametrize("line", ["GET /not-for-a-proxy HTTP/1.1", "GET ftp://a.example/ HTTP/1.1", "nonsense", ""])
async def test_what_is_no_proxy_request_ends_the_connection(line: str) -> None:
    names = Names()
    async with Gate(judge_any, lambda _: None, names) as gate:
        answer = await ask(gate, f"{line}\r\n\r\n")
    assert answer in (b"", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    assert not names.asked


async def test_leaving_closes_what_is_open(upstream: Upstream) -> None:
    async with Gate(judge_any, lambda _: None, Names(["127.0.0.1"])) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gate.url.rpartition(":")[2]))
        writer.write(f"CONNECT a.example:{upstream.port} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    assert "closed" in repr(gate)
