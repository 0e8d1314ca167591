"""The quick reading of an upgrade against httptools, and what it leaves to it."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from ws_edge.transport import handshake

UPGRADE = {
    "Host": "edge.example",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def request(target: str = "/ws?testId=x", headers: dict[str, str] = UPGRADE, tail: str = "") -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {target} HTTP/1.1\r\n{lines}\r\n{tail}".encode("latin-1")


@given(st.text("a=&;%41+ä ?", max_size=12))
def test_a_query_is_read_as_the_standard_library_does(query: str) -> None:
    plain = "".join(each for each in query if each.isascii() and each != " ")
    assert handshake.request_of("GET", f"/ws?{plain}".encode(), {}).query == parse_qsl(plain, keep_blank_values=True)


class Reference:
    """What httptools makes of it."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        parser = HttpRequestParser(self)
        self.upgrades = False
        try:
            parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.upgrades = upgrade.args[0] == len(data)
        except HttpParserError:
            pass

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode().lower(), value.decode("latin-1").strip(" \t")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text


def test_reads_what_a_browser_sends() -> None:
    found = handshake.read(request(headers=UPGRADE | {"Origin": "http://edge.example", "Cookie": "a=1"}))
    assert found is not None
    assert (found.method, found.path, found.query) == ("GET", "/ws", [("testId", "x")])
    assert found.headers["origin"] == "http://edge.example"
    assert handshake.accept(found).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("testcast.v1", b"testcast.v1"),
        ("graphql-ws, testcast.v1", b"testcast.v1"),
        ("testcast.v2 ,\ttestcast.v1", b"testcast.v1"),
        ("graphql-ws", None),
        ("Testcast.V1", None),
        ("testcast.v1.2", None),
        ("", None),
        (None, None),
    ],
)
def test_the_one_subprotocol_is_chosen_when_it_is_offered(offered: str | None, chosen: bytes | None) -> None:
    more = {} if offered is None else {"Sec-WebSocket-Protocol": offered}
    found = handshake.read(request(headers=UPGRADE | more))
    assert found is not None
    lines = handshake.accept(found).split(b"\r\n")
    named = [line for line in lines if line.lower().startswith(b"sec-websocket-protocol:")]
    assert named == ([] if chosen is None else [b"Sec-WebSocket-Protocol: " + chosen])
    assert lines[-2:] == [b"", b""]


ID = b"4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"


@pytest.mark.parametrize(
    ("target", "prefix", "expected"),
    [
        (b"/ws?testId=x", b"", b"/ws?testId=x"),
        (b"/testcast/ws?testId=x", b"/testcast", b"/ws?testId=x"),
        (b"/ws", b"/testcast", b"/ws"),  # the proxy has removed it
        (b"/testcast/", b"/testcast", b"/"),
        (b"/testcast", b"/testcast", b"/testcast"),  # answered with a redirect
        (b"/testcast?a=1", b"/testcast", b"/testcast?a=1"),
        (b"/testcastle/ws", b"/testcast", b"/testcastle/ws"),
        (b"/testcast/testcast/ws", b"/testcast", b"/testcast/ws"),  # once only
        (b"/a/b/rpc/listTests", b"/a/b", b"/rpc/listTests"),
        (b"/tests/tests/" + ID, b"/tests", b"/tests/" + ID),
        (b"/tests/" + ID, b"/tests", b"/tests/" + ID),
        (b"/tests/" + ID + b"/?x", b"/tests", b"/tests/" + ID + b"/?x"),
        (b"/tests/ws", b"/tests", b"/ws"),
        (b"/tests/", b"/tests", b"/"),
    ],
)
def test_a_target_below_the_prefix_becomes_the_edge_s_own(target: bytes, prefix: bytes, expected: bytes) -> None:
    assert handshake.without_prefix(target, prefix) == expected


_MANGLED = st.builds(
    lambda data, at, put, cut: data[: at % (len(data) + 1)] + put + data[at % (len(data) + 1) + cut :],
    st.sampled_from([request(), request("/ws"), request(headers=UPGRADE | {"X-Long": "y" * 60, "cookie": "b=\xfc"})]),
    st.integers(0, 400),
    st.one_of(
        st.binary(max_size=3), st.sampled_from([b"\r\n", b"\n", b" ", b"\t", b": ", b"\r\nX: y", b"\r\n z", b"\0"])
    ),
    st.integers(0, 3),
)


@given(_MANGLED)
def test_whatever_it_reads_httptools_reads_the_same(data: bytes) -> None:
    found = handshake.read(data)
    if found is None:
        return
    reference = Reference(data)
    assert reference.upgrades
    assert found.headers == reference.headers
    assert found.path == reference.url.partition(b"?")[0].decode() == "/ws"


@pytest.mark.parametrize(
    "data",
    [
        request()[:-1],  # not whole
        request(tail="\x81\x80\0\0\0\0"),  # a frame already: uvicorn's protocol knows
        request("/wsx"),
        request("/ws/"),
        request(headers={**UPGRADE, "Content-Length": "5"}),
        request(headers={**UPGRADE, "Transfer-Encoding": "chunked"}),
        request(headers={**UPGRADE, "Upgrade": "h2c"}),
        request(headers={**UPGRADE, "Connection": "close"}),
        request(headers={**UPGRADE, "X": "a\r\n folded"}),
        request(headers={**UPGRADE, "X": "a\nb"}),
        request(headers={**UPGRADE, "X": "nul\0"}),
        request(headers={**UPGRADE, "Y": "z" * 9000}),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request().replace(b"GET", b"POST"),
    ],
    ids=repr,
)
def test_leaves_the_rest_to_an_http_parser(data: bytes) -> None:
    assert handshake.read(data) is None
