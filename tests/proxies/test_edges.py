"""The recipes in front of two real edges: one drains, one is killed, and viewers see each event once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from broker import identity
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from testcast import Event, watch
from testcast.local import deployment
from tests.harness import EdgeProcess, PatientStreams, Reader, begin, publish, until
from tests.proxies.http2 import Http2Connection
from tests.proxies.recipes import NAMES, Certificate, RecipeProxy

pytestmark = pytest.mark.asyncio(loop_scope="module")
each_proxy = pytest.mark.parametrize("name", NAMES)
_VIEWERS = 4
"""Behind each proxy."""


class Installation:
    """A broker, two edges, and in front of them every proxy that this machine can run."""

    def __init__(self, streams: Streams, edges: list[EdgeProcess], certificate: Certificate) -> None:
        self.streams, self.edges, self.certificate = streams, edges, certificate
        self.proxies: dict[str, RecipeProxy] = {}
        self.missing: dict[str, str] = {}

    def of(self, name: str) -> RecipeProxy:
        """Skips the test where the machine cannot run it."""
        if name in self.missing:
            pytest.skip(self.missing[name])
        return self.proxies[name]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    directory = tmp_path_factory.mktemp("edges")
    certificate = Certificate.make(directory / "tls")
    async with AsyncExitStack() as running:
        server = await running.enter_async_context(EmbeddedServer(directory / "nats"))
        nats = await Connection.connect(server.url, name="test")
        running.push_async_callback(nats.close)
        await topology.apply(nats)
        settings = {
            "TESTCAST_EDGE_PUBLIC_URL": "https://localhost/testcast",
            "TESTCAST_EDGE_TRUSTED_PROXIES": "127.0.0.1",
            "TESTCAST_EDGE_ALLOWED_ORIGINS": "https://pages.example",
        }
        edges = [EdgeProcess(server.url, directory, **settings) for _ in range(2)]
        for edge in edges:
            edge.spawn()
            running.push_async_callback(edge.stop)
        for edge in edges:
            await edge.until_ready()
        found = Installation(PatientStreams(nats), edges, certificate)
        for name in NAMES:
            try:
                proxy = RecipeProxy(name, directory, [edge.port for edge in edges], certificate)
            except pytest.skip.Exception as skipped:
                found.missing[name] = str(skipped)
                continue
            await proxy.start()
            running.push_async_callback(proxy.stop)
            found.proxies[name] = proxy
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SSL_CERT_FILE", str(certificate.ca))
            yield found


def client_of(proxy: RecipeProxy) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=proxy.url, verify=proxy.certificate.context(), timeout=30, trust_env=False)


def socket_of(proxy: RecipeProxy, query: str = "", **more: Any) -> connect:
    return connect(
        f"{proxy.url.replace('https', 'wss')}/ws{query}", ssl=proxy.certificate.context(), proxy=None, **more
    )


@each_proxy
async def test_page_calls_and_sockets_below_the_prefix(installation: Installation, name: str) -> None:
    proxy = installation.of(name)
    test_id = await begin(installation.streams)
    async with client_of(proxy) as client:
        page = await client.get(f"/tests/{test_id}")
        assert page.status_code == 200 and "/testcast/" in page.text
        told = (await client.get("/rpc/connectToTest", params={"testId": test_id})).json()
        assert told["url"] == f"wss://localhost/testcast/ws?testId={test_id}"
        ours = {"origin": "https://localhost"}
        assert (await client.post("/rpc/cancelTest", json={"testId": test_id}, headers=ours)).status_code == 200
    async with socket_of(proxy, f"?testId={test_id}", origin="https://localhost") as socket:
        assert len(await Reader(socket).events(3)) == 3


@each_proxy
async def test_an_edge_knows_where_a_viewer_comes_from(installation: Installation, name: str) -> None:
    proxy = installation.of(name)
    address = f"127.0.0.{20 + NAMES.index(name)}"

    async def is_told() -> bool:
        forged = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Host": "evil.example"}
        with pytest.raises(InvalidStatus) as refused:
            async with socket_of(
                proxy, origin="https://evil.example", additional_headers=forged, local_addr=(address, 0)
            ):
                pass
        assert refused.value.response.status_code == 403
        return any(f'address="{address}"' in edge.log.read_text() for edge in installation.edges)

    await until(is_told, within_s=30, what="its log tells one refusal a second")
    assert "9.9.9.9" not in "".join(edge.log.read_text() for edge in installation.edges)


@each_proxy
async def test_a_quiet_socket_is_kept_until_its_heartbeat(installation: Installation, name: str) -> None:
    """All three wait at the same time: the edge's heartbeat is that of its default, 15 s."""
    proxy = installation.of(name)
    if not _waiting:
        _waiting.update({each: asyncio.create_task(_heartbeat(given)) for each, given in installation.proxies.items()})
    assert (await _waiting[proxy.name])["type"] == "heartbeat"


_waiting: dict[str, asyncio.Task[dict[str, Any]]] = {}


async def _heartbeat(proxy: RecipeProxy) -> dict[str, Any]:
    async with socket_of(proxy, ping_interval=None) as socket:
        return await Reader(socket).control("heartbeat", within_s=60)


async def test_a_socket_on_a_stream_of_http_2(installation: Installation) -> None:
    """HAProxy offers it (RFC 8441), so browsers use it."""
    proxy = installation.of("haproxy")
    test_id = await begin(installation.streams)
    connection = Http2Connection(*await proxy.connect("h2"))
    await connection.begin()
    await connection.upgrade(f"/testcast/ws?testId={test_id}", f"localhost:{proxy.port}")
    received = b""
    while b'"Running"' not in received:
        received += await connection.data()
    await publish(installation.streams, test_id, "Later")
    while b'"Later"' not in received:
        received += await connection.data()
    connection.close()


async def test_the_doctor_looks_through_a_proxy(installation: Installation) -> None:
    """With the certificate of a CA of one's own, which `SSL_CERT_FILE` names."""
    findings = {each.name: each for each in await deployment.edge(installation.of("nginx").url, keep_s=0.5)}
    wrong = [each for each in findings.values() if not each.ok]
    assert [each.name for each in wrong] == ["address"], "the public URL has no port in this test"
    assert "readiness" in findings and len(findings) > 4, findings


# ── one edge drains, one is killed ──


class Story:
    """What happened behind one proxy."""

    def __init__(self, proxy: RecipeProxy) -> None:
        self.proxy = proxy
        self.seen: list[list[int]] = [[] for _ in range(_VIEWERS)]
        self.others: list[object] = []
        """What viewers got that is no event: resets."""
        self.answers: Counter[int] = Counter()
        """Statuses of reads while edges went away; 0: none."""
        self.upgrades: Counter[int] = Counter()
        """Likewise of new viewers."""
        self._ended = asyncio.Event()

    async def view(self, number: int, test_id: str) -> None:
        """One viewer, until the run ends."""
        async for item in watch(self.proxy.url, test_id):
            if isinstance(item, Event):
                self.seen[number].append(item.seq)
            else:
                self.others.append(item)

    async def arrive(self) -> None:
        """New viewers and readers, one after the other, until the end."""
        async with client_of(self.proxy) as client:
            while not self._ended.is_set():
                try:
                    self.answers[(await client.get("/rpc/listTests")).status_code] += 1
                except httpx.TransportError:
                    self.answers[0] += 1
                try:
                    async with socket_of(self.proxy, open_timeout=30):
                        self.upgrades[101] += 1
                except InvalidStatus as refused:
                    self.upgrades[refused.response.status_code] += 1
                except (OSError, WebSocketException):
                    self.upgrades[0] += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), 0.2)

    def end(self) -> None:
        """Nobody comes any more."""
        self._ended.set()


class Told:
    """The stories, and the sequences of all events."""

    def __init__(self) -> None:
        self.stories: dict[str, Story] = {}
        self.stored: list[int] = []
        self.drained = -1
        """Exit status of the edge that drained."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(installation: Installation) -> Told:
    """A run is watched through every proxy at once. One edge drains and comes back; the other is killed."""
    result = Told()
    result.stories = {name: Story(proxy) for name, proxy in installation.proxies.items()}
    test_id, over = identity.new_test_id(), asyncio.Event()

    async def say(message: str, kind: str = "progress", **fields: Any) -> None:
        result.stored.append((await publish(installation.streams, test_id, message, kind, **fields)).seq)

    async def publishing() -> None:
        while not over.is_set():
            await say(f"Event {len(result.stored)}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.05)
        await say("Done", "complete", data={"score": 1})

    await say("Queued", "status", status="queued", data={"title": "A game", "gameUrl": "http://game.example/"})

    def follow(story: Story, seqs: int) -> bool:
        return all(len(each) >= seqs for each in story.seen)

    async def all_go_on(more: int) -> None:
        for story in result.stories.values():
            wanted = max(map(len, story.seen)) + more
            await until(partial(follow, story, wanted), within_s=60, what=f"{story.proxy.name}: viewers go on")

    draining, killed = installation.edges
    async with asyncio.TaskGroup() as group:
        publisher = group.create_task(publishing())
        viewers = [
            group.create_task(story.view(number, test_id))
            for story in result.stories.values()
            for number in range(_VIEWERS)
        ]
        await all_go_on(10)
        arriving = [group.create_task(story.arrive()) for story in result.stories.values()]
        result.drained = await draining.stop()
        await all_go_on(10)
        await draining.start()
        await all_go_on(10)
        os.kill(killed.child.pid, signal.SIGKILL)
        await all_go_on(10)
        for story in result.stories.values():
            story.end()
        await asyncio.gather(*arriving)
        over.set()
        await publisher
        await asyncio.wait_for(asyncio.gather(*viewers), 60)
    return result


@each_proxy
async def test_viewers_see_each_event_once_while_edges_go_away(
    installation: Installation, told: Told, name: str
) -> None:
    installation.of(name)
    story = told.stories[name]
    assert told.drained == 0, "it ended by itself"
    assert len(told.stored) > 40
    for each in story.seen:
        assert each == told.stored, "each event once, in order, and not one was lost"
    assert story.others == []
    assert set(story.answers) == {200}, story.answers
    # Caddy asks an edge once a second whether it is ready, and passes on until then what a draining one answers.
    assert set(story.upgrades) <= ({101, 503} if name == "caddy" else {101}), story.upgrades
