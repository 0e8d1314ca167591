"""Whether an agent is running that could take a queued run."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotPermitted
from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.log import RateLimited
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.queue import AGENT_SILENT_S

_LOOK_S: Final = 2.0
_limited = RateLimited(logging.getLogger("testcast.agents"), per_s=10.0)


class Agents:
    """Tells the catalogue whether an agent is running. The broker is asked while runs are queued only."""

    def __init__(self, streams: Streams, catalogue: Catalogue) -> None:
        self._streams = streams
        self._catalogue = catalogue

    def __repr__(self) -> str:
        return f"<Agents present={self._catalogue.queue.agents_present}>"

    async def run(self) -> None:
        """Looks until cancelled."""
        loop = asyncio.get_running_loop()
        queue = self._catalogue.queue
        queue.agent_heard_at = loop.time()
        while True:
            if queue and self._catalogue.stale_for_s is None:
                await self._look(loop.time())
            elif not queue:
                queue.agent_heard_at = max(queue.agent_heard_at, loop.time() - AGENT_SILENT_S + _LOOK_S)
            await asyncio.sleep(_LOOK_S)

    async def _look(self, now: float) -> None:
        queue = self._catalogue.queue
        try:
            queue.agent_heard_at = max(queue.agent_heard_at, self._catalogue.last_played_at())
            if await runs.waiting_workers(self._streams):
                queue.agent_heard_at = now
        except (BrokerUnavailable, NotPermitted) as error:  # who is not answered knows of no absence
            _limited.warning("looking for agents: %s", error)
            return
        except BrokerRefused:  # there is no queue at the moment, so no agent waits at it
            pass
        self._catalogue.set_agents(present=now - queue.agent_heard_at <= AGENT_SILENT_S)
