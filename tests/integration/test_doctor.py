"""The doctor, from outside: a broker and an edge that are well, and each fault that it names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker import config as broker_config
from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.inspection import clock, inspect
from broker.local.embedded_server import EmbeddedServer
from testcast.local import deployment, doctor
from testcast.local.finding import Finding
from tests.command import run
from tests.conftest import MakeEdge, Stack
from tests.harness import EdgeProcess, begin, free_port
from tests.proxy import Proxy


def wrong(findings: list[Finding]) -> list[str]:
    return [each.name for each in findings if not each.ok]


async def judged(url: str) -> list[Finding]:
    return await deployment.broker(broker_config.load({"TESTCAST_NATS_URL": url}))


async def test_a_broker_that_is_well(nats_server: EmbeddedServer) -> None:
    findings = await judged(nats_server.url)
    assert wrong(findings) == [], findings
    names = [each.name for each in findings]
    assert names[:3] == ["broker", "broker's clock", "JetStream"]
    assert {"stream EVENTS", "stream JOBS", "consumer projector", "consumer workers"} <= set(names)


async def test_what_is_missing_or_different_is_named(nats: Connection, streams: Streams) -> None:
    await streams.api(f"CONSUMER.DELETE.{subjects.JOBS}.{subjects.WORKERS}")
    changed = (await streams.api(f"STREAM.INFO.{subjects.EVENTS}"))["config"] | {
        "max_msgs_per_subject": 5,
        "max_age": 0,
    }
    await streams.api(f"STREAM.UPDATE.{subjects.EVENTS}", changed)
    found = {each.name: each for each in await inspect(nats) if not each.ok}
    assert set(found) == {"stream EVENTS", "consumer workers"}
    assert "max_msgs_per_subject is 5 instead of 20000" in found["stream EVENTS"].detail
    assert "max_age" not in found["stream EVENTS"].detail, "an operator's"
    assert found["consumer workers"].detail == "does not exist"


async def test_a_broker_that_is_dead(nats_server: EmbeddedServer) -> None:
    await nats_server.stop()
    [finding] = await judged(nats_server.url)
    assert (finding.name, finding.ok) == ("broker", False)
    assert nats_server.url in finding.remedy


@pytest.mark.parametrize(("theirs", "ok"), [(100.0, True), (101.5, True), (97.0, False), (105.0, False)])
def test_clocks_are_compared(theirs: float, ok: bool) -> None:
    assert clock("clock", theirs, 100.0, 100.2).ok is ok


async def test_an_edge_that_is_well(stack: Stack, stack_streams: Streams) -> None:
    await begin(stack_streams)
    findings = await deployment.edge(stack.edge_url, keep_s=0.2)
    assert [each.name for each in findings if each.ok] == [
        *("edge", "edge's clock", "readiness", "address", "WebSocket", "idle socket")
    ], findings
    assert doctor.edge_port(stack.edge.port).detail == "an edge is running there"


async def test_an_edge_whose_broker_is_away_is_not_well(make_edge: MakeEdge, nats_server: EmbeddedServer) -> None:
    edge = await make_edge()
    await nats_server.stop()
    async with asyncio.timeout(30):
        while "readiness" not in wrong(await deployment.edge(edge.url)):
            await asyncio.sleep(0.1)


async def test_nothing_and_somebody_else_at_the_address(nats_server: EmbeddedServer) -> None:
    assert wrong(await deployment.edge(f"http://127.0.0.1:{free_port()}")) == ["edge"]
    assert wrong(await deployment.edge(f"http://127.0.0.1:{nats_server.port}")) == ["edge"]


async def test_a_proxy_that_passes_no_upgrade(stack: Stack) -> None:
    async with Proxy(stack.edge.port) as proxy:
        assert wrong(await deployment.edge(proxy.url)) == []
        proxy.sockets = "refuse"
        assert wrong(await deployment.edge(proxy.url)) == ["WebSocket"]


async def test_a_proxy_that_ends_idle_sockets(stack: Stack) -> None:
    async with Proxy(stack.edge.port) as proxy:

        async def cut() -> None:
            while not proxy.open_sockets:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            proxy.cut()

        cutting = asyncio.ensure_future(cut())
        found = await deployment.edge(proxy.url, keep_s=30)
        await cutting
        assert set(wrong(found)) & {"idle socket", "WebSocket"}


@asynccontextmanager
async def changing_host(edge: EdgeProcess) -> AsyncIterator[str]:
    """A proxy in front of an edge that does not keep the Host header."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"host:", b"connection:"))]
        lines[1:1] = [b"Host: localhost:%d" % edge.port, b"Connection: close"]
        answers, requests = await asyncio.open_connection("127.0.0.1", edge.port)
        requests.write(b"\r\n".join(lines))
        writer.write(await answers.read())
        writer.close()
        requests.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_proxy_that_changes_the_host(stack: Stack, stack_streams: Streams) -> None:
    await begin(stack_streams)
    async with changing_host(stack.edge) as url:
        found = {each.name: each for each in await deployment.edge(url)}
        assert not found["address"].ok and "Host" in found["address"].remedy
        assert not found["WebSocket"].ok


async def test_the_command_says_it_all_in_json(stack: Stack, tmp_path: Path) -> None:
    settings = {"TESTCAST_NATS_URL": f"nats://127.0.0.1:{free_port()}", "TESTCAST_EDGE_PORT": str(stack.edge.port)}
    result = await run("doctor", "--json", TESTCAST_STATE_DIR=str(tmp_path), **settings)
    found = {each["name"]: each for each in map(json.loads, result.out.splitlines())}
    assert result.code == 1
    assert not found["broker"]["ok"]
    assert found["edge"]["ok"] and found[f"port {stack.edge.port}"]["detail"] == "an edge is running there"


def test_a_misspelt_setting_needs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTCAST_EDGE_PRT", "1")
    finding = doctor.settings()
    assert not finding.ok and "TESTCAST_EDGE_PORT" in finding.detail
