"""The wall clock, for timestamps. Intervals and deadlines use the event loop's clock instead."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000
