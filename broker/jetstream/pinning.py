"""Pinning a run, so that its age does not delete it."""

from __future__ import annotations

from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import NotFound
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pin_store import Pin, PinStore
from broker.jetstream.snapshot_store import SnapshotChange, SnapshotStore


async def pin(log: JetStreamLog, test_id: str, by: str) -> int | None:
    """Keeps a run for good. Harmless when it is pinned already.

    Args:
        by: the subject that asks for it.

    Returns:
        Until when the broker keeps the run at most, ms since 1970, where an operator has given the stream of events an
        age of its own. None: for ever.

    Raises:
        NotFound: there is no such run, or it is being deleted.
        BrokerUnavailable: it may be pinned all the same. BrokerRefused: this user may not.
    """
    pins, snapshots = PinStore(log.connection), SnapshotStore(log.connection)
    if not await log.last(test_id, confirmed=True):
        raise NotFound(test_id)
    if await pins.get(test_id) is None:
        await pins.put(test_id, Pin(by, now_ms()))
    if await _is_gone(log, await snapshots.newest(test_id)):  # who deletes looks for a pin after its mark
        await pins.remove(test_id)
        raise NotFound(test_id)
    return await _kept_until(log, test_id)


async def unpin(log: JetStreamLog, test_id: str) -> None:
    """Lets a run be deleted when its time has come. Harmless when it is not pinned.

    Raises:
        BrokerUnavailable: it may be pinned yet. BrokerRefused: this user may not.
    """
    await PinStore(log.connection).remove(test_id)


async def _is_gone(log: JetStreamLog, entry: SnapshotChange | None) -> bool:
    """Whether the newest entry of a run says that it is being deleted, or was and has not begun again."""
    if entry is None or not entry.is_deletion((await log.state()).epoch):
        return False
    return entry.kind == "deleting" or not await log.last(entry.test_id, confirmed=True)


async def _kept_until(log: JetStreamLog, test_id: str) -> int | None:
    """When the first event of the run goes, by the age of the stream."""
    config = (await log.streams.api(f"STREAM.INFO.{subjects.EVENTS}"))["config"]
    age_ms = int(config.get("max_age") or 0) // 1_000_000
    first = (await log.read(test_id, 0, 1)).events if age_ms else []
    return first[0].stored_ms + age_ms if first and first[0].stored_ms else None
