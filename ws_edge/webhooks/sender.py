"""Tells webhooks of the ends of runs: at least once, also when edges end in between.

The list of runs, which every edge has in memory, says what has ended. The bucket `HOOKS` says what of it is to be sent,
and what was. Every edge creates the entry of an end that it sees, which succeeds once. One edge at a time has it,
sends the message and settles the entry. When that edge ends before, another one gets the entry after the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from broker.contract.errors import BrokerRefused, BrokerUnavailable, TestcastError
from broker.contract.snapshot import Snapshot
from broker.jetstream.connection import Connection
from broker.jetstream.hook_store import LIFETIME_S, Due, HookKey, HookStore
from broker.jetstream.snapshot_store import SnapshotStore
from broker.log import RateLimited
from broker.retry import Backoff, pause
from ws_edge.views.broker_clock import BrokerClock
from ws_edge.views.catalogue import Catalogue
from ws_edge.webhooks import message
from ws_edge.webhooks.post import Tried, post
from ws_edge.webhooks.settings import Webhook

_WINDOW_MS: Final = LIFETIME_S * 1000 // 3
"""Ends that are older are not sent any more: nobody waits for them."""
_BATCH: Final = 16
"""Entries that are taken at once."""
_EACH_AT_ONCE: Final = 4
"""Tries for one webhook at the same time. However many hang, each other one has its own."""
_BUSY_S: Final = (5.0, 15.0)
"""When an entry comes back whose webhook has its number of tries."""
_NOT_MINE_S: Final = 60.0
_MOST_LONGER: Final = 30
"""The more often an entry has come back, the later it does again, up to so many times as late: many that wait for one
webhook leave the others room."""
_EXPIRES_S: Final = 5.0
_GATHER_S: Final = 0.1
_FIRST_RETRY_S: Final = 0.5
_SAME_LINE_S: Final = 10.0
_log = logging.getLogger("testcast.webhooks")

Post = Callable[[Webhook, bytes, Mapping[str, str]], Awaitable[Tried]]


class WebhookStatistics(NamedTuple):
    """Counts since the start of the node."""

    delivered: int
    failed: int
    """Tries that failed and are made again."""
    given_up: int
    """Messages that were never taken."""


class Webhooks:
    """One node's share of the sending.

    Args:
        page_of: the address of a run's page; None where the edge does not know its own.
        send: makes one try.
    """

    def __init__(
        self,
        nats: Connection,
        catalogue: Catalogue,
        clock: BrokerClock,
        webhooks: Sequence[Webhook],
        page_of: Callable[[str], str | None],
        send: Post = post,
    ) -> None:
        self._nats = nats
        self._catalogue = catalogue
        self._clock = clock
        self._webhooks = {each.name: each for each in webhooks}
        self._page_of = page_of
        self._send = send
        self._snapshots = SnapshotStore(nats)
        self._changed: set[str] = set()
        self._seen = asyncio.Event()
        self._known: dict[str, int] = {}
        """Entries that exist, each with when its run has ended."""
        self._tries: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()
        self._rng = random.Random()
        self._lines: dict[str, RateLimited] = {}
        self._delivered = self._failed = self._given_up = 0
        if webhooks:
            catalogue.on_change = self.changed

    def __repr__(self) -> str:
        return f"<Webhooks {sorted(self._webhooks)} {self.statistics()}>"

    def statistics(self) -> WebhookStatistics:
        """The figures of this moment."""
        return WebhookStatistics(self._delivered, self._failed, self._given_up)

    def changed(self, test_id: str) -> None:
        """A run's snapshot has changed."""
        self._changed.add(test_id)
        self._seen.set()

    async def run(self) -> None:
        """Sends until cancelled. What is under way then is handed back."""
        if not self._webhooks:
            await asyncio.Event().wait()
        store = HookStore(self._nats)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._enter(store), name="webhooks-enter")
                group.create_task(self._deliver(store), name="webhooks-deliver")
        finally:
            for task in self._tries:
                task.cancel()
            await asyncio.gather(*self._tries, return_exceptions=True)
            with contextlib.suppress(BrokerUnavailable):
                await store.close()

    # -- what is to be sent ----------------------------------------------------------------------------------------

    async def _enter(self, store: HookStore) -> None:
        """Creates the entries of what has ended."""
        await self._catalogue.filled.wait()
        since: dict[str, int] = {}

        async def begin() -> None:
            for name in self._webhooks:
                since[name] = await store.since(name)
            self._known |= {str(key): key.ended_ms for key in await store.known()}

        await self._until_done(begin, store)
        self._changed |= {run.test_id for run, _ in self._catalogue.all() if run.ended}
        while True:
            changed, self._changed = self._changed, set()
            for test_id in changed:
                await self._until_done(partial(self._enter_run, store, test_id, since), store)
            if not self._changed:
                self._seen.clear()
                await self._seen.wait()

    async def _enter_run(self, store: HookStore, test_id: str, since: Mapping[str, int]) -> None:
        found = self._catalogue.stored(test_id)
        if found is None or not found[0].ended:
            return
        run = found[0]
        at_ms, now_ms = message.ended_ms(run), self._now_ms()
        for webhook in self._webhooks.values():
            key = HookKey(webhook.name, test_id, at_ms)
            if str(key) in self._known or not message.wants(webhook, run):
                continue
            if at_ms >= max(since[webhook.name], now_ms - _WINDOW_MS):
                await store.create(key)
                self._remember(str(key), at_ms, now_ms)

    def _remember(self, key: str, at_ms: int, now_ms: int) -> None:
        if len(self._known) > 1000 and min(self._known.values()) < now_ms - 2 * _WINDOW_MS:
            self._known = {each: ended for each, ended in self._known.items() if ended >= now_ms - _WINDOW_MS}
        self._known[key] = at_ms

    def _now_ms(self) -> int:
        now_ms = self._clock.now_ms(asyncio.get_running_loop().time())
        return int(time.time() * 1000) if now_ms is None else now_ms

    async def _until_done(self, work: Callable[[], Awaitable[None]], store: HookStore) -> None:
        pauses = Backoff(_FIRST_RETRY_S)
        while True:
            try:
                await work()
                return
            except (BrokerUnavailable, BrokerRefused) as error:
                await self._wait("entering ends of runs", error, pauses, store)

    async def _wait(self, doing: str, error: TestcastError, pauses: Backoff, store: HookStore) -> None:
        self._say("", logging.WARNING, "%s: %s", doing, error)
        if await pause(pauses.next(), self._nats):
            pauses.reset()
        if self._nats.connected:
            await store.mend()

    # -- sending ---------------------------------------------------------------------------------------------------

    async def _deliver(self, store: HookStore) -> None:
        pauses = Backoff(_FIRST_RETRY_S)
        while True:
            if len(self._tries) >= _EACH_AT_ONCE * len(self._webhooks):
                await asyncio.wait(self._tries, return_when=asyncio.FIRST_COMPLETED)
            try:
                found = await store.pull(_BATCH, expires_s=_EXPIRES_S)
                for due in found:
                    await self._take(store, due)
            except (BrokerUnavailable, BrokerRefused) as error:
                await self._wait("waiting for what is to be sent", error, pauses, store)
                continue
            pauses.reset()
            await asyncio.sleep(_GATHER_S)

    async def _take(self, store: HookStore, due: Due) -> None:
        webhook, longer = self._webhooks.get(due.key.hook), min(max(due.delivery.delivered, 1), _MOST_LONGER)
        if webhook is None:  # an edge with other settings has entered it
            await store.again(due, _NOT_MINE_S * longer)
            return
        if self._busy[webhook.name] >= _EACH_AT_ONCE:
            await store.again(due, self._rng.uniform(*_BUSY_S) * longer)
            return
        self._busy[webhook.name] += 1
        task = asyncio.create_task(self._try(store, webhook, due), name=f"webhook-{webhook.name}")
        self._tries.add(task)
        task.add_done_callback(partial(self._tried, webhook.name))

    def _tried(self, name: str, task: asyncio.Task[None]) -> None:
        self._tries.discard(task)
        self._busy[name] -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._say(name, logging.ERROR, "webhook %s: a try has failed: %r", name, error)

    async def _try(self, store: HookStore, webhook: Webhook, due: Due) -> None:
        try:
            await self._try_once(store, webhook, due)
        except asyncio.CancelledError:  # this edge ends: another one goes on at once
            with contextlib.suppress(TestcastError):
                await store.again(due, 0.0)
            raise
        except (BrokerUnavailable, BrokerRefused) as error:  # the lease ends by itself
            self._say(webhook.name, logging.WARNING, "webhook %s: %s", webhook.name, error)

    async def _try_once(self, store: HookStore, webhook: Webhook, due: Due) -> None:
        run = await self._run_of(due.key.test_id)
        if run is None or message.ended_ms(run) != due.key.ended_ms:
            await store.settle(due, "gone")  # it was deleted
            return
        content = message.body(webhook, run, self._page_of(run.test_id))
        made = message.headers(webhook, message.message_id(run), content, int(time.time()))
        tried = await self._send(webhook, content, made)
        if tried.ok:
            self._delivered += 1
            await store.settle(due, "delivered")
            return
        age_s = max(0, self._now_ms() - due.since_ms) / 1000
        again_s = None if tried.final else message.pause_s(webhook.retry_s, age_s, self._rng)
        if again_s is None:
            self._given_up += 1
            self._say(webhook.name, logging.ERROR, "webhook %s is not told of test %s, for good: it %s",
                      webhook.name, run.test_id, tried.said)  # fmt: skip
            await store.settle(due, "given up")
            return
        self._failed += 1
        self._say(webhook.name, logging.WARNING, "webhook %s could not be told of test %s: %s; again in %.1f s",
                  webhook.name, run.test_id, tried.said, again_s)  # fmt: skip
        await store.again(due, again_s)

    async def _run_of(self, test_id: str) -> Snapshot | None:
        found = self._catalogue.stored(test_id)
        if found is not None and found[0].ended:
            return found[0]
        run, _ = await self._snapshots.get(test_id)
        return run if run is not None and run.ended else None

    def _say(self, about: str, level: int, text: str, *args: object) -> None:
        """Each webhook has a line of its own in every `_SAME_LINE_S`."""
        self._lines.setdefault(f"{about} {level}", RateLimited(_log, per_s=_SAME_LINE_S)).log(level, text, *args)
