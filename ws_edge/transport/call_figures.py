"""What the calls of a node's RPC came to since the start, and how long they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from broker.metrics.histogram import Histogram

UNKNOWN: Final = "unknown"
"""What a caller names a method that does not exist is not told: it could be anything."""


class CallStatistics(NamedTuple):
    """Counts since the start of the node."""

    calls: dict[tuple[str, str], int]
    """By method and HTTP status."""
    seconds: dict[str, Histogram]
    """How long they took, by method."""


class CallFigures:
    """The counts of a node's calls.

    Args:
        methods: the names that are told.
    """

    def __init__(self, methods: Iterable[str] = ()) -> None:
        self._calls: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self.tell(methods)

    def __repr__(self) -> str:
        return f"<CallFigures calls={self._calls.total()}>"

    def statistics(self) -> CallStatistics:
        """The counts of this moment."""
        return CallStatistics(dict(self._calls), dict(self._seconds))

    def tell(self, methods: Iterable[str]) -> None:
        """These names are told from now on."""
        for method in (*methods, UNKNOWN):
            self._seconds.setdefault(method, Histogram())
            self._calls[method, "200"] += 0

    def took(self, method: str, status: int, seconds: float) -> None:
        """A call was answered."""
        if method not in self._seconds:
            method = UNKNOWN
        self._calls[method, str(status)] += 1
        self._seconds[method].observe(seconds)
