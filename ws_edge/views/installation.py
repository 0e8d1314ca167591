"""Figures of the whole installation, which every edge tells alike: what the streams hold, how many agents there are.

The broker is asked when somebody reads the figures, and at most once in a few seconds.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

import orjson

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.jetstream import kv, runs
from broker.jetstream.api import Streams
from broker.log import RateLimited
from ws_edge.views.queue import AGENT_SILENT_S

STREAMS: Final = {
    subjects.EVENTS: subjects.EVENTS,
    subjects.JOBS: subjects.JOBS,
    subjects.FRAMES: subjects.FRAMES,
    **{bucket: kv.stream(bucket) for bucket in (subjects.RUNS, subjects.PINS, subjects.ACCESS)},
}
"""Name of a stream or bucket -> its stream."""
_FRESH_S: Final = 4.0
WITHIN_S: Final = 1.0
"""A page waits for no longer. The parent of several edges waits 2 s for the pages of all."""
_MAX_WORKERS: Final = 10_000
"""Names come from whoever may publish signs of life."""
_limited = RateLimited(logging.getLogger("testcast.metrics"), per_s=1.0)


class StreamSize(NamedTuple):
    """What a stream holds."""

    messages: int
    bytes: int
    max_messages: int
    """0: without a limit."""
    max_bytes: int
    """0: without a limit."""


class InstallationStatistics(NamedTuple):
    """As the broker has said last."""

    streams: dict[str, StreamSize]
    """By name, those that have answered."""
    agents: int
    """At least that many are alive: as many as have lately given a sign of life for a run, or as many as wait for a
    job, whichever is more."""


class Installation:
    """The figures of one node. All calls from the loop."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._sizes: dict[str, StreamSize] = {}
        self._waiting = 0
        self._heard: dict[str, float] = {}
        """When each worker has last given a sign of life, loop time; the one heard longest ago first."""
        self._asked_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Installation streams={len(self._sizes)} agents={self.statistics().agents}>"

    def statistics(self) -> InstallationStatistics:
        """The figures as they are known here."""
        since = asyncio.get_running_loop().time() - AGENT_SILENT_S
        while self._heard and next(iter(self._heard.values())) < since:
            del self._heard[next(iter(self._heard))]
        return InstallationStatistics(dict(self._sizes), max(len(self._heard), self._waiting))

    def on_alive(self, payload: bytes) -> None:
        """A worker has given a sign of life."""
        try:
            worker = orjson.loads(payload)["worker"]
        except (ValueError, KeyError, TypeError):
            return
        if isinstance(worker, str):
            self._heard.pop(worker, None)
            self._heard[worker] = asyncio.get_running_loop().time()
            if len(self._heard) > _MAX_WORKERS:
                del self._heard[next(iter(self._heard))]

    async def refresh(self) -> None:
        """Asks the broker, unless it was asked just now. What does not answer in time stays as it was."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at < _FRESH_S or not self._streams.nats.connected:
            return
        self._asked_at = now
        asks = [self._ask_for(name, stream) for name, stream in STREAMS.items()]
        try:
            async with asyncio.timeout(WITHIN_S):
                await asyncio.gather(self._ask_for_agents(), *asks)
        except TimeoutError:
            _limited.warning("the broker has not said in time how much it holds")

    async def _ask_for(self, name: str, stream: str) -> None:
        try:
            info = await self._streams.api(f"STREAM.INFO.{stream}", timeout_s=WITHIN_S)
            held, config = info["state"], info["config"]
            limits = (max(int(config.get(each, 0)), 0) for each in ("max_msgs", "max_bytes"))
            self._sizes[name] = StreamSize(int(held["messages"]), int(held["bytes"]), *limits)
        except (BrokerUnavailable, BrokerRefused) as error:
            _limited.warning("how much %s holds is not known: %s", name, error)

    async def _ask_for_agents(self) -> None:
        try:
            self._waiting = await runs.waiting_workers(self._streams)
        except (BrokerUnavailable, BrokerRefused) as error:
            _limited.warning("how many agents wait is not known: %s", error)
