"""Sending every viewer of a node to another one, before the node goes away."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from ws_edge.fanout.hub import Hub

_BATCHES: Final = 10
_PAUSE_S: Final = 0.2
"""At least, between two batches: the other nodes do not get all viewers in one moment."""
_PER_S: Final = 1_000
"""How many viewers are sent away in a second. A node takes each of them in 0.1 to 0.3 ms of its core, which it needs
for its own viewers; whoever is sent away later loses nothing, since this node serves until then."""
_COME_BACK_MS: Final = (100, 1000)
"""When a viewer is told to come back: drawn for each, so that they do not arrive together."""
_LOOK_S: Final = 0.05
_log: Final = logging.getLogger("testcast.edge")


def spread_s(viewers: int, within_s: float) -> float:
    """Over what time so many viewers are sent away. The other half of `within_s` is for those that are slow."""
    return min(max(_BATCHES * _PAUSE_S, viewers / _PER_S), within_s / 2)


async def drain(hub: Hub, within_s: float) -> None:
    """Sends viewers away in batches, and returns when all have gone or the time is over."""
    loop, rng = asyncio.get_running_loop(), random.Random()
    sockets = [socket for socket in hub.sockets if not socket.closing_since]
    rng.shuffle(sockets)
    _log.info("draining: %d sockets within %g s", len(sockets), within_s)
    deadline = loop.time() + within_s
    size = max(1, -(-len(sockets) // _BATCHES))
    pause_s = spread_s(len(sockets), within_s) / _BATCHES
    for start in range(0, len(sockets), size):
        for socket in sockets[start : start + size]:
            socket.goodbye(rng.randrange(*_COME_BACK_MS), "this node is going away")
        await asyncio.sleep(pause_s)
    while hub.sockets and loop.time() < deadline:
        await asyncio.sleep(_LOOK_S)
    _log.info("drained %d sockets, %d are left", len(sockets), len(hub.sockets))
