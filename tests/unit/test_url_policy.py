"""Which addresses may be opened (broker/contract/url_policy.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.addresses import address_allowed
from broker.contract.errors import InvalidSetting
from broker.contract.url_policy import GameUrlRefused, allowed_host, check_game_url, host_of, refuse_private


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        ("http://example.com", "http://example.com/"),
        (" HTTPS://Example.COM:443/a?b=c#d ", "https://example.com/a?b=c#d"),
        ("http://example.com:8080/x", "http://example.com:8080/x"),
        ("https://bücher.example/ä?q=ü", "https://xn--bcher-kva.example/%C3%A4?q=%C3%BC"),
        ("http://[::1]:3000/", "http://[::1]:3000/"),
        ("http://a.example/%7Ekept%20so", "http://a.example/%7Ekept%20so"),
    ],
)
def test_normal_form(given_url: str, normal: str) -> None:
    assert check_game_url(given_url) == normal
    assert check_game_url(normal) == normal


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_url"),
        ("example.com/game", "invalid_url"),
        ("localhost:3000", "invalid_url"),
        ("javascript:alert(1)", "invalid_url"),
        ("http://", "invalid_url"),
        ("http:///path", "invalid_url"),
        ("http://..", "invalid_url"),
        ("http://a b/", "invalid_url"),
        ("http://good.example\\@evil.example/", "invalid_url"),
        ("http://a.example/\tb", "invalid_url"),
        ("http://a.example:99999/", "invalid_url"),
        ("http://a.example:0/", "invalid_url"),
        ("http://[::1", "invalid_url"),
        ("http://a.example/" + "x" * 2048, "invalid_url"),
        ("http://a.example/" + "ü" * 1000, "invalid_url"),
        ("file:///etc/passwd", "url_refused"),
        ("ftp://a.example/", "url_refused"),
        ("http://user:secret@a.example/", "url_refused"),
    ],
)
def test_refused(url: str, code: str) -> None:
    with pytest.raises(GameUrlRefused) as caught:
        check_game_url(url)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")


@given(st.text(max_size=60) | st.from_regex(r"https?://[^\s]{0,40}", fullmatch=True))
def test_whatever_is_given_only_this_error_comes_and_the_normal_form_is_stable(url: str) -> None:
    try:
        normal = check_game_url(url)
    except GameUrlRefused:
        return
    assert normal.isascii() and check_game_url(normal) == normal
    assert host_of(normal)[0]


@pytest.mark.parametrize("ip", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(ip: str) -> None:
    assert address_allowed(ip)


@pytest.mark.parametrize(
    "ip",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("localhost", "", "127.1", "0x7f000001"),
    ],
)
def test_other_addresses(ip: str) -> None:
    assert not address_allowed(ip)


def test_one_private_address_spoils_a_host() -> None:
    refuse_private("a.example", ["8.8.8.8"])
    with pytest.raises(GameUrlRefused, match=r"a\.example leads to 10\.0\.0\.1, a private address") as caught:
        refuse_private("a.example", ["8.8.8.8", "10.0.0.1"])
    assert caught.value.code == "url_refused"
    with pytest.raises(GameUrlRefused):
        refuse_private("a.example", [])


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        ("http://127.1:3000/", "http://127.0.0.1:3000/"),
        ("http://0x7f000001/", "http://127.0.0.1/"),
        ("http://\uff11\uff12\uff17\u30021/", "http://127.0.0.1/"),  # full width
        ("http://2852039166/latest", "http://169.254.169.254/latest"),
        ("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
    ],
)
def test_a_host_that_a_browser_takes_for_an_address_becomes_that_address(given_url: str, normal: str) -> None:
    assert check_game_url(given_url) == normal == check_game_url(normal)


@pytest.mark.parametrize(
    "url", ["http://256.256.256.256/", "http://a.0x1f/", "http://[fe80::1%25lo]/", "http://%31.1/"]
)
def test_hosts_that_no_browser_takes(url: str) -> None:
    with pytest.raises(GameUrlRefused) as caught:
        check_game_url(url)
    assert caught.value.code == "invalid_url"


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        *(("demo_game:8080", "demo_game:8080"), ("Games.Example", "games.example"), ("a.example:80", "a.example:80")),
        *(("[::1]:3000", "[::1]:3000"), ("0x7f.1:80", "127.0.0.1:80")),
    ],
)
def test_entries_of_hosts_that_are_allowed(text: str, entry: str) -> None:
    assert allowed_host(text) == entry == allowed_host(entry)


@pytest.mark.parametrize("text", ["http://a.example", "a.example/x", "a.example/", "*", "*.example", "a:99999"])
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(InvalidSetting, match="TESTCAST_ALLOW_HOSTS"):
        allowed_host(text)


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("demo_game", 8080, "172.18.0.5"),
        ("own.example", 1, "10.0.0.1"),
        ("::1", 3000, "::1"),
        ("own.example", 2, "8.8.8.8"),
    ],
)
def test_a_host_that_is_named_may_be_private(host: str, port: int, address: str) -> None:
    refuse_private(host, [address], port=port, allowed_hosts={"demo_game:8080", "own.example", "[::1]:3000"})


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        *(("demo_game", 8081, "172.18.0.5"), ("x.own.example", 1, "10.0.0.1"), ("own.example.", 1, "10.0.0.1")),
        *(("10.0.0.1", 80, "10.0.0.1"), ("own.example", 80, "169.254.169.254"), ("own.example", 80, "100.100.100.200")),
    ],
)
def test_only_what_is_named_and_nothing_that_no_game_has(host: str, port: int, address: str) -> None:
    with pytest.raises(GameUrlRefused):
        refuse_private(host, [address], port=port, allowed_hosts={"demo_game:8080", "own.example"})
