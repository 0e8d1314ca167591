"""Lengths of time in words. Pure."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A length of time in words, rounded down: "5 minutes"."""
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {name}s"
    return f"{max(int(seconds), 1)} seconds" if seconds >= 2 else "1 second"
