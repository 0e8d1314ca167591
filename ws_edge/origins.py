"""Origins of pages, as an operator writes them and as browsers send them, and the edge's own public address. Pure.

A browser sends an origin in one form only (RFC 6454, 6.2): lower case, names in punycode, no default port, no path.
What an operator writes is brought into that form, or refused with the reason.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#\s]*)/?", re.IGNORECASE)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_MAX_PREFIX_CHARS: Final = 200
_AMBIGUOUS: Final = frozenset("ßς\u200c\u200d")
"""Characters that Python's codec and browsers encode differently: IDNA 2003 and IDNA 2008."""
_OWN_FOLDERS: Final = ("rpc", "ws", "client", "view", "oidc", "badge")


class PublicUrl(NamedTuple):
    """Where clients reach the edges from outside."""

    scheme: str
    """"http" or "https"."""
    host: str
    """With the port, unless it is the scheme's default."""
    prefix: str
    """The path below which the edge is served, without a slash at its end; empty for the root."""

    @property
    def origin(self) -> str:
        """The origin of the dashboard's pages."""
        return f"{self.scheme}://{self.host}"


def parse_public_url(text: str) -> PublicUrl:
    """Reads a public address, like `https://tests.example.org/testcast`.

    Raises:
        ValueError: with the reason.
    """
    try:
        parts = urlsplit(text.strip())
    except ValueError as error:
        raise ValueError(str(error)) from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        raise ValueError("expected an address like https://tests.example.org/testcast")
    if parts.query or parts.fragment:
        raise ValueError("an address without ? and #")
    host = _authority(parts.scheme, parts.netloc)
    prefix = parts.path.rstrip("/")
    if parse_prefix(prefix) is None:
        raise ValueError(f"its path {prefix[:80]!r} may contain only names of letters, digits and . _ ~ -")
    if prefix.split("/")[1:2] and prefix.split("/")[1] in _OWN_FOLDERS:
        raise ValueError(f"its path may not begin with /{prefix.split('/')[1]}, as addresses of the edge itself do")
    return PublicUrl(parts.scheme, host, prefix)


def parse_prefix(text: str) -> str | None:
    """The path below which the edge is served, without a slash at its end. None: `text` is not such a path."""
    prefix = text.strip().rstrip("/")
    return prefix if len(prefix) <= _MAX_PREFIX_CHARS and _PREFIX.fullmatch(prefix) else None


class Origins:
    """A set of origins. `origin in origins` says whether a page of that origin is meant.

    Args:
        given: as an operator writes them. `https://*.example.com` names every name below example.com, at any depth,
            and not example.com itself.

    Raises:
        ValueError: one can match no page, or too many; with the reason.
    """

    def __init__(self, given: Iterable[str] = ()) -> None:
        parsed = {canonical(each) for each in given}
        self._exact = frozenset(each for each in parsed if "*" not in each)
        self._below = tuple(tuple(each.split("*", 1)) for each in sorted(parsed - self._exact))

    def __repr__(self) -> str:
        return f"<Origins {sorted(self._exact)} {['*'.join(each) for each in self._below]}>"

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origins) and (self._exact, self._below) == (other._exact, other._below)

    def __hash__(self) -> int:
        return hash((self._exact, self._below))

    def __contains__(self, origin: object) -> bool:
        if not isinstance(origin, str) or not self:
            return False
        if origin in self._exact:
            return True
        try:
            asked = canonical(origin)
        except ValueError:
            return False
        if "*" in asked:
            return False
        return asked in self._exact or any(
            asked.startswith(scheme) and asked.endswith(name) and len(asked) > len(scheme) + len(name)
            for scheme, name in self._below
        )


def canonical(text: str) -> str:
    """An origin in the form in which browsers send it, possibly with `*.` before its name.

    Raises:
        ValueError: it is no origin that could be allowed, with the reason.
    """
    text = text.strip()
    if text.lower() == "null":
        raise ValueError("every sandboxed frame and every local file has the origin null, of any site")
    if text == "*":
        raise ValueError("that would allow every page there is; name the pages' origins")
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise ValueError("expected scheme://name[:port] without a path, like https://example.com")
    scheme = found[1].lower()
    if scheme == "file":
        raise ValueError("pages opened from files have no origin of their own; serve the page over HTTP")
    if scheme in ("ws", "wss"):
        raise ValueError(f"an origin is the page's address, not the socket's: http{scheme[2:]}://…")
    return f"{scheme}://{_authority(scheme, found[2], wildcard=True)}"


def _authority(scheme: str, text: str, *, wildcard: bool = False) -> str:
    """`name[:port]` as browsers write it.

    Raises:
        ValueError: with the reason.
    """
    if "@" in text:
        raise ValueError("an address without a user and a password")
    bracketed = re.fullmatch(r"(\[[^\]]*\])(?::(.*))?", text)
    name, port = (bracketed[1], bracketed[2]) if bracketed else (text.partition(":")[0], text.partition(":")[2])
    below = "*." if wildcard and name.startswith("*.") else ""
    name = name.removeprefix(below)
    if "*" in name or "*" in (port or ""):
        raise ValueError("a * stands only for the names before the first dot, like https://*.example.com")
    name = _ipv6(name) if bracketed else _name(name)
    if below and (bracketed or "." not in name.strip(".")):
        raise ValueError(f"{below}{name} would allow too many pages; name a domain")
    if not port:
        return below + name
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"{port[:20]!r} is not a port")
    return below + name + (f":{int(port)}" if int(port) != _DEFAULT_PORTS.get(scheme) else "")


def _ipv6(text: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(text[1:-1]).compressed}]"
    except ValueError:
        raise ValueError(f"{text[:60]} is not an IPv6 address") from None


def _name(text: str) -> str:
    name = text.lower()
    if not name.isascii():
        if not _AMBIGUOUS.isdisjoint(name):
            raise ValueError(f"write {name[:80]!r} in punycode (xn--…), as the browser's address bar copies it")
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError(f"{text[:80]!r} is not a host name") from None
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text[:80]!r} is not a host name")
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise ValueError(f"{text[:80]!r} is neither a host name nor an IPv4 address") from None
    return name


def canonical_host(text: str) -> str:
    """A host name or an IP address as an operator writes it, in the form of the header Host, possibly with `*.` before
    a name.

    Raises:
        ValueError: it is none, with the reason.
    """
    text = text.strip().removesuffix(".")
    if text == "*":
        raise ValueError("any page could then rebind its own name to this edge; name the hosts")
    if "/" in text:
        raise ValueError("expected a name without scheme and path, like tests.example.org")
    bare = text.removeprefix("[").removesuffix("]")
    if bare.count(":") > 1:
        return _ipv6(f"[{bare}]")
    if ":" in text:
        raise ValueError("expected a name without a port, since every port is meant")
    return _authority("", text, wildcard=True)
