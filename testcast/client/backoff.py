"""How long to wait before trying an edge again (DESIGN 7). Pure."""

from __future__ import annotations

from typing import Final

DELAYS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Before attempts 1, 2, 3 …; the last for every one after."""
MAX_ATTEMPTS: Final = 10
POLL_AFTER_FAILURES: Final = 2
POLL_EVERY_S: Final = 3.0
SILENCE_S: Final = 35.0
"""An edge beats every 15 s: two beats and a little without a frame mean that nobody is there."""
MAX_RETRY_AFTER_S: Final = 60.0
"""Longest wait that a goodbye may ask for."""


def delay_s(failures: int, chance: float) -> float:
    """Seconds before the next attempt.

    Args:
        failures: attempts in a row on which nothing was delivered, from 1.
        chance: a random number from 0 up to 1; spreads those who lost the same edge.
    """
    return DELAYS_S[min(failures, len(DELAYS_S)) - 1] * (0.8 + 0.2 * chance)


def retry_after_s(asked_ms: object) -> float | None:
    """The wait that a `goodbye` asks for, bounded; None when it asks for none."""
    if not isinstance(asked_ms, (int, float)) or isinstance(asked_ms, bool) or asked_ms < 0:
        return None
    return min(asked_ms / 1000, MAX_RETRY_AFTER_S)
