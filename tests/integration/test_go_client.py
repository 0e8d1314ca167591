"""The Go client at real edges: the resume table by each of its transports, publishing, and connections that fail."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.jetstream.api import Streams
from testcast.local import access_files
from tests.askers import GO_CLIENT, Asker, build_go, go_environment, not_made
from tests.command import started
from tests.conftest import MakeEdge, Stack
from tests.harness import NO_SUCH_TEST, STALL_S, begin, publish, until
from tests.proxy import Proxy, Rewrite
from tests.resume_table import make_world, table

TRANSPORTS = ("sse", "poll", "rpc")


@pytest.fixture(scope="module", autouse=True)
def can_be_made() -> None:
    """Skips everything where the client is not made."""
    if (why := not_made()) is not None:
        pytest.skip(why)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client as a program that answers questions."""
    return build_go("internal/asker", tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def tail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example program."""
    return build_go("cmd/testcast-tail", tmp_path_factory.mktemp("go"))


Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts programs, which end with the test."""
    pipe = asyncio.subprocess.PIPE
    async with AsyncExitStack() as running:
        yield lambda *argv: running.enter_async_context(started(*argv, stdout=pipe, stderr=pipe))


@pytest.fixture
async def client(program: Path) -> AsyncIterator[Asker]:
    """The client as a process."""
    async with Asker([str(program)]) as asker:
        yield asker


async def test_the_resume_table(client: Asker, streams: Streams, make_edge: MakeEdge) -> None:
    # Who resumes at the head before the snapshot is there hears of the end after the next heartbeat.
    world = await make_world(streams, await make_edge(TESTCAST_EDGE_HEARTBEAT_S="0.5"))
    for by in TRANSPORTS:
        for asked, expected in table(world):
            assert await client.follow(world.edge.url, world.test_id, asked, by) == expected, f"{by}: {asked}"


class LosesAnswers(Proxy):
    """Passes on the first two requests to publish, and not their answers."""

    lost = 0

    def __init__(self, port: int) -> None:
        super().__init__(port, rewrite=Remembers())

    async def _pump(self, link: Any, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        assert isinstance(self._rewrite, Remembers)
        if sink is link.client and self.lost < 2 and b" /rpc/publishEvents " in self._rewrite.last:
            self.lost += 1
            assert await source.read(1)
            raise ConnectionResetError
        await super()._pump(link, source, sink)


class Remembers(Rewrite):
    """The head of the last request. Without a prefix nothing of it changes but `Connection`."""

    last = b""
    requests = 0

    def __call__(self, head: bytes) -> bytes | None:
        self.last = head
        self.requests += 1
        return super().__call__(head)


class WithoutStreams(Rewrite):
    """Answers 404 to whoever asks for server-sent events, as an edge of an earlier version does."""

    def __call__(self, head: bytes) -> bytes | None:
        return None if b"text/event-stream" in head else super().__call__(head)


async def test_it_publishes_each_event_once_though_answers_are_lost(client: Asker, stack: Stack) -> None:
    messages = [f"event {number}" for number in range(130)]  # two batches
    async with LosesAnswers(stack.edge.port) as proxy:
        made = await client.ask(do="publish", url=proxy.url, testId=NO_SUCH_TEST, title="from Go", messages=messages)
        assert proxy.lost == 2
    assert made.get("codes") == ["conflict", "malformed_event", "already_ended", "not_found"], made
    told = await client.ask(do="follow", url=stack.edge_url, testId=made["testId"])
    assert told["messages"] == ["Started", "Loading", *messages, "Done"]
    assert (told["verdict"], told["outcomes"], told["transport"]) == ("completed", ["live"], "sse")
    async with httpx.AsyncClient(base_url=stack.edge_url) as http:

        async def ended() -> dict[str, Any] | None:
            test = (await http.get("/rpc/getTest", params={"testId": made["testId"]})).json()["test"]
            return test if test["status"] == "completed" else None

        test = await until(ended)
    wanted = {"title": "from Go", "phase": "phase1", "score": 81, "metrics": {"fps": 60}, "labels": {"by": "go"}}
    assert {name: test[name] for name in wanted} == wanted


async def test_it_reads_by_polling_where_streams_do_not_pass(client: Asker, stack: Stack) -> None:
    made = await client.ask(do="publish", url=stack.edge_url, testId=NO_SUCH_TEST, title="t", messages=["one"])
    async with Proxy(stack.edge.port, rewrite=Rewrite(prefix="/rpc", strip=False)) as proxy:
        told = await client.ask(do="follow", url=proxy.url, testId=made["testId"])
    assert (told["messages"], told["transport"], told["retries"]) == (["Started", "Loading", "one", "Done"], "rpc", 0)
    async with Proxy(stack.edge.port, rewrite=WithoutStreams()) as proxy:
        told = await client.ask(do="follow", url=proxy.url, testId=made["testId"])
    assert (told["messages"], told["transport"], told["retries"]) == (["Started", "Loading", "one", "Done"], "poll", 0)
    missing = await client.ask(do="follow", url=stack.edge_url, testId=NO_SUCH_TEST)
    assert "not_found" in missing["error"]


@pytest.mark.parametrize("by", ["sse", "poll"])
async def test_the_example_resumes_when_its_connection_is_cut(
    start: Start, tail: Path, stack: Stack, stack_streams: Streams, by: str
) -> None:
    test_id = await begin(stack_streams)
    for number in range(3):
        await publish(stack_streams, test_id, f"{number}")
    seen: list[str] = []
    async with Proxy(stack.edge.port) as proxy:
        first = await start(tail, "-edge", proxy.url, "-json", "-by", by, test_id)
        await read(first, seen, "2")
        proxy.cut()
        await publish(stack_streams, test_id, "3")
        await read(first, seen, "3")
        first.send_signal(signal.SIGINT)
        assert first.stderr is not None
        notes = (await first.stderr.read()).decode().splitlines()
        assert await first.wait() == 130
        # A long poll that is cut on a connection that was used before is asked again without a word, by net/http.
        assert by == "poll" or "attempt 2 in 1 s" in notes[0], notes
    position = notes[-1].removeprefix("the run goes on; resume with -after ")
    await publish(stack_streams, test_id, "4")
    await publish(stack_streams, test_id, "Done", "complete")
    rest = await start(tail, "-edge", stack.edge_url, "-json", "-by", by, "-after", position, test_id)
    await read(rest, seen, "Done")
    assert await rest.wait() == 0
    assert seen == ["Queued", "Running", "0", "1", "2", "3", "4", "Done"]


async def test_a_token_that_is_revoked_is_replaced_on_the_way(
    start: Start, tail: Path, streams: Streams, make_edge: MakeEdge, tmp_path: Path
) -> None:
    access_files.make(tmp_path / "access", time.time())
    key = access_files.read_signing_key(tmp_path / "access" / access_files.SIGNING_KEY)
    admin = (tmp_path / "access" / access_files.TOKEN).read_text().strip()
    grant = access_files.Grant("ann", "*", ("watch",), 3600)
    first, second = (access_files.issue(key, grant, time.time()) for _ in range(2))
    edge = await make_edge(**access_files.access_settings(tmp_path / "access"))
    test_id = await begin(streams)
    file, heads, seen = tmp_path / "token", Remembers(), list[str]()
    file.write_text("no token")
    refused = await start(tail, "-edge", edge.url, "-token-file", str(file), test_id)
    _, said = await refused.communicate()
    assert (refused.returncode, b"(unauthenticated)" in said) == (1, True), said
    async with Proxy(edge.port, rewrite=heads) as proxy:
        file.write_text(first)
        follows = await start(tail, "-edge", proxy.url, "-token-file", str(file), "-json", test_id)
        await read(follows, seen, "Running")
        file.write_text(second)
        claims = json.loads(base64.urlsafe_b64decode(first.split(".")[1] + "=="))
        async with httpx.AsyncClient(base_url=edge.url, headers={"Authorization": f"Bearer {admin}"}) as http:
            assert (await http.post("/rpc/revokeToken", json={"jti": claims["jti"]})).status_code == 200
        await until(lambda: heads.requests >= 2)  # well before the 25 s of grace are over
        assert second.encode() in heads.last
        await publish(streams, test_id, "Done", "complete")
        await read(follows, seen, "Done")
        assert await follows.wait() == 0 and seen == ["Queued", "Running", "Done"]
        assert follows.stderr is not None and await follows.stderr.read() == b""


async def read(process: asyncio.subprocess.Process, into: list[str], last: str) -> None:
    """Reads lines until one with this message."""
    assert process.stdout is not None
    async with asyncio.timeout(STALL_S):
        while not into or into[-1] != last:
            line = await process.stdout.readline()
            assert line, "it ended"
            into.append(json.loads(line)["message"])


def test_the_module_is_formatted_vetted_and_keeps_its_own_tests() -> None:
    """Among them: the fields of each message are those of its schema in broker/schemas.

    Without the cache of Go: it does not see that a file outside the module has changed.
    """
    tests = ["go", "test", "-count=1", "-vet=off", "./..."]  # it was vetted; for the tests its libraries would be again
    for argv in (["gofmt", "-l", "."], ["go", "vet", "./..."], tests):
        done = subprocess.run(argv, cwd=GO_CLIENT, env=go_environment(), capture_output=True, text=True)
        assert done.returncode == 0 and (argv[0] == "go" or not done.stdout), done.stdout + done.stderr
    assert not (GO_CLIENT / "go.sum").exists(), "it needs no other module"
