"""Reading through replicas that lag (broker/jetstream/scan.py), on the model broker and its virtual clock."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract.errors import BrokerUnavailable
from broker.jetstream.scan import LAG_PAUSE_S, MAX_LAG_S, SECOND_LOOK_S, certain_last, pages, retains
from tests.model import ModelBroker, VirtualLoop

ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
LONG_AGO_S = 60.0


class World:
    """A broker with events, and a reader."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.broker = ModelBroker(self.loop, ID)

    def store(self, count: int) -> int:
        """Stores so many events. Returns the newest sequence."""
        for _ in range(count):
            self.broker.put(b"{}", True, [])
        return self.broker.life.last_seq

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        result = self.loop.run_until_complete(work)
        self.loop.check()
        return result

    def read(self, after: int, up_to: int, *, test_id: str | None = ID, limit: int = 3, **more: Any) -> list[list[int]]:
        """The sequences of each page."""

        async def read() -> list[list[int]]:
            found = pages(self.broker, test_id, after, up_to, limit=limit, **more)
            return [[event.seq for event in page.events] async for page in found]

        return self.run(read())  # type: ignore[no-any-return]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.finish()


def test_nothing_new_is_one_look_at_a_replica(world: World) -> None:
    newest = world.store(3)
    assert world.read(newest, newest) == []
    assert world.broker.reads == 1


def test_pages_follow_one_another_up_to_the_end(world: World) -> None:
    assert world.read(0, world.store(8)) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert world.broker.reads == 3


def test_it_goes_on_to_the_newest_that_a_replica_has(world: World) -> None:
    world.store(8)
    assert world.read(1, 4) == [[2, 3, 4], [5, 6, 7], [8]]


def test_each_page_overlaps_the_one_before(world: World) -> None:
    newest = world.store(6)
    assert world.read(2, newest, overlap=True) == [[2, 3, 4], [4, 5, 6]]
    assert world.read(0, newest, overlap=True) == [[1, 2, 3], [3, 4, 5], [5, 6]]


def test_an_overlap_that_was_purged_shows(world: World) -> None:
    newest = world.store(6)
    world.broker.life.purge(3, world.loop.now)
    assert world.read(2, newest, overlap=True)[0][0] == 4


def test_an_overlapping_event_that_fills_its_page_stops_nothing(world: World) -> None:
    for _ in range(3):
        world.broker.put(b"x" * 1000, True, [])
    assert world.read(1, 3, overlap=True, max_bytes=1000) == [[1], [1, 2], [2, 3]]


def test_who_was_deposed_is_not_believed_about_a_purge(world: World) -> None:
    newest = world.store(2)
    world.broker.life.purge(newest, world.loop.now)
    world.broker.deposed_s = 1.0
    with pytest.raises(BrokerUnavailable):
        world.read(0, newest)


def test_it_waits_for_a_replica_that_lags(world: World) -> None:
    world.store(2)
    world.loop.run_for(LONG_AGO_S)
    newest = world.store(2)
    world.broker.lags_s = [0.5]
    before = world.loop.now
    assert world.read(0, newest) == [[1, 2], [3, 4]]
    assert 0.5 <= world.loop.now - before < 0.5 + 2 * LAG_PAUSE_S


def test_replicas_that_lag_differently_repeat_and_skip_nothing(world: World) -> None:
    world.store(4)
    world.loop.run_for(LONG_AGO_S)
    newest = world.store(5)
    world.broker.lags_s = [0.0, 0.3, 1.0]
    assert [seq for page in world.read(0, newest) for seq in page] == list(range(1, 10))


def test_it_gives_up_on_replicas_that_do_not_catch_up(world: World) -> None:
    world.store(2)
    world.loop.run_for(LONG_AGO_S)
    newest = world.store(1)
    world.broker.lags_s = [LONG_AGO_S / 2]
    before = world.loop.now
    with pytest.raises(BrokerUnavailable, match="lag behind"):
        world.read(0, newest)
    assert MAX_LAG_S <= world.loop.now - before < MAX_LAG_S + 1


def test_every_page_gives_the_replicas_their_time_again(world: World) -> None:
    for _ in range(4):
        newest = world.store(1)
        world.loop.run_for(0.8 * MAX_LAG_S)
    world.broker.lags_s = [4 * 0.8 * MAX_LAG_S]  # the first event shows at once, each other 4 s after the one before
    before = world.loop.now
    assert world.read(0, newest) == [[1], [2], [3], [4]]
    assert world.loop.now - before > 2 * MAX_LAG_S


def test_what_is_purged_while_it_is_read_ends_the_reading_with_what_there_is(world: World) -> None:
    newest = world.store(5)
    world.broker.life.purge(newest, world.loop.now)
    assert world.read(0, newest) == []
    world.store(2)
    world.broker.life.purge(6, world.loop.now)
    assert world.read(0, 7) == [[7]]


def test_a_purge_between_two_pages(world: World) -> None:
    newest = world.store(6)
    seen: list[list[int]] = []

    async def read() -> None:
        async for page in pages(world.broker, ID, 0, newest, limit=3):
            seen.append([event.seq for event in page.events])
            world.broker.life.purge(newest, world.loop.now)

    world.run(read())
    assert seen == [[1, 2, 3]]


def test_all_runs_are_read_up_to_the_head_of_the_log(world: World) -> None:
    newest = world.store(2)
    world.broker.life.pass_over(1, world.loop.now)
    assert world.read(0, newest + 1, test_id=None) == [[1, 2, 3]]
    world.broker.lags_s = [LONG_AGO_S / 2]
    world.store(1)
    with pytest.raises(BrokerUnavailable, match="lag behind"):
        world.read(0, newest + 2, test_id=None)


def test_a_lost_connection_is_raised(world: World) -> None:
    newest = world.store(2)
    world.broker.failing = 1
    with pytest.raises(BrokerUnavailable, match="no answer"):
        world.read(0, newest)


def test_whether_an_event_is_retained(world: World) -> None:
    newest = world.store(4)
    assert world.run(retains(world.broker, ID, 2, newest)) is True
    world.broker.life.purge(2, world.loop.now)
    assert world.run(retains(world.broker, ID, 2, newest)) is False
    assert world.run(retains(world.broker, ID, 3, newest)) is True
    world.broker.life.purge(newest, world.loop.now)
    assert world.run(retains(world.broker, ID, 3, newest)) is False


@given(
    stored=st.lists(st.tuples(st.integers(1, 4), st.floats(0, 2)), min_size=1, max_size=6),
    lags_s=st.lists(st.floats(0, 3), min_size=1, max_size=3),
    limit=st.integers(1, 5),
    after=st.integers(0, 10),
)
def test_every_event_once_in_order_whatever_the_replicas_lag(
    stored: list[tuple[int, float]], lags_s: list[float], limit: int, after: int
) -> None:
    world = World()
    try:
        newest = 0
        for count, wait_s in stored:
            newest = world.store(count)
            world.loop.run_for(wait_s)
        world.broker.lags_s = lags_s
        read = [seq for page in world.read(after, newest, limit=limit) for seq in page]
        assert read == list(range(after + 1, newest + 1))
    finally:
        world.loop.finish()


@pytest.mark.parametrize("forgets_for_s", [0.0, SECOND_LOOK_S / 2, 10 * SECOND_LOOK_S])
def test_a_newest_sequence_below_what_was_seen_takes_a_second_look(world: World, forgets_for_s: float) -> None:
    newest = world.store(3)
    if forgets_for_s:
        world.broker.forgets_from = newest
        world.loop.call_later(forgets_for_s, setattr, world.broker, "forgets_from", math.inf)
    for_good, before = forgets_for_s > SECOND_LOOK_S, world.loop.now
    assert world.run(certain_last(world.broker, ID, newest)) == (newest - 1 if for_good else newest)
    assert (world.loop.now - before >= SECOND_LOOK_S) == bool(forgets_for_s)
    before = world.loop.now
    assert world.run(certain_last(world.broker, ID, newest - 1)) in (newest, newest - 1)
    assert world.loop.now - before < 0.1, "nobody knows of more"
