"""`watch` and `submit` against a real edge, through a proxy that cuts, stalls and refuses connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from broker.contract import ids
from broker.contract.errors import BadInput, InvalidTestId, NotFound
from broker.jetstream.api import Streams
from testcast import ConnectionLost, EdgeRefused, Event, Reset, State, Watch, submit, watch
from testcast.client import watch as client
from testcast.client.events import Item
from testcast.client.rpc import RpcClient
from tests.conftest import MakeEdge, Stack
from tests.harness import NO_SUCH_TEST, begin, publish, until
from tests.proxy import Proxy


class Seen:
    """Iterates over a watch in the background and keeps what comes."""

    def __init__(self, source: Watch) -> None:
        self.source = source
        self.items: list[Item] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for item in self.source:
            self.items.append(item)

    @property
    def messages(self) -> list[str]:
        return [each.message if isinstance(each, Event) else f"reset {each.reason}" for each in self.items]

    async def has(self, message: str, *, within_s: float = 15.0) -> None:
        """Waits until an event with this message has come."""

        def there() -> bool:
            if self.task.done():
                self.task.result()
            return message in self.messages

        await until(there, within_s=within_s, what=f"{message!r} among {self.messages}")


@asynccontextmanager
async def seen(source: Watch) -> AsyncIterator[Seen]:
    running = Seen(source)
    try:
        yield running
    finally:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays of 50 ms instead of seconds."""
    monkeypatch.setattr(client, "delay_s", lambda failures, chance: 0.05)
    monkeypatch.setattr(client, "POLL_EVERY_S", 0.05)


async def test_a_whole_run_live_with_its_verdict(stack: Stack, stack_streams: Streams) -> None:
    run = await begin(stack_streams)
    source = watch(stack.edge_url, run)
    async with seen(source) as viewer:
        await viewer.has("Running")
        await publish(stack_streams, run, "Looking", phase="phase1", colour="blue")
        await publish(stack_streams, run, "Done", "complete", data={"score": 80})
        await viewer.task
    assert viewer.messages == ["Queued", "Running", "Looking", "Done"]
    assert source.verdict == "completed"
    looking = viewer.items[2]
    assert isinstance(looking, Event)
    assert (looking.test_id, looking.type, looking.phase) == (run, "progress", "phase1")
    assert b'"colour":"blue"' in looking.raw
    assert source.position == viewer.items[-1].seq  # type: ignore[union-attr]
    assert source.statistics() == (source.position, 4, 0, 1, 0, 0)
    assert source.epoch


async def test_an_ended_run_and_a_position_behind_its_end(stack: Stack, stack_streams: Streams) -> None:
    run = await begin(stack_streams)
    await publish(stack_streams, run, "Broken", "error", status="failed")
    source = watch(stack.edge_url, run)
    found = [each async for each in source]
    assert len(found) == 3
    again = watch(stack.edge_url, run, after=source.position, epoch=source.epoch)
    assert [each async for each in again] == []
    assert (source.verdict, again.verdict) == ("failed", "failed")


async def test_resets_say_why(stack: Stack, stack_streams: Streams) -> None:
    run = await begin(stack_streams)
    ack = await publish(stack_streams, run, "Done", "complete")
    for after, epoch, reason in ((ack.seq + 1000, None, "ahead"), (ack.seq, "another", "epoch")):
        found = [each async for each in watch(stack.edge_url, run, after=after, epoch=epoch)]
        assert isinstance(found[0], Reset)
        assert found[0].reason == reason
        assert len(found) == 4


@pytest.mark.usefixtures("quick")
async def test_a_cut_connection_resumes_each_event_once(stack: Stack, stack_streams: Streams) -> None:
    run = await begin(stack_streams)
    states: list[State] = []
    async with Proxy(stack.edge.port) as proxy, seen(watch(proxy.url, run, on_state=states.append)) as viewer:
        for number in range(12):
            await publish(stack_streams, run, f"step {number}")
            if number % 4 == 1:
                await viewer.has(f"step {number}")
                proxy.cut()
        await publish(stack_streams, run, "Done", "complete")
        await viewer.task
        assert proxy.upgrades > 1
    assert viewer.messages == ["Queued", "Running", *(f"step {number}" for number in range(12)), "Done"]
    assert {each.kind for each in states} >= {"waiting", "live"}


@pytest.mark.usefixtures("quick")
async def test_without_sockets_it_polls_and_comes_back(stack: Stack, stack_streams: Streams) -> None:
    run = await begin(stack_streams)
    states: list[State] = []
    async with Proxy(stack.edge.port) as proxy, seen(watch(proxy.url, run, on_state=states.append)) as viewer:
        await viewer.has("Running")
        proxy.sockets = "refuse"
        proxy.cut()
        await publish(stack_streams, run, "polled")
        await viewer.has("polled")
        await until(lambda: states[-1].kind == "polling", what="polling")
        await until(lambda: states[-1].attempt > 12, what="attempts beyond ten, since polls are answered")
        proxy.sockets = "pass"
        await until(lambda: states[-1].kind == "live", what="a socket again")
        await publish(stack_streams, run, "Done", "complete")
        await viewer.task
    assert viewer.messages == ["Queued", "Running", "polled", "Done"]


@pytest.mark.usefixtures("quick")
async def test_a_run_can_end_by_polling_alone(stack: Stack, stack_streams: Streams) -> None:
    run = await begin(stack_streams)
    await publish(stack_streams, run, "Done", "complete")
    async with Proxy(stack.edge.port) as proxy:
        proxy.sockets = "refuse"
        source = watch(proxy.url, run)
        assert len([each async for each in source]) == 3
    assert source.verdict == "completed"
    numbers = source.statistics()
    assert (numbers.events, numbers.connections, numbers.polls) == (3, 0, 1)


@pytest.mark.usefixtures("quick")
async def test_a_proxy_without_websockets_is_polled_at_once_and_asked_again(
    stack: Stack, stack_streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_TRY_SOCKET_EVERY_S", 0.3)
    run = await begin(stack_streams)
    states: list[State] = []
    async with Proxy(stack.edge.port) as proxy:
        proxy.sockets = "strip"
        async with seen(watch(proxy.url, run, on_state=states.append)) as viewer:
            await viewer.has("Running")
            assert proxy.upgrades == 1
            await publish(stack_streams, run, "polled")
            await viewer.has("polled")
            assert {(each.kind, each.refused) for each in states} == {("polling", True)}
            proxy.sockets = "pass"
            await until(lambda: states[-1].kind == "live", what="a socket")
            await publish(stack_streams, run, "Done", "complete")
            await viewer.task
    assert viewer.messages == ["Queued", "Running", "polled", "Done"]


@pytest.mark.usefixtures("quick")
async def test_ten_failed_attempts_are_enough(stack: Stack, stack_streams: Streams) -> None:
    run = await begin(stack_streams)
    attempts: list[int] = []
    async with Proxy(stack.edge.port) as proxy:
        source = watch(proxy.url, run, on_state=lambda state: attempts.append(state.attempt))
        async with seen(source) as viewer:
            await viewer.has("Running")
            proxy.fail("refuse")
            proxy.cut()
            with pytest.raises(ConnectionLost) as caught:
                await viewer.task
    assert caught.value.after == source.position > 0
    assert sorted(set(attempts)) == list(range(1, 11))
    assert source.verdict is None


async def test_a_half_open_connection_is_left(
    make_edge: MakeEdge, streams: Streams, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(client, "SILENCE_S", 1.5)
    edge = await make_edge(TESTCAST_EDGE_HEARTBEAT_S="0.3")
    run = await begin(streams)
    states: list[State] = []
    async with Proxy(edge.port) as proxy, seen(watch(proxy.url, run, on_state=states.append)) as viewer:
        await viewer.has("Running")
        proxy.sockets = "stall"
        await publish(streams, run, "held")
        await until(lambda: states and states[0].detail == "the edge does not respond", what="silence noticed")
        proxy.sockets = "pass"
        await viewer.has("held")
    assert viewer.messages == ["Queued", "Running", "held"]


async def test_an_edge_that_restarts_is_come_back_to(make_edge: MakeEdge, streams: Streams) -> None:
    edge = await make_edge()
    run = await begin(streams)
    states: list[State] = []
    async with seen(watch(edge.url, run, on_state=states.append)) as viewer:
        await viewer.has("Running")
        await edge.stop()
        await publish(streams, run, "meanwhile")
        await edge.start()
        await publish(streams, run, "Done", "complete")
        async with asyncio.timeout(30):
            await viewer.task
    assert viewer.messages == ["Queued", "Running", "meanwhile", "Done"]
    assert states[0].detail == "the edge is restarting"


async def test_all_runs_from_now_on(make_edge: MakeEdge, streams: Streams) -> None:
    edge = await make_edge()
    old = await begin(streams, "old")
    async with RpcClient(edge.url) as rpc:

        async def listed() -> bool:
            return bool((await rpc.call("listTests"))["tests"])

        await until(listed, what="the edge knows the old run")
    async with seen(watch(edge.url)) as viewer:

        async def joined() -> bool:
            await publish(streams, old, "tick")
            return "tick" in viewer.messages

        await until(joined, what="following the old run")
        new = await begin(streams, "new")
        await publish(streams, new, "Done", "complete")
        await viewer.has("Done")
    assert {each.test_id for each in viewer.items if isinstance(each, Event)} == {old, new}
    assert [each.message for each in viewer.items if each.test_id == new] == [  # type: ignore[union-attr]
        "Queued",
        "Running",
        "Done",
    ]
    assert "Queued" not in [each.message for each in viewer.items if each.test_id == old]  # type: ignore[union-attr]


async def test_what_is_wrong_is_said_at_once(stack: Stack) -> None:
    with pytest.raises(NotFound):
        await anext(aiter(watch(stack.edge_url, NO_SUCH_TEST)))
    with pytest.raises(InvalidTestId):
        watch(stack.edge_url, "nonsense")
    with pytest.raises(BadInput):
        watch("nowhere/at/all", NO_SUCH_TEST)


async def test_what_is_no_edge_is_not_tried_again(nats_server: object, streams: Streams) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(EdgeRefused):
            await anext(aiter(watch(url, NO_SUCH_TEST)))
        with pytest.raises(EdgeRefused):
            await submit(url, "http://game.example/")


async def test_submit_gives_an_id_that_can_be_watched(stack: Stack) -> None:
    run = await submit(stack.edge_url, "http://127.0.0.1:9/", title="Mine", budget_seconds=7, seed=3)
    assert ids.parse_test_id(run) == run
    first = await anext(aiter(watch(stack.edge_url, run)))
    assert isinstance(first, Event)
    assert first.data == {"gameUrl": "http://127.0.0.1:9/", "title": "Mine", "budgetSeconds": 7.0, "seed": 3}


async def test_submit_says_what_is_wrong(stack: Stack) -> None:
    with pytest.raises(EdgeRefused) as caught:
        await submit(stack.edge_url, "ftp://game.example/")
    assert caught.value.by_caller
    with pytest.raises(ConnectionLost):
        await submit("http://127.0.0.1:1", "http://game.example/")
