"""Addresses of edges. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from broker.contract.errors import BadInput

SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:(?!\d)", re.IGNORECASE)
"""A URL's scheme. `localhost:8000` has none: a digit after the colon makes it a port."""

_RUN_PAGE: Final = re.compile(r"/tests/[^/]*$")


def edge_url(given: str) -> str:
    """Returns the address of an edge as `http(s)://host[:port][/prefix]`, without a trailing slash.

    `http` is the default. The prefix is the path below which a proxy serves the edge.

    Raises:
        BadInput: `given` is not such an address.
    """
    text = given.strip()
    has_scheme = bool(SCHEME.match(text))
    if not has_scheme:
        text = f"http://{text}"
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError as error:
        raise BadInput(f"{given!r} is not an edge address: {error}") from None
    if address.scheme not in ("http", "https") or not address.hostname or port == 0:
        raise BadInput(f"{given!r} is not an edge address: expected one like http://127.0.0.1:8000")
    prefix = address.path.rstrip("/")
    bare = not has_scheme and address.port is None  # "some/path" is a mistake, and not the path of an edge at "some"
    if address.query or address.fragment or _RUN_PAGE.search(prefix) or (prefix and bare):
        raise BadInput(f"{given!r} is not an edge address: expected only {address.scheme}://{address.netloc}")
    return f"{address.scheme}://{address.netloc}{prefix}"


def page_url(edge: str, test_id: str) -> str:
    """The address of a run's page, below that of its edge."""
    return f"{edge}/tests/{test_id}"


def is_local(url: str) -> bool:
    """Whether `url` leads to this machine, so that no proxy is used."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)
