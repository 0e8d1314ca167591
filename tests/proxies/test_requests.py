"""The recipes in front of a server of the test: what reaches an edge, what does not, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness import until
from tests.proxies.http2 import Http2Connection
from tests.proxies.recipes import FILES, FOLDER, NAMES, Certificate, RecipeProxy, filled
from tests.proxies.upstream import Request, Upstream
from tests.tools import debian_tool

pytestmark = pytest.mark.asyncio(loop_scope="module")
each_proxy = pytest.mark.parametrize("name", NAMES)
_POST = "POST /testcast/x HTTP/1.1\nHost: localhost\n"
_FORGED = {
    "X-Forwarded-For": "9.9.9.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=9.9.9.9;host=evil.example;proto=http",
}


class Behind(dict[str, RecipeProxy]):
    """The proxies that this machine can run, by name, and the two servers behind them."""

    def __init__(self) -> None:
        self.upstreams = (Upstream(), Upstream())
        self.missing: dict[str, str] = {}

    def of(self, name: str) -> RecipeProxy:
        """Skips the test where the machine cannot run it."""
        if name in self.missing:
            pytest.skip(self.missing[name])
        for each in self.upstreams:
            each.requests.clear()
        return self[name]

    @property
    def received(self) -> list[Request]:
        """What both servers have received in this test."""
        return [request for each in self.upstreams for request in each.requests]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    directory = tmp_path_factory.mktemp("proxies")
    found, certificate = Behind(), Certificate.make(directory / "tls")
    async with AsyncExitStack() as running:
        for upstream in found.upstreams:
            await upstream.start()
            running.push_async_callback(upstream.stop)
        for name in NAMES:
            try:
                proxy = RecipeProxy(name, directory, [each.port for each in found.upstreams], certificate)
            except pytest.skip.Exception as skipped:
                found.missing[name] = str(skipped)
                continue
            said = proxy.checked().lower()
            assert "[warn]" not in said and "[warning]" not in said and "not formatted" not in said, said
            await proxy.start()
            running.push_async_callback(proxy.stop)
            found[name] = proxy
        yield found


async def curl(proxy: RecipeProxy, path: str, *arguments: str, plain: bool = False) -> tuple[int, str, str]:
    """The status, the version of HTTP and the body of an answer."""
    url = f"http://localhost:{proxy.plain_port}" if plain else f"https://localhost:{proxy.port}"
    argv = [debian_tool("curl"), "-sS", "--max-time", "30", "--cacert", str(proxy.certificate.ca)]
    argv += ["-w", "\n%{http_code} %{http_version}", *arguments, f"{url}{path}"]
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    told = (await child.communicate())[0].decode()
    body, _, last = told.rpartition("\n")
    return int(last.split()[0]), last.split()[1], body


async def raw(proxy: RecipeProxy, request: str) -> int:
    """The status of the answer to these bytes; 0 when the connection is closed without one."""
    reader, writer = await proxy.connect()
    writer.write(request.replace("\n", "\r\n").encode())
    async with asyncio.timeout(30):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1]) if line else 0


# ── names, versions and paths ──


@each_proxy
async def test_http_2_and_http_1_1_over_tls_and_the_way_to_them(behind: Behind, name: str) -> None:
    proxy = behind.of(name)
    for version, given in (("2", "--http2"), ("1.1", "--http1.1")):
        assert await curl(proxy, "/testcast/x?a=1", given) == (200, version, "ok")
    assert [each.first for each in behind.received] == ["GET /testcast/x?a=1 HTTP/1.1"] * 2
    for path, plain in (("/testcast", False), ("/testcast/x", True)):
        assert (await curl(proxy, path, plain=plain))[0] in (301, 308), path
    assert len(behind.received) == 2
    for path in ("/", "/testcastle", "/rpc/listTests"):
        assert (await curl(proxy, path))[0] == 404, path
    assert len(behind.received) == 2


@each_proxy
async def test_another_name_gets_nothing(behind: Behind, name: str) -> None:
    proxy = behind.of(name)
    assert await raw(proxy, "GET /testcast/x HTTP/1.1\nHost: evil.example\n\n") in (0, 200, 404, 421)
    assert [each for each in behind.received if each.field("host") != "localhost"] == []


@each_proxy
async def test_nothing_that_a_client_says_of_itself_is_passed_on(behind: Behind, name: str) -> None:
    proxy = behind.of(name)
    forged = [each for field, value in _FORGED.items() for each in ("-H", f"{field}: {value}")]
    assert (await curl(proxy, "/testcast/x", "--interface", "127.0.0.9", "-4", *forged))[0] == 200
    [request] = behind.received
    assert request.field("x-forwarded-for") == "127.0.0.9"
    assert request.field("x-forwarded-proto") == "https"
    assert (request.field("x-forwarded-host") or "").partition(":")[0] == "localhost"
    assert (request.field("host") or "").partition(":")[0] == "localhost"
    assert not request.field("x-forwarded-prefix") and not request.field("forwarded")


# ── what is held back, and what is not ──


@each_proxy
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_an_event_stream_arrives_event_by_event(behind: Behind, name: str, version: str) -> None:
    """The next event is sent only when the one before it has arrived. An edge notices who has left."""
    proxy = behind.of(name)
    argv = [debian_tool("curl"), "-sSN", version, "--cacert", str(proxy.certificate.ca), f"{proxy.url}/stream"]
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    try:
        listening = await until(lambda: [each for each in behind.upstreams if each.listening], within_s=30)
        for n in range(3):
            for each in listening:
                await each.say(f"{n}")
            async with asyncio.timeout(30):
                assert await child.stdout.readuntil(b"\n\n") == f"data: {n}\n\n".encode()
    finally:
        child.kill()
        await child.wait()

    async def is_noticed() -> bool:
        for each in behind.upstreams:
            await each.say("a heartbeat")
        return not any(each.listening for each in behind.upstreams)

    await until(is_noticed, within_s=30, what="an edge notices at its next heartbeats that the listener has left")


@each_proxy
async def test_uploads_are_as_large_as_an_edge_takes(behind: Behind, name: str, tmp_path: Path) -> None:
    proxy = behind.of(name)
    (tmp_path / "body").write_bytes(b"x" * (8 << 20))
    whole = ("--data-binary", f"@{tmp_path / 'body'}", "-H", "Expect:")
    assert (await curl(proxy, "/testcast/x", *whole))[0] == 200
    assert [len(each.body) for each in behind.received] == [8 << 20]
    if name != "caddy":  # it counts what arrives
        assert await raw(proxy, f"{_POST}Content-Length: {(8 << 20) + 1}\n\n") == 413
    (tmp_path / "body").write_bytes(b"x" * (9 << 20))
    assert (await curl(proxy, "/testcast/x", *whole))[0] in ({0, 413} if name != "caddy" else {0, 413, 502})
    assert [len(each.body) for each in behind.received] == [8 << 20]


@each_proxy
@pytest.mark.parametrize(
    "request_",
    [
        f"{_POST}Content-Length: 3\nContent-Length: 4\n\nabcd",
        f"{_POST}Content-Length: 4\nTransfer-Encoding: chunked\n\n0\n\nGET /testcast/hidden HTTP/1.1\nHost: a\n\n",
        f"{_POST}Transfer-Encoding: xchunked\n\n0\n\n",
        f"{_POST}Transfer-Encoding : chunked\n\n0\n\n",
        f"{_POST}Transfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n",
        f"{_POST}Content-Length: +4\n\nabcd",
        "GET /testcast/x HTTP/1.1\nHost: localhost\nHost: evil.example\n\n",
        f"{_POST}Transfer-Encoding: chunked\n\nfffffffffffffffff\n\n",
    ],
    ids=["two lengths", "both", "xchunked", "space", "two encodings", "plus", "two hosts", "chunk"],
)
async def test_what_can_be_read_in_two_ways_is_refused_or_made_plain(behind: Behind, name: str, request_: str) -> None:
    proxy = behind.of(name)
    status = await raw(proxy, request_)
    assert not any("hidden" in each.first for each in behind.received)
    if "Content-Length: 4\nTransfer-Encoding" in request_ and status == 200:
        [plain] = behind.received
        assert (plain.field("transfer-encoding"), plain.field("content-length")) == ("chunked", None)
    else:
        assert (status in (400, 501, 502), behind.received) == (True, []), status


# ── retries, and edges that go away ──


@each_proxy
async def test_a_post_is_sent_once_and_a_get_to_another_edge(behind: Behind, name: str) -> None:
    proxy = behind.of(name)
    assert (await curl(proxy, "/testcast/drop", "-d", "{}"))[0] in (502, 503)
    assert [each.first for each in behind.received] == ["POST /testcast/drop HTTP/1.1"]
    behind.of(name)
    first, second = behind.upstreams
    first.failures, second.failures = 1, 0
    asked = 0
    while first.failures:
        assert (await curl(proxy, "/testcast/flaky"))[0] == 200
        asked += 1
        assert asked < 100, "each of the two has its turn"
    assert len(behind.received) == asked + 1


@each_proxy
async def test_an_edge_that_is_not_ready_gets_nobody_new(behind: Behind, name: str) -> None:
    proxy = behind.of(name)
    away, there = behind.upstreams
    away.ready = False
    try:
        if name != "nginx":  # it asks no edge; an answer of 503 leads to the other one
            before = away.checks
            await until(lambda: away.checks >= before + 3, within_s=30, what="two checks were answered and counted")
        for _ in range(4):
            assert (await curl(proxy, "/testcast/busy"))[0] == 200
        assert len(there.requests) == 4
    finally:
        away.ready = True


# ── RFC 8441 ──


@each_proxy
async def test_which_proxies_take_sockets_on_http_2(behind: Behind, name: str) -> None:
    connection = Http2Connection(*await behind.of(name).connect("h2"))
    await connection.begin()
    connection.close()
    assert connection.connect_protocol == (name == "haproxy")


# ── the files ──


@pytest.mark.parametrize("name", NAMES)
async def test_a_recipe_names_its_settings_and_no_short_timeout(name: str) -> None:
    """Whatever ends a quiet connection waits for four heartbeats."""
    text = (FOLDER / FILES[name]).read_text()
    assert "TESTCAST_EDGE_PUBLIC_URL=" in text and "TESTCAST_EDGE_TRUSTED_PROXIES=" in text
    quiet = {
        "nginx": {"proxy_read_timeout 75s;", "proxy_send_timeout 75s;", "proxy_buffering off;"},
        "haproxy": {"timeout client 75s", "timeout server 75s", "timeout tunnel 75s"},
        "caddy": {"read_header 10s"},
    }
    lines = {line.strip() for line in text.splitlines()}
    assert quiet[name] <= lines
    assert "read_body" not in json.dumps(sorted(line for line in lines if not line.startswith("#")))


async def test_only_marked_lines_are_filled_in() -> None:
    values: Mapping[str, str] = {"a.example": "b.example"}
    assert filled("# a.example\nname a.example # CHANGE\n", values) == "# a.example\nname b.example # CHANGE\n"
    for wrong in ("name a.example\n", "name c.example # CHANGE\n"):
        with pytest.raises(AssertionError, match="marked"):
            filled(wrong, values)
