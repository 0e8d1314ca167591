"""Pictures over time by an edge: the list, each picture by its number, the channel, and publishing them by HTTP."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.frames import JPEG_MAGIC, MAX_JPEG_BYTES, SEQ_HEADER
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.frame_store import FrameStore
from broker.local.embedded_server import EmbeddedServer
from tests.conftest import Stack
from tests.harness import (
    NO_SUCH_TEST,
    Reader,
    answers,
    begin,
    event_log,
    publish,
    say,
    store_picture,
    until,
)
from tests.in_process import Edge, a_client


def jpeg(text: str, size: int = 0) -> bytes:
    return JPEG_MAGIC + text.encode().ljust(size, b"x")


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.edge_url) as connected:
        yield connected


async def listed(client: httpx.AsyncClient, test_id: str, **params: int) -> dict[str, Any]:
    answer = await client.get("/rpc/getFrames", params={"testId": test_id, **params})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def count(client: httpx.AsyncClient, test_id: str, wanted: int) -> dict[str, Any]:
    """The list, once it has so many pictures."""

    async def complete() -> dict[str, Any] | None:
        answer = await client.get("/rpc/getFrames", params={"testId": test_id})
        return answer.json() if answer.status_code == 200 and len(answer.json()["frames"]) == wanted else None

    return await until(complete, within_s=30, what=f"{wanted} pictures")


async def test_the_list_and_each_picture_by_its_number(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    test_id, store = await begin(stack_streams), FrameStore(stack_streams)
    assert await listed(client, test_id) == {"frames": [], "newest": 0, "more": False, "gone": False}
    head = await event_log(stack_streams).last(test_id)
    numbers = [await store.put(test_id, jpeg(f"{each}"), seq=head, time_ms=1000 + each) for each in range(5)]
    found = await count(client, test_id, 5)
    assert found["frames"] == [[number, head, 1000 + each, 4] for each, number in enumerate(numbers)]
    assert (found["newest"], found["more"], found["gone"]) == (numbers[-1], False, False)

    page = await listed(client, test_id, after=numbers[1], limit=2)
    assert [row[0] for row in page["frames"]] == numbers[2:4] and page["more"] is True
    for each, number in enumerate(numbers):
        answer = await client.get(f"/tests/{test_id}/frames/{number}")
        assert (answer.status_code, answer.content) == (200, jpeg(f"{each}"))
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "immutable" in answer.headers["cache-control"] and "public" in answer.headers["cache-control"]
        known = {"if-none-match": answer.headers["etag"]}
        assert (await client.get(f"/tests/{test_id}/frames/{number}.jpg", headers=known)).status_code == 304
        head_only = await client.head(f"/tests/{test_id}/frames/{number}")
        assert (head_only.status_code, head_only.content) == (200, b"")
    shot = await client.get("/rpc/getShot", params={"testId": test_id})
    assert shot.content == jpeg("4")
    etag = (await client.get("/rpc/getFrames", params={"testId": test_id})).headers["etag"]
    again = await client.get("/rpc/getFrames", params={"testId": test_id}, headers={"if-none-match": etag})
    assert again.status_code == 304


async def test_what_is_no_picture_of_the_run_has_no_address(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    one, other = await begin(stack_streams), await begin(stack_streams)
    number = await FrameStore(stack_streams).put(one, jpeg("one"))
    assert (await client.get(f"/tests/{one}/frames/{number}")).status_code == 200
    for address in (
        f"{other}/frames/{number}",
        f"{NO_SUCH_TEST}/frames/{number}",
        f"{one}/frames/{number + 1_000_000}",
        f"{one}/frames/0",
        f"{one}/frames/-1",
        f"{one}/frames/{number}.png",
        f"{one}/frames/{'9' * 30}",
        f"{one}/frames/%D9%A1",
    ):
        answer = await client.get(f"/tests/{address}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), address
        assert "etag" not in answer.headers and "immutable" not in answer.headers.get("cache-control", "")
    assert (await client.get(f"/tests/x/frames/{number}")).json()["error"]["code"] == "invalid_test_id"
    assert (await client.post(f"/tests/{one}/frames/{number}")).status_code == 405
    assert (await client.get("/rpc/getFrames", params={"testId": NO_SUCH_TEST})).status_code == 404


async def test_pictures_that_are_not_shown(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    test_id, store = await begin(stack_streams), FrameStore(stack_streams)
    subject, head = subjects.frames(test_id), await event_log(stack_streams).last(test_id)
    good = await store.put(test_id, jpeg("good"), seq=head)
    bad = {
        "ahead": await store.put(test_id, jpeg("ahead"), seq=head + 1_000_000),
        "late": await store.put(test_id, jpeg("late"), seq=head - 1),
        "header": (await stack_streams.store(subject, jpeg("header"), headers={SEQ_HEADER: "1e3"})).seq,
        "large": (await stack_streams.store(subject, jpeg("large", MAX_JPEG_BYTES))).seq,
        "png": (await stack_streams.store(subject, b"\x89PNG")).seq,
    }
    last = await store.put(test_id, jpeg("last"), seq=head)

    async def none_is_told() -> dict[str, Any] | None:
        await client.get(f"/tests/{test_id}/frames/{bad['png']}")  # only its bytes tell
        found = await listed(client, test_id)
        return found if [row[0] for row in found["frames"]] == [good, last] else None

    found = await until(none_is_told, within_s=30)
    assert found["unreadable"]["count"] == 5 and len(found["unreadable"]["reasons"]) == 5
    for name in ("ahead", "header", "large", "png"):
        answer = await client.get(f"/tests/{test_id}/frames/{bad[name]}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "malformed_frame"), name
    assert (await client.get("/rpc/getShot", params={"testId": test_id})).content == jpeg("last")


async def test_a_picture_that_comes_before_its_event_is_shown_afterwards(
    client: httpx.AsyncClient, stack_streams: Streams
) -> None:
    """As where the events of a run were deleted, and the next one is not stored yet."""
    test_id, store, log = await begin(stack_streams), FrameStore(stack_streams), event_log(stack_streams)
    due = await log.last(test_id) + 1
    early = await store.put(test_id, jpeg("early"), seq=due)
    address = f"/tests/{test_id}/frames/{early}"
    assert (await client.get(address)).status_code == 422
    await publish(stack_streams, test_id, "Playing")

    async def is_shown() -> bool:
        answers = [await client.get(address), await client.get("/rpc/getShot", params={"testId": test_id})]
        return [each.content for each in answers] == [jpeg("early")] * 2

    await until(is_shown, within_s=30)


async def test_a_viewer_is_told_of_new_pictures(stack: Stack, stack_streams: Streams) -> None:
    test_id, store = await begin(stack_streams), FrameStore(stack_streams)
    first = await store.put(test_id, jpeg("1"), time_ms=1001)
    async with connect(stack.ws_url) as connection:
        reader = Reader(connection)
        await say(connection, {"type": "subscribe", "channel": "frames", "testId": test_id})
        message = await reader.control("frame", 30)
        assert message == {"type": "frame", "testId": test_id, "number": first, "eventSeq": 0, "timeMs": 1001}
        second = await store.put(test_id, jpeg("2"), time_ms=1002)
        assert (await reader.control("frame", 30))["number"] == second
        await say(connection, {"type": "unsubscribe", "channel": "frames", "testId": test_id})
        await say(connection, {"type": "subscribe", "channel": "frames", "testId": NO_SUCH_TEST})
        error = await reader.control("error", 30)
        assert (error["testId"], error["data"]["code"]) == (NO_SUCH_TEST, "not_found")


async def test_who_follows_only_events_hears_nothing_of_pictures(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    async with connect(stack.ws_url) as both, connect(f"{stack.ws_url}?testId={test_id}") as events:
        one, other = Reader(both), Reader(events)
        await say(both, {"type": "subscribe", "channel": "frames", "testId": test_id})
        await say(both, {"type": "subscribe", "testId": test_id})
        await one.events(2, 30)
        await store_picture(stack_streams, test_id)
        await one.control("frame", 30)
        await publish(stack_streams, test_id, "The last word")
        kinds: list[str] = []
        while not kinds or kinds[-1] != "progress":
            kinds.append((await other.next(30))["type"])
        assert set(kinds) == {"sync", "status", "progress"}


async def test_an_event_of_the_type_frame_is_an_event(stack: Stack, stack_streams: Streams) -> None:
    """Agents may publish such events since before there were pictures over time."""
    test_id = await begin(stack_streams)
    async with connect(f"{stack.ws_url}?testId={test_id}") as connection:
        reader = Reader(connection)
        await reader.events(2, 30)
        stored = await publish(stack_streams, test_id, "120 frames", "frame", number=7)
        [event] = await reader.events(1, 30)
    assert (event["type"], event["seq"], event["number"]) == ("frame", stored.seq, 7)


async def test_the_list_heals(nats_server: EmbeddedServer, nats: Connection, streams: Streams) -> None:
    """After a broker that was restarted, and a stream that was deleted and made again."""
    edge = await Edge(nats_server.url).start()
    try:
        async with a_client(edge, "ann") as client:
            test_id = await begin(streams)
            first = await store_picture(streams, test_id, jpeg("first"))
            await count(client, test_id, 1)
            await nats_server.stop()
            await nats_server.start()
            await until(lambda: answers(nats), within_s=30)
            second = await store_picture(streams, test_id, jpeg("second"))
            found = await count(client, test_id, 2)
            assert [row[0] for row in found["frames"]] == [first, second]
            assert (await client.get(f"/tests/{test_id}/frames/{first}")).content == jpeg("first")

            await streams.api(f"STREAM.DELETE.{subjects.FRAMES}")
            await topology.apply(nats)
            another = await store_picture(streams, test_id, jpeg("another"))
            found = await count(client, test_id, 1)
            assert (found["newest"], found["frames"][0][0]) == (another, another)
            assert (await client.get(f"/tests/{test_id}/frames/{another}")).content == jpeg("another")
    finally:
        await edge.stop()


async def test_publishing_pictures_by_http(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    head = await event_log(stack_streams).last(test_id)

    async def send(test_id: str, body: bytes, **fields: Any) -> httpx.Response:
        given = {"testId": test_id, "jpeg": base64.b64encode(body).decode(), **fields}
        return await client.post("/rpc/publishFrame", json=given)

    stored = await send(test_id, jpeg("x", MAX_JPEG_BYTES - 3), seq=head, timeMs=now_ms())
    assert stored.status_code == 200, stored.text
    number = stored.json()["number"]
    assert (await client.get(f"/tests/{test_id}/frames/{number}")).content == jpeg("x", MAX_JPEG_BYTES - 3)
    for status, code, answer in (
        (400, "malformed_frame", await send(test_id, b"GIF89a")),
        (400, "malformed_frame", await send(test_id, jpeg("x", MAX_JPEG_BYTES))),
        (400, "malformed_frame", await send(test_id, jpeg("x"), seq=head + 1_000_000)),
        (400, "malformed_frame", await client.post("/rpc/publishFrame", json={"testId": test_id, "jpeg": "%%%"})),
        (400, "invalid_params", await send(test_id, jpeg("x"), timeMs=-1)),
        (404, "not_found", await send(NO_SUCH_TEST, jpeg("x"))),
        (413, "too_large", await send(test_id, jpeg("x", 2 * MAX_JPEG_BYTES))),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert [row[0] for row in (await count(client, test_id, 1))["frames"]] == [number]
