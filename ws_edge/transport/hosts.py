"""Whether a request is addressed to this edge, by the name it uses. Pure.

A page of any site can have its own name resolve to the edge's address ("DNS rebinding"). The browser then takes the
edge for that site and lets the page read every answer. The requests of such a page carry the site's name in Host, so an
edge answers only to names that it knows: those of loopback, its own, and those the operator lists. A page cannot
rebind an IP address, so the address that a connection came in on is a name of the edge too. It is how load balancers
ask for the health of an edge.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from ws_edge.transport.forwarded import Header, forwarded_host, parse_address, tells_addresses
from ws_edge.transport.handshake import Refusal

if TYPE_CHECKING:
    from ws_edge.config import EdgeConfig

_AUTHORITY: Final = re.compile(
    r"(?:((?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)"
    r"|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?"
)
"""`name[:port]`, or an IPv6 address in brackets. The dot at the end of a name is not among what browsers keep apart."""
_MAX_CHARS: Final = 300
_MAX_KNOWN: Final = 1000
_EVERYWHERE: Final = ("0.0.0.0", "::", "")
"""Addresses to listen on that name no host."""


class Hosts:
    """The names of one edge.

    Args:
        listed: what the operator lists. `*.example.org` stands for every name below example.org.
        own: the address that the edge listens on, and the host of the public URL, with or without a port.
    """

    def __init__(self, listed: Iterable[str], own: Iterable[str]) -> None:
        names = {*listed, *(name for each in own if (name := name_in(each)) is not None)}
        self._exact = frozenset({"localhost", *(each for each in names if not each.startswith("*."))})
        self._below = (".localhost", *sorted(each[1:] for each in names if each.startswith("*.")))
        self._known: set[str] = set()
        """What was allowed lately, as it stood in Host: all that most requests need."""

    def __repr__(self) -> str:
        return f"<Hosts {sorted(self._exact)} {[f'*{each}' for each in self._below]}>"

    def knows(self, host: str | None) -> bool:
        """Whether it was allowed lately. False says nothing: `check` tells."""
        return host in self._known

    def check(self, host: str | None, local: str) -> None:
        """Returns when the edge answers to this name.

        Args:
            host: the header Host, or what takes its place.
            local: the edge's end of the connection, an IP address.

        Raises:
            Refusal: 400 for what is no name, 421 for that of another server.
        """
        if host in self._known:
            return
        name = None if host is None else name_in(host)
        if name is None or host is None:
            text = "the header Host is missing, or it is no host name"
            raise Refusal(HTTPStatus.BAD_REQUEST, "malformed_request", text)
        if self._is_ours(name):
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known.add(host)
        elif not _is_address(name, local):
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "wrong_host", why_not(name))

    def _is_ours(self, name: str) -> bool:
        if name in self._exact or name.endswith(self._below):
            return True
        address = _address(name)
        return address is not None and address.is_loopback


def hosts_of(config: EdgeConfig) -> Hosts:
    """The names of an edge with these settings."""
    listening = () if config.host in _EVERYWHERE else (f"[{config.host}]" if ":" in config.host else config.host,)
    return Hosts(config.hosts, (*listening, *((config.public_url.host,) if config.public_url else ())))


def check_named_by_proxy(hosts: Hosts, config: EdgeConfig, header: Header, peer: str, local: str) -> None:
    """Returns when the name that a trusted proxy says the client has used is one of the edge's, or none is said.

    Raises:
        Refusal: as `Hosts.check`.
    """
    if header("x-forwarded-host") is None and header("forwarded") is None:
        return
    named = forwarded_host(header)
    if named is not None and tells_addresses(config, peer):
        hosts.check(named, local)


def name_in(host: str) -> str | None:
    """The name or address in `host`, without the port, in lower case. None: it is no valid host."""
    found = _AUTHORITY.fullmatch(host) if len(host) <= _MAX_CHARS else None
    if found is None or (found[3] is not None and not 0 < int(found[3]) < 65536):
        return None
    if found[2] is not None:
        address = _address(f"[{found[2]}]")
        return None if address is None else f"[{address}]" if address.version == 6 else str(address)
    name = found[1].lower()
    if name.rpartition(".")[2].isdigit() and _address(name) is None:
        return None  # like 127.1 and 2130706433, which resolvers read as addresses
    return name


def why_not(name: str) -> str:
    """What to tell the client, and the operator behind it."""
    return (
        f"this edge does not answer to the name {name[:_MAX_CHARS]!r}. If it is meant to, add the name to "
        "TESTCAST_EDGE_HOSTS, or set TESTCAST_EDGE_PUBLIC_URL to the address that viewers open"
    )


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        if name.startswith("["):
            address = ipaddress.IPv6Address(name[1:-1])
            return address.ipv4_mapped or address
        return ipaddress.IPv4Address(name)
    except ValueError:
        return None


def _is_address(name: str, local: str) -> bool:
    address = _address(name)
    return address is not None and address == parse_address(local)
