"""Declares the streams, buckets and consumers, and declares them again when one of them is gone.

A part that manages none (`TESTCAST_NATS_MANAGE_STREAMS=0`) looks whether they stand, and says what an operator must do.

Whoever meets a stream, bucket or consumer that is not there (`NotThere`) calls `Topology.again` through
`Connection.mend`, and then tries once more what it was doing. `api.Streams` and `pull_consumer.PullConsumer` do so by
themselves; nothing else has to know of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final

from broker import config as broker_config
from broker.clock import now_ms
from broker.config import StreamSettings
from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotThere, TestcastError
from broker.jetstream import advice, old_pictures, standing, stream_config
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.standing import Look
from broker.jetstream.stream_config import (
    LEASE_S,
    RETENTION_S,
    changes,
    consumers,
    is_newer,
    kept,
    lifted,
    problem_of_consumer,
    problem_of_stream,
    shown,
    streams,
    told_of,
)
from broker.log import RateLimited
from broker.retry import Backoff, pause, retry

__all__ = ["LEASE_S", "RETENTION_S", "Topology", "apply", "consumers", "lease_s", "streams"]

_NAME_IN_USE: Final = 10058
"""A stream of this name has another configuration: another process was first."""
_CONSUMER_EXISTS: Final = {10148, 10013, 10105}
_LONGEST_PAUSE_S: Final = 0.5
"""Elections of a cluster that starts take 1 to 3 s, and every process waits for them."""
_REST_S: Final = 1.0
"""Between two declarations that `again` starts."""
_WAIT_S: Final = 2.0
"""How long a caller of `again` waits for a declaration."""
_ASK_S: Final = 3.0
_LONGEST_PERSISTENCE_S: Final = 5.0
"""Between two tries of `until_standing`: a stream in the way that an operator deletes is replaced within this time."""
_SAME_LINE_S: Final = 30.0

_log = logging.getLogger("testcast.topology")


class Topology:
    """The streams, buckets and consumers over one connection. Making one has the connection mend itself with it.

    Args:
        replicas: copies of each stream that is made, 1 to 5. None: `TESTCAST_NATS_REPLICAS`.
        settings: of the streams that are made. None: from the environment.
        lease_s: how long a worker that has died keeps its jobs, seconds. None: unchanged, or `LEASE_S` at first.
        manages: False: nothing is made or changed, and `problems` names what is missing. None: from the environment.
        uses: the streams that this part looks for where it manages none. None: all.
    """

    def __init__(
        self,
        nats: Connection,
        *,
        replicas: int | None = None,
        settings: StreamSettings | None = None,
        lease_s: float | None = None,
        manages: bool | None = None,
        uses: Collection[str] | None = None,
    ) -> None:
        self._nats = nats
        self._api = Streams(nats, mends=False)
        self._replicas = broker_config.replicas() if replicas is None else replicas
        self._settings = settings or broker_config.streams()
        self._lease_s = lease_s
        self.manages = broker_config.manages_streams() if manages is None else manages
        """Whether it makes and changes streams, or only looks."""
        self._uses = uses
        self.made: Counter[str] = Counter()
        """How often this process has made each stream (a bucket's is `KV_…`) and consumer, by name."""
        self.on_made: list[Callable[[str], None]] = []
        """Called with the name of each stream and consumer that this process has just made. Other processes learn of a
        new stream from its epoch: an `OrderedConsumer` calls `on_reset`."""
        self.problems: dict[str, str] = {}
        """Why a stream or consumer does not stand, by name, as the last declaration has found it; for operators."""
        self._standing: set[str] = set()
        """What has stood once."""
        self._told: set[tuple[str, str]] = set()
        self._lines: dict[str, RateLimited] = {}
        self._lock = asyncio.Lock()
        self._wrong = asyncio.Event()
        """Set while `problems` names something."""
        self._running: asyncio.Task[bool] | None = None
        self._rest_until = 0.0
        self._last_was_good = False
        nats.mend_with = self.again

    def __repr__(self) -> str:
        return f"<Topology made={dict(self.made)} problems={sorted(self.problems)}>"

    async def once(self) -> None:
        """Makes what is missing and changes what must be changed; each part is tried, whatever happens to the others.

        Raises:
            BrokerUnavailable: a part could not be declared for now.
            BrokerRefused: a part cannot be declared, or is missing where this one manages none; the message says why,
                and what an operator can do.
        """
        async with self._lock:
            errors = [error for name, work in self._parts() if (error := await self._try(name, work)) is not None]
            if errors:
                self._wrong.set()
            else:
                self._wrong.clear()
                if self.manages:
                    await old_pictures.retire(self._api)
        if errors:
            raise next((each for each in errors if isinstance(each, BrokerRefused)), errors[0])

    async def _try(self, name: str, work: Callable[[], Awaitable[None]]) -> TestcastError | None:
        try:
            await work()
        except (BrokerUnavailable, BrokerRefused) as error:
            reason = await self._explained(name, error)
            self.problems[name] = reason.message
            return reason
        self.problems.pop(name, None)
        self._standing.add(name)
        return None

    async def apply(self, timeout_s: float) -> None:
        """Declares, and waits up to `timeout_s` while the broker elects leaders.

        Raises:
            BrokerUnavailable, BrokerRefused: see `once`.
        """

        def on_failure(error: Exception) -> None:
            if isinstance(error, BrokerRefused) and error.err_code != advice.NO_PEERS:
                raise error
            self._say(str(error))

        await retry(
            self.once,
            on=(BrokerUnavailable, BrokerRefused),
            within_s=timeout_s,
            backoff=Backoff(longest_s=_LONGEST_PAUSE_S),
            source=self._nats,
            on_failure=on_failure,
        )

    async def until_tried(self) -> None:
        """Waits for the connection, and declares once, whatever comes of it."""
        while not self._nats.connected:
            await pause(_LONGEST_PAUSE_S, self._nats)
        await self.again()

    async def until_standing(self) -> None:
        """Declares, however long it takes, and logs why it does not succeed."""
        await retry(
            self.once,
            on=(BrokerUnavailable, BrokerRefused),
            backoff=Backoff(longest_s=_LONGEST_PERSISTENCE_S),
            source=self._nats,
            on_failure=lambda error: self._say(str(error)) if self._nats.connected else None,
        )

    async def keep_standing(self) -> None:
        """Like `until_standing`, and once more whenever `again` has found something missing: others may make it."""
        while True:
            await self.until_standing()
            await self._wrong.wait()

    async def again(self) -> bool:
        """Declares because something is not there. Returns whether it is worth trying once more.

        All that meet the same gap share one declaration, and at most one begins a second.
        """
        loop = asyncio.get_running_loop()
        if self._running is None:
            if loop.time() < self._rest_until:
                return self._last_was_good
            self._running = loop.create_task(self._again(), name="declare-again")
        try:
            async with asyncio.timeout(_WAIT_S):
                return await asyncio.shield(self._running)
        except TimeoutError:
            return False

    async def _again(self) -> bool:
        try:
            await self.once()
            self._last_was_good = True
        except TestcastError as error:
            self._last_was_good = False
            self._say(str(error))
        finally:
            self._rest_until = asyncio.get_running_loop().time() + _REST_S
            self._running = None
        return self._last_was_good

    # -- one part ------------------------------------------------------------------------------------------------

    def _parts(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        if not self.manages:
            return self._looks()
        parts: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            (config["name"], partial(self._stream, config)) for config in streams(self._replicas, self._settings)
        ]
        return parts + [
            (config["durable_name"], partial(self._consumer, stream, config)) for stream, config in consumers()
        ]

    def _looks(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        return [(look.name, partial(self._look, look)) for look in standing.looks(self._uses, self._settings)]

    async def _look(self, look: Look) -> None:
        """Compares what stands with what is needed, and changes nothing."""
        problem = standing.problem(await self._info(look.request), look)
        if problem is not None:
            raise BrokerRefused(problem)

    async def _stream(self, wanted: dict[str, Any]) -> None:
        name = wanted["name"]
        found = await self._info(f"STREAM.INFO.{name}")
        if found is None:
            if await self._make_stream(stream_config.first(wanted, self._settings)):
                return
            found = await self._info(f"STREAM.INFO.{name}")
            if found is None:
                raise BrokerUnavailable(f"the stream {name} was made and deleted again at this moment")
        problem = problem_of_stream(found, wanted)
        if problem is not None:
            raise BrokerRefused(problem)
        lift = lifted(found, self._settings)
        needed = changes(found, wanted) + stream_config.improvements(found, wanted) + (lift.changes if lift else [])
        changed = {change.field: change.new for change in needed}
        self._tell(name, found | changed, wanted)
        if needed or lift:
            changed["metadata"] = (found.get("metadata") or {}) | wanted["metadata"] | (lift.metadata if lift else {})
            await self._api.api(f"STREAM.UPDATE.{name}", found | changed, timeout_s=_ASK_S)
            if needed:
                _log.warning("changed the stream %s: %s", name, "; ".join(map(str, needed)))

    async def _make_stream(self, wanted: dict[str, Any]) -> bool:
        """Makes a stream, smaller where the broker has no room for it. Returns as `_make`."""
        name, first = wanted["name"], await self._first_seq(wanted["name"])
        *tries, last = stream_config.asks(wanted)
        for ask in (*tries, last):
            try:
                made = await self._make(name, f"STREAM.CREATE.{name}", ask.made | first)
            except TestcastError as error:
                if ask is last or not advice.lacks_room(error):
                    raise
                continue
            if made and ask.kept is not ask.made:
                await self._api.api(f"STREAM.UPDATE.{name}", ask.kept | first, timeout_s=_ASK_S)
            if made and ask.kept is not wanted:
                size, less = (shown("max_bytes", each["max_bytes"]) for each in (wanted, ask.kept))
                _log.warning("the broker has no room for %s bytes of %s: it keeps at most %s", size, name, less)
            return made
        return False

    async def _consumer(self, stream: str, wanted: dict[str, Any]) -> None:
        name = wanted["durable_name"]
        lease = {} if self._lease_s is None or stream != subjects.JOBS else stream_config.lease(self._lease_s)
        request = f"CONSUMER.CREATE.{stream}.{name}"
        found = await self._info(f"CONSUMER.INFO.{stream}.{name}")
        if found is None:
            body = {"stream_name": stream, "config": wanted | lease, "action": "create"}
            if await self._make(name, request, body):
                return
            found = await self._info(f"CONSUMER.INFO.{stream}.{name}") or {}
        problem = problem_of_consumer(stream, found, wanted)
        if problem is not None:
            raise BrokerRefused(problem)
        if any(found.get(field) != value for field, value in lease.items()):
            body = {"stream_name": stream, "config": found | lease, "action": "update"}
            await self._api.api(request, body, timeout_s=_ASK_S)
            _log.warning("changed the consumer %s: ack_wait -> %g s", name, self._lease_s)

    async def _info(self, request: str) -> dict[str, Any] | None:
        """The configuration of what stands; None when it is not there."""
        try:
            return dict((await self._api.api(request, timeout_s=_ASK_S))["config"])
        except NotThere as error:
            if not error.certain:
                raise
            return None

    async def _make(self, name: str, request: str, body: dict[str, Any]) -> bool:
        """Makes a stream or consumer. Returns False when another process has made it otherwise at this moment."""
        try:
            await self._api.api(request, body, timeout_s=_ASK_S)
        except BrokerRefused as error:
            if error.err_code != _NAME_IN_USE and error.err_code not in _CONSUMER_EXISTS:
                raise
            return False
        if name in self._standing:
            _log.warning("made %s again: it was gone", name)
        else:
            _log.info("made %s", name)
        self.made[name] += 1
        for callback in self.on_made:
            callback(name)
        return True

    async def _first_seq(self, name: str) -> dict[str, int]:
        """A new life of a stream continues above every sequence of the last one.

        Snapshots, writers, ETags and acknowledgements name sequences, and are kept across the new life. Milliseconds
        since 1970 are above any number of messages that were ever stored.
        """
        known = name in self._standing or any([await self._was_used(each["name"]) for each in streams(1)])
        return {"first_seq": now_ms()} if known else {}

    async def _was_used(self, name: str) -> bool:
        try:
            return (await self._api.state(name)).last_seq > 0
        except TestcastError:
            return False

    # -- what is said --------------------------------------------------------------------------------------------

    def _tell(self, name: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        if is_newer(found) and (name, "") not in self._told:
            self._told.add((name, ""))
            _log.info("a newer version of testcast has declared the stream %s: it is left as it is", name)
        for change, setting in kept(found, wanted, self._settings):
            if (name, change.field) not in self._told:
                self._told.add((name, change.field))
                _log.info("the stream %s keeps its %s", name, told_of(change, setting))

    def _say(self, text: str) -> None:
        """Logs why declaring does not succeed: each reason at once, and the same one at most every half minute."""
        if len(self._lines) > 50:
            self._lines.clear()
        line = self._lines.setdefault(text, RateLimited(_log, per_s=_SAME_LINE_S))
        what = "cannot be declared at the moment, trying again" if self.manages else "are not as this part needs them"
        line.warning("the streams %s: %s", what, text)

    async def _explained(self, name: str, error: TestcastError) -> TestcastError:
        """The same error, with what an operator can do about it."""
        overlaps = isinstance(error, BrokerRefused) and error.err_code == advice.OVERLAP
        return advice.explained(name, error, self._replicas, await self._overlapping(name) if overlaps else "")

    async def _overlapping(self, name: str) -> str:
        wanted = next(config for config in streams(1) if config["name"] == name)
        [subject] = wanted["subjects"]
        try:
            answer = await self._api.api("STREAM.NAMES", {"subject": subject}, timeout_s=_ASK_S)
        except TestcastError:
            return ""
        others = ", ".join(str(each) for each in answer.get("streams") or [])
        if not others:
            return ""
        return f": the stream {others} takes messages of {subject}. Delete it, or give it other subjects"


async def apply(
    nats: Connection,
    *,
    replicas: int | None = None,
    lease_s: float | None = None,
    timeout_s: float = 30.0,
    manages: bool | None = True,
) -> Topology:
    """Makes the streams, buckets and consumers that are missing. From then on the connection mends itself.

    Args:
        replicas, lease_s, manages: see `Topology`.
        timeout_s: how long to try while the broker elects leaders.

    Raises:
        BrokerUnavailable: no leader accepted the requests within `timeout_s`.
        BrokerRefused: something is in the way, or not permitted; the message says what.
    """
    declared = Topology(nats, replicas=replicas, lease_s=lease_s, manages=manages)
    await declared.apply(timeout_s)
    return declared


async def lease_s(api: Streams) -> float:
    """Returns how long a worker keeps a job that it does not renew, seconds, as set on the broker."""
    info = await api.api(f"CONSUMER.INFO.{subjects.JOBS}.{subjects.WORKERS}")
    return stream_config.seconds(info["config"]["ack_wait"])
