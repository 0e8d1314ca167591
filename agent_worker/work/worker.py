"""The worker: takes jobs from the queue while it has a free slot, owns the runs behind them, and has them played.

What is played, and how, is the player's; what a job's end means for queue and run is decided here (DESIGN 6, I2, I6).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from agent_worker.games.handle import GameJob, RunHandle
from agent_worker.publish.outbox import encode
from agent_worker.publish.run import TestRun
from agent_worker.publish.writer import History, Writer, read_history
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BadInput, BrokerUnavailable, Fenced, TestcastError
from broker.contract.events import Event
from broker.contract.url_policy import GameUrlRefused, check_game_url
from broker.jetstream import topology
from broker.jetstream.api import Delivery
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pull_consumer import PullConsumer, ack, ack_soon, in_progress, nak, term
from broker.jetstream.runs import Job, make_job
from broker.log import RateLimited

MAX_LOST_ATTEMPTS: Final = 3
PLAYER_GRACE_S: Final = 30.0
"""Beyond a job's budget: a player that is not done then never will be."""
_PULL_S: Final = 5.0
_STOP_PLAYER_S: Final = 2.0
_HAND_ON_S: Final = 3.0
_RETRY_S: Final = 0.5
_TRY_AGAIN_DELAY_S: Final = 1.0  # so that a broken worker is not the only one to try
_RENEWALS_PER_LEASE: Final = 3  # two may be lost

_log = logging.getLogger("testcast.worker")
_limited = RateLimited(_log, per_s=5.0)

T = TypeVar("T")


class Player(Protocol):
    """What plays one game; `tester.play` with a browser, or an agent of another kind."""

    def __call__(self, run: RunHandle, job: GameJob, /) -> Coroutine[Any, Any, None]:
        """Plays `job` and tells `run`; its last call is `run.complete` or `run.fail`.

        Cancelled when the run is over or handed on; it has 2 s then to let go of what it holds.

        Raises:
            TryAgain: it could not play through no fault of the game; another attempt may.
        """


class TryAgain(Exception):
    """This worker could not play the game, through no fault of the game's. Counts as a lost attempt."""


class End(Enum):
    """How a job's work ended, as far as the queue is concerned."""

    STORED = "stored"
    """The run's terminal event is stored by us."""
    ENDED = "ended"
    """Somebody else ended the run: cancelled, or given up as lost."""
    FENCED = "fenced"
    """Another worker owns the run, and its job."""
    HANDED_ON = "handed on"
    AGAIN = "again"
    """Not done here; another attempt may."""


class WorkerStatistics(NamedTuple):
    """What a worker did since it was made."""

    concurrency: int
    playing: int
    taken: int
    """Jobs that were delivered to it."""
    ends: dict[str, int]
    """How many of them ended in each way, by `End`'s values."""


class _Lease:
    """A worker's right to a job: the delivery that it answers for, which a redelivery replaces."""

    def __init__(self, nats: Connection, delivered: Delivery) -> None:
        self.delivered = delivered
        self.run: TestRun | None = None
        """The run as it is played under this lease."""
        self._nats = nats

    async def renew(self) -> None:
        """Asks for another whole lease."""
        await in_progress(self._nats, self.delivered)


class Worker:
    """Plays jobs until told to stop.

    Args:
        player: plays one game; called once per run that this worker owns.
        name: what viewers see as the run's worker.
        concurrency: how many runs at the same time.
    """

    def __init__(self, nats: Connection, player: Player, *, name: str, concurrency: int) -> None:
        self._nats = nats
        self._log = JetStreamLog(nats)
        self._player = player
        self._name = name
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._stopping = asyncio.Event()
        self._lease_s: float = topology.LEASE_S
        self._jobs: set[asyncio.Task[None]] = set()
        self._playing: dict[str, _Lease] = {}
        self._taken = 0
        self._ends = {end.value: 0 for end in End}

    def __repr__(self) -> str:
        return f"<Worker {self._name} playing={len(self._playing)}/{self._concurrency} taken={self._taken}>"

    def statistics(self) -> WorkerStatistics:
        """What it did so far."""
        return WorkerStatistics(self._concurrency, len(self._playing), self._taken, dict(self._ends))

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set (or this is cancelled), then hands its runs on, within about 5 s."""
        pull_consumer = PullConsumer(self._nats, subjects.JOBS, subjects.WORKERS)
        pulling = asyncio.create_task(self._pull(pull_consumer))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({pulling, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if pulling.done():
                await pulling  # it never ends but by a fault of ours: raises that
        finally:
            self._stopping.set()
            pulling.cancel()
            stopped.cancel()
            await asyncio.gather(pulling, stopped, return_exceptions=True)
            if self._jobs:
                _log.info("handing %d runs on", len(self._jobs))
                await asyncio.wait(self._jobs, timeout=_STOP_PLAYER_S + _HAND_ON_S)
                await self._abandon()
            with contextlib.suppress(BrokerUnavailable):
                await pull_consumer.close()

    async def _abandon(self) -> None:
        """What could not be handed on in time is left to its lease."""
        for lease in self._playing.values():
            if lease.run is not None:
                lease.run.leave()
        left = list(self._jobs)
        for job in left:
            job.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _pull(self, pull_consumer: PullConsumer) -> None:
        """Takes one job at a time, and only with a slot for it: what waits here would wait on a running lease."""
        self._lease_s = await self._patiently(lambda: topology.lease_s(self._log.streams))
        expires_s = min(_PULL_S, self._lease_s / 2)
        clock = asyncio.get_running_loop().time
        while True:
            await self._slots.acquire()
            asked_at = clock()
            deliveries: list[Delivery] = []
            try:
                deliveries = await pull_consumer.pull(1, expires_s=expires_s)
                if deliveries and clock() - asked_at > self._lease_s:
                    # This process was stopped, and what lay in its socket may have been given to another since.
                    _log.warning("stood still for %.0f s: left a job to its lease", clock() - asked_at)
                    deliveries = []
            except TestcastError as error:
                _limited.warning("no jobs at the moment: %s", error)
                await asyncio.sleep(_RETRY_S * random.uniform(0.5, 1.5))
            finally:
                if not deliveries:
                    self._slots.release()
            for delivered in deliveries:
                self._taken += 1
                job = asyncio.create_task(self._take(delivered), name=delivered.subject)
                self._jobs.add(job)
                job.add_done_callback(self._done)

    def _done(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        self._slots.release()

    async def _take(self, delivered: Delivery) -> None:
        """One job, from delivery to answer. Raises nothing: a job must not take its worker down."""
        test_id = subjects.test_id_of(delivered.subject)
        lease = _Lease(self._nats, delivered)
        try:
            if test_id is None:
                _log.warning("a job on %r, which is no test's subject: removed", delivered.subject)
                await term(self._nats, delivered)
                return
            mine = self._playing.get(test_id)
            if mine is not None and mine.run is not None and mine.run.over is None:
                # Our own lease ran out while we were stopped or cut off, and the job came back to us.
                mine.delivered = delivered
                return
            end = await self._work(test_id, lease)
            self._ends[end.value] += 1
            _log.info("run %s: %s", test_id, end.value)
            await self._answer(end, lease.delivered)
        except BrokerUnavailable as error:
            _log.warning("job %s: left to its lease: %s", delivered.subject, error)
        except Exception:
            _log.exception("job %s", delivered.subject)
            with contextlib.suppress(BrokerUnavailable):
                await nak(self._nats, lease.delivered, delay_s=_TRY_AGAIN_DELAY_S)

    async def _answer(self, end: End, delivered: Delivery) -> None:
        if end is End.STORED:
            await self._patiently(lambda: ack(self._log.streams, delivered))
        elif end is End.ENDED:
            await ack_soon(self._nats, [delivered])
        elif end is End.HANDED_ON:
            await nak(self._nats, delivered)
            await self._nats.flush()
        elif end is End.AGAIN:
            await nak(self._nats, delivered, delay_s=_TRY_AGAIN_DELAY_S)

    async def _work(self, test_id: str, lease: _Lease) -> End:
        history = await self._patiently(lambda: read_history(self._log, test_id))
        if history.ended:
            return End.ENDED
        if history.lost >= MAX_LOST_ATTEMPTS:
            attempts = ", ".join(map(str, sorted(history.attempts - history.handed_on)))
            message = f"Given up: three workers were lost on this run (attempts {attempts})"
            return await self._give_up(test_id, history, message, "lost")
        try:
            job = _read_job(lease.delivered.data)
        except GameUrlRefused as refused:
            return await self._give_up(test_id, history, refused.message, refused.code)
        except (BadInput, msgspec.MsgspecError) as error:
            return await self._give_up(test_id, history, f"The job cannot be read: {error}", "invalid_job")
        data = {} if history.head else {"gameUrl": job.game_url, "title": job.title}
        lease.run = run = TestRun.claim(
            self._log,
            test_id,
            worker=self._name,
            history=history,
            data=data,
            renew=lease.renew,
            beat_s=self._lease_s / _RENEWALS_PER_LEASE,
        )
        game = GameJob(test_id=test_id, game_url=job.game_url, budget_s=job.budget_seconds, seed=job.seed)
        try:
            async with run:
                self._playing[test_id] = lease
                _log.info("run %s: attempt %d of %s", test_id, run.attempt, job.game_url)
                return await self._play(run, game)
        except Fenced as fenced:
            _log.info("run %s: stopped playing: %s", test_id, fenced)
            return End.ENDED if fenced.reason == "ended" else End.FENCED
        finally:
            if self._playing.get(test_id) is lease:
                del self._playing[test_id]

    async def _play(self, run: TestRun, game: GameJob) -> End:
        """Lets the player play until it is done, or the run is over, or this worker stops, or time is up."""
        player = asyncio.ensure_future(self._player(run, game))
        over, stopping = asyncio.ensure_future(run.wait_over()), asyncio.ensure_future(self._stopping.wait())
        limit_s = game.budget_s + PLAYER_GRACE_S
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
        if run.ended:
            await self._settle(run, run.flush())
            return End.STORED
        if self._stopping.is_set():  # also where the player failed: a Ctrl-C that stops us may stop its browser as well
            await self._settle(run, run.hand_on())
            return End.HANDED_ON
        if isinstance(error, TryAgain):
            await run.progress(f"This worker cannot play on: {_told(error)}")
            await run.flush()
            run.leave()
            return End.AGAIN
        if not in_time:
            message, code = f"The agent was still busy after {limit_s:g} s and was stopped", "agent_timeout"
        elif error is not None:
            _log.error("run %s: the player failed", run.test_id, exc_info=error)
            message, code = f"The agent failed: {_told(error)}", "agent_error"
        else:
            message, code = "The agent ended without a result", "no_result"
        await run.fail(message, code)
        return End.STORED

    async def _settle(self, run: TestRun, storing: Coroutine[Any, Any, None]) -> None:
        """Waits until the run's last event is stored; not long when this worker stops and the broker is away."""
        try:
            async with asyncio.timeout(_HAND_ON_S if self._stopping.is_set() else None):
                await storing
        except TimeoutError:
            run.leave()
            raise BrokerUnavailable("its last event could not be stored before this worker had to stop") from None

    async def _give_up(self, test_id: str, history: History, message: str, code: str) -> End:
        """Ends a run that nobody will play, with the right of its next attempt."""
        writer = Writer(self._log, test_id, history.next_attempt, history.head)
        event = Event(type="error", status="failed", message=message, timestamp=now_ms(), data={"code": code})
        try:
            await writer.write(encode(event))
        except Fenced as fenced:
            return End.ENDED if fenced.reason == "ended" else End.FENCED
        _log.warning("run %s: %s", test_id, message)
        return End.STORED

    async def _patiently(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Asks again while the broker is away, until this worker stops.

        Raises:
            BrokerUnavailable: it stops.
        """
        while True:
            try:
                return await ask()
            except BrokerUnavailable:
                if self._stopping.is_set():
                    raise
                await asyncio.sleep(_RETRY_S * random.uniform(0.5, 1.5))


def _read_job(payload: bytes) -> Job:
    """The job in `payload`, all of it checked again: anybody may write to the queue."""
    job = msgspec.json.decode(payload, type=Job)
    return make_job(check_game_url(job.game_url), job.title, job.budget_seconds, job.seed)


async def _stop_player(player: asyncio.Future[None]) -> None:
    if player.done():
        return
    player.cancel()
    await asyncio.wait({player}, timeout=_STOP_PLAYER_S)
    if not player.done():
        _log.error("a player did not stop within %g s", _STOP_PLAYER_S)


def _told(error: BaseException) -> str:
    """What the feed says of an error: viewers read it."""
    return (error.public_message if isinstance(error, TestcastError) else str(error)) or type(error).__name__
