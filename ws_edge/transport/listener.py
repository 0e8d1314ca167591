"""Listening sockets, with the options that every accepted connection inherits.

Linux hands the options of a listening socket on to the sockets it accepts, so they cost no system call per viewer.
Several processes on one port have a listening socket each (SO_REUSEPORT): the kernel spreads the connections evenly
among them, whereas a shared one gives most connections to the process that wakes first.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from broker.contract.errors import InvalidSetting
from broker.local.listening import reason, resolved

BACKLOG: Final = 4096
_ACCEPTS_A_TURN: Final = 8
_RESERVED_FILES: Final = 100
"""Not for connections: the process's own files, and what it needs to connect to its broker again."""
_NO_LIMIT: Final = 1_000_000
_NOTSENT_LOWAT_BYTES: Final = 16 * 1024
"""The kernel's share of what is not sent yet. Without it a stalled socket takes up to 4 MB that RSS does not show."""
_KEEPALIVE_IDLE_S: Final = 30
"""When the kernel begins to probe an idle peer. TCP_USER_TIMEOUT is no alternative: it also kills a live peer whose
window is closed."""


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Opens `count` listening sockets on one port.

    Args:
        port: 0 for any that is free.
        count: how many processes take a socket each. Where the system cannot share a port, there is only one.

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
        raise InvalidSetting(f"{reason(host, port, error)} (TESTCAST_EDGE_HOST, TESTCAST_EDGE_PORT)") from None
    return listening


def accept_sockets(listening: socket.socket) -> list[socket.socket]:
    """The listening socket and duplicates of it: uvloop accepts one connection from each in a turn of the loop.

    With one socket, viewers that connect during a large fan-out wait for one slice of it each, and a turn of the loop
    is an eighth of what a handshake costs when thousands connect at once.
    """
    return [listening, *(listening.dup() for _ in range(_ACCEPTS_A_TURN - 1))]


def files_for_connections() -> int:
    """How many connections the process can hold open, after raising its limit of open files as far as it may."""
    try:
        import resource
    except ImportError:  # this system has no such limit
        return _NO_LIMIT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _NO_LIMIT
    return max(soft - _RESERVED_FILES, soft // 2)


def _bound(host: str, port: int, reuse: int | None) -> socket.socket:
    family, address = resolved(host, port)
    each = socket.socket(family)
    try:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse is not None:
            each.setsockopt(socket.SOL_SOCKET, reuse, 1)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT_BYTES)
        each.bind(address)
        each.listen(BACKLOG)
    except OSError:
        each.close()
        raise
    return each
