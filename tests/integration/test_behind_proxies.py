"""An edge behind proxies: another Host, a prefix that is removed or passed on, headers in any spelling."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from broker.jetstream.api import Streams
from testcast import Event, watch
from tests.conftest import Stack
from tests.harness import EdgeProcess, Reader, begin, store_picture
from tests.nginx import Nginx
from tests.proxy import Proxy, Rewrite

PUBLIC = "https://tests.example.org/testcast"


def an_edge(stack: Stack, directory: Path, **settings: str) -> Iterator[EdgeProcess]:
    """One more edge on the shared broker, for all tests of this file."""
    edge = EdgeProcess(stack.nats_url, directory, **settings)
    try:
        asyncio.run(edge.start())
        yield edge
    finally:
        asyncio.run(edge.stop())


@pytest.fixture(scope="module")
def public_edge(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    """An edge that knows its public URL."""
    yield from an_edge(
        stack, tmp_path_factory.mktemp("public"), TESTCAST_EDGE_PUBLIC_URL=f"{PUBLIC}/", TESTCAST_EDGE_HOSTS="edge"
    )


@pytest.fixture(scope="module")
def trusting_edge(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    """An edge that trusts proxies on this machine and allows some origins. On IPv6 it sees them at mapped addresses."""
    yield from an_edge(
        stack,
        tmp_path_factory.mktemp("trusting"),
        TESTCAST_EDGE_HOST="::" if socket.has_dualstack_ipv6() else "127.0.0.1",
        TESTCAST_INSECURE="1",
        TESTCAST_EDGE_TRUSTED_PROXIES="127.0.0.0/8",
        TESTCAST_EDGE_MAX_SOCKETS_PER_ADDRESS="1",
        TESTCAST_EDGE_HOSTS="t.example",
        TESTCAST_EDGE_ALLOWED_ORIGINS="https://*.c.example:443, tauri://localhost",
    )


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client


async def check_dashboard(root: str, test_id: str) -> None:
    """Everything that the pages load is there and below `root`, which ends with a slash."""
    async with client_of(root) as client:
        loaded: set[str] = set()
        for page in (root, f"{root}tests/{test_id}"):
            answer = await client.get(page)
            assert answer.status_code == 200, page
            named = re.findall(r'\b(?:href|src)="([^"]+)"', answer.text)
            assert len(named) > 30
            loaded |= {urljoin(page, each) for each in named}
        assert all(address.startswith(root) for address in loaded), loaded
        assert root in loaded, "the way back to the list"
        answers = await asyncio.gather(*(client.get(address) for address in sorted(loaded)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await client.get(f"{root}testcast.js")).status_code == 200
        assert (await client.get(f"{root}rpc/getTest", params={"testId": test_id})).status_code == 200


async def check_streams(root: str, test_id: str) -> None:
    """The socket below `root` delivers, and so does the Python API."""
    async with connect(f"{root.replace('http', 'ws')}ws?testId={test_id}") as connection:
        assert len(await Reader(connection).events(2)) == 2
    async with asyncio.timeout(20):
        assert isinstance(await anext(aiter(watch(root, test_id))), Event)


async def test_below_a_prefix_that_the_proxy_removes(stack: Stack, stack_streams: Streams) -> None:
    """Without any setting and header: the edge does not know of the prefix."""
    test_id = await begin(stack_streams)
    async with Proxy(stack.edge.port, rewrite=Rewrite("/testcast")) as proxy:
        await check_dashboard(f"{proxy.url}/testcast/", test_id)
        await check_streams(f"{proxy.url}/testcast/", test_id)
        async with client_of(proxy.url) as client:
            slash = await client.get(f"/testcast/tests/{test_id}/?a=1")
            assert (slash.status_code, slash.headers["location"]) == (307, f"../{test_id}?a=1")


@pytest.mark.parametrize("strip", [True, False], ids=["removed", "passed on"])
async def test_below_the_path_of_the_public_url(public_edge: EdgeProcess, stack_streams: Streams, strip: bool) -> None:
    test_id = await begin(stack_streams)
    async with Proxy(public_edge.port, rewrite=Rewrite("/testcast", strip=strip, host="edge")) as proxy:
        root = f"{proxy.url}/testcast/"
        await check_dashboard(root, test_id)
        await check_streams(root, test_id)
        async with client_of(root) as client:
            answer = (await client.get("rpc/connectToTest", params={"testId": test_id})).json()
            assert answer["url"] == f"wss://tests.example.org/testcast/ws?testId={test_id}"
            ours = {"origin": "https://tests.example.org"}
            assert (await client.post("rpc/cancelTest", json={"testId": test_id}, headers=ours)).status_code == 200


async def test_the_prefix_itself_leads_to_the_list(public_edge: EdgeProcess) -> None:
    async with client_of(public_edge.url) as client:
        without = await client.get("/testcast?a=1")
        assert (without.status_code, without.headers["location"]) == (307, "/testcast/?a=1")
        for path in ("/readyz", "/testcast/readyz", "/", "/testcast/"):
            assert (await client.get(path)).status_code == 200, path
        assert (await client.get("/testcastle/")).status_code == 404


async def test_an_upgrade_in_pieces_below_the_prefix(public_edge: EdgeProcess) -> None:
    head = (
        b"GET /testcast/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for pieces in ([head], [head[:12], head[12:]]):
        reader, writer = await asyncio.open_connection("127.0.0.1", public_edge.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)  # so that they do not arrive together
        assert b" 101 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Forwarded-Proto": "HTTPS"}, "wss://127.0.0.1"),
        ({"X-Forwarded-Proto": "https, http"}, "wss://127.0.0.1"),
        ({"Forwarded": 'for=_x;proto="https";host="t.example:8443"'}, "wss://t.example:8443/ws?"),
        ({"X-Forwarded-Host": "t.example", "X-Forwarded-Prefix": "/below"}, "ws://t.example/below/ws?"),
    ],
)
async def test_the_address_that_trusted_proxies_tell(
    trusting_edge: EdgeProcess, stack_streams: Streams, headers: dict[str, str], expected: str
) -> None:
    asked = {"testId": await begin(stack_streams)}
    async with client_of(trusting_edge.url) as client:
        for answer in (
            await client.get("/rpc/connectToTest", headers=headers, params=asked),
            await client.post("/rpc/connectToTest", headers=headers, json=asked),
        ):
            assert answer.json()["url"].startswith(expected)
        if "X-Forwarded-Prefix" in headers:
            assert 'src="/below/view/main.js"' in (await client.get("/", headers=headers)).text
            ours = {**headers, "Origin": "https://t.example"}
            assert (await client.post("/rpc/listTests", json={}, headers=ours)).status_code == 200
            async with connect(trusting_edge.ws_url, additional_headers=ours):
                pass


async def test_a_page_of_another_name_is_refused_with_both_names_and_the_setting(
    stack: Stack, stack_streams: Streams
) -> None:
    test_id = await begin(stack_streams)
    origin = "http://dashboard.example:8080"
    async with Proxy(stack.edge.port, rewrite=Rewrite(host="edge-of-the-proxy")) as proxy:
        async with client_of(proxy.url) as client:
            refused = await client.post("/rpc/cancelTest", json={"testId": test_id}, headers={"origin": origin})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_origin")
            assert (await client.get("/rpc/connectToTest", params={"testId": test_id})).status_code == 200
        with pytest.raises(InvalidStatus) as upgrade:
            async with connect(f"{proxy.url.replace('http', 'ws')}/ws", origin=origin):  # type: ignore[arg-type]
                pass
    answer = upgrade.value.response
    assert answer.status_code == 403
    for text in (refused.text, bytes(answer.body or b"").decode()):
        for part in (origin, "edge-of-the-proxy", "TESTCAST_EDGE_PUBLIC_URL", "TESTCAST_EDGE_ALLOWED_ORIGINS"):
            assert part in text
    assert f"refused a page: pages of '{origin}'" in stack.edge.log.read_text()


async def test_refused_pages_do_not_fill_the_log(public_edge: EdgeProcess) -> None:
    before = public_edge.log.read_text().count("refused a page")
    async with client_of(public_edge.url) as client:
        for n in range(50):
            await client.post("/rpc/listTests", json={}, headers={"origin": f"http://{n}.example"})
    assert (
        public_edge.log.read_text().count("refused a page") - before < 25
    )  # one in 10 s, however slow this machine is


async def test_allowed_origins_may_connect_and_read_answers(trusting_edge: EdgeProcess) -> None:
    async with client_of(trusting_edge.url) as client:
        for origin, allowed in {
            "https://a.c.example": True,
            "tauri://localhost": True,
            "https://c.example": False,
            "https://evilc.example": False,
            "null": False,
        }.items():
            answer = await client.post("/rpc/listTests", json={}, headers={"origin": origin})
            assert answer.status_code == (200 if allowed else 403), origin
            assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
            preflight = {"origin": origin, "access-control-request-method": "POST"}
            asked = await client.options("/rpc/listTests", headers=preflight)
            assert asked.headers.get("access-control-allow-origin") == (origin if allowed else None)


async def test_limits_are_for_each_viewer_behind_a_proxy(trusting_edge: EdgeProcess) -> None:
    def viewer(address: str) -> connect:
        return connect(trusting_edge.ws_url, additional_headers={"X-Forwarded-For": address})

    async with viewer("1.1.1.1:5000"), viewer("2.2.2.2"), viewer("[2001:db8:1:2::1]:77"), viewer("2001:db8:1:3::1"):
        for same in ("1.1.1.1:6000", "::ffff:2.2.2.2", "2001:db8:1:2:ffff::9", "9.9.9.9, 1.1.1.1, 127.0.0.9"):
            with pytest.raises(InvalidStatus) as refused:
                async with viewer(same):
                    pass
            assert refused.value.response.status_code == 503, same


# ── the socket ──


async def raw(port: int, request: str) -> tuple[int, dict[str, str], str]:
    """The status, the headers and the body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("\n", "\r\n").encode())
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(0 if request.startswith("HEAD") else int(fields["content-length"]))
    writer.close()
    return int(head[0].split(" ")[1]), fields, body.decode()


_WS = "Upgrade: websocket\nConnection: Upgrade\n"
_KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"


@pytest.mark.parametrize(
    ("request_", "status", "named"),
    [
        ("GET /ws HTTP/1.1\n", 426, {"upgrade": "websocket", "sec-websocket-version": "13"}),
        ("GET /ws?testId=x HTTP/1.0\n", 426, {"upgrade": "websocket"}),
        ("HEAD /ws HTTP/1.1\n", 426, {"upgrade": "websocket"}),
        ("GET /ws HTTP/1.1\nUpgrade: websocket\n", 426, {"upgrade": "websocket"}),  # Connection was removed
        ("GET /ws HTTP/1.1\nUpgrade: h2c\nConnection: Upgrade\n", 426, {"upgrade": "websocket"}),
        (
            f"GET /ws HTTP/1.1\n{_WS}{_KEY}Sec-WebSocket-Version: 8\n",
            426,
            {"upgrade": "websocket", "sec-websocket-version": "13"},
        ),
        (f"GET /ws HTTP/1.1\n{_WS}{_KEY}", 426, {"sec-websocket-version": "13"}),
        (f"GET /ws HTTP/1.1\n{_WS}Sec-WebSocket-Version: 13\n", 400, {}),
        (f"POST /ws HTTP/1.1\n{_WS}{_KEY}Sec-WebSocket-Version: 13\n", 405, {"allow": "GET"}),
        ("POST /ws HTTP/1.1\nContent-Length: 0\n", 405, {}),
        (f"GET /other HTTP/1.1\n{_WS}{_KEY}Sec-WebSocket-Version: 13\n", 404, {}),
    ],
)
async def test_what_is_no_upgrade_is_told_what_is_missing(
    stack: Stack, request_: str, status: int, named: dict[str, str]
) -> None:
    found, fields, body = await raw(stack.edge.port, f"{request_}Host: localhost\n\n")
    assert (found, {name: fields[name] for name in named}) == (status, named)
    if status == 426 and "Version" not in request_ and not request_.startswith("HEAD") and _KEY not in request_:
        assert fields["content-type"].startswith("text/plain") and "WebSocket" in body


async def test_a_client_may_insist_on_a_subprotocol(stack: Stack) -> None:
    v1, other = Subprotocol("testcast.v1"), Subprotocol("graphql-ws")
    async with connect(stack.ws_url, subprotocols=[other, v1]) as chosen:
        assert chosen.subprotocol == v1
    async with connect(stack.ws_url, subprotocols=[other]) as none:
        assert none.subprotocol is None


# ── conditional requests ──


async def test_every_answer_with_a_tag_is_compared_in_the_same_way(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    await store_picture(stack_streams, test_id, b"\xff\xd8\xff picture")
    async with client_of(stack.edge_url) as client:
        for path in (
            "/view/main.js",
            f"/tests/{test_id}",
            f"/rpc/getTest?testId={test_id}",
            f"/rpc/getShot?testId={test_id}",
        ):
            etag = (await client.get(path)).headers["etag"]
            strong = etag.removeprefix("W/")
            for method in ("GET", "HEAD"):
                for sent in (etag, strong, f"W/{strong}", f'"x", W/{strong}', f'W/"x",{strong} ,', "*"):
                    same = await client.request(method, path, headers={"if-none-match": sent})
                    assert (same.status_code, same.content) == (304, b""), (method, path, sent)
                for sent in ('"x"', 'W/"x", "y"', strong.strip('"'), f"{strong} junk"):
                    other = await client.request(method, path, headers={"if-none-match": sent})
                    assert other.status_code == 200, (method, path, sent)
        for name, params in (("listTests", {}), ("getTest", {"testId": test_id})):
            answer = await client.post(f"/rpc/{name}", json=params, headers={"if-none-match": "*"})
            assert (answer.status_code, "etag" in answer.headers) == (200, True), "304 is for GET and HEAD only"


# ── nginx ──


async def test_nginx_with_plain_proxy_pass(stack: Stack, stack_streams: Streams, tmp_path: Path) -> None:
    """Host is changed and Upgrade is removed: no socket, and everything else."""
    test_id = await begin(stack_streams)
    async with Nginx(tmp_path, "location / { proxy_pass http://edge; }", stack.edge.port) as nginx:
        await check_dashboard(f"{nginx.url}/", test_id)
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{nginx.url.replace('http', 'ws')}/ws"):
                pass
        assert refused.value.response.status_code == 426
        async with client_of(nginx.url) as client:
            refusal = await client.post("/rpc/listTests", json={}, headers={"origin": nginx.url})
            assert refusal.status_code == 403
            assert nginx.url in refusal.text and "'edge'" in refusal.text


@pytest.mark.parametrize("strip", ["/", ""], ids=["removed", "passed on"])
async def test_nginx_below_a_prefix(
    public_edge: EdgeProcess, stack_streams: Streams, tmp_path: Path, strip: str
) -> None:
    upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
    test_id = await begin(stack_streams)
    server = f"location /testcast/ {{ proxy_pass http://edge{strip}; {upgrade} }}"
    async with Nginx(tmp_path, server, public_edge.port) as nginx:
        await check_dashboard(f"{nginx.url}/testcast/", test_id)
        await check_streams(f"{nginx.url}/testcast/", test_id)
        async with httpx.AsyncClient(follow_redirects=True) as client:
            for path in ("/testcast", f"/testcast/tests/{test_id}/"):
                assert (await client.get(f"{nginx.url}{path}")).status_code == 200, path
