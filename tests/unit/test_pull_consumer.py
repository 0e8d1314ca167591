"""How old what a pull returns may be: `asked_at` tells a worker that stood still from one that has waited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        self.take: Callable[[Message], None] = lambda _message: None

    def inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, _subject: str, take: Callable[[Message], None]) -> None:
        self.take = take

    async def publish(self, *_what: Any, **_how: Any) -> None:
        if self.is_away:
            raise BrokerUnavailable("away")


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.finish()


def pull_that_is_answered(loop: VirtualLoop, consumer: PullConsumer, broker: Broker) -> list[Delivery]:
    pulled = loop.create_task(consumer.pull(1, expires_s=1))
    loop.turns(3)
    broker.take(JOB)
    return loop.run_until_complete(pulled)


def test_a_pull_that_could_not_be_sent_makes_a_later_job_no_older(loop: VirtualLoop) -> None:
    broker = Broker()
    consumer = PullConsumer(cast(Connection, broker), "JOBS", "workers")
    broker.is_away = True
    with pytest.raises(BrokerUnavailable, match="away"):
        loop.run_until_complete(consumer.pull(1, expires_s=1))
    loop.run_for(60)
    broker.is_away = False
    asked_at = loop.time()
    assert len(pull_that_is_answered(loop, consumer, broker)) == 1
    assert consumer.asked_at == asked_at


def test_a_pull_that_was_not_answered_in_time_makes_a_later_job_no_older(loop: VirtualLoop) -> None:
    broker = Broker()
    consumer = PullConsumer(cast(Connection, broker), "JOBS", "workers")
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        loop.run_until_complete(consumer.pull(1, expires_s=1))
    asked_at = loop.time()
    assert len(pull_that_is_answered(loop, consumer, broker)) == 1
    assert consumer.asked_at == asked_at


def test_a_job_that_lay_in_the_socket_of_a_stopped_process_is_as_old_as_the_pull_before(loop: VirtualLoop) -> None:
    broker = Broker()
    consumer = PullConsumer(cast(Connection, broker), "JOBS", "workers")
    asked_at = loop.time()
    pulled = loop.create_task(consumer.pull(1, expires_s=1))
    loop.turns(3)
    loop.now += 60  # the process stands still; when it goes on, its timers come before what its socket has
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        loop.run_until_complete(pulled)
    broker.take(JOB)
    assert len(loop.run_until_complete(consumer.pull(1, expires_s=1))) == 1
    assert consumer.asked_at == asked_at
