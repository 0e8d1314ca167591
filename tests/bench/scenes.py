"""Two benchmarks with many viewers: a mass reconnect (`storm`), and a viewer that stops reading (`stalled`)."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles

from broker.contract import subjects
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.bench.crowd import Crowd, Viewer
from tests.bench.host import rss_kb, tcp_kb
from tests.harness import EdgeProcess, begin, event_bytes, publish

NO_ADDRESS_LIMIT = {"TESTCAST_EDGE_MAX_SOCKETS_PER_ADDRESS": "0"}
"""All viewers connect from one address."""


@asynccontextmanager
async def stack(edges: int) -> AsyncIterator[tuple[Streams, list[EdgeProcess]]]:
    """Runs a broker and `edges` edges."""
    with tempfile.TemporaryDirectory() as name:
        async with EmbeddedServer(Path(name) / "nats") as server:
            nats = await Connection.connect(server.url, name="bench")
            await topology.apply(nats)
            started = [await EdgeProcess(server.url, Path(name), **NO_ADDRESS_LIMIT).start() for _ in range(edges)]
            try:
                yield Streams(nats), started
            finally:
                await nats.close()
                for edge in started:
                    await edge.stop()


async def storm(size: int) -> None:
    """Kills an edge with -9. All of its viewers reconnect to another edge."""
    async with stack(2) as (streams, (first, second)):
        test_id = await begin(streams)
        crowd = Crowd(test_id, [first.port], size)
        before = rss_kb([second.child.pid])
        began = time.monotonic()
        await crowd.gather()
        print(f"opened {size} in {time.monotonic() - began:.1f} s")
        crowd.ports = [second.port]
        last = (await publish(streams, test_id, "before")).seq
        await crowd.current(last - 1)
        first.child.signal(signal.SIGKILL)
        began = time.monotonic()
        times: dict[int, float] = {}

        def note(viewer: Viewer, _seq: int) -> None:
            times.setdefault(id(viewer), time.monotonic() - began)

        crowd.on_event = note
        for number in range(5):
            await publish(streams, test_id, f"while away {number}")
        final = (await publish(streams, test_id, "last")).seq
        await crowd.current(final - 1)
        spread = sorted(times.values())
        print(
            f"back and current: all {len(spread)} in {spread[-1]:.1f} s, p50 {spread[len(spread) // 2]:.1f} s; "
            f"answers other than 101: {crowd.statuses or 'none'}; duplicates {crowd.duplicates}, resets {crowd.resets}"
        )
        held = rss_kb([second.child.pid])
        crowd.disperse()
        await asyncio.sleep(2)
        after = rss_kb([second.child.pid])
        print(f"the other edge's memory: {before} KB before, {held} KB with all of them, {after} KB after")


async def stalled(size: int, events: int) -> None:
    """Measures the other viewers' latency and the edge's memory, with and without a viewer that stops reading."""
    for who in ("nobody", "one"):
        async with stack(1) as (streams, (edge,)):
            test_id = await begin(streams)
            crowd = Crowd(test_id, [edge.port], size)
            await crowd.gather()
            still = crowd.viewers[0]
            if who == "one":
                assert still.transport is not None
                still.transport.pause_reading()
            rest = crowd.viewers[1:]
            for viewer in rest[:100]:  # taking the time is costly, so 100 viewers do it
                viewer.timed = True
            last = await _pour(streams, test_id, 200)
            await crowd.current(last - 1, rest)
            crowd.latencies = []
            memory, kernel = rss_kb([edge.child.pid]), tcp_kb()
            last = await _pour(streams, test_id, events)
            await crowd.current(last - 1, rest)
            p = quantiles(crowd.latencies, n=100)
            grown, kernel_grown = rss_kb([edge.child.pid]) - memory, tcp_kb() - kernel
            print(
                f"{who} stalled among {size}: p50 {p[49]:.1f} ms, p99 {p[98]:.1f} ms over {events} events; "
                f"edge grew by {grown} KB, the kernel's TCP memory by {kernel_grown} KB"
            )
            if who == "one":
                assert still.transport is not None
                began = time.monotonic()
                still.transport.resume_reading()
                await crowd.current(last - 1)
                print(f"it resumed and was current after {time.monotonic() - began:.1f} s; resets {crowd.resets}")
            print(f"duplicates {crowd.duplicates}")
            crowd.disperse()


async def _pour(streams: Streams, test_id: str, count: int, per_s: float = 100.0) -> int:
    """Publishes at a steady rate; each message is its time of publication in ns. Returns the last sequence."""
    began, last = time.monotonic(), 0
    for number in range(count):
        ack = await streams.store(subjects.events(test_id), event_bytes(str(time.time_ns()), data="x" * 200))
        last = ack.seq
        late = began + (number + 1) / per_s - time.monotonic()
        if late > 0:
            await asyncio.sleep(late)
    return last
