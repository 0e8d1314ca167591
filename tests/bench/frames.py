"""What pictures over time cost an edge: a wall of live runs, a list of many pictures, and a flood of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import orjson
from websockets.asyncio.client import ClientConnection, connect

from broker import identity
from broker.contract import subjects
from broker.contract.frames import JPEG_MAGIC
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_store import FrameStore
from broker.local.embedded_server import EmbeddedServer
from tests.bench import report
from tests.bench.host import cpu_s, pss_kb
from tests.harness import EdgeProcess, begin, publish, until

_RUNS: Final = 50
_PER_S: Final = 2
_JPEG: Final = JPEG_MAGIC + os.urandom(25_000)
"""As large as a picture of the demo game, about."""
_KEPT: Final = 1500
_NO_LIMITS: Final = {
    "TESTCAST_EDGE_MAX_SOCKETS_PER_ADDRESS": "0",
    "TESTCAST_EDGE_HANDSHAKES_PER_S": "0",
    "TESTCAST_EDGE_READS_PER_S": "0",
    "TESTCAST_EDGE_MESSAGES_PER_S": "0",
}


class Http:
    """One connection that asks for one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, edge: EdgeProcess) -> Http:
        return cls(*await asyncio.open_connection("127.0.0.1", edge.port, limit=1 << 20))

    async def get(self, path: str) -> bytes:
        """The body of an answer with status 200."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return await self._reader.readexactly(size)

    def close(self) -> None:
        self._writer.transport.abort()


class Wall:
    """A viewer of all runs. It asks for each picture that it is told of."""

    def __init__(self, stored: dict[int, float], *, fetches: bool) -> None:
        self.told_s: list[float] = []
        self.got_s: list[float] = []
        self.received = 0
        self._stored, self._fetches = stored, fetches
        self._tasks: set[asyncio.Task[None]] = set()
        self._free: asyncio.LifoQueue[Http] = asyncio.LifoQueue()

    async def run(self, edge: EdgeProcess, runs: list[str]) -> None:
        """Follows until cancelled."""
        for _ in range(6 if self._fetches else 0):  # as many as a browser opens
            self._free.put_nowait(await Http.open(edge))
        async with connect(edge.ws_url, compression=None) as socket:
            for test_id in runs:
                await socket.send(orjson.dumps({"type": "subscribe", "channel": "frames", "testId": test_id}).decode())
            try:
                await self._listen(socket)
            finally:
                for task in self._tasks:
                    task.cancel()

    async def _listen(self, socket: ClientConnection) -> None:
        async for message in socket:
            self.received += len(message)
            told = orjson.loads(message)
            began = self._stored.get(told.get("number", 0))
            if told["type"] == "frame" and began is not None:
                self.told_s.append(time.perf_counter() - began)
                if self._fetches:
                    task = asyncio.create_task(self._fetch(told))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _fetch(self, told: dict[str, Any]) -> None:
        http = await self._free.get()
        began = time.perf_counter()
        body = await http.get(f"/tests/{told['testId']}/frames/{told['number']}")
        self.got_s.append(time.perf_counter() - began)
        self.received += len(body)
        self._free.put_nowait(http)


@contextlib.asynccontextmanager
async def _running() -> AsyncIterator[tuple[Streams, EdgeProcess]]:
    with tempfile.TemporaryDirectory() as name:
        async with EmbeddedServer(Path(name) / "nats") as server:
            nats = await Connection.connect(server.url, name="bench")
            await topology.apply(nats)
            edge = EdgeProcess(server.url, Path(name), **_NO_LIMITS)
            try:
                yield Streams(nats), await edge.start()
            finally:
                await nats.close()
                await edge.stop()


async def _publish(streams: Streams, runs: list[str], stored: dict[int, float]) -> None:
    """An event and two pictures a second of each run, spread over the second, until cancelled."""
    store = FrameStore(streams)

    async def one(test_id: str, offset_s: float) -> None:
        due, turn, seq = time.perf_counter() + offset_s, 0, 0
        while True:
            await asyncio.sleep(due - time.perf_counter())
            if turn % _PER_S == 0:
                seq = (await publish(streams, test_id, "Testing WASD movement")).seq
            turn += 1
            number = await store.put(test_id, _JPEG, seq=seq, time_ms=int(time.time() * 1000))
            stored.setdefault(number, time.perf_counter())
            due += 1 / _PER_S

    spread = (each / _RUNS / _PER_S for each in range(_RUNS))
    await asyncio.gather(*(one(test_id, offset_s) for test_id, offset_s in zip(runs, spread, strict=True)))


def _ms(values: list[float]) -> list[str]:
    if len(values) < 2:
        return [report.NONE] * 2
    hundredths = quantiles(values, n=100)
    return [report.figure(1000 * hundredths[49]), report.figure(1000 * hundredths[98])]


async def _wall(
    streams: Streams, edge: EdgeProcess, runs: list[str], viewers: int, how: tuple[bool, float]
) -> list[str]:
    fetches, seconds = how
    stored: dict[int, float] = {}
    walls = [Wall(stored, fetches=fetches) for _ in range(viewers)]
    tasks = [asyncio.create_task(each.run(edge, runs)) for each in walls]
    tasks.append(asyncio.create_task(_publish(streams, runs, stored)))
    await asyncio.sleep(4)
    for wall in walls:
        wall.told_s, wall.got_s, wall.received = [], [], 0
    before, began = cpu_s([edge.child.pid]), time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    cpu = 100 * (cpu_s([edge.child.pid]) - before) / took
    told = [value for wall in walls for value in wall.told_s]
    got = [value for wall in walls for value in wall.got_s]
    received = sum(wall.received for wall in walls) / took / 1e6
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    rate = len(told) / took
    report.say(
        f"wall: {viewers} viewers, {'with' if fetches else 'without'} pictures: CPU {cpu:.1f} %, {rate:.0f}/s told"
    )
    name = f"{viewers}" if fetches or not viewers else f"{viewers}, told only"
    return [name, report.figure(cpu), f"{rate:,.0f}", report.figure(received), *_ms(told), *_ms(got)]


async def _list(streams: Streams, edge: EdgeProcess) -> str:
    """Lists of runs with as many pictures as are kept."""
    store, runs = FrameStore(streams), [await begin(streams) for _ in range(10)]
    for test_id in runs:
        for _ in range(_KEPT // 50):
            await asyncio.gather(*(store.put(test_id, JPEG_MAGIC) for _ in range(50)))
    first: list[float] = []
    again: list[float] = []
    pids, http = [edge.child.pid], await Http.open(edge)
    memory, cpu = pss_kb(pids), cpu_s(pids)
    for times in (first, again):
        for test_id in runs:
            began = time.perf_counter()
            body = await http.get(f"/rpc/getFrames?testId={test_id}")
            times.append(1000 * (time.perf_counter() - began))
            assert len(orjson.loads(body)["frames"]) == _KEPT
        if times is first:
            cpu = (cpu_s(pids) - cpu) * 1000 / len(runs)
            memory = (pss_kb(pids) - memory) // len(runs)
    clicks = []
    for _ in range(300):
        test_id = random.choice(runs)
        number = random.choice(orjson.loads(await http.get(f"/rpc/getFrames?testId={test_id}"))["frames"])[0]
        began = time.perf_counter()
        await http.get(f"/tests/{test_id}/frames/{number}")
        clicks.append(time.perf_counter() - began)
    http.close()
    p50, p99 = _ms(clicks)
    return (
        f"A list of {_KEPT:,} pictures takes {sum(first) / len(first):.0f} ms when it is asked for first ({cpu:.0f} ms "
        f"of the edge's processor, {memory} KiB of memory), and {sum(again) / len(again):.1f} ms from then on. From "
        f"the request for a picture that is in no memory to its last byte: p50 {p50} ms, p99 {p99} ms."
    )


async def _flood(streams: Streams, edge: EdgeProcess, count: int) -> str:
    """Pictures of a run that somebody follows, and of runs that nobody knows, as fast as the broker takes them."""
    test_id, told = await begin(streams), []
    spent: list[float] = []
    async with connect(edge.ws_url, compression=None, ping_interval=None) as socket:

        async def listen() -> None:
            async for message in socket:
                number: int = orjson.loads(message).get("number", 0)
                told.append(number)

        await socket.send(orjson.dumps({"type": "subscribe", "channel": "frames", "testId": test_id}).decode())
        listening = asyncio.create_task(listen())
        first = await FrameStore(streams).put(test_id, JPEG_MAGIC)
        await until(lambda: first in told, within_s=20)
        for known in (True, False):
            before, began = cpu_s([edge.child.pid]), time.perf_counter()
            for _ in range(count // 1000):
                named = test_id if known else identity.new_test_id()
                await streams.nats.publish_many([(subjects.frames(named), JPEG_MAGIC)] * 999)
                await streams.store(subjects.frames(named), JPEG_MAGIC, timeout_s=60)  # the broker keeps pace
            took = time.perf_counter() - began
            spent.append(100 * (cpu_s([edge.child.pid]) - before) / took)
            report.say(f"flood: {count / took:,.0f}/s, CPU {spent[-1]:.1f} %")
        last = await FrameStore(streams).put(test_id, JPEG_MAGIC)
        await until(lambda: told[-1] == last, within_s=60)
        listening.cancel()
    return (
        f"A flood of {count:,} pictures, about {count / took:,.0f} a second, takes {spent[0]:.1f} % of the edge's "
        f"processor if they are a followed run's, and {spent[1]:.1f} % if nobody knows their runs. The follower "
        f"received {len(told)} messages, the last one for the last picture."
    )


async def frames(_programs: Path, quick: bool) -> str:
    """A wall, a list, and a flood."""
    seconds = 4.0 if quick else 20.0
    rows = []
    async with _running() as (streams, edge):
        runs = [await begin(streams) for _ in range(_RUNS)]
        for viewers, fetches in ((0, False), (1, True), (10, True), (100, False)):
            rows.append(await _wall(streams, edge, runs, viewers, (fetches, seconds)))
        listed = await _list(streams, edge)
        flood = await _flood(streams, edge, 20_000 if quick else 50_000)
    head = [
        "viewers",
        "edge's CPU, %",
        "messages/s",
        "MB/s to viewers",
        "stored to told, p50 ms",
        "p99 ms",
        "request to picture, p50 ms",
        "p99 ms",
    ]
    text = (
        f"A wall of {_RUNS} live runs with an event and {_PER_S} pictures a second each, of {len(_JPEG) // 1000} kB. "
        "Each viewer asks for every picture that it is told of, over six connections. Publisher and viewers are "
        "one Python process on the same two cores, so the times contain its share."
    )
    return "\n".join([text, "", *report.table(head, rows), "", listed, "", flood])
