"""The broker's address and credentials stay on the server's side: no answer, socket or log line carries them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from broker.config import load, redacted
from broker.contract.errors import BrokerUnavailable, InvalidSetting
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.conftest import MakeEdge
from tests.harness import NO_SUCH_TEST, EdgeProcess, Reader, free_port, say, until

SECRETS = ("alice", "s3cr3t")
GAME = "http://game.example/"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://alice:s3cr3t@broker:4222", "nats://broker:4222"),
        ("nats://t0ken@broker", "nats://broker"),
        ("nats://alice:s3@cr3t@a:1,tls://bob:hush@b:2", "nats://a:1,tls://b:2"),
        ("nats://alice:s3,cr3t@a:1,nats://b:2", "nats://a:1,nats://b:2"),
        ("nats://alice:s3cr3t,@a:1,bob:hush@b:2", "nats://b:2"),
        ("alice:s3cr3t@broker:4222", "broker:4222"),
        ("wss://broker/path?jwt=s3cr3t", "wss://broker/path"),
        ("nats://[::1]:4222", "nats://[::1]:4222"),
    ],
)
def test_an_address_is_shown_without_credentials(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize("url", ["alice:s3cr3t@broker", "http://alice:s3cr3t@broker:4222"])
def test_a_refused_setting_does_not_quote_the_password(url: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load({"TESTCAST_NATS_URL": url})
    assert not any(secret in str(refused.value) for secret in SECRETS)


async def test_the_connection_names_its_server_only() -> None:
    url = f"nats://alice:s3cr3t@127.0.0.1:{free_port()}"
    with pytest.raises(BrokerUnavailable) as away:
        await Connection.connect(url, name="test", timeout_s=0.3)
    with pytest.raises(InvalidSetting) as wrong:
        await Connection.connect("nats://alice:s3cr3t/@127.0.0.1:1", name="test", timeout_s=0.3)
    nats = Connection.dial(url, name="test")
    texts = (str(away.value), str(wrong.value), repr(nats), str(await _failure(nats)))
    await nats.close()
    for text in texts:
        assert not any(secret in text for secret in SECRETS), text


async def _failure(nats: Connection) -> Exception:
    try:
        await nats.publish("a", b"")
    except BrokerUnavailable as error:
        return error
    raise AssertionError("published without a broker")


async def test_a_viewer_gets_no_address_while_the_broker_is_away(tmp_path: Path) -> None:
    port = free_port()
    edge = EdgeProcess(f"nats://alice:s3cr3t@127.0.0.1:{port}", tmp_path)
    edge.spawn()
    try:
        async with httpx.AsyncClient(base_url=edge.url) as client:
            await until(lambda: _answers(client))
            texts = [
                (await client.post("/rpc/submitTest", json={"gameUrl": GAME})).text,
                (await client.post("/rpc/cancelTest", json={"testId": NO_SUCH_TEST})).text,
                (await client.get("/rpc/listTests")).text,
                (await client.get("/rpc/getTest", params={"testId": NO_SUCH_TEST})).text,
                (await client.get("/rpc/getEvents", params={"testId": NO_SUCH_TEST})).text,
                (await client.get("/rpc/connectToTest", params={"testId": NO_SUCH_TEST})).text,
                (await client.get("/rpc/getShot", params={"testId": NO_SUCH_TEST})).text,
                (await client.get("/readyz")).text,
            ]
        async with connect(edge.ws_url) as socket:
            await say(socket, {"type": "cancel", "testId": NO_SUCH_TEST})
            texts.append(repr(await Reader(socket).control("error")))
    finally:
        await edge.stop()
    for text in texts:
        assert str(port) not in text and not any(secret in text for secret in SECRETS), text
    assert all("broker_unavailable" in text for text in texts[:7] + texts[8:])
    log = edge.log.read_text()
    assert not any(secret in log for secret in SECRETS), log


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_the_brokers_own_words_stay_inside(
    streams: Streams, nats_server: EmbeddedServer, make_edge: MakeEdge
) -> None:
    edge = await make_edge()
    await streams.api("STREAM.DELETE.EVENTS")
    async with httpx.AsyncClient(base_url=edge.url) as client:
        answer = await client.get("/rpc/getEvents", params={"testId": NO_SUCH_TEST})
    assert answer.status_code in (404, 502, 503)
    assert str(nats_server.port) not in answer.text and "STREAM" not in answer.text and "EVENTS" not in answer.text
