"""When a client of an edge tries again, and when it polls instead. Pure. The dashboard uses the same numbers."""

from __future__ import annotations

from typing import Final

DELAYS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Delay before attempts 1, 2, 3 …; the last one holds for every attempt after."""
MAX_ATTEMPTS: Final = 10
"""Failed attempts in a row after which a client gives up, about three minutes after the first."""
POLL_AFTER_FAILURES: Final = 2
"""Failed attempts in a row after which a client polls over HTTP between attempts."""
POLL_EVERY_S: Final = 3.0
SILENCE_S: Final = 35.0
"""A connection without a message for this long is dead. An edge sends a heartbeat every 15 s: two are missing."""
MAX_RETRY_AFTER_S: Final = 60.0
"""Longest delay that a `goodbye` may ask for."""


def delay_s(failures: int, chance: float) -> float:
    """Seconds before the next attempt.

    Args:
        failures: failed attempts in a row, from 1. An attempt fails when nothing was delivered on it.
        chance: a random number from 0 up to 1. It spreads the clients that lost the same edge.
    """
    return DELAYS_S[min(failures, len(DELAYS_S)) - 1] * (0.8 + 0.2 * chance)


def retry_after_s(asked_ms: object) -> float | None:
    """The delay that a `goodbye` asks for, in seconds and within bounds; None when it asks for none."""
    if not isinstance(asked_ms, (int, float)) or isinstance(asked_ms, bool) or asked_ms < 0:
        return None
    return min(asked_ms / 1000, MAX_RETRY_AFTER_S)
