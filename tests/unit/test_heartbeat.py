"""When a run is kept (agent_worker/publish/heartbeat.py), without a broker and without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from agent_worker.publish.heartbeat import Heartbeat
from agent_worker.publish.writer import WriterId
from broker import identity
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable, Fenced
from tests.harness import until

TEST_ID = identity.new_test_id()
NEVER_S = 3600.0
FENCED = Fenced("another worker has taken the run over", "attempt")


class Broker:
    """A connection and a writer in one: looks answer from a script, and everything is recorded."""

    def __init__(self, *looks: Exception | None) -> None:
        self.looks = list(looks)
        self.test_id = TEST_ID
        self.id = WriterId(2, "nonce")
        self.done: list[str] = []
        self.wake_up: Callable[[Any], None]

    async def look(self) -> None:
        self.done.append("look")
        await asyncio.sleep(0)
        answer = self.looks.pop(0) if self.looks else None
        if answer is not None:
            raise answer

    async def publish(self, subject: str, payload: bytes) -> None:
        assert subject == subjects.alive(TEST_ID)
        assert orjson.loads(payload) == {"attempt": 2, "worker": "w"}
        self.done.append("alive")

    async def subscribe(self, subject: str, handler: Callable[[Any], None]) -> Any:
        assert subject == subjects.control(TEST_ID)
        self.wake_up = handler
        return SimpleNamespace(close=self.close)

    async def close(self) -> None:
        self.done.append("closed")

    async def renew(self) -> None:
        self.done.append("renew")

    async def on_fenced(self, fenced: Fenced) -> None:
        assert fenced is FENCED
        self.done.append("fenced")


def heartbeat(broker: Broker, every_s: float = NEVER_S) -> Heartbeat:
    any_broker: Any = broker
    return Heartbeat(any_broker, any_broker, worker="w", renew=broker.renew, every_s=every_s)


async def ran(broker: Broker, every_s: float) -> Heartbeat:
    """Runs until the writer is fenced, which the script has to end with."""
    beating = heartbeat(broker, every_s)
    async with asyncio.timeout(10):
        await beating.run(broker.on_fenced)
    return beating


async def test_each_look_that_shows_the_run_ours_renews_the_lease_and_says_so() -> None:
    broker = Broker(None, None, FENCED)
    beating = await ran(broker, 0.05)
    assert broker.done == ["look", "alive", "renew"] * 2 + ["look", "fenced"]
    assert beating.statistics() == (2, 0, 0)


async def test_an_unanswered_look_renews_nothing_and_is_repeated() -> None:
    broker = Broker(BrokerUnavailable("no leader"), BrokerUnavailable("no leader"), None, FENCED)
    beating = await ran(broker, 0.05)
    assert broker.done == ["look"] * 3 + ["alive", "renew", "look", "fenced"]
    assert beating.statistics() == (1, 0, 2)


async def test_an_old_answer_renews_nothing() -> None:
    """A process that was stopped between question and answer may have lost the run meanwhile."""
    broker = Broker(None, None, FENCED)
    await ran(broker, 0.0)  # every answer is older than that
    assert broker.done == ["look"] * 3 + ["fenced"]


async def test_a_wake_up_is_followed_by_a_look_at_once() -> None:
    broker = Broker(None, FENCED)
    beating = heartbeat(broker)
    await beating.listen()
    task = asyncio.create_task(beating.run(broker.on_fenced))
    broker.wake_up(None)
    await until(lambda: broker.done == ["look", "alive", "renew"])
    broker.wake_up(None)
    async with asyncio.timeout(10):
        await task
    await beating.close()
    assert broker.done[-3:] == ["look", "fenced", "closed"]
    assert beating.statistics() == (1, 2, 0)


@pytest.mark.parametrize("every_s", [0.0, NEVER_S])
async def test_it_ends_when_cancelled(every_s: float) -> None:
    task = asyncio.create_task(heartbeat(Broker(), every_s).run(Broker().on_fenced))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
