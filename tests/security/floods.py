"""What floods cost everybody else: `python -m tests.security.floods [seconds]`.

Starts a broker and an edge. Fifty viewers follow a run that gets 50 events a second; a flood comes from a process of
its own. For each kind it prints how long events took from publishing to the viewer, the p99 of `getConfig`, how much of
a processor the edge used, and by how much its memory grew. Times of a machine with other work are worth little.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.harness import NO_SUCH_TEST, EdgeProcess, begin, is_event, publish

_VIEWERS: Final = 50
_EVENTS_PER_S: Final = 50
_ATTACKERS: Final = 8
FLOODS: Final = (
    *("none", "cancels", "subscribes", "lists", "pings", "handshakes", "list calls", "submits", "event reads"),
    *("silent connections", "heads"),
)


async def attack(kind: str, port: int, test_id: str, attackers: int = _ATTACKERS) -> None:
    """Floods until it is killed."""
    print("it begins", flush=True)
    await asyncio.gather(*(_attacker(kind, port, test_id) for _ in range(attackers)))


async def _attacker(kind: str, port: int, test_id: str) -> None:
    messages = {
        "cancels": {"type": "cancel", "testId": NO_SUCH_TEST},
        "subscribes": {"type": "subscribe", "testId": NO_SUCH_TEST},
        "lists": {"type": "subscribe", "channel": "tests"},
    }
    while True:
        with contextlib.suppress(OSError, WebSocketException, TimeoutError, httpx.HTTPError):
            if kind in messages or kind == "pings":
                await _on_a_socket(port, orjson.dumps(messages[kind]) if kind in messages else None)
            elif kind == "handshakes":
                async with connect(f"ws://127.0.0.1:{port}/ws?testId={test_id}"):
                    pass
            elif kind in ("silent connections", "heads"):
                await _half_a_request(
                    port, b"" if kind == "silent connections" else b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 9000
                )
            else:
                await _calls(kind, port, test_id)


async def _on_a_socket(port: int, message: bytes | None) -> None:
    frame = b"\x89\x80\0\0\0\0" if message is None else bytes((0x81, 0x80 | len(message))) + b"\0\0\0\0" + message
    async with connect(f"ws://127.0.0.1:{port}/ws", max_queue=None, close_timeout=1) as socket:
        while True:
            socket.transport.write(frame * 100)
            await asyncio.sleep(0.001)
            if socket.close_code is not None:
                return


async def _half_a_request(port: int, sent: bytes) -> None:
    held = []
    for _ in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        held.append(writer)
    await asyncio.sleep(0.2)
    for writer in held:
        writer.close()


async def _calls(kind: str, port: int, test_id: str) -> None:
    calls = {
        "list calls": ("listTests", {"query": "a"}),
        "submits": ("submitTest", {"gameUrl": "http://game.example/"}),
        "event reads": ("getEvents", {"testId": test_id, "limit": 1000}),
    }
    method, params = calls[kind]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        for _ in range(100):
            await client.post(f"/rpc/{method}", json=params)


class Bystanders:
    """Viewers of one run, and a caller of the RPC."""

    def __init__(self, edge: EdgeProcess, test_id: str) -> None:
        self._edge, self._test_id = edge, test_id
        self.took_ms: list[float] = []
        self.calls_ms: list[float] = []

    async def watch(self) -> None:
        """Notes how long each event took."""
        async with connect(f"{self._edge.ws_url}?testId={self._test_id}", max_queue=None) as viewer:
            async for received in viewer:
                now = time.time()
                found = orjson.loads(received)
                for each in found if isinstance(found, list) else [found]:
                    if is_event(each) and "sent" in (each.get("data") or {}):
                        self.took_ms.append((now - each["data"]["sent"]) * 1000)

    async def call(self) -> None:
        """Calls what needs no broker."""
        async with httpx.AsyncClient(base_url=self._edge.url, timeout=20) as client:
            while True:
                began = time.perf_counter()
                await client.get("/rpc/getConfig", headers={"connection": "close"})
                self.calls_ms.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.05)


async def publish_steadily(streams: Streams, test_id: str) -> None:
    """The events that the viewers wait for."""
    while True:
        await publish(streams, test_id, "An event", data={"sent": time.time()})
        await asyncio.sleep(1 / _EVENTS_PER_S)


def memory_mb(edge: EdgeProcess) -> float:
    """What the edge holds in memory."""
    lines = Path(f"/proc/{edge.child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def cpu_s(edge: EdgeProcess) -> float:
    """Processor time that the edge has used."""
    fields = Path(f"/proc/{edge.child.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(found: list[float], share: float) -> float:
    """Of what was found; infinite when that is nothing."""
    return sorted(found)[int(len(found) * share)] if found else float("inf")


async def measure(seconds: float) -> None:
    """Prints a line for each flood."""
    with tempfile.TemporaryDirectory() as directory:
        async with EmbeddedServer(Path(directory) / "nats") as server:
            nats = await Connection.connect(server.url, name="floods")
            await topology.apply(nats)
            streams = Streams(nats)
            edge = await EdgeProcess(server.url, Path(directory)).start()
            try:
                for kind in FLOODS:
                    await _measure(kind, edge, streams, seconds)
            finally:
                await edge.stop()
                await nats.close()


async def _measure(kind: str, edge: EdgeProcess, streams: Streams, seconds: float) -> None:
    test_id = await begin(streams)
    bystanders = Bystanders(edge, test_id)
    tasks = [asyncio.create_task(bystanders.watch()) for _ in range(_VIEWERS)]
    tasks += [asyncio.create_task(publish_steadily(streams, test_id)), asyncio.create_task(bystanders.call())]
    await asyncio.sleep(1)
    before = memory_mb(edge)
    flood = None
    if kind != "none":
        command = (sys.executable, "-m", "tests.security.floods", kind, str(edge.port), test_id)
        flood = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert flood.stdout is not None
        await flood.stdout.readline()
        await asyncio.sleep(1)
    bystanders.took_ms.clear()
    bystanders.calls_ms.clear()
    used_s = cpu_s(edge)
    await asyncio.sleep(seconds)
    used_s = cpu_s(edge) - used_s
    grown = memory_mb(edge) - before
    if flood is not None:
        flood.kill()
        await flood.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    took, calls = bystanders.took_ms, bystanders.calls_ms
    print(
        f"{kind:20} events {len(took):6}  p50 {percentile(took, 0.5):7.1f}  p99 {percentile(took, 0.99):7.1f} ms  "
        f"call p99 {percentile(calls, 0.99):7.1f} ms  cpu {used_s / seconds:5.0%}  memory {grown:+6.1f} MB",
        flush=True,
    )
    await asyncio.sleep(1)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        asyncio.run(attack(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
    else:
        asyncio.run(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
