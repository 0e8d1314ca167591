"""The listening socket, and what every connection accepted from it begins with.

Linux hands a listening socket's options on to the sockets it accepts: set here, they cost no system call for each
viewer. Several processes on one port each have a listening socket of their own (SO_REUSEPORT), among which the kernel
spreads the connections evenly; taking turns at a shared one gives most of them to whoever wakes first.
"""

from __future__ import annotations

import socket
from typing import Final

from broker.contract.errors import InvalidSetting

BACKLOG: Final = 4096
_NOTSENT_LOWAT_BYTES: Final = 16 * 1024
"""The kernel's share of what is not sent yet; without a limit it takes up to 4 MB a stalled socket, unseen by RSS."""
_KEEPALIVE_IDLE_S: Final = 30
"""When the kernel begins to look for a dead peer (never by TCP_USER_TIMEOUT, which also kills a live peer whose window
is closed)."""


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Listens `count` times on one port.

    Args:
        port: 0 for any that is free.
        count: how many processes will take a socket each; where the system cannot share a port, one is all there is.

    Raises:
        InvalidSetting: the address cannot be listened on.
    """
    reuse = getattr(socket, "SO_REUSEPORT", None) if count > 1 else None
    listening: list[socket.socket] = []
    try:
        for _ in range(count if reuse is not None else 1):
            each = _bound(host, port, reuse)
            listening.append(each)
            port = each.getsockname()[1]
    except OSError as error:
        for each in listening:
            each.close()
        reason = error.strerror or error
        raise InvalidSetting(
            f"cannot listen on {host}:{port} (TESTCAST_EDGE_HOST, TESTCAST_EDGE_PORT): {reason}"
        ) from None
    return listening


def _bound(host: str, port: int, reuse: int | None) -> socket.socket:
    each = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse is not None:
            each.setsockopt(socket.SOL_SOCKET, reuse, 1)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT_BYTES)
        each.bind((host, port))
        each.listen(BACKLOG)
    except OSError:
        each.close()
        raise
    return each
