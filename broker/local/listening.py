"""Whether a program could listen at an address, and if not, why: as the system says, never guessed."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Final

from broker.contract.addresses import is_loopback_name

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_REASONS: Final = {
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "that port needs privileges",
    errno.EAFNOSUPPORT: "this machine does not have this kind of address",
}


def bare(host: str) -> str:
    """Returns a host without the brackets around an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def host_port(host: str, port: int) -> str:
    """Returns `host:port` as it stands in an address: with brackets around IPv6."""
    host = bare(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """Returns an address at which this machine reaches what listens on `host`, which may stand for every address."""
    return _LOOPBACK.get(bare(host), bare(host))


def resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]:
    """Returns the family and the socket address of a host name or an IP address to listen on.

    Raises:
        OSError: there is no such host.
    """
    try:
        found = socket.getaddrinfo(bare(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from None
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value]  # the other forms are of systems without sockets


def refusal(host: str, port: int) -> str:
    """Returns why a program cannot listen there at the moment, as part of a sentence; empty when it could."""
    try:
        family, address = resolved(host, port)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return reason(host, port, error)
    return ""


def reason(host: str, port: int, error: OSError) -> str:
    """Returns what an error of listening means, as part of a sentence."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by another program"
    why = "there is no such host" if isinstance(error, socket.gaierror) else _REASONS.get(error.errno or 0)
    return f"cannot listen on {host_port(host, port)}: {why or error.strerror or error}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`. The address of all interfaces is no loopback."""
    if is_loopback_name(host):
        return True
    try:
        return ipaddress.ip_address(bare(host)).is_loopback
    except ValueError:
        return False
