"""The worker against a real queue: leases, lost attempts, cancel, handing on, and jobs that make no sense.

Longer than 400 lines: many small tests that share the helpers at the top.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from agent_worker.games.handle import GameJob, RunHandle, read_job
from agent_worker.publish.run import TestRun
from agent_worker.work import lease as lease_module
from agent_worker.work import worker as worker_module
from agent_worker.work.outcome import TryAgain
from agent_worker.work.player import Player
from agent_worker.work.worker import Worker
from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BadInput, NotFound
from broker.contract.events import Event
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs, topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.pull_consumer import nak
from broker.local.child_process import Child
from broker.local.embedded_server import EmbeddedServer
from tests.fair_clock import fair_time
from tests.harness import answers, event_log, until

Eventually = Callable[..., Awaitable[Any]]
STEP_AGENT = Path(__file__).with_name("step_agent.py")
JOB = runs.make_job("https://game.example/", "Game", 5, 7)


@contextlib.asynccontextmanager
async def working(
    nats: Connection, player: Player[GameJob], name: str = "w", concurrency: int = 2
) -> AsyncIterator[Worker[GameJob]]:
    worker = Worker(nats, player, read_job=read_job, name=name, concurrency=concurrency)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


class Runs:
    """What the tests look at."""

    def __init__(self, streams: Streams, eventually: Eventually) -> None:
        self.streams = streams
        self.eventually = eventually

    async def events(self, test_id: str) -> list[dict[str, Any]]:
        page = await self.streams.read(subjects.EVENTS, subjects.events(test_id), 0, 10_000)
        return [orjson.loads(message.data) for message in page.messages]

    async def messages(self, test_id: str) -> list[str]:
        return [event["message"] for event in await self.events(test_id)]

    async def said(self, test_id: str, message: str, within_s: float = 20) -> None:
        async def look() -> bool:
            return any(message in each for each in await self.messages(test_id))

        await self.eventually(look, within_s=within_s)

    async def ended(self, test_id: str, within_s: float = 60) -> Snapshot:
        async def look() -> Snapshot | None:
            with contextlib.suppress(NotFound):
                snapshot = (await runs.read(event_log(self.streams), test_id)).snapshot
                return snapshot if snapshot is not None and snapshot.ended else None
            return None

        found = await self.eventually(look, within_s=within_s)
        assert isinstance(found, Snapshot)
        return found

    async def no_jobs(self, within_s: float = 10) -> None:
        async def empty() -> bool:
            return (await self.streams.state(subjects.JOBS)).messages == 0

        await self.eventually(empty, within_s=within_s)


@pytest.fixture
def look(streams: Streams, eventually: Eventually) -> Runs:
    return Runs(streams, eventually)


@pytest.fixture
async def agents(tmp_path: Path, nats_server: EmbeddedServer) -> AsyncIterator[Callable[..., Child]]:
    """Starts step agents as processes; none outlives the test."""
    started: list[Child] = []

    def start(name: str, steps: int, *more: str) -> Child:
        argv = [sys.executable, str(STEP_AGENT), nats_server.url, name, str(steps), *more]
        root = Path(__file__).parents[2]
        child = Child(argv, tmp_path / f"{name}.log", env={**os.environ, "PYTHONPATH": str(root)})
        started.append(child)
        return child

    yield start
    for child in started:
        child.signal(signal.SIGCONT)
        child.signal(signal.SIGKILL)
        await child.wait()


async def plays(run: RunHandle, job: GameJob) -> None:
    await run.phase(1, f"Opening {job.game_url}")
    await run.complete(80, {"seed": job.seed, "budget": job.budget_s})


async def hangs(run: RunHandle, job: GameJob) -> None:
    await run.progress("hanging")
    await asyncio.Event().wait()


class Build(NamedTuple):
    """A job of another kind than a game."""

    budget_s: float
    command: str

    @property
    def run_data(self) -> dict[str, object]:
        return {"title": self.command, "gameUrl": ""}


async def test_a_worker_plays_jobs_of_another_kind(nats: Connection, streams: Streams, look: Runs) -> None:
    def read_build(test_id: str, payload: bytes) -> Build:
        if payload != b"make all":
            raise BadInput("no such command", "no_command")
        return Build(5, payload.decode())

    async def build(run: TestRun, job: Build) -> None:
        await run.phase(2)
        await run.complete(100, message=f"{job.command}: done")

    phases = ("Compiling", "Linking")
    worker = Worker(nats, build, read_job=read_build, name="builder", concurrency=1, phases=phases)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    good, bad = identity.new_test_id(), identity.new_test_id()
    await streams.store(subjects.job(good), b"make all")
    await streams.store(subjects.job(bad), b"make nothing")
    snapshot, failed = await look.ended(good), await look.ended(bad)
    await look.no_jobs()
    stop.set()
    await asyncio.wait_for(task, 30)
    assert (snapshot.status, snapshot.title, snapshot.score) == ("completed", "make all", 100)
    assert await look.messages(good) == ["Started by builder", "Linking", "make all: done"]
    assert (failed.status, failed.error) == ("failed", "no such command")


async def test_a_job_is_played_to_its_end_and_gone(nats: Connection, streams: Streams, look: Runs) -> None:
    async with working(nats, plays) as worker:
        test_id = await runs.submit(event_log(streams), JOB)
        snapshot = await look.ended(test_id)
        await look.no_jobs()
    assert (snapshot.status, snapshot.score, snapshot.attempt, snapshot.worker) == ("completed", 80, 1, "w")
    assert snapshot.metrics == {"seed": 7, "budget": 5}
    assert await look.messages(test_id) == [
        "Queued: Game",
        "Started by w",
        "Opening https://game.example/",
        "Test complete! Score 80/100",
    ]
    assert worker.statistics().ends["stored"] == 1


async def test_several_at_once_and_never_more_than_its_slots(nats: Connection, streams: Streams, look: Runs) -> None:
    now, most, both = 0, 0, asyncio.Event()

    async def counts(run: RunHandle, job: GameJob) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 2:
            both.set()
        await both.wait()
        await run.progress("both are here")
        await run.complete(1, {})
        now -= 1

    ids = [await runs.submit(event_log(streams), JOB) for _ in range(6)]
    async with working(nats, counts, concurrency=2) as worker:
        for test_id in ids:
            assert (await look.ended(test_id)).attempt == 1
        await look.no_jobs()
        assert worker.statistics().taken == 6
    assert most == 2


async def test_a_killed_workers_run_goes_on_with_another(
    nats_server: EmbeddedServer, nats: Connection, streams: Streams, look: Runs, agents: Callable[..., Child]
) -> None:
    await topology.apply(nats, lease_s=6.0)
    first = agents("first", 10_000)
    test_id = await runs.submit(event_log(streams), JOB)
    await look.said(test_id, "first step 3")
    first.signal(signal.SIGKILL)
    await first.wait()
    killed_at = fair_time()
    agents("second", 5)
    snapshot = await look.ended(test_id)
    assert fair_time() - killed_at < 25  # the standard lease is 30 s
    assert (snapshot.status, snapshot.attempt, snapshot.worker) == ("completed", 2, "second")
    told = await look.messages(test_id)
    took_over = told.index("Attempt 2: the previous worker was lost")
    assert told[took_over + 1 :] == [f"second step {step}" for step in range(5)] + ["Test complete! Score 100/100"]
    await look.no_jobs()


async def test_a_worker_keeps_its_lease_while_it_lives(
    nats: Connection, streams: Streams, look: Runs, agents: Callable[..., Child]
) -> None:
    await topology.apply(nats, lease_s=6.0)
    agents("patient", 280)  # 14 s: more than two leases
    agents("greedy", 1)
    test_id = await runs.submit(event_log(streams), JOB)
    assert (await look.ended(test_id)).attempt == 1


async def test_a_stopped_worker_that_wakes_up_writes_nothing_more(
    tmp_path: Path, nats: Connection, streams: Streams, look: Runs, agents: Callable[..., Child], eventually: Eventually
) -> None:
    await topology.apply(nats, lease_s=6.0)
    zombie = agents("zombie", 10_000)
    test_id = await runs.submit(event_log(streams), JOB)
    await look.said(test_id, "zombie step 3")
    zombie.signal(signal.SIGSTOP)
    agents("second", 60)
    await look.said(test_id, "second step 3")
    zombie.signal(signal.SIGCONT)

    async def fenced() -> bool:
        return "stopped playing: another worker has taken the run over" in (tmp_path / "zombie.log").read_text()

    await eventually(fenced, within_s=30)
    snapshot = await look.ended(test_id)
    assert (snapshot.status, snapshot.attempt, snapshot.worker) == ("completed", 2, "second")
    told = await look.messages(test_id)
    after = told[told.index("Attempt 2: the previous worker was lost") :]
    assert not [message for message in after if "zombie" in message]


async def test_a_stopped_worker_does_not_take_up_a_job_that_went_to_another(
    tmp_path: Path, nats: Connection, streams: Streams, look: Runs, agents: Callable[..., Child], eventually: Eventually
) -> None:
    await topology.apply(nats, lease_s=8.0)  # longer than a busy machine halts: `second` keeps its lease
    sleeper = agents("sleeper", 10_000)

    async def queue(field: str) -> int:
        info = await streams.api(f"CONSUMER.INFO.{subjects.JOBS}.{subjects.WORKERS}")
        return int(info[field])

    async def asks() -> bool:
        return await queue("num_waiting") > 0

    async def delivered() -> bool:
        return await queue("num_ack_pending") > 0

    await eventually(asks, within_s=20)
    sleeper.signal(signal.SIGSTOP)
    test_id = await runs.submit(event_log(streams), JOB)
    with contextlib.suppress(AssertionError):  # or it was between two requests: then there is nothing to be stale
        await eventually(delivered, within_s=1)
    agents("second", 60)
    await look.said(test_id, "second step 3")
    sleeper.signal(signal.SIGCONT)
    snapshot = await look.ended(test_id)
    assert (snapshot.status, snapshot.attempt, snapshot.worker) == ("completed", 1, "second")


async def test_the_third_lost_attempt_ends_the_run(nats: Connection, streams: Streams, look: Runs) -> None:
    test_id = await runs.submit(event_log(streams), JOB)
    for _ in range(3):
        async with TestRun.join(event_log(streams), test_id, worker="doomed") as run:
            run.leave()
    async with working(nats, plays):
        snapshot = await look.ended(test_id)
        await look.no_jobs()
    assert snapshot.status == "failed"
    assert snapshot.error == "Given up: three workers were lost on this run (attempts 1, 2, 3)"
    assert (await look.events(test_id))[-1]["data"] == {"code": "lost"}


async def test_handed_on_attempts_are_not_lost_ones(nats: Connection, streams: Streams, look: Runs) -> None:
    test_id = await runs.submit(event_log(streams), JOB)
    for _ in range(5):
        async with TestRun.join(event_log(streams), test_id, worker="leaving") as run:
            await run.hand_on()
    async with working(nats, plays):
        snapshot = await look.ended(test_id)
    assert (snapshot.status, snapshot.attempt) == ("completed", 6)
    assert "Attempt 6: the previous worker handed it on" in await look.messages(test_id)


async def test_a_cancelled_run_stops_within_two_seconds(
    nats: Connection, streams: Streams, look: Runs, eventually: Eventually
) -> None:
    stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def tells_when_stopped(run: RunHandle, job: GameJob) -> None:
        await run.progress("hanging")
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set_result(None)

    async with working(nats, tells_when_stopped) as worker:
        test_id = await runs.submit(event_log(streams), JOB)
        await look.said(test_id, "hanging")
        await runs.cancel(event_log(streams), test_id)
        await until(stopped.done, within_s=8)  # the next look at the run is after 10 s

        async def free() -> bool:
            return worker.statistics().playing == 0 and worker.statistics().ends["ended"] == 1

        await eventually(free)
        await look.no_jobs()
    assert (await look.messages(test_id))[-1] == "Cancelled"


async def test_the_job_of_an_ended_run_is_dropped_unplayed(nats: Connection, streams: Streams, look: Runs) -> None:
    test_id = await runs.submit(event_log(streams), JOB)
    cancelled = Event(type="error", status="failed", message="Cancelled", timestamp=now_ms())
    await runs.end(event_log(streams), test_id, cancelled)
    async with working(nats, plays):
        await look.no_jobs()
    assert await look.messages(test_id) == ["Queued: Game", "Cancelled"]


async def test_a_worker_told_to_stop_hands_its_runs_on_at_once(
    nats: Connection, streams: Streams, look: Runs, agents: Callable[..., Child]
) -> None:
    leaving = agents("leaving", 10_000)
    ids = [await runs.submit(event_log(streams), JOB) for _ in range(2)]
    for test_id in ids:
        await look.said(test_id, "leaving step 1")
    agents("second", 5)
    told_at = fair_time()
    leaving.signal(signal.SIGTERM)
    assert await asyncio.wait_for(leaving.wait(), 20) == 0
    for test_id in ids:
        snapshot = await look.ended(test_id)
        assert (snapshot.status, snapshot.attempt, snapshot.worker) == ("completed", 2, "second")
        told = await look.messages(test_id)
        handed_on = told.index("Handed on: this worker is shutting down")
        assert told[handed_on + 1] == "Attempt 2: the previous worker handed it on"
    assert fair_time() - told_at < 25  # the lease is 30 s


async def test_the_second_signal_ends_a_worker_at_once(
    tmp_path: Path, streams: Streams, look: Runs, agents: Callable[..., Child], eventually: Eventually
) -> None:
    stubborn = agents("stubborn", 10_000, "stubborn")
    test_id = await runs.submit(event_log(streams), JOB)
    await look.said(test_id, "stubborn step 1")
    stubborn.signal(signal.SIGTERM)
    log = tmp_path / "stubborn.log"
    await eventually(lambda: "handing 1 runs on" in log.read_text())
    stubborn.signal(signal.SIGTERM)
    assert await asyncio.wait_for(stubborn.wait(), 20) == -signal.SIGTERM  # it would go on for ever


async def test_a_broker_that_restarts_costs_the_run_nothing(
    nats_server: EmbeddedServer, look: Runs, nats: Connection
) -> None:
    goes_on = asyncio.Event()

    async def steps(run: RunHandle, job: GameJob) -> None:
        for step in range(100):
            await run.progress(f"step {step}")
            if step == 50:
                await goes_on.wait()
        await run.complete(1, {})

    async with working(nats, steps):
        test_id = await runs.submit(event_log(look.streams), JOB)
        await look.said(test_id, "step 50")
        nats_server.child.signal(signal.SIGKILL)
        await nats_server.child.wait()
        goes_on.set()
        await nats_server.start()
        await look.eventually(lambda: answers(nats), within_s=30)
        snapshot = await look.ended(test_id)
        await look.no_jobs()
    assert snapshot.attempt == 1
    told = [message for message in await look.messages(test_id) if message.startswith("step")]
    assert told == [f"step {step}" for step in range(100)]


async def test_a_job_that_comes_back_to_its_own_worker_is_not_played_twice(
    nats: Connection, streams: Streams, look: Runs, eventually: Eventually
) -> None:
    done = asyncio.Event()

    async def waits(run: RunHandle, job: GameJob) -> None:
        await run.progress("playing")
        await done.wait()
        await run.complete(1, {})

    async with working(nats, waits) as worker:
        test_id = await runs.submit(event_log(streams), JOB)
        await look.said(test_id, "playing")
        await nak(nats, worker._playing[test_id].delivery)

        async def redelivered() -> bool:
            return worker._playing[test_id].delivery.delivered == 2

        await eventually(redelivered, within_s=20)
        done.set()
        assert (await look.ended(test_id)).attempt == 1
        await look.no_jobs()


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"not JSON", "invalid_job"),
        (b"\xff\xfe", "invalid_job"),
        (b"[]", "invalid_job"),
        (b'{"gameUrl": "https://game.example/"}', "invalid_job"),
        (b'{"gameUrl": "https://game.example/", "title": "G", "budgetSeconds": 1e9}', "invalid_job"),
        (b'{"gameUrl": "https://game.example/", "title": "G", "seed": -1}', "invalid_job"),
        (b'{"gameUrl": "ftp://game.example/", "title": "G"}', "url_refused"),
        (b'{"gameUrl": "file:///etc/passwd", "title": "G"}', "url_refused"),
    ],
)
async def test_a_job_that_makes_no_sense_ends_its_run_with_the_reason(
    nats: Connection, streams: Streams, look: Runs, payload: bytes, code: str
) -> None:
    test_id = identity.new_test_id()
    async with working(nats, plays):
        await streams.store(subjects.job(test_id), payload)
        assert (await look.ended(test_id)).status == "failed"
        await look.no_jobs()
    [event] = await look.events(test_id)
    assert event["data"] == {"code": code}


async def test_a_job_under_no_tests_subject_is_removed(nats: Connection, streams: Streams, look: Runs) -> None:
    async with working(nats, plays):
        await streams.store("jobs.test.NOT-AN-ID", b"{}")
        await look.no_jobs()
        test_id = await runs.submit(event_log(streams), JOB)
        await look.ended(test_id)


async def test_a_job_alone_makes_a_run(nats: Connection, streams: Streams, look: Runs) -> None:
    test_id = identity.new_test_id()
    async with working(nats, plays):
        await streams.store(subjects.job(test_id), b'{"gameUrl": "https://GAME.example", "title": "By hand"}')
        snapshot = await look.ended(test_id)
    assert (snapshot.status, snapshot.title, snapshot.game_url) == (
        "completed",
        "By hand",
        "https://game.example/",
    )


async def test_a_player_that_fails_or_tells_no_result_fails_its_run_only(
    nats: Connection, streams: Streams, look: Runs
) -> None:
    async def odd(run: RunHandle, job: GameJob) -> None:
        if job.seed == 1:
            raise RuntimeError("out of ideas")
        if job.seed == 3:
            await plays(run, job)

    ids = [await runs.submit(event_log(streams), runs.make_job(JOB.game_url, "Game", 5, seed)) for seed in (1, 2, 3)]
    async with working(nats, odd):
        ends = [await look.ended(test_id) for test_id in ids]
        await look.no_jobs()
    assert [(end.status, end.error) for end in ends] == [
        ("failed", "The agent failed: out of ideas"),
        ("failed", "The agent ended without a result"),
        ("completed", None),
    ]


async def test_a_player_that_never_ends_is_stopped(
    nats: Connection, streams: Streams, look: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "PLAYER_GRACE_S", -4.5)  # of a budget of 5 s
    async with working(nats, hangs):
        test_id = await runs.submit(event_log(streams), JOB)
        snapshot = await look.ended(test_id)
    assert snapshot.error == "The agent was still busy after 0.5 s and was stopped"


async def test_a_worker_that_cannot_play_gives_the_job_back_three_times(
    nats: Connection, streams: Streams, look: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "AGAIN_DELAY_S", 0.05)

    async def cannot(run: RunHandle, job: GameJob) -> None:
        raise TryAgain("No Chromium could be started.")

    async with working(nats, cannot) as worker:
        test_id = await runs.submit(event_log(streams), JOB)
        snapshot = await look.ended(test_id)
        await look.no_jobs()
    assert snapshot.error is not None
    assert "three workers were lost" in snapshot.error
    told = await look.messages(test_id)
    assert told.count("This worker cannot play on: No Chromium could be started.") == 3
    assert worker.statistics().ends["again"] == 3


async def test_stopping_while_the_broker_is_away_does_not_take_for_ever(
    nats_server: EmbeddedServer, nats: Connection, streams: Streams, look: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with working(nats, hangs):
        test_id = await runs.submit(event_log(streams), JOB)
        await look.said(test_id, "hanging")
        nats_server.child.signal(signal.SIGKILL)
        await nats_server.child.wait()
        stopping_at = fair_time()
    assert fair_time() - stopping_at < 25  # the lease is 30 s
    assert "left to its lease" in caplog.text
