"""The bucket of pictures that earlier versions made: it is read while it stands, and not made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from broker.contract import subjects
from broker.contract.errors import NotThere
from broker.identity import new_test_id
from broker.jetstream import backup, kv, old_pictures, topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.deletion import delete_run
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.frame_store import FrameStore
from tests.harness import JPEG, begin, publish, store_picture

BUCKET = kv.stream(subjects.SHOTS)


async def make_bucket(streams: Streams) -> None:
    """As version 0.2.0 does."""
    wanted = {"name": BUCKET, "subjects": [kv.subject(subjects.SHOTS, ">")], "max_msgs_per_subject": 1}
    await streams.api(f"STREAM.CREATE.{BUCKET}", wanted | {"allow_direct": True, "discard": "new", "deny_delete": True})


async def stands(streams: Streams) -> bool:
    try:
        await Streams(streams.nats, mends=False).state(BUCKET)
    except NotThere:
        return False
    return True


async def shown(store: FrameStore, test_id: str) -> bytes | None:
    newest = await store.newest(test_id)
    return newest.jpeg.removeprefix(JPEG) if newest is not None else None


async def test_the_newer_of_both_is_a_runs_newest(streams: Streams) -> None:
    await make_bucket(streams)
    test_id, other = await begin(streams), new_test_id()
    store = FrameStore(streams)
    await streams.kv_put(subjects.SHOTS, test_id, JPEG + b"of before")
    assert await shown(store, test_id) == b"of before"
    assert (await shown(store, other)) is None
    await store_picture(streams, test_id, JPEG + b"of a new agent")
    assert await shown(store, test_id) == b"of a new agent"
    await streams.kv_put(subjects.SHOTS, test_id, JPEG + b"of an old agent")
    old = await store.newest(test_id)
    assert old is not None and (old.jpeg, old.frame.number) == (JPEG + b"of an old agent", 0)
    await streams.kv_put(subjects.SHOTS, other, b"GIF89a")
    assert await shown(store, other) is None
    await publish(streams, test_id, "Done", "complete")
    await delete_run(JetStreamLog(streams.nats), test_id)
    assert await shown(store, test_id) is None


async def test_the_bucket_is_not_made_anew_and_goes_when_it_is_left_over(
    nats: Connection, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await FrameStore(streams).newest(new_test_id()) is None
    test_id = await begin(streams)
    await publish(streams, test_id, "Done", "complete")
    await delete_run(JetStreamLog(nats), test_id)
    assert not await stands(streams)
    await make_bucket(streams)
    await topology.apply(nats)
    assert await stands(streams), "it may have been made just now"
    monkeypatch.setattr(old_pictures, "is_left_over", lambda info: info["state"]["messages"] == 0)
    await topology.apply(nats, manages=False)
    assert await stands(streams), "a part that manages no streams deletes none"
    await topology.apply(nats)
    assert not await stands(streams)


async def test_backups_of_either_version(nats: Connection, streams: Streams, tmp_path: Path) -> None:
    await make_bucket(streams)
    saved = tmp_path / "saved"
    test_id, later = await begin(streams), await begin(streams)
    await publish(streams, test_id, "Done", "complete")
    await streams.kv_put(subjects.SHOTS, test_id, JPEG)
    await backup.backup(nats, saved)
    assert (saved / BUCKET).is_dir() and (saved / subjects.FRAMES).is_dir()
    for stream in (subjects.FRAMES, kv.stream(subjects.PINS)):
        shutil.rmtree(saved / stream)  # as version 0.2.0 makes one
    number = await store_picture(streams, later)
    await streams.api(f"STREAM.DELETE.{BUCKET}")
    restored = await backup.restore(nats, saved)
    assert set(restored.messages) >= {subjects.EVENTS, BUCKET}
    store = FrameStore(streams)
    assert await store.newest(test_id) is not None
    assert await store.at(later, number) is not None, "what the backup does not have stays"
