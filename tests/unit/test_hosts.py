"""By which names an edge is called."""

from __future__ import annotations

import pytest

from broker.contract.errors import InvalidSetting
from ws_edge.config import EdgeConfig, load
from ws_edge.origins import canonical_host, parse_public_url
from ws_edge.transport.handshake import Refusal
from ws_edge.transport.hosts import check_named_by_proxy, hosts_of, name_in

CONFIG = EdgeConfig(
    host="192.0.2.7",
    hosts=("edge.internal", "*.tests.example", "[2001:db8::7]"),
    public_url=parse_public_url("https://public.example:8443/testcast"),
)
LOCAL = "10.1.2.3"


def status(host: str | None, local: str = LOCAL, config: EdgeConfig = CONFIG) -> int:
    hosts = hosts_of(config)
    try:
        for _ in range(2):  # the second time from memory
            hosts.check(host, local)
    except Refusal as refused:
        return refused.status.value
    return 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "a.localhost:1",
        "a.b.localhost",
        "127.0.0.1:8000",
        "127.255.0.9",
        "[::1]:8000",
        "[::ffff:127.0.0.1]",
        "192.0.2.7",
        "edge.internal:65535",
        "EDGE.internal",
        "a.tests.example",
        "a.b.tests.example:80",
        "public.example",
        "public.example:8443",
        "public.example:1",
        "[2001:DB8:0::7]:80",
        "10.1.2.3:8000",
    ],
)
def test_its_own_names(host: str) -> None:
    assert status(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "notlocalhost",
        "127.0.0.1.evil.example",
        "tests.example",
        "evil-tests.example",
        "10.1.2.4",
        "0.0.0.0:8000",
        "8.8.8.8",
        "[2001:db8::8]",
        "[::]",
        "xn--localhost-x.example",
        "192.0.2.7.nip.io",
    ],
)
def test_the_names_of_others(host: str) -> None:
    assert status(host) == 421


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        " ",
        "localhost.",
        ".localhost",
        "a..localhost",
        "user@localhost",
        "user:password@localhost",
        "local host",
        "localhost, localhost",
        "localhost,evil.example",
        "localhost:0",
        "localhost:65536",
        "localhost:99999",
        "localhost:",
        "localhost:+80",
        "localhost:80:80",
        "localhost:²",
        "lócalhost",
        "localhost/",
        "localhost#",
        "localhost\\evil.example",
        "http://localhost",
        "::1",
        "[::1",
        "[::1]evil.example",
        "[127.0.0.1]",
        "[::1%25lo]",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "-localhost",
        "*.localhost",
        "l" * 64 + ".localhost",
        "a." * 200 + "localhost",
        "localhost\x00",
        "localhost\n",
    ],
)
def test_what_is_no_name(host: str | None) -> None:
    assert status(host) == 400


def test_an_address_is_judged_by_the_connections_own_end() -> None:
    assert status("10.1.2.4", "::ffff:10.1.2.4") == 200
    assert status("[fd00::1]", "fd00::1") == 200
    assert status("[fd00::1]", "fd00::2") == 421
    assert status("10.1.2.4", "local") == 421
    hosts = hosts_of(EdgeConfig())
    hosts.check("10.1.2.4", "10.1.2.4")
    with pytest.raises(Refusal):
        hosts.check("10.1.2.4", "10.1.2.5")


def test_listening_everywhere_names_no_host() -> None:
    for host in ("0.0.0.0", "::"):
        assert status(host if ":" not in host else f"[{host}]", config=EdgeConfig(host=host)) == 421
    assert status("[fd00::9]:80", config=EdgeConfig(host="fd00::9")) == 200


def test_what_is_known_is_bounded() -> None:
    hosts = hosts_of(EdgeConfig())
    for number in range(5000):
        hosts.check(f"a{number}.localhost", LOCAL)
    assert len(hosts._known) <= 1000


@pytest.mark.parametrize(
    ("headers", "peer", "expected"),
    [
        ({"x-forwarded-host": "evil.example"}, "127.0.0.1", 421),
        ({"x-forwarded-host": "evil.example, localhost"}, "127.0.0.1", 421),
        ({"forwarded": "host=evil.example"}, "127.0.0.1", 421),
        ({"forwarded": 'for=1.1.1.1;host="evil.example:80"'}, "::1", 421),
        ({"x-forwarded-host": "public.example"}, "127.0.0.1", 200),
        ({"x-forwarded-host": "evil.example"}, "203.0.113.1", 200),  # of no meaning: nobody trusts it
        ({"x-forwarded-host": "?"}, "127.0.0.1", 200),  # is not used, Host is
        ({}, "127.0.0.1", 200),
    ],
)
def test_what_a_trusted_proxy_says_is_judged(headers: dict[str, str], peer: str, expected: int) -> None:
    try:
        check_named_by_proxy(hosts_of(CONFIG), CONFIG, headers.get, peer, LOCAL)
    except Refusal as refused:
        assert refused.status.value == expected
        assert "TESTCAST_EDGE_HOSTS" in refused.message and "'evil.example'" in refused.message
    else:
        assert expected == 200


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("Tests.Example", "tests.example"),
        ("tests.example.", "tests.example"),
        ("*.tests.example", "*.tests.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("FD00::1", "[fd00::1]"),
        ("[fd00:0::1]", "[fd00::1]"),
    ],
)
def test_how_an_operator_writes_them(given: str, canonical: str) -> None:
    assert canonical_host(given) == canonical
    assert load({"TESTCAST_EDGE_HOSTS": f" {given} ,"}).hosts == (canonical,)
    if "*" not in canonical:
        assert name_in(canonical) == canonical


@pytest.mark.parametrize(
    "given", ["*", "http://a.example", "a.example:80", "a.example/b", "*.example", "a b", "u@a", "*a.b.c"]
)
def test_what_an_operator_must_not_write(given: str) -> None:
    with pytest.raises(InvalidSetting, match="TESTCAST_EDGE_HOSTS"):
        load({"TESTCAST_EDGE_HOSTS": given})
