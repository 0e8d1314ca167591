"""What is done to a run from outside (broker/jetstream/runs.py), over the model of the event log."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

import orjson
import pytest

from broker.contract.errors import AlreadyEnded, NotFound
from broker.contract.events import Event
from broker.jetstream import runs
from tests.harness import NO_SUCH_TEST as RUN
from tests.model import ModelBroker, VirtualLoop

CANCELLED = Event(type="error", status="failed", message="Cancelled", timestamp=1, data={"code": "cancelled"})


class World:
    """A run of three events, and its broker."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.broker = ModelBroker(self.loop, RUN)
        for number in range(3):
            self.put(f"{number}")

    def put(self, message: str, kind: str = "progress") -> int:
        raw = orjson.dumps({"type": kind, "message": message, "timestamp": 1})
        return self.broker.put(raw, True, []).seq

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.finish()


def test_a_run_is_ended_once(world: World) -> None:
    snapshot = world.run(runs.end(world.broker, RUN, CANCELLED))
    assert (snapshot.status, snapshot.seq) == ("failed", 4)
    with pytest.raises(AlreadyEnded):
        world.run(runs.end(world.broker, RUN, CANCELLED))


@pytest.mark.parametrize("since_head", [False, True])
def test_a_run_that_is_purged_while_it_is_read_is_not_made_anew(world: World, since_head: bool) -> None:
    since = world.run(runs.read(world.broker, RUN)).snapshot if since_head else None
    newest = world.put("3")

    async def purged_meanwhile() -> None:
        world.loop.call_later(0.0012, lambda: world.broker.life.purge(newest, world.loop.now))
        await runs.end(world.broker, RUN, CANCELLED, since=since)

    with pytest.raises(NotFound):
        world.run(purged_meanwhile())
    assert world.broker.life.last_seq == newest


def test_a_part_of_a_run_may_be_purged(world: World) -> None:
    world.broker.life.purge(2, world.loop.now)
    run = world.run(runs.read(world.broker, RUN))
    assert (run.head, run.snapshot.message) == (3, "2")
