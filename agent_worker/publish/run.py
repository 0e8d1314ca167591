"""The publishing handle: how an agent tells a run, event by event, so that each is stored once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Self

import orjson

from agent_worker.publish.outbox import Outbox, Shots, encode
from agent_worker.publish.writer import History, Writer, read_history
from broker.clock import now_ms
from broker.contract import ids, subjects
from broker.contract.errors import AlreadyEnded, BadInput, BrokerUnavailable, Fenced, NotFound, TestcastError
from broker.contract.events import Event
from broker.jetstream.connection import Connection, Subscription
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.parser import Message
from broker.log import RateLimited

BEAT_S: Final = 10.0
"""Between two signs of life; a viewer's card says "stalled" after 25 s without one."""
OPEN_PATIENCE_S: Final = 10.0  # as long as a cluster takes to elect
CLOSE_PATIENCE_S: Final = 30.0  # for events that are still to be stored when the block is left
_RETRY_BEAT_S: Final = 0.5
_MAX_REASON_CHARS: Final = 1_000
_PHASES: Final = {1: "Loading", 2: "Discovering controls", 3: "Exploring gameplay", 4: "Evaluating"}

_log = logging.getLogger("testcast.run")
_limited = RateLimited(_log, per_s=5.0)

Renew = Callable[[], Awaitable[None]]


class RunStatistics(NamedTuple):
    """Where a handle stands."""

    stored: int
    """Events that the broker has acknowledged."""
    pending: int
    """Events that wait to be stored, in order."""
    pending_bytes: int
    shots: int
    """Pictures that arrived."""


def default_worker() -> str:
    """The name of an agent that was given none: `host-pid`."""
    return f"{socket.gethostname()}-{os.getpid()}"


class TestRun:
    """One attempt at one run, open inside `async with`; made by `create`, `join` or `claim`.

    What is told is kept and stored in the background, in order, retried until the broker has acknowledged it; while
    the broker is away up to 1,000 events or 4 MiB of them are kept, and beyond that telling more waits. `complete` and
    `fail` end the run and return when everything is stored. Leaving the block with an exception ends the run as failed
    with its text as the reason; leaving it without a result, as "ended without a result". While the block is open, the
    run gives a sign of life every 10 s, and hears at once when somebody cancels it.

    Methods may be called from several tasks; the order of the calls is the order of the events. Each raises
    `Fenced` once this handle may not write any more (the run was cancelled or has ended, or another worker has taken
    it over), `BadInput` for what is no sound event or is larger than 60 KiB, and `AlreadyEnded` after `complete`,
    `fail` or `hand_on`. Nothing was published then.
    """

    __test__ = False  # the name begins with "Test": pytest would try to collect it

    def __init__(
        self,
        broker: str | JetStreamLog,
        test_id: str,
        *,
        worker: str | None,
        first: Event | None = None,
        history: History | None = None,
        data: Mapping[str, object] | None = None,
        renew: Renew | None = None,
        beat_s: float = BEAT_S,
        patience_s: float | None = OPEN_PATIENCE_S,
    ) -> None:
        self.test_id = ids.parse_test_id(test_id)
        self.worker = worker or default_worker()
        self.attempt = 0
        """Which try at the run this is, from 1; 0 until opened."""
        self._broker = broker
        self._first = first
        self._history = history
        self._data = dict(data or {})
        self._renew = renew
        self._beat_s = beat_s
        self._patience_s = patience_s
        self._own_connection: Connection | None = None
        self._log: JetStreamLog
        self._opened: Outbox | None = None
        self._shots: Shots
        self._left = False
        self._phase: Any = None
        self._nudged = asyncio.Event()
        self._nudges: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<TestRun {self.test_id} attempt={self.attempt} {self._opened!r}>"

    @classmethod
    def create(
        cls, broker: str | JetStreamLog, *, title: str, game_url: str = "", worker: str | None = None
    ) -> TestRun:
        """A new run: opening it stores its first events, and its card appears.

        Args:
            broker: where the broker is, like `nats://127.0.0.1:4222`, or a connection that stands already.
            worker: the name of this agent, shown to viewers; default host and process id.

        Raises on opening:
            BrokerUnavailable: nothing answers there, or it holds no testcast streams (start an edge first).
        """
        if not title.strip():
            raise BadInput("title: expected a name for the run")
        data = {"title": title, "gameUrl": game_url}
        queued = Event(type="status", status="queued", message=f"Queued: {title}", timestamp=now_ms(), data=data)
        return cls(broker, ids.new_test_id(), worker=worker, first=queued)

    @classmethod
    def join(cls, broker: str | JetStreamLog, test_id: str, *, worker: str | None = None) -> TestRun:
        """The next attempt at a run that exists; whoever wrote to it as an earlier attempt is fenced off.

        Raises:
            InvalidTestId: at once.

        Raises on opening:
            NotFound, AlreadyEnded, BrokerUnavailable; Fenced when the run ended or was taken over in that moment.
        """
        return cls(broker, test_id, worker=worker)

    @classmethod
    def claim(
        cls,
        log: JetStreamLog,
        test_id: str,
        *,
        worker: str,
        history: History,
        data: Mapping[str, object] | None = None,
        renew: Renew | None = None,
        beat_s: float = BEAT_S,
    ) -> TestRun:
        """Like `join`, for a worker that holds the run's job; opening waits for the broker without end.

        Args:
            history: what the worker has read of the run; with nothing stored, the run begins with this attempt.
            data: more to say in the attempt's first event.
            renew: renews the lease; called every `beat_s`, each time after a look that showed the run still ours.
        """
        return cls(log, test_id, worker=worker, history=history, data=data, renew=renew, beat_s=beat_s, patience_s=None)

    async def __aenter__(self) -> Self:
        if self.attempt:
            raise RuntimeError("a TestRun is opened once; make another to join the run again")
        if isinstance(self._broker, str):
            self._own_connection = await Connection.connect(self._broker, name=f"agent-{self.worker}")
            self._log = JetStreamLog(self._own_connection)
        else:
            self._log = self._broker
        try:
            async with asyncio.timeout(self._patience_s):
                writer = await self._begin()
        except TimeoutError:
            await self._shut()
            raise BrokerUnavailable(
                f"the broker at {self._log.connection.address} did not store the run's first event within "
                f"{self._patience_s:g} s: has an edge or `testcast up` prepared it?"
            ) from None
        except BaseException:
            await self._shut()
            raise
        self._opened = box = Outbox(writer)
        self._shots = Shots(self._log.streams, self.test_id)
        self._tasks = [asyncio.create_task(part) for part in (box.send(), self._keep(), self._shots.send())]
        return self

    async def _begin(self) -> Writer:
        history = self._history or (History() if self._first else await self._read())
        self.attempt = history.next_attempt
        writer = Writer(self._log, self.test_id, self.attempt, history.head)
        # Heard before the first event is stored: a cancel that comes later finds an ear.
        self._nudges = await self._log.connection.subscribe(subjects.control(self.test_id), self._on_nudge)
        if self._first is not None:
            await writer.write(encode(self._first))
        await writer.write(encode(self._started(history)))
        return writer

    async def _read(self) -> History:
        while True:
            try:
                history = await read_history(self._log, self.test_id)
            except BrokerUnavailable:  # bounded by the patience around it
                await asyncio.sleep(_RETRY_BEAT_S)
                continue
            if not history.head:
                raise NotFound(self.test_id)
            if history.ended:
                raise AlreadyEnded(f"test {self.test_id} has ended already")
            return history

    def _started(self, history: History) -> Event:
        message = f"Started by {self.worker}"
        if self.attempt > 1:
            why = "the previous worker handed it on" if history.last_handed_on else "the previous worker was lost"
            message = f"Attempt {self.attempt}: {why}"
        data = {**self._data, "attempt": self.attempt, "worker": self.worker}
        return Event(type="status", status="running", message=message, timestamp=now_ms(), data=data)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        box = self._box
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                if self._left:
                    return
                if not box.ended and box.error is None:
                    await self._fail_at_exit(error)
                else:
                    await box.flush()
        except TimeoutError:
            unstored = f"{len(box)} events of test {self.test_id} were not stored: the broker is away"
            if error is None:
                raise BrokerUnavailable(unstored) from None
            _log.error("%s", unstored)
        except TestcastError as refused:
            if error is None:
                raise
            _log.info("run %s: %s", self.test_id, refused)  # what made us leave is what counts
        finally:
            await self._shut()

    async def _fail_at_exit(self, error: BaseException | None) -> None:
        if error is None:
            await self.fail("The agent ended without a result", "no_result")
        elif isinstance(error, Exception):
            reason = str(error) or type(error).__name__
            await self.fail(f"The agent failed: {reason}", "agent_error")
        else:
            await self.fail("The agent was interrupted", "interrupted")

    async def _shut(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks and self.over is None:
            await self._shots.send_last()
        if self._nudges is not None:
            await self._nudges.close()
        if self._own_connection is not None:
            await self._own_connection.close()

    @property
    def ended(self) -> bool:
        """The last event was told: `complete`, `fail` or `hand_on` was called."""
        return self._opened is not None and self._opened.ended

    @property
    def over(self) -> TestcastError | None:
        """Why nothing more can be written, where it was not this handle that ended the run; None while it can."""
        return self._opened.error if self._opened is not None else None

    async def wait_over(self) -> None:
        """Waits until `over` says something: then stop playing."""
        await self._box.broken.wait()

    # -- telling ---------------------------------------------------------------------------------------------------

    async def phase(self, n: int, message: str | None = None) -> None:
        """The run enters phase `n`: 1 load and validate, 2 discover controls, 3 explore gameplay, 4 evaluate."""
        if n not in _PHASES:
            raise BadInput(f"phase: expected 1 to 4, got {n!r}")
        self._phase = f"phase{n}"
        await self._tell("status", message or _PHASES[n], status="running")

    async def progress(self, message: str, **data: object) -> None:
        """Something worth a line in the feed; `data` goes with it for programs that read along."""
        await self._tell("progress", message, data=data or None)

    async def action(self, action: str, message: str | None = None) -> None:
        """The agent does something to the game, such as "Testing WASD movement"."""
        await self._tell("progress", message or action, data={"action": action})

    async def complete(
        self, score: float, metrics: Mapping[str, object] | None = None, message: str | None = None
    ) -> None:
        """The verdict, 0 to 100, and what it rests on. Ends the run; returns when it is stored."""
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 100:
            raise BadInput(f"score: expected 0 to 100, got {score!r}")
        data = {"score": score, "metrics": dict(metrics or {})}
        await self._tell("complete", message or f"Test complete! Score {score:g}/100", data=data, last=True)
        await self.flush()

    async def fail(self, message: str, code: str = "agent_error") -> None:
        """There is no verdict: it says why. Ends the run; returns when it is stored."""
        await self._tell("error", message[:_MAX_REASON_CHARS], status="failed", data={"code": code}, last=True)
        await self.flush()

    async def hand_on(self, message: str = "Handed on: this worker is shutting down") -> None:
        """Gives the run back in good order: the next attempt goes on, and this one does not count as lost."""
        data = {"handover": True, "attempt": self.attempt, "worker": self.worker}
        await self._tell("status", message, status="queued", data=data, last=True)
        await self.flush()

    def leave(self) -> None:
        """Leaving the block then writes nothing and waits for nothing: somebody else will go on with the run."""
        self._left = True

    async def publish(self, event: Event) -> None:
        """Any event, in full; the other methods are made of this one."""
        await self._box.put(encode(event), last=event.terminal)

    async def shot(self, jpeg: bytes) -> None:
        """The newest picture of the game, a JPEG of at most 64 KiB. Never waits and never hurts the run: at most one
        a second is stored, of several the newest, and what cannot be stored is dropped with a line in the log."""
        self._shots.offer(jpeg)

    async def flush(self) -> None:
        """Waits until everything told so far is stored."""
        await self._box.flush()

    def statistics(self) -> RunStatistics:
        """Where the handle stands now."""
        box = self._box
        return RunStatistics(box.writer.stored, len(box), box.pending_bytes, self._shots.stored)

    @property
    def _box(self) -> Outbox:
        if self._opened is None:
            raise RuntimeError("this TestRun is not open: use it inside `async with`")
        return self._opened

    async def _tell(
        self, kind: Any, message: str, *, status: Any = None, data: object = None, last: bool = False
    ) -> None:
        event = Event(type=kind, status=status, message=message, timestamp=now_ms(), phase=self._phase, data=data)
        await self._box.put(encode(event), last=last)

    async def _keep(self) -> None:
        """Looks whether the run is still ours, every `beat_s` and when nudged; if so gives a sign of life."""
        clock = asyncio.get_running_loop().time
        delay_s = self._beat_s
        alive = orjson.dumps({"attempt": self.attempt, "worker": self.worker})
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._nudged.wait()
            self._nudged.clear()
            delay_s = min(_RETRY_BEAT_S, self._beat_s)
            looked_at = clock()
            try:
                await self._box.writer.look()
                if clock() - looked_at > self._beat_s:
                    continue  # an old answer: this process was stopped meanwhile, and may have lost the run
                await self._log.connection.publish(subjects.alive(self.test_id), alive)
                if self._renew is not None:
                    await self._renew()
                delay_s = self._beat_s
            except Fenced as fenced:
                await self._box.break_off(fenced)
                return
            except TestcastError as error:
                _limited.warning("run %s: cannot see whether it is still ours: %s", self.test_id, error)

    def _on_nudge(self, _message: Message) -> None:
        self._nudged.set()
