"""Which game addresses may be opened. The edge applies this rule at submit, the agent before it opens an address.

Pure. Names are resolved elsewhere; this module judges what they resolve to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from broker.contract.addresses import address_allowed, literal, never_reached
from broker.contract.errors import BadInput, InvalidSetting

MAX_URL_CHARS: Final = 2048
"""Longer addresses are refused: browsers and proxies differ in what they accept."""

MAX_ALLOWED_HOSTS: Final = 64
"""Each job carries them."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_KEEP_IN_PATH: Final = "/%:@!$&'()*+,;=~-._[]|"
_KEEP_IN_QUERY: Final = _KEEP_IN_PATH + "?"


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

    A host that a browser takes for an IPv4 address (`127.1`, `0x7f000001`, `2130706433`) becomes that address.

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


def host_and_port(url: str) -> str:
    """The entry of `TESTCAST_ALLOW_HOSTS` that names the host and port of a game's address.

    Raises:
        GameUrlRefused: as `check_game_url`.
    """
    host, port = host_of(check_game_url(url))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def allowed_host(text: str) -> str:
    """Returns one entry of `TESTCAST_ALLOW_HOSTS`, `host` or `host:port`, in its normal form.

    Raises:
        InvalidSetting: it is neither.
    """
    scheme = "http://" if text.partition("://")[1] == "" else ""
    try:
        parts = urlsplit(check_game_url(f"{scheme}{text}"))
        port = urlsplit(f"{scheme}{text}").port
    except GameUrlRefused as refused:
        raise InvalidSetting(f"TESTCAST_ALLOW_HOSTS: {text[:80]!r}: {refused.message}") from None
    if not scheme or (parts.path, parts.query, parts.fragment) != ("/", "", "") or text.endswith("/"):
        raise InvalidSetting(f"TESTCAST_ALLOW_HOSTS: {text[:80]!r} is neither host nor host:port")
    host = parts.netloc.removesuffix(f":{parts.port}") if parts.port else parts.netloc
    return host if port is None else f"{host}:{port}"


def is_named(host: str, port: int, allowed_hosts: Collection[str]) -> bool:
    """Returns whether `allowed_hosts` (entries as `allowed_host` returns them) names this host and port."""
    shown = f"[{host}]" if ":" in host else host
    return shown in allowed_hosts or f"{shown}:{port}" in allowed_hosts


def refuse_private(
    host: str,
    addresses: Iterable[str],
    setting_of: str = "the edge",
    *,
    port: int = 0,
    allowed_hosts: Collection[str] = (),
) -> None:
    """Checks the addresses that `host` resolves to. All must be public, since any of them may be used.

    A host that `allowed_hosts` names may also be private or loopback; a metadata service or link local never.

    Args:
        setting_of: the part whose setting decides, for the message.

    Raises:
        GameUrlRefused: with code `url_refused`; also when there is no address at all.
    """
    found = list(addresses)
    named = is_named(host, port, allowed_hosts)
    for address in found:
        if address_allowed(address) or (named and not never_reached(address)):
            continue
        what = "is a private address" if address == host else f"leads to {address}, a private address"
        names = "" if named else " TESTCAST_ALLOW_HOSTS names it, or"
        raise GameUrlRefused(
            "url_refused",
            f"{host} {what}. Only games at public addresses may be tested, unless{names} TESTCAST_ALLOW_PRIVATE=1 is "
            f"set for {setting_of}.",
        )
    if not found:
        raise GameUrlRefused("url_refused", f"{host} has no address.")


def _normal_host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        return f"[{_normal_v6(host)}]"
    try:
        host = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise _invalid(f"{host[:80]!r} is not a host name.") from None
    if not host.strip("."):
        raise _invalid("The address has no host.")
    if not all(char.isalnum() or char in "-._" for char in host) or ".." in host or len(host) > 253:
        raise _invalid(f"{host[:80]!r} is not a host name.")
    try:
        return literal(host) or host
    except ValueError:
        raise _invalid(f"{host[:80]!r} is not an IPv4 address.") from None


def _normal_v6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise _invalid(f"[{host}] is not an IPv6 address.") from None
    if "%" in host:
        raise _invalid(f"[{host}] names an interface, which no web page has.")
    mapped = address.ipv4_mapped
    # Python writes a mapped address in one of two ways, depending on its version.
    return address.compressed if mapped is None else f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"


def _invalid(message: str) -> GameUrlRefused:
    return GameUrlRefused("invalid_url", message)
