"""Moments as people type and read them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from broker.contract.errors import BadInput
from testcast.cli.moments import ago, at, clock, full, parse_since

ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 11, 20, 14, 30, tzinfo=ZONE)
NOW_MS = int(NOW.timestamp() * 1000)
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("given", "before_ms"),
    [
        ("30s", 30_000),
        ("15m", 15 * 60_000),
        ("2h", 2 * HOUR_MS),
        (" 2H ", 2 * HOUR_MS),
        ("1h30m", HOUR_MS + 30 * 60_000),
        ("3d", 72 * HOUR_MS),
        ("1w", 7 * 24 * HOUR_MS),
        ("0s", 0),
        ("2026-11-20T14:00:00+02:00", HOUR_MS // 2),
        ("2026-11-20T12:00Z", HOUR_MS // 2),
    ],
)
def test_a_length_of_time_or_a_moment_with_its_zone(given: str, before_ms: int) -> None:
    assert NOW_MS - parse_since(given, NOW) == before_ms


@pytest.mark.parametrize(
    ("given", "local"),
    [
        ("2026-11-20", "2026-11-20 00:00:00"),
        ("2026-11-19 08:15", "2026-11-19 08:15:00"),
        ("2026-11-19T08:15", "2026-11-19 08:15:00"),
        ("today", "2026-11-20 00:00:00"),
        ("Yesterday", "2026-11-19 00:00:00"),
    ],
)
def test_a_date_without_a_zone_is_a_local_one(given: str, local: str) -> None:
    assert full(parse_since(given, NOW)) == local


@pytest.mark.parametrize(
    "given", ["", "teatime", "2x", "-2h", "2h ago", "2", "2026-13-01", "99999999d", "9" * 30 + "s", "20.11.2026", "²h"]
)
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="is no moment"):
        parse_since(given, NOW)


@pytest.mark.parametrize(
    ("before_s", "told"),
    [
        (-5, "now"),
        (0, "now"),
        (12, "12s ago"),
        (59, "59s ago"),
        (60, "1m ago"),
        (3599, "59m ago"),
        (3600, "1h ago"),
        (86_399, "23h ago"),
        (86_400, "1d ago"),
        (365 * 86_400, "365d ago"),
    ],
)
def test_how_long_ago(before_s: int, told: str) -> None:
    assert ago(NOW_MS - before_s * 1000, NOW_MS) == told


def test_what_is_not_known_or_out_of_range_is_a_dash() -> None:
    assert (ago(0, NOW_MS), full(0), full(2**62), clock(2**62), at(2**62)) == ("-", "-", "-", "--:--:--", None)
