"""What proxies say of a request, in every spelling, and that only trusted ones are heard."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import InvalidSetting
from ws_edge.config import load
from ws_edge.transport.forwarded import client_address, limited_address, parse_forwarded, seen_from_outside

CONFIG = load({"TESTCAST_EDGE_TRUSTED_PROXIES": "10.0.0.0/8, ::1, fd00::/8"})
TRUSTED = CONFIG.trusted_proxies
PROXY = "10.0.0.1"


def headers(**given: str) -> Any:
    return {name.replace("_", "-"): value for name, value in given.items()}.get


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("8.8.8.8", None, "8.8.8.8"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),  # not a trusted proxy
        (PROXY, None, PROXY),
        (PROXY, "1.1.1.1", "1.1.1.1"),
        (PROXY, "6.6.6.6, 1.1.1.1", "1.1.1.1"),  # the first address was written by the viewer itself
        (PROXY, "1.1.1.1, 10.0.0.2", "1.1.1.1"),  # two trusted proxies
        (PROXY, "6.6.6.6, 1.1.1.1, 10.0.0.3,10.0.0.2", "1.1.1.1"),
        (PROXY, "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # a viewer in the proxies' own network
        (PROXY, " , ", PROXY),
        (PROXY, "", PROXY),
        (PROXY, "1.1.1.1:5678", "1.1.1.1"),
        (PROXY, "1.1.1.1:5678, 10.0.0.2:80", "1.1.1.1"),
        (PROXY, "[2001:db8::1]:443", "2001:db8::1"),
        (PROXY, "[2001:db8::1]", "2001:db8::1"),
        (PROXY, "2001:DB8:0::1", "2001:db8::1"),
        (PROXY, "fe80::1%eth0", "fe80::1"),
        (PROXY, "::ffff:1.1.1.1", "1.1.1.1"),
        (PROXY, "[::ffff:1.1.1.1]:80", "1.1.1.1"),
        (PROXY, "1.1.1.1, ::ffff:10.0.0.2", "1.1.1.1"),
        (PROXY, "nonsense", PROXY),  # all whom this proxy does not name share its limit
        (PROXY, "1.1.1.1, unknown", PROXY),
        (PROXY, "1.1.1.1, nonsense, 10.0.0.2", "10.0.0.2"),
        (PROXY, "[1.1.1.1", PROXY),
        (PROXY, "1.1.1.1.1", PROXY),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("::FFFF:10.0.0.1", None, PROXY),
        ("::ffff:8.8.8.8", "1.1.1.1", "8.8.8.8"),
        ("fd00::5%en0", "1.1.1.1", "1.1.1.1"),
        ("local", "1.1.1.1", "local"),
    ],
)
def test_the_address_is_the_first_that_is_not_trusted(peer: str, forwarded: str | None, expected: str) -> None:
    given = headers() if forwarded is None else headers(x_forwarded_for=forwarded)
    assert client_address(peer, given, TRUSTED) == expected


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("for=1.1.1.1", "1.1.1.1"),
        ('For="1.1.1.1:80"', "1.1.1.1"),
        ('for="[2001:db8::1]:4711";proto=https', "2001:db8::1"),
        ("for=6.6.6.6, for=1.1.1.1", "1.1.1.1"),
        ("for=1.1.1.1;by=10.0.0.3, for=10.0.0.2", "1.1.1.1"),
        ("for=unknown", PROXY),
        ("for=_hidden", PROXY),
        ("proto=https", PROXY),
        ('for="1.1.1.1', PROXY),
    ],
)
def test_the_address_in_forwarded(forwarded: str, expected: str) -> None:
    assert client_address(PROXY, headers(forwarded=forwarded), TRUSTED) == expected
    assert client_address("8.8.8.8", headers(forwarded=forwarded), TRUSTED) == "8.8.8.8"
    both = headers(forwarded=forwarded, x_forwarded_for="2.2.2.2")
    assert client_address(PROXY, both, TRUSTED) == "2.2.2.2", "a client may have sent the one that proxies do not write"


@pytest.mark.parametrize("named", ["127.0.0.0/8", "::ffff:127.0.0.0/104", "::ffff:127.0.0.1", "[::ffff:7f00:1]"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_a_mapped_address_is_the_plain_one(named: str, peer: str) -> None:
    trusted = load({"TESTCAST_EDGE_TRUSTED_PROXIES": named}).trusted_proxies
    assert client_address(peer, headers(x_forwarded_for="1.1.1.1"), trusted) == "1.1.1.1"


@pytest.mark.parametrize("named", ["nonsense", "10.0.0.0/33", "proxy.example", "10.0.0.1:80"])
def test_a_proxy_that_is_no_address_is_refused(named: str) -> None:
    with pytest.raises(InvalidSetting, match="TESTCAST_EDGE_TRUSTED_PROXIES"):
        load({"TESTCAST_EDGE_TRUSTED_PROXIES": f"10.0.0.0/8,{named}"})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.1.1.1", "1.1.1.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("local", "local"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, expected: str) -> None:
    assert limited_address(address) == expected


@pytest.mark.parametrize(
    ("given", "secure", "host", "prefix"),
    [
        ({}, False, "edge:8000", ""),
        ({"x_forwarded_proto": "https"}, True, "edge:8000", ""),
        ({"x_forwarded_proto": "HTTPS"}, True, "edge:8000", ""),
        ({"x_forwarded_proto": "wss"}, True, "edge:8000", ""),
        ({"x_forwarded_proto": " https , http"}, True, "edge:8000", ""),
        ({"x_forwarded_proto": "http, https"}, False, "edge:8000", ""),
        ({"x_forwarded_proto": "httpsx"}, False, "edge:8000", ""),
        ({"x_forwarded_host": "Tests.example.org"}, False, "Tests.example.org", ""),
        ({"x_forwarded_host": "tests.example.org:8443, inner"}, False, "tests.example.org:8443", ""),
        ({"x_forwarded_host": "[::1]:80"}, False, "[::1]:80", ""),
        ({"x_forwarded_host": "evil/path"}, False, "edge:8000", ""),
        ({"x_forwarded_host": ""}, False, "edge:8000", ""),
        ({"x_forwarded_prefix": "/testcast/"}, False, "edge:8000", "/testcast"),
        ({"x_forwarded_prefix": "//evil.example"}, False, "edge:8000", ""),
        ({"forwarded": "proto=https;host=tests.example.org"}, True, "tests.example.org", ""),
        ({"forwarded": 'Proto="HTTPS"; Host="tests.example.org:8443"'}, True, "tests.example.org:8443", ""),
        ({"forwarded": 'for="[::1]";proto=https, for=10.0.0.2;proto=http'}, True, "edge:8000", ""),
        ({"forwarded": "proto=https;host"}, False, "edge:8000", ""),
        ({"forwarded": "proto=https", "x_forwarded_proto": "http"}, False, "edge:8000", ""),
    ],
)
def test_the_address_from_outside(given: dict[str, str], secure: bool, host: str, prefix: str) -> None:
    asked = headers(host="edge:8000", **given)
    for peer in (PROXY, f"::ffff:{PROXY}"):
        assert seen_from_outside(CONFIG, asked, peer) == (secure, host, prefix)
    assert seen_from_outside(CONFIG, asked, "8.8.8.8") == (False, "edge:8000", ""), "anybody can write these headers"


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.9"])
def test_a_proxy_on_this_machine_is_trusted_for_the_edge_s_address_while_none_are_named(peer: str) -> None:
    asked = headers(host="edge", x_forwarded_proto="https", x_forwarded_for="1.1.1.1")
    named = load({"TESTCAST_EDGE_TRUSTED_PROXIES": "10.0.0.1"})
    assert seen_from_outside(load({}), asked, peer).secure
    assert not seen_from_outside(load({}), asked, "10.0.0.1").secure
    assert not seen_from_outside(named, asked, peer).secure
    assert client_address(peer, asked, load({}).trusted_proxies) != "1.1.1.1"


def test_the_public_url_goes_before_all_of_it() -> None:
    config = CONFIG._replace(public_url=load({"TESTCAST_EDGE_PUBLIC_URL": "https://t.example/x"}).public_url)
    asked = headers(host="edge", x_forwarded_proto="http", x_forwarded_host="other", x_forwarded_prefix="/y")
    assert seen_from_outside(config, asked, PROXY) == (True, "t.example", "/x")


def test_quotes_may_hold_separators() -> None:
    text = r'for="a,b;c\"d" ; proto=http ,, host=x;'
    assert parse_forwarded(headers(forwarded=text)) == [{"for": 'a,b;c"d', "proto": "http"}, {"host": "x"}]


@given(st.text(st.sampled_from('for=proto;," \\[]:1.ab\t'), max_size=40))
def test_any_header_has_an_answer(text: str) -> None:
    asked = headers(host="edge", forwarded=text, x_forwarded_proto=text, x_forwarded_host=text, x_forwarded_prefix=text)
    assert client_address(PROXY, asked, TRUSTED)
    assert client_address(PROXY, headers(x_forwarded_for=text), TRUSTED)
    assert seen_from_outside(CONFIG, asked, PROXY)
