"""Helpers for tests: waiting for conditions, edges as processes, publishing runs, reading sockets."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import os
import socket
import sys
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, overload

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection

from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable
from broker.contract.events import Event
from broker.contract.ports import Ack
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.frame_store import FrameStore
from broker.local.child_process import Child
from tests.contract_check import check_control
from tests.fair_clock import fair_time
from tests.fork_server import ForkedChild

T = TypeVar("T")
STALL_S: Final = 20.0
"""How long a test waits for what has to come: a busy machine stands still for seconds."""
NO_SUCH_TEST = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
JPEG = b"\xff\xd8\xff a picture"
"""Begins like one; no program can show it."""


@overload
async def until(condition: Callable[[], Awaitable[T | None]], *, within_s: float = ..., what: str = ...) -> T: ...
@overload
async def until(condition: Callable[[], T | None], *, within_s: float = ..., what: str = ...) -> T: ...
async def until(condition: Callable[[], Any], *, within_s: float = STALL_S, what: str = "") -> Any:
    """Waits until the condition gives something true, and returns it.

    Raises:
        AssertionError: not within the deadline.
    """
    deadline, pause_s = fair_time() + within_s, 0.02
    while True:
        result = condition()
        found = await result if inspect.isawaitable(result) else result
        if found:
            return found
        if fair_time() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what or inspect.getsource(condition).strip()}")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.1)  # a look costs processor time, of which what is waited for may be short


async def answers(nats: Connection) -> bool:
    """The broker answers on this connection. `connected` may still be of a server that has just ended."""
    with contextlib.suppress(BrokerUnavailable):
        await nats.flush()
        return True
    return False


_LOWEST_PORT = 12_000
_PORTS = 20_000
_ports = itertools.count()


def free_port() -> int:
    """A port of 127.0.0.1 that is free at the moment.

    It is below those that the system gives to outgoing connections: one of thousands would take it before it is used.
    No two are the same within a process, nor next to each other, and processes begin at different places.
    """
    while True:
        port = _LOWEST_PORT + (os.getpid() * 1009 + 7 * next(_ports)) % _PORTS
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


_edges: weakref.WeakSet[EdgeProcess] = weakref.WeakSet()
CONSOLE: Final = pytest.StashKey[list[str]]()
"""What the page of a test wrote to its console."""


def last_words(item: pytest.Item) -> list[tuple[str, list[str]]]:
    """What the edges that run, and the page of this test, have said: for the report of a failure."""
    said = [(f"the edge at {edge.url}", edge.child.last_lines(15).splitlines()) for edge in _edges if edge.running]
    return [("the page", item.stash[CONSOLE]), *said] if CONSOLE in item.stash else said


class EdgeProcess:
    """A real edge in a process of its own.

    Args:
        nats_url: address of its broker.
        directory: directory for its log.
        settings: `TESTCAST_…` variables that override the defaults for tests (no throttle, private addresses allowed,
            any number of refused proofs, no canary: sequences are those of the test's own events).
            `TESTCAST_EDGE_PORT` takes the place of an edge that has ended.
    """

    forks: ClassVar = False
    """Whether edges are forked from a process that has imported them already. Benchmarks want each from its start."""

    def __init__(self, nats_url: str, directory: Path, **settings: str) -> None:
        self.port = int(settings.get("TESTCAST_EDGE_PORT", 0)) or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}/ws"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")} | {
            "TESTCAST_NATS_URL": nats_url,
            "TESTCAST_EDGE_PORT": str(self.port),
            "TESTCAST_EDGE_PROGRESS_INTERVAL_S": "0",
            "TESTCAST_EDGE_SIGN_INS_PER_S": "0",
            "TESTCAST_EDGE_CANARY_S": "0",
            "TESTCAST_AGENT_ALLOW_PRIVATE": "1",
            **settings,
        }
        self.log = directory / f"edge-{self.port}.log"
        self.files: int | None = None
        """How many files it may have open, from its first moment on; None for what this process may."""
        self.child: Child
        self.is_ours = all(name.startswith("TESTCAST_") for name in settings)
        """Another `PYTHONPATH`, for one, makes it another program."""
        self.running = False
        _edges.add(self)

    def spawn(self) -> None:
        """Starts the process without waiting."""
        limited = [] if self.files is None else ["/bin/sh", "-c", f'ulimit -n {self.files} && exec "$@"', "sh"]
        if self.forks and self.is_ours and not limited:
            self.child = ForkedChild("ws_edge", self.log, self._env)
        else:
            self.child = Child([*limited, sys.executable, "-m", "ws_edge"], self.log, self._env)
        self.running = True

    async def start(self) -> EdgeProcess:
        """Starts the process and waits until it is ready."""
        self.spawn()
        await self.until_ready()
        return self

    async def until_ready(self) -> None:
        """Waits until `/readyz` answers 200.

        Raises:
            AssertionError: the process ended, or it is not ready within 60 s.
        """
        async with httpx.AsyncClient() as client:
            await until(lambda: self._ready(client), within_s=60, what=f"edge ready; its log: {self.log}")

    async def _ready(self, client: httpx.AsyncClient) -> bool:
        assert self.child.exit_code is None, f"the edge ended:\n{self.child.last_lines(20)}"
        try:
            return (await client.get(f"{self.url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def stop(self) -> int:
        """Sends SIGTERM and waits. Returns the exit status."""
        self.running = False
        return await self.child.stop(40)


def event_log(streams: Streams) -> JetStreamLog:
    """An event log on the connection of `streams`."""
    return JetStreamLog(streams.nats)


class PatientStreams(Streams):
    """JetStream of a test that is not about time: what it stores is acknowledged within `STALL_S`."""

    async def store(self, subject: str, payload: bytes, *, timeout_s: float = STALL_S, **how: Any) -> Ack:
        """See `Streams.store`."""
        return await super().store(subject, payload, timeout_s=timeout_s, **how)


async def publish(streams: Streams, test_id: str, message: str, kind: str = "progress", **fields: Any) -> Ack:
    """Publishes an event as an agent in any language does: one JSON message on the subject of the run."""
    event = {"type": kind, "message": message, "timestamp": now_ms()} | fields
    return await streams.store(subjects.events(test_id), orjson.dumps(event), timeout_s=STALL_S)


_begun_ms = 0


async def begin(streams: Streams, title: str = "A game") -> str:
    """Starts a run: queued, then running. Returns its test id. No two runs begin in the same millisecond."""
    global _begun_ms
    test_id = identity.new_test_id()
    await until(lambda: now_ms() > _begun_ms)  # the list is ordered by when the broker has stored the first event
    data = {"title": title, "gameUrl": "http://game.example/"}
    await publish(streams, test_id, "Queued", "status", status="queued", data=data)
    _begun_ms = now_ms()
    await publish(streams, test_id, "Running", "status", status="running", data={"attempt": 1, "worker": "w1"})
    return test_id


async def store_picture(streams: Streams, test_id: str, jpeg: bytes = JPEG, *, seq: int = 0, time_ms: int = 0) -> int:
    """Stores a picture of a run. Returns its number."""
    return await FrameStore(streams).put(test_id, jpeg, seq=seq, time_ms=time_ms)


async def republish(streams: Streams, on: bool) -> None:
    """Switches the broker's live messages off or on. Without them an edge behaves as after faults of a cluster."""
    config: dict[str, Any] = (await streams.api(f"STREAM.INFO.{subjects.EVENTS}"))["config"]
    config.pop("republish", None)
    if on:
        config["republish"] = topology.streams(1)[0]["republish"]
    await streams.api(f"STREAM.UPDATE.{subjects.EVENTS}", config)


async def say(connection: ClientConnection, message: dict[str, Any]) -> None:
    """Sends a client message on a socket."""
    await connection.send(orjson.dumps(message).decode())


def is_event(message: dict[str, Any]) -> bool:
    """Whether a message of a socket is an event. `unreadable` has a sequence too, and is an edge's own."""
    return "seq" in message and message["type"] != "unreadable"


class Reader:
    """Reads a socket message by message. Splits arrays into their messages.

    Heartbeats, which an edge sends whenever a socket is idle, are passed over where they are not asked for.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ready: list[dict[str, Any]] = []

    async def frame(self, within_s: float = STALL_S, *, beats: bool = False) -> list[dict[str, Any]]:
        """The messages of the next frame."""
        async with asyncio.timeout(within_s):
            while True:
                received = orjson.loads(await self._connection.recv())
                found: list[dict[str, Any]] = received if isinstance(received, list) else [received]
                for each in found:
                    if not is_event(each):
                        check_control(each)
                if beats or found[0]["type"] != "heartbeat" or is_event(found[0]):
                    return found

    async def next(self, within_s: float = STALL_S, *, beats: bool = False) -> dict[str, Any]:
        """The next message."""
        if not self._ready:
            self._ready = await self.frame(within_s, beats=beats)
        return self._ready.pop(0)

    async def events(self, count: int, within_s: float = STALL_S) -> list[dict[str, Any]]:
        """The next `count` events. Skips control messages."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            message = await self.next(within_s)
            if is_event(message):
                found.append(message)
        return found

    async def control(self, kind: str, within_s: float = STALL_S) -> dict[str, Any]:
        """The next control message of this type. Skips events and other control messages."""
        while True:
            message = await self.next(within_s, beats=kind == "heartbeat")
            if message["type"] == kind and not is_event(message):
                return message


def event_bytes(message: str, kind: str = "progress", **fields: Any) -> bytes:
    """The JSON of an event."""
    return Event(type=kind, message=message, timestamp=now_ms(), **fields).encode()
