"""Which proxy a request goes through, by the environment; and what the command says of a proxy that is no use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from broker.contract.errors import BadInput
from testcast.client.errors import ConnectionLost
from testcast.client.proxies import proxy_for
from testcast.client.rpc import RpcClient, submit
from testcast.client.watch import watch
from tests.harness import NO_SUCH_TEST, free_port

EDGE = "https://edge.example:8443"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("edge", "environ", "proxy"),
    [
        (EDGE, {}, None),
        (EDGE, {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        (EDGE, {"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        (EDGE, {"https_proxy": "HTTP://proxy:3128/"}, "http://proxy:3128"),
        (EDGE, {"https_proxy": "https://me@[::1]:3128"}, "https://me:@[::1]:3128"),
        (EDGE, {"ALL_PROXY": "http://me:pw@proxy"}, "http://me:pw@proxy"),
        (EDGE, {"all_proxy": "http://one", "https_proxy": "http://two", "HTTPS_PROXY": "http://three"}, "http://two"),
        (EDGE, {"https_proxy": "", "HTTPS_PROXY": "http://three"}, None),
        (EDGE, {"HTTP_PROXY": "http://proxy"}, None),
        ("http://edge.example", {"HTTP_PROXY": "http://proxy"}, "http://proxy"),
        ("http://edge.example", {"HTTP_PROXY": "http://proxy", "REQUEST_METHOD": "GET"}, None),
    ],
)
def test_the_proxy_of_an_edge(edge: str, environ: Mapping[str, str], proxy: str | None) -> None:
    found = proxy_for(edge, environ)
    assert (None if found is None else found.url) == proxy


@pytest.mark.parametrize(
    "edge",
    [
        "localhost",
        "LOCALHOST:1",
        "localhost.",
        "a.localhost",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:1",
        "0.0.0.0:1",
        "[::]",
        "[::ffff:127.0.0.1]",
    ],
)
def test_this_machine_is_never_reached_through_a_proxy(edge: str) -> None:
    assert proxy_for(f"http://{edge}", {"ALL_PROXY": "socks5://nonsense", "HTTP_PROXY": "http://proxy"}) is None


@pytest.mark.parametrize(
    ("entries", "edge", "direct"),
    [
        ("*", EDGE, True),
        ("localhost,::1", EDGE, False),
        ("localhost, edge.example", EDGE, True),
        ("EDGE.example", EDGE, True),
        (".example", EDGE, True),
        ("*.example", EDGE, True),
        ("dge.example", EDGE, False),
        ("edge.example:8443", EDGE, True),
        ("edge.example:443", EDGE, False),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.1.2.3", "http://10.1.2.3:80", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("fd00::/8,::1", "http://[fd00::1]:80", True),
        ("[fd00::1]:80", "http://[fd00::1]:80", True),
        ("[fd00::1]", "http://[fd00::1]:80", True),
        ("[,]:x,//,:80,:, ,.", EDGE, False),
    ],
)
def test_exceptions(entries: str, edge: str, direct: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        assert (proxy_for(edge, {"ALL_PROXY": "http://proxy", name: entries}) is None) is direct


GARBAGE = [
    "socks5://proxy:1080",
    "socks5h://proxy",
    "socks4://u:pw@proxy",
    "ftp://proxy",
    "http://",
    "http://proxy:99999",
    "http://proxy:x",
    "http://[::1",
    "://",
    ":::",
    "http://a b",
    "http://\u00fc\x00",
    "http://u:pw@:1",
]


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("value", GARBAGE)
def test_what_is_no_use_is_a_sentence_that_names_the_variable(variable: str, value: str) -> None:
    with pytest.raises(BadInput, match=f"^{variable} ") as caught:
        proxy_for(EDGE, {variable: value})
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "socks5://proxy"), ("https_proxy", ":::")])
async def test_the_python_api_says_so(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=name):
        await submit(EDGE, "https://game.example/")
    with pytest.raises(BadInput, match=name):
        watch(EDGE, NO_SUCH_TEST)


@pytest.mark.parametrize("entry", ["localhost,::1", "[::1]", "fe80::/10"])
async def test_an_address_in_no_proxy_is_read(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("NO_PROXY", entry)
    async with RpcClient(EDGE) as rpc:
        assert rpc.url == EDGE


async def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://u:pw@127.0.0.1:{free_port()}")
    async with RpcClient("http://edge.example") as rpc:
        with pytest.raises(ConnectionLost, match="through the proxy of HTTP_PROXY") as caught:
            await rpc.call("getConfig")
    assert "pw" not in caught.value.message


async def test_a_proxy_that_wants_a_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with RpcClient("http://edge.example") as rpc:
            with pytest.raises(Exception, match="HTTP_PROXY asks for a user"):
                await rpc.call("getConfig")


async def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(BadInput, match="SSL_CERT_FILE"):
        RpcClient(EDGE)
    async with RpcClient("http://edge.example"):  # which needs none
        pass
