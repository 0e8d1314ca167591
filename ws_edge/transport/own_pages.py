"""Whether the cookies of a request count: only where a page of this edge sends it. Pure.

A browser sends cookies along with requests that other pages make: `SameSite=Lax` still lets those of sibling hosts
through. Their requests count as ones without cookies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ws_edge.transport.forwarded import Header, seen_from_outside
from ws_edge.transport.handshake import origin_allowed

if TYPE_CHECKING:
    from ws_edge.config import EdgeConfig

_OWN_SITES: Final = ("same-origin", "none")
"""Of `Sec-Fetch-Site`. `none`: a person has entered the address."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


def is_own_origin(config: EdgeConfig, header: Header, peer: str) -> bool:
    """Whether the Origin of a request is this edge's own: name, port and scheme.

    The scheme is https, as browsers keep the edge's cookies for nothing else, or http on loopback.

    Args:
        peer: the address at the other end of the connection.
    """
    origin = (header("origin") or "").lower()
    outside = seen_from_outside(config, header, peer)
    if not (origin_allowed(origin, outside.host, ()) or origin_allowed(origin, header("host"), ())):
        return False
    parts = urlsplit(origin)
    if parts.scheme == "https":
        return True
    name = parts.netloc.rpartition(":")[0] if parts.netloc.rpartition(":")[2].isdigit() else parts.netloc
    is_loopback = name in _LOOPBACK or name.endswith(".localhost")
    return is_loopback and not (outside.secure and outside.host == parts.netloc)


def is_of_other_scheme(config: EdgeConfig, header: Header, peer: str) -> bool:
    """Whether the Origin is this edge's name without TLS, while the edge is known to be reached over TLS: whoever can
    change what such a page says is anybody on the way."""
    origin = (header("origin") or "").lower()
    if not origin.startswith("http://") or origin in config.allowed_origins:
        return False
    outside = seen_from_outside(config, header, peer)
    return outside.secure and origin_allowed(origin, outside.host, ())


def with_own_cookies(config: EdgeConfig, header: Header, peer: str, *, changes: bool = False) -> Header:
    """The headers of a request, without its cookies where they do not count.

    Args:
        changes: the request changes something: then its Origin has to stand there, as every browser sends it.
    """
    if header("cookie") is None:
        return header
    if header("origin") is not None:
        own = is_own_origin(config, header, peer)
    else:
        site = header("sec-fetch-site")
        own = not changes and (site is None or site in _OWN_SITES)
    return header if own else lambda name: None if name == "cookie" else header(name)
