"""Requests that are addressed to somebody else, or that two parsers could read differently: refused at every door."""

from __future__ import annotations

import asyncio
import contextlib
import re

import httpx
import pytest

from broker.jetstream.api import Streams
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, begin

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    + "A" * 22
    + "==\r\n"
)
DOORS = {
    "page": ("GET /", ""),
    "page of a run": (f"GET /tests/{NO_SUCH_TEST}", ""),
    "redirect": (f"GET /tests/{NO_SUCH_TEST}/", ""),
    "file": ("GET /testcast.js", ""),
    "health": ("GET /healthz", ""),
    "health with a slash": ("GET /healthz/", ""),
    "ready": ("HEAD /readyz", ""),
    "no such file": ("GET /nothing", ""),
    "cached RPC": ("GET /rpc/listTests", ""),
    "RPC": ("POST /rpc/listTests", "Content-Type: application/json\r\nContent-Length: 2\r\n"),
    "preflight": ("OPTIONS /rpc/listTests", "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n"),
    "socket": ("GET /ws", UPGRADE),
    "socket elsewhere": ("GET /other", UPGRADE),
}


async def ask(port: int, *pieces: bytes) -> bytes:
    """Everything that is answered, until the edge closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    if len(pieces) > 1:
                        await asyncio.sleep(0.01)  # they shall not arrive together
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(65536):
                    received += chunk
    finally:
        writer.close()
    return received


async def first_status(port: int, sent: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(20):
        line = await reader.readline()
    writer.close()
    return int(line.split(b" ")[1])


def statuses(received: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def request(door: str, host: str, more: str = "") -> bytes:
    line, fields = DOORS[door]
    body = "{}" if line.startswith("POST") else ""
    return f"{line} HTTP/1.1\r\n{host}{fields}{more}\r\n{body}".encode()


@pytest.mark.parametrize("door", DOORS)
async def test_no_door_opens_to_a_foreign_name(stack: Stack, door: str) -> None:
    for host, expected in (
        ("Host: evil.example\r\n", 421),
        (f"Host: evil.example:{stack.edge.port}\r\n", 421),
        ("Host: 127.0.0.1.evil.example\r\n", 421),
        ("Host: 192.0.2.1\r\n", 421),
        ("Host: localhost\r\nX-Forwarded-Host: evil.example\r\n", 421),  # from a proxy on this machine
        ("Host: localhost\r\nForwarded: host=evil.example\r\n", 421),
        ("", 400),
        ("Host:\r\n", 400),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("Host: localhost\r\nhost: evil.example\r\n", 400),
        ("Host: evil.example, localhost\r\n", 400),
        ("Host: localhost@evil.example\r\n", 400),
        ("Host: localhost:0\r\n", 400),
        ("Host: localhost.\r\n", 400),
        ("Host: l\u00f6calhost\r\n", 400),
    ):
        whole = request(door, host)
        for pieces in ([whole], [whole[:20], whole[20:]]) if "evil.example\r" in host else ([whole],):
            answer = await ask(stack.edge.port, *pieces)
            assert statuses(answer) == [expected], (door, host, answer[:300])
            assert b"\r\nlocation:" not in answer.lower() and b"access-control-allow" not in answer.lower()
        if expected == 421:
            assert b"TESTCAST_EDGE_HOSTS" in answer


@pytest.mark.parametrize("door", ["page", "health", "RPC", "socket"])
async def test_the_authority_of_the_target_counts(stack: Stack, door: str) -> None:
    line, rest = request(door, "Host: localhost\r\n").split(b"\r\n", 1)
    method, path, version = line.split(b" ")
    for authority, expected in ((b"localhost:1", (101, 200)), (b"evil.example", (421,)), (b"a@localhost", (400,))):
        target = b" ".join([method, b"http://" + authority + path, version])
        assert await first_status(stack.edge.port, target + b"\r\n" + rest) in expected, (door, authority)


async def test_own_names_open(stack: Stack) -> None:
    for host in ("localhost", "a.localhost:9", "127.0.0.1", "127.0.0.9:9", "[::1]:9", "edge"):
        answer = await ask(stack.edge.port, request("health", f"Host: {host}\r\n", "Connection: close\r\n"))
        assert statuses(answer) == [200], host


async def test_refused_names_do_not_fill_the_log(stack: Stack) -> None:
    before = stack.edge.log.read_text().count("refused a request")
    for number in range(50):
        await ask(stack.edge.port, request("page", f"Host: {number}.example\r\n"))
    text = stack.edge.log.read_text()
    assert text.count("refused a request") - before < 25, "one in 10 s, however slow this machine is"


# -- smuggling ------------------------------------------------------------------------------------------------------

_INNER = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_POST = b"POST /rpc/listTests HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = {
    "both lengths": _POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "two lengths": _POST + b"Content-Length: 2\r\nContent-Length: 44\r\n\r\n{}" + _INNER,
    "the same length twice": _POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + _INNER,
    "an unknown coding": _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _INNER,
    "gzip, chunked": _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "a coding behind a control character": _POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + _INNER,
    "a space before the colon": _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "a folded coding": _POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "chunks in HTTP/1.0": _POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "a bare LF": _POST + b"X: a\nContent-Length: 44\r\n\r\n" + _INNER,
    "a bare CR": _POST + b"X: a\rContent-Length: 44\r\n\r\n" + _INNER,
    "NUL": _POST + b"X: a\0\r\n\r\n" + _INNER,
    "a chunk extension": _POST + b"Transfer-Encoding: chunked\r\n\r\n2;a=\n2\r\n{}\r\n0\r\n\r\n" + _INNER,
    "a chunk extension without end": _POST + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 200_000,
    "a chunk size with a sign": _POST + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n" + _INNER,
    "a chunk size with 0x": _POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + _INNER,
    "a chunk size too large": _POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 17 + b"\r\n{}" + _INNER,
    "a chunk longer than it says": _POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n" + _INNER,
    "chunks with bare LFs": _POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n" + _INNER,
    "trailers": _POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nHost: evil.example\r\n\r\n" + _INNER,
    "an upgrade with a body": request("socket", "Host: localhost\r\n", "Content-Length: 42\r\n") + _INNER,
    "an upgrade with chunks": request("socket", "Host: localhost\r\n", "Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    "an upgrade with a request behind it": request("socket", "Host: localhost\r\n") + _INNER,
    "an upgrade with a frame behind it": request("socket", "Host: localhost\r\n") + b"\x89\x80\0\0\0\0",
    "a tunnel": b"CONNECT localhost:4222 HTTP/1.1\r\nHost: localhost\r\n\r\n" + _INNER,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_what_could_hide_a_request_is_refused_and_closed(stack: Stack, sent: bytes) -> None:
    for pieces in ([sent], [sent[:60], sent[60:]]):
        assert statuses(await ask(stack.edge.port, *pieces)) == [400]


async def test_a_get_and_an_upgrade_in_one_packet_are_answered_in_order(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    upgrade = request("socket", "Host: localhost\r\n").replace(b"/ws ", f"/ws?testId={test_id} ".encode())
    first = f"GET /rpc/getEvents?testId={test_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.edge.port)
    writer.write(first + first + upgrade)
    received = b""
    async with asyncio.timeout(20):
        while b"Queued" not in received.partition(b" 101 ")[2]:
            chunk = await reader.read(65536)
            assert chunk, received
            received += chunk
    assert statuses(received) == [200, 200, 101]
    frames = received.partition(b" 101 ")[2].partition(b"\r\n\r\n")[2]
    assert frames[0] == 0x81, "what comes behind the 101 is frames"
    writer.close()


async def test_requests_ahead_of_their_answers_are_answered_in_order(stack: Stack) -> None:
    names = ["listTests", "nothing", "getConfig"] * 20
    sent = "".join(f"GET /rpc/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n" for name in names)
    sent += "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert statuses(await ask(stack.edge.port, sent.encode())) == [200, 404, 200] * 20 + [404]


async def test_other_upgrades_are_left_out_and_their_bodies_are_bodies(stack: Stack) -> None:
    sent = _POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 42\r\n\r\n" + _INNER
    last = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert len(_INNER) == 42
    assert statuses(await ask(stack.edge.port, sent + last)) == [400, 200], "JSON is expected, and it is no request"


# -- bodies and parameters ------------------------------------------------------------------------------------------


async def test_a_compressed_body_is_refused(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.edge_url) as client:
        for coding in ("gzip", "br", "deflate, gzip"):
            answer = await client.post(
                "/rpc/listTests", content=b"\x1f\x8b" * 100, headers={"content-encoding": coding}
            )
            assert answer.status_code == 415, coding


async def test_a_body_that_is_too_long_is_refused_before_it_is_read(stack: Stack) -> None:
    sent = _POST + b"Content-Length: 1000000000\r\n\r\n"
    assert statuses(await ask(stack.edge.port, sent)) == [413]
    for framing, body in (
        (b"Content-Length: 3000000", b"x" * 3_000_000),
        (b"Transfer-Encoding: chunked", b"100000\r\n" + b"x" * 0x100000 + b"\r\n" + b"100000\r\n" + b"x" * 0x100000),
    ):
        assert statuses(await ask(stack.edge.port, _POST + framing + b"\r\n\r\n" + body)) == [413]


ODD = [
    "²",
    "9" * 5000,
    "-1",
    "1e999",
    "NaN",
    "Infinity",
    "0x10",
    "1_0",
    "٣",
    "\u0000",
    "\u202e1",
    "true",
    "[]",
    "",
]


async def test_odd_numbers_are_told_and_leave_no_traceback(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.edge_url) as client:
        for odd in ODD:
            for method, name in (
                ("listTests", "limit"),
                ("listTests", "cursor"),
                ("listTests", "status"),
                ("getEvents", "after"),
                ("getEvents", "limit"),
                ("getTest", "testId"),
            ):
                asked = {"testId": NO_SUCH_TEST} if method == "getEvents" else {}
                answer = await client.get(f"/rpc/{method}", params={**asked, name: odd})
                assert answer.status_code == 400, (method, name, odd, answer.text)
        for name in ("seed", "budgetSeconds", "limit", "after", "cursor"):
            for value in ("9" * 5000, "1e999", "-1e999", "NaN", "Infinity", '"²"', "1" * 400, "true", "{}"):
                body = f'{{"gameUrl":"http://127.0.0.1:1/","{name}":{value}}}'
                for method in ("submitTest", "listTests", "getEvents"):
                    answer = await client.post(f"/rpc/{method}", content=body)
                    assert answer.status_code == 400, (method, name, value[:20], answer.text)
        for cursor in (f"{'9' * 5000}.{NO_SUCH_TEST}", f"²².{NO_SUCH_TEST}", f"٣.{NO_SUCH_TEST}", f".{NO_SUCH_TEST}"):
            assert (await client.get("/rpc/listTests", params={"cursor": cursor})).status_code == 400
    assert "Traceback" not in stack.edge.log.read_text()


async def test_bodies_that_break_off_leave_a_few_lines(stack: Stack) -> None:
    before = len(stack.edge.log.read_text())
    for _ in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", stack.edge.port)
        writer.write(_POST + b"Content-Length: 1000\r\n\r\n{")
        await writer.drain()
        writer.close()
    text = stack.edge.log.read_text()[before:]
    assert "Traceback" not in text and len(text) < 20_000, text[:2000]


async def test_no_header_writes_a_line_of_the_log(stack: Stack) -> None:
    """Values come into the log as quoted text: no line ends, no escape sequences, no control characters."""
    forged = "\x9b31m\x85FORGED\xa0"
    for field in ("Origin", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "User-Agent"):
        for door in ("RPC", "socket"):
            sent = request(door, "Host: localhost\r\n", f"{field}: {forged}\r\n").decode().encode("latin-1")
            assert await first_status(stack.edge.port, sent)
    await ask(stack.edge.port, b"GET / HTTP/1.1\r\nHost: \xff\x1b]0;FORGED\x07\r\n\r\n")
    log = stack.edge.log.read_bytes()
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", log)
    assert not any(line.startswith(b"FORGED") for line in log.splitlines())
