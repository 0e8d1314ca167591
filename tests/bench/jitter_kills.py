"""The jitter profile while the broker's leader is killed twice and one of two edges once."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from agent_worker.publish.run import TestRun
from broker.clock import now_ms
from broker.contract.events import Event
from tests.bench import report
from tests.bench.host import MEMORY
from tests.bench.jitter import AWAY_S, CUT_EVERY_S, PER_S, REPLAY, replay_cells, resuming
from tests.bench.programs import Figures, Load, open_load
from tests.bench.scenes import NO_ADDRESS_LIMIT
from tests.faults.cluster import Cluster
from tests.harness import EdgeProcess, begin, event_log

_FIRST_N: Final = 1_000_001
_DOWN_S: Final = 3.0
"""How long a killed process is away."""


class Window(NamedTuple):
    """What viewers met between two marks."""

    name: str
    got: Figures
    resumed: int
    """Viewers that came back and had everything."""


class Installation(NamedTuple):
    """Three brokers, two edges, one run."""

    cluster: Cluster
    edges: list[EdgeProcess]
    run: TestRun


@asynccontextmanager
async def _installation() -> AsyncIterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=MEMORY) as name:
        directory = Path(name)
        async with Cluster(directory / "cluster") as cluster:
            edges = [await EdgeProcess(cluster.url, directory, **NO_ADDRESS_LIMIT).start() for _ in range(2)]
            try:
                test_id = await begin(cluster.streams)
                async with TestRun.join(cluster.url, test_id, worker="bench") as run:
                    await run.flush()
                    yield Installation(cluster, edges, run)
            finally:
                for edge in edges:
                    await edge.stop()


async def _kill_leader(made: Installation) -> None:
    leader = await made.cluster.leader()
    await leader.kill()
    await asyncio.sleep(_DOWN_S)
    leader.start()


async def _kill_edge(made: Installation) -> None:
    edge = made.edges[0]
    edge.child.signal(signal.SIGKILL)
    await asyncio.sleep(_DOWN_S)
    await edge.start()


Strike = Callable[[Installation], Awaitable[None]]
_PLAN: Final[dict[int, tuple[str, Strike | None]]] = {
    20: ("a leader's election", _kill_leader),
    44: ("one of two edges killed", _kill_edge),
    80: ("another election", _kill_leader),
    104: ("quiet again", None),
}
"""By the number of events published: the window that begins, and what is done then."""


async def _play(made: Installation, crowd: Load, events: int, scale: float) -> list[Window]:
    windows: list[Window] = []
    name, resumed, strikes = "quiet", 0, []
    plan = {int(at * scale): step for at, step in _PLAN.items()}

    def mark(got: Figures) -> None:
        nonlocal resumed
        windows.append(Window(name, got, got["resumed"] - resumed))
        resumed = got["resumed"]
        report.say(f"{name}: {windows[-1].resumed} came back, replay p99 {got['replay_p99_ms']:.0f} ms")

    began = time.monotonic()
    for number in range(events):
        if number in plan:
            mark(await crowd.report())
            name, strike = plan[number]
            if strike is not None:
                strikes.append(asyncio.ensure_future(strike(made)))
        data = {"n": _FIRST_N + number, "ns": time.time_ns()}
        await made.run.publish(Event(type="progress", message="Testing WASD movement", timestamp=now_ms(), data=data))
        await asyncio.sleep(max(0.0, began + (number + 1) / PER_S - time.monotonic()))
    await asyncio.gather(*strikes)
    crowd.tell("calm")
    mark(await crowd.received(events, within_s=60))
    return windows


async def jitter_kills(programs: Path, quick: bool) -> str:
    """The profile on two edges and three brokers, of which some are killed."""
    viewers, events = (1_000, 60) if quick else (10_000, 120)
    async with _installation() as made:
        first = await event_log(made.cluster.streams).last(made.run.test_id) + 1
        where = await resuming(made.edges, made.cluster.streams, made.run.test_id)
        async with open_load(programs, *where, "-n", viewers) as crowd:
            await crowd.line(within_s=60)
            crowd.tell(f"jitter {CUT_EVERY_S} {AWAY_S}")
            windows = await _play(made, crowd, events, events / 120)
        await made.run.flush()
        last = await event_log(made.cluster.streams).last(made.run.test_id)
    assert last == first + events - 1, "the sequences that viewers resume from are those of the events"
    total = windows[-1].got
    lost = viewers * events - total["events"]
    rows = [
        [
            each.name,
            f"{each.resumed:,}",
            *replay_cells(each.got),
            report.figure(each.got["p99_ms"]),
        ]
        for each in windows
    ]
    head = ["", "came back", *REPLAY, "live p99, ms"]
    text = (
        f"{viewers:,} viewers of one run on two edges and three brokers, {events} events at {PER_S:g} a second; "
        f"{total['cuts']:,} cuts, and what was killed is back after {_DOWN_S:g} s. Lost {lost}, twice or out of order "
        f"{total['disorders']}, gaps {total['gaps']}. All processes share two cores:"
    )
    return "\n".join([text, "", *report.table(head, rows)])
