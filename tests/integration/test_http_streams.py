"""Streams over plain HTTP, of a real edge: what comes and how it ends, what is refused, and edges that go away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.jetstream.api import Streams
from tests.conftest import MakeEdge, Stack
from tests.event_source import messages
from tests.harness import NO_SUCH_TEST, STALL_S, EdgeProcess, begin, publish, until

STREAM = {"accept": "text/event-stream"}


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.edge_url, timeout=60) as client:
        yield client


async def raw(edge: EdgeProcess, *sent: bytes) -> bytes:
    """Whatever the edge answers to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    for each in sent:
        writer.write(each)
        await writer.drain()
    async with asyncio.timeout(STALL_S):
        answer = await reader.read()
    writer.close()
    return answer


async def first_page(client: httpx.AsyncClient, test_id: str, events: int = 2) -> dict[str, Any]:
    """The page from the first event on, once the edge has so many."""

    async def whole() -> dict[str, Any] | None:
        page: dict[str, Any] = (await client.get(f"/tests/{test_id}/events")).json()
        return page if len(page.get("events", ())) == events else None

    return await until(whole)


def head(path: str, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join(
        [f"GET {path} HTTP/{version}", "host: localhost", "accept: text/event-stream", *lines, "", ""]
    ).encode()


async def test_a_stream_brings_what_a_socket_brings_and_ends_with_the_run(
    client: httpx.AsyncClient, stack_streams: Streams
) -> None:
    test_id = await begin(stack_streams)
    seen: list[int] = []
    async with client.stream("GET", f"/tests/{test_id}/events", headers=STREAM) as response:
        assert response.headers["content-type"] == "text/event-stream" and response.headers["x-request-id"]
        assert response.headers["x-accel-buffering"] == "no" and response.headers["cache-control"] == "no-store"
        async for message, said in messages(response):
            if message.event == "sync":
                assert (said["outcome"], said["testId"], message.id) == ("live", test_id, f"{said['epoch']}.0")
            elif message.event == "message":
                seen.append(said["seq"])
                if len(seen) == 2:
                    await publish(stack_streams, test_id, "Half")
                elif len(seen) == 3:
                    await publish(stack_streams, test_id, "Done", "complete")
    assert (message.event, said["reason"], message.retry_ms) == ("goodbye", "ended", said["retryAfterMs"])
    assert len(seen) == 4 and message.id.endswith(f".{seen[-1]}")

    async def at_the_end() -> bool:  # the edge's memory of the run may follow the event
        again = await client.get(f"/tests/{test_id}/events", headers=STREAM | {"last-event-id": message.id})
        assert again.status_code == 204 or ("goodbye" in again.text and 'data: {"testId"' not in again.text)
        return again.status_code == 204

    await until(at_the_end, what="who has everything is told so, and EventSource stops")


async def test_several_runs_and_the_list_are_one_stream(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    one, other = await begin(stack_streams), await begin(stack_streams)
    first = await first_page(client, other)
    at = f"{first['epoch']}.{first['after']}"
    address = f"/events?watch={one}&watch={other}:{at}&watch={NO_SUCH_TEST}&channel=tests"
    seen: dict[str, list[str]] = {one: [], other: []}
    kinds: set[str] = set()
    async with client.stream("GET", address, headers=STREAM) as response:
        async for message, said in messages(response):
            assert not message.id
            kinds.add(message.event)
            if message.event == "sync":
                assert said["outcome"] == ("live" if said["testId"] == one else "recovered")
            elif message.event == "error":
                assert (said["testId"], said["data"]["code"]) == (NO_SUCH_TEST, "not_found")
            elif message.event == "message":
                seen[said["testId"]].append(said["message"])
                if seen == {one: ["Queued", "Running"], other: []}:
                    await publish(stack_streams, other, "Live")
            if seen[other] and kinds >= {"sync", "error", "tests", "message"}:
                break
    assert seen == {one: ["Queued", "Running"], other: ["Live"]}


async def test_what_is_refused_has_a_status(client: httpx.AsyncClient, stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    for path, headers, status, code in (
        (f"/tests/{NO_SUCH_TEST}/events", {}, 404, "not_found"),
        (f"/events?watch={NO_SUCH_TEST}", {}, 404, "not_found"),
        ("/tests/none/events", {}, 400, "invalid_test_id"),
        (f"/tests/{test_id}/events?after=x", {}, 400, "invalid_params"),
        (f"/tests/{test_id}/events", {"last-event-id": "7"}, 400, "invalid_params"),
        ("/events", {}, 400, "invalid_params"),
        (f"/tests/{test_id}/events", {"origin": "http://elsewhere.example"}, 403, "foreign_origin"),
        (f"/tests/{test_id}/events", {"host": "elsewhere.example"}, 421, "wrong_host"),
        ("/events?" + "&".join(f"watch={number:08x}{test_id[8:]}" for number in range(65)), {}, 400, "too_many_tests"),
    ):
        refused = await client.get(path, headers=STREAM | headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code), path
        assert refused.headers["x-request-id"]
    for path in (f"/tests/{test_id}/events", f"/ds/tests/{test_id}", "/events"):
        other = await client.post(path, headers=STREAM)
        assert (other.status_code, sorted(other.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])
    assert (await client.get(f"/events?watch={test_id}")).json()["error"]["code"] == "not_acceptable"
    asked = await client.head(f"/tests/{test_id}/events", headers=STREAM)
    assert (asked.status_code, asked.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")

    path = f"/tests/{test_id}/events"
    behind = await raw(stack.edge, head(path) + b"GET /healthz HTTP/1.1\r\n")
    assert behind.startswith(b"HTTP/1.1 400") and b"nothing may follow" in behind
    body = await raw(stack.edge, head(path, "content-length: 2") + b"{}")
    assert body.startswith(b"HTTP/1.1 400") and b"nothing may follow" in body
    await publish(stack_streams, test_id, "Done", "complete")
    in_turn = await raw(stack.edge, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", head(path, version="1.0"))
    assert in_turn.count(b"HTTP/1.1 200 OK") == 2 and b'"reason":"ended"' in in_turn, "a stream in its turn, to its end"


async def test_pages_of_events_are_read_by_offset(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "Half")
    path = f"/tests/{test_id}/events"

    async def page(**asked: Any) -> tuple[dict[str, Any], httpx.Headers]:
        answer = await client.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json(), answer.headers

    await first_page(client, test_id, 3)
    whole, headers = await page()
    assert (whole["outcome"], whole["snapshot"]["testId"], headers["cache-control"]) == ("live", test_id, "no-store")
    seqs = [event["seq"] for event in whole["events"]]
    assert (whole["head"], whole["after"], whole["more"], whole["ended"]) == (seqs[2], seqs[2], False, False)
    at = {"epoch": whole["epoch"]}
    part, headers = await page(after=seqs[0], limit=1, **at)
    assert ([event["seq"] for event in part["events"]], part["after"], part["more"]) == ([seqs[1]], seqs[1], True)
    assert headers["cache-control"] == "public, max-age=604800, immutable" and "snapshot" not in part
    known = await client.get(
        path, params={"after": seqs[0], "limit": 1, **at}, headers={"if-none-match": headers["etag"]}
    )
    assert (known.status_code, known.content) == (304, b"")
    assert (await page(after=seqs[0], limit=1))[1]["cache-control"] == "no-store", "of whichever life of the stream"
    assert (await page(after=seqs[0], **at))[1]["cache-control"] == "public, max-age=60", "it grows"
    nothing, headers = await page(after=seqs[2], wait=0.2, **at)
    assert (nothing["events"], nothing["after"], headers["cache-control"]) == ([], seqs[2], "no-store")
    waiting = [asyncio.create_task(page(after=seqs[2], wait=30, **at)) for _ in range(5)]
    await publish(stack_streams, test_id, "Done", "complete")
    for each, headers in await asyncio.gather(*waiting):
        assert [event["message"] for event in each["events"]] == ["Done"] and each["ended"]
        assert headers["cache-control"].endswith("immutable")
    for wrong in ({"after": -1}, {"wait": 31}, {"limit": 0}, {"other": 1}, {"after": "x"}):
        refused = await client.get(path, params=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_params"), wrong
    assert (await client.get(f"/tests/{NO_SUCH_TEST}/events")).status_code == 404


class Follower:
    """Follows a run to its end by a stream or by long polls, from edge to edge, as a client would."""

    def __init__(self, by: str, test_id: str, edges: list[EdgeProcess]) -> None:
        self.by, self.test_id, self.edges = by, test_id, edges
        self.seen: list[int] = []
        self.goodbyes: list[str] = []
        self.at = ""
        self.ended = False

    async def follow(self) -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            while not self.ended:
                address = f"{self.edges[-1].url}/tests/{self.test_id}/events"
                with contextlib.suppress(httpx.TransportError):
                    await (self._stream if self.by == "stream" else self._poll)(client, address)
                await asyncio.sleep(0.05)  # it has gone, is not there yet, or goes away

    async def _stream(self, client: httpx.AsyncClient, address: str) -> None:
        headers = STREAM | ({"last-event-id": self.at} if self.at else {})
        async with client.stream("GET", address, headers=headers) as response:
            if response.status_code == 204:
                self.ended = True
            elif response.status_code == 200:
                async for message, said in messages(response):
                    self.at = message.id
                    if message.event == "message":
                        self._take(said)
                    elif message.event == "goodbye":
                        self.goodbyes.append(said["reason"])

    async def _poll(self, client: httpx.AsyncClient, address: str) -> None:
        epoch, _, after = self.at.rpartition(".")
        asked = {"wait": 30} | ({"after": after, "epoch": epoch} if after else {})
        answer = await client.get(address, params=asked)
        page = answer.json()
        if answer.headers.get("connection") == "close":
            self.goodbyes.append("close")
        if "after" in page:
            self.at = f"{page['epoch']}.{page['after']}"
            for event in page["events"]:
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        self.seen.append(event["seq"])
        self.ended = self.ended or event["type"] == "complete"


async def test_nothing_is_lost_or_doubled_when_edges_are_drained_and_killed(
    streams: Streams, make_edge: MakeEdge
) -> None:
    test_id = await begin(streams)
    edges = [await make_edge(TESTCAST_EDGE_DRAIN_S="2")]
    followers = [Follower(by, test_id, edges) for by in ("stream", "poll") for _ in range(3)]
    following = [asyncio.create_task(each.follow()) for each in followers]
    stored = [1, 2]

    async def more(count: int) -> None:
        for _ in range(count):
            stored.append((await publish(streams, test_id, f"{len(stored)}")).seq)
        await until(lambda: all(each.seen[-1:] == stored[-1:] for each in followers))

    await more(3)
    edges.append(await make_edge())
    await edges[0].stop()
    await more(3)
    await until(lambda: all(each.goodbyes for each in followers), what="they were sent away")
    edges.append(await make_edge())
    edges[1].child.signal(signal.SIGKILL)
    await more(3)
    stored.append((await publish(streams, test_id, "Done", "complete")).seq)
    await asyncio.wait_for(asyncio.gather(*following), 60)
    for each in followers:
        assert each.seen == stored, each.by


async def test_a_run_is_read_as_a_durable_stream(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    """The conformance kit looks at the rest (`make durable`)."""
    test_id = await begin(stack_streams)
    path = f"/ds/tests/{test_id}"

    async def both() -> httpx.Response | None:
        answer = await client.get(path)
        return answer if len(answer.json()) == 2 else None

    whole = await until(both)
    assert whole.headers["stream-up-to-date"] == "true" and "stream-closed" not in whole.headers
    tail = whole.headers["stream-next-offset"]
    waiting = asyncio.create_task(client.get(path, params={"offset": tail, "live": "long-poll"}))
    seen: list[int] = []
    async with client.stream("GET", path, params={"offset": "-1", "live": "sse"}) as response:
        assert (response.headers["content-type"], response.headers["cache-control"]) == (
            "text/event-stream",
            "no-cache",
        )
        async for message, said in messages(response):
            if message.event == "data":
                seen += [event["seq"] for event in said]
            elif len(seen) == 2:
                assert said["streamNextOffset"] == tail and said["upToDate"] and said["streamCursor"].isdigit()
                await publish(stack_streams, test_id, "Done", "complete")
    assert len(seen) == 3 and said["streamClosed"] and "streamCursor" not in said
    answer = await waiting
    assert [event["message"] for event in answer.json()] == ["Done"] and answer.headers["stream-closed"] == "true"
    closed = await client.get(path, params={"offset": said["streamNextOffset"], "live": "long-poll"})
    assert (closed.status_code, closed.headers["stream-closed"]) == (204, "true")
    gone = await client.get(path, params={"offset": f"2020_{7:016d}"})
    assert (gone.status_code, gone.json()["error"]["details"]) == (410, {"reason": "epoch"})
    wrong: tuple[dict[str, str | list[str]], ...]
    wrong = ({"offset": "x"}, {"offset": ""}, {"live": "sse"}, {"offset": [tail, tail]}, {"offset": "-1", "live": "x"})
    for each in wrong:
        refused = await client.get(path, params=each)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_params"), each
    assert (await client.head(f"/ds/tests/{NO_SUCH_TEST}")).status_code == 404


async def test_whoever_waits_counts_as_a_viewer_for_as_long_as_he_does(streams: Streams, make_edge: MakeEdge) -> None:
    edge = await make_edge(TESTCAST_EDGE_MAX_SOCKETS_PER_ADDRESS="2")
    test_id = await begin(streams)
    async with httpx.AsyncClient(base_url=edge.url, timeout=60) as client:
        first = await first_page(client, test_id)
        at = {"after": first["after"], "epoch": first["epoch"], "wait": 30}
        ways: list[tuple[str, dict[str, Any], dict[str, str]]] = [
            (f"/tests/{test_id}/events", {}, STREAM),
            (f"/tests/{test_id}/events", at, {}),
            (f"/ds/tests/{test_id}", {"offset": "now", "live": "sse"}, {}),
        ]

        async def hold(path: str, asked: dict[str, Any], headers: dict[str, str]) -> None:
            while True:  # a look whether it is full takes a place itself
                async with client.stream("GET", path, params=asked, headers=headers) as response:
                    await response.aread()
                await asyncio.sleep(0.05)

        async def full() -> bool:
            answer = await client.get(ways[0][0], params={"after": at["after"], "wait": 0.1})
            return answer.status_code == 503 and answer.json()["error"]["code"] == "address_full"

        async def free() -> bool:
            return not any(await asyncio.gather(full(), full()))

        for way in ways:
            holding = [asyncio.create_task(hold(*way)) for _ in range(2)]
            await until(full)
            for each in holding:
                each.cancel()
            await asyncio.gather(*holding, return_exceptions=True)
            await until(free)
