"""Whether other machines can reach what listens at an address."""

from __future__ import annotations

import ipaddress
import socket

from broker.contract.errors import InvalidSetting
from broker.local.listening import bare


def is_exposed(host: str) -> bool:
    """Whether other machines can reach what listens on `host`: a name, an address, or one that stands for all.

    A name counts as exposed when one of its addresses is. A host that does not exist is not: listening there fails.
    """
    try:
        found = socket.getaddrinfo(bare(host), 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):  # UnicodeError: a name that cannot be encoded
        return False
    return any(is_exposed_address(str(address[0])) for *_, address in found)


def is_exposed_address(address: str) -> bool:
    """Whether other machines can reach what listens at an IP address, as a socket names it."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # the path of a Unix socket
        return False
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    return not (mapped or ip).is_loopback


def refuse_exposed(host: str, setup: str) -> None:
    """Refuses an address that other machines can reach, for a server without authentication.

    Args:
        host: where it is to listen.
        setup: the command that starts it with authentication.

    Raises:
        InvalidSetting: they can. The message has the two lines that set authentication up.
    """
    if is_exposed(host):
        raise InvalidSetting(
            f"TESTCAST_EDGE_HOST or --host: other machines can reach {host}, and everyone there would see and do "
            "everything, since authentication is off. Two commands set it up:\n\n"
            f"    testcast token init\n    {setup}\n\n"
            "With TESTCAST_INSECURE=1 it listens there without authentication."
        )
