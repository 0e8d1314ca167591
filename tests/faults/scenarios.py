"""Scenarios: each repeats one fault and measures the recovery of the parts that it affects.

`python -m tests.faults --scenario NAME [--rounds N]` prints each figure with its promised value. The exit status is 1
if a promise was not kept.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.local.child_process import Child
from tests.faults.checker import Fault, Verdict, check, quantile
from tests.faults.viewers import SocketViewer
from tests.faults.workload import heads, record_stored
from tests.faults.world import Edge, Size, World
from tests.harness import event_log, until

_PLAYER: Final = Path(__file__).parents[1] / "integration" / "step_agent.py"
_GAP_S: Final = 3.0


class Figure(NamedTuple):
    """Measured values in seconds, and the promised limit."""

    name: str
    values: list[float]
    promised_s: float | None = None

    @property
    def kept(self) -> bool:
        """Whether p99 is within the promise."""
        return self.promised_s is None or quantile(self.values, 0.99) <= self.promised_s

    def __str__(self) -> str:
        p50, p99 = quantile(self.values, 0.5), quantile(self.values, 0.99)
        promise = (
            "" if self.promised_s is None else f" (promised {self.promised_s:g}{'' if self.kept else ', NOT KEPT'})"
        )
        return f"{self.name}: n {len(self.values)}, median {p50:.2f} s, p99 {p99:.2f} s{promise}"


Report = tuple[list[Figure], Verdict | None]
Scenario = Callable[[Path, int, int], Coroutine[Any, Any, Report]]


async def edge_killed(directory: Path, seed: int, rounds: int) -> Report:
    """kill -9 of an edge: time until its viewers are current on another one."""
    size = Size(events_per_s=10, sockets=200, streams=0, pollers=0, long_polls=0, tails=0, pages=0)
    victims: list[set[str]] = []
    async with World(directory, size, seed) as world:
        for number in range(rounds):
            edge = world.edges[number % len(world.edges)]
            victims.append(_at(world, edge))
            await _round(world, "edge killed", edge.kill, edge.start)
        verdict = await _judge(world)
    took = [each.by_viewer[name] for each, names in zip(verdict.recoveries, victims, strict=True) for name in names]
    return [Figure("viewers of a killed edge current on another", took, 5.0)], verdict


async def edge_drained(directory: Path, seed: int, rounds: int) -> Report:
    """SIGTERM of an edge: no viewer waits more than 1 s beyond the retry hint, which is at most 1 s."""
    size = Size(events_per_s=10, sockets=200, streams=0, pollers=0, long_polls=0, tails=0, pages=0)
    async with World(directory, size, seed) as world:
        for number in range(rounds):
            edge = world.edges[number % len(world.edges)]

            async def drain(edge: Edge = edge) -> None:
                edge.signal(signal.SIGTERM)
                await until(lambda: edge.process.child.exit_code is not None, within_s=20, what="a drained edge ends")

            await _round(world, "edge drained", drain, edge.start)
        verdict = await _judge(world)
    return [Figure("longest wait for an acknowledged event", [verdict.longest_wait_s], 2.0)], verdict


async def leader_killed(directory: Path, seed: int, rounds: int, events_per_s: float = 10, tails: int = 0) -> Report:
    """kill -9 of the node that leads EVENTS: time until all runs publish and all viewers are current."""
    size = Size(events_per_s=events_per_s, sockets=100, streams=0, pollers=0, long_polls=0, tails=tails, pages=0)
    async with World(directory, size, seed) as world:
        for _ in range(rounds):
            leader = await world.cluster.leader()

            async def back(start: Callable[[], None] = leader.start) -> None:
                await asyncio.sleep(_GAP_S)
                start()

            await _round(world, "broker leader killed", leader.kill, back)
        verdict = await _judge(world)
    published = [each.publishing_s for each in verdict.recoveries]
    current = [each.took_s for each in verdict.recoveries]
    return [Figure("publishing again", published, 10.0), Figure("every viewer current", current, 12.0)], verdict


async def broker_restarted(directory: Path, seed: int, rounds: int) -> Report:
    """kill -9 of a single broker, restarted after 3 s: time until viewers and lists are current."""
    size = Size(brokers=1, events_per_s=10, sockets=100, streams=0, pollers=0, long_polls=0, tails=0, pages=0)
    lists: list[float] = []
    async with World(directory, size, seed) as world:
        node = world.cluster.nodes[0]
        for _ in range(rounds):
            before = await heads(world.cluster.streams, world.publishing.runs)
            listing: list[asyncio.Task[float]] = []

            async def back(before: dict[str, int] = before, listing: list[asyncio.Task[float]] = listing) -> None:
                await asyncio.sleep(_GAP_S)
                node.start()
                await until(lambda: _answers(node.port), within_s=20, what="the broker is back")
                listing.append(asyncio.create_task(_until_listed(world, before)))

            await _round(world, "broker restarted", node.kill, back)
            lists.append(await listing[0])
        verdict = await _judge(world)
    away = [each.fault.healed - each.fault.began for each in verdict.recoveries]
    published = [each.publishing_s - s for each, s in zip(verdict.recoveries, away, strict=True)]
    current = [each.took_s - s for each, s in zip(verdict.recoveries, away, strict=True)]
    figures = [
        Figure("publishing again after the broker is back", published),
        Figure("every viewer current after the broker is back", current, 3.0),
    ]
    return [*figures, Figure("listTests on every edge not stale and with news", lists, 3.0)], verdict


async def agent_killed(directory: Path, seed: int, rounds: int) -> Report:
    """kill -9 of the worker that plays a run: time until the card shows stalled and another worker begins attempt 2."""
    stalled, again = [], []
    size = Size(brokers=1, edges=1, runs=0, sockets=0, streams=0, pollers=0, long_polls=0, tails=0, pages=0)
    async with World(directory, size, seed) as world:
        url, streams = world.cluster.url, world.cluster.streams
        for number in range(rounds):
            test_id = await runs.submit(event_log(streams), runs.make_job("http://game.example/", None, 600, 1))
            first = _worker(url, directory, f"first-{number}")
            second = None
            try:
                await until(partial(_attempt, streams, test_id, 1), within_s=20, what="attempt 1")
                second = _worker(url, directory, f"second-{number}")
                first.signal(signal.SIGKILL)
                died = time.monotonic()
                await until(partial(_is_stalled, world, test_id), within_s=60, what="stalled")
                stalled.append(time.monotonic() - died)
                await until(partial(_attempt, streams, test_id, 2), within_s=90, what="attempt 2")
                again.append(time.monotonic() - died)
                await runs.cancel(event_log(streams), test_id)
            finally:
                for child in filter(None, (first, second)):
                    child.signal(signal.SIGKILL)
    return [Figure("its card says stalled", stalled, 30.0), Figure("attempt 2 by another worker", again, 40.0)], None


SCENARIOS: Final[dict[str, Scenario]] = {
    "edge-killed": edge_killed,
    "edge-drained": edge_drained,
    "leader-killed": leader_killed,
    "leader-killed-busy": partial(leader_killed, events_per_s=50, tails=2),
    "broker-restarted": broker_restarted,
    "agent-killed": agent_killed,
}


async def _round(
    world: World, kind: str, strike: Callable[[], Awaitable[None]], heal: Callable[[], Awaitable[None]]
) -> None:
    began = time.monotonic()
    await strike()
    await heal()
    healed = time.monotonic()
    await world.settled(healed, within_s=60)
    world.history.faults.append(Fault(kind, "", began, healed, time.monotonic()))
    await world.cluster.whole()
    await asyncio.sleep(_GAP_S)


async def _judge(world: World) -> Verdict:
    await world.publishing.finish()
    await world.crowd.current(await until(world.heads, within_s=30) or {}, 60)
    await world.crowd.leave()
    world.publishing.record(world.history)
    await record_stored(world.cluster.streams, world.publishing.runs, world.history)
    return check(world.history)


def _at(world: World, edge: Edge) -> set[str]:
    return {each.name for each in world.crowd.viewers if isinstance(each, SocketViewer) and each.edge == edge.url}


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _until_listed(world: World, before: dict[str, int]) -> float:
    """Seconds until every edge's list is not stale and has a newer event of each run."""
    since = time.monotonic()
    async with httpx.AsyncClient(trust_env=False) as http:
        for edge in world.edges:

            async def news(url: str = edge.url) -> bool:
                answer = (await http.get(f"{url}/rpc/listTests")).json()
                listed = {each["testId"]: each["seq"] for each in answer["tests"]}
                return "stale" not in answer and all(listed[run] > seq for run, seq in before.items())

            await until(news, within_s=30, what="a list with news")
    return time.monotonic() - since


def _worker(url: str, directory: Path, name: str) -> Child:
    env = {key: value for key, value in os.environ.items() if not key.startswith("TESTCAST_")}
    return Child([sys.executable, str(_PLAYER), url, name, "100000"], directory / f"{name}.log", env)


async def _attempt(streams: Streams, test_id: str, number: int) -> bool:
    snapshot = (await runs.read(event_log(streams), test_id)).snapshot
    return snapshot is not None and snapshot.attempt >= number


async def _is_stalled(world: World, test_id: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{world.edges[0].url}/rpc/getTest", params={"testId": test_id})
    return bool(answer.is_success and answer.json()["test"].get("stalled"))
