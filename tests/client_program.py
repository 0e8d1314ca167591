"""A program that uses the whole Python API, in both forms. `make wheel` runs it where nothing but the client is
installed, and a test where everything is.

    python client_program.py http://127.0.0.1:8000 nats://127.0.0.1:4222
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import testcast
from testcast import sync
from testcast.client.events import Item

T = TypeVar("T")
PICTURE = bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + bytes(64) + bytes.fromhex("ffd9")


def messages(items: Iterable[Item]) -> list[str]:
    return [item.message for item in items if isinstance(item, testcast.Event)]


async def with_asyncio(edge: str, broker: str) -> None:
    async with testcast.TestRun.create(broker, title="over NATS") as run:
        await run.phase(1, "Loading level 1")
        await run.complete(score=78, metrics={"fps": 60})
    by_edge, by_broker = testcast.watch(edge, run.test_id), testcast.tail(broker, run.test_id)
    seen = messages([item async for item in by_edge])
    assert seen[-2:] == ["Loading level 1", "Test complete! Score 78/100"], seen
    assert messages([item async for item in by_broker]) == seen
    assert (by_edge.verdict, by_broker.verdict) == ("completed", "completed")
    assert by_edge.position == by_broker.position > 0
    again = testcast.tail(broker, run.test_id, after=by_edge.position)
    assert [item async for item in again] == [] and again.verdict == "completed"
    labels = {"program": run.test_id[:8]}
    async with testcast.HttpRun.create(edge, title="over HTTP", labels=labels) as posted:
        await posted.phase(2)
        await posted.screenshot(PICTURE)
        await asyncio.gather(*(posted.progress(f"step {n}") for n in range(3)))
        await posted.complete(score=40)
    found = messages([item async for item in testcast.watch(edge, posted.test_id)])
    assert (found[1], found[-1]) == ("Discovering controls", "Test complete! Score 40/100"), found
    assert sorted(found[2:-1]) == ["step 0", "step 1", "step 2"]
    (listed,) = await until(
        lambda: testcast.list_runs(edge, status="completed", labels=labels)
    )  # lists are some tenths of a second behind
    assert (listed.test_id, listed.score, listed.title) == (posted.test_id, 40, "over HTTP")
    try:
        async with testcast.HttpRun.create(edge, title="cancelled") as third:
            await testcast.cancel_run(edge, third.test_id)
            await third.progress("too late")
    except testcast.EdgeRefused as error:
        assert error.code == "already_ended", error.code
    else:
        raise AssertionError("a run that was cancelled took an event")

    async def cancelled() -> bool:
        return (await testcast.get_run(edge, third.test_id)).list_status == "cancelled"

    await until(cancelled)


async def until(look: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(20):
        while not (found := await look()):
            await asyncio.sleep(0.05)
    return found


def without_asyncio(edge: str, broker: str) -> None:
    with sync.TestRun.create(broker, title="over NATS, sync") as run:
        run.progress("one", level=1)
        run.complete(score=1)
    seen = messages(sync.watch(edge, run.test_id))
    assert seen[-2:] == ["one", "Test complete! Score 1/100"], seen
    assert messages(sync.tail(broker, run.test_id)) == seen
    try:
        with sync.HttpRun.create(edge, title="over HTTP, sync") as posted:
            posted.progress("one")
            position = posted.position
            raise ValueError("the game is gone")
    except ValueError:
        pass
    assert position < posted.position and posted.ended
    given_up = time.monotonic() + 20
    while not (state := sync.get_run(edge, posted.test_id)).ended and time.monotonic() < given_up:
        time.sleep(0.05)
    assert (state.list_status, state.error) == ("failed", "The agent failed: the game is gone"), state
    try:
        sync.cancel_run(edge, posted.test_id)
    except testcast.EdgeRefused as error:
        assert error.code == "already_ended", error.code
    else:
        raise AssertionError("a run that has ended was cancelled")
    assert all(each.status == "failed" for each in sync.list_runs(edge, status="failed", limit=200))


def main(edge: str, broker: str) -> None:
    """Uses everything once, with real runs."""
    asyncio.run(with_asyncio(edge, broker))
    without_asyncio(edge, broker)


if __name__ == "__main__":
    main(*sys.argv[1:])
    print("the client works")
