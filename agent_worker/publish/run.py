"""The publishing handle: an agent publishes a run's events through it, each stored once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Self

from agent_worker.publish.first_event import first_event, named
from agent_worker.publish.frames import EVIDENCE_PATIENCE_S, Frames
from agent_worker.publish.heartbeat import BEAT_S, Heartbeat, Renew
from agent_worker.publish.outbox import Outbox, encode
from agent_worker.publish.run_statistics import PhaseTimer, Timings
from agent_worker.publish.run_statistics import RunStatistics as RunStatistics
from agent_worker.publish.writer import History, Writer, read_history
from broker import identity, tracing
from broker.clock import now_ms
from broker.contract import handle, ids, projects
from broker.contract.errors import AlreadyEnded, BrokerUnavailable, NotFound, TestcastError
from broker.contract.events import Event, Phase
from broker.contract.handle import DEFAULT_PHASES
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.standing import OF_A_PUBLISHER
from broker.jetstream.topology import Topology
from broker.retry import retry

OPEN_PATIENCE_S: Final = 10.0
"""For a run's first events to be stored: as long as a cluster takes to elect a leader."""
CLOSE_PATIENCE_S: Final = 30.0
"""For events that are still to be stored when the block is left."""

_log = logging.getLogger("testcast.run")


def default_worker() -> str:
    """The name of an agent that was given none: `host-pid`."""
    return f"{socket.gethostname()}-{os.getpid()}"


class TestRun:
    """One attempt at one run, open inside `async with`; made by `create`, `join` or `claim`.

    Events are stored in the background, in order, and retried until the broker has acknowledged them. While the broker
    is away, up to 1,000 events or 4 MiB are kept; beyond that publishing waits. `complete` and `fail` end the run and
    return when everything is stored. Leaving the block with an exception ends the run as failed, with the exception's
    text as the reason; leaving it without a result ends it as failed with the code `no_result`. While the block is
    open, the run gives a sign of life every 10 s, and learns at once when somebody cancels it.

    Methods may be called from several tasks; the order of the calls is the order of the events. Each raises `Fenced`
    once this handle may not write any more (the run was cancelled or has ended, or another worker has taken it over),
    `BadInput` for what is not a valid event or is larger than 60 KiB, and `AlreadyEnded` after `complete`, `fail` or
    `hand_on`. In each of these cases nothing was published.
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
        phases: Sequence[str] = DEFAULT_PHASES,
        timings: Timings | None = None,
    ) -> None:
        self.phases = handle.check_phases(phases)
        """Titles of the run's phases, the first is phase 1."""
        self.test_id = ids.parse_test_id(test_id)
        self.worker = worker or default_worker()
        self.attempt = 0
        """Which try at the run this is, from 1; 0 until opened."""
        self._titles = {} if self.phases == DEFAULT_PHASES else {"phases": self.phases}
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
        self._frames: Frames
        self._heartbeat: Heartbeat | None = None
        self._left = False
        self._phase: Phase | None = None
        self._timer = PhaseTimer(timings or Timings())
        self.verdict: Literal["completed", "failed"] | None = None
        """How this handle ended the run; None: it has not."""
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<TestRun {self.test_id} attempt={self.attempt} {self._opened!r}>"

    @classmethod
    def create(
        cls,
        broker: str | JetStreamLog,
        *,
        title: str,
        game_url: str = "",
        worker: str | None = None,
        phases: Sequence[str] = DEFAULT_PHASES,
        project: str = projects.DEFAULT,
        labels: Mapping[str, str] | None = None,
        patience_s: float | None = OPEN_PATIENCE_S,
    ) -> TestRun:
        """A new run: opening it stores its first events, and its card appears.

        Args:
            broker: address of the broker, like `nats://127.0.0.1:4222`, or an event log on an open connection.
            game_url: address of what is tested, shown to viewers; may be empty.
            worker: the name of this agent, shown to viewers; default host and process id.
            phases: titles of the run's phases, one to four, as viewers see them.
            project: the run's project, for good: who may see the project may see the run.
            labels: names and values to find the run by, such as `{"commit": "abc"}`; at most 16, for good.
            patience_s: how long opening waits until the first events are stored; None: for ever.

        Raises:
            BadInput: the title is empty, there are no phases or more than four, or `project` or a label is not valid.
        Raises on opening:
            BrokerUnavailable: nothing answers there, or it does not store the events.
        """
        first, data = first_event(title, game_url, project, labels), named(project)
        test_id = identity.new_test_id()
        return cls(broker, test_id, worker=worker, first=first, data=data, patience_s=patience_s, phases=phases)

    @classmethod
    def join(
        cls,
        broker: str | JetStreamLog,
        test_id: str,
        *,
        worker: str | None = None,
        phases: Sequence[str] = DEFAULT_PHASES,
    ) -> TestRun:
        """The next attempt at a run that exists; the writers of earlier attempts are fenced.

        Raises:
            BadInput: for `phases`, as `create`; InvalidTestId for `test_id`.

        Raises on opening:
            NotFound, AlreadyEnded, BrokerUnavailable; Fenced when the run ended or was taken over in that moment.
        """
        return cls(broker, test_id, worker=worker, phases=phases)

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
        phases: Sequence[str] = DEFAULT_PHASES,
        timings: Timings | None = None,
    ) -> TestRun:
        """Like `join`, for a worker that holds the run's job. Opening waits for the broker without a time limit.

        Args:
            history: what the worker has read of the run; with nothing stored, the run begins with this attempt.
            data: further fields of the attempt's first event.
            renew: renews the lease; called every `beat_s`, each time after an ownership check that succeeded.
            timings: the worker's, which this run counts in; None: its own.
        """
        return cls(
            log,
            test_id,
            worker=worker,
            history=history,
            data=data,
            renew=renew,
            beat_s=beat_s,
            patience_s=None,
            phases=phases,
            timings=timings,
        )

    async def __aenter__(self) -> Self:
        if self.attempt:
            raise RuntimeError("a TestRun is opened once; make another to join the run again")
        if isinstance(self._broker, str):
            self._own_connection = await Connection.connect(self._broker, name=f"agent-{self.worker}")
            Topology(self._own_connection, uses=OF_A_PUBLISHER)  # the connection declares what it misses
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
        self._opened = box = Outbox(writer, self._timer.timings)
        self._frames = Frames(self._log.streams, box)
        self._tasks = [asyncio.create_task(part) for part in (box.send(), self._keep(box), self._frames.send())]
        return self

    async def _keep(self, box: Outbox) -> None:
        assert self._heartbeat is not None
        try:
            await self._heartbeat.run(box.break_off)
        except Exception as error:  # without a heartbeat the run would be lost to another worker unnoticed
            _log.exception("run %s: the heartbeat failed", self.test_id)
            await box.break_off(TestcastError(f"the run's heartbeat failed: {error!r}"))

    async def _begin(self) -> Writer:
        history = self._history or (History() if self._first else await self._read())
        self.attempt = history.next_attempt
        writer = Writer(self._log, self.test_id, self.attempt, history.head)
        self._heartbeat = Heartbeat(
            self._log.connection, writer, worker=self.worker, renew=self._renew, every_s=self._beat_s
        )
        await self._heartbeat.listen()
        if self._first is not None:
            await writer.write(encode(self._first))
        await writer.write(encode(self._started(history)))
        return writer

    async def _read(self) -> History:
        history = await retry(lambda: read_history(self._log, self.test_id), source=self._log)
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
        project = {} if history.project == projects.DEFAULT else {"project": history.project}
        data = {**self._data, **project, **self._titles, "attempt": self.attempt, "worker": self.worker}
        return Event(type="status", status="running", message=message, timestamp=now_ms(), data=data)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        box = self._box
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                if self._left:
                    return
                if not box.ended and box.error is None:
                    await self.fail(*handle.failure(error))
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
            _log.info("run %s: %s", self.test_id, refused)  # the exception that left the block is raised instead
        finally:
            await self._shut()

    async def _shut(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks and self.over is None:
            await self._frames.send_last()
        if self._heartbeat is not None:
            await self._heartbeat.close()
        if self._own_connection is not None:
            await self._own_connection.close()

    @property
    def ended(self) -> bool:
        """The last event was published: `complete`, `fail` or `hand_on` was called."""
        return self._opened is not None and self._opened.ended

    @property
    def over(self) -> TestcastError | None:
        """Why nothing more can be written; None while it can, and where this handle ended the run."""
        return self._opened.error if self._opened is not None else None

    async def wait_over(self) -> None:
        """Waits until `over` is set; the agent then stops its work."""
        await self._box.broken.wait()

    # -- publishing ------------------------------------------------------------------------------------------------

    async def phase(self, n: int, message: str | None = None) -> None:
        """The run enters its phase `n`, counted from 1; later events carry it. `message` replaces the phase's title."""
        self._phase = handle.phase_of(n, self.phases)
        self._timer.enter(self._phase, asyncio.get_running_loop().time())
        tracing.step(f"phase {n}", title=self.phases[n - 1])
        await self._tell("status", message or self.phases[n - 1], status="running", data=self._titles or None)

    async def progress(self, message: str, **data: object) -> None:
        """A line in the feed; `data` goes with it, for programs."""
        await self._tell("progress", message, data=data or None)

    async def action(self, action: str, message: str | None = None) -> None:
        """The agent does something, such as "Testing WASD movement"."""
        await self._tell("progress", message or action, data={"action": action})

    async def complete(
        self, score: float, metrics: Mapping[str, object] | None = None, message: str | None = None
    ) -> None:
        """The score, 0 to 100, and the metrics behind it. Ends the run; returns when it is stored."""
        said, data = handle.result(score, metrics, message)
        await self._tell("complete", said, data=data, last=True)
        await self.flush()

    async def fail(self, message: str, code: str = "agent_error") -> None:
        """The run ends without a score, for the reason in `message`. Returns when it is stored."""
        await self._tell("error", message[: handle.MAX_REASON_CHARS], status="failed", data={"code": code}, last=True)
        await self.flush()

    async def hand_on(self, message: str = "Handed on: this worker is shutting down") -> None:
        """Gives the run back: the next attempt continues it, and this one does not count as lost."""
        data = {"handover": True, "attempt": self.attempt, "worker": self.worker}
        await self._tell("status", message, status="queued", data=data, last=True)
        await self.flush()

    def leave(self) -> None:
        """Leaving the block then writes nothing and waits for nothing: another attempt continues the run."""
        self._left = True

    async def publish(self, event: Event) -> None:
        """Publishes any event as it is."""
        await self._put(event, last=event.terminal)

    async def screenshot(self, jpeg: bytes, on_lost: Callable[[], None] | None = None) -> None:
        """A picture of what is tested now, as `Frames.offer` has it: at most two a second are stored. Never raises."""
        self._frames.offer(jpeg, on_lost)

    async def evidence(self, message: str, jpeg: bytes | None, **data: object) -> None:
        """A line in the feed with a picture of its own, which belongs to it for good.

        Waits up to 2 s until both are stored. The line is then kept to be stored, as every event; the picture is lost.
        """
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await self._tell("progress", message, data=data or None, stored=stored)
        if jpeg is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVIDENCE_PATIENCE_S):
                    await self._frames.keep(jpeg, await stored)

    async def flush(self) -> None:
        """Waits until everything published so far is stored."""
        await self._box.flush()

    def statistics(self) -> RunStatistics:
        """Where the handle stands now."""
        assert self._heartbeat is not None
        beats = self._heartbeat.statistics()
        return RunStatistics(*self._box.statistics(), *self._frames.statistics(), beats.beats, beats.failures)

    @property
    def _box(self) -> Outbox:
        if self._opened is None:
            raise RuntimeError("this TestRun is not open: use it inside `async with`")
        return self._opened

    async def _tell(
        self, kind: Any, message: str, *, status: Any = None, data: object = None, last: bool = False, **how: Any
    ) -> None:
        event = Event(type=kind, status=status, message=message, timestamp=now_ms(), phase=self._phase, data=data)
        await self._put(event, last=last, **how)

    async def _put(self, event: Event, *, last: bool, stored: asyncio.Future[int] | None = None) -> None:
        if last:  # whoever sees the end finds the last picture
            await self._frames.send_last()
        await self._box.put(encode(event), last=last, stored=stored)
        if last:
            self._timer.enter(None, asyncio.get_running_loop().time())
        self.verdict = event.end or self.verdict
