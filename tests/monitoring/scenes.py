"""Faults that make alerts fire, each caused for real in a `World`. Every scene but the last ends what it began."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from broker.contract import subjects
from tests.faults.link import CLEAR, Link, Weather
from tests.harness import publish, republish, until
from tests.monitoring import files
from tests.monitoring.world import Edge, World

LONG: Final = {"TestcastQueueGrowing": ("> 900", "> 5"), "TestcastRunsNotDeleted": ("> 3600", "> 80")}
"""Thresholds that are replaced in all trials: nobody waits a quarter of an hour."""
SHORT: Final = LONG | {"TestcastEdgeStale": ("> 30", "> 3"), "TestcastCanaryMissing": ("> 60", "> 6")}
"""Those that are replaced where there is little time."""


_LOOK_S: Final = 0.5
_LIVE: Final = 'sum by (instance) (testcast_edge_sessions{state="live", process=""}) >= 4'


class Scene(NamedTuple):
    """One fault."""

    name: str
    alerts: tuple[str, ...]
    """They fire while it lasts."""
    cause: Callable[[World, AsyncExitStack], Awaitable[None]]
    """Causes it, and pushes its end on the stack."""
    within_s: float = 60.0


# -- every query ----------------------------------------------------------------------------------------------------


async def empty_queries(world: World, within_s: float = 60.0) -> list[str]:
    """Queries of the dashboard and expressions of recording rules that have had no value until the end of this time."""
    left = [(each.panel, each.expr) for each in files.queries()]
    left += [(each.name, each.expr) for each in files.rules() if not each.alert]

    async def none_left() -> bool:
        left[:] = [(name, expr) for name, expr in left if not await world.prometheus.query(expr)]
        await asyncio.sleep(_LOOK_S if left else 0)
        return not left

    with contextlib.suppress(AssertionError):
        await until(none_left, within_s=within_s)
    return [f"{name}: {expr}" for name, expr in left]


async def unread_metrics(world: World) -> list[str]:
    """Metrics of the alert rules' expressions that no target shows. An alert on a name that nobody has never fires."""
    shown = await world.prometheus.names()
    return sorted(name for rule in files.rules() for name in files.metrics_of(rule.expr) if name not in shown)


# -- faults ---------------------------------------------------------------------------------------------------------


async def _broker_stops(world: World, stack: AsyncExitStack) -> None:
    await world.broker.stop()
    stack.push_async_callback(world.broker.start)


async def _broker_leaves_a_busy_agent(world: World, stack: AsyncExitStack) -> None:
    await world.submit("floods")
    await until(
        lambda: world.prometheus.query('max_over_time(testcast_runs{status="queued"}[5s]) == 0'),
        within_s=60,
        what="the run that floods is played",
    )
    await _broker_stops(world, stack)


async def _edge_is_killed(world: World, stack: AsyncExitStack) -> None:
    world.single.child.signal(signal.SIGKILL)
    await world.single.child.wait()
    stack.push_async_callback(world.single.start)


async def _edge_drains(world: World, stack: AsyncExitStack) -> None:
    """A viewer that does not go keeps the edge from ending for the minute that it is given."""
    slow = await _other_edge(world, stack, TESTCAST_EDGE_DRAIN_S="120")
    reader, writer = await asyncio.open_connection("127.0.0.1", slow.port)
    stack.callback(writer.close)
    writer.write(
        f"GET /ws?testId={world.test_id} HTTP/1.1\r\nHost: 127.0.0.1:{slow.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b"101" in await reader.readline()
    slow.child.signal(signal.SIGTERM)


async def _workers_die(world: World, stack: AsyncExitStack) -> None:
    for _ in range(4):
        restarts = await _restarts(world)
        children = await asyncio.to_thread(_children, world.supervised.child.pid)
        _kill(children[0])
        await until(partial(_more_restarts, world, restarts), within_s=30, what="it is replaced")


async def _broker_is_slow(world: World, stack: AsyncExitStack) -> None:
    """The way of one edge to the broker takes 0.8 s in each direction."""
    link = await stack.enter_async_context(Link(world.broker.port))
    await _other_edge(world, stack, f"nats://127.0.0.1:{link.port}")
    link.weather = Weather(delay_s=0.8)
    stack.callback(setattr, link, "weather", CLEAR)


async def _viewers_stall(world: World, stack: AsyncExitStack) -> None:
    for _ in range(15):
        connection = await stack.enter_async_context(world.viewer(world.single))
        connection.transport.pause_reading()
        stack.callback(connection.transport.abort)  # a closing handshake waits 10 s for what is not read
    task = asyncio.create_task(_publish_much(world))
    stack.callback(task.cancel)


async def _publish_much(world: World) -> None:
    while True:
        await publish(world.streams, world.test_id, "much", data={"text": "x" * 30_000})
        await asyncio.sleep(0.02)


class _OneWay(Link):
    """A link whose clients hear the server and are not heard while `deaf` is set."""

    deaf = False

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        to_server = sink.get_extra_info("peername")[1] == self.target_port
        while data := await source.read(65_536):
            while to_server and self.deaf:
                await asyncio.sleep(0.02)
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError


async def _live_events_are_lost(world: World, stack: AsyncExitStack) -> None:
    """The broker does not pass events on for a moment, and then does not hear the edge."""
    link = await stack.enter_async_context(_OneWay(world.broker.port))
    await _other_edge(world, stack, f"nats://127.0.0.1:{link.port}")
    await until(lambda: world.prometheus.query(_LIVE), within_s=60, what="viewers are back")
    link.deaf = True
    stack.callback(setattr, link, "deaf", False)
    await republish(world.streams, on=False)
    await publish(world.streams, world.test_id, "nobody hears of it")
    await republish(world.streams, on=True)


async def _strangers_knock(world: World, stack: AsyncExitStack) -> None:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Origin": "https://elsewhere.example",
    }
    async with httpx.AsyncClient(base_url=world.single.url, timeout=30, trust_env=False) as client:
        for _ in range(100):
            assert (await client.get("/ws", headers=headers)).status_code == 403


async def _edge_fills(world: World, stack: AsyncExitStack) -> None:
    small = await _other_edge(world, stack, TESTCAST_EDGE_MAX_SOCKETS="10")
    for _ in range(5):
        await stack.enter_async_context(world.viewer(small))  # and the four that watch


async def _snapshots_are_refused(world: World, stack: AsyncExitStack) -> None:
    """Nobody answers for the bucket: its stream takes no more messages."""
    config = (await world.streams.api("STREAM.INFO.KV_RUNS"))["config"]

    async def whole() -> None:
        await world.streams.api("STREAM.UPDATE.KV_RUNS", config)

    stack.push_async_callback(whole)
    await world.streams.api("STREAM.UPDATE.KV_RUNS", config | {"max_bytes": 1_000, "discard": "new"})


async def _agent_leaves(world: World, stack: AsyncExitStack) -> None:
    assert world.agent is not None
    await world.agent.stop(10)

    async def back() -> None:
        world.start_agent()

    stack.push_async_callback(back)
    await world.submit("plays")


async def _runs_fail(world: World, stack: AsyncExitStack) -> None:
    for _ in range(60):  # more than have completed before
        await world.submit("fails")


async def _stream_fills(world: World, stack: AsyncExitStack) -> None:
    info = await world.streams.api(f"STREAM.INFO.{subjects.EVENTS}")
    config: dict[str, Any] = info["config"]

    async def whole() -> None:
        await world.streams.api(f"STREAM.UPDATE.{subjects.EVENTS}", config)

    stack.push_async_callback(whole)
    limited = config | {"max_bytes": int(info["state"]["bytes"] * 1.1), "discard": "old"}
    await world.streams.api(f"STREAM.UPDATE.{subjects.EVENTS}", limited)


async def _all_edges_are_killed(world: World, stack: AsyncExitStack) -> None:
    for edge in (world.single, world.supervised):
        for pid in (*await asyncio.to_thread(_children, edge.child.pid), edge.child.pid):
            _kill(pid)


QUICK: Final = (
    Scene("the broker stops", ("TestcastBrokerAway", "TestcastEdgeStale", "TestcastEdgeDegraded"), _broker_stops),
    Scene("one edge is killed", ("TestcastEdgeDown",), _edge_is_killed),
)
"""What a few seconds allow."""
SCENES: Final = (
    Scene("workers die", ("TestcastProcessRestarting",), _workers_die),
    Scene("origins that are not allowed ask for sockets", ("TestcastHandshakesRefused",), _strangers_knock),
    Scene("an edge has nearly all the sockets that it may have", ("TestcastSocketsNearLimit",), _edge_fills),
    Scene("runs fail", ("TestcastRunsFailing",), _runs_fail),
    Scene("viewers stop reading", ("TestcastViewersBehind",), _viewers_stall, 120),
    Scene("live events are lost and cannot be read", ("TestcastGapsNotRepaired",), _live_events_are_lost, 90),
    Scene("the bucket takes no snapshots", ("TestcastProjectorFailing",), _snapshots_are_refused, 120),
    Scene("the stream reaches its limit", ("TestcastStreamNearlyFull",), _stream_fills),
    Scene("the way to the broker is slow", ("TestcastCanarySlow",), _broker_is_slow, 120),
    Scene("an edge drains and does not end", ("TestcastEdgeNotReady",), _edge_drains),
    Scene("one edge is killed", ("TestcastEdgeDown",), _edge_is_killed),
    Scene("the agent leaves", ("TestcastNoAgents", "TestcastQueueGrowing"), _agent_leaves, 120),
    Scene(
        "the broker stops",
        (
            "TestcastBrokerAway",
            "TestcastEdgeStale",
            "TestcastEdgeDegraded",
            "TestcastCanaryMissing",
            "TestcastAgentOutboxFull",
            "TestcastRunsNotDeleted",
        ),
        _broker_leaves_a_busy_agent,
        180,
    ),
    Scene("all edges are killed", ("TestcastNoEdges",), _all_edges_are_killed),
)
"""All of them. Each alert is in one of them."""


# -- hands ----------------------------------------------------------------------------------------------------------


async def _other_edge(world: World, stack: AsyncExitStack, nats_url: str = "", **settings: str) -> Edge:
    """An edge with other settings, in the place and on the ports of `world.single` until the stack is closed."""
    await world.single.stop()
    mine = world.single
    ports = {"TESTCAST_EDGE_PORT": str(mine.port), "TESTCAST_METRICS_PORT": str(mine.metrics_port)}
    other = Edge(nats_url or world.broker.url, world.directory, **ports, **settings)
    other.port, other.url, other.ws_url, other.metrics_port = mine.port, mine.url, mine.ws_url, mine.metrics_port
    stack.push_async_callback(_replaced_by, other, mine)
    return await other.start()


async def _replaced_by(stopped: Edge, started: Edge) -> None:
    stopped.child.signal(signal.SIGKILL)
    await stopped.child.wait()
    await started.start()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(each) for task in tasks for each in task.read_text().split()]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def _restarts(world: World) -> float:
    found = await world.prometheus.query("sum(testcast_process_restarts_total)")
    return found[0].value if found else 0.0


async def _more_restarts(world: World, before: float) -> bool:
    return await _restarts(world) > before
