"""Every kind of answer of an edge has the headers that hold it apart from other pages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import httpx
import pytest

from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, EdgeProcess
from ws_edge.origins import parse_public_url
from ws_edge.response_headers import DEFAULTS, NOT_A_PAGE, POLICY, RESOURCE_POLICY, completed, page_policy

UPGRADE: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)
RAW: Final[dict[str, tuple[int, str]]] = {
    "no HTTP": (400, "NONSENSE\r\n\r\n"),
    "a malformed header": (400, "GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: x\r\n\r\n"),
    "an upgrade of an old version": (426, UPGRADE.replace("{more}", "Sec-WebSocket-Version: 8\r\n")),
    "an upgrade without a key": (
        400,
        UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "x").replace("{more}", "Sec-WebSocket-Version: 13\r\n"),
    ),
    "an upgrade elsewhere": (
        404,
        UPGRADE.replace("{path}", "/elsewhere").replace("{more}", "Sec-WebSocket-Version: 13\r\n"),
    ),
    "an upgrade of a foreign page": (
        403,
        UPGRADE.replace("{more}", "Sec-WebSocket-Version: 13\r\nOrigin: https://evil.example\r\n"),
    ),
}
"""Name -> status, request."""
ASKED: Final[dict[str, tuple[int, str, str, Mapping[str, str]]]] = {
    "the page": (200, "GET", "/", {}),
    "the page, by HEAD": (200, "HEAD", "/", {}),
    "the page by its file": (200, "GET", "/index.html", {}),
    "a run's page": (200, "GET", f"/tests/{NO_SUCH_TEST}", {}),
    "the page of no run": (404, "GET", "/tests/nonsense", {}),
    "a redirect": (307, "GET", f"/tests/{NO_SUCH_TEST}/", {}),
    "a style": (200, "GET", "/style.css", {}),
    "the client": (200, "GET", "/testcast.js", {}),
    "a picture": (200, "GET", "/favicon.svg", {}),
    "no file": (404, "GET", "/nothing.js", {}),
    "a wrong method": (405, "DELETE", "/", {}),
    "no upgrade": (426, "GET", "/ws", {}),
    "health": (200, "GET", "/healthz", {}),
    "readiness": (200, "GET", "/readyz", {}),
    "an RPC answer": (200, "GET", "/rpc/getConfig", {}),
    "the list": (200, "GET", "/rpc/listTests", {}),
    "the list again": (200, "GET", "/rpc/listTests", {}),
    "no method": (404, "GET", "/rpc/nothing", {}),
    "no run": (404, "GET", f"/rpc/getTest?testId={NO_SUCH_TEST}", {}),
    "a malformed body": (400, "POST", "/rpc/submitTest", {}),
    "a foreign page": (403, "POST", "/rpc/submitTest", {"origin": "https://evil.example"}),
}
"""Name -> status, method, path, headers."""


def check(headers: Mapping[str, str], *, page: bool) -> None:
    """Each header once, and nothing that loosens it."""
    for name, value in DEFAULTS:
        expected = page_policy(None) if page and name.decode() == POLICY else value.decode()
        assert headers.get(name.decode()) == expected, name


@pytest.mark.parametrize("name", ASKED)
async def test_every_answer(stack: Stack, name: str) -> None:
    status, method, path, headers = ASKED[name]
    async with httpx.AsyncClient(base_url=stack.edge.url) as client:
        content = b"[" if method == "POST" else None
        answer = await client.request(method, path, headers=headers, content=content)
        assert answer.status_code == status
        page = status in (200, 404) and (path in ("/", "/index.html") or path.startswith("/tests/"))
        check(answer.headers, page=page)
        etag = answer.headers.get("etag")
        if etag is not None:
            again = await client.request(method, path, headers={"if-none-match": etag})
            if again.status_code == 304:
                check(again.headers, page=page)
            else:
                assert "/rpc/" in path, "a file does not change"


@pytest.mark.parametrize("name", RAW)
async def test_every_answer_below_the_application(stack: Stack, name: str) -> None:
    status, request = RAW[name]
    host = f"127.0.0.1:{stack.edge.port}"
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.edge.port)
    writer.write(request.replace("{path}", "/ws").replace("{host}", host).encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1")
    writer.close()
    first, *lines = head.strip().split("\r\n")
    assert first.split()[1] == str(status)
    pairs = [line.partition(": ")[::2] for line in lines]
    assert len({key.lower() for key, _ in pairs}) == len(pairs), "no header comes twice"
    check({key.lower(): value for key, value in pairs}, page=False)


async def test_what_other_pages_load(make_edge: object, stack: Stack) -> None:
    edge: EdgeProcess = await make_edge(TESTCAST_EDGE_ALLOWED_ORIGINS="https://page.example")  # type: ignore[operator]
    async with httpx.AsyncClient(base_url=edge.url, headers={"origin": "https://page.example"}) as client:
        for path, policy in {
            "/testcast.js": "cross-origin",
            "/testcast.d.ts": "cross-origin",
            "/client/store.js": "cross-origin",
            "/view/main.js": "same-origin",
            "/": "same-origin",
            "/rpc/getConfig": "same-origin",
        }.items():
            assert (await client.get(path)).headers[RESOURCE_POLICY] == policy, path
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        preflight = await client.options("/rpc/getTest", headers=asked)
        assert preflight.status_code == 200
        check(preflight.headers, page=False)
    async with httpx.AsyncClient(base_url=stack.edge.url) as client:
        assert (await client.get("/testcast.js")).headers[RESOURCE_POLICY] == "same-origin"


def test_the_page_s_policy_names_one_socket() -> None:
    policy = page_policy(parse_public_url("https://tests.example.org/testcast"))
    assert "connect-src 'self' wss://tests.example.org;" in policy
    assert "connect-src 'self';" in page_policy(None)
    assert "unsafe" not in policy


def test_an_answer_s_own_headers_stay() -> None:
    headers = completed([(b"X-Content-Type-Options", b"nosniff"), (POLICY.encode(), b"own")])
    assert len(headers) == len(DEFAULTS)
    assert (POLICY.encode(), NOT_A_PAGE.encode()) not in headers
