"""Queues runs again whose jobs were lost: the stream of jobs was deleted or purged, or a submission was cut short."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Final, NamedTuple

from broker.contract import subjects
from broker.contract.errors import TestcastError
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.requeue import lost_jobs, requeue
from broker.jetstream.topology import Topology
from broker.log import RateLimited
from ws_edge.views.catalogue import Catalogue

_LOOK_S: Final = 10.0
"""One request, and only while runs are queued. A node that has made the stream itself looks at once."""
_limited = RateLimited(logging.getLogger("testcast.requeue"), per_s=10.0)


class RequeueStatistics(NamedTuple):
    """Counts since the start of the node."""

    requeued: int
    """Runs that this node has queued again."""
    failures: int
    """Tries that the broker did not answer."""


class Requeue:
    """One node's look after the queued runs. Several nodes may find the same: the queue takes one job of each run."""

    def __init__(
        self,
        log: JetStreamLog,
        catalogue: Catalogue,
        topology: Topology,
        *,
        allow_private: bool = False,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self._allow_private = allow_private
        self._allowed_hosts = allowed_hosts
        self._log = log
        self._catalogue = catalogue
        self._made = asyncio.Event()
        self._without_job: dict[str, int] = {}
        """Runs that wait for no job of the queue, with their sequence when that was found."""
        self._requeued = self._failures = 0
        topology.on_made.append(self._on_made)

    def __repr__(self) -> str:
        return f"<Requeue requeued={self._requeued}>"

    def statistics(self) -> RequeueStatistics:
        """The figures of this moment."""
        return RequeueStatistics(self._requeued, self._failures)

    def _on_made(self, name: str) -> None:
        if name == subjects.JOBS:
            self._made.set()

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._made.wait()
            self._made.clear()
            try:
                await self._look()
            except TestcastError as error:
                self._failures += 1
                _limited.warning("looking for lost jobs: %s", error)

    async def _look(self) -> None:
        queued = {run.test_id: run for run in self._catalogue.active() if run.status == "queued"}
        self._without_job = {each: seq for each, seq in self._without_job.items() if each in queued}
        waiting = [run for test_id, run in queued.items() if self._without_job.get(test_id) != run.seq]
        for test_id in await lost_jobs(self._log, waiting) if waiting else ():
            private, hosts = self._allow_private, self._allowed_hosts
            if await requeue(self._log, test_id, allow_private=private, allowed_hosts=hosts):
                self._requeued += 1
                _limited.warning("test %s was queued again: its job was lost", test_id)
            else:
                self._without_job[test_id] = queued[test_id].seq
