"""The steps of an upgrade and of its rollback, and what must hold at each of them.

Everything is of the previous version at first. Then one edge is rolled to today's, both versions run at once, runs are
submitted at each version and played by an agent of the other one, the publishers and the other edge follow. Then the
same way back. All this time, publishers publish and viewers of both versions watch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from broker.contract import subjects
from broker.contract.snapshot import Snapshot, fold
from broker.jetstream import runs as broker_runs
from broker.jetstream import stream_config
from broker.jetstream.api import Streams
from tests.faults.checker import Verdict, check
from tests.faults.workload import record_stored
from tests.harness import JPEG, store_picture, until
from tests.upgrades.versions import Version, topology_version
from tests.upgrades.world import Edge, Size, World, client

_PAGE = 500


class Outcome(NamedTuple):
    """The result of an upgrade and a rollback."""

    verdict: Verdict
    complaints: list[str]
    """Failures of publishers, viewers and pages themselves, in addition to what the checker found."""
    changed: dict[str, dict[str, tuple[Any, Any]]]
    """What the upgrade has changed on the broker: fields by stream, before and after; a new stream has `name`."""
    took_s: float


async def run(
    directory: Path, size: Size, old: Version, new: Version, say: Callable[[str], None] = lambda _line: None
) -> Outcome:
    """Upgrades and rolls back.

    Raises:
        AssertionError: a step has failed; the message says what did not hold.
    """
    started = time.monotonic()
    async with World(directory, size, old, new) as world:
        first, second = world.edges
        await _old_agent_stores(world, b"of the time before")
        before = await world.configs()
        run_of_first, *other_runs = world.publishing.runs
        await _holds(world, f"all of {old.name}", say)

        await first.roll(new)
        changed = await _in_place(world, before)
        await _holds(world, f"one edge of {new.name}", say)
        await _show(world, b"of the time before", first, second)
        await world.play(first, old)
        await world.play(second, new)
        await world.take_over(run_of_first, new)
        await _holds(world, f"both versions publish, one edge of {new.name}", say)
        await store_picture(world.cluster.streams, run_of_first, JPEG + b"of a new agent")
        await _show(world, b"of a new agent", first)
        await _show(world, b"of the time before", second)
        await _old_agent_stores(world, b"of an old agent")
        await _show(world, b"of an old agent", first, second)

        await second.roll(new)
        for each in other_runs:
            await world.take_over(each, new)
        after = await world.configs()
        await _holds(world, f"all of {new.name}", say)
        await _show(world, b"of an old agent", first, second)

        await world.take_over(run_of_first, old)
        for edge in [second, first][: size.edges_back]:
            await edge.roll(old)
            await _left_alone(world, edge, after, changed)
            await _show(world, b"of an old agent", edge)
            await _holds(world, f"back to {old.name} at {edge.url}", say)
        complaints = await _end(world)
        verdict = check(world.history)
    return Outcome(verdict, complaints, changed, time.monotonic() - started)


async def _holds(world: World, step: str, say: Callable[[str], None]) -> None:
    """What must hold at every step: news arrives everywhere, every edge's list is right, no page was loaded again."""
    began = time.monotonic()
    await world.settled()
    heads = await until(world.heads, within_s=30, what="the leader answers") or {}
    async with client() as http:
        for edge in world.edges:
            await until(partial(_lists, world, http, edge, heads), within_s=30, what=f"{step}: {edge!r} lists")
    assert all(len(page.documents) == 1 for page in world.page), f"{step}: a page was loaded again"
    assert world.crowd.complaints() == [], f"{step}: {world.crowd.complaints()}"
    say(f"{step}: everybody current and every list right after {time.monotonic() - began:.1f} s")


async def _old_agent_stores(world: World, words: bytes) -> None:
    """Stores a picture of the first run as agents of the previous version do."""
    await world.cluster.streams.kv_put(subjects.SHOTS, world.publishing.runs[0], JPEG + words)


async def _show(world: World, words: bytes, *edges: Edge) -> None:
    """What the newest picture of the first run is, at edges of either version."""
    asked = {"testId": world.publishing.runs[0]}
    async with client() as http:
        for edge in edges:

            async def shown(edge: Edge = edge) -> bool:
                return (await http.get(f"{edge.url}/rpc/getShot", params=asked)).content == JPEG + words

            await until(shown, within_s=30, what=f"{edge!r} shows the picture {words!r}")


async def _lists(world: World, http: httpx.AsyncClient, edge: Edge, heads: dict[str, int]) -> bool:
    """Whether an edge lists the runs that there are, and none behind `heads`.

    Raises:
        AssertionError: it lists a run that nobody has begun, or one that is not the fold of its events.
    """
    answer = (await http.get(f"{edge.url}/rpc/listTests", params={"limit": 200})).json()
    listed = {each["testId"]: each for each in answer["tests"]}
    runs = {*world.publishing.runs, *world.played}
    assert listed.keys() <= runs, f"{edge!r} lists {listed.keys() - runs}, which nobody has begun"
    if "stale" in answer or listed.keys() != runs or any(listed[each]["seq"] < head for each, head in heads.items()):
        return False
    assert sum(answer["counts"].values()) == len(runs), f"{edge!r} counts {answer['counts']} of {len(runs)} runs"
    for test_id, shown in listed.items():
        folded = await _folded(world.cluster.streams, test_id, shown["seq"])
        both = {name: (shown[name], folded[name]) for name in shown.keys() & folded.keys()}
        wrong = {name: pair for name, pair in both.items() if pair[0] != pair[1]}
        assert not wrong, f"{edge!r} shows {test_id} otherwise than its events, as (shown, folded): {wrong}"
    return True


async def _folded(streams: Streams, test_id: str, up_to: int) -> dict[str, Any]:
    """The fold of a run's events, by today's code, up to a sequence. Without `epoch`, which is the projector's note."""
    snapshot: Snapshot | None = None
    after = 0
    while after < up_to:
        page = await streams.read(subjects.EVENTS, subjects.events(test_id), after, _PAGE)
        assert page.messages, f"{test_id} has no event at {up_to}"
        for message in page.messages:
            after = message.seq
            if after <= up_to:
                event = broker_runs.parse(message.data)
                snapshot = fold(snapshot, test_id, message.seq, event, message.stored_ms)
    fields: dict[str, Any] = msgspec.to_builtins(snapshot)
    fields.pop("epoch", None)
    return fields


async def _in_place(world: World, before: dict[str, dict[str, Any]]) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Waits until the streams are as today's version needs them. Returns what has changed.

    Raises:
        AssertionError: they do not become so, or a stream was made anew, or one that was changed does not say by which
            version.
    """
    wanted = {each["name"]: each for each in stream_config.streams(world.size.brokers)}
    durable = {f"{stream}.{each['durable_name']}" for stream, each in stream_config.consumers()}

    async def declared() -> bool:
        found = await world.configs()
        return (
            wanted.keys() <= found.keys()
            and not any(stream_config.changes(found[name], each) for name, each in wanted.items())
            and durable <= await world.consumers()
        )

    await until(declared, within_s=30, what="the streams are as today's version needs them")
    after = await world.configs()
    for name, config in before.items():
        assert after[name]["created"] == config["created"], f"the stream {name} was made anew"
    changed = _changes(before, after)
    for name in changed:
        assert topology_version(after[name]) == stream_config.VERSION, f"{name} was changed, and does not say by whom"
    return changed


def _changes(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> dict[str, dict[str, tuple[Any, Any]]]:
    """The fields that differ, by stream."""
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for name, config in after.items():
        if name not in before:
            found[name] = {"name": (None, name)}
            continue
        fields = {field: (before[name].get(field), value) for field, value in config.items()}
        if different := {field: pair for field, pair in fields.items() if pair[0] != pair[1]}:
            found[name] = different
    return found


async def _left_alone(
    world: World, edge: Edge, after: dict[str, dict[str, Any]], changed: dict[str, dict[str, tuple[Any, Any]]]
) -> None:
    """The previous version is ready on streams that a newer one has declared, says so, and has changed none of them."""
    assert await world.configs() == after, "the previous version has changed what a newer one has declared"
    said = edge.log()
    for name in changed:
        assert f"a newer version of testcast has declared the stream {name}" in said or changed[name].keys() == {"name"}


async def _end(world: World) -> list[str]:
    """Ends the runs, waits until every viewer is current, and records the rest of the history. Returns complaints."""
    complaints = await world.publishing.finish()
    heads = await until(world.heads, within_s=30, what="the leader answers") or {}
    await world.crowd.current(heads, 60)
    async with client() as http:
        for edge in world.edges:
            await until(partial(_lists, world, http, edge, heads), within_s=30, what=f"{edge!r} at the end")
    complaints += world.crowd.complaints()
    complaints += [f"{page.name} was loaded again" for page in world.page if len(page.documents) != 1]
    await world.crowd.leave()
    world.publishing.record(world.history)
    await record_stored(world.cluster.streams, world.publishing.runs, world.history)
    return complaints
