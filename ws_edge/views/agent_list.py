"""The agents that are known: those that have given a sign of life, what each plays, and how many wait for a run.

An agent gives signs of life only while it works on a run. Of those that wait only their number is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heapreplace
from statistics import median
from typing import Any, Final, NamedTuple

import orjson

from broker.clock import now_ms
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotPermitted
from broker.contract.snapshot import MAX_WORKER_CHARS, Snapshot
from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.log import RateLimited
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.listing import RunList
from ws_edge.views.queue import AGENT_SILENT_S, PLACES

REMEMBERED_S: Final = 600.0
"""An agent that has not been heard of for longer is left out."""
_MAX_AGENTS: Final = 1000
"""Names come from whoever may publish signs of life."""
_MAX_RUNS_EACH: Final = 64
"""Of one agent, the newest signs of life: as many as it plays at once at most (`TESTCAST_AGENT_CONCURRENCY`)."""
MAX_LISTED: Final = 200
_FRESH_S: Final = 2.0
"""Every page with the panel open asks every few seconds; the broker is asked for all of them together."""
_WITHIN_S: Final = 1.0
_MEASURED: Final = 20
"""Ended runs whose durations an estimate is made of: the newest."""
_LOOKED_AT: Final = 200
"""Runs among which those are, the newest."""
_FEWEST: Final = 3
"""With fewer measured durations there is no estimate."""
_STEP_MS: Final = 5000
"""Estimates are told in steps: they are not more exact, and an answer that is the same has the same ETag."""
_limited = RateLimited(logging.getLogger("testcast.agents"), per_s=1.0)


class _Heard(NamedTuple):
    at: float
    """Loop time."""
    at_ms: int
    """By the broker's clock."""


class AgentList:
    """The agents as this node knows them. All calls from the loop.

    Args:
        streams: where the number of waiting agents is asked for. It must not mend what is missing.
        catalogue: the runs.
        broker_ms: the broker's time, ms since 1970; None when unknown.
        also: called with each sign of life.
    """

    def __init__(
        self,
        streams: Streams,
        catalogue: Catalogue,
        broker_ms: Callable[[], int | None],
        also: Callable[[bytes], None] = lambda _payload: None,
    ) -> None:
        self._streams = streams
        self._catalogue = catalogue
        self._broker_ms = broker_ms
        self._also = also
        self._heard: dict[str, dict[str, _Heard]] = {}
        """By name and test id; the one heard longest ago first, in both. None is empty."""
        self._free: int | None = None
        """How many wait for a run; None: not known."""
        self._asked_at = float("-inf")

    def __repr__(self) -> str:
        return f"<AgentList heard={len(self._heard)} free={self._free}>"

    def _now_ms(self) -> int:
        return self._broker_ms() or now_ms()

    def on_alive(self, test_id: str | None, payload: bytes) -> None:
        """A worker has given a sign of life for a run."""
        self._also(payload)
        try:
            worker = orjson.loads(payload)["worker"]
        except (ValueError, KeyError, TypeError):
            return
        if test_id is None or not isinstance(worker, str) or not 0 < len(worker) <= MAX_WORKER_CHARS:
            return
        heard = self._heard[worker] = self._heard.pop(worker, {})
        heard.pop(test_id, None)
        heard[test_id] = _Heard(asyncio.get_running_loop().time(), self._now_ms())
        for crowded, most in ((heard, _MAX_RUNS_EACH), (self._heard, _MAX_AGENTS)):
            if len(crowded) > most:
                crowded.pop(next(iter(crowded)))

    async def refresh(self) -> None:
        """Asks the broker how many agents wait, unless it was asked just now. Without an answer it is not known."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at < _FRESH_S:
            return
        self._asked_at = now
        try:
            async with asyncio.timeout(_WITHIN_S):
                self._free = await runs.waiting_workers(self._streams)
        except (BrokerUnavailable, NotPermitted, TimeoutError) as error:
            _limited.warning("how many agents wait is not known: %s", error)
            self._free = None
        except BrokerRefused:
            self._free = 0  # there is no queue at the moment, so nobody waits at it

    def told(self, seen: RunList) -> dict[str, Any]:
        """The answer for somebody who may see these runs.

        Of a run that they may not see nothing is told but that the agent is busy. The estimates depend on every run of
        the installation, so they are told only to who may see all.
        """
        now = asyncio.get_running_loop().time()
        while self._heard and now - _newest(next(iter(self._heard.values()))).at > REMEMBERED_S:
            del self._heard[next(iter(self._heard))]
        agents = [self._agent(name, heard, seen, now) for name, heard in self._heard.items()]
        agents.sort(key=lambda agent: (not agent["busy"], agent["worker"]))
        everything = seen is self._catalogue
        queue: dict[str, Any] = {"length": seen.counts()["queued"]}
        if everything and (oldest := self._catalogue.queue.oldest_ms) is not None:
            queue["oldestMs"] = oldest
        if everything and (waits := self._waits(queue["length"], now)):
            queue["waitsMs"] = waits
        answer: dict[str, Any] = {"agents": agents[:MAX_LISTED], "queue": queue}
        if len(agents) > MAX_LISTED:
            answer["more"] = len(agents) - MAX_LISTED
        return answer if self._free is None else answer | {"free": self._free}

    def _agent(self, name: str, heard: dict[str, _Heard], seen: RunList, now: float) -> dict[str, Any]:
        newest, played = _newest(heard), self._played(name, heard)
        agent: dict[str, Any] = {"worker": name, "busy": bool(played), "heardMs": newest.at_ms}
        if now - newest.at > AGENT_SILENT_S:
            agent["silent"] = True
        own = [each for run in played if (each := seen.snapshot(run.test_id)) is not None]
        if own:
            agent["runs"] = [_run(each) for each in sorted(own, key=lambda run: (run.created_at, run.test_id))]
        return agent

    def _played(self, name: str, heard: dict[str, _Heard]) -> list[Snapshot]:
        """The runs that an agent played when it was last heard of."""
        at = _newest(heard).at
        told = (self._catalogue.snapshot(test_id) for test_id, each in heard.items() if at - each.at <= AGENT_SILENT_S)
        return [run for run in told if run is not None and not run.ended and run.worker in (None, name)]

    def _waits(self, length: int, now: float) -> list[int]:
        """About how long each of the next runs waits, ms; empty: not known."""
        if not length or self._catalogue.stale_for_s is not None:
            return []
        began = [
            run.started_at
            for name, heard in self._heard.items()
            if now - _newest(heard).at <= AGENT_SILENT_S
            for run in self._played(name, heard)
            if run.attempt <= 1 and run.started_at is not None
        ]
        return waits(self._now_ms(), began, durations(self._catalogue.newest(_LOOKED_AT)), min(length, PLACES))


def _newest(heard: dict[str, _Heard]) -> _Heard:
    return heard[next(reversed(heard))]


def _run(run: Snapshot) -> dict[str, Any]:
    told: dict[str, Any] = {"testId": run.test_id, "title": run.title}
    if run.started_at is not None and run.attempt <= 1:  # when a later attempt began is in its events only
        told["sinceMs"] = run.started_at
    return told


def durations(every: Iterable[Snapshot]) -> list[int]:
    """How long the newest runs were played that were completed, ms. Pure."""
    ended = [
        run
        for run in every
        if run.finished_at is not None and run.started_at is not None and run.worker and run.list_status == "completed"
    ]
    ended.sort(key=lambda run: -(run.finished_at or 0))
    return [(run.finished_at or 0) - (run.started_at or 0) for run in ended[:_MEASURED]]


def waits(at_ms: int, began_ms: Sequence[int], measured_ms: Sequence[int], places: int) -> list[int]:
    """About how long the next runs of the queue wait, ms: if each takes as long as the median of those measured. Pure.

    Args:
        began_ms: when each run that is played has begun. An agent may play several.
        measured_ms: how long ended runs have taken.
        places: for how many runs.

    Returns:
        In steps of 5 s, by place. Empty where nothing can be said: no agent is busy, too few runs were measured, or one
        takes longer than any of them.
    """
    if len(measured_ms) < _FEWEST or not began_ms:
        return []
    each, longest = median(measured_ms), max(measured_ms)
    played = [at_ms - began for began in began_ms]
    if max(played) > longest:
        return []
    ends = [float(each - ms if ms < each else longest - ms) for ms in played]
    heapify(ends)
    found: list[int] = []
    for _ in range(places):
        found.append(_rounded(ends[0]))
        heapreplace(ends, ends[0] + each)
    return found


def _rounded(ms: float) -> int:
    return max(_STEP_MS, round(ms / _STEP_MS) * _STEP_MS)
