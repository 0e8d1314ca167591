"""What proxies say of a request: where it comes from, and how the edge is addressed from outside. Pure.

The headers are read only when the peer is a trusted proxy: anybody else can write what they like. The limits trust only
the proxies that the operator names; the edge's own address, which fools nobody but the asker, those of this machine too
while none are named. `X-Forwarded-For`,
`-Proto`, `-Host` and `-Prefix` come before `Forwarded` (RFC 7239): a proxy that writes the former passes the latter on
as the client sent it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_edge.origins import parse_prefix

if TYPE_CHECKING:
    from ws_edge.config import EdgeConfig, Network

Header = Callable[[str], str | None]
"""Looks a request header up by its lower-case name; repeated ones are joined by commas."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_THIS_MACHINE: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
"""Trusted for the edge's own address where no proxies are named: the usual proxy in front of one edge."""
_IPV6_LIMIT_BITS: Final = 64
"""One customer of a provider has at least this network (RFC 6177), so it counts as one address."""
_BRACKETED: Final = re.compile(r"\[([^\]]*)\](?::\w+)?")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PAIR: Final = re.compile(
    r"[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s\",;]*+)))?[ \t]*([;,]|\Z)"
)
"""One pair of `Forwarded`, with the separator behind it. Empty members are legal (RFC 9110, 5.6.1.2)."""


class Outside(NamedTuple):
    """The edge's address as the client of a request has it."""

    secure: bool
    host: str
    """With the port, unless it is the scheme's default."""
    prefix: str
    """The path below which the edge is served, without a slash at its end. Empty for the root, and when unknown."""


def parse_address(text: str) -> Address | None:
    """Reads an IP address, possibly with a port, brackets or a zone. An IPv4 address that is mapped into IPv6 becomes
    plain. None: it is no address, like `unknown` and `_hidden` (RFC 7239, 6)."""
    text = text.strip()
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        text = bracketed[1]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address if address.version == 4 else (address.ipv4_mapped or address)


def limited_address(address: str) -> str:
    """What counts as one address against the limits: an IPv6 address stands for its /64."""
    if ":" not in address:
        return address
    parsed = parse_address(address)
    if parsed is None or parsed.version == 4:
        return address if parsed is None else str(parsed)
    return str(ipaddress.ip_network((parsed, _IPV6_LIMIT_BITS), strict=False))


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address is one of a trusted proxy."""
    parsed = parse_address(address) if trusted else None
    return parsed is not None and any(parsed in network for network in trusted)


def client_address(peer: str, header: Header, trusted: Sequence[Network]) -> str:
    """Where a request comes from.

    Args:
        peer: the address at the other end of the connection.
        trusted: the proxies whose headers are read. Each trusted hop, from the nearest on, may name the one before it.

    Returns:
        The first address, seen from here, that is no trusted proxy. Where a proxy names no address, the proxy's own.
    """
    address = str(parse_address(peer) or peer) if ":" in peer else peer  # a mapped IPv4 address becomes plain
    if not is_trusted(address, trusted):
        return address
    named = header("x-forwarded-for")
    hops = named.split(",") if named is not None else [each.get("for", "") for each in parse_forwarded(header)]
    for hop in reversed(hops):
        before = parse_address(hop)
        if before is None or not is_trusted(address, trusted):
            break
        address = str(before)
    return address


def parse_forwarded(header: Header) -> list[dict[str, str]]:
    """The elements of `Forwarded`, the client's first; names in lower case. Empty when it is malformed or absent."""
    text = header("forwarded") or ""
    elements: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            return []
        if pair[1]:
            quoted = pair[2]
            elements[-1][pair[1].lower()] = pair[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if pair[4] == ",":
            elements.append({})
        position = pair.end()
    return [each for each in elements if each]


def seen_from_outside(config: EdgeConfig, header: Header, peer: str) -> Outside:
    """The edge's address as the client of a request has it: the configured one, else what trusted proxies say, else
    what the request itself says."""
    public = config.public_url
    if public is not None:
        return Outside(public.scheme == "https", public.host, public.prefix)
    host = header("host") or f"{config.host}:{config.port}"
    if not tells_addresses(config, peer):
        return Outside(False, host, "")
    first = (parse_forwarded(header) or [{}])[0]
    scheme = _first(header("x-forwarded-proto")) or first.get("proto", "")
    prefix = parse_prefix(header("x-forwarded-prefix") or "")
    return Outside(scheme.lower() in ("https", "wss"), forwarded_host(header) or host, prefix or "")


def forwarded_host(header: Header) -> str | None:
    """The edge's name as the client used it, in the words of a proxy. None where it names none, or nothing valid."""
    named = _first(header("x-forwarded-host")) or (parse_forwarded(header) or [{}])[0].get("host", "")
    return named if _HOST.fullmatch(named) else None


def tells_addresses(config: EdgeConfig, peer: str) -> bool:
    """Whether this peer is a proxy that may say how the edge is addressed from outside."""
    return is_trusted(peer, config.trusted_proxies or _THIS_MACHINE)


def _first(value: str | None) -> str:
    """The first of a list: the proxies behind it have added theirs."""
    return (value or "").partition(",")[0].strip().strip('"')
