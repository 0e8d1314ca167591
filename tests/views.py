"""A catalogue without a broker, in virtual time, and viewers of its list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import orjson

from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.snapshot import Snapshot
from broker.jetstream.snapshot_store import SnapshotChange
from tests.model import VirtualLoop
from ws_edge.access import ANONYMOUS, Principal
from ws_edge.views.catalogue import Catalogue


class Broker:
    """What the catalogue needs of a connection and of a snapshot store; the test says what comes."""

    def __init__(self) -> None:
        self.on_disconnect: list[Callable[[], None]] = []
        self.on_change: Callable[[SnapshotChange], None]
        self.on_current: Callable[[], None]
        self.on_reset: Callable[[], None]
        self.on_lost: Callable[[], None]
        self.on_alive: Callable[[Any], None]
        self._revision = 0

    def watch(self, *callbacks: Any) -> Any:
        self.on_change, self.on_current, self.on_reset, self.on_lost = callbacks
        return SimpleNamespace(run=asyncio.Event().wait)

    async def subscribe(self, subject: str, handler: Callable[[Any], None]) -> Any:
        assert subject == subjects.ALL_ALIVE
        self.on_alive = handler
        return SimpleNamespace(close=partial(asyncio.sleep, 0))

    def store(self, run: Snapshot) -> None:
        self._revision += 1
        self.on_change(SnapshotChange(run.test_id, self._revision, "written", run))

    def remove(self, test_id: str) -> None:
        self._revision += 1
        self.on_change(SnapshotChange(test_id, self._revision, "removed", None))


class World:
    """A catalogue that runs in virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.broker = Broker()
        self.changed: list[str] = []
        self.told: list[Callable[[str], None]] = [self.changed.append]
        self._count = 0
        self.catalogue: Catalogue = loop.call(
            lambda: Catalogue(self.broker, self.broker, self._tell)  # type: ignore[arg-type]
        )
        self.task = loop.create_task(self.catalogue.run())
        loop.turns(3)
        self.broker.on_current()

    def _tell(self, test_id: str) -> None:
        for listener in self.told:
            listener(test_id)

    def run(self, title: str = "A game", **fields: Any) -> Snapshot:
        """Stores a new run's snapshot."""
        self._count += 1
        now = now_ms()
        defaults: dict[str, Any] = {
            "test_id": identity.new_test_id(),
            "title": title,
            "status": "running",
            "seq": self._count,
            "created_at": now + self._count,
            "updated_at": now,
            "message": "hello",
            "game_url": "http://game.example/",
            "phase": None,
            "attempt": 1,
            "epoch": "1",
        }
        run = Snapshot(**defaults | fields)
        self.store(run)
        return run

    def store(self, run: Snapshot) -> None:
        self.loop.call(lambda: self.broker.store(run))

    def alive(self, test_id: str) -> None:
        self.loop.call(lambda: self.broker.on_alive(SimpleNamespace(subject=subjects.alive(test_id), data=b"")))


class Plain:
    """An encoding that a test can read, and that counts."""

    name = "plain"

    def __init__(self) -> None:
        self.encoded = 0

    def frame(self, bodies: Any, seqs: Any = (), epoch: str = "") -> bytes:
        raise AssertionError("the channel sends control messages only")

    def control(self, kind: str, at: Any = None, /, **fields: Any) -> bytes:
        self.encoded += 1
        return orjson.dumps({"type": kind} | {name: value for name, value in fields.items() if value is not None})


class Viewer:
    """A listener that keeps what it gets."""

    def __init__(self, encoding: Plain, principal: Principal = ANONYMOUS) -> None:
        self.encoding = encoding
        self.principal = principal
        self.unsent = 0
        self.got: list[dict[str, Any]] = []

    def waiting(self) -> int:
        return self.unsent

    def write(self, frames: bytes) -> None:
        self.got.append(orjson.loads(frames))
