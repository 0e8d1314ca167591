"""The projector without a broker: a permanent refusal, a run that cannot be folded, snapshots to replace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, WrongLastSequence
from broker.contract.snapshot import Snapshot
from broker.jetstream.api import Delivery
from broker.log import RateLimited
from tests.harness import event_bytes
from tests.model import ModelBroker, VirtualLoop
from ws_edge.fanout.ring import no_note
from ws_edge.views import projector
from ws_edge.views.batch_folder import BatchStatistics
from ws_edge.views.projector import Folded, Projector

ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
OTHER = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b12"
"""A run without events."""


class World:
    """A projector over the model's events. The bucket does what the test says."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.broker = ModelBroker(loop, ID)
        self.known: tuple[Snapshot | None, int] | None = None
        self.in_bucket: tuple[Snapshot | None, int] = (None, 0)
        self.puts: list[tuple[Snapshot, int]] = []
        self.refusal: Exception | None = None
        self.broker.connection = SimpleNamespace()  # type: ignore[attr-defined]
        catalogue = SimpleNamespace(stored=lambda _id: self.known)
        log: Any = self.broker
        store: Any = self
        known: Any = catalogue
        self.projector = Projector(log, store, known, lambda _id, _seq: None, self.get_nothing, lambda: "1", no_note)

    async def get_nothing(self) -> None: ...

    async def get(self, _test_id: str) -> tuple[Snapshot | None, int]:
        return self.in_bucket

    async def put(self, snapshot: Snapshot, revision: int) -> int:
        self.puts.append((snapshot, revision))
        if self.refusal is not None:
            raise self.refusal
        if revision != self.in_bucket[1]:
            raise WrongLastSequence("wrong", 10071, self.in_bucket[1])
        self.in_bucket = (snapshot, revision + 1)
        return revision + 1

    def store(self, message: str, kind: str = "progress", **fields: Any) -> None:
        self.loop.call(lambda: self.broker.put(event_bytes(message, kind, **fields), True, []))

    def fold(self, seq: int, *, doubted: bool = False) -> Folded:
        task = self.loop.create_task(self.projector.fold(ID, seq, doubted=doubted))
        self.loop.run_for(1)
        return task.result()


@pytest.fixture
def world(loop: VirtualLoop) -> World:
    made: World = loop.call(lambda: World(loop))
    made.store("Queued", "status", status="queued", data={"title": "T", "gameUrl": "http://g/"})
    made.store("Step")
    return made


def test_a_permanent_refusal_is_not_tried_again_and_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.refusal = BrokerRefused("message size exceeds maximum allowed", 10054)
    with caplog.at_level(logging.ERROR, "testcast.projector"):
        for _ in range(20):
            assert world.fold(2) is Folded.DONE, "its hints are acknowledged"
    assert len(world.puts) == 1 and len(caplog.records) == 1 and world.projector.statistics().refused == 1
    world.refusal = None
    world.loop.run_for(601)
    assert world.fold(2) is Folded.DONE and len(world.puts) == 2, "an operator may have changed the bucket"


@pytest.mark.parametrize("refusal", [BrokerUnavailable("no leader"), BrokerRefused("maximum bytes exceeded", 10077)])
def test_a_refusal_that_may_pass_is_tried_again(world: World, refusal: Exception) -> None:
    world.refusal = refusal
    assert [world.fold(2), world.fold(2)] == [Folded.AGAIN, Folded.AGAIN]
    world.refusal = None
    assert world.fold(2) is Folded.DONE and world.in_bucket[1] == 1


def test_a_run_that_cannot_be_folded_harms_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.refusal = RecursionError("too deep")
    with caplog.at_level(logging.ERROR, "testcast.projector"):
        assert [world.fold(2), world.fold(2)] == [Folded.DONE, Folded.DONE]
    assert len(caplog.records) == 1


def test_a_run_without_an_event_that_can_be_read_has_no_snapshot(loop: VirtualLoop) -> None:
    world: World = loop.call(lambda: World(loop))
    loop.call(lambda: world.broker.put(b"no JSON", False, []))
    assert world.fold(1) is Folded.NOTHING and not world.puts


def stored(world: World, **changes: Any) -> Snapshot:
    world.fold(2)
    found = world.in_bucket[0]
    assert found is not None and (found.epoch, found.seq, found.title) == ("1", 2, "T")
    world.puts.clear()
    return msgspec.structs.replace(found, **changes)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda run: msgspec.structs.replace(run, epoch="of another life", seq=2**40, title="X"),
        lambda run: msgspec.structs.replace(run, epoch=None, created_at=1, updated_at=2**50),
        lambda run: msgspec.structs.replace(run, seq=2**53 - 1, status="failed"),
        lambda run: None,
    ],
    ids=["epoch", "an older version's", "ahead", "unreadable"],
)
def test_a_snapshot_that_cannot_be_right_is_replaced(
    world: World, wrong: Callable[[Snapshot], Snapshot | None]
) -> None:
    right = stored(world)
    world.in_bucket = (wrong(right), 7)
    world.known = (world.in_bucket[0], 7)
    assert world.fold(2, doubted=True) is Folded.DONE
    assert world.in_bucket == (right, 8)


def test_what_the_bucket_has_lost_is_written_from_memory_and_a_snapshot_that_is_right_is_not(world: World) -> None:
    right = stored(world)
    world.known, world.in_bucket = (right, 0), (None, 0)
    assert world.fold(2) is Folded.DONE
    assert world.puts == [(right, 0)]
    world.known = (right, 1)
    assert [world.fold(2), world.fold(2, doubted=True)] == [Folded.DONE, Folded.DONE] and len(world.puts) == 1


def test_the_beginning_of_a_run_is_kept_when_its_first_events_are_gone(world: World) -> None:
    right = stored(world)
    world.loop.call(lambda: world.broker.life.purge(1, world.loop.now))
    world.known = world.in_bucket = (msgspec.structs.replace(right, epoch=None, created_at=1), 3)
    assert world.fold(2, doubted=True) is Folded.DONE
    found = world.in_bucket[0]
    assert found is not None and (found.title, found.game_url, found.epoch) == ("T", "http://g/", "1")
    assert found.created_at > 1, "the broker's time of the oldest event that is left"


@pytest.mark.parametrize(
    ("changes", "project"),
    [
        ({"project": "team-a"}, "team-a"),
        ({"project": ""}, "default"),  # nobody knew it
        ({"project": "team-a", "epoch": None}, "default"),  # its times are its publisher's
        ({"project": "team-a", "created_at": 2**40}, "default"),  # it does not begin before what is left
    ],
)
def test_the_project_is_kept_when_the_first_events_are_gone(
    world: World, changes: dict[str, Any], project: str
) -> None:
    right = stored(world)
    world.loop.call(lambda: world.broker.life.purge(1, world.loop.now))
    world.known = world.in_bucket = (msgspec.structs.replace(right, **{"created_at": 1, **changes}), 3)
    assert world.fold(2, doubted=True) is Folded.DONE
    found = world.in_bucket[0]
    assert found is not None and found.project == project


def test_what_a_stored_snapshot_says_of_the_project_counts_for_nothing_while_the_first_event_is_there(
    world: World,
) -> None:
    right = stored(world)
    world.known = world.in_bucket = (msgspec.structs.replace(right, project="team-a"), 3)
    assert world.fold(2, doubted=True) is Folded.DONE
    assert world.in_bucket[0] == right


def folded_together(world: World, error: Exception, *test_ids: str) -> list[tuple[str, bytes]]:
    """What is answered to the hints of these runs when folding them together fails."""
    sent: list[tuple[str, bytes]] = []

    async def publish(subject: str, payload: bytes) -> None:
        sent.append((subject, payload))

    async def publish_many(messages: Iterable[tuple[str, bytes]]) -> None:
        sent.extend(messages)

    async def fold(_wanted: Mapping[str, int], _epoch: str) -> set[str]:
        raise error

    nats: Any = SimpleNamespace(publish=publish, publish_many=publish_many)
    batches: Any = SimpleNamespace(fold=fold, statistics=lambda: BatchStatistics(0, 0))
    world.projector._nats, world.projector._batches = nats, batches
    hints = {name: [Delivery("", 2, 1, 1, 0, b"", b"", f"reply to {name}", 0)] for name in test_ids}
    world.loop.create_task(world.projector._work(hints))
    world.loop.run_for(1)
    return sent


def test_what_is_folded_together_is_handed_back_when_the_broker_is_lost(world: World) -> None:
    sent = folded_together(world, BrokerUnavailable("away"), "one", "another")
    assert sorted(subject for subject, _ in sent) == ["reply to another", "reply to one"]
    assert all(payload.startswith(b"-NAK") for _, payload in sent) and not world.puts


def test_what_cannot_be_folded_together_is_folded_one_by_one(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "_limited", RateLimited(logging.getLogger("testcast.projector"), 10.0))
    with caplog.at_level(logging.WARNING, "testcast.projector"):
        for _ in range(2):
            sent = folded_together(world, RecursionError("too deep"), ID, OTHER)
            assert sorted(sent) == sorted((f"reply to {each}", b"+ACK") for each in (ID, OTHER))
            world.known = world.in_bucket
    assert world.in_bucket[0] is not None and world.in_bucket[0].seq == 2
    assert [each.getMessage() for each in caplog.records] == ["2 tests are folded one by one"], "once in a while"


def test_hints_wait_for_no_replica_that_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hints:
        def __init__(self, *_: object) -> None:
            self.hints = [Delivery(subjects.events(ID), 2, 1, 1, 0, b"", b"", "", 0)]

        async def pull(self, *_: object, **__: object) -> list[Delivery]:
            if not self.hints:
                await asyncio.sleep(3600)
            return [self.hints.pop()]

        async def close(self) -> None: ...

    async def publish_many(_messages: object) -> None: ...

    nats: Any = SimpleNamespace(publish_many=publish_many)
    batches: Any = SimpleNamespace(look=lambda *_: asyncio.sleep(60), statistics=lambda: BatchStatistics(0, 0))
    monkeypatch.setattr(projector, "PullConsumer", Hints)
    monkeypatch.setattr(projector, "FEW", 1)
    world.projector._nats, world.projector._batches = nats, batches
    world.loop.create_task(world.projector.run())
    world.loop.run_for(1)
    assert world.in_bucket[0] is not None and world.in_bucket[0].seq == 2
