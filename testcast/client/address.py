"""Addresses of edges. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from broker.contract.errors import BadInput

SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:(?!\d)", re.IGNORECASE)
"""A URL's scheme. `localhost:8000` has none: a digit after the colon makes it a port."""


def edge_url(given: str) -> str:
    """Returns the address of an edge as `http(s)://host[:port]`, without a trailing slash. `http` is the default.

    Raises:
        BadInput: `given` is not such an address.
    """
    text = given.strip()
    if not SCHEME.match(text):
        text = f"http://{text}"
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError as error:
        raise BadInput(f"{given!r} is not an edge address: {error}") from None
    if address.scheme not in ("http", "https") or not address.hostname or port == 0:
        raise BadInput(f"{given!r} is not an edge address: expected one like http://127.0.0.1:8000")
    if address.path.strip("/") or address.query or address.fragment:
        raise BadInput(f"{given!r} is not an edge address: expected only http://{address.netloc}")
    return f"{address.scheme}://{address.netloc}"


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
