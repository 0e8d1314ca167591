"""Folding many runs at once, against a model of the stream and of the bucket in which others write as well."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract import snapshot as snapshots
from broker.contract.errors import BrokerUnavailable, MalformedEvent
from broker.contract.events import check
from broker.contract.ports import StoredEvent
from broker.contract.snapshot import Snapshot
from tests.harness import event_bytes
from tests.model import VirtualLoop
from ws_edge.views import batch_folder
from ws_edge.views.batch_folder import BatchFolder

IDS = [f"4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b1{digit}" for digit in range(4)]
EPOCH = "1"
MALFORMED = b"no JSON"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.sampled_from(IDS), st.sampled_from(["progress", "complete", "malformed"])),
        st.tuples(st.just("delete"), st.integers(1, 40)),
        st.tuples(st.just("look"), st.integers(1, 10), st.integers(0, 3)),
        st.tuples(st.just("fold"), st.booleans()),
        st.tuples(st.just("another"), st.sampled_from(IDS)),
        st.tuples(st.just("watch")),
        st.tuples(st.just("epoch")),
    ),
    max_size=50,
)


class World:
    """The stream, the bucket, and what a node knows of it."""

    def __init__(self) -> None:
        self.stream: list[StoredEvent] = []
        self.retained: dict[int, StoredEvent] = {}
        self.bucket: dict[str, tuple[Snapshot, int]] = {}
        self.known: dict[str, tuple[Snapshot, int]] = {}
        self.doubted: set[str] = set()
        self.revision = self.lag = 0
        self.malformed: list[int] = []
        self.failure: Exception | None = None
        self.answers_after_s = 0.0
        self.reads = 0
        self.folder = BatchFolder(self.read, self, self, lambda *_: None, self.note)

    def note(self, _test_id: str, seq: int, _error: MalformedEvent) -> None:
        self.malformed.append(seq)

    def stored(self, test_id: str) -> tuple[Snapshot, int] | None:
        return self.known.get(test_id)

    async def read(self, first: int, limit: int, _max_bytes: int) -> list[StoredEvent]:
        """As a replica does that lags by `lag` events."""
        self.reads += 1
        if self.answers_after_s:
            await asyncio.sleep(self.answers_after_s)
        if self.failure is not None:
            raise self.failure
        there = [seq for seq in range(first, len(self.stream) - self.lag + 1) if seq in self.retained]
        return [self.retained[seq] for seq in there[:limit]]

    async def put_many(self, changes: Sequence[tuple[Snapshot, int]], /) -> list[int | None]:
        if self.failure is not None:
            raise self.failure
        return [self.put(*change) for change in changes]

    def put(self, snapshot: Snapshot, revision: int) -> int | None:
        before = self.bucket.get(snapshot.test_id)
        if revision != (0 if before is None else before[1]):
            return None
        assert before is None or snapshot.seq >= before[0].seq, "a snapshot never goes backwards"
        self.revision += 1
        self.bucket[snapshot.test_id] = (snapshot, self.revision)
        return self.revision

    def store(self, test_id: str, kind: str, named: bool = False) -> int:
        raw = MALFORMED if kind == "malformed" else event_bytes(f"{len(self.stream)}", kind, data={"score": 7})
        last = max((each.seq for each in self.stream if each.test_id == test_id), default=0)
        seq = len(self.stream) + 1
        self.stream.append(StoredEvent(test_id, seq, raw, stored_ms=seq, expected_last=last if named else None))
        self.retained[seq] = self.stream[-1]
        return seq

    def fold_all(self, test_id: str, upto: int) -> Snapshot | None:
        found: Snapshot | None = None
        for each in self.stream[:upto]:
            if each.test_id == test_id:
                parsed = None if each.data == MALFORMED else check(each.data).event
                found = snapshots.fold(found, test_id, each.seq, parsed, each.stored_ms)
        return None if found is None else msgspec.structs.replace(found, epoch=EPOCH)

    def last(self, test_id: str) -> int:
        return max((each.seq for each in self.stream if each.test_id == test_id), default=0)

    def another_edge_folds(self, test_id: str) -> None:
        folded = self.fold_all(test_id, len(self.stream))
        if folded is not None:
            self.put(folded, self.bucket[test_id][1] if test_id in self.bucket else 0)

    def watch(self) -> None:
        self.known = dict(self.bucket)

    async def look(self, count: int) -> None:
        await self.folder.look(range(max(1, len(self.stream) + 1 - count), len(self.stream) + 1), EPOCH)

    async def fold(self) -> set[str]:
        return await self.folder.fold({each: self.last(each) for each in IDS if self.last(each)}, EPOCH)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(batch_folder, "FEW", 1)
    return known_world()


def known_world() -> World:
    """Each run has an event, and a snapshot that this node knows."""
    made = World()
    for test_id in IDS:
        made.store(test_id, "progress")
        made.another_edge_folds(test_id)
    made.watch()
    return made


async def _step(world: World, name: str, how: list[Any]) -> None:
    if name == "store":
        world.store(how[0], how[1], len(world.stream) % 2 == 0)
    elif (
        name == "delete"
        and how[0] < len(world.stream)
        and how[0] not in {each[0].seq for each in world.bucket.values()}
    ):
        # only what every snapshot has already: else a fold is of what is left, as anywhere
        if all(how[0] < world.bucket[each][0].seq for each in IDS if each in world.bucket):
            world.retained.pop(how[0], None)
    elif name == "look":
        world.lag = min(how[1], len(world.stream))
        await world.look(how[0])
    elif name == "fold":
        wanted = {each: world.last(each) for each in IDS if world.last(each)}
        done = await world.folder.fold(wanted, EPOCH)
        assert all(world.bucket[each][0].seq >= wanted[each] for each in done), "it has said so"
    elif name == "another":
        world.another_edge_folds(how[0])
    elif name == "watch":
        world.watch()
    elif name == "epoch":
        world.folder.forget()


@given(STEPS)
def test_whatever_happens_a_snapshot_is_the_fold_of_the_events_up_to_it(steps: list[Any]) -> None:
    async def go() -> None:
        world = World()
        for name, *how in steps:
            await _step(world, name, how)
            for test_id, (found, _) in world.bucket.items():
                assert found == world.fold_all(test_id, found.seq)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_folder, "FEW", 1)
        asyncio.run(go())


async def test_runs_are_folded_together_and_a_malformed_event_is_told(world: World) -> None:
    for test_id in IDS:
        world.store(test_id, "progress")
    bad = world.store(IDS[0], "malformed")
    world.store(IDS[1], "complete")
    await world.look(6)
    assert await world.fold() == set(IDS)
    assert world.malformed == [bad] and world.bucket[IDS[1]][0].ended and world.bucket[IDS[0]][0].seq == bad
    assert world.folder.statistics() == (4, 10), "those before were read as well"


async def test_what_another_edge_has_written_meanwhile_is_left_to_the_projector(world: World) -> None:
    for test_id in IDS:
        world.store(test_id, "progress")
    await world.look(4)
    world.another_edge_folds(IDS[2])
    assert await world.fold() == set(IDS) - {IDS[2]}
    world.watch()
    assert await world.fold() == set(IDS), "it is stored by now"


async def test_runs_that_are_doubted_or_unknown_or_of_another_life_are_left_to_the_projector(world: World) -> None:
    for test_id in IDS:
        world.store(test_id, "progress")
    await world.look(4)
    world.doubted.add(IDS[0])
    del world.known[IDS[1]]
    snapshot, revision = world.known[IDS[2]]
    world.known[IDS[2]] = (msgspec.structs.replace(snapshot, epoch="another"), revision)
    assert await world.fold() == {IDS[3]}
    assert await world.folder.fold({IDS[3]: world.last(IDS[3])}, "another") == set()


async def test_events_that_lie_far_apart_are_not_read(world: World) -> None:
    for _ in range(96):
        world.store(IDS[0], "progress")
    await world.folder.look([50, 100], EPOCH)
    assert world.folder.statistics().read == 0
    await world.folder.look(range(94, 101), EPOCH)
    assert world.folder.statistics().read == 7, "from the first of them on: 93 are too many to be read with them"


async def test_what_is_read_is_kept_where_two_edges_pull_by_turns(world: World) -> None:
    waits = world.store(IDS[0], "progress")
    await world.look(1)
    for count in (400, 40, 400, 40):
        for _ in range(count):
            world.store(IDS[1], "progress")
        if count == 40:  # those of the other edge lie between
            await world.look(count)
    assert world.folder.statistics().read == len(world.stream), "each event once, from the beginning"
    assert await world.folder.fold({IDS[0]: waits}, EPOCH) == {IDS[0]}, "its publisher has named no predecessor"


async def test_the_window_begins_anew_beyond_a_gap_that_is_not_worth_reading(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_folder, "_GAP", 100)
    waits = world.store(IDS[0], "progress")
    await world.look(1)
    for _ in range(200):
        world.store(IDS[1], "progress")
    await world.folder.look([150, 205], EPOCH)
    assert await world.folder.fold({IDS[0]: waits}, EPOCH) == {IDS[0]}, "two hints are no reason"
    for _ in range(40):
        waits = world.store(IDS[0], "progress")
    await world.look(40)
    assert world.folder.statistics().read == 5 + 40
    assert await world.folder.fold({IDS[0]: waits}, EPOCH) == set(), "of what was before, nothing is known"


@pytest.mark.parametrize("failure", [None, BrokerUnavailable("away")])
def test_a_look_that_is_not_answered_takes_little_time_and_harms_nothing(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    monkeypatch.setattr(batch_folder, "FEW", 1)
    world = known_world()
    loop.run_until_complete(world.look(4))
    waits = world.store(IDS[0], "progress")
    world.answers_after_s, world.failure = (0.0 if failure else 60.0), failure
    began, reads = loop.now, world.reads
    for _ in range(10):
        loop.run_until_complete(world.look(1))
    assert loop.now - began <= 0.35 and world.reads == reads + 1, "the others do not ask at all"
    world.answers_after_s, world.failure = 0.0, None
    loop.run_for(5.1)
    loop.run_until_complete(world.look(1))
    assert world.reads == reads + 2
    assert loop.run_until_complete(world.folder.fold({IDS[0]: waits}, EPOCH)) == {IDS[0]}, "the window is whole"


def test_a_look_that_is_cut_off_keeps_what_has_come(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_folder, "FEW", 1)
    monkeypatch.setattr(batch_folder, "_PAGE", 2)
    world = known_world()
    loop.run_until_complete(world.look(4))
    seqs = {each: world.store(each, "progress") for each in IDS}
    world.answers_after_s = 0.2
    loop.run_until_complete(world.look(4))
    assert loop.run_until_complete(world.folder.fold(seqs, EPOCH)) == set(IDS[:2])
    loop.run_until_complete(world.look(4))
    assert loop.run_until_complete(world.folder.fold(seqs, EPOCH)) >= set(IDS[2:]), "the next look goes on with it"


async def test_a_deleted_event_at_the_beginning_and_a_replica_that_lags_stop_nothing(world: World) -> None:
    await world.look(4)
    for test_id in IDS:
        world.store(test_id, "progress")
    del world.retained[5]
    world.lag = 2
    await world.look(4)
    assert await world.folder.fold({IDS[1]: 6, IDS[3]: 8}, EPOCH) == {IDS[1]}, "the other one is not there yet"
    world.lag = 0
    await world.folder.look([7, 8], EPOCH)
    assert await world.folder.fold({IDS[3]: 8}, EPOCH) == {IDS[3]}


async def test_a_window_that_begins_late_tells_of_runs_whose_publishers_name_what_was_before(world: World) -> None:
    for _ in range(100):
        world.store(IDS[3], "progress")
    named, silent = world.store(IDS[0], "progress", named=True), world.store(IDS[1], "progress")
    await world.folder.look([named, silent], EPOCH)
    assert await world.folder.fold({IDS[0]: named, IDS[1]: silent}, EPOCH) == {IDS[0]}


async def test_without_a_broker_nothing_is_read_and_the_projector_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_folder, "_AGAIN_S", 0.0)
    for test_id in IDS:
        world.store(test_id, "progress", named=True)
    world.failure = BrokerUnavailable("away")
    await world.look(4)
    assert await world.fold() == set()
    world.failure = None
    await world.look(4)
    world.failure = BrokerUnavailable("away")
    with pytest.raises(BrokerUnavailable):
        await world.fold()


async def test_a_run_that_cannot_be_folded_harms_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fold = snapshots.fold

    def choosy(before: Any, test_id: str, *how: Any) -> Snapshot | None:
        if test_id == IDS[0]:
            raise RecursionError
        return fold(before, test_id, *how)

    for test_id in IDS:
        world.store(test_id, "progress")
    await world.look(4)
    monkeypatch.setattr(snapshots, "fold", choosy)
    assert await world.fold() == set(IDS[1:])
