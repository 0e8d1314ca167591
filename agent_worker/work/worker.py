"""The worker: takes jobs from the queue, owns the runs behind them, and has a player play them.

work/queue.py takes jobs, work/lease.py keeps and answers them, work/outcome.py decides what becomes of each. Here
stands the order of these steps, and how they end when the worker stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from agent_worker.publish.outbox import encode
from agent_worker.publish.run import TestRun
from agent_worker.publish.run_statistics import RunStatistics, Timings
from agent_worker.publish.writer import LOST_TO, History, Writer, read_history
from agent_worker.work.lease import Lease
from agent_worker.work.outcome import Decision, End, Failure, Stopped, after_playing, before_playing, end_of
from agent_worker.work.player import J, Player, ReadJob
from agent_worker.work.queue import JobQueue, backoff
from broker import tracing
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BadInput, BrokerRefused, BrokerUnavailable, Fenced, NotThere
from broker.contract.events import Event
from broker.contract.handle import DEFAULT_PHASES
from broker.jetstream import topology
from broker.jetstream.api import Delivery
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.standing import OF_AN_AGENT
from broker.jetstream.topology import Topology
from broker.retry import retry

PLAYER_GRACE_S: Final = 30.0
"""Beyond a job's budget: a player that takes longer is taken to hang."""
_STOP_PLAYER_S: Final = 2.0
_HAND_ON_S: Final = 3.0
OUTCOMES: Final = ("completed", "failed", *(end.value.replace(" ", "_") for end in End if end is not End.STORED))
"""How a job can end, for metrics."""
_RENEWALS_PER_LEASE: Final = 3
"""Two renewals may be lost."""

_log = logging.getLogger("testcast.worker")

T = TypeVar("T")


class WorkerStatistics(NamedTuple):
    """What a worker did since it was made."""

    concurrency: int
    playing: int
    taken: int
    """Jobs that were delivered to it."""
    ends: dict[str, int]
    """How many of them ended in each way, by the values of `End`."""
    leases: int
    """Jobs that it holds now."""
    leases_lost: int
    """Jobs whose lease ran out here, or that another worker took over."""
    attempts: dict[str, int]
    """Runs that it began to play: `first`, or `again` after another attempt."""
    outcomes: dict[str, int]
    """`ends`, with `completed` and `failed` in place of `stored`."""
    runs: RunStatistics
    """Sums over all runs; what is pending, of those that it plays now."""
    not_pulling: str
    """Why no job can arrive at the moment; empty while one can, or would with a free slot."""


class Worker(Generic[J]):
    """Plays jobs until told to stop.

    Args:
        player: plays one job; called once per run that this worker owns.
        read_job: reads a job's payload.
        name: what viewers see as the run's worker.
        concurrency: how many runs at the same time.
        phases: titles of the runs' phases, one to four.
    """

    def __init__(
        self,
        nats: Connection,
        player: Player[J],
        *,
        read_job: ReadJob[J],
        name: str,
        concurrency: int,
        phases: Sequence[str] = DEFAULT_PHASES,
    ) -> None:
        self._log = JetStreamLog(nats)
        self._topology = Topology(nats, uses=OF_AN_AGENT)
        self._player = player
        self._read_job = read_job
        self._name = name
        self._phases = phases
        self._queue = JobQueue(self._log, self._take, slots=concurrency)
        self._stopping = asyncio.Event()
        self._lease_s: float = topology.LEASE_S
        self._playing: dict[str, Lease] = {}
        self._ends = {end.value: 0 for end in End}
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._attempts = {"first": 0, "again": 0}
        self._leases_lost = 0
        self._open: set[TestRun] = set()
        self._past = RunStatistics(0, 0, 0)
        """Sums over the runs that it has let go of."""
        self.timings = Timings()
        """How long what it published took, and its runs."""

    def __repr__(self) -> str:
        queue = self._queue.statistics()
        return f"<Worker {self._name} playing={len(self._playing)}/{queue.slots} taken={queue.taken}>"

    def statistics(self) -> WorkerStatistics:
        """The counts since this object was made."""
        queue = self._queue.statistics()
        return WorkerStatistics(
            queue.slots,
            len(self._playing),
            queue.taken,
            dict(self._ends),
            queue.busy,
            self._leases_lost,
            dict(self._attempts),
            dict(self._outcomes),
            RunStatistics.total([self._past, *(run.statistics() for run in self._open)]),
            self._queue.not_pulling,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set or this is cancelled, then hands its runs on, within about 5 s."""
        declaring = asyncio.create_task(self._topology.until_standing())
        pulling = asyncio.create_task(self._pull())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({pulling, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if pulling.done():
                await pulling  # it ends only by a fault of this package: raises that
        finally:
            self._stopping.set()
            for task in (declaring, pulling, stopped):
                task.cancel()
            await asyncio.gather(declaring, pulling, stopped, return_exceptions=True)
            if busy := self._queue.statistics().busy:
                _log.info("handing %d runs on", busy)
                await self._queue.drain(_STOP_PLAYER_S + _HAND_ON_S)
                for lease in self._playing.values():
                    if lease.run is not None:
                        lease.run.leave()  # could not be handed on in time: left to its lease
                await self._queue.abandon()

    async def _pull(self) -> None:
        try:
            self._lease_s = await self._patiently(lambda: topology.lease_s(self._log.streams))
        except BrokerRefused as error:  # this user may pull, and may not look at the consumer
            _log.warning("the lease of the queue is unknown, taken to be %g s: %s", self._lease_s, error)
        await self._queue.pull(self._lease_s)

    async def _take(self, delivery: Delivery) -> None:
        """One job, from delivery to answer. Raises nothing: a job must not end its worker."""
        lease = Lease(self._log, delivery)
        try:
            test_id = subjects.test_id_of(delivery.subject)
            if test_id is None:
                _log.warning("a job on %r, which is no test's subject: removed", delivery.subject)
                await lease.remove()
                return
            mine = self._playing.get(test_id)
            if mine is not None and mine.holds:
                mine.redelivered(delivery)
                self._leases_lost += 1
                return
            with tracing.span("attempt", "consumer", run=test_id, worker=self._name):
                end = await self._work(test_id, lease)
                tracing.note(outcome=end.value)
            self._count(end, lease)
            _log.info("run %s: %s", test_id, end.value)
            await self._answer(lease, end)
        except BrokerUnavailable as error:
            _log.warning("job %s: left to its lease: %s", delivery.subject, error)
        except Exception:
            _log.exception("job %s", delivery.subject)
            try:
                await lease.hand_back()
            except BrokerUnavailable as error:
                _log.warning("job %s: left to its lease: %s", delivery.subject, error)

    def _count(self, end: End, lease: Lease) -> None:
        """How a job ended."""
        self._ends[end.value] += 1
        self._leases_lost += end is End.FENCED
        verdict = lease.run.verdict if lease.run is not None else None
        self._outcomes[(verdict or "failed") if end is End.STORED else end.value.replace(" ", "_")] += 1

    async def _answer(self, lease: Lease, end: End) -> None:
        if end is not End.STORED:
            await lease.answer(end)
            return

        async def acknowledge() -> None:  # the run is over: the job need not come back
            try:
                await lease.answer(end)
            except BrokerUnavailable as error:
                if isinstance(error, NotThere):
                    await self._log.connection.mend()
                if not await lease.is_gone():
                    raise

        # A consumer that was made again knows nothing of this delivery, and does not answer. It delivers the job again.
        await self._patiently(acknowledge, within_s=self._lease_s)

    async def _work(self, test_id: str, lease: Lease) -> End:
        history = await self._patiently(lambda: read_history(self._log, test_id))
        decision = before_playing(history)
        if decision is not None:
            return await self._give_up(test_id, history, decision)
        try:
            job = self._read_job(test_id, lease.delivery.data)
        except BadInput as refused:
            failure = Failure(refused.public_message, refused.code)
            return await self._give_up(test_id, history, Decision(End.STORED, failure))
        lease.run = run = TestRun.claim(
            self._log,
            test_id,
            worker=self._name,
            history=history,
            data={} if history.head else job.run_data,
            renew=lease.renew,
            beat_s=self._lease_s / _RENEWALS_PER_LEASE,
            phases=self._phases,
            timings=self.timings,
        )
        began_s = None
        try:
            async with run:
                self._playing[test_id] = lease
                self._open.add(run)
                self._attempts["first" if run.attempt == 1 else "again"] += 1
                began_s = asyncio.get_running_loop().time()
                _log.info("run %s: attempt %d", test_id, run.attempt)
                tracing.note(attempt=run.attempt)
                return await self._play(run, job)
        except Fenced as fenced:
            _log.info("run %s: stopped playing: %s", test_id, fenced)
            return end_of(fenced)
        finally:
            if self._playing.get(test_id) is lease:
                del self._playing[test_id]
            if began_s is not None:
                self.timings.run_s.observe(asyncio.get_running_loop().time() - began_s)
                self._open.discard(run)
                self._past = RunStatistics.total([self._past, run.statistics()._replace(pending=0, pending_bytes=0)])

    async def _play(self, run: TestRun, job: J) -> End:
        """Plays until the player is done, the run is over, this worker stops, or time is up.

        Raises:
            TestcastError: the run is over, and why.
        """
        player = asyncio.ensure_future(self._player(run, job))
        over, stopping = asyncio.ensure_future(run.wait_over()), asyncio.ensure_future(self._stopping.wait())
        limit_s = job.budget_s + PLAYER_GRACE_S
        try:
            await asyncio.wait({player, over, stopping}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            in_time = player.done()
        finally:
            over.cancel()
            stopping.cancel()
            await _stop_player(player)
        error = player.exception() if player.done() and not player.cancelled() else None
        if run.over is not None:
            raise run.over
        decision = after_playing(Stopped(run.ended, self._stopping.is_set(), in_time, limit_s, error))
        if error is not None and decision.failure is not None:
            _log.error("run %s: the player failed", run.test_id, exc_info=error)
        await self._carry_out(decision, run)
        return decision.end

    async def _carry_out(self, decision: Decision, run: TestRun) -> None:
        """Writes what was decided to a run that this worker owns."""
        if decision.failure is not None:
            await run.fail(decision.failure.message, decision.failure.code)
        elif decision.end is End.STORED:
            await self._finish_storing(run, run.flush())
        elif decision.end is End.HANDED_ON:
            await self._finish_storing(run, run.hand_on())
        else:
            if decision.remark is not None:
                data = {} if decision.lost_to is None else {LOST_TO: decision.lost_to}
                await run.progress(decision.remark, **data)
                await run.flush()
            run.leave()

    async def _finish_storing(self, run: TestRun, storing: Coroutine[Any, Any, None]) -> None:
        """Waits until the run's last event is stored; briefly when this worker stops and the broker is away."""
        try:
            async with asyncio.timeout(_HAND_ON_S if self._stopping.is_set() else None):
                await storing
        except TimeoutError:
            run.leave()
            raise BrokerUnavailable("its last event could not be stored before this worker had to stop") from None

    async def _give_up(self, test_id: str, history: History, decision: Decision) -> End:
        """Ends a run that no worker will play, with the right of its next attempt."""
        if decision.failure is None:
            return decision.end
        message, code = decision.failure
        writer = Writer(self._log, test_id, history.next_attempt, history.head)
        event = Event(type="error", status="failed", message=message, timestamp=now_ms(), data={"code": code})
        try:
            await writer.write(encode(event))
        except Fenced as fenced:
            return end_of(fenced)
        _log.warning("run %s: %s", test_id, message)
        return decision.end

    async def _patiently(self, ask: Callable[[], Awaitable[T]], within_s: float | None = None) -> T:
        """Asks again while the broker is away, until this worker stops.

        Args:
            within_s: how long, counted anew after a time without a connection. None: without a limit.

        Raises:
            BrokerUnavailable: it stops, or the time is over.
        """
        since: float | None = None
        clock = asyncio.get_running_loop().time

        def unless_stopping(error: Exception) -> None:
            nonlocal since
            if not self._log.connected:
                since = None
            elif since is None:
                since = clock()
            if self._stopping.is_set() or (within_s is not None and since is not None and clock() - since > within_s):
                raise error

        return await retry(ask, backoff=backoff(), source=self._log, on_failure=unless_stopping)


async def _stop_player(player: asyncio.Future[None]) -> None:
    if player.done():
        return
    player.cancel()
    await asyncio.wait({player}, timeout=_STOP_PLAYER_S)
    if not player.done():
        _log.error("a player did not stop within %g s", _STOP_PLAYER_S)
