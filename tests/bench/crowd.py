"""Many cheap viewers in one process: sockets that resume and count the events they receive.

A viewer implements the part of the protocol that the benchmarks need. It opens a socket for one test from its position,
extracts the sequences from the received bytes, and reconnects with the backoff of the page. A sequence that is split
between two reads is not counted; the viewers in tests/faults account for every event.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

_SEQ: Final = re.compile(rb'"seq":(\d+),"type"')
_NS: Final = re.compile(rb'"seq":(\d+),"type":"progress","message":"(\d+)"')
_BACKOFF_S: Final = (1, 2, 4, 8, 16, 30)


class Viewer(asyncio.Protocol):
    """One viewer.

    Args:
        test_id: the test that it watches.
        crowd: holds the counters and the ports of the edges.
    """

    __slots__ = ("_crowd", "_head", "_ports", "_test_id", "attempt", "epoch", "position", "timed", "transport")

    def __init__(self, test_id: str, crowd: Crowd) -> None:
        self._test_id = test_id
        self._crowd = crowd
        self._head = b""
        self.transport: asyncio.Transport | None = None
        self.attempt = 0
        self.position = 0
        self.epoch = ""
        self.timed = False
        """Whether its latencies are recorded."""

    async def connect(self) -> None:
        """Makes one attempt. The callbacks below report the result."""
        crowd = self._crowd
        port = crowd.rng.choice(crowd.ports)
        self._head = b""
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        except OSError:
            crowd.refused_connections += 1
            self._again()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        resume = f"&after={self.position}&epoch={self.epoch}" if self.position else ""
        request = (
            f"GET /ws?testId={self._test_id}{resume} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket"
            "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        crowd = self._crowd
        if self._head is not None and not self._head.startswith(b"HTTP/1.1 101"):
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            if not self._head.startswith(b"HTTP/1.1 101"):
                crowd.statuses[self._head[9:12].decode()] = crowd.statuses.get(self._head[9:12].decode(), 0) + 1
                return
            crowd.opened += 1
        if b'"sync"' in data and (found := re.search(rb'"epoch":"(\w+)"', data)):
            self.epoch = found[1].decode()
            if b'"reset"' in data:
                crowd.resets += 1
        for match in _SEQ.finditer(data):
            seq = int(match[1])
            if seq <= self.position:
                crowd.duplicates += 1
            self.position = seq
            self.attempt = 0
            crowd.on_event(self, seq)
        if self.timed and crowd.latencies is not None:
            now = time.time_ns()
            crowd.latencies += [(now - int(match[2])) / 1e6 for match in _NS.finditer(data)]

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._crowd.lost += 1
        self._again()

    def _again(self) -> None:
        if self._crowd.closing:
            return
        longest = _BACKOFF_S[min(self.attempt, len(_BACKOFF_S) - 1)]
        self.attempt += 1
        loop = asyncio.get_running_loop()
        loop.call_later(longest * self._crowd.rng.uniform(0.8, 1.0), self._crowd.start, self)


class Crowd:
    """Many viewers of one test, and their counters.

    Args:
        ports: of the edges; each attempt uses a random one.
        size: number of viewers.
    """

    def __init__(self, test_id: str, ports: Sequence[int], size: int, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.ports = list(ports)
        self.viewers = [Viewer(test_id, self) for _ in range(size)]
        self.opened = self.lost = self.duplicates = self.resets = self.refused_connections = 0
        self.statuses: dict[str, int] = {}
        self.latencies: list[float] | None = None
        self.on_event: Callable[[Viewer, int], None] = lambda _viewer, _seq: None
        self.closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, viewer: Viewer) -> None:
        """Starts one attempt of one viewer."""
        task = asyncio.get_running_loop().create_task(viewer.connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def gather(self, at_once: int = 200) -> None:
        """Opens all sockets, `at_once` of them at a time."""
        for begin in range(0, len(self.viewers), at_once):
            for viewer in self.viewers[begin : begin + at_once]:
                self.start(viewer)
            await self.current(0, self.viewers[begin : begin + at_once])

    async def current(self, seq: int, viewers: Sequence[Viewer] | None = None, within_s: float = 120.0) -> None:
        """Waits until the position of each viewer is past `seq`.

        Raises:
            SystemExit: not within `within_s`.
        """
        deadline = time.monotonic() + within_s
        while not all(viewer.position > seq for viewer in viewers or self.viewers):
            if time.monotonic() > deadline:
                late = sum(viewer.position <= seq for viewer in viewers or self.viewers)
                raise SystemExit(f"{late} viewers are not past {seq} after {within_s:g} s: {self.statuses}")
            await asyncio.sleep(0.02)

    def disperse(self) -> None:
        """Closes all sockets for good."""
        self.closing = True
        for viewer in self.viewers:
            if viewer.transport is not None:
                viewer.transport.abort()
