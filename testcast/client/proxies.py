"""Which HTTP proxy a request to an edge goes through, by the usual environment variables. Pure.

`http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower or upper case; lower case goes first, as in curl. This
machine is never reached through a proxy. RPC calls and WebSockets use the same rule, so that both work or neither.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from broker.contract.errors import BadInput
from testcast.client.address import is_local

_HTTP: Final = ("http", "https")
_LOWER: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
VARIABLES: Final = (*_LOWER, *(each.upper() for each in _LOWER), "REQUEST_METHOD")
"""What `proxy_for` reads."""


class Proxy(NamedTuple):
    """A proxy, and the variable that names it."""

    url: str
    variable: str

    def __repr__(self) -> str:
        return f"<Proxy of {self.variable}>"  # the address may carry a password


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Returns the proxy for an edge's address; None: connect directly.

    Raises:
        BadInput: the variable that applies has no usable value; the message names it.
    """
    address = urlsplit(url)
    if is_local(url) or _excepted(address.hostname or "", address.port, _value("no_proxy", environ)[1]):
        return None
    for scheme in (address.scheme, "all"):
        if scheme == "http" and "REQUEST_METHOD" in environ:
            continue  # a CGI program: a client's header "Proxy" arrives as HTTP_PROXY
        variable, given = _value(f"{scheme}_proxy", environ)
        if given:
            return Proxy(_checked(variable, given), variable)
    return None


def _value(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    for each in (name, name.upper()):
        if each in environ:
            return each, environ[each].strip()
    return name, ""


def _checked(variable: str, given: str) -> str:
    text = given if "://" in given else f"http://{given}"
    advice = f"unset it, or list the edge's host in {'no_proxy' if variable.islower() else 'NO_PROXY'}"
    try:
        address = urlsplit(text)
        usable = bool(address.hostname) and address.port != 0 and text.isascii() and not re.search(r"\s", text)
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[A-Za-z0-9._:%-]+", address.hostname or ""):
        raise BadInput(f"{variable} is not the address of a proxy, like http://proxy.example:3128: {advice}")
    scheme = address.scheme.lower()
    if scheme not in _HTTP:
        raise BadInput(f"{variable} names a proxy of the kind {scheme}; only http and https work here: {advice}")
    user = "" if address.username is None else f"{address.username}:{address.password or ''}@"
    return f"{scheme}://{user}{address.netloc.rpartition('@')[2]}"


def _excepted(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether an entry of `no_proxy` names the host: `*`, a name (with its subdomains), an address or a network."""
    host = host.rstrip(".").lower()
    for each in filter(None, re.split(r"[,\s]+", no_proxy)):
        if each == "*":
            return True
        for name, only_port in _readings(each):
            if only_port in (None, port) and _names(name, host):
                return True
    return False


def _readings(entry: str) -> Iterator[tuple[str, int | None]]:
    """An entry as a host, and where it may be one, as a host with a port."""
    yield entry.removeprefix("[").removesuffix("]"), None
    host, _, port = entry.rpartition(":")
    if host and port.isascii() and port.isdigit() and (":" not in host or host.endswith("]")):
        yield host.removeprefix("[").removesuffix("]"), int(port)


def _names(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        name = name.lower().removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
