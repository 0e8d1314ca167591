"""What became of the writes on one connection: which streams refuse them, and why. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

_OWN_LIMIT: Final = "maximum bytes"
"""In the refusals of a stream that has reached a limit of its own, and not one of the server."""
_CONTENTS: Final = {
    "EVENTS": "events",
    "JOBS": "jobs",
    "KV_RUNS": "snapshots",
    "FRAMES": "pictures",
    "KV_PINS": "kept runs",
    "KV_ACCESS": "share links and revocations",
    "KV_HOOKS": "what webhooks are told",
}


class StorageStatistics(NamedTuple):
    """The writes of one connection since its start."""

    stored: int
    refused: int
    """Writes that failed because the broker has no room, or answers reads only."""


class StorageHealth:
    """The streams that refused the newest write for want of room, by name."""

    def __init__(self) -> None:
        self.refusing: dict[str, str] = {}
        """Stream -> why."""
        self.silent: set[str] = set()
        """Those of them that answer no write at all. A nats-server that has met a full disk stays so until it is
        restarted, although other streams store again."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when the first stream begins to refuse, and when none does any more."""
        self._stored = 0
        self._refused = 0

    def __repr__(self) -> str:
        return f"<StorageHealth refusing={sorted(self.refusing)}>"

    def statistics(self) -> StorageStatistics:
        """The figures of this moment."""
        return StorageStatistics(self._stored, self._refused)

    @property
    def summary(self) -> str:
        """One sentence for viewers and operators; only meaningful while `refusing` has entries."""
        limits = [reason for reason in self.refusing.values() if _OWN_LIMIT in reason]
        if len(limits) == len(self.refusing):
            what = " and ".join(_CONTENTS.get(stream, stream) for stream in sorted(self.refusing))
            return f"the broker stores no more {what}: the limit set for them is reached"
        return "the broker stores nothing new: its disk is full, or its storage limit is reached"

    def stored(self, stream: str) -> None:
        """A write was confirmed."""
        self._stored += 1
        if self.refusing:
            self.forget(stream)

    def refused(self, stream: str, reason: str, *, silent: bool = False) -> None:
        """A write failed for want of room; `silent`: it was not answered."""
        self._refused += 1
        first = not self.refusing
        self.refusing[stream] = reason
        (self.silent.add if silent else self.silent.discard)(stream)
        if first:
            self.on_change()

    def forget(self, stream: str) -> None:
        """Nothing is known against the stream any more."""
        known = self.refusing.pop(stream, None) is not None
        self.silent.discard(stream)
        if known and not self.refusing:
            self.on_change()

    def forget_all(self) -> None:
        """The broker may be another one, or was restarted."""
        for stream in tuple(self.refusing):
            self.forget(stream)
