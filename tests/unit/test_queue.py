"""Taking jobs (agent_worker/work/queue.py), from a scripted consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from agent_worker.work import queue as queue_module
from agent_worker.work.queue import JobQueue
from broker.contract.errors import BrokerUnavailable
from broker.jetstream.api import Delivery
from tests.harness import until

LEASE_S = 3600.0


def delivery(number: int) -> Delivery:
    return Delivery(f"jobs.test.{number}", number, 1, number, 0, b"{}", b"", f"reply-{number}", 0)


class Consumer:
    """Answers pulls from a script, and then lets them wait."""

    def __init__(self, *answers: list[Delivery] | Exception) -> None:
        self.answers = list(answers)
        self.pulls = 0
        self.closed = False
        self.asked_at = 0.0

    async def pull(self, batch: int, *, expires_s: float) -> list[Delivery]:
        assert batch == 1 and expires_s <= 5
        self.asked_at = asyncio.get_running_loop().time()
        self.pulls += 1
        await asyncio.sleep(0)
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


class Jobs:
    """Works on each job until it is told that it is done."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.done = asyncio.Event()

    async def take(self, job: Delivery) -> None:
        self.begun.append(job.subject)
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.subject)
            raise


@asynccontextmanager
async def pulling(
    monkeypatch: pytest.MonkeyPatch, consumer: Consumer, jobs: Jobs, *, slots: int, lease_s: float = LEASE_S
) -> AsyncIterator[tuple[JobQueue, Any]]:
    monkeypatch.setattr(queue_module, "PullConsumer", lambda *_: consumer)
    log: Any = SimpleNamespace(connection=None, on_reconnect=[])
    queue = JobQueue(log, jobs.take, slots=slots)
    task = asyncio.create_task(queue.pull(lease_s))
    yield queue, log
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert consumer.closed
    await queue.abandon()
    assert queue.statistics().busy == 0


async def test_a_job_is_asked_for_only_with_a_free_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, jobs = Consumer([delivery(1)], [], [delivery(2)], [delivery(3)]), Jobs()
    async with pulling(monkeypatch, consumer, jobs, slots=2) as (queue, _):
        await until(lambda: len(jobs.begun) == 2)
        for _ in range(10):
            await asyncio.sleep(0)
        assert consumer.pulls == 3 and queue.statistics() == (2, 2, 2, 0)
        jobs.done.set()
        await until(lambda: len(jobs.begun) == 3 and consumer.pulls == 5)
        assert queue.statistics() == (2, 0, 3, 0)


async def test_a_job_that_came_while_the_process_stood_still_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, jobs = Consumer([delivery(1)]), Jobs()
    async with pulling(monkeypatch, consumer, jobs, slots=1, lease_s=0.0) as (queue, _):  # every answer is older
        await until(lambda: consumer.pulls == 2)
        assert queue.statistics() == (1, 0, 0, 1) and not jobs.begun


async def test_a_pull_that_failed_is_repeated_when_the_broker_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_FIRST_RETRY_S", LEASE_S)
    monkeypatch.setattr(queue_module, "_LONGEST_RETRY_S", LEASE_S)
    consumer, jobs = Consumer(BrokerUnavailable("away"), [delivery(1)]), Jobs()
    async with pulling(monkeypatch, consumer, jobs, slots=1) as (_, log):
        await until(lambda: log.on_reconnect)
        log.on_reconnect[0]()
        await until(lambda: jobs.begun == ["jobs.test.1"])


async def test_what_does_not_end_in_time_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, jobs = Consumer([delivery(1)]), Jobs()
    async with pulling(monkeypatch, consumer, jobs, slots=1) as (queue, _):
        await until(lambda: jobs.begun)
        await queue.drain(0.0)
        assert queue.statistics().busy == 1
    assert jobs.cancelled == ["jobs.test.1"]
