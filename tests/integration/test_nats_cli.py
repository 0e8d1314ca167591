"""Backup and restore with NATS' own tool, and publishing with it: what docs/operations.md and PROTOCOL.md say of it.

Only where `nats` is on PATH; `make natscli` makes one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from broker.clock import now_ms
from broker.contract import subjects
from broker.jetstream import kv
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_store import FrameStore
from broker.local.embedded_server import EmbeddedServer
from tests.command import Command
from tests.conftest import MakeEdge
from tests.harness import JPEG, EdgeProcess, Reader, begin, publish, store_picture, until

pytestmark = pytest.mark.skipif(shutil.which("nats") is None, reason="NATS' own tool is not on PATH")

PROTOCOL = Path(__file__).parents[2] / "broker" / "PROTOCOL.md"
EXAMPLE = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
_ACCESS = b'{"until": 9999999999}'
_BUCKETS = tuple(map(kv.stream, (subjects.RUNS, subjects.PINS, subjects.ACCESS, subjects.HOOKS)))
_ALL = (subjects.EVENTS, subjects.JOBS, subjects.FRAMES, *_BUCKETS)


async def nats_tool(url: str, *argv: str) -> tuple[int, str]:
    """Runs the tool. Returns its exit status and what it has printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "nats", "--server", url, "--no-context", *argv, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def done(url: str, *argv: str) -> str:
    """Like `nats_tool`, where it must succeed."""
    code, out = await nats_tool(url, *argv)
    assert code == 0, out
    return out


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A broker that has no stream."""
    async with EmbeddedServer(tmp_path / "other") as server:
        yield server


class Before:
    """Three runs, one of them queued, a picture, something revoked; and a backup of it, made beside a running edge."""

    def __init__(self, ended: str, going: str, queued: str, epoch: str, head: int) -> None:
        self.ended, self.going, self.queued, self.epoch, self.head = ended, going, queued, epoch, head

    @classmethod
    async def make(cls, edge: EdgeProcess, streams: Streams) -> Before:
        ended, going = await begin(streams, "Ended"), await begin(streams, "Going")
        await publish(streams, ended, "Done", "complete", data={"score": 5})
        await store_picture(streams, ended)
        await streams.kv_put(subjects.PINS, ended, b"{}")
        await streams.kv_put(subjects.ACCESS, "revoked.abc", _ACCESS)
        job = {"gameUrl": "http://127.0.0.1:9/", "title": "Queued"}
        async with httpx.AsyncClient(timeout=30) as http:
            queued = (await http.post(f"{edge.url}/rpc/submitTest", json=job)).json()["testId"]
        last = await streams.last(subjects.EVENTS, subjects.events(going))
        assert last is not None
        return cls(ended, going, queued, (await streams.state(subjects.EVENTS)).epoch, last.seq)

    async def listed(self, edge: EdgeProcess) -> bool:
        """Whether an edge lists exactly these runs, with their statuses."""
        async with httpx.AsyncClient(timeout=30) as http:
            answer: dict[str, Any] = (await http.get(f"{edge.url}/rpc/listTests")).json()
        found = {each["testId"]: each["status"] for each in answer.get("tests", ())}
        return found == {self.ended: "completed", self.going: "running", self.queued: "queued"}

    async def watched(self, edge: EdgeProcess) -> dict[str, Any]:
        """What a viewer is told that comes back with its position."""
        query = f"testId={self.going}&after={self.head}&epoch={self.epoch}"
        async with connect(f"{edge.ws_url}?{query}", compression=None, proxy=None) as socket:
            return await Reader(socket).control("sync", within_s=30)


async def test_an_account_is_restored_at_a_new_broker(
    nats_edge: EdgeProcess,
    nats_server: EmbeddedServer,
    streams: Streams,
    other: EmbeddedServer,
    tmp_path: Path,
) -> None:
    before = await Before.make(nats_edge, streams)
    await done(nats_server.url, "backup", "account", str(tmp_path / "saved"), "--force")
    await done(other.url, "backup", "restore", "account", str(tmp_path / "saved"))
    edge = await EdgeProcess(other.url, tmp_path).start()
    nats = await Connection.connect(other.url, name="test")
    try:
        restored = Streams(nats)
        assert (await restored.state(subjects.EVENTS)).epoch != before.epoch, "no position of before is valid any more"
        told = await before.watched(edge)
        assert (told["outcome"], told["reason"]) == ("reset", "epoch")
        await until(lambda: before.listed(edge), within_s=40, what="the list of the restored runs")
        assert (await restored.state(subjects.JOBS)).messages == 1, "the queued run is still queued"
        assert (await restored.kv_get(subjects.ACCESS, "revoked.abc")) is not None
        assert await FrameStore(restored).newest(before.ended) is not None
        assert await restored.kv_get(subjects.PINS, before.ended) is not None
        await publish(restored, before.going, "Goes on", "complete", data={"score": 7})

        async def went_on() -> bool:
            async with httpx.AsyncClient(timeout=30) as http:
                shown = (await http.get(f"{edge.url}/rpc/getTest", params={"testId": before.going})).json()
            return bool(shown["test"]["status"] == "completed")

        await until(went_on, within_s=40, what="the snapshot after the restore")
    finally:
        await edge.stop()
        await nats.close()


async def test_a_standing_stream_is_deleted_before_it_is_restored(
    make_edge: MakeEdge, nats_server: EmbeddedServer, streams: Streams, tmp_path: Path
) -> None:
    edge, url = await make_edge(), nats_server.url
    before = await Before.make(edge, streams)
    for name in _ALL:
        await done(url, "backup", "stream", name, str(tmp_path / name), "--no-progress")
    code, out = await nats_tool(url, "backup", "restore", "stream", str(tmp_path / subjects.EVENTS), "--no-progress")
    assert code != 0 and "exist" in out
    await edge.stop()
    await begin(streams, "After the backup")
    for name in _ALL:
        await done(url, "stream", "rm", "--force", name)
    for name in _ALL:
        await done(url, "backup", "restore", "stream", str(tmp_path / name), "--no-progress")
    await edge.start()
    assert (await before.watched(edge))["reason"] == "epoch"
    await until(lambda: before.listed(edge), within_s=40, what="the list of the restored runs")


async def test_testcast_restores_what_the_tool_has_saved(
    make_edge: MakeEdge, nats_server: EmbeddedServer, streams: Streams, tmp_path: Path
) -> None:
    edge = await make_edge()
    before = await Before.make(edge, streams)
    await done(nats_server.url, "backup", "account", str(tmp_path / "saved"), "--force")
    assert (tmp_path / "saved" / subjects.EVENTS / "stream.arc.s2").is_file()
    await begin(streams, "After the backup")
    await edge.stop()
    async with Command("restore", str(tmp_path / "saved"), "--yes", "--nats", nats_server.url) as restore:
        result = await restore.finish()
    assert (result.code, result.err) == (0, "")
    await done(nats_server.url, "stream", "rm", "--force", subjects.JOBS)
    await edge.start()
    assert (await before.watched(edge))["reason"] == "epoch"
    await until(lambda: before.listed(edge), within_s=40, what="the list of the restored runs")

    async def queued_again() -> bool:
        return (await streams.state(subjects.JOBS)).messages == 1

    await until(queued_again, within_s=60, what="the edge queues the run again whose job is lost")


async def test_a_picture_is_published_as_the_protocol_says(
    nats_server: EmbeddedServer, streams: Streams, tmp_path: Path
) -> None:
    test_id, jpeg = await begin(streams), JPEG + b"{{ Count }} \r\n" + bytes(range(256))
    (tmp_path / "screenshot.jpg").write_bytes(jpeg)
    told = [line.strip() for line in PROTOCOL.read_text().split("```sh\nnats pub ")[1].split("```")[0].splitlines()]
    command = " ".join(["nats pub", *told]).replace(" \\", "").replace(EXAMPLE, test_id)
    environment = {**os.environ, "NATS_URL": nats_server.url}
    shell = await asyncio.create_subprocess_shell(command, cwd=tmp_path, env=environment)
    assert await shell.wait() == 0
    newest = await FrameStore(streams).newest(test_id)
    assert newest is not None and newest.jpeg == jpeg
    assert newest.frame.seq == 17 and abs(newest.frame.time_ms - now_ms()) < 600_000
