"""Bytes on a connection: smuggling, pipelined upgrades, Host and head tricks, heads and addresses without end."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from pathlib import Path
from typing import Final

import httpx

from broker import identity
from tests.conftest import Stack
from tests.harness import EdgeProcess
from tests.security.attacks import Act, Table, as_test
from tests.security.system import DEADLINE_S, System, Visitor, status_of, statuses_of

ATTACKS: Final[Table[System]] = Table()
_BODY: Final = b'{"limit":1}'
_INNER: Final = b"GET /rpc/listTests HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Smuggled: 1\r\n\r\n"


def _post(visitor: Visitor, *lines: str) -> bytes:
    return visitor.head("/rpc/listTests", "Content-Type: application/json", *lines, method="POST")


# -- one request that two parsers read differently ------------------------------------------------------------------

SMUGGLED: Final[dict[str, tuple[list[str], bytes]]] = {
    "Content-Length and Transfer-Encoding": (
        ["Content-Length: 4", "Transfer-Encoding: chunked"],
        b"0\r\n\r\n" + _INNER,
    ),
    "Transfer-Encoding and Content-Length": (
        ["Transfer-Encoding: chunked", "Content-Length: 60"],
        b"0\r\n\r\n" + _INNER,
    ),
    "two Transfer-Encodings": (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], b"0\r\n\r\n" + _INNER),
    "an unknown Transfer-Encoding": (["Transfer-Encoding: xchunked"], b"0\r\n\r\n" + _INNER),
    "a Transfer-Encoding behind a tab": (["Transfer-Encoding:\tchunked, identity"], b"0\r\n\r\n" + _INNER),
    "a Transfer-Encoding with a space before its colon": (["Transfer-Encoding : chunked"], b"0\r\n\r\n" + _INNER),
    "two different Content-Lengths": (["Content-Length: 11", "Content-Length: 0"], _BODY + _INNER),
    "a list of Content-Lengths": (["Content-Length: 11, 0"], _BODY + _INNER),
    "a Content-Length with a sign": (["Content-Length: +11"], _BODY + _INNER),
    "a negative Content-Length": (["Content-Length: -1"], _BODY + _INNER),
    "a Content-Length in hexadecimal": (["Content-Length: 0xb"], _BODY + _INNER),
    "a Content-Length above 2^64": (["Content-Length: 18446744073709551627"], _BODY + _INNER),
    "a chunk of a negative size": (["Transfer-Encoding: chunked"], b"-1\r\n" + _BODY + b"\r\n0\r\n\r\n" + _INNER),
    "a chunk size above 2^64": (["Transfer-Encoding: chunked"], b"10000000000000005\r\nhello\r\n0\r\n\r\n" + _INNER),
    "a chunk with more than its size": (["Transfer-Encoding: chunked"], b"1\r\n" + _BODY + b"\r\n0\r\n\r\n" + _INNER),
    "a chunk size with 0x": (["Transfer-Encoding: chunked"], b"0xb\r\n" + _BODY + b"\r\n0\r\n\r\n" + _INNER),
    "a folded header": (["X-A: b\r\n Transfer-Encoding: chunked"], b""),
    "a header without a colon": (["Nonsense"], b""),
    "a header whose name has a space": (["X A: b"], b""),
    "a NUL in a header": (["X-A: b\0c"], b""),
    "a lone CR in a header": (["X-A: b\rTransfer-Encoding: chunked"], b""),
}


def _smuggle(lines: list[str], body: bytes) -> Act:
    async def act(system: System) -> None:
        async with system.visitor(system.ann()) as ann:
            received = await ann.raw(_post(ann, *lines, "Connection: close") + body)
        codes = statuses_of(received)
        assert codes == [] or codes[0] >= 400, received[:500]
        assert len(codes) <= 1, f"the inner request was answered: {received[:800]!r}"

    return act


for _name, (_lines, _rest) in SMUGGLED.items():
    ATTACKS.add(f"smuggle: {_name}", "400 and the end of the connection", _smuggle(_lines, _rest))


@ATTACKS.attack("smuggle: a GET and an upgrade in one packet", "the answer comes first, then frames; never within them")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, ann.stream() as (reader, writer):
        writer.write(ann.head("/rpc/listTests?limit=200") + ann.upgrade(f"/ws?testId={system.alpha.test_id}"))
        received = b""
        async with asyncio.timeout(DEADLINE_S):
            while b"101 Switching" not in received and (chunk := await reader.read(65536)):
                received += chunk
        first, switching, rest = received.partition(b"HTTP/1.1 101")
        assert not switching or (status_of(first) == 200 and b'"tests"' in first), received[:300]
        assert b"HTTP/1.1 200" not in rest
        assert switching or statuses_of(received)[-1] in (400, 200), received[:300]


_CLOSE: Final = b"\x88\x82\0\0\0\0\x03\xe8"
"""A masked close frame with 1000."""


async def _behind_upgrade(visitor: Visitor, upgrade: bytes, behind: bytes) -> bytes:
    """What comes back for an upgrade with bytes behind it in one packet, and a close frame after the answer."""
    async with visitor.stream() as (reader, writer):
        writer.write(upgrade + behind)
        async with asyncio.timeout(DEADLINE_S):
            received = await reader.readuntil(b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                writer.write(_CLOSE)
                while chunk := await reader.read(65536):
                    received += chunk
        return received


@ATTACKS.attack("smuggle: an upgrade and a GET behind it in one packet", "the GET is never answered")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        received = await _behind_upgrade(ann, ann.upgrade(), ann.head("/rpc/listTests"))
    assert len(statuses_of(received)) == 1 and b'"tests"' not in received, received[:500]


@ATTACKS.attack("smuggle: an upgrade with a body", "refused, or its body is not read as frames")
async def _(system: System) -> None:
    frame = b"\x81\x85\0\0\0\0hello"
    async with system.visitor(system.ann()) as ann:
        for line in (f"Content-Length: {len(frame)}", "Transfer-Encoding: chunked"):
            received = await _behind_upgrade(ann, ann.upgrade("/ws", line), frame)
            assert status_of(received) in (101, 400), received[:300]
            assert len(statuses_of(received)) == 1, received[:500]
            assert status_of(received) == 400 or b"malformed" not in received, received[:500]


@ATTACKS.attack("smuggle: HTTP/0.9, HTTP/1.0 and HTTP/2 upgrades", "no socket")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for version in (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b""):
            received = await ann.raw(ann.upgrade().replace(b" HTTP/1.1", (b" " + version).rstrip(), 1))
            assert status_of(received) != 101, (version, received[:200])


# -- Host -----------------------------------------------------------------------------------------------------------

FOREIGN_HOSTS: Final = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example",
    "evil.example#127.0.0.1",
    "evil.example/127.0.0.1",
    "127.0.0.1@evil.example",
    "evil.example, 127.0.0.1:{port}",
    "127.0.0.1:{port}, evil.example",
    "127.0.0.1:{port}:80",
    "[::1].evil.example",
    "0.0.0.0:{port}",
    "192.168.0.1:{port}",
    "xn--",
    "",
    "127.0.0.1 evil.example",
)


def _foreign_host(host: str) -> Act:
    async def act(system: System) -> None:
        name = host.format(port=system.edge.port)
        targets = ("/rpc/listTests", "/", "/testcast.js", f"/tests/{system.alpha.test_id}", "/nowhere")
        async with system.visitor(system.ann()) as ann:
            for target in targets:
                received = await ann.raw(ann.head(target, "Connection: close").replace(_host_of(ann), _line(name)))
                assert status_of(received) in (400, 421), (target, received[:300])
                assert b"\r\nlocation" not in received.lower()
            for head in (ann.upgrade(), ann.upgrade("/ws", f"Origin: http://{name}")):
                received = await ann.raw(head.replace(_host_of(ann), _line(name)))
                assert status_of(received) in (400, 421), received[:300]

    return act


def _host_of(visitor: Visitor) -> bytes:
    return f"Host: 127.0.0.1:{visitor.edge.port}\r\n".encode()


def _line(name: str) -> bytes:
    return f"Host: {name}\r\n".encode()


for _host in FOREIGN_HOSTS:
    ATTACKS.add(f"rebinding: Host is {_host!r}", "421 or 400 at every door", _foreign_host(_host))


async def _refuses(visitor: Visitor, head: bytes, allowed: tuple[int, ...] = (400, 421)) -> None:
    received = await visitor.raw(head)
    assert status_of(received) in allowed, (head[:200], received[:300])


@ATTACKS.attack("rebinding: no Host, two Hosts, a Host in the target", "400 or 421")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        own = _host_of(ann)
        for head in (ann.head("/rpc/listTests", "Connection: close"), ann.upgrade()):
            await _refuses(ann, head.replace(own, b""))
            await _refuses(ann, head.replace(own, own + own))
            await _refuses(ann, head.replace(own, own + b"Host: evil.example\r\n"))
            await _refuses(ann, head.replace(own, b"Host: evil.example\r\n" + own))
        absolute = ann.head("http://evil.example/rpc/listTests", "Connection: close")
        await _refuses(ann, absolute, (400, 404, 421))
        await _refuses(ann, ann.head("evil.example:80", "Connection: close", method="CONNECT"), (400, 404, 405, 421))


@ATTACKS.attack("rebinding: Forwarded and X-Forwarded-Host from a stranger", "they count for nothing")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for name in ("x-forwarded-host", "x-host", "x-original-host", "forwarded", "x-forwarded-server"):
            value = "host=evil.example" if name == "forwarded" else "evil.example"
            headers = {name: value, "x-forwarded-proto": "https"}
            answer = await ann.query("connectToTest", headers, testId=system.alpha.test_id)
            assert answer.status_code in (200, 421)
            if answer.status_code == 200:
                assert f"://127.0.0.1:{system.edge.port}/" in answer.json()["url"]
            answer = await ann.get("/healthz/", {name: value})
            assert "evil.example" not in answer.headers.get("location", "")
            refused = await ann.refusal("", {name: value, "origin": "http://evil.example"})
            assert refused.code in (403, 421)


async def test_rebinding_gets_nothing_of_an_edge_without_authentication(stack: Stack) -> None:
    """A page that rebinds its name to loopback: Host and Origin agree, and the browser sends no preflight."""
    host = f"evil.example:{stack.edge.port}"
    headers = {"host": host, "origin": f"http://{host}", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=stack.edge_url, timeout=DEADLINE_S) as client:
        listed = await client.get("/rpc/listTests", headers={"host": host})
        submitted = await client.post("/rpc/submitTest", json={"gameUrl": "http://127.0.0.1/"}, headers=headers)
        page = await client.get("/", headers={"host": host})
    assert [each.status_code for each in (listed, submitted, page)] == [421] * 3
    visitor = Visitor(stack.edge, None, "127.0.0.1")
    assert status_of(await visitor.raw(visitor.upgrade("/ws", f"Origin: http://{host}", host=host))) == 421
    await visitor.http.aclose()


# -- size -----------------------------------------------------------------------------------------------------------


def _memory_kb(edge: EdgeProcess) -> int:
    status = Path(f"/proc/{edge.child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


async def _too_large(system: System, visitor: Visitor, *pieces: bytes) -> None:
    before = _memory_kb(system.edge)
    received = await visitor.raw(*pieces)
    assert status_of(received) in (0, 400, 404, 414, 431, 4400), received[:200]
    assert _memory_kb(system.edge) - before < 64 * 1024
    assert (await visitor.query("listTests")).status_code == 200, "it serves the next one"


@ATTACKS.attack("size: 5,000 headers", "431, and memory stays")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        lines = [f"X-{number}: {'v' * 20}" for number in range(5000)]
        await _too_large(system, ann, ann.head("/rpc/listTests", "Connection: close", *lines))
        await _too_large(system, ann, ann.upgrade("/ws", *lines))


@ATTACKS.attack("size: a header of 1 MB, and of 1 MB in pieces", "431, and memory stays")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        value = "v" * 1_000_000
        await _too_large(system, ann, ann.head("/rpc/listTests", f"X-A: {value}", "Connection: close"))
        await _too_large(system, ann, ann.upgrade("/ws", f"X-A: {value}"))
        head = ann.head("/rpc/listTests", f"X-A: {value}", "Connection: close")
        await _too_large(system, ann, *(head[start : start + 9000] for start in range(0, len(head), 9000)))


@ATTACKS.attack("size: an address of 4 MB with 100,000 test ids", "431 or 414 before any is looked up")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        query = "&".join(f"testId={system.alpha.test_id}" for _ in range(100_000))
        await _too_large(system, ann, ann.upgrade(f"/ws?{query}"))
        await _too_large(system, ann, ann.head(f"/rpc/listTests?{query}", "Connection: close"))


@ATTACKS.attack("size: 65 test ids in an address of a socket", "refused as malformed; no subscription is made")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        query = "&".join(f"testId={identity.new_test_id()}" for _ in range(65))
        refused = await ann.refusal(f"?{query}")
        assert refused.code in (400, 414, 431, 4400), refused


@ATTACKS.attack("size: a body of 10 MB, with its length and in chunks", "413 before it was read")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        body = b'{"query":"' + b"x" * 10_000_000 + b'"}'
        for lines, sent in (
            (f"Content-Length: {len(body)}", body),
            ("Transfer-Encoding: chunked", b"".join(b"2710\r\n" + b"x" * 10_000 + b"\r\n" for _ in range(500))),
        ):
            before = _memory_kb(system.edge)
            received = await ann.raw(_post(ann, lines, "Connection: close", f"Origin: {ann.origin}") + sent)
            assert status_of(received) in (0, 413), received[:200]
            assert _memory_kb(system.edge) - before < 64 * 1024


@ATTACKS.attack("size: a gzipped body that unpacks to 1 GB", "400: bodies are not unpacked")
async def _(system: System) -> None:
    bomb = gzip.compress(b" " * 10_000_000 + b"{}")
    async with system.visitor(system.ann()) as ann:
        answer = await ann.rpc("listTests", headers={"content-encoding": "gzip"}, content=bomb)
        assert answer.status_code in (400, 413, 415)


@ATTACKS.attack("size: JSON nested 8,000 deep, numbers of 5,000 digits, odd cursors", "400, no traceback")
async def _(system: System) -> None:
    bodies = (
        b"[" * 8000 + b"]" * 8000,
        b'{"limit":' + b"9" * 5000 + b"}",
        b'{"limit":1e999}',
        b'{"limit":NaN}',
        b'{"limit":-0.0}',
        b'{"cursor":"\xc2\xb2"}',
        b'{"cursor":"' + b"9" * 5000 + b'"}',
        b'{"cursor":"1.-1"}',
        b'{"cursor":"\\ud800"}',
        b'{"query":"\xff"}',
        b'{"limit":1}{"limit":2}',
        b'{"__proto__":{"limit":1}}',
        b"null",
    )
    async with system.visitor(system.ann()) as ann:
        for body in bodies:
            answer = await ann.rpc("listTests", content=body)
            assert answer.status_code == 400, (body[:60], answer.text[:200])
        for cursor in ("²", "9" * 5000, "1_0", "٣", "-1", " 1", "0x1", "%00", "1.1.1.1.1"):
            assert (await ann.query("listTests", cursor=cursor)).status_code == 400, cursor
            assert (await ann.query("getEvents", testId=system.alpha.test_id, after=cursor)).status_code == 400, cursor


@ATTACKS.attack("size: 200 bodies that are broken off", "a few short lines in the log")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for _number in range(200):
            async with ann.stream() as (_reader, writer):
                writer.write(_post(ann, "Content-Length: 1000", f"Origin: {ann.origin}") + b"{")
                await writer.drain()
        assert (await ann.query("listTests")).status_code == 200
    assert len(system.log()) < 20_000


test_attack = as_test(ATTACKS)
