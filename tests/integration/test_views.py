"""The views of the stream: snapshots agree with a fold of the events, also after a kill; silent runs are ended."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import httpx
import msgspec
import orjson
from websockets.asyncio.client import connect

from broker.contract import snapshot, subjects
from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.conftest import MakeEdge
from tests.harness import EdgeProcess, Reader, begin, event_log, publish, republish, say, until


async def listing(edge: EdgeProcess) -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{edge.url}/rpc/listTests?limit=200")
        return answer.json() if answer.status_code == 200 else {"tests": []}


async def run_on(edge: EdgeProcess, test_id: str) -> dict[str, Any]:
    return next((run for run in (await listing(edge))["tests"] if run["testId"] == test_id), {})


async def test_an_event_of_an_unknown_type_reaches_viewers_and_changes_no_state(
    streams: Streams, make_edge: MakeEdge
) -> None:
    edge = await make_edge()
    test_id = await begin(streams)
    async with connect(f"{edge.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        assert [event["message"] for event in await reader.events(2)] == ["Queued", "Running"]
        shiny = {"type": "shiny", "level": [1], "status": "failed"}
        ack = await streams.store(subjects.events(test_id), orjson.dumps(shiny))
        assert await reader.events(1) == [{"testId": test_id, "seq": ack.seq} | shiny]

        async def folded() -> bool:
            return bool((await run_on(edge, test_id)).get("seq", 0) >= ack.seq)

        await until(folded)
    run = await run_on(edge, test_id)
    assert (run["status"], run["message"], run["seq"]) == ("running", "Running", ack.seq)


async def test_two_edges_fold_at_the_same_time_and_one_is_killed(streams: Streams, make_edge: MakeEdge) -> None:
    first, second = await make_edge(), await make_edge()
    ids = [await begin(streams, f"run {number}") for number in range(8)]

    seen = asyncio.Event()

    async def play(test_id: str) -> None:
        for number in range(60):
            if number == 30:  # else all runs end before they are folded for the first time
                await seen.wait()
            await publish(streams, test_id, f"step {number}", phase=f"phase{1 + number // 15}")
        await publish(streams, test_id, "Done", "complete", data={"score": 50})

    playing = asyncio.gather(*(play(test_id) for test_id in ids))
    await until(lambda: _some_progress(first))
    seen.set()
    first.child.signal(signal.SIGKILL)
    await playing

    epoch = (await event_log(streams).heads()).epoch

    async def agreed() -> bool:
        for test_id in ids:
            entry = await streams.kv_get(subjects.RUNS, test_id)
            folded = (await runs.read(event_log(streams), test_id)).snapshot
            assert folded is not None
            expected = msgspec.structs.replace(folded, epoch=epoch)
            if entry is None or snapshot.decode(entry.data, test_id) != expected:
                return False
        return True

    await until(agreed, within_s=30, what="snapshots agree with a fold of the stream")
    await until(lambda: _all_completed(second, ids))


async def _some_progress(edge: EdgeProcess) -> bool:
    return any("step" in run["message"] for run in (await listing(edge))["tests"])


async def _all_completed(edge: EdgeProcess, ids: list[str]) -> bool:
    return {run["testId"] for run in (await listing(edge))["tests"] if run["status"] == "completed"} >= set(ids)


async def test_two_edges_give_the_same_etag(streams: Streams, make_edge: MakeEdge) -> None:
    first, second = await make_edge(), await make_edge()
    test_id = await begin(streams)
    for edge in (first, second):
        await until(lambda edge=edge: run_on(edge, test_id))  # type: ignore[misc]

    async def same() -> bool:
        async with httpx.AsyncClient() as client:
            tags = [(await client.get(f"{edge.url}/rpc/listTests")).headers.get("etag") for edge in (first, second)]
        return tags[0] is not None and tags[0] == tags[1]

    await until(same)


async def test_a_silent_run_is_ended_and_its_job_deleted(streams: Streams, make_edge: MakeEdge) -> None:
    edge = await make_edge(TESTCAST_RUN_LOST_S="4")
    test_id = await runs.submit(event_log(streams), runs.make_job("http://game.example/", None, None, None))
    kept = await begin(streams)

    async def lives() -> None:
        while True:
            await streams.nats.publish(subjects.alive(kept), b"")
            await asyncio.sleep(0.05)

    async def has_ended() -> bool:
        return (await run_on(edge, test_id)).get("status") == "failed"

    living = asyncio.create_task(lives())
    await until(has_ended, within_s=30)
    ended = await run_on(edge, test_id)
    assert "No worker took this test" in ended["error"]
    assert (await run_on(edge, kept))["status"] == "running"
    living.cancel()
    last = await streams.last(subjects.EVENTS, subjects.events(test_id))
    assert last is not None and orjson.loads(last.data)["data"] == {"code": "lost"}
    assert await streams.last(subjects.JOBS, subjects.job(test_id)) is None


async def test_a_broker_restart_under_open_sockets(
    nats_server: EmbeddedServer, streams: Streams, nats_edge: EdgeProcess
) -> None:
    """Polls are answered meanwhile, marked stale after a while. What is published afterwards arrives in order."""
    test_id = await begin(streams)

    async def is_running() -> bool:
        return bool((await run_on(nats_edge, test_id) or {}).get("status") == "running")

    await until(is_running)  # the events are folded twice a second
    async with connect(f"{nats_edge.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await reader.events(2)
        nats_server.child.signal(signal.SIGKILL)
        await nats_server.child.wait()

        async def stale() -> bool:
            return bool((await listing(nats_edge)).get("stale"))

        await until(stale, within_s=15)
        assert await is_running()
        await nats_server.start()
        other = await Connection.connect(nats_server.url, name="another agent")
        stored = [(await publish(Streams(other), test_id, f"{number}")).seq for number in range(20)]
        assert [event["seq"] for event in await reader.events(20)] == stored
        await other.close()

        async def current() -> bool:
            found = await listing(nats_edge)
            return "stale" not in found and found["tests"][0]["seq"] == stored[-1]

        await until(current)


async def test_a_lost_last_event_is_found_by_the_leader_check(streams: Streams, nats_edge: EdgeProcess) -> None:
    """The run's last event is not delivered live: the broker's republish is switched off for a moment."""
    test_id = await begin(streams)
    async with connect(f"{nats_edge.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await reader.events(2)
        await republish(streams, False)
        stored = await publish(streams, test_id, "not delivered live")
        (event,) = await reader.events(1)
        assert event["seq"] == stored.seq


async def test_a_missed_event_shows_at_the_next_one(streams: Streams, nats_edge: EdgeProcess) -> None:
    test_id = await begin(streams)
    async with connect(f"{nats_edge.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await reader.events(2)
        await republish(streams, False)
        stored = [(await publish(streams, test_id, f"{number}")).seq for number in range(5)]
        await republish(streams, True)
        stored.append((await publish(streams, test_id, "heard")).seq)
        assert [event["seq"] for event in await reader.events(6)] == stored


async def test_a_stream_that_is_created_again_resets_every_viewer(
    nats_server: EmbeddedServer, nats: Connection, streams: Streams, nats_edge: EdgeProcess
) -> None:
    test_id = await begin(streams)
    async with connect(f"{nats_edge.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await reader.events(2)
        config = (await streams.api(f"STREAM.INFO.{subjects.EVENTS}"))["config"]
        await streams.api(f"STREAM.DELETE.{subjects.EVENTS}")
        await streams.api(f"STREAM.CREATE.{subjects.EVENTS}", config)
        sync = await reader.control("sync")
        assert (sync["outcome"], sync["reason"], sync["head"]) == ("reset", "epoch", 0)
        stored = await publish(streams, test_id, "in the new one")
        assert [event["seq"] for event in await reader.events(1)] == [stored.seq]
    fresh = await begin(streams, "after")
    await until(lambda: run_on(nats_edge, fresh), what="the projector's consumer has been created again as well")


async def test_the_list_marks_stalled_runs_and_takes_it_back(streams: Streams, nats_edge: EdgeProcess) -> None:
    test_id = await begin(streams)
    async with connect(nats_edge.ws_url) as connection:
        reader = Reader(connection)
        await say(connection, {"type": "subscribe", "channel": "tests"})

        async def upsert(stalled: bool) -> None:
            while True:
                tests = await reader.control("tests", within_s=35)
                if any(run["testId"] == test_id and run.get("stalled", False) is stalled for run in tests["upserts"]):
                    return

        await upsert(stalled=False)
        await upsert(stalled=True)
        await streams.nats.publish(subjects.alive(test_id), b"")
        await upsert(stalled=False)


async def test_a_forged_snapshot_does_not_stop_the_list(streams: Streams, make_edge: MakeEdge) -> None:
    first = await make_edge()
    honest, forged = await begin(streams, "honest"), await begin(streams, "forged")
    await until(lambda: run_on(first, forged))
    entry = await streams.kv_get(subjects.RUNS, honest)
    assert entry is not None
    for value in (entry.data, b"no snapshot", b"\xff", b"[]"):  # the first is valid, but of another run
        await streams.kv_put(subjects.RUNS, forged, value)
    second = await make_edge()  # it reads the forged value at its start
    later = await begin(streams, "later")
    for edge in (first, second):
        await until(lambda edge=edge: run_on(edge, later), within_s=15)  # type: ignore[misc]
        assert (await run_on(edge, honest))["title"] == "honest"

    await publish(streams, forged, "On it goes")  # its next event has it folded from the first one on
    for edge in (first, second):
        await until(lambda edge=edge: _says(edge, forged, "On it goes"), within_s=15)  # type: ignore[misc]
    assert (await run_on(second, forged))["title"] == "forged"


async def _says(edge: EdgeProcess, test_id: str, message: str) -> bool:
    return bool((await run_on(edge, test_id)).get("message") == message)
