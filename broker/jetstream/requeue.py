"""Jobs that were lost: the runs that wait for them are queued again from their first event.

A job is in the queue from when its run was submitted until the run has ended. It is lost with the stream `JOBS`, when
that stream is purged, and when the edge that submits is killed before it has stored the job.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from broker.contract import subjects
from broker.contract.errors import NotFound
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.api import ms_of
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.scan import first_page

_SUBMITTING_MS: Final = 30_000
"""How long storing a job may take, after its run's first event: submitting outlasts an election, and then withdraws."""


async def lost_jobs(log: JetStreamLog, waiting: Iterable[Snapshot]) -> list[str]:
    """Returns those of the queued runs that have no job, and are older than the stream of jobs or than half a minute.

    Raises:
        BrokerUnavailable: no leader.
    """
    info = await log.streams.api(f"STREAM.INFO.{subjects.JOBS}", {"subjects_filter": subjects.ALL_JOBS})
    submitted_ms = max(ms_of(info["created"].encode()), ms_of(info.get("ts", "").encode()) - _SUBMITTING_MS)
    held = info["state"].get("subjects") or {}
    return [run.test_id for run in waiting if run.created_at < submitted_ms and subjects.job(run.test_id) not in held]


async def requeue(
    log: JetStreamLog, test_id: str, *, allow_private: bool = False, allowed_hosts: Collection[str] = ()
) -> bool:
    """Stores a run's job again. Returns False when the run waits for none: it has moved on, or was not submitted.

    Args:
        allow_private, allowed_hosts: what the job allows (`runs.make_job`), which its run's events do not say.

    Raises:
        BrokerUnavailable: no leader, or no acknowledgement. BrokerRefused: the queue is full.
    """
    try:
        run = await runs.read(log, test_id)
    except NotFound:
        return False
    if run.snapshot is None or run.snapshot.status != "queued":
        return False
    first = runs.parse((await first_page(log, test_id, 0, run.head, limit=1))[0].data)
    try:
        job = msgspec.convert(None if first is None else first.data, _Submitted)
    except msgspec.ValidationError:  # another publisher's run: it has no job
        return False
    private, hosts = allow_private or msgspec.UNSET, tuple(sorted(allowed_hosts)) or msgspec.UNSET
    again = runs.Job(**msgspec.structs.asdict(job), allow_private=private, allow_hosts=hosts)
    await runs.store_job(log.streams, test_id, again, again=True)
    return True


class _Submitted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The `data` of a submitted run's first event: a whole job, without a default."""

    game_url: str
    title: str
    budget_seconds: float
    seed: int
    project: str | msgspec.UnsetType = msgspec.UNSET
