"""The broker's clock as this node knows it. Pure: the node's own wall clock is never read."""

from __future__ import annotations


class BrokerClock:
    """The broker's time at some moment, and the time since then by a monotonic clock."""

    def __init__(self) -> None:
        self._broker_ms = 0
        self._at = 0.0

    def __repr__(self) -> str:
        return f"<BrokerClock broker_ms={self._broker_ms}>"

    def set(self, broker_ms: int, now: float) -> None:
        """Takes in what the broker's clock says at `now`, loop time. 0: it does not say."""
        if broker_ms:
            self._broker_ms, self._at = broker_ms, now

    def now_ms(self, now: float) -> int | None:
        """The broker's time at `now`, loop time, ms since 1970. None before it was told."""
        return self._broker_ms + int((now - self._at) * 1000) if self._broker_ms else None
