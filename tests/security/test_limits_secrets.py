"""No door tells anything of the broker: not its address, nor how the edge logs in to it, nor where its files are."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path

import httpx
import nkeys
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.harness import NO_SUCH_TEST, EdgeProcess, free_port, say, until

PASSWORD, USER, JWT = "s3cr3t-passw0rd", "al1ce", "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJzM2NyM3QifQ.c2lnbmF0dXJl"
OWN_KEY = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()
_DASHES, _KIND = "-" * 5, "seed".upper()
CREDENTIALS = (
    f"{_DASHES}BEGIN NATS USER JWT{_DASHES}\n{JWT}\n------END NATS USER JWT------\n\n"
    f"{_DASHES}BEGIN USER NKEY {_KIND}{_DASHES}\n{OWN_KEY}\n------END USER NKEY {_KIND}------\n"
)


async def texts_of(edge: EdgeProcess) -> list[str]:
    """What an edge says while its broker is away, at every door and in every kind of refusal."""
    texts, codes = list[str](), set[int]()
    asked = {"testId": NO_SUCH_TEST}
    async with httpx.AsyncClient(base_url=edge.url, timeout=20) as client:
        for answer in [
            *[await client.get(path) for path in ("/", "/healthz", "/readyz", "/nothing", f"/tests/{NO_SUCH_TEST}")],
            *[await client.get(f"/rpc/{name}", params=asked) for name in ("getTest", "getEvents", "getShot")],
            *[await client.get(f"/rpc/{name}") for name in ("listTests", "getConfig", "nothing")],
            *[await client.post("/rpc/cancelTest", json=asked) for _ in range(4)],
            await client.post("/rpc/submitTest", json={"gameUrl": "http://game.example/"}),
            await client.post("/rpc/submitTest", content=b"{"),
            await client.post("/rpc/submitTest", content=b"{}", headers={"content-encoding": "gzip"}),
            await client.get("/", headers={"host": "evil.example"}),
            await client.get("/", headers={"x": "y" * 40_000}),
        ]:
            texts.append(f"{answer.headers} {answer.text}")
            codes.add(answer.status_code)
        assert codes >= {200, 400, 404, 415, 421, 429, 431, 503}, "every kind of refusal is among them"
    with contextlib.suppress(ConnectionClosed):
        async with connect(edge.ws_url) as socket:
            for kind in ("cancel", "subscribe"):
                await say(socket, {"type": kind, **asked})
            async with asyncio.timeout(20):
                while '"error"' not in (text := str(await socket.recv())):
                    texts.append(text)
            texts.append(text)
    for query in (f"?testId={NO_SUCH_TEST}" + f"&testId={NO_SUCH_TEST}" * 64, "?testId=x"):
        try:
            async with connect(f"{edge.ws_url}{query}") as socket:
                texts.append(str(await socket.recv()))
        except InvalidStatus as refused:
            texts.append(bytes(refused.response.body or b"").decode())
    return texts


async def test_no_text_has_a_secret_or_an_address_of_the_broker(tmp_path: Path) -> None:
    port, credentials = free_port(), tmp_path / "secret-place" / "edge.creds"
    credentials.parent.mkdir()
    credentials.write_text(CREDENTIALS)
    cases: list[tuple[str, dict[str, str], tuple[str, ...]]] = [
        (f"nats://{USER}:{PASSWORD}@127.0.0.1:{port}", {}, (PASSWORD, USER)),
        (f"nats://127.0.0.1:{port}", {"TESTCAST_NATS_CREDS": str(credentials)}, (OWN_KEY, JWT)),
    ]
    for url, settings, secrets in cases:
        edge = EdgeProcess(url, tmp_path, TESTCAST_EDGE_CANCELS_PER_S="0.01", **settings)
        edge.spawn()
        try:
            await until(partial(answers, edge), within_s=30, what=f"it answers; its log: {edge.log}")
            for text in await texts_of(edge):
                for word in (*secrets, str(port), "secret-place", str(tmp_path), "nats://"):
                    assert word not in text, text
        finally:
            await edge.stop()
        log = edge.log.read_text()
        assert not any(secret in log for secret in secrets), log


async def answers(edge: EdgeProcess) -> bool:
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient(base_url=edge.url) as client:
            return (await client.get("/healthz")).status_code == 200
    assert edge.child.exit_code is None, edge.child.last_lines(20)
    return False
