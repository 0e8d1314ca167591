"""The canary: an edge follows a probe of its own through the whole line, so that "published to seen" is a figure even
when nobody watches.

Every few seconds it publishes an event of its probe as any agent does: the stream stores it and republishes it, and the
edge's topic delivers it to a viewer inside this process. The probe's id is no test id, so no reader takes it for a run.
A word in each event shows that it is the one that was just published.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from broker.clock import now_ms
from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.contract.events import Event
from broker.contract.ids import probe_id
from broker.contract.position import Position
from broker.log import RateLimited
from broker.metrics.histogram import Histogram
from ws_edge.encoding import Encoding
from ws_edge.fanout.hub import Hub
from ws_edge.fanout.session import Session

SEEN_WITHIN_S: Final = 10.0
"""A probe that is not seen within this time is missing. A cluster elects a leader in less."""
_REFUSED_S: Final = 60.0
"""Between two tries where the stream does not take its events: an operator may change that."""
_log = logging.getLogger("testcast.canary")
_limited = RateLimited(_log, per_s=60.0)

Publish = Callable[[str, bytes], Awaitable[object]]
"""Stores an event of a probe: its id, the event.

Raises:
    BrokerUnavailable: no acknowledgement. BrokerRefused: the stream does not take it.
"""


class CanaryStatistics(NamedTuple):
    """What a canary has seen since the start of the node."""

    running: bool
    seconds: Histogram
    """From publishing to when it was seen, seconds."""
    missing: int
    """Probes that were not seen in time."""
    age_s: float | None
    """Since when none was seen, or since the canary began; None while it does not run."""


class Canary:
    """The canary of one node.

    Args:
        publish: stores its events.
        every_s: between two of them; 0: none is published.
        clock: seconds, monotonic.
    """

    def __init__(self, hub: Hub, publish: Publish, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.probe = probe_id(secrets.randbits(64))
        """The id of this process's probe."""
        self._hub = hub
        self._publish = publish
        self._every_s = every_s
        self._clock = clock
        self._viewer = _Inside(clock)
        self._session: Session | None = None
        self._viewer.on_missing = self._on_missing
        self._seconds = Histogram()
        self._missing = 0
        self._running = False
        self._told = False
        """That the stream takes no probes."""
        self._seen_at = 0.0
        """When the newest one was seen, or the canary began, by the clock."""

    def __repr__(self) -> str:
        return f"<Canary {self.probe} seen={self._seconds.count} missing={self._missing}>"

    def statistics(self) -> CanaryStatistics:
        """The figures of this moment."""
        age_s = self._clock() - self._seen_at if self._running else None
        return CanaryStatistics(self._running, self._seconds, self._missing, age_s)

    async def run(self) -> None:
        """Publishes and looks until cancelled. What goes wrong is counted, and never ends it."""
        try:
            while self._every_s:
                began = self._clock()
                try:
                    await self._round(began)
                except BrokerRefused as error:
                    self._stop(str(error))
                    await asyncio.sleep(max(_REFUSED_S, self._every_s))
                    continue
                except Exception:
                    self._missing += 1
                    _limited.warning("a round of the canary failed", exc_info=True)
                await asyncio.sleep(max(0.0, began + self._every_s - self._clock()))
            await asyncio.Event().wait()  # a part of a node runs until it is cancelled
        finally:
            if self._session is not None:
                self._session.close()

    async def _round(self, began: float) -> None:
        """One probe.

        Raises:
            BrokerRefused: the stream takes none.
        """
        word = secrets.token_hex(8)
        event = Event(type="probe", message=word, timestamp=now_ms()).encode()
        seen = self._viewer.waits_for(word.encode("ascii"))
        joined = self._session is not None
        try:
            async with asyncio.timeout(SEEN_WITHIN_S):
                await self._publish(self.probe, event)
                if not self._running:
                    self._running, self._told, self._seen_at = True, False, began
                if self._session is None:
                    self._session = self._hub.subscribe(self._viewer, self.probe, None)
                at = await seen
        except (TimeoutError, BrokerUnavailable) as error:
            self._missing += 1
            _limited.warning(
                "the canary's event was not seen within %g s: %s", SEEN_WITHIN_S, error or "no trace of it"
            )
            return
        self._seen_at = at
        if joined:  # the first one has waited until its topic was open
            self._seconds.observe(at - began)

    def _stop(self, why: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("no canary: the stream of events takes none, so no figure tells how long events take: %s", why)
        self._running = False

    def _on_missing(self) -> None:
        """The probe's events are gone, as after a purge: the next one opens its topic again."""
        self._session = None


class _Bodies:
    """The bodies of events as they are."""

    name: Final = "probe"

    def frame(self, bodies: Sequence[bytes], seqs: Sequence[int] = (), epoch: str = "") -> bytes:
        """The events, one after the other."""
        return b"\n".join(bodies)

    def control(self, kind: str, at: Position | None = None, /, **fields: Any) -> bytes:
        """Nothing: it looks for events only."""
        return b""


class _Inside:
    """A viewer inside this process, which waits for a word."""

    encoding: Encoding = _Bodies()
    fd = -1

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.on_missing: Callable[[], None] = lambda: None
        self._word = b""
        self._seen: asyncio.Future[float] | None = None

    def waits_for(self, word: bytes) -> asyncio.Future[float]:
        """Returns when an event with this word is seen, by the clock."""
        self._word, self._seen = word, asyncio.get_running_loop().create_future()
        return self._seen

    def waiting(self) -> int:
        """Nothing waits: it takes everything at once."""
        return 0

    def write(self, data: bytes) -> None:
        """Looks for the word."""
        if self._seen is not None and not self._seen.done() and self._word in data:
            self._seen.set_result(self._clock())

    def queue(self, rest: memoryview) -> None:
        """See `Viewer`; it has no descriptor that something could be written to."""
        self.write(bytes(rest))

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        """Takes every frame."""
        self.write(frame)
        return True

    def session_missing(self, session: Session) -> None:
        """The probe has no events any more."""
        self.on_missing()
