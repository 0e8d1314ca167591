"""A protected edge: every door wants a token, and those who have one use it as before."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from broker.jetstream.api import Streams
from broker.log_lines import JsonLines
from testcast import list_runs, submit, watch
from testcast.client.errors import EdgeRefused
from testcast.local import access_files
from tests.command import run
from tests.conftest import Stack
from tests.harness import EdgeProcess, begin, publish, until
from ws_edge.api.methods import METHODS


class Protected:
    """An edge that wants tokens, and the files that go with it."""

    def __init__(self, edge: EdgeProcess, files: Path) -> None:
        self.edge, self.files = edge, files
        self.admin = (files / access_files.TOKEN).read_text().strip()
        self._key = access_files.read_signing_key(files / access_files.SIGNING_KEY)

    def token(self, *can: str, projects: str = "*", made_at: float | None = None) -> str:
        """A token for an hour, made now or at another time."""
        names = projects if projects == "*" else projects.split(",")
        grant = access_files.Grant("ann", names, can, 3600)
        return access_files.issue(self._key, grant, time.time() if made_at is None else made_at)


@pytest.fixture(scope="module")
def protected(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    directory = tmp_path_factory.mktemp("protected")
    access_files.make(directory / "access", time.time())
    unlimited = {"TESTCAST_EDGE_SIGN_INS_PER_S": "0"}  # every method is tried with every wrong proof
    settings = access_files.access_settings(directory / "access") | unlimited
    edge = EdgeProcess(stack.nats_url, directory, **settings)
    try:
        asyncio.run(edge.start())
        yield Protected(edge, directory / "access")
    finally:
        asyncio.run(edge.stop())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_no_method_answers_without_a_token(protected: Protected) -> None:
    expired = protected.token("list", made_at=time.time() - 7200)
    async with httpx.AsyncClient(base_url=protected.edge.url) as http:
        for headers in ({}, bearer("nonsense"), bearer(expired), {"Authorization": "Basic YTpi"}):
            for name, method in METHODS.items():
                if getattr(method, "action", None) is None:
                    continue  # for everyone
                for answer in (
                    await http.post(f"/rpc/{name}", json={}, headers=headers),
                    await http.get(f"/rpc/{name}", headers=headers),
                ):
                    if answer.status_code == 405:
                        continue
                    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated"), name
                    assert answer.headers["www-authenticate"] == "Bearer"
        assert (await http.get("/healthz")).status_code == 200


async def test_no_socket_opens_without_a_token(protected: Protected) -> None:
    for headers in ({}, bearer("nonsense"), bearer(protected.token("list", made_at=time.time() - 7200))):
        with pytest.raises(InvalidStatus) as refused:
            await connect(protected.edge.ws_url, additional_headers=headers)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["www-authenticate"] == "Bearer"


async def test_actions_are_kept_to(protected: Protected) -> None:
    async with httpx.AsyncClient(base_url=protected.edge.url, headers=bearer(protected.token("list"))) as http:
        assert (await http.get("/rpc/listTests")).status_code == 200
        refused = await http.post("/rpc/submitTest", json={"gameUrl": "http://127.0.0.1:9/"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")


async def test_with_a_token_all_is_as_before(
    protected: Protected, stack_streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    edge, token = protected.edge.url, protected.admin
    test_id = await submit(edge, "http://127.0.0.1:9/", title="Protected", token=token)

    async def is_listed() -> bool:
        return test_id in [each.test_id for each in await list_runs(edge, token=lambda: token)]

    await until(is_listed)
    run_id = await begin(stack_streams, "Watched")
    await publish(stack_streams, run_id, "done", "complete", data={"score": 1})
    async with asyncio.timeout(20):
        assert [each async for each in watch(edge, run_id, token=token)]
    with pytest.raises(EdgeRefused, match=r"send a token.*--token-file"):
        await list_runs(edge, token="")
    assert caplog.records and not [each for each in caplog.records if token in each.getMessage()]
    assert not [each for each in caplog.records if token in JsonLines("test").format(each)]


async def test_commands_use_a_token_file(protected: Protected) -> None:
    edge, file = protected.edge.url, str(protected.files / access_files.TOKEN)
    refused = await run("list", "--edge", edge)
    assert refused.code == 1 and "TESTCAST_TOKEN_FILE" in refused.err
    submitted = await run("submit", "http://127.0.0.1:9/", "--edge", edge, "--token-file", file)
    assert submitted.code == 0


async def test_refusals_stand_in_the_log_without_the_token(protected: Protected) -> None:
    wrong = protected.token("list", made_at=time.time() - 7200)
    async with httpx.AsyncClient(base_url=protected.edge.url, headers=bearer(wrong)) as http:
        assert (await http.get("/rpc/listTests")).status_code == 401

    def told() -> bool:
        return 'outcome="refused"' in protected.edge.log.read_text()

    await until(told)
    log = protected.edge.log.read_text()
    assert 'detail="unauthenticated"' in log
    assert not any(part in log for part in wrong.split("."))
