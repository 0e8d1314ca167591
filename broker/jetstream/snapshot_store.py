"""The bucket `RUNS`: one folded snapshot per run, written by the projector only and watched by every edge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec

from broker.contract import snapshot as snapshots
from broker.contract import subjects
from broker.contract.ids import is_test_id
from broker.contract.snapshot import Snapshot
from broker.jetstream import kv
from broker.jetstream.api import Stored, Streams, StreamState
from broker.jetstream.connection import Connection
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.jetstream.survey import newest_after, newest_of_all
from broker.log import RateLimited

FOLDED_HEADER: Final = "Testcast-Folded"
"""On each value that a projector writes. A value without it was put there by somebody else, whatever it says."""
_limited = RateLimited(logging.getLogger("testcast.snapshots"), per_s=10.0)


class SnapshotChange(NamedTuple):
    """A new revision of the bucket."""

    test_id: str
    revision: int
    kind: Literal["written", "removed", "unreadable"]
    """An unreadable value is not a snapshot, or is one of another run: forged or damaged. The next fold replaces it."""
    snapshot: Snapshot | None
    """Only with "written"."""
    folded: bool = True
    """A projector has written it. Otherwise it may say anything, and has to be folded again."""


class SnapshotStore:
    """Reads, writes and watches snapshots."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams = Streams(connection)

    def __repr__(self) -> str:
        return f"<SnapshotStore {subjects.RUNS}>"

    async def get(self, test_id: str) -> tuple[Snapshot | None, int]:
        """Returns the stored snapshot and its revision, from the leader.

        The snapshot is None where there is none, or none that can be read. The revision is 0 when nothing was written.

        Raises:
            BrokerUnavailable: no leader.
        """
        entry = await self._streams.last(kv.stream(subjects.RUNS), kv.subject(subjects.RUNS, test_id))
        if entry is None:
            return None, 0
        return _change(test_id, entry).snapshot, entry.seq

    async def put(self, snapshot: Snapshot, revision: int) -> int:
        """Writes the snapshot if the newest revision is still `revision`. Returns the new revision.

        Raises:
            WrongLastSequence: another writer was first.
            BrokerUnavailable: no acknowledgement; it may be written all the same.
        """
        subject = kv.subject(subjects.RUNS, snapshot.test_id)
        headers = {FOLDED_HEADER: "1"}
        return (await self._streams.store(subject, snapshot.encode(), expected_last=revision, headers=headers)).seq

    async def remove(self, test_id: str, revision: int) -> None:
        """Deletes a run's snapshot if its newest revision is still `revision`.

        Raises:
            WrongLastSequence: it was written since.
            BrokerUnavailable: no acknowledgement; it may be deleted all the same.
        """
        subject, headers = kv.subject(subjects.RUNS, test_id), {kv.OPERATION_HEADER: "DEL"}
        await self._streams.store(subject, b"", expected_last=revision, headers=headers)

    async def revisions(self) -> dict[str, int]:
        """Returns the newest revision of every run that has a snapshot.

        Raises:
            BrokerUnavailable: the answer was not whole.
        """
        bucket, every = kv.stream(subjects.RUNS), kv.subject(subjects.RUNS, ">")
        found = await newest_of_all(self._streams, bucket, every)
        by_key = {kv.key_of(subject): revision for subject, revision in found.items()}
        return {key: revision for key, revision in by_key.items() if is_test_id(key)}

    async def every(self, after: int) -> list[SnapshotChange]:
        """Returns the newest revision of each run that was written after revision `after`, in order, by direct gets:
        for a user who may make no consumers.

        Raises:
            BrokerUnavailable: no replica answered in time.
        """
        bucket = kv.stream(subjects.RUNS)
        found = await newest_after(self._streams, bucket, kv.subject(subjects.RUNS, ">"), after)
        changes = [_change(kv.key_of(each.subject), each) for each in found if is_test_id(kv.key_of(each.subject))]
        return sorted(changes, key=lambda each: each.revision)

    async def state(self) -> StreamState:
        """Returns the state of the stream behind the bucket, from its leader.

        Raises:
            BrokerUnavailable: no leader.
        """
        return await self._streams.state(kv.stream(subjects.RUNS))

    def watch(
        self,
        on_change: Callable[[SnapshotChange], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> OrderedConsumer:
        """Delivers every run's newest snapshot, then every change, in order of revision.

        Args:
            on_change: called with each revision.
            on_current: called when everything stored at the start has been delivered, and again after each restart.
            on_reset: called when the bucket was deleted and made again, by this process or another: what was delivered
                before must be discarded, and the bucket is to be filled from the events.
            on_lost: called when the bucket does not answer, as when it was deleted: what was delivered is out of date
                until `on_current`.

        Returns:
            The consumer. Nothing is delivered until its `run()` is running.
        """

        def on_message(entry: Stored) -> None:
            key = kv.key_of(entry.subject)
            if is_test_id(key):
                on_change(_change(key, entry))

        bucket, every = kv.stream(subjects.RUNS), kv.subject(subjects.RUNS, ">")
        return OrderedConsumer(self._connection, bucket, every, on_message, on_current, on_reset, on_lost)


def _change(test_id: str, entry: Stored) -> SnapshotChange:
    if entry.header(kv.OPERATION_HEADER) is not None or not entry.data:
        return SnapshotChange(test_id, entry.seq, "removed", None)
    try:
        snapshot = snapshots.decode(entry.data, test_id, entry.stored_ms)
    except msgspec.MsgspecError as error:
        _limited.warning("the snapshot stored for test %s cannot be read: %s", test_id, error)
        return SnapshotChange(test_id, entry.seq, "unreadable", None)
    return SnapshotChange(test_id, entry.seq, "written", snapshot, entry.header(FOLDED_HEADER) is not None)
