"""Figures as people read them, in few characters. Pure. What is unknown is a dash, never 0."""

from __future__ import annotations

from typing import Final

from testcast.cli.top.scrapes import Quantile

UNKNOWN: Final = "—"
_LARGE: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BYTES: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def count(value: float | None) -> str:
    """A number of things: `7`, `9,120`, `1.2M`."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) < 99_999.5 else _scaled(value, "")


def rate(value: float | None) -> str:
    """How many a second: `0`, `0.2`, `38`, `1.2k`."""
    return UNKNOWN if value is None else _scaled(value, "")


def size(value: float | None) -> str:
    """Bytes: `0 B`, `1.4 MiB`."""
    if value is None:
        return UNKNOWN
    for unit, name in _BYTES:
        if abs(value) >= unit:
            return f"{_digits(value / unit)} {name}"
    return f"{value:.0f} B"


def seconds(value: float | None) -> str:
    """A duration: `0.4 ms`, `12 ms`, `3.5 s`, `4 min`, `2 h`."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0 s"
    if value < 0.9995:
        return f"{_digits(value * 1000)} ms"
    if value < 119.5:
        return f"{_digits(value)} s"
    return f"{value / 60:.0f} min" if value < 7170 else f"{value / 3600:.0f} h"


def latency(value: Quantile | None) -> str:
    """An estimated duration; `>10 s` beyond the largest bound."""
    if value is None:
        return UNKNOWN
    return f"{'>' if value.beyond else ''}{seconds(value.seconds)}"


def share(value: float | None) -> str:
    """A share of one processor: `4.2 %`, `130 %`."""
    return UNKNOWN if value is None else f"{_digits(value * 100)} %"


def of(value: float | None, most: float | None) -> str:
    """`1/2`: so many of at most so many."""
    return UNKNOWN if value is None and most is None else f"{count(value)}/{count(most)}"


def _scaled(value: float, unit: str) -> str:
    for large, name in _LARGE:
        if abs(value) >= large * 0.9995:
            return f"{_digits(value / large)}{name}{unit}"
    return f"{_digits(value)}{unit}"


def _digits(value: float) -> str:
    """Two digits below 10, else no fraction; no `.0`."""
    if abs(value) < 0.05:
        return "0" if value == 0 else f"{value:.2f}".rstrip("0").rstrip(".") or "0"
    return f"{value:.1f}".removesuffix(".0") if abs(value) < 9.95 else f"{value:.0f}"
