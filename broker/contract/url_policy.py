"""Which game addresses may be opened. The edge applies this rule at submit, the agent before it opens an address.

Pure. Names are resolved elsewhere; this module judges what they resolve to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from broker.contract.errors import BadInput

MAX_URL_CHARS: Final = 2048
"""Longer addresses are refused: browsers and proxies differ in what they accept."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_KEEP_IN_PATH: Final = "/%:@!$&'()*+,;=~-._[]|"
_KEEP_IN_QUERY: Final = _KEEP_IN_PATH + "?"
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_V4_COMPATIBLE: Final = ipaddress.ip_network("::/96")
_SITE_LOCAL: Final = ipaddress.ip_network("fec0::/10")


class GameUrlRefused(BadInput, ValueError):
    """A game's address that is not opened.

    Attributes:
        code: `invalid_url` (it is not the address of a web page) or `url_refused` (it may not be opened).
        message: what is wrong and what to do, for the person who typed it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code)


def check_game_url(url: str) -> str:
    """Returns `url` in its normal form: lower-case ASCII host, no default port, escaped path.

    Raises:
        GameUrlRefused: it is too long, not http(s), has no usable host, or contains a name and password.
    """
    url = url.strip()
    if not url:
        raise _invalid("Give the address of a game.")
    if len(url) > MAX_URL_CHARS:
        raise _invalid(f"The address has {len(url)} characters; at most {MAX_URL_CHARS} are taken.")
    # A browser drops tabs and newlines and reads "\" as "/"; Python does not. Both must find the same host in an
    # address, so these characters are refused rather than repaired.
    if any(char <= " " or char == "\\" or char == "\x7f" for char in url):
        raise _invalid("The address contains a space, a backslash or a control character.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _invalid(f"The address cannot be read: {error}.") from None
    if port == 0:
        raise _invalid("The address cannot be read: there is no port 0.")
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        if not scheme or not url.lower().startswith(f"{scheme}://"):
            raise _invalid("Give the whole address, beginning with http:// or https://.")
        raise GameUrlRefused("url_refused", f"Only http and https addresses can be tested, not {scheme}:.")
    if "@" in parts.netloc:
        raise GameUrlRefused("url_refused", "The address carries a name and password; leave them out.")
    host = _normal_host(parts)
    netloc = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    path = quote(parts.path or "/", safe=_KEEP_IN_PATH)
    query = quote(parts.query, safe=_KEEP_IN_QUERY)
    normal = urlunsplit((scheme, netloc, path, query, quote(parts.fragment, safe=_KEEP_IN_QUERY)))
    if len(normal) > MAX_URL_CHARS:
        raise _invalid(f"The address, escaped, has more than {MAX_URL_CHARS} characters.")
    return normal


def host_of(url: str) -> tuple[str, int]:
    """Host (IPv6 without brackets) and port of an address that `check_game_url` returned."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def address_allowed(ip: str) -> bool:
    """Returns whether `ip` is on the public internet: not private, loopback, link-local, multicast or reserved.

    An IPv6 address that contains an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged by both. Text that is not an IP
    address is not allowed.
    """
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        carried = _carried_v4(address)
        if carried and not all(_is_public(each) for each in carried):
            return False
        if carried and (address.ipv4_mapped or address in _NAT64):
            return True
        if address in _SITE_LOCAL:
            return False
    return _is_public(address)


def refuse_private(host: str, addresses: Iterable[str], setting_of: str = "the edge") -> None:
    """Checks the addresses that `host` resolves to. All must be public, since any of them may be used.

    Args:
        setting_of: the part whose setting decides, for the message.

    Raises:
        GameUrlRefused: with code `url_refused`; also when there is no address at all.
    """
    found = list(addresses)
    for address in found:
        if not address_allowed(address):
            what = "is a private address" if address == host else f"leads to {address}, a private address"
            raise GameUrlRefused(
                "url_refused",
                f"{host} {what}. Only games at public addresses may be tested, unless TESTCAST_ALLOW_PRIVATE=1 is set "
                f"for {setting_of}.",
            )
    if not found:
        raise GameUrlRefused("url_refused", f"{host} has no address.")


def _normal_host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host).compressed}]"
        except ValueError:
            raise _invalid(f"[{host}] is not an IPv6 address.") from None
    try:
        host = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise _invalid(f"{host[:80]!r} is not a host name.") from None
    if not host.strip("."):
        raise _invalid("The address has no host.")
    if not all(char.isalnum() or char in "-._" for char in host) or ".." in host or len(host) > 253:
        raise _invalid(f"{host[:80]!r} is not a host name.")
    return host


def _carried_v4(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or (address in _V4_COMPATIBLE and int(address) > 0xFFFF):
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [each for each in carried if each is not None]


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _invalid(message: str) -> GameUrlRefused:
    return GameUrlRefused("invalid_url", message)
