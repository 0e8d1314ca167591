"""Which IP addresses are on the public internet: a table of this project's own, on top of Python's. Pure.

`ipaddress.is_global` differs between versions of Python, knows no cloud's own addresses, and does not look at the IPv4
address inside an IPv6 one. An address is public when neither the table nor Python objects; the table alone decides
everything that the supported versions disagree about.

Sources: the IANA registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890) and of the IPv6 address space;
the clouds' documentation for their own. Whole blocks are refused, with the anycast services inside them: none is a
game's address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address

REFUSED_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network (RFC 791); Linux takes 0.0.0.0 for loopback
            "10.0.0.0/8",  # private use (RFC 1918)
            "100.64.0.0/10",  # carrier-grade NAT (RFC 6598); 100.100.100.200: Alibaba Cloud's metadata
            "127.0.0.0/8",  # loopback (RFC 1122)
            "161.26.0.0/16",  # IBM Cloud's own services
            "166.8.0.0/14",  # IBM Cloud's own services
            "168.63.129.16/32",  # Azure's own services on every virtual machine
            "169.254.0.0/16",  # link local (RFC 3927); 169.254.169.254: most clouds' metadata
            "172.16.0.0/12",  # private use (RFC 1918)
            "192.0.0.0/24",  # protocol assignments (RFC 6890); 192.0.0.192: Oracle Cloud's metadata
            "192.0.2.0/24",  # documentation (RFC 5737)
            "192.31.196.0/24",  # AS112 (RFC 7535)
            "192.52.193.0/24",  # AMT (RFC 7450)
            "192.88.99.0/24",  # 6to4 relays (RFC 7526)
            "192.168.0.0/16",  # private use (RFC 1918)
            "192.175.48.0/24",  # AS112 (RFC 7534)
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "198.51.100.0/24",  # documentation (RFC 5737)
            "199.36.153.0/28",  # Google's interfaces that answer only inside its cloud
            "203.0.113.0/24",  # documentation (RFC 5737)
            "224.0.0.0/4",  # multicast (RFC 1112)
            "240.0.0.0/4",  # reserved (RFC 1112), and broadcast
        ),
    )
)
GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
"""The only global unicast space there is. Outside it lie loopback, unique local (fd00:ec2::254 and other clouds'
metadata among them), link and site local, multicast, discard only (100::/64), segment routing (5f00::/16),
IPv4-compatible addresses, and what is reserved."""
REFUSED_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments (RFC 2928), with Teredo, benchmarks and ORCHID
            "2001:db8::/32",  # documentation (RFC 3849)
            "2002::/16",  # 6to4 (RFC 7526)
            "2620:4f:8000::/48",  # AS112 (RFC 7534)
            "3ffe::/16",  # 6bone, given back (RFC 3701)
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Translated to the IPv4 address inside. Its sibling for local use (64:ff9b:1::/48, RFC 8215) is refused."""
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE, 0x0100_5EFE, 0x0300_5EFE})
"""The upper half of an interface identifier whose lower half is an IPv4 address (RFC 5214); second bit: universal."""
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def address_allowed(ip: str) -> bool:
    """Returns whether `ip` is a public unicast address.

    An IPv6 address that contains an IPv4 one (mapped, NAT64, ISATAP) is judged by both. Text that is not an IP address
    is not allowed.
    """
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    return _v4_allowed(address) if isinstance(address, IPv4) else _v6_allowed(address)


def never_reached(ip: str) -> bool:
    """Returns whether no setting that names hosts may open `ip`: metadata services, link local, multicast, reserved.

    An installation's own servers have private, unique local or loopback addresses.
    """
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, IPv6) and (address in _MAPPED or address in _NAT64):
        address = _low(address)
    own = any(address in each for each in _OWN) and not any(address in each for each in _METADATA)
    return not own and not address_allowed(str(address))


_OWN: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"),
            *("::1/128", "fc00::/7"),
        ),
    )
)
_METADATA: Final = tuple(
    map(ipaddress.ip_network, ("100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::/32", "fd00:c1::/32"))
)
"""Clouds' own services inside the blocks of `_OWN`: Alibaba, Amazon, Google, Oracle. All others are outside them."""


def literal(host: str) -> str | None:
    """The IP address that a browser makes of `host`; None where it takes it for a name.

    The host parser of the URL standard: a host whose last label is a number is an IPv4 address in one to four parts,
    each decimal, octal (0…) or hexadecimal (0x…), the last of which fills the bytes that are left.

    Raises:
        ValueError: a browser takes it for an address, and it is none.
    """
    if host.startswith("["):
        return str(IPv6(host.strip("[]")))
    labels = host.removesuffix(".").split(".")
    if not _NUMBER.fullmatch(labels[-1]):
        return None
    if len(labels) > 4 or not all(map(_NUMBER.fullmatch, labels)):
        raise ValueError(f"{host} is not an IPv4 address")
    *upper, last = map(_part, labels)
    if any(each > 255 for each in upper) or last >= 256 ** (5 - len(labels)):
        raise ValueError(f"{host} is not an IPv4 address")
    return str(IPv4(sum(each << 8 * (3 - place) for place, each in enumerate(upper)) + last))


def is_loopback_name(host: str) -> bool:
    """Returns whether `host` is loopback whatever a resolver says (RFC 6761): `localhost` and every name below it."""
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def _part(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)


def _v4_allowed(address: IPv4) -> bool:
    return not any(address in each for each in REFUSED_V4) and address.is_global


def _v6_allowed(address: IPv6) -> bool:
    if address in _MAPPED or address in _NAT64:
        return _v4_allowed(_low(address))
    if address not in GLOBAL_V6 or any(address in each for each in REFUSED_V6):
        return False
    return all(map(_v4_allowed, _isatap(address))) and address.is_global


def _isatap(address: IPv6) -> Iterator[IPv4]:
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield _low(address)


def _low(address: IPv6) -> IPv4:
    return IPv4(int(address) & 0xFFFF_FFFF)
