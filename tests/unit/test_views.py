"""The views of a node without a broker: the catalogue's list, the `tests` channel, the response cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest

from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BadInput
from broker.contract.snapshot import Snapshot
from broker.jetstream.snapshot_store import SnapshotChange
from tests.model import VirtualLoop
from ws_edge.access import Action, OpenAccess
from ws_edge.api.response_cache import CachedResponse, ResponseCache
from ws_edge.views.catalogue import STALLED_AFTER_S, Catalogue
from ws_edge.views.tests_channel import FULL_LIST, TestsChannel


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.finish()


class Broker:
    """What the catalogue needs of a connection and of a snapshot store; the test says what comes."""

    def __init__(self) -> None:
        self.on_disconnect: list[Callable[[], None]] = []
        self.on_change: Callable[[SnapshotChange], None]
        self.on_current: Callable[[], None]
        self.on_reset: Callable[[], None]
        self.on_alive: Callable[[Any], None]
        self._revision = 0

    def watch(self, *callbacks: Any) -> Any:
        self.on_change, self.on_current, self.on_reset = callbacks
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
        }
        run = Snapshot(**defaults | fields)
        self.store(run)
        return run

    def store(self, run: Snapshot) -> None:
        self.loop.call(lambda: self.broker.store(run))

    def alive(self, test_id: str) -> None:
        self.loop.call(lambda: self.broker.on_alive(SimpleNamespace(subject=subjects.alive(test_id))))


@pytest.fixture
def world(loop: VirtualLoop) -> World:
    return World(loop)


def test_the_list_comes_in_pages_newest_first(world: World) -> None:
    made = [world.run(f"game {number}", status="running" if number % 2 else "queued").test_id for number in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = world.catalogue.listing(2, cursor, None)
        seen += [run.test_id for run in page.tests]
        assert (page.counts["running"], page.counts["queued"], page.counts["failed"]) == (3, 4, 0)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == made[::-1]
    assert [run.test_id for run in world.catalogue.listing(9, None, "queued").tests] == made[::2][::-1]
    assert [run.title for run in world.catalogue.listing(9, None, None, "GAME 3").tests] == ["game 3"]
    assert world.catalogue.listing(9, None, None, "no such").tests == []
    for wrong in ("odd", "1.", f".{made[0]}", f"1.{made[0]}.2"):
        with pytest.raises(BadInput):
            world.catalogue.listing(2, wrong, None)


def test_a_silent_run_is_marked_stalled_until_a_sign_of_life(world: World) -> None:
    run, ended = world.run(), world.run(status="completed")
    tag = world.catalogue.etag("1", "")
    version = world.catalogue.version
    world.loop.run_for(STALLED_AFTER_S + 2)
    assert [marked.test_id for marked in world.catalogue.newest(9) if marked.stalled] == [run.test_id]
    assert world.catalogue.version > version and world.catalogue.etag("1", "") != tag
    stored = world.catalogue.stored(run.test_id)
    assert stored is not None and not stored[0].stalled, "the mark is this node's, and not stored"
    assert world.catalogue.statistics().stalled == 1
    world.alive(run.test_id)
    assert world.catalogue.etag("1", "") == tag
    assert not any(marked.stalled for marked in world.catalogue.newest(9))
    assert world.catalogue.silent_for(ended.test_id, world.loop.time()) > STALLED_AFTER_S


def test_while_the_broker_is_away_nothing_stalls_and_the_list_is_stale(world: World) -> None:
    run = world.run()
    assert world.catalogue.stale_for_s is None
    for lost in world.broker.on_disconnect:
        world.loop.call(lost)
    world.loop.run_for(2)
    assert world.loop.call(lambda: world.catalogue.stale_for_s) is None, "a reconnect takes as long"
    world.loop.run_for(2 * STALLED_AFTER_S)
    assert world.loop.call(lambda: world.catalogue.stale_for_s) > STALLED_AFTER_S
    assert world.loop.call(world.catalogue.statistics).stale_for_s > STALLED_AFTER_S
    world.loop.call(world.broker.on_current)
    world.loop.run_for(STALLED_AFTER_S - 5)
    assert world.loop.call(lambda: world.catalogue.stale_for_s) is None
    found = world.catalogue.snapshot(run.test_id)
    assert found is not None and not found.stalled


def test_what_is_removed_or_past_its_retention_is_forgotten(world: World) -> None:
    removed, old, kept = world.run(), world.run(status="completed", updated_at=0), world.run(updated_at=0)
    world.loop.call(lambda: world.broker.remove(removed.test_id))
    world.loop.run_for(2)
    assert [run.test_id for run in world.catalogue.newest(9)] == [kept.test_id], "one that has not ended stays"
    assert world.catalogue.stored(old.test_id) is None
    assert {removed.test_id, old.test_id} <= set(world.changed)
    version = world.catalogue.version
    world.changed.clear()
    world.loop.call(world.broker.on_reset)
    assert world.catalogue.statistics()[:5] == (0, 0, 0, 0, world.catalogue.version)
    assert world.catalogue.version > version and world.changed == [kept.test_id]
    world.loop.run_for(2)


def test_an_unreadable_snapshot_moves_the_revision_only(world: World) -> None:
    run = world.run()
    world.loop.call(lambda: world.broker.on_change(SnapshotChange(run.test_id, 99, "unreadable", None)))
    assert (world.catalogue.revision, world.catalogue.snapshot(run.test_id)) == (99, run)


# -- the `tests` channel -------------------------------------------------------------------------------------------


class Plain:
    """An encoding that a test can read, and that counts."""

    name = "plain"

    def __init__(self) -> None:
        self.encoded = 0

    def frame(self, bodies: Any) -> bytes:
        raise AssertionError("the channel sends control messages only")

    def control(self, kind: str, **fields: Any) -> bytes:
        self.encoded += 1
        return orjson.dumps({"type": kind} | {name: value for name, value in fields.items() if value is not None})


class Viewer:
    """A listener that keeps what it gets."""

    def __init__(self, encoding: Plain) -> None:
        self.encoding = encoding
        self.unsent = 0
        self.got: list[dict[str, Any]] = []

    def waiting(self) -> int:
        return self.unsent

    def write(self, frames: bytes) -> None:
        self.got.append(orjson.loads(frames))


@pytest.fixture
def channel(loop: VirtualLoop, world: World) -> TestsChannel:
    channel = TestsChannel(1000, lambda: world.catalogue.stale_for_s is not None)
    world.told.append(channel.changed)
    loop.create_task(channel.run(world.catalogue))
    return channel


def test_a_change_is_encoded_once_for_all_viewers_of_an_encoding(world: World, channel: TestsChannel) -> None:
    one, other = Plain(), Plain()
    viewers = [Viewer(one), Viewer(one), Viewer(other)]
    for viewer in viewers:
        channel.add(viewer)
    world.loop.run_for(0.3)
    assert (one.encoded, other.encoded) == (1, 1)
    assert all(viewer.got[0]["full"] and viewer.got[0]["upserts"] == [] for viewer in viewers)
    run = world.run("first title")
    world.store(msgspec.structs.replace(run, title="second title"))
    world.loop.run_for(0.3)
    assert (one.encoded, other.encoded) == (2, 2)
    for viewer in viewers:
        [change] = viewer.got[1:]
        assert [upsert["title"] for upsert in change["upserts"]] == ["second title"], "conflated"
        assert (change["type"], change["removed"], change["counts"]["running"]) == ("tests", [], 1)
        assert "full" not in change and "stale" not in change
    world.loop.run_for(2)
    assert (one.encoded, channel.statistics()) == (2, (3, 0, 1, 3)), "nothing is sent while nothing changes"


def test_who_is_full_misses_changes_and_gets_the_whole_list(world: World, channel: TestsChannel) -> None:
    full, quick = Viewer(Plain()), Viewer(Plain())
    for viewer in (full, quick):
        channel.add(viewer)
    world.loop.run_for(0.3)
    full.unsent = 1001
    made = [world.run(f"game {number}").test_id for number in range(FULL_LIST + 5)]
    world.loop.run_for(0.3)
    assert (len(full.got), channel.statistics().outdated) == (1, 1)
    assert {run["testId"] for run in quick.got[1]["upserts"]} == set(made)
    full.unsent = 1000
    world.loop.run_for(0.3)
    assert full.got[1]["full"] and [run["testId"] for run in full.got[1]["upserts"]] == made[::-1][:FULL_LIST]
    assert channel.statistics().outdated == 0
    world.loop.call(lambda: world.broker.remove(made[0]))
    channel.remove(quick)
    world.loop.run_for(0.3)
    assert (full.got[2]["removed"], len(quick.got)) == ([made[0]], 2)
    assert full in channel and quick not in channel


def test_word_that_the_list_is_stale_and_current_again(world: World, channel: TestsChannel) -> None:
    viewer = Viewer(Plain())
    channel.add(viewer)
    world.loop.run_for(0.3)
    for lost in world.broker.on_disconnect:
        world.loop.call(lost)
    world.loop.run_for(6)
    assert viewer.got[-1]["stale"] is True
    world.loop.call(world.broker.on_current)
    world.loop.run_for(0.3)
    assert "stale" not in viewer.got[-1] and len(viewer.got) == 3


# -- the response cache --------------------------------------------------------------------------------------------


def poll(query: bytes) -> dict[str, Any]:
    return {"path": "/rpc/listTests", "query_string": query, "headers": []}


def response(body: bytes, *, current: bool = True) -> CachedResponse:
    return CachedResponse(b'"a"', body, lambda: current, Action.LIST, None)


def test_the_response_cache_forgets_all_at_its_limits() -> None:
    cache, access = ResponseCache(), OpenAccess()
    for number in range(1000):
        cache.put(poll(b"%d" % number), response(b"x" * 10))
    cache.put(poll(b"7"), response(b"y" * 20))
    assert cache.statistics()[:2] == (1000, 10_010), "the same request again takes no more room"
    cache.put(poll(b"more"), response(b"z"))
    assert cache.statistics()[:2] == (1, 1)
    cache.put(poll(b"large"), response(b"x" * (16 << 20)))
    assert cache.statistics()[:2] == (1, 16 << 20)
    cache.put(poll(b"too large"), response(b"x" * (16 << 20) + b"x"))
    cache.put(poll(b"") | {"path": "/rpc/getEvents"}, response(b"x"))
    assert cache.statistics().responses == 1
    assert cache.get(poll(b"large"), access) is not None
    assert cache.get(poll(b"more"), access) is None
    cache.put(poll(b"old"), response(b"", current=False))
    assert cache.get(poll(b"old"), access) is None
    assert cache.statistics()[2:] == (1, 2)
