"""How old what a pull returns may be: `asked_at` tells a worker that stood still from one that has waited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from broker.contract.errors import BrokerUnavailable
from broker.jetstream.api import Delivery
from broker.jetstream.connection import Connection
from broker.jetstream.parser import Message
from broker.jetstream.pull_consumer import PullConsumer
from tests.model import VirtualLoop

JOB = Message(b"jobs.test.x", b"$JS.ACK.JOBS.workers.1.7.1.0.0", b"", b"{}")


class Broker:
    """A connection to a broker that answers nothing by itself."""

    api_prefix = "$JS.API"

    def __init__(self) -> None:
        self.on_disconnect: list[Callable[[], None]] = []
        self.is_away = False
        self.in_the_socket: list[Message] = []
        self.take: Callable[[Message], None] = lambda _message: None

    def inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, _subject: str, take: Callable[[Message], None]) -> None:
        self.take = take

    async def publish(self, *_what: Any, **_how: Any) -> None:
        if self.is_away:
            raise BrokerUnavailable("away")

    async def flush(self) -> None:
        await self.publish()
        while self.in_the_socket:
            self.take(self.in_the_socket.pop(0))


class Consumer(PullConsumer):
    def __init__(self, loop: VirtualLoop) -> None:
        self.loop, self.broker = loop, Broker()
        super().__init__(cast(Connection, self.broker), "JOBS", "workers")

    def pull_fails(self, match: str) -> None:
        with pytest.raises(BrokerUnavailable, match=match):
            self.loop.run_until_complete(self.pull(1, expires_s=1))

    def pull_that_is_answered(self) -> list[Delivery]:
        pulled = self.loop.create_task(self.pull(1, expires_s=1))
        self.loop.turns(3)
        self.broker.take(JOB)
        return self.loop.run_until_complete(pulled)


@pytest.fixture
def consumer(loop: VirtualLoop) -> Consumer:
    return Consumer(loop)


@pytest.mark.parametrize(("is_away", "match"), [(True, "away"), (False, "does not answer")])
def test_a_pull_that_failed_makes_a_later_job_no_older(
    loop: VirtualLoop, consumer: Consumer, is_away: bool, match: str
) -> None:
    consumer.broker.is_away = is_away
    consumer.pull_fails(match)
    loop.run_for(60)
    consumer.pull_fails(match)
    consumer.broker.is_away = False
    asked_at = loop.time()
    assert len(consumer.pull_that_is_answered()) == 1
    assert consumer.asked_at == asked_at


def test_a_job_that_lay_in_the_socket_of_a_stopped_process_is_as_old_as_the_pull_before(
    loop: VirtualLoop, consumer: Consumer
) -> None:
    asked_at = loop.time()
    pulled = loop.create_task(consumer.pull(1, expires_s=1))
    loop.turns(3)
    consumer.broker.in_the_socket.append(JOB)
    loop.now += 60  # the process stands still; when it goes on, its timers come before what its socket has
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        loop.run_until_complete(pulled)
    assert len(loop.run_until_complete(consumer.pull(1, expires_s=1))) == 1
    assert consumer.asked_at == asked_at


def test_so_is_one_of_a_process_that_was_stopped_between_two_pulls(loop: VirtualLoop, consumer: Consumer) -> None:
    asked_at = loop.time()
    consumer.pull_fails("does not answer")
    consumer.broker.in_the_socket.append(JOB)  # the answer comes late
    loop.now += 60
    assert len(loop.run_until_complete(consumer.pull(1, expires_s=1))) == 1
    assert consumer.asked_at == asked_at
