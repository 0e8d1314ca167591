"""The egress proxy (agent_worker/games/chromium/egress_proxy.py) against a real server, without a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent_worker.games.chromium import egress_proxy
from agent_worker.games.chromium.egress_proxy import EgressProxy, Judge, Trouble, judge_any, judge_public
from agent_worker.games.chromium.http_peer import MAX_HEAD_BYTES
from tests.egress import Names, Upstream, ask, get, request
from tests.harness import until

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    yield upstream
    server.close()


async def test_a_request_is_carried_with_its_own_headers_only(upstream: Upstream) -> None:
    troubles: list[Trouble] = []
    async with EgressProxy(judge_any, troubles.append, Names(["127.0.0.1"])) as proxy:
        answer = await ask(proxy, get(f"http://a.example:{upstream.port}/x?y#z"), 58)
        assert proxy.carried == 1
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"Connection: close" in answer
    (head,) = upstream.heads
    assert head.startswith("GET /x?y#z HTTP/1.1\r\n") and "X-Mine: 1" in head
    assert "Connection: close" in head and "keep-alive" not in head
    assert not troubles


async def test_a_second_request_on_one_connection_is_not_carried_to_the_first_ones_host(upstream: Upstream) -> None:
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"], ["127.0.0.1"])) as proxy:
        url = f"http://a.example:{upstream.port}/first"
        await ask(proxy, get(url) + get("http://b.example/second"))
    assert len(upstream.heads) == 1


async def test_a_tunnel(upstream: Upstream) -> None:
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"])) as proxy:
        request = f"CONNECT a.example:{upstream.port} HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        answer = await ask(proxy, request, 100)
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "verb", ["GET http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_a_name_is_judged_by_what_it_leads_to_each_time(upstream: Upstream, verb: str) -> None:
    """DNS rebinding: a name that was public a moment ago and is not now."""
    judged: list[list[str]] = []

    def judge(host: str, port: int, addresses: list[str]) -> None:
        judged.append(addresses)
        if len(judged) > 1:
            judge_public(host, port, addresses)

    troubles: list[Trouble] = []
    names = Names(["127.0.0.1"], ["127.0.0.1"])
    async with EgressProxy(judge, troubles.append, names) as proxy:
        request = verb.format(f"rebind.example:{upstream.port}")
        await ask(proxy, request + "GET / HTTP/1.1\r\n\r\n" * verb.startswith("CONNECT"), 12)
        second = await ask(proxy, request)
    assert second.startswith(b"HTTP/1.1 403") and b"x-testcast-egress: url_refused" in second
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
    async with EgressProxy(judge, troubles.append, names) as proxy:
        answer = await ask(proxy, get("http://a.example:1/"))
    assert answer.split()[1] == status
    assert [(each.code, each.host, each.port) for each in troubles] == [(code, "a.example", 1)]


@pytest.mark.parametrize("line", ["GET /not-for-a-proxy HTTP/1.1", "GET ftp://a.example/ HTTP/1.1", "nonsense", ""])
async def test_what_is_no_proxy_request_ends_the_connection(line: str) -> None:
    names = Names()
    async with EgressProxy(judge_any, lambda _: None, names) as proxy:
        answer = await ask(proxy, f"{line}\r\nHost: a.example\r\n\r\n")
        assert proxy.statistics()[1:] == (0, 0, 1, 0)
    assert answer == BAD_REQUEST
    assert not names.asked


async def test_leaving_closes_what_is_open(upstream: Upstream) -> None:
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"])) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
        writer.write(f"CONNECT a.example:{upstream.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    assert "closed" in repr(proxy)


# -- what is read as HTTP, and what is not ----------------------------------------------------------------------------

BODY = "GET http://b.example/smuggled HTTP/1.1\r\nHost: b.example\r\n\r\n"


@pytest.mark.parametrize(
    "malformed",
    [
        request("Content-Length: 5", "Content-Length: 6", body="12345"),
        request("Content-Length: 5, 6", body="12345"),
        request("Content-Length: +5", body="12345"),
        request("Content-Length: -5", body="12345"),
        request("Content-Length: 0x5", body="12345"),
        request(f"Content-Length: {'9' * 21}", body="12345"),
        request("Content-Length: 4", "Transfer-Encoding: chunked", body="0\r\n\r\n" + BODY),
        request("Transfer-Encoding: chunked", "Content-Length: 60", body="0\r\n\r\n" + BODY),
        request("Content-Length : 5", body="12345"),
        request("Transfer-Encoding : chunked", body="0\r\n\r\n"),
        request("X-A: b\x00c"),
        request("X-A: b\rX-B: c"),
        request("no colon here"),
        request("Host: b.example", method="GET"),
        request(method="G T"),
        request(method="G(T"),
        request(method=""),
        request(method="GET", target="http://a.example/a b"),
        request(method="GET", target="http://a.example/\xe9"),
        request(method="GET", target="http://"),
        request(method="GET", target="http://a.example:99999/"),
        request(method="GET", target="http://a.example:0/"),
        request(method="GET", target="http://[::1/"),
        request(method="GET", target="https://a.example/"),
        request(method="OPTIONS", target="*"),
        request(method="CONNECT", target="a.example"),
        request(method="CONNECT", target="a.example:80/path"),
        request(method="CONNECT", target="http://a.example:80"),
        request(method="CONNECT", target="user@a.example:80"),
        request("Content-Length: 5", method="CONNECT", target="a.example:80", body="12345"),
        "\r\n" + request(),
        " " + request(method="GET"),
        "GET http://a.example/ HTTP/1.1\r\n X: obsolete folding of the first field\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\n\r\n",
        "GET http://a.example/\r\nHost: a.example\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_a_malformed_request_is_answered_400_and_goes_nowhere(malformed: str) -> None:
    names, troubles = Names(), list[Trouble]()
    async with EgressProxy(judge_any, troubles.append, names) as proxy:
        answer = await ask(proxy, malformed)
        assert proxy.statistics()[1:] == (0, 0, 1, 0)
    assert answer == BAD_REQUEST
    assert not names.asked and not troubles


@pytest.mark.parametrize(
    ("unsupported", "status"),
    [
        (request("Transfer-Encoding: gzip, chunked", body="0\r\n\r\n"), 501),
        (request("Transfer-Encoding: identity", body=BODY), 501),
        (request(method="GET").replace("HTTP/1.1", "HTTP/2.0"), 505),
        # One byte more than is kept, and the head is not over: all of it has to be read to know.
        (request(f"X-Large: {'x' * MAX_HEAD_BYTES}", method="GET")[: MAX_HEAD_BYTES + 1], 431),
    ],
)
async def test_what_is_not_supported_is_answered_so_and_goes_nowhere(unsupported: str, status: int) -> None:
    names = Names()
    async with EgressProxy(judge_any, lambda _: None, names) as proxy:
        answer = await ask(proxy, unsupported)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert not names.asked


async def test_the_first_of_two_requests_is_answered_and_the_second_dropped(upstream: Upstream) -> None:
    names = Names(["127.0.0.1"])
    async with EgressProxy(judge_any, lambda _: None, names) as proxy:
        url = f"http://a.example:{upstream.port}/first"
        answer = await ask(proxy, get(url) + get(url.replace("first", "second")))
    assert answer.count(b"HTTP/1.1 200 OK") == 1 and answer.endswith(b"hi")
    assert [head.split()[1] for head in upstream.heads] == ["/first"]
    assert names.asked == ["a.example"]


async def test_a_request_hidden_in_a_body_stays_a_body(upstream: Upstream) -> None:
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"])) as proxy:
        body = BODY + "end"
        target = f"http://a.example:{upstream.port}/"
        answer = await ask(proxy, request(f"Content-Length: {len(body)}", body=body + BODY, target=target))
    assert answer.endswith(b"hi")
    assert bytes(upstream.behind) == body.encode()
    assert len(upstream.heads) == 1


async def test_a_chunked_body_is_framed_anew(upstream: Upstream) -> None:
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"])) as proxy:
        body = "0004;extension=x\r\nabcd\r\n3\r\nend\r\n0\r\nX-Trailer: dropped\r\n\r\n"
        target = f"http://a.example:{upstream.port}/"
        answer = await ask(proxy, request("Transfer-Encoding: chunked", body=body + BODY, target=target))
    assert answer.endswith(b"hi")
    assert bytes(upstream.behind) == b"4\r\nabcd\r\n3\r\nend\r\n0\r\n\r\n"


async def test_what_the_browser_says_to_the_proxy_is_not_carried(upstream: Upstream) -> None:
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"])) as proxy:
        fields = [
            "Connection: X-Hop, content-length",
            "X-Hop: 1",
            "Proxy-Authorization: Basic x",
            "TE: trailers",
            "Upgrade: websocket",
            "X-Folded: one",
            "  two",
            "Content-Length: 3",
            "Content-Length: 3",
        ]
        target = f"http://user:password@a.example:{upstream.port}?q"
        await ask(proxy, request(*fields, body="end", target=target))
    [head] = upstream.heads
    assert head.split("\r\n") == [
        "POST /?q HTTP/1.1",
        f"Host: a.example:{upstream.port}",  # of the target, whatever the request's own said
        "X-Folded: one two",
        "Content-Length: 3",
        "Connection: close",
        "",
        "",
    ]


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (
            OK + b"Content-Length: 2\r\n\r\nhi" + OK + b"\r\nsmuggled",
            b"Content-Length: 2\r\nConnection: close\r\n\r\nhi",
        ),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n02\r\nhi\r\n0\r\n\r\n", b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nhi", b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        (
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\n",
            b"Content-Length: 20\r\nConnection: close\r\n\r\n",
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
            b"Connection: close\r\n\r\n",
        ),
        (
            OK + b"x-testcast-egress: forged\r\nContent-Length: 0\r\n\r\n",
            b"OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
    ],
)
async def test_answers_are_framed_anew(upstream: Upstream, sent: bytes, received: bytes) -> None:
    upstream.answer, upstream.closes = sent, True
    troubles: list[Trouble] = []
    async with EgressProxy(judge_any, troubles.append, Names(["127.0.0.1"])) as proxy:
        answer = await ask(proxy, get(f"http://a.example:{upstream.port}/"))
    assert answer.endswith(received), answer
    assert not troubles


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", "connection_lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "bad_answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "bad_answer"),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", "bad_answer"),
        (OK + b"X-Large: " + b"x" * 140_000, "bad_answer"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "bad_answer"),  # nobody asked for it
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_answer_that_cannot_be_read_is_a_trouble(
    upstream: Upstream, sent: bytes, code: str, method: str
) -> None:
    upstream.answer, upstream.closes = sent, True
    troubles: list[Trouble] = []
    async with EgressProxy(judge_any, troubles.append, Names(["127.0.0.1"])) as proxy:
        target = f"http://a.example:{upstream.port}/"
        answer = await ask(proxy, request(method=method, target=target))
    assert answer.startswith(b"HTTP/1.1 502 ") and f"x-testcast-egress: {code}".encode() in answer
    assert answer.endswith(b"\r\n\r\n") == (method == "HEAD")
    assert [each.code for each in troubles] == [code]


async def test_an_answer_that_is_cut_off_does_not_look_complete(upstream: Upstream) -> None:
    upstream.answer, upstream.closes = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", True
    async with EgressProxy(judge_any, lambda _: None, Names(["127.0.0.1"])) as proxy:
        answer = await ask(proxy, get(f"http://a.example:{upstream.port}/"))
    assert answer.endswith(b"5\r\nhello\r\n")  # without the last chunk


async def test_more_connections_than_a_page_may_open_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress_proxy, "MAX_CONNECTIONS", 1)
    async with EgressProxy(judge_any, lambda _: None, Names()) as proxy:
        port = int(proxy.url.rpartition(":")[2])
        _, first = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: proxy.statistics().open == 1)
        assert await ask(proxy, "") == b""
        first.close()
