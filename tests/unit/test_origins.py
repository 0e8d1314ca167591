"""Origins and the public address: every spelling of an operator works, or is refused with the reason."""

from __future__ import annotations

import pytest

from broker.contract.errors import InvalidSetting
from ws_edge.config import load
from ws_edge.origins import Origins, PublicUrl, parse_prefix

ORIGINS = "TESTCAST_EDGE_ALLOWED_ORIGINS"
PUBLIC = "TESTCAST_EDGE_PUBLIC_URL"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        (" HTTPS://A.Example ", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80/", "http://a.example"),
        ("http://a.example:0080", "http://a.example"),
        ("https://a.example:80", "https://a.example:80"),
        ("https://a.example:8443", "https://a.example:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://[0:0::1]:3000", "http://[::1]:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example:443", "https://xn--bcher-kva.example"),
        ("https://xn--strae-oqa.example", "https://xn--strae-oqa.example"),
        ("https://a_b.example", "https://a_b.example"),
        ("tauri://localhost", "tauri://localhost"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("https://*.c.example", "https://a.c.example"),
        ("https://*.c.example", "https://a.b.c.example"),
        ("https://*.c.example:443", "https://a.c.example"),
        ("https://*.C.example:8443/", "https://a.c.example:8443"),
        ("https://*.bücher.example", "https://a.xn--bcher-kva.example"),
    ],
)
def test_what_is_written_matches_what_browsers_send(written: str, sent: str) -> None:
    allowed = load({ORIGINS: f"https://other.example, {written},"}).allowed_origins
    assert sent in allowed
    assert "https://other.example" in allowed
    assert sent not in Origins(["https://other.example"])


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://a.example", "http://a.example"),
        ("https://a.example", "https://a.example:444"),
        ("https://a.example", "https://a.example.evil.example"),
        ("https://a.example", "https://b.a.example"),
        ("https://*.c.example", "https://c.example"),
        ("https://*.c.example", "https://.c.example"),
        ("https://*.c.example", "https://evilc.example"),
        ("https://*.c.example", "http://a.c.example"),
        ("https://*.c.example", "https://a.c.example:8443"),
        ("https://*.c.example", "https://a.c.example.evil.example"),
        ("https://*.c.example", "https://evil.example/.c.example"),
        ("https://*.c.example", "https://evil.example:1.c.example"),
        ("https://*.c.example", "https://user@a.c.example"),
        ("https://*.c.example", "https://*.c.example"),
        ("tauri://localhost", "http://localhost"),
        ("https://a.example", "null"),
        ("https://a.example", ""),
        ("https://a.example", "https://["),
    ],
)
def test_nothing_else_matches(written: str, sent: str) -> None:
    assert sent not in load({ORIGINS: written}).allowed_origins


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("null", "sandboxed frame"),
        ("NULL", "sandboxed frame"),
        ("*", "every page"),
        ("https://*", "only for the names before the first dot"),
        ("https://*.com", "too many pages"),
        ("https://a.*.example", "only for the names before the first dot"),
        ("https://foo*.example", "only for the names before the first dot"),
        ("http://localhost:*", "only for the names before the first dot"),
        ("https://*.[::1]", "not a host name"),
        ("a.example", "expected scheme://name"),
        ("https://", "not a host name"),
        ("https:///", "not a host name"),
        ("https://a.example/path", "without a path"),
        ("https://a.example?x", "without a path"),
        ("https://user:secret@a.example", "without a user"),
        ("https://a.example:port", "not a port"),
        ("https://a.example:65536", "not a port"),
        ("https://a.example:-1", "not a port"),
        ("https://a b.example", "without a path"),
        ("https://a..example", "not a host name"),
        ("https://-a.example", "not a host name"),
        ("https://straße.example", "punycode"),
        ("http://[::g]", "not an IPv6 address"),
        ("http://1.2.3", "nor an IPv4 address"),
        ("file://", "serve the page over HTTP"),
        ("file:///home/me/page.html", "expected scheme://name"),
        ("wss://a.example", "https://"),
    ],
)
def test_what_can_match_no_page_is_refused_at_the_start(written: str, reason: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load({ORIGINS: f"https://fine.example,{written}"})
    assert ORIGINS in refused.value.message and reason in refused.value.message
    assert repr(written) in refused.value.message


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("https://tests.example.org/testcast", ("https", "tests.example.org", "/testcast")),
        ("https://tests.example.org/testcast/", ("https", "tests.example.org", "/testcast")),
        (" HTTPS://Tests.Example.ORG:443 ", ("https", "tests.example.org", "")),
        ("http://10.0.0.1:8000/", ("http", "10.0.0.1:8000", "")),
        ("http://[::1]:8000/a/B.c~d_e-f", ("http", "[::1]:8000", "/a/B.c~d_e-f")),
        ("https://bücher.example/tests", ("https", "xn--bcher-kva.example", "/tests")),
    ],
)
def test_a_public_url(written: str, expected: tuple[str, str, str]) -> None:
    config = load({PUBLIC: written})
    assert config.public_url == PublicUrl(*expected)
    assert config.prefix == expected[2].encode()
    assert config.public_url is not None
    assert config.public_url.origin == f"{expected[0]}://{expected[1]}"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("tests.example.org/testcast", "expected an address"),
        ("wss://tests.example.org/", "expected an address"),
        ("https:///testcast", "expected an address"),
        ("https://tests.example.org/a?b", "without ? and #"),
        ("https://tests.example.org/a#b", "without ? and #"),
        ("https://user:secret@tests.example.org/", "without a user"),
        ("https://*.example.org/", "only for the names before"),
        ("https://tests.example.org/a//b", "may contain only"),
        ("https://tests.example.org/a/../b", "may contain only"),
        ("https://tests.example.org/a b", "may contain only"),
        ("https://tests.example.org/a%20b", "may contain only"),
        ("https://tests.example.org/" + "a" * 300, "may contain only"),
        ("https://tests.example.org/rpc", "may not begin with /rpc"),
        ("https://tests.example.org/ws/x", "may not begin with /ws"),
        ("https://[::g]/", "IPv6"),
        ("https://tests.example.org:x/", "not a port"),
    ],
)
def test_a_public_url_that_makes_no_sense_is_refused_at_the_start(written: str, reason: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load({PUBLIC: written})
    assert PUBLIC in refused.value.message and reason in refused.value.message


def test_an_ipv6_host_may_have_brackets() -> None:
    assert load({"TESTCAST_EDGE_HOST": "[::1]"}).host == load({"TESTCAST_EDGE_HOST": " ::1"}).host == "::1"


def test_without_a_public_url_there_is_no_prefix() -> None:
    assert load({PUBLIC: " "}).public_url is None
    assert load({}).prefix == b""


@pytest.mark.parametrize("text", ["//evil.example", '/"><script>', "testcast", "/a, /b", "/.", "/é", "/a\\b"])
def test_a_prefix_that_would_lead_elsewhere_is_none(text: str) -> None:
    assert parse_prefix(text) is None
