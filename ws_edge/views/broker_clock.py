"""The broker's clock as this node knows it. Pure: the node's own wall clock is never read."""

from __future__ import annotations

from typing import Final

_STEP_MS: Final = 1000.0
"""A clock that lags by more than this was set back."""
_DRIFT_MS: Final = 1.0
"""How far two clocks may drift apart between two answers."""


class BrokerClock:
    """How far the broker's clock is ahead of a monotonic clock of this node.

    An answer has been under way, and may have waited here: it makes the broker's clock look late, and never early. The
    clock therefore follows the answers that were quickest.
    """

    def __init__(self) -> None:
        self.offset_ms: float | None = None
        """None before it was told."""

    def __repr__(self) -> str:
        return f"<BrokerClock offset_ms={self.offset_ms}>"

    def set(self, broker_ms: float, now: float) -> None:
        """Takes in what the broker's clock says at `now`, loop time or `time.monotonic`. 0: it does not say."""
        if not broker_ms:
            return
        offset_ms, known = broker_ms - now * 1000, self.offset_ms
        if known is not None and known - _STEP_MS < offset_ms < known - _DRIFT_MS:
            offset_ms = known - _DRIFT_MS
        self.offset_ms = offset_ms

    def at(self, now: float) -> float | None:
        """The broker's time at `now`, on the same scale, ms since 1970. None before it was told."""
        return None if self.offset_ms is None else now * 1000 + self.offset_ms

    def now_ms(self, now: float) -> int | None:
        """The same in whole milliseconds."""
        broker_ms = self.at(now)
        return None if broker_ms is None else int(broker_ms)
