"""Backup and restore of what cannot be made again: the events and pictures of all runs, which of them are kept for
good, share links, revocations.

Snapshots of runs are folded from the events again, and jobs belong to workers that run now.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from broker.contract import subjects
from broker.contract.errors import BadInput, BrokerRefused, BrokerUnavailable, NotFound, NotThere, WrongLastSequence
from broker.jetstream import kv, runs, topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.folded import stored_runs
from broker.jetstream.parser import Message
from broker.jetstream.snapshot_store import SnapshotStore

_ACCESS: Final = kv.stream(subjects.ACCESS)
_PINS: Final = kv.stream(subjects.PINS)
_OLD: Final = kv.stream(subjects.SHOTS)
"""Pictures of before version 0.3.0, where they still are."""
STREAMS: Final = (subjects.EVENTS, subjects.FRAMES, _PINS, _ACCESS)
_NOT_IN_ALL: Final = (subjects.FRAMES, _PINS, _ACCESS, _OLD)
"""Backups of earlier versions lack some of them. What stands on the broker stays then."""
_CHUNK_BYTES: Final = 128 * 1024
_CHUNK_TIMEOUT_S: Final = 30.0
_TRIES: Final = 10
_LOADED_S: Final = 15.0
_LOOK_S: Final = 0.05
_FORMAT: Final = "backup.json"
_DATA: Final = "stream.tar.s2"
_DATA_OF_NATS: Final = "stream.arc.s2"
"""What the `nats` tool calls the same file."""


class _NotLoaded(BrokerUnavailable):
    """A restored stream does not show what it holds."""


class Saved(NamedTuple):
    """What a backup holds."""

    messages: dict[str, int]
    """Messages by stream."""


async def backup(nats: Connection, directory: Path) -> Saved:
    """Writes the streams into a new directory. Edges and agents may go on working.

    Raises:
        BadInput: the directory exists and is not empty.
        BrokerUnavailable: the broker does not answer, or stops sending.
        BrokerRefused: there is nothing to save.
    """
    _check_empty(directory)
    messages = {}
    missing = {stream for stream in _NOT_IN_ALL if not await _stands(nats, stream)}  # before the broker's first upgrade
    for stream in (each for each in (*STREAMS, _OLD) if each not in missing):
        folder = directory / stream
        folder.mkdir(parents=True)
        messages[stream] = await _save(nats, stream, folder)
    return Saved(messages)


def _check_empty(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise BadInput(f"{directory} is not empty: a backup is written into a directory of its own")


async def _save(nats: Connection, stream: str, folder: Path) -> int:
    chunks: asyncio.Queue[Message] = asyncio.Queue()
    inbox = nats.inbox()
    subscription = await nats.subscribe(inbox, chunks.put_nowait)
    try:
        query = {"deliver_subject": inbox, "no_consumers": True, "chunk_size": _CHUNK_BYTES}
        answer = await Streams(nats).api(f"STREAM.SNAPSHOT.{stream}", query)
        with (folder / _DATA).open("wb") as file:
            while True:
                try:
                    async with asyncio.timeout(_CHUNK_TIMEOUT_S):
                        chunk = await chunks.get()
                except TimeoutError:
                    raise BrokerUnavailable(f"the broker stopped sending {stream}") from None
                if not chunk.data:
                    break
                file.write(chunk.data)
                if chunk.reply:
                    await nats.publish(chunk.reply.decode(), b"")
    finally:
        await subscription.close()
    described = {"config": answer["config"], "state": answer["state"]}
    (folder / _FORMAT).write_bytes(orjson.dumps(described, option=orjson.OPT_INDENT_2))
    return int(answer["state"]["messages"])


async def restore(nats: Connection, directory: Path, *, replicas: int = 1) -> Saved:
    """Replaces the streams by those of a backup. Edges and agents should be stopped: they declare what they miss.

    The backup is one of `backup`, or of `nats backup account`.

    The restored stream has another epoch, so that no position of before is valid in it. Events that are published
    while this runs are lost.

    The bucket `ACCESS` is restored only where it is missing or empty: what was revoked since then stays revoked. What a
    backup of an earlier version does not have stays as it is.

    Args:
        replicas: copies of each stream, at least. A backup that has more keeps them.

    Raises:
        BadInput: the directory holds no backup.
        BrokerUnavailable: the broker does not answer, or edges declared the streams anew at each of ten tries.
    """
    wanted = [stream for stream in (*STREAMS, _OLD) if await _is_restored(nats, directory, stream)]
    saved = {stream: with_replicas(_read(directory / stream), replicas) for stream in wanted}
    for stream, described in saved.items():
        for number in range(_TRIES):
            try:
                await _restore(nats, stream, described, _data(directory / stream))
                break
            except (
                BrokerRefused,
                _NotLoaded,
            ) as error:  # an edge has declared the stream that it missed
                if number == _TRIES - 1:
                    raise BrokerUnavailable(f"{stream} could not be restored: {error.message}") from None
    await _delete(nats, kv.stream(subjects.RUNS))  # its snapshots are of the events that were replaced
    await topology.apply(nats, replicas=replicas)
    await _fold_all(JetStreamLog(nats))
    return Saved({stream: int(described["state"]["messages"]) for stream, described in saved.items()})


async def _fold_all(log: JetStreamLog) -> None:
    """Stores the snapshots of all runs. Edges would do the same, but only after they have found out."""
    store, epoch = SnapshotStore(log.connection), (await log.heads()).epoch
    for test_id in await stored_runs(log.streams):
        with contextlib.suppress(NotFound, WrongLastSequence):  # an edge was faster
            snapshot = (await runs.read(log, test_id)).snapshot
            if snapshot is not None:
                await store.put(msgspec.structs.replace(snapshot, epoch=epoch), 0)


async def _is_restored(nats: Connection, directory: Path, stream: str) -> bool:
    """Whether a stream is replaced by the one of the backup.

    What was revoked since the backup stays revoked: a bucket of revocations that holds anything is left as it is.
    """
    if stream in _NOT_IN_ALL and not (directory / stream).exists():
        return False
    if stream != _ACCESS or not await _stands(nats, stream):
        return True
    return (await Streams(nats, mends=False).state(stream)).last_seq == 0


async def _stands(nats: Connection, stream: str) -> bool:
    try:
        await Streams(nats, mends=False).state(stream)
    except NotThere as error:
        if not error.certain:
            raise
        return False
    return True


def _read(folder: Path) -> dict[str, Any]:
    try:
        described: dict[str, Any] = orjson.loads((folder / _FORMAT).read_bytes())
        if not _data(folder).is_file() or not {"config", "state"} <= described.keys():
            raise BadInput(f"{folder} holds no backup")
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder} holds no backup: {error}") from None
    return described


def with_replicas(described: dict[str, Any], at_least: int) -> dict[str, Any]:
    """A stream as a backup describes it, with at least so many copies: one of a single server moves into a cluster."""
    config = described["config"]
    return described | {"config": config | {"num_replicas": max(at_least, config.get("num_replicas", 1))}}


def _data(folder: Path) -> Path:
    of_nats = folder / _DATA_OF_NATS
    return of_nats if of_nats.is_file() else folder / _DATA


async def _restore(nats: Connection, stream: str, described: dict[str, Any], data: Path) -> None:
    streams = Streams(nats)
    await _delete(nats, stream)
    answer = await streams.api(f"STREAM.RESTORE.{stream}", described)
    target = str(answer["deliver_subject"])
    with data.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            await nats.request(target, chunk, timeout_s=_CHUNK_TIMEOUT_S)
    # Not deleted once more, though an edge may have declared it meanwhile: the server may have restored it by now. It
    # refuses a name that is taken, and the next try deletes it.
    made = orjson.loads((await nats.request(target, b"", timeout_s=_CHUNK_TIMEOUT_S)).data)
    if error := made.get("error"):
        raise BrokerRefused(str(error.get("description", "refused")), int(error.get("err_code", 0)))
    await _until_loaded(nats, stream, int(described["state"]["last_seq"]))


async def _until_loaded(nats: Connection, stream: str, last_seq: int) -> None:
    """Waits until a restored stream has its messages: nats-server may not show it at first, or shows it empty.

    Raises:
        _NotLoaded: it has not got them in time.
    """
    streams, clock = Streams(nats, mends=False), asyncio.get_running_loop().time
    deadline = clock() + _LOADED_S
    while clock() < deadline:
        with contextlib.suppress(NotThere):
            if (await streams.state(stream)).last_seq >= last_seq:
                return
        await asyncio.sleep(_LOOK_S)
    raise _NotLoaded(f"{stream} was restored, and the broker does not show its messages")


async def _delete(nats: Connection, stream: str) -> None:
    """Deletes a stream, if it is there. One that is missing is not declared anew."""
    try:
        await Streams(nats, mends=False).api(f"STREAM.DELETE.{stream}")
    except NotThere as error:
        if not error.certain:
            raise
