"""What the queue is told of a job (agent_worker/work/lease.py)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from agent_worker.work.lease import Lease
from agent_worker.work.outcome import End
from broker.contract.errors import Fenced
from broker.jetstream.api import Delivery


class Nats:
    """A connection that records what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.asked: list[tuple[str, bytes]] = []
        self.flushed = 0

    async def publish(self, subject: str, payload: bytes, **_: Any) -> None:
        self.sent.append((subject, payload))

    async def publish_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        self.sent += messages

    async def request(self, subject: str, payload: bytes, **_: Any) -> None:
        self.asked.append((subject, payload))

    async def flush(self) -> None:
        self.flushed += 1


def delivery(number: int) -> Delivery:
    return Delivery("jobs.test.x", 1, number, number, 0, b"{}", b"", f"reply-{number}", 0)


@pytest.fixture
def nats() -> Nats:
    return Nats()


@pytest.fixture
def lease(nats: Nats) -> Lease:
    log: Any = SimpleNamespace(connection=nats, streams=SimpleNamespace(nats=nats))
    return Lease(log, delivery(1))


AGAIN = b'-NAK {"delay":1000000000}'


@pytest.mark.parametrize(
    ("end", "sent", "asked", "flushed"),
    [
        (End.STORED, [], [b"+ACK"], 0),  # and waits for the answer: the run is over, the job must not come back
        (End.ENDED, [b"+ACK"], [], 0),
        (End.FENCED, [], [], 0),  # another worker answers
        (End.HANDED_ON, [b"-NAK"], [], 1),  # at once, and before the process ends
        (End.AGAIN, [AGAIN], [], 0),
    ],
)
async def test_how_each_end_is_answered(
    nats: Nats, lease: Lease, end: End, sent: list[bytes], asked: list[bytes], flushed: int
) -> None:
    await lease.answer(end)
    assert nats.sent == [("reply-1", payload) for payload in sent]
    assert nats.asked == [("reply-1", payload) for payload in asked]
    assert nats.flushed == flushed


async def test_a_redelivery_is_the_one_that_is_renewed_and_answered(nats: Nats, lease: Lease) -> None:
    await lease.renew()
    lease.redelivered(delivery(2))
    await lease.renew()
    await lease.hand_back()
    await lease.remove()
    assert nats.sent == [
        ("reply-1", b"+WPI"),
        ("reply-2", b"+WPI"),
        ("reply-2", AGAIN),
        ("reply-2", b"+TERM"),
    ]


def test_a_lease_holds_a_run_that_is_played_and_not_over(lease: Lease) -> None:
    assert not lease.holds
    run: Any = SimpleNamespace(over=None)
    lease.run = run
    assert lease.holds
    run.over = Fenced("another worker", "attempt")
    assert not lease.holds
