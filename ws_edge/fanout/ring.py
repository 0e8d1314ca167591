"""Events as a topic holds them: checked once, their body encoded once, the latest of them in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from broker.contract.errors import MalformedEvent
from broker.contract.events import OnMalformed, check, for_viewer
from broker.contract.snapshot import Snapshot
from ws_edge.fanout.throttle import Kind

_BY_SEQ: Final = attrgetter("seq")


class Entry(NamedTuple):
    """One stored event."""

    seq: int
    body: bytes
    """The JSON object that viewers get; empty for a malformed event, which is never forwarded but counts as seen."""
    kind: Kind
    stored_ms: int = 0
    """When the broker stored it, ms since 1970 by its clock. 0: not known."""
    reason: str = ""
    """Why it is malformed; empty for an event."""
    ends: bool = False
    """It ends the run."""


def no_note(_test_id: str, _seq: int, _error: MalformedEvent) -> None:
    """Takes no notice of a malformed event."""


def entry_of(test_id: str, seq: int, raw: bytes, stored_ms: int = 0, note: OnMalformed = no_note) -> Entry:
    """Checks and encodes what is stored at `seq`.

    Args:
        note: called when it is malformed.
    """
    try:
        checked = check(raw)
    except MalformedEvent as error:
        note(test_id, seq, error)
        return Entry(seq, b"", "silent", stored_ms, error.reason)
    kind: Kind = "urgent" if checked.event.urgent else "progress"
    return Entry(seq, for_viewer(test_id, seq, checked), kind, stored_ms, ends=checked.event.terminal)


def index_after(entries: Sequence[Entry], cursor: int) -> int:
    """Index of the first entry after `cursor` in a sequence ordered by seq."""
    return bisect_right(entries, cursor, key=_BY_SEQ)


class Ring:
    """The latest events of a topic: everything in (`after`, newest], bounded in bytes and count."""

    __slots__ = ("_max_bytes", "_max_entries", "after", "bytes", "entries")

    def __init__(self, start: int, max_bytes: int = 256 * 1024, max_entries: int = 2048) -> None:
        self.after = start
        self.entries: list[Entry] = []
        self.bytes = 0
        """Size of the bodies held."""
        self._max_bytes = max_bytes
        self._max_entries = max_entries

    def __repr__(self) -> str:
        return f"<Ring after={self.after} entries={len(self.entries)} bytes={self.bytes}>"

    def extend(self, entries: Sequence[Entry]) -> None:
        """Adds what follows. Drops the oldest quarter at a time, so trimming is amortised."""
        self.entries.extend(entries)
        self.bytes += sum(len(entry.body) for entry in entries)
        if self.bytes > self._max_bytes or len(self.entries) > self._max_entries:
            self._trim()

    def since(self, cursor: int) -> list[Entry]:
        """The entries after `cursor`."""
        return self.entries[index_after(self.entries, cursor) :]

    def clear(self, start: int) -> None:
        """Forgets everything; the next event follows `start`."""
        self.entries.clear()
        self.after, self.bytes = start, 0

    def _trim(self) -> None:
        keep_bytes, keep_entries = self._max_bytes * 3 // 4, self._max_entries * 3 // 4
        cut = max(0, len(self.entries) - keep_entries)
        size = self.bytes - sum(len(entry.body) for entry in self.entries[:cut])
        while cut < len(self.entries) and size > keep_bytes:
            size -= len(self.entries[cut].body)
            cut += 1
        if cut:
            self.after = self.entries[cut - 1].seq
            del self.entries[:cut]
            self.bytes = size


def has_ended(entries: Sequence[Entry], released: int, snapshot: Snapshot | None) -> bool:
    """Whether the event at `released`, a run's newest one that went out, has ended it.

    Args:
        entries: the newest ones at hand.
        snapshot: of the run, which may be older than its newest event; None when there is none.
    """
    if entries and entries[-1].seq == released:
        return entries[-1].ends
    return snapshot is not None and snapshot.ended and snapshot.seq == released
