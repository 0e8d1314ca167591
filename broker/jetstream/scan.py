"""Reading a run through replicas that lag: the one reader, with the one policy.

Any replica answers a direct get. Right after an acknowledgement one answer in sixty is old, by 2 ms in the median and
493 ms at worst (three nodes, 19,483 reads). A reader that knows what is stored waits for the replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from broker.contract.errors import BrokerUnavailable
from broker.contract.ports import EventLog, Page, StoredEvent

PAGE_EVENTS: Final = 500
PAGE_BYTES: Final = 512 * 1024
"""Live events of the same connection wait while a page is received."""
_MAX_PAGE_BYTES: Final = 8 << 20
LAG_PAUSE_S: Final = 0.05
MAX_LAG_S: Final = 5.0
"""Ten times the worst lag measured."""
SECOND_LOOK_S: Final = 2.0
"""A leader whose disk has just filled up may lack the last events that it has acknowledged. Its next write of any kind
ends its leadership: that of the run's snapshot follows within half a second. Measured: 24 to 43 ms."""


async def pages(
    log: EventLog,
    test_id: str | None,
    after: int,
    up_to: int = 0,
    *,
    overlap: bool = False,
    limit: int = PAGE_EVENTS,
    max_bytes: int = PAGE_BYTES,
) -> AsyncGenerator[Page, None]:
    """Yields the pages of a run (None: of all runs) after sequence `after`, to the newest event that a replica has and
    at least to `up_to`.

    Args:
        up_to: a sequence that the leader has named as stored. When the event at `up_to` is purged, the iteration ends
            at the newest retained one.
        overlap: each page begins with the last event before it, the first page with the event at `after`. When that
            event is missing from its page, events were removed while they were being read.
        limit: events per page.
        max_bytes: bytes per page, about.

    Use `contextlib.aclosing` where the iteration may end early.

    Raises:
        BrokerUnavailable: the replicas have lagged behind the leader for `MAX_LAG_S`.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + MAX_LAG_S
    while True:
        page = await log.read(test_id, max(0, after - overlap), limit, max_bytes=max_bytes)
        if page.events:
            yield page
        if page.events and page.events[-1].seq > after:
            after = page.events[-1].seq
            deadline = clock() + MAX_LAG_S
            if not page.complete:
                continue
        elif not page.complete and max_bytes < _MAX_PAGE_BYTES:
            max_bytes *= 2  # the overlapping event fills a page by itself
            continue
        if page.complete and after >= up_to:
            return
        if clock() >= deadline:
            raise BrokerUnavailable("the replicas lag behind the leader of the event stream")
        await asyncio.sleep(LAG_PAUSE_S)
        # The event at `up_to` may have been purged since; only the leader can tell that from a lagging replica.
        up_to = await log.last(test_id, confirmed=True)


async def first_page(
    log: EventLog, test_id: str | None, after: int, up_to: int = 0, *, limit: int = PAGE_EVENTS
) -> list[StoredEvent]:
    """The events of the first page of `pages`; empty when nothing is retained after `after`.

    Raises:
        BrokerUnavailable: the replicas have lagged behind the leader for `MAX_LAG_S`.
    """
    async with aclosing(pages(log, test_id, after, up_to, limit=limit)) as found:
        async for page in found:
            return page.events
    return []


async def certain_last(
    log: EventLog, test_id: str | None, known: int, pause: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> int:
    """The newest sequence of a run (None: of all), where saying less than `known` would do harm: "ahead".

    `known` is a sequence that was seen, or that a client claims. An answer below it takes a second look `SECOND_LOOK_S`
    later: a nats-server that cannot write what it has acknowledged forgets it until it is restarted, and leads on for a
    moment.

    Args:
        pause: waits this many seconds, or ends early where a second look is of no more use.

    Raises:
        BrokerUnavailable: no leader can confirm that at the moment.
    """
    newest = await log.last(test_id, confirmed=True)
    if newest < known:
        await pause(SECOND_LOOK_S)
        newest = await log.last(test_id, confirmed=True)
    return newest


async def retains(log: EventLog, test_id: str | None, seq: int, head: int) -> bool:
    """Returns whether the event at `seq`, which is older than the run's newest event at `head`, is still stored.

    Raises:
        BrokerUnavailable: the replicas have lagged behind the leader for `MAX_LAG_S`.
    """
    return any(event.seq == seq for event in await first_page(log, test_id, seq - 1, head, limit=1))
