"""Runs to keep and to delete, edges in this process, and viewers that are told: for tests on a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import httpx

from broker import identity
from broker.contract import subjects
from broker.contract.snapshot import Snapshot
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from broker.jetstream.snapshot_store import SnapshotStore
from tests.harness import publish, until
from tests.in_process import Edge, a_client
from ws_edge.encoding import ENCODINGS
from ws_edge.fanout.session import Session

JPEG: Final = b"\xff\xd8\xff\xe0 picture"
MakeEdge = Callable[..., Awaitable[Edge]]


@asynccontextmanager
async def edges(nats_url: str) -> AsyncIterator[MakeEdge]:
    """Starts edges in this process, with fields of their settings, and stops them at the end."""
    started: list[Edge] = []

    async def make(**settings: Any) -> Edge:
        edge = await Edge(nats_url, **settings).start()
        started.append(edge)
        return edge

    yield make
    for edge in started:
        await edge.stop()


class Viewer:
    """A viewer whose transport takes nothing more after `takes` writes."""

    def __init__(self, takes: int = 1000) -> None:
        self.encoding, self.fd = ENCODINGS["websocket"], -1
        self.takes = takes
        self.got: list[bytes] = []
        self.missing: list[str] = []

    def waiting(self) -> int:
        return 0 if len(self.got) < self.takes else 1 << 30

    def write(self, data: bytes) -> None:
        self.got.append(data)

    def queue(self, rest: memoryview) -> None:
        raise AssertionError

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        if self.waiting() > high_water_bytes:
            return False
        self.got.append(frame)
        return True

    def session_missing(self, session: Session) -> None:
        self.missing.append(session.topic.test_id)


async def ended(streams: Streams, title: str = "A game", *, project: str | None = None, events: int = 0) -> str:
    """A run that has completed, with a picture."""
    test_id = identity.new_test_id()
    data = {"title": title, "gameUrl": "http://game.example/"} | ({} if project is None else {"project": project})
    await publish(streams, test_id, "Queued", "status", status="queued", data=data)
    for number in range(events):
        await publish(streams, test_id, f"step {number}")
    await FrameStore(streams).put(test_id, JPEG)
    await publish(streams, test_id, "Done", "complete", data={"score": 50})
    return test_id


async def left(streams: Streams, test_id: str) -> list[str]:
    """Names of what is stored of a run yet. Marks are nothing."""
    found = {
        "events": await streams.last(subjects.EVENTS, subjects.events(test_id)),
        "pictures": await streams.last(subjects.FRAMES, subjects.frames(test_id)),
        "snapshot": await streams.kv_get(subjects.RUNS, test_id),
        "pin": await streams.kv_get(subjects.PINS, test_id),
        "share": await streams.kv_get(subjects.ACCESS, f"share.{test_id}.one"),
        "job": await streams.last(subjects.JOBS, subjects.job(test_id)),
    }
    return [name for name, each in found.items() if each is not None]


def shown(edge: Edge, test_id: str) -> Snapshot | None:
    return edge.node.snapshot(test_id)


def is_shown(edge: Edge, test_id: str) -> bool:
    run = shown(edge, test_id)
    return run is not None and run.ended


def is_pinned(edge: Edge, test_id: str) -> bool:
    run = shown(edge, test_id)
    return run is not None and run.pinned


async def until_shown(test_id: str, *edges: Edge) -> None:
    for edge in edges:
        await until(partial(is_shown, edge, test_id), within_s=30)


async def until_dropped(test_id: str, *edges: Edge) -> None:
    await until(lambda: not any(shown(edge, test_id) for edge in edges), within_s=30)


async def call(edge: Edge, method: str, test_id: str, name: str = "root") -> tuple[int, Any]:
    async with a_client(edge, name) as client:
        answer: httpx.Response = await client.post(f"/rpc/{method}", json={"testId": test_id})
    said = answer.json()
    return answer.status_code, said["error"]["code"] if "error" in said else said


async def nothing_left(streams: Streams, test_id: str) -> bool:
    """Whether a deletion has come to its end."""
    mark = await SnapshotStore(streams.nats).newest(test_id)
    return not await left(streams, test_id) and mark is not None and mark.kind == "deleted"
