"""Two edges with authentication on one broker: tickets, revocations and share links count on both."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from broker.contract import subjects
from broker.contract.errors import NotThere
from broker.jetstream import kv
from broker.jetstream.api import Streams
from testcast.local import access_files
from tests.command import run
from tests.conftest import MakeEdge
from tests.harness import EdgeProcess, Reader, begin, publish, say, until

FRIEND: Final = "https://friend.example"


class Installation(NamedTuple):
    """Two edges, and the files that they share."""

    edges: tuple[EdgeProcess, EdgeProcess]
    files: Path

    def token(self, subject: str = "ann", projects: str = "*", can: tuple[str, ...] = ("*",)) -> str:
        """A token for an hour."""
        key = access_files.read_signing_key(self.files / access_files.SIGNING_KEY)
        names = projects if projects == "*" else projects.split(",")
        actions = "*" if can == ("*",) else can
        return access_files.issue(key, access_files.Grant(subject, names, actions, 3600), time.time())

    async def call(
        self, edge: int, method: str, token: str | None = None, page: str | None = None, **params: Any
    ) -> httpx.Response:
        """Calls a method as a page does; by default one of the edge."""
        own = self.edges[edge].url
        headers = {"origin": page or own} | ({} if token is None else {"authorization": f"Bearer {token}"})
        async with httpx.AsyncClient(base_url=own, headers=headers) as http:
            return await http.post(f"/rpc/{method}", json=params)

    def connect(self, edge: int, query: str = "", **headers: str) -> connect:
        """Opens a socket."""
        return connect(self.edges[edge].ws_url + query, additional_headers=headers)


@pytest.fixture
async def installation(make_edge: MakeEdge, tmp_path: Path) -> AsyncIterator[Installation]:
    access_files.make(tmp_path / "access", time.time())
    settings = access_files.access_settings(tmp_path / "access") | {"TESTCAST_EDGE_ALLOWED_ORIGINS": FRIEND}
    one, two = await asyncio.gather(make_edge(**settings), make_edge(**settings))
    yield Installation((one, two), tmp_path / "access")


def jti_of(token: str) -> str:
    body = token.split(".")[1]
    return str(orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["jti"])


async def closed_with(connection: ClientConnection) -> int:
    """The close code, after everything else was read."""
    try:
        async with asyncio.timeout(40):
            while True:
                await connection.recv()
    except ConnectionClosed as end:
        assert end.rcvd is not None
        return end.rcvd.code


async def test_what_one_edge_is_told_counts_on_the_other(installation: Installation, streams: Streams) -> None:
    test_id = await begin(streams, "Watched")
    ann, root = installation.token(), (installation.files / access_files.TOKEN).read_text().strip()
    await a_ticket_of_one_edge_opens_a_socket_at_the_other(installation, ann)
    await a_link_of_one_edge_shows_the_run_at_the_other(installation, streams, test_id, ann)
    await a_token_is_revoked_at_both(installation, streams, test_id, ann, root)
    await what_was_revoked_stays_so_when_the_bucket_is_deleted(installation, streams, ann)


async def a_ticket_of_one_edge_opens_a_socket_at_the_other(installation: Installation, token: str) -> None:
    given = (await installation.call(0, "getTicket", token, page=FRIEND)).json()
    offered = [Subprotocol("testcast.v1"), Subprotocol(f"ticket.{given['ticket']}")]

    def opening(edge: int, origin: str = FRIEND) -> connect:
        return connect(installation.edges[edge].ws_url, subprotocols=offered, origin=Origin(origin))

    for edge in (0, 1):
        with pytest.raises(InvalidStatus) as refused:
            await opening(edge, installation.edges[edge].url)
        assert refused.value.response.status_code == 401, "it was given to another page"
    async with opening(1) as opened:
        assert opened.subprotocol == "testcast.v1"
    for edge in (0, 1):
        with pytest.raises(InvalidStatus) as refused:
            await opening(edge)
        assert refused.value.response.status_code == 401


async def a_link_of_one_edge_shows_the_run_at_the_other(
    installation: Installation, streams: Streams, test_id: str, token: str
) -> None:
    made = (await installation.call(0, "shareTest", token, testId=test_id, forSeconds=600)).json()
    secret = made["path"].partition("#share=")[2]

    async def opened() -> httpx.Response | None:
        answer = await installation.call(1, "openShare", testId=test_id, secret=secret)
        return answer if answer.status_code == 200 else None

    cookie = (await until(opened)).headers["set-cookie"].partition(";")[0]
    async with installation.connect(1, f"?testId={test_id}", Cookie=cookie) as socket:
        reader = Reader(socket)
        assert (await reader.control("sync"))["snapshot"]["title"] == "Watched"
        await say(socket, {"type": "subscribe", "channel": "tests"})
        assert (await reader.control("error"))["data"]["code"] == "forbidden"
        await installation.call(0, "unshareTest", token, testId=test_id, shareId=made["shareId"])
        assert (await reader.control("error"))["data"]["code"] == "not_found"
        assert await closed_with(socket) == 4404
    with pytest.raises(InvalidStatus):
        await installation.connect(1, f"?testId={test_id}", Cookie=cookie)


async def a_token_is_revoked_at_both(
    installation: Installation, streams: Streams, test_id: str, token: str, root: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        installation.connect(0, f"?testId={test_id}", **headers) as one,
        installation.connect(1, f"?testId={test_id}", **headers) as two,
    ):
        readers = [Reader(one), Reader(two)]
        for reader in readers:
            await reader.events(2)
        file, admin = installation.files / "revoked", str(installation.files / access_files.TOKEN)
        file.write_text(token)
        at = ["--edge", installation.edges[0].url, "--token-file"]
        assert (await run("token", "revoke", "--jti", "x", *at, str(file))).code == 0, "by whom may do everything"
        revoked = await run("token", "revoke", str(file), *at, admin)
        assert (revoked.code, revoked.out) == (0, "") and jti_of(token) in revoked.err
        for reader in readers:
            error = await reader.control("error")
            assert error["data"] == {"code": "token_revoked", "graceMs": 25_000}
        await publish(streams, test_id, "In the grace")
        for reader in readers:
            assert [each["message"] for each in await reader.events(1)] == ["In the grace"]
        await say(one, {"type": "authenticate", "token": installation.token()})
        assert (await readers[0].control("authenticated"))["expiresAt"] > time.time() * 1000
    for edge in (0, 1):
        assert (await installation.call(edge, "listTests", token)).status_code == 401
        assert (await installation.call(edge, "listTests", root)).status_code == 200


async def what_was_revoked_stays_so_when_the_bucket_is_deleted(
    installation: Installation, streams: Streams, token: str
) -> None:
    bucket = kv.stream(subjects.ACCESS)
    before = (await streams.state(bucket)).epoch
    await Streams(streams.nats, mends=False).api(f"STREAM.DELETE.{bucket}")

    async def healed() -> bool:
        try:
            state = await Streams(streams.nats, mends=False).state(bucket)
        except NotThere:
            return False
        return state.epoch != before and state.messages > 0

    await until(healed, within_s=30, what="the edges put back what they remember")
    await installation.edges[1].stop()
    await installation.edges[1].start()
    assert (await installation.call(1, "listTests", token)).status_code == 401
