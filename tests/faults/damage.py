"""Damage to what the broker holds: streams, buckets and consumers deleted, values forged, its disk full.

Nothing here is repaired by the kit: the parts have to notice, declare again and fill again. `heal` waits for that.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from broker import identity
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable, TestcastError
from broker.jetstream import kv, runs, topology
from tests.faults.strike import Strike
from tests.faults.world import World
from tests.harness import event_log, until

Damage = Callable[[World, random.Random], Awaitable[Strike]]

_MENDED_S: Final = 90.0
_DAY_S: Final = 86_400
_HOOKS: Final = kv.stream(subjects.HOOKS)
_CONSUMERS: Final = (
    (subjects.EVENTS, subjects.PROJECTOR),
    (subjects.JOBS, subjects.WORKERS),
    (_HOOKS, subjects.WEBHOOKS),
)
_BUCKETS: Final = (*map(kv.stream, (subjects.RUNS, subjects.PINS, subjects.ACCESS)), _HOOKS)
_STREAMS: Final = (subjects.EVENTS, subjects.JOBS, subjects.FRAMES, *_BUCKETS)


async def _delete(world: World, request: str) -> None:
    async def gone() -> bool:
        try:
            await world.cluster.streams.api(request)
        except BrokerUnavailable:  # no leader at the moment, or gone by now
            return False
        return True

    async def gone_or_never_there() -> bool:
        try:
            return await gone()
        except TestcastError:
            return True

    await until(gone_or_never_there, within_s=20, what=request)


async def _all_there(world: World) -> bool:
    """Every stream and consumer is declared, and a run that is submitted now gets its job."""
    streams = world.cluster.streams
    try:
        for stream in _STREAMS:
            await streams.api(f"STREAM.INFO.{stream}", timeout_s=1.0)
        for stream, consumer in _CONSUMERS:
            await streams.api(f"CONSUMER.INFO.{stream}.{consumer}", timeout_s=1.0)
    except TestcastError:
        return False
    return True


async def _takes_jobs(world: World) -> None:
    """A run can be submitted, and its job is in the queue."""
    log = event_log(world.cluster.streams)
    test_id = await runs.submit(log, runs.make_job("http://game.example/", None, 600, 1))
    found = await world.cluster.streams.last(subjects.JOBS, subjects.job(test_id))
    assert found is not None, "a submitted run has no job"
    await runs.cancel(log, test_id)


def deleted(*requests: str) -> Damage:
    """Deletes streams or consumers, in any order."""

    async def strike(world: World, rng: random.Random) -> Strike:
        restarts = any(request == f"STREAM.DELETE.{subjects.EVENTS}" for request in requests)
        before = await _epoch(world)
        for request in rng.sample(requests, len(requests)):
            await _delete(world, request)
            await asyncio.sleep(rng.uniform(0, 0.5))

        async def heal() -> None:
            await until(lambda: _all_there(world), within_s=_MENDED_S, what=f"declared again: {requests}")
            if restarts:
                await _all_in_a_new_epoch(world, before)
            await _takes_jobs(world)

        return Strike(", ".join(requests), heal)

    return strike


async def _epoch(world: World) -> str:
    return (await event_log(world.cluster.streams).heads()).epoch


async def _all_in_a_new_epoch(world: World, before: str) -> None:
    """Every viewer was told `reset`. What it had before belongs to a stream that is no more."""

    async def moved() -> bool:
        try:
            epoch = await _epoch(world)
        except TestcastError:
            return False
        return epoch != before and world.crowd.in_epoch(epoch)

    await until(moved, within_s=_MENDED_S, what="every viewer was told of the new stream")
    world.history.restart()


def _forgeries(test_id: str, other: str) -> list[bytes]:
    snapshot = {
        "testId": test_id,
        "title": "Forged",
        "gameUrl": "",
        "status": "completed",
        "phase": None,
        "message": "Forged",
        "seq": 2**52,
        "createdAt": 0,
        "updatedAt": 2**53 - 1,
        "attempt": 99,
        "score": 100,
    }
    return [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[]",
        b"{}",
        orjson.dumps(snapshot),
        orjson.dumps(snapshot | {"testId": other}),
        orjson.dumps(snapshot | {"seq": -1}),
        orjson.dumps(snapshot | {"status": "odd"}),
        orjson.dumps(snapshot | {"title": "x" * 100_000}),
        orjson.dumps(snapshot | {"seq": 0, "metrics": {"deep": [[[[]]]]}}),
    ]


async def forged(world: World, rng: random.Random) -> Strike:
    """Values in every bucket that nobody of this project has written, under keys of runs and others."""
    test_ids = world.publishing.runs
    for test_id in test_ids:
        for value in rng.sample(_forgeries(test_id, identity.new_test_id()), 4):
            await _put(world, kv.subject(subjects.RUNS, test_id), value)
            await _put(world, subjects.frames(test_id), value[: 60 * 1024])
            await _put(world, kv.subject(subjects.PINS, test_id), value[:512])
    for key in ("not-a-test", identity.new_test_id()):
        await _put(world, kv.subject(subjects.RUNS, key), rng.choice(_forgeries(key, test_ids[0])))
    for number in range(3):
        await _put(world, subjects.job(identity.new_test_id()), [b"", b"nonsense", b"{}"][number])

    async def heal() -> None:
        await until(lambda: _all_there(world), within_s=_MENDED_S, what="everything stands")

    return Strike("RUNS, FRAMES, PINS, JOBS", heal)


async def _put(world: World, subject: str, value: bytes) -> None:
    async def stored() -> bool:
        try:
            await world.cluster.streams.store(subject, value)
        except BrokerUnavailable:
            return False
        return True

    await until(stored, within_s=20, what=subject)


async def malformed(world: World, rng: random.Random) -> Strike:
    """Messages on the subjects of the runs that are no events, and events of types that nobody knows."""
    noise = [b"", b"nonsense", b"\xff", b'{"type":"progress","message":"m","timestamp":"now"}']
    if not world.size.pages and not world.size.tails:  # both show no line for a type that they do not know
        noise.append(b'{"type":"shiny"}')
    for _ in range(5):
        for test_id in world.publishing.runs:
            await _put(world, subjects.events(test_id), rng.choice(noise))

    async def heal() -> None:
        return

    return Strike("every run", heal)


def clock(of: str) -> Damage:
    """The wall clock of an edge, or of every publisher, jumps by up to 30 days, twice, and back."""

    async def strike(world: World, rng: random.Random) -> Strike:
        clocks = world.clocks[of]
        chosen = rng.choice(clocks)
        jumps = [rng.choice((-1, 1)) * rng.randrange(3600, 30 * _DAY_S) for _ in range(2)]
        chosen.shift(jumps[0])
        await asyncio.sleep(1.0)
        chosen.shift(jumps[1])

        async def heal() -> None:
            chosen.shift(0)

        return Strike(f"{of} by {jumps[1] / _DAY_S:.1f} days", heal)

    return strike


async def disk_full(world: World, _rng: random.Random) -> Strike:
    """All brokers share a disk that fills up. It gets space again, and the brokers that are stuck are restarted."""
    assert world.disk is not None
    world.disk.fill()

    async def heal() -> None:
        assert world.disk is not None
        world.disk.clear()
        for node in world.cluster.nodes:
            node.signal(signal.SIGTERM)
        for node in world.cluster.nodes:
            assert node.child is not None
            await node.child.wait()
            node.start()
        await world.cluster.whole()
        await until(lambda: _all_there(world), within_s=_MENDED_S, what="everything stands")

    return Strike("the brokers' disk", heal)


def _stream(name: str) -> str:
    return f"STREAM.DELETE.{name}"


def _consumer(stream: str, name: str) -> str:
    return f"CONSUMER.DELETE.{stream}.{name}"


_ALL_CONSUMERS: Final = [_consumer(stream, name) for stream, name in _CONSUMERS]

BESIDE: Final[dict[str, Damage]] = {
    "consumer projector deleted": deleted(_consumer(subjects.EVENTS, subjects.PROJECTOR)),
    "consumer workers deleted": deleted(_consumer(subjects.JOBS, subjects.WORKERS)),
    "consumer webhooks deleted": deleted(_consumer(_HOOKS, subjects.WEBHOOKS)),
    "stream JOBS deleted": deleted(_stream(subjects.JOBS)),
    "bucket RUNS deleted": deleted(_stream(kv.stream(subjects.RUNS))),
    "stream FRAMES deleted": deleted(_stream(subjects.FRAMES)),
    "bucket PINS deleted": deleted(_stream(kv.stream(subjects.PINS))),
    "bucket ACCESS deleted": deleted(_stream(kv.stream(subjects.ACCESS))),
    "bucket HOOKS deleted": deleted(_stream(_HOOKS)),
    "all but EVENTS deleted": deleted(*map(_stream, _STREAMS[1:]), *_ALL_CONSUMERS),
    "values forged": forged,
    "noise published": malformed,
    "edge clock jumps": clock("edge"),
    "agent clock jumps": clock("agent"),
}
"""Damage that leaves the events where they are."""
NEW_STREAM: Final[dict[str, Damage]] = {
    "stream EVENTS deleted": deleted(_stream(subjects.EVENTS)),
    "everything deleted": deleted(*map(_stream, _STREAMS)),
}
"""Damage after which the stream of events is another one: every viewer is told `reset`."""
DISK: Final[dict[str, Damage]] = {"broker disk full": disk_full}
"""Damage that needs a small disk."""

assert {config["name"] for config in topology.streams(1)} == set(_STREAMS), "a stream that nobody deletes"
