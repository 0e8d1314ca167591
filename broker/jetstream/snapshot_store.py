"""The bucket `RUNS`: one folded snapshot per run, written by the projector only and watched by every edge."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from broker.contract import projects, subjects
from broker.contract import snapshot as snapshots
from broker.contract.errors import BrokerRefused
from broker.contract.ids import is_test_id
from broker.contract.snapshot import Snapshot
from broker.jetstream import kv
from broker.jetstream.api import TTL_HEADER, Stored, Streams, StreamState
from broker.jetstream.bulk import BulkWriter, Write
from broker.jetstream.connection import Connection
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.jetstream.survey import newest_after, newest_of_all
from broker.log import RateLimited

FOLDED_HEADER: Final = "Testcast-Folded"
"""On each value that a projector writes. A value without it was put there by somebody else, whatever it says."""
DELETION_HEADER: Final = "Testcast-Deletion"
"""`<begun or done> <epoch>`, on the mark of a run that was deleted in this life of the stream of events."""
_FOLDED: Final = f"{FOLDED_HEADER}: 1\r\n".encode()
MARK_S: Final = 7 * 24 * 3600
"""How long the mark of a run that is gone stays: so long nobody brings a deleted run back by a late event."""
_TTL_DISABLED: Final = 10166
"""The stream takes no lifetimes: an operator has not declared it for this version yet."""
_limited = RateLimited(logging.getLogger("testcast.snapshots"), per_s=10.0)


class SnapshotChange(NamedTuple):
    """A new revision of the bucket."""

    test_id: str
    revision: int
    kind: Literal["written", "removed", "unreadable", "deleting", "deleted"]
    """An unreadable value is not a snapshot, or is one of another run: forged or damaged. The next fold replaces it.
    Of a run that is being deleted, or was, everything goes; a snapshot that was removed may be folded again."""
    snapshot: Snapshot | None
    """Only with "written"."""
    folded: bool = True
    """A projector has written it. Otherwise it may say anything, has to be folded again, and names no project."""
    epoch: str = ""
    """With "deleting" and "deleted": the life of the stream of events that the run was deleted in."""
    lasting: bool = False
    """With "removed": the mark has no lifetime, as those of earlier versions."""

    def is_deletion(self, epoch: str) -> bool:
        """Whether the run was deleted in this life of the stream, or is being deleted."""
        return self.kind in ("deleting", "deleted") and self.epoch == epoch


class SnapshotStore:
    """Reads, writes and watches snapshots."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams = Streams(connection)
        self._bulk: BulkWriter | None = None

    def __repr__(self) -> str:
        return f"<SnapshotStore {subjects.RUNS}>"

    async def get(self, test_id: str) -> tuple[Snapshot | None, int]:
        """Returns the stored snapshot and its revision, from the leader.

        The snapshot is None where there is none, or none that can be read. The revision is 0 when nothing was written.

        Raises:
            BrokerUnavailable: no leader.
        """
        change = await self.newest(test_id)
        return (None, 0) if change is None else (change.snapshot, change.revision)

    async def newest(self, test_id: str) -> SnapshotChange | None:
        """Returns the run's newest entry, from the leader; None when nothing was written.

        Raises:
            BrokerUnavailable: no leader.
        """
        entry = await self._streams.last(kv.stream(subjects.RUNS), kv.subject(subjects.RUNS, test_id))
        return None if entry is None else _change(test_id, entry)

    async def put(self, snapshot: Snapshot, revision: int) -> int:
        """Writes the snapshot if the newest revision is still `revision`. Returns the new revision.

        Raises:
            WrongLastSequence: another writer was first.
            BrokerUnavailable: no acknowledgement; it may be written all the same.
        """
        subject = kv.subject(subjects.RUNS, snapshot.test_id)
        headers = {FOLDED_HEADER: "1"}
        return (await self._streams.store(subject, snapshot.encode(), expected_last=revision, headers=headers)).seq

    async def put_many(self, changes: Sequence[tuple[Snapshot, int]]) -> list[int | None]:
        """Writes each snapshot if its newest revision is still the one given, all in one write to the socket.

        Returns:
            The new revisions. None: it was refused, or not acknowledged; `put` says why.

        Raises:
            BrokerUnavailable: the connection is or was lost; some of them may be written.
        """
        if self._bulk is None:
            self._bulk = BulkWriter(self._connection)
        return await self._bulk.store(
            [
                Write(kv.subject(subjects.RUNS, snapshot.test_id), snapshot.encode(), revision, _FOLDED)
                for snapshot, revision in changes
            ]
        )

    async def remove(self, test_id: str, revision: int) -> None:
        """Deletes a run's snapshot if its newest revision is still `revision`.

        Raises:
            WrongLastSequence: it was written since.
            BrokerUnavailable: no acknowledgement; it may be deleted all the same.
        """
        await self._mark(test_id, {}, revision)

    async def begin_deletion(self, test_id: str, revision: int, epoch: str) -> int:
        """Marks a run as being deleted if its newest revision is still `revision`. Every edge drops it, and goes on
        with the deletion if nobody ends it. Returns the new revision.

        Args:
            epoch: this life of the stream of events.

        Raises:
            WrongLastSequence: it was written since.
            BrokerUnavailable: no acknowledgement; the deletion may have begun all the same.
        """
        subject = kv.subject(subjects.RUNS, test_id)
        headers = {kv.OPERATION_HEADER: "DEL", DELETION_HEADER: f"begun {epoch}"}
        return (await self._streams.store(subject, b"", expected_last=revision, headers=headers)).seq

    async def end_deletion(self, test_id: str, epoch: str) -> None:
        """Marks a run as deleted, whatever is stored of it.

        Raises:
            BrokerUnavailable: no acknowledgement.
        """
        await self._mark(test_id, {DELETION_HEADER: f"done {epoch}"}, None)

    async def _mark(self, test_id: str, headers: dict[str, str], revision: int | None) -> None:
        subject, headers = kv.subject(subjects.RUNS, test_id), {kv.OPERATION_HEADER: "DEL", **headers}
        try:
            lifetime = {TTL_HEADER: f"{MARK_S}s"}
            await self._streams.store(subject, b"", expected_last=revision, headers=headers | lifetime)
        except BrokerRefused as error:
            if error.err_code != _TTL_DISABLED:
                raise
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
        return _removal(test_id, entry)
    try:
        snapshot = snapshots.decode(entry.data, test_id, entry.stored_ms)
    except msgspec.MsgspecError as error:
        _limited.warning("the snapshot stored for test %s cannot be read: %s", test_id, error)
        return SnapshotChange(test_id, entry.seq, "unreadable", None)
    folded = entry.header(FOLDED_HEADER) is not None
    if not folded:  # who wrote it could move a run into a project that may be read
        snapshot = msgspec.structs.replace(snapshot, project=projects.UNKNOWN)
    return SnapshotChange(test_id, entry.seq, "written", snapshot, folded)


def _removal(test_id: str, entry: Stored) -> SnapshotChange:
    state, _, epoch = (entry.header(DELETION_HEADER) or "").partition(" ")
    if state == "begun" and epoch:
        return SnapshotChange(test_id, entry.seq, "deleting", None, epoch=epoch)
    if state == "done" and epoch:
        return SnapshotChange(test_id, entry.seq, "deleted", None, epoch=epoch)
    return SnapshotChange(test_id, entry.seq, "removed", None, lasting=entry.header(TTL_HEADER) is None)
