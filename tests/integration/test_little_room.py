"""A broker with less room than the stream of pictures asks for: everything starts, and pictures have limits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.config import StreamSettings
from broker.contract import subjects
from broker.contract.errors import BrokerRefused
from broker.identity import new_test_id
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_store import FrameStore
from broker.local.embedded_server import EmbeddedServer
from tests import full_disk
from tests.harness import begin, publish, store_picture
from tests.nats_servers import connected, serving

MIB = 2**20


async def frames(nats: Connection) -> dict[str, Any]:
    return dict(await Streams(nats).api(f"STREAM.INFO.{subjects.FRAMES}"))


async def flood(streams: Streams, number: int) -> str:
    """Stores so many of the largest pictures. Returns their run."""
    test_id, jpeg = new_test_id(), b"\xff\xd8\xff" + bytes(64 * 1024 - 3)
    for left in range(number, 0, -10):  # few at a time: on a busy machine, none waits long for its acknowledgement
        await asyncio.gather(*(store_picture(streams, test_id, jpeg) for _ in range(min(10, left))))
    return test_id


async def test_a_small_store_has_a_small_stream_of_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path, 'jetstream: {store_dir: "STORE", max_file_store: 20MB}') as server:
        nats = await connected(server.url())
        declared = await topology.apply(nats)
        assert declared.problems == {} and (await frames(nats))["config"]["max_bytes"] == 8 * MIB
        assert [line for line in caplog.messages if "no room for 2147483648 bytes of FRAMES" in line]
        first, streams = new_test_id(), Streams(nats)
        await store_picture(streams, first)
        newest = await flood(streams, 150)
        state = (await frames(nats))["state"]
        assert state["bytes"] <= 8 * MIB and 100 < state["messages"] < 151, "the oldest go"
        assert await FrameStore(streams).newest(first) is None
        assert await FrameStore(streams).newest(newest) is not None
        await publish(streams, await begin(streams), "events have room")
        await topology.apply(nats)
        assert (await frames(nats))["config"]["max_bytes"] == 8 * MIB, "and it stays"
        await nats.close()


async def test_a_store_without_any_room_to_set_aside(tmp_path: Path) -> None:
    async with serving(tmp_path, 'jetstream: {store_dir: "STORE", max_file_store: 3MB}') as server:
        nats = await connected(server.url())
        await topology.apply(nats)
        config = (await frames(nats))["config"]
        assert (config["max_bytes"], config["max_msgs"]) == (-1, 256)
        await nats.close()


@pytest.mark.skipif(not full_disk.can_mount(), reason="no small disk can be made here")
async def test_the_embedded_broker_on_a_small_disk(tmp_path: Path) -> None:
    with full_disk.small_disk(tmp_path / "disk", 32) as disk:
        async with EmbeddedServer(disk) as server:
            nats = await Connection.connect(server.url, name="test")
            await topology.apply(nats)
            streams = Streams(nats)
            await flood(streams, 300)  # 19 MiB
            assert (await frames(nats))["state"]["bytes"] <= 12 * MIB
            for _ in range(5):
                await publish(streams, await begin(streams), "x" * 40_000)
            await nats.close()


async def test_a_run_keeps_its_newest_pictures_and_the_broker_refuses_what_is_too_large(tmp_path: Path) -> None:
    async with serving(tmp_path, 'jetstream: {store_dir: "STORE"}') as server:
        nats = await connected(server.url())
        await topology.Topology(nats, settings=StreamSettings(frames_per_run=5)).once()
        streams, test_id, other = Streams(nats), new_test_id(), new_test_id()
        first = await store_picture(streams, other)
        numbers = [await store_picture(streams, test_id) for _ in range(12)]
        kept = (await streams.read(subjects.FRAMES, subjects.frames(test_id), 0, 100)).messages
        assert [each.seq for each in kept] == numbers[-5:]
        assert await FrameStore(streams).at(other, first) is not None, "other runs keep theirs"
        with pytest.raises(BrokerRefused, match="message size exceeds maximum allowed") as refused:
            await streams.store(subjects.frames(test_id), bytes(66 * 1024))
        assert refused.value.err_code == 10054
        await nats.close()
