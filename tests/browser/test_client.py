"""/testcast.js on a page of somebody else's: another origin, the documentation's example as it stands, a bad line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from broker.jetstream.api import Streams
from tests.browser.dashboard import complete
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, EdgeProcess, begin, publish, until
from tests.npm import install
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one Chromium for all

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/CLIENT.md"


class Elsewhere(NamedTuple):
    """A web server of somebody else's, and an edge that lets its pages in."""

    url: str
    pages: dict[str, str]
    edge: EdgeProcess
    proxy: Proxy


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere(stack: Stack, tmp_path: Path) -> AsyncIterator[Elsewhere]:
    pages: dict[str, str] = {"/": "<!doctype html><title>elsewhere</title>"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        body = pages.get(path, "").encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    edge = await EdgeProcess(stack.nats_url, tmp_path, TESTCAST_EDGE_ALLOWED_ORIGINS=url).start()
    async with Proxy(edge.port) as proxy:
        yield Elsewhere(url, pages, edge, proxy)
    server.close()
    await edge.stop()


async def test_the_example_of_the_documentation(stack_streams: Streams, page: Page, elsewhere: Elsewhere) -> None:
    (example,) = re.findall(r"```html\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(example.strip().splitlines()) <= 15
    elsewhere.pages["/"] = example.replace("http://127.0.0.1:8000", elsewhere.edge.url).replace(
        "https://my-game.example/", "http://127.0.0.1:9/"
    )
    known = await test_ids(elsewhere)
    await page.goto(elsewhere.url)
    await expect(page.locator("li")).to_have_count(1)  # queued
    await expect(page).to_have_title("live")

    async def listed() -> bool:
        return bool(await test_ids(elsewhere) - known)

    await until(listed, within_s=20.0, what="the run is in the list")
    (test_id,) = await test_ids(elsewhere) - known
    await publish(stack_streams, test_id, "Testing <b>WASD</b> movement")
    await expect(page.locator("li").last).to_have_text("Testing <b>WASD</b> movement")
    await complete(stack_streams, test_id)
    await expect(page).to_have_title("completed: 78")
    await expect(page.locator("li")).to_have_count(3)


async def test_ids(elsewhere: Elsewhere) -> set[str]:
    async with httpx.AsyncClient() as client:
        answer = (await client.get(f"{elsewhere.edge.url}/rpc/listTests?limit=200")).json()
    return {test["testId"] for test in answer["tests"]}


test_ids.__test__ = False  # type: ignore[attr-defined]


async def test_an_origin_that_nobody_named_is_refused(page: Page, elsewhere: Elsewhere) -> None:
    """The same page from another origin: the browser does not hand it the module, nor the edge a socket."""
    await page.goto(elsewhere.url.replace("127.0.0.1", "localhost"))
    failed = await page.evaluate(
        "url => import(url).then(() => 'in', e => e.name)", f"{elsewhere.edge.url}/testcast.js"
    )
    assert failed == "TypeError"
    ws_url = elsewhere.edge.ws_url
    closed = await page.evaluate(
        "url => new Promise((done) => (new WebSocket(url).onclose = (e) => done(e.code)))", ws_url
    )
    assert closed == 1006


async def test_cross_origin_headers_are_for_named_origins_only(elsewhere: Elsewhere, stack: Stack) -> None:
    async with httpx.AsyncClient() as client:
        for path in ("/testcast.js", "/client/connection.js", "/rpc/listTests"):
            for edge, origin, allowed in (
                (elsewhere.edge.url, elsewhere.url, elsewhere.url),
                (elsewhere.edge.url, "http://evil.example", None),
                (stack.edge_url, elsewhere.url, None),
            ):
                answer = await client.get(edge + path, headers={"origin": origin})
                assert answer.headers.get("access-control-allow-origin") == allowed, (path, origin)


async def start(page: Page, elsewhere: Elsewhere, options: str = "") -> None:
    """A viewer at `window.viewer` that writes what it is told to `window.told`."""
    await page.goto(elsewhere.url)
    await page.evaluate(
        """async ([url, options]) => {
          const { connect } = await import(`${url}/testcast.js`);
          window.told = [];
          window.states = [];
          window.viewer = connect({
            onEvent: (event) => told.push([event.testId, event.message]),
            onReset: ({ testId, reason }) => told.push([testId, `reset ${reason}`]),
            onRefused: (testId, error) => told.push([testId, `${error.code} ${error.status}`]),
            onConnection: ({ state }) => states.at(-1) === state || states.push(state),
            ...JSON.parse(options || "{}"),
          });
        }""",
        [elsewhere.proxy.url, options],
    )


async def told(page: Page, test_id: str) -> list[str]:
    found: list[str] = await page.evaluate("id => told.filter(([of]) => of === id).map(([, text]) => text)", test_id)
    return found


async def goes_by(page: Page, state: str) -> None:
    """Waits until the client says that it is in this state."""
    await until(lambda: page.evaluate(f"states.at(-1) === '{state}'"))


async def test_several_tests_over_a_bad_line(stack_streams: Streams, page: Page, elsewhere: Elsewhere) -> None:
    """A cut, a stream over HTTP, polling, a socket again: each event once, in order; no attempt after the end."""
    proxy = elsewhere.proxy
    ids = [await begin(stack_streams, f"Game {n}") for n in range(3)]
    await start(page, elsewhere)
    await page.evaluate("ids => ids.forEach((id) => viewer.watch(id))", ids)
    expected = ["Queued", "Running"]

    async def say(text: str) -> None:
        expected.append(text)
        for test_id in ids:
            await publish(stack_streams, test_id, text)

    async def everybody_heard() -> bool:
        return [await told(page, each) for each in ids] == [expected] * 3

    await say("over the socket")
    await until(everybody_heard)
    assert proxy.upgrades == 1
    proxy.cut()
    await say("during a cut")
    await until(everybody_heard)
    proxy.sockets = "refuse"
    proxy.cut()
    await say("without sockets")
    await until(everybody_heard, within_s=20)
    await goes_by(page, "streaming")
    await say("over HTTP")
    await until(everybody_heard)
    proxy.streams = "refuse"
    proxy.cut()
    await say("without streams")
    await until(everybody_heard, within_s=20)
    await goes_by(page, "polling")
    proxy.sockets = "pass"
    await page.evaluate("viewer.retry()")
    await goes_by(page, "live")
    await say("over a socket again")
    await until(everybody_heard)

    for test_id in ids:
        await complete(stack_streams, test_id)
    expected.append("Test complete! Score 78/100")
    await until(everybody_heard)
    upgrades = proxy.upgrades
    proxy.cut()
    await goes_by(page, "idle")
    assert proxy.upgrades == upgrades, "nothing is expected: no attempt"
    assert await page.evaluate("id => viewer.run(id).score", ids[0]) == 78
    assert await page.evaluate("(viewer.close(), viewer.connection.state)") == "closed"


async def test_the_installed_package_watches_from_a_page(
    stack_streams: Streams, page: Page, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """`clients/js`, served by somebody else's server next to their page; no socket passes."""
    folder, _ = install("js", tmp_path)

    async def serve(route: Route) -> None:
        await route.fulfill(path=folder / "dist" / route.request.url.rpartition("/")[2])

    await page.route("**/package/*", serve)
    elsewhere.proxy.sockets = "refuse"
    test_id = await begin(stack_streams)
    await complete(stack_streams, test_id)
    await page.goto(elsewhere.url)
    read = """async ([url, id]) => {
      const { connect } = await import("/package/testcast.js");
      const viewer = connect({ url });
      const told = [];
      for await (const item of viewer.events(id)) told.push(item.message);
      return [told, viewer.run(id).score];
    }"""
    told = await page.evaluate(read, [elsewhere.proxy.url, test_id])
    assert told == [["Queued", "Running", "Test complete! Score 78/100"], 78]
    assert elsewhere.proxy.streams_asked == 1


async def test_bad_ids(page: Page, elsewhere: Elsewhere) -> None:
    await start(page, elsewhere)
    for bad in ("nonsense", NO_SUCH_TEST.upper(), ""):
        told_so: Any = await page.evaluate("id => { try { viewer.watch(id) } catch (e) { return e.name } }", bad)
        assert told_so == "TypeError", bad
    assert elsewhere.proxy.upgrades == 0
    await page.evaluate("id => viewer.watch(id)", NO_SUCH_TEST)
    await until(lambda: told(page, NO_SUCH_TEST))
    assert await told(page, NO_SUCH_TEST) == ["not_found 404"]
    read = (
        "async (id) => { try { for await (const _ of viewer.events(id)); } catch (e) { return [e.code, e.message] } }"
    )
    code, message = await page.evaluate(read, NO_SUCH_TEST)
    assert code == "not_found" and NO_SUCH_TEST in message


async def test_watched_again_and_resumed(stack_streams: Streams, page: Page, elsewhere: Elsewhere) -> None:
    """A watch that is let go of leaves nothing behind; a position goes on exactly after it, in another viewer too."""
    test_id = await begin(stack_streams)
    for n in range(5):
        await publish(stack_streams, test_id, f"{n}")
    await start(page, elsewhere)
    whole = ["Queued", "Running", "0", "1", "2", "3", "4"]
    read = """async ([id, count, position]) => {
      const found = [];
      for await (const item of viewer.events(id, { position })) {
        found.push(item.message);
        if (found.length === count) break;
      }
      return found;
    }"""
    for _ in range(3):
        assert await page.evaluate(read, [test_id, 7, None]) == whole
    await page.evaluate("id => viewer.watch(id)", test_id)
    await until(lambda: page.evaluate("id => viewer.position(id)?.seq && told.at(-1)?.[1] === '4'", test_id))
    position = await page.evaluate("id => viewer.position(id)", test_id)
    await page.evaluate("viewer.close()")
    await publish(stack_streams, test_id, "afterwards")
    await start(page, elsewhere)
    assert await page.evaluate(read, [test_id, 1, position]) == ["afterwards"]


async def test_the_list(stack_streams: Streams, page: Page, elsewhere: Elsewhere) -> None:
    await start(page, elsewhere, '{"list": true}')
    await page.evaluate("void (viewer.hooks.onRun = (run) => ((window.runs ??= {})[run.testId] = run.status))")
    test_id = await begin(stack_streams)
    await until(lambda: page.evaluate("id => window.runs?.[id] === 'running'", test_id))
    await complete(stack_streams, test_id)
    await until(lambda: page.evaluate("id => runs[id] === 'completed'", test_id))
    assert await told(page, test_id) == [], "its events were not asked for"
