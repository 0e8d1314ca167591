"""A broker whose streams are not there: what reads or deletes takes that for an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.contract import subjects
from broker.contract.errors import NotFound
from broker.identity import new_test_id
from broker.jetstream import backup, kv
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.deletion import delete_run
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.folded import folded_up_to
from broker.jetstream.inspection import inspect
from broker.local.embedded_server import EmbeddedServer
from tests.command import run
from tests.harness import begin, publish, store_picture


async def test_what_is_missing_is_an_answer(nats_server: EmbeddedServer, streams: Streams, tmp_path: Path) -> None:
    test_id = await begin(streams)
    await publish(streams, test_id, "Done", "complete")
    await store_picture(streams, new_test_id())
    nats = await Connection.connect(nats_server.url, name="bare")
    try:
        await backup.backup(nats, tmp_path / "saved")
        for stream in (
            subjects.EVENTS,
            subjects.JOBS,
            subjects.FRAMES,
            *map(kv.stream, (subjects.RUNS, subjects.PINS, subjects.ACCESS, subjects.HOOKS)),
        ):
            await Streams(nats).api(f"STREAM.DELETE.{stream}")
        assert await folded_up_to(Streams(nats)) == 0
        missing = [each.name for each in await inspect(nats) if each.detail == "does not exist"]
        assert len(missing) == 10
        for command in (
            ["list"],
            ["tail", "last"],
            ["show", test_id],
            ["cancel", test_id],
            ["delete", test_id, "--yes"],
        ):
            told = await run(*command, "--nats", nats_server.url)
            assert (told.code, told.out) == (3, "")
            assert "holds no runs yet" in told.err
        await backup.restore(nats, tmp_path / "saved")  # into a broker that holds nothing
        assert [each for each in await inspect(nats) if not each.ok] == []
        await Streams(nats, mends=False).api(f"STREAM.DELETE.{subjects.FRAMES}")
        await delete_run(JetStreamLog(nats), test_id)
        with pytest.raises(NotFound):
            await delete_run(JetStreamLog(nats), test_id)
    finally:
        await nats.close()
