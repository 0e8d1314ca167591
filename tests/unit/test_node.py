"""A node supervises its parts: one that fails is started again, and the node is not ready meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from broker.jetstream.connection import Connection
from tests.harness import free_port
from ws_edge import node as nodes
from ws_edge.config import EdgeConfig
from ws_edge.node import Node


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    """Never started; its broker is away."""
    monkeypatch.setattr(nodes, "_RESTART_S", 0.01)
    monkeypatch.setattr(nodes, "_PROVEN_S", 0.05)
    nats = Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test")
    made = Node(nats, EdgeConfig(), 1)
    yield made
    await made.stop()


async def test_a_part_that_fails_is_started_again(
    node: Node, eventually: Callable[..., Awaitable[object]], caplog: pytest.LogCaptureFixture
) -> None:
    starts = 0
    go_on = asyncio.Event()
    failing = asyncio.Event()

    async def part() -> None:
        nonlocal starts
        starts += 1
        if starts <= 2:
            raise RuntimeError("broken")
        await go_on.wait()

    async def watch() -> None:
        while not node.failed:
            await asyncio.sleep(0)
        failing.set()

    watching = asyncio.create_task(watch())
    node._run("part", part)
    await asyncio.wait_for(failing.wait(), 10)
    await eventually(lambda: starts == 3 and not node.failed)
    assert [record.message.split(";")[0] for record in caplog.records if "part" in record.message] == [
        "part has failed",
        "part has failed",
    ]
    await watching
    go_on.set()


async def test_a_part_that_ends_by_itself_has_failed(node: Node, eventually: Callable[..., Awaitable[object]]) -> None:
    async def part() -> None:
        return

    node.catalogue.filled.set()
    node._run("part", part)
    await eventually(lambda: node.failed == {"part"})
    assert not node.ready


async def test_a_part_that_is_done_has_not_failed(node: Node, eventually: Callable[..., Awaitable[object]]) -> None:
    done = asyncio.Event()

    async def part() -> None:
        done.set()

    node._run("part", part, ends=True)
    await done.wait()
    await eventually(lambda: all(task.done() for task in node._tasks))
    assert not node.failed


async def test_a_part_that_keeps_failing_is_never_counted_as_well_in_between(
    node: Node, eventually: Callable[..., Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_PROVEN_S", 1000.0)
    starts = 0
    seen: list[bool] = []

    async def part() -> None:
        nonlocal starts
        starts += 1
        seen.append(node.ready)
        await asyncio.sleep(0)
        seen.append(node.ready)
        raise RuntimeError("broken")

    node.catalogue.filled.set()
    node._run("part", part)
    await eventually(lambda: starts >= 4)
    assert not any(seen[2:]), "only before its first failure"


@pytest.mark.parametrize(
    ("filled", "draining", "failed", "ready"),
    [
        (True, False, (), True),
        (False, False, (), False),
        (True, True, (), False),
        (True, False, ("catalogue",), False),
    ],
)
@pytest.mark.parametrize("connected", [True, False])
async def test_a_node_is_ready_when_it_serves_as_well_as_any_other_could(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    filled: bool,
    draining: bool,
    failed: tuple[str, ...],
    ready: bool,
    connected: bool,
) -> None:
    """The broker may be away: it is away for every node."""
    monkeypatch.setattr(Connection, "connected", property(lambda _self: connected))
    if filled:
        node.catalogue.filled.set()
    node.draining = draining
    node.failed.update(failed)
    assert node.ready is ready
    assert node.statistics().failed == len(failed)


async def test_a_node_says_what_it_cannot_do(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = True
    monkeypatch.setattr(Connection, "connected", property(lambda _self: connected))
    node.catalogue.filled.set()
    assert node.degraded == []
    node.hub.stale = True
    assert [each.split(":")[0] for each in node.degraded] == ["the event stream has no leader"]
    node.hub.stale = False
    node.nats.storage.refused("EVENTS", "insufficient resources")
    assert [each.split(":")[0] for each in node.degraded] == ["the broker stores nothing new"]
    assert node.statistics().degraded == 1
    connected = False
    node.catalogue._lost_at = asyncio.get_running_loop().time() - 60
    first, second = node.degraded
    assert first.startswith("the broker cannot be reached")
    assert second.startswith("the list of tests is old: it was last current at 20")
    node.catalogue._lost_at = asyncio.get_running_loop().time()
    assert node.degraded == [], "a reconnect takes less than 5 s, and is not worth a word"


async def test_what_the_broker_denies_is_said_in_place_of_what_follows_from_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "connected", True)
    node.nats.denials.add('permissions violation for publish to "$js.api.stream.info.events"')
    assert any("denies this server's user" in reason for reason in node.degraded)
    assert not any("no leader" in reason or "$js" in reason for reason in node.degraded)
    assert "the list of tests is not filled yet" in node.degraded, "it was never current"
    node.nats.denials.forget_all()
    assert not any("denies" in reason for reason in node.degraded)
