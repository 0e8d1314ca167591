"""Moments: times in ms since 1970, as events and snapshots have them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_LAST_MS: Final = 253_402_300_799_000
"""The end of the year 9999: `datetime` goes no further, and a publisher may name any time."""


def utc(ms: int) -> datetime:
    """The moment in UTC; one beyond the year 9999 is that year's end."""
    return datetime.fromtimestamp(min(ms, _LAST_MS) / 1000, UTC)
