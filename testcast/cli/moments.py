"""Moments and lengths of time as people write and read them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from broker.contract.errors import BadInput

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_LENGTH: Final = re.compile(r"(?:\d{1,9}[smhdw])+", re.ASCII)
_LENGTH_PART: Final = re.compile(r"(\d+)([smhdw])")


def clock(timestamp: int) -> str:
    """A timestamp in ms as `12:03:07`, local time; dashes when it is out of range."""
    moment = at(timestamp)
    return "--:--:--" if moment is None else f"{moment:%H:%M:%S}"


def at(timestamp: int) -> datetime | None:
    """A timestamp in ms as a local time; None when it is out of range."""
    try:
        return datetime.fromtimestamp(timestamp / 1000).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def full(timestamp: int) -> str:
    """A timestamp in ms as `2026-11-20 12:03:07`, local time; a dash when it is not known or out of range."""
    moment = at(timestamp) if timestamp else None
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def ago(timestamp: int, now: int) -> str:
    """How long ago a timestamp in ms was: `now`, `12s ago`, `59m ago`, `23h ago` or `6d ago`. A dash: not known.

    Args:
        now: the current time, ms since 1970. Where it is before the timestamp, two clocks disagree: `now`.
    """
    if not timestamp:
        return "-"
    seconds = (now - timestamp) // 1000
    if seconds < 1:
        return "now"
    for unit, longest in (("s", 60), ("m", 60), ("h", 24)):
        if seconds < longest:
            return f"{seconds}{unit} ago"
        seconds //= longest
    return f"{seconds}d ago"


def duration(ms: float) -> str:
    """`0:41`, `12:05` or `1:02:03`. A negative duration, from two clocks that disagree, is zero."""
    seconds = max(0, int(ms // 1000))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def parse_length(given: str) -> int:
    """Reads a length of time: `30s`, `15m`, `8h`, `7d`, `1w`, `1h30m`. Returns seconds.

    Raises:
        BadInput: it is none.
    """
    text = given.strip().lower()
    if not _LENGTH.fullmatch(text):
        raise BadInput(f"{given[:80]!r} is no length of time: expected one like 8h or 7d")
    return _seconds(text)


def _seconds(length: str) -> int:
    return sum(int(count) * _UNITS_S[unit] for count, unit in _LENGTH_PART.findall(length))


def parse_since(given: str, now: datetime) -> int:
    """Reads a moment in the past: a length of time (`30s`, `15m`, `2h`, `3d`, `1w`, `1h30m`), `today`, `yesterday`,
    a date (`2026-11-20`), or a date and a time (`2026-11-20 14:30`, `2026-11-20T14:30:00Z`).

    Args:
        now: the current time, with its time zone. Dates without a zone are in that zone.

    Returns:
        Milliseconds since 1970.

    Raises:
        BadInput: it is none of these.
    """
    text = given.strip()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    try:
        if _LENGTH.fullmatch(text.lower()):
            moment = now - timedelta(seconds=_seconds(text.lower()))
        elif text.lower() in ("today", "yesterday"):
            moment = midnight - timedelta(days=text.lower() == "yesterday")
        else:
            moment = datetime.fromisoformat(text)
        return max(0, int((moment if moment.tzinfo else moment.astimezone()).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise BadInput(
            f"{given[:80]!r} is no moment: expected a length of time like 2h or 3d, or a date like 2026-11-20"
        ) from None
