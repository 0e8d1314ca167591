"""The table of addresses (broker/contract/addresses.py): the edges of each block, and what a browser makes of hosts."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.addresses import (
    GLOBAL_V6,
    REFUSED_V4,
    REFUSED_V6,
    address_allowed,
    is_loopback_name,
    literal,
    never_reached,
)

REGISTRY_V4 = """0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
192.0.0.0/29 192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/31 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
255.255.255.255/32 224.0.0.0/4 168.63.129.16/32 192.0.0.192/32 100.100.100.200/32 169.254.169.254/32"""
REGISTRY_V6 = """::1/128 ::/128 ::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128
2001:1::2/128 2001:1::3/128 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28
2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
fd00:ec2::254/128 fd20:ce::254/128 4000::/3 e000::/4 ::ffff:7f00:0/104 64:ff9b::a00:0/104 64:ff9b::a9fe:0/112"""
BLOCKS = [ipaddress.ip_network(each) for each in (REGISTRY_V4 + " " + REGISTRY_V6).split()]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_special_block_is_refused_from_its_first_to_its_last_address(block: ipaddress.IPv4Network) -> None:
    middle = block[block.num_addresses // 2]
    assert [str(each) for each in (block[0], middle, block[-1]) if address_allowed(str(each))] == []


BESIDE = """1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 161.25.255.255
161.27.0.0
166.7.255.255 166.12.0.0 168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0
191.255.255.255 192.0.1.0 192.0.3.0 192.31.195.255 192.31.197.0 192.52.192.255 192.52.194.0 192.88.98.255 192.88.100.0
192.167.255.255 192.169.0.0 192.175.47.255 192.175.49.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0
199.36.152.255 199.36.153.16 203.0.112.255 203.0.114.0 223.255.255.255 2000:: 2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff
2001:200:: 2001:db7:ffff::1 2001:db9:: 2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2003:: 2620:4f:7fff::1 2620:4f:8001::
3ffd::1 3fff:1000:: 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::ffff:8.8.8.8 64:ff9b::8.8.8.8 ::ffff:128.0.0.0
2606:4700::5efe:808:808 2606:4700::200:5efe:808:808"""


@pytest.mark.parametrize("ip", BESIDE.split())
def test_the_addresses_beside_each_block_are_allowed(ip: str) -> None:
    assert address_allowed(ip)


@pytest.mark.parametrize(
    "ip",
    [
        *("2606:4700::5efe:a9fe:a9fe", "2606:4700::200:5efe:7f00:1", "2606:4700:0:1:0:5efe:10.0.0.1"),  # ISATAP
        *("::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:168.63.129.16", "64:ff9b::168.63.129.16"),
        *("64:ff9b::192.0.0.192", "64:ff9b:1::8.8.8.8", "::8.8.8.8", "2002:808:808::1", "2001:0:808:808::1"),
        *("::ffff:0:8.8.8.8", "1::1", "fe80::1%eth0", "100.100.100.200", "fd00:ec2::254", "192.0.0.192", "3fff::1"),
    ],
)
def test_an_address_inside_an_address_counts_too(ip: str) -> None:
    assert not address_allowed(ip)


@given(st.ip_addresses(v=4))
def test_the_table_alone_decides_in_every_python_v4(address: ipaddress.IPv4Address) -> None:
    assert address_allowed(str(address)) == (not any(address in each for each in REFUSED_V4))


@given(st.integers(0, 2**125 - 1).map(lambda low: GLOBAL_V6[low]))
def test_the_table_alone_decides_in_every_python_v6(address: ipaddress.IPv6Address) -> None:
    expected = not any(address in each for each in REFUSED_V6)
    if int(address) >> 32 & 0xFCFF_FFFF != 0x5EFE:
        assert address_allowed(str(address)) == expected


@pytest.mark.parametrize(
    ("host", "address"),
    [
        *(("127.1", "127.0.0.1"), ("127.0.1", "127.0.0.1"), ("2130706433", "127.0.0.1"), ("0x7f000001", "127.0.0.1")),
        *(("0177.0.0.1", "127.0.0.1"), ("0X7F.0.0.0x1", "127.0.0.1"), ("127.0.0.1.", "127.0.0.1"), ("0", "0.0.0.0")),
        *(("0x", "0.0.0.0"), ("10.0x1", "10.0.0.1"), ("169.254.43518", "169.254.169.254"), ("[::1]", "::1")),
        *(("4294967295", "255.255.255.255"), ("017700000001", "127.0.0.1"), ("0251.0376.0251.0376", "169.254.169.254")),
        *(
            ("a.example", None),
            ("1.2.3.example", None),
            ("localhost", None),
            ("1.a", None),
            ("0x7g", None),
            ("1e3", None),
        ),
    ],
)
def test_what_a_browser_takes_for_an_address(host: str, address: str | None) -> None:
    assert literal(host) == address


@pytest.mark.parametrize(
    "host", ["256.1.1.1", "1.2.3.4.5", "4294967296", "1.1.1.256", "1.1.65536", "08.1.1.1", "a.1", "1..1", "0x.a.1"]
)
def test_what_looks_like_an_address_and_is_none(host: str) -> None:
    with pytest.raises(ValueError):
        literal(host)


def test_names_that_are_loopback_whatever_a_resolver_says() -> None:
    assert all(map(is_loopback_name, ("localhost", "LOCALHOST.", "a.localhost", "a.b.Localhost.")))
    assert not any(map(is_loopback_name, ("localhost.example", "notlocalhost", "")))


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.18.0.2", "fd12::1", "::1", "8.8.8.8"])
def test_what_a_setting_that_names_hosts_may_open(ip: str) -> None:
    assert not never_reached(ip)


@pytest.mark.parametrize(
    "ip",
    [
        *(
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
        ),
        *(
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "::ffff:169.254.169.254",
            "2002:7f00:1::",
            "x",
            "",
        ),
    ],
)
def test_what_no_setting_that_names_hosts_may_open(ip: str) -> None:
    assert never_reached(ip)
