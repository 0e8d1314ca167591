"""What an export costs an edge: size, time, memory, and how long others wait meanwhile.

`python -m tests.bench.export` stores a run of 20,000 events and 1,500 pictures of 20 KB on a broker of its own, and
takes it from an edge of its own: once in each format, then four times at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import orjson

from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_store import FrameStore
from broker.local.embedded_server import EmbeddedServer
from tests.exporting import jpeg
from tests.harness import EdgeProcess, publish

_PICTURE_BYTES: Final = 20_000
_AT_ONCE: Final = 4
_IN_FLIGHT: Final = 200
_MIB: Final = 1 << 20


class Taken(NamedTuple):
    """One measurement."""

    size: int
    seconds: float
    cpu_s: float
    """Of the edge's process."""
    rss: int
    """Of the edge at most, bytes."""
    waited_s: float
    """The longest answer to `/healthz` meanwhile."""


async def store(streams: Streams, events: int, frames: int) -> str:
    """Stores the run. Returns its id."""
    test_id, store = identity.new_test_id(), FrameStore(streams)
    data = {"title": "A long run", "gameUrl": "http://game.example/"}
    await publish(streams, test_id, "Queued", "status", status="queued", data=data)
    begin = now_ms() - 1000 * events
    more = {"action": "key", "keys": ["ArrowUp", "ArrowDown"], "frames": 57.5}
    for first in range(0, events, _IN_FLIGHT):
        numbers = range(first, min(events, first + _IN_FLIGHT))
        bodies = [
            {"type": "progress", "message": f"Pressing keys {each}", "timestamp": begin + 1000 * each, "data": more}
            for each in numbers
        ]
        await asyncio.gather(*(streams.store(subjects.events(test_id), orjson.dumps(each)) for each in bodies))
    picture = jpeg((90, 120, 200))
    picture += bytes(_PICTURE_BYTES - len(picture))
    for each in range(frames):
        await store.put(
            test_id, picture, seq=2 + each * events // frames, time_ms=begin + each * 1000 * events // frames
        )
    return test_id


def rss(pid: int) -> int:
    """Memory that a process holds, bytes."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def take(edge: EdgeProcess, test_id: str, form: str, times: int) -> Taken:
    """Takes the run so many times at once."""
    pid, most, waited, ended = edge.child.pid, 0, 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal most, waited
        async with httpx.AsyncClient() as http:
            while not ended.is_set():
                began = time.perf_counter()
                await http.get(f"{edge.url}/healthz")
                waited = max(waited, time.perf_counter() - began)
                most = max(most, rss(pid))
                await asyncio.sleep(0.01)

    async def one() -> int:
        size = 0
        async with httpx.AsyncClient(timeout=120) as http:
            where = f"{edge.url}/tests/{test_id}/export?format={form}"
            async with http.stream("GET", where) as answer:
                answer.raise_for_status()
                async for piece in answer.aiter_raw():
                    size += len(piece)
        return size

    watching = asyncio.create_task(watch())
    began, cpu_before = time.perf_counter(), cpu_s(pid)
    sizes = await asyncio.gather(*(one() for _ in range(times)))
    seconds = time.perf_counter() - began
    ended.set()
    await watching
    return Taken(sizes[0], seconds, cpu_s(pid) - cpu_before, most, waited)


async def measure(events: int, frames: int) -> None:
    """Prints a table."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with EmbeddedServer(directory / "nats") as server:
            nats = await Connection.connect(server.url, name="bench")
            await topology.apply(nats)
            test_id = await store(Streams(nats), events, frames)
            edge = await EdgeProcess(server.url, directory).start()
            before = rss(edge.child.pid)
            print(
                f"{events} events, {frames} pictures of {_PICTURE_BYTES} bytes; the edge holds {before / _MIB:.0f} MiB"
            )
            for form, times in (("junit", 1), ("json", 1), ("html", 1), ("html", _AT_ONCE)):
                taken = await take(edge, test_id, form, times)
                print(
                    f"{form} x{times}: {taken.size / 1e6:.2f} MB each, {taken.seconds:.2f} s, CPU {taken.cpu_s:.2f} s, "
                    f"at most {taken.rss / _MIB:.0f} MiB, /healthz at most {taken.waited_s * 1000:.0f} ms"
                )
            await edge.stop()
            await nats.close()


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=1500)
    given = parser.parse_args()
    asyncio.run(measure(given.events, given.frames))


if __name__ == "__main__":
    main()
