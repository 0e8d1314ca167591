"""Which queued runs have lost their jobs, and that those without one are not looked at again and again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from broker import identity
from broker.contract import subjects
from broker.contract.snapshot import Snapshot
from broker.jetstream.requeue import lost_jobs
from ws_edge.views import requeue as module
from ws_edge.views.requeue import Requeue

NOW = 1_800_000_000_000
"""2027-01-15T08:00:00Z"""


def queued(age_s: float) -> Snapshot:
    at = NOW - int(age_s * 1000)
    rest: dict[str, Any] = {"phase": None, "message": "", "seq": 1, "updated_at": at, "attempt": 0}
    return Snapshot(
        test_id=identity.new_test_id(), title="t", game_url="", status="queued", created_at=at, epoch="1", **rest
    )


async def found(created: str, runs: list[Snapshot], held: list[Snapshot]) -> list[str]:
    async def api(_name: str, _body: object) -> dict[str, Any]:
        jobs = {subjects.job(run.test_id): 1 for run in held}
        return {"created": created, "ts": "2027-01-15T08:00:00.000000000Z", "state": {"subjects": jobs}}

    log: Any = SimpleNamespace(streams=SimpleNamespace(api=api))
    return await lost_jobs(log, runs)


async def test_a_job_is_lost_with_its_stream_or_when_the_stream_is_purged() -> None:
    old, held, submitting = queued(90), queued(90), queued(5)
    every = [old, held, submitting]
    assert await found("2027-01-01T00:00:00Z", every, [held]) == [old.test_id], "purged"
    assert await found("2027-01-15T07:59:58Z", every, [held]) == [old.test_id, submitting.test_id], "deleted"


async def test_a_run_that_waits_for_no_job_is_looked_at_once_until_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign, lost = queued(90), queued(90)
    runs = [foreign, lost]
    asked: list[str] = []

    async def all_lost(_log: object, waiting: list[Snapshot]) -> list[str]:
        return [run.test_id for run in waiting]

    async def again(_log: object, test_id: str, *, allow_private: bool, allowed_hosts: tuple[str, ...]) -> bool:
        assert (allow_private, allowed_hosts) == (True, ("demo_game:8080",))
        asked.append(test_id)
        return test_id == lost.test_id

    monkeypatch.setattr(module, "lost_jobs", all_lost)
    monkeypatch.setattr(module, "requeue", again)
    catalogue: Any = SimpleNamespace(active=lambda: runs)
    topology: Any = SimpleNamespace(on_made=[])
    log: Any = SimpleNamespace()
    requeue = Requeue(log, catalogue, topology, allow_private=True, allowed_hosts=("demo_game:8080",))
    await asyncio.wait_for(_twice(requeue), 10)
    assert asked == [foreign.test_id, lost.test_id, lost.test_id]


async def _twice(requeue: Requeue) -> None:
    await requeue._look()
    await requeue._look()
