"""Token buckets: how often somebody may do something. Pure; `now` is passed in.

A bucket holds the calls that may be made at once, and fills again with time. Buckets are kept by key in a table of
bounded size: one that nobody has used for long is full, and to forget it changes nothing.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from broker.contract.errors import TestcastError

MAX_KEYS: Final = 10_000
"""About 2 MB. A flood from more addresses than this gives each of them its burst again, and no more than that."""

_ROUNDING_S: Final = 1e-9
"""The last digits of a clock that counts seconds."""


class TooManyRequests(TestcastError):
    """A limit on how often this may be done is reached. Nothing was changed, and the same call succeeds later.

    Attributes:
        retry_after_s: when to try again, whole seconds.
    """

    code = "too_many_requests"

    def __init__(self, what: str, retry_after_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(retry_after_s))
        super().__init__(f"too many {what}: try again in {self.retry_after_s} s")


class BucketStatistics(NamedTuple):
    """What a table of buckets holds, and what it has refused since the start."""

    keys: int
    refused: int


class Buckets:
    """A bucket for each key.

    Args:
        per_s: calls a second on average; 0 for no limit.
        burst: calls at once after a quiet time, at least 1.
        max_keys: the size of the table; the key that was used longest ago is forgotten first.
    """

    def __init__(self, per_s: float, burst: float, max_keys: int = MAX_KEYS) -> None:
        self._per_s = per_s
        self._burst = max(1.0, burst)
        self._max_keys = max_keys
        self._full_at: dict[str, float] = {}
        """When each bucket is full again; the key that was used longest ago first."""
        self._refused = 0

    def __repr__(self) -> str:
        return f"<Buckets per_s={self._per_s:g} keys={len(self._full_at)} refused={self._refused}>"

    def statistics(self) -> BucketStatistics:
        """The figures of this moment."""
        return BucketStatistics(len(self._full_at), self._refused)

    def take(self, key: str, now: float) -> float:
        """Takes one call out of the key's bucket. Returns 0, or how long to wait in seconds, with nothing taken."""
        if not self._per_s:
            return 0.0
        full_at, wait_s = taken(self._full_at.pop(key, 0.0), now, self._per_s, self._burst)
        if wait_s:
            self._refused += 1
        elif len(self._full_at) >= self._max_keys:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key] = full_at
        return wait_s


def taken(full_at: float, now: float, per_s: float, burst: float) -> tuple[float, float]:
    """One call out of a bucket that is full at `full_at`. Returns when it is full afterwards, and how long to wait in
    seconds: 0 when the call may be made, otherwise nothing was taken."""
    after = max(full_at, now) + 1 / per_s
    wait_s = after - now - burst / per_s
    if wait_s > _ROUNDING_S:
        return full_at, wait_s
    return after, 0.0
