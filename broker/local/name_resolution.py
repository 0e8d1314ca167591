"""Resolving a game's host name, for the check of an address when a run is submitted."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from broker.contract.url_policy import check_game_url, host_of, refuse_private

_RESOLVE_S: Final = 3.0


async def check_for_submit(url: str, *, allow_private: bool, setting_of: str = "the edge") -> str:
    """Returns the address in its normal form if an agent may open it.

    A name that does not resolve here passes: the agent may be on another network, and applies the same check.

    Args:
        setting_of: the part whose setting `allow_private` is, for the message.

    Raises:
        GameUrlRefused: it is not an http(s) address, or it leads to a private address while that is not allowed.
    """
    normal = check_game_url(url)
    if not allow_private:
        host, port = host_of(normal)
        addresses = await _resolve(host, port)
        if addresses:
            refuse_private(host, addresses, setting_of)
    return normal


async def _resolve(host: str, port: int) -> list[str]:
    try:
        async with asyncio.timeout(_RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return sorted({str(entry[4][0]) for entry in found})
