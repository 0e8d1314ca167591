"""The strict reader of request heads, and where bodies end."""

from __future__ import annotations

import contextlib

import pytest
from httptools import HttpParserError, HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from ws_edge.transport.handshake import Refusal
from ws_edge.transport.request_head import MAX_BODY_BYTES, MAX_FIELDS, MAX_LINE_BYTES, Body, body_of, read, split

HOST = b"Host: localhost\r\n"


def head(target: bytes = b"/x", fields: bytes = HOST, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"%b %b %b\r\n%b\r\n" % (method, target, version, fields)


def refusal(data: bytes) -> tuple[int, str]:
    with pytest.raises(Refusal) as refused:
        found = split(data)
        assert found is not None, "it waits for more"
        body_of(read(data[found[0] : found[1]]))
    return refused.value.status.value, refused.value.code


MALFORMED = {
    "no Host": head(fields=b""),
    "two Hosts": head(fields=HOST * 2),
    "two Hosts in another case": head(fields=HOST + b"hOST: localhost\r\n"),
    "two origins": head(fields=HOST + b"Origin: http://a\r\nOrigin: http://b\r\n"),
    "two proofs": head(fields=HOST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
    "both lengths": head(fields=HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
    "two lengths": head(fields=HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n"),
    "a list of lengths": head(fields=HOST + b"Content-Length: 3, 3\r\n"),
    "a signed length": head(fields=HOST + b"Content-Length: +3\r\n"),
    "a negative length": head(fields=HOST + b"Content-Length: -3\r\n"),
    "a length in hex": head(fields=HOST + b"Content-Length: 0x3\r\n"),
    "a superscript length": head(fields=HOST + b"Content-Length: \xb2\r\n"),
    "an empty length": head(fields=HOST + b"Content-Length:\r\n"),
    "a length of 5,000 digits": head(fields=HOST + b"Content-Length: " + b"0" * 5000 + b"\r\n"),
    "an unknown coding": head(fields=HOST + b"Transfer-Encoding: xchunked\r\n"),
    "gzip, chunked": head(fields=HOST + b"Transfer-Encoding: gzip, chunked\r\n"),
    "chunked, identity": head(fields=HOST + b"Transfer-Encoding: chunked, identity\r\n"),
    "chunked twice": head(fields=HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    "a tab in the coding": head(fields=HOST + b"Transfer-Encoding: \x0bchunked\r\n"),
    "an empty coding": head(fields=HOST + b"Transfer-Encoding:\r\n"),
    "chunks in HTTP/1.0": head(fields=HOST + b"Transfer-Encoding: chunked\r\n", version=b"HTTP/1.0"),
    "a folded line": head(fields=HOST + b"X: a\r\n b\r\n"),
    "a folded first line": head(fields=b" X: a\r\n" + HOST),
    "a space before the colon": head(fields=HOST + b"X : a\r\n"),
    "no colon": head(fields=HOST + b"X\r\n"),
    "no name": head(fields=HOST + b": a\r\n"),
    "NUL": head(fields=HOST + b"X: a\0b\r\n"),
    "a bare CR": head(fields=HOST + b"X: a\rb\r\n"),
    "a bare LF": head(fields=HOST + b"X: a\nContent-Length: 3\r\n"),
    "an escape sequence": head(fields=HOST + b"X: \x1b[31m\r\n"),
    "bare LFs only": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "a bare LF before the rest": b"GET / HTTP/1.1\r\nHost: localhost\nX: ",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": head(version=b"HTTP/1.2"),
    "HTTP/2.0": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case": head(version=b"http/1.1"),
    "two spaces": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the address": head(b"/a b"),
    "raw UTF-8 in the address": head("/ü".encode()),
    "a fragment": head(b"/#a"),
    "an asterisk": head(b"*", method=b"OPTIONS"),
    "an authority": head(b"localhost:80", method=b"CONNECT"),
    "a tunnel in origin form": head(b"/", method=b"CONNECT"),
    "another scheme": head(b"ftp://localhost/"),
    "no path": head(b"localhost"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n\n\n",
    "the answer to a request": b"HTTP/1.1 200 OK\r\n\r\n",
    "two empty lines first": b"\r\n\r\n" + head(),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    assert refusal(data) == (400, "malformed_request")


def test_sizes_have_limits() -> None:
    assert refusal(head(b"/" + b"a" * MAX_LINE_BYTES)) == (414, "address_too_long")
    assert refusal(b"GET /" + b"a" * MAX_LINE_BYTES) == (414, "address_too_long"), "also before its end has come"
    assert refusal(b"a" * (MAX_LINE_BYTES + 1)) == (414, "address_too_long")
    assert refusal(head(fields=HOST + b"X: " + b"a" * 32768 + b"\r\n")) == (431, "head_too_large")
    assert refusal(head(fields=HOST + b"X: " + b"a" * 32768)[:-2]) == (431, "head_too_large")
    assert refusal(head(fields=HOST + b"a:\r\n" * MAX_FIELDS)) == (431, "head_too_large")
    assert refusal(head(fields=HOST + b"a:\r\n" * 5000)) == (431, "head_too_large")
    assert refusal(head(fields=HOST + b"Content-Length: %d\r\n" % (MAX_BODY_BYTES + 1))) == (413, "too_large")
    assert refusal(head(fields=HOST + b"Content-Length: 3\r\nContent-Encoding: gzip\r\n")) == (
        415,
        "unsupported_encoding",
    )
    assert read(head(fields=HOST + b"a:\r\n" * (MAX_FIELDS - 1))).fields[b"a"] == b", " * (MAX_FIELDS - 2)


def test_an_incomplete_head_waits() -> None:
    whole = head()
    for size in range(len(whole)):
        assert split(whole[:size]) is None
    assert split(b"\r\n" + whole + b"GET") == (2, len(whole) + 2)


def test_an_absolute_target_counts_and_becomes_a_path() -> None:
    found = read(head(b"HTTP://evil.example:80/a?b", HOST + b"Connection: close, x\r\nUpgrade: h2c\r\n"))
    assert (found.target, found.authorities) == (b"/a?b", ("localhost", "evil.example:80"))
    assert found.canonical(found.target) == (b"GET /a?b HTTP/1.1\r\nhost: evil.example:80\r\nconnection: close\r\n\r\n")
    assert read(head(b"http://localhost?b")).target == b"/?b"
    assert read(head(b"http://localhost")).target == b"/"


@pytest.mark.parametrize(
    ("fields", "upgrades"),
    [
        (b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n", True),
        (b"Upgrade: WebSocket\r\nConnection: upgrade\r\n", True),
        (b"Upgrade: websocket\r\n", False),
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\n", False),
        (b"Connection: Upgrade\r\n", False),
    ],
)
def test_what_is_an_upgrade(fields: bytes, upgrades: bool) -> None:
    found = read(head(fields=HOST + fields))
    assert found.is_upgrade is upgrades
    assert b"upgrade" not in found.canonical(b"/").lower()
    assert not read(head(fields=HOST + fields, version=b"HTTP/1.0")).is_upgrade


CHUNKS = b"3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_body_ends_where_it_says(size: int) -> None:
    for data, body in ((CHUNKS, Body(None)), (b"0123456789", Body(10))):
        stream, taken = data + b"GET / HTTP/1.1\r\n", 0
        for start in range(0, len(stream), size):
            if not body.finished:
                taken += body.take(stream[start : start + size])
        assert (taken, body.finished) == (len(data), True)


@pytest.mark.parametrize(
    "chunk",
    [
        b"3;a=b\r\nabc\r\n",
        b"3;" + b"a" * 100_000,
        b"3 \r\nabc\r\n",
        b" 3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"+3\r\nabc\r\n",
        b"-1\r\n",
        b"\r\n",
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n",
        b"123456789\r\n",
        b"F" * 16 + b"\r\n",
        b"\xb2\r\n",
        b"0\r\nX: trailer\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_malformed_chunk_is_refused(chunk: bytes, size: int) -> None:
    body = Body(None)
    with pytest.raises(Refusal) as refused:
        for start in range(0, len(chunk), size):
            body.take(chunk[start : start + size])
    assert refused.value.status.value == 400


def test_chunks_have_a_limit_together() -> None:
    body = Body(None)
    with pytest.raises(Refusal) as refused:
        for _ in range(100):
            body.take(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
    assert refused.value.status.value == 413


class Reference:
    """What httptools makes of it."""

    def __init__(self, data: bytes) -> None:
        self.url, self.fields = b"", list[tuple[bytes, bytes]]()
        self.whole = False
        with contextlib.suppress(HttpParserError):
            HttpRequestParser(self).feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_message_complete(self) -> None:
        self.whole = True


PIECES = st.sampled_from(
    [
        b"GET",
        b"/",
        b" ",
        b"HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\r",
        b":",
        b"Host",
        b"a",
        b"Content-Length",
        b"0",
        b"\t",
        b"\x80",
    ]
)


@given(st.one_of(st.lists(PIECES, max_size=20).map(b"".join), st.binary(max_size=60)))
def test_httptools_reads_what_is_let_through_in_the_same_way(made: bytes) -> None:
    data = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + made + b"\r\n\r\n"
    with contextlib.suppress(Refusal):
        found = split(data)
        assert found is not None
        parsed = read(data[found[0] : found[1]])
        if body_of(parsed) is None and not parsed.is_upgrade:
            reference = Reference(parsed.canonical(parsed.target))
            assert reference.whole and reference.url == parsed.target
            assert dict(reference.fields).keys() <= parsed.fields.keys()
