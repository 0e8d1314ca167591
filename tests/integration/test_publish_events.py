"""Publishing over HTTP, with a real broker: `createRun` and `publishEvents`, refusals, and batches that are cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import httpx
import orjson
import pytest

from broker.contract.events import MAX_EVENT_BYTES
from broker.jetstream.api import Streams
from broker.jetstream.scan import pages
from broker.local.embedded_server import EmbeddedServer
from tests.harness import NO_SUCH_TEST, answers, event_log, until
from tests.in_process import ByProject, Edge, a_client, an_event, has_ended


@pytest.fixture
async def edge(nats_server: EmbeddedServer) -> AsyncIterator[Edge]:
    edge = await Edge(nats_server.url).start()
    edge.node.access = ByProject(edge.node)
    yield edge
    await edge.stop()


async def stored_messages(streams: Streams, test_id: str) -> list[str]:
    log = event_log(streams)
    last = await log.last(test_id)
    return [orjson.loads(each.data)["message"] async for page in pages(log, test_id, 0, last) for each in page.events]


async def call(client: httpx.AsyncClient, name: str, **params: Any) -> httpx.Response:
    return await client.post(f"/rpc/{name}", json=params)


async def test_an_agent_without_a_connection_to_the_broker_plays_a_run(edge: Edge, streams: Streams) -> None:
    async with a_client(edge, "ann") as ann:
        made = (await call(ann, "createRun", title="mine", gameUrl="http://game.example/")).json()
        test_id, head = made["testId"], made["seq"]
        assert made["epoch"] == (await edge.node.log.heads()).epoch
        batch = [an_event("one", phase="phase1"), an_event("two")]
        first = (await call(ann, "publishEvents", testId=test_id, events=batch, afterSeq=head, key="k1")).json()
        assert first["stored"] == 2
        for after in (head, first["seq"], None):
            again = await call(ann, "publishEvents", testId=test_id, events=batch, afterSeq=after, key="k1")
            assert again.json() == first
        conflict = await call(ann, "publishEvents", testId=test_id, events=batch, afterSeq=head, key="k2")
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "conflict")
        assert conflict.json()["error"]["details"] == {"head": first["seq"]}
        other = await call(ann, "publishEvents", testId=test_id, events=batch[1:], afterSeq=head, key="k1")
        assert (other.status_code, other.json()["error"]["code"]) == (409, "key_reused")
        nothing = await call(ann, "publishEvents", testId=test_id, events=[], key="none")
        assert nothing.json() == {"seq": first["seq"], "stored": 0}
        end = [an_event("done", type="complete", data={"score": 80, "project": "b"})]
        last = await call(ann, "publishEvents", testId=test_id, events=end, key="k3")
        await until(partial(has_ended, edge, test_id))
        assert (await call(ann, "publishEvents", testId=test_id, events=end, key="k3")).json() == last.json()
        late = await call(ann, "publishEvents", testId=test_id, events=batch, key="k4")
        assert (late.status_code, late.json()["error"]["code"]) == (409, "already_ended")
    snapshot = edge.node.snapshot(test_id)
    assert snapshot is not None
    assert (snapshot.project, snapshot.title, snapshot.status, snapshot.score) == ("a", "mine", "completed", 80)
    assert await stored_messages(streams, test_id) == ["Started", "one", "two", "done"]


async def test_what_is_wrong_with_a_batch_is_named_and_nothing_is_stored(edge: Edge, streams: Streams) -> None:
    async with a_client(edge, "ann") as ann:
        test_id = (await call(ann, "createRun")).json()["testId"]
        large = [an_event("x" * 60_000) for _ in range(17)]
        wrong: list[tuple[Mapping[str, Any], int, str, str]] = [
            ({"events": [an_event("a"), {"type": "progress"}], "key": "k"}, 400, "malformed_event", "events[1]: "),
            ({"events": [an_event("x" * MAX_EVENT_BYTES)], "key": "k"}, 413, "too_large", "events[0]: "),
            ({"events": large * 2, "key": "k"}, 413, "too_large", "the body is longer than 1048576"),
            ({"events": [an_event("a")] * 101, "key": "k"}, 400, "invalid_params", ""),
            ({"events": [an_event("a")], "key": "a.b"}, 400, "bad_input", "key: "),
            ({"events": [an_event("a")]}, 400, "invalid_params", ""),
            ({"events": [an_event("a")], "key": "k", "afterSeq": -1}, 400, "invalid_params", ""),
            ({"events": "no", "key": "k"}, 400, "invalid_params", ""),
        ]
        for body, status, code, message in wrong:
            refused = await call(ann, "publishEvents", testId=test_id, **body)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (status, code), error
            assert error["message"].startswith(message)
        assert (await call(ann, "publishEvents", testId=test_id, events=large[:16], key="k")).status_code == 200
        assert (await call(ann, "createRun", gameUrl="javascript:alert(1)")).status_code == 400
        assert (await call(ann, "createRun", title=" ")).status_code == 400
        missing = await call(ann, "publishEvents", testId=NO_SUCH_TEST, events=[an_event("a")], key="k")
        assert missing.status_code == 404
    async with a_client(edge, "root") as root:
        missing = await call(root, "publishEvents", testId=NO_SUCH_TEST, events=[an_event("a")], key="k")
        assert missing.status_code == 404
    assert len(await stored_messages(streams, test_id)) == 17
    assert await event_log(streams).last(NO_SUCH_TEST) == 0


@pytest.mark.parametrize("how", ["append", "append_batch"])
@pytest.mark.parametrize("killed", ["client", "broker"])
async def test_a_batch_that_was_cut_off_is_continued_with_its_key(
    edge: Edge, streams: Streams, nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, killed: str, how: str
) -> None:
    config = (await streams.api("STREAM.INFO.EVENTS"))["config"]
    await streams.api("STREAM.UPDATE.EVENTS", config | {"allow_atomic": how == "append_batch"})
    batch = [an_event(f"event {number}") for number in range(6)]
    store, count, wanted = getattr(edge.node.log, how), 0, 3 if how == "append" else 1
    cut = asyncio.Event()
    restart: list[asyncio.Task[None]] = []

    async def again() -> None:
        await nats_server.stop()
        await nats_server.start()

    async def cutting(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if killed == "broker" and count == wanted:
            restart.append(asyncio.create_task(again()))
        stored = await store(*args, **options)
        if killed == "client" and count == wanted:
            cut.set()
            await asyncio.Event().wait()
        return stored

    async with a_client(edge, "ann") as ann:
        made = (await call(ann, "createRun")).json()
        monkeypatch.setattr(edge.node.log, how, cutting)
        body = {"testId": made["testId"], "events": batch, "afterSeq": made["seq"], "key": "cut"}
        if killed == "client":
            request = asyncio.create_task(call(ann, "publishEvents", **body))
            await cut.wait()
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)

        async def sent() -> dict[str, Any] | None:
            answer = await call(ann, "publishEvents", **body)
            assert answer.status_code in (200, 503), answer.text
            return answer.json() if answer.status_code == 200 else None

        answer = await until(sent, within_s=60)
        await asyncio.gather(*restart)
        assert answer["stored"] == 6 and await until(sent, within_s=60) == answer
    await until(lambda: answers(streams.nats), within_s=30)
    messages = await until(lambda: stored_messages(streams, made["testId"]), within_s=30)
    assert messages == ["Started", *(each["message"] for each in batch)]
