"""The load generator over plain HTTP: server-sent events and long polls, from a server that sends what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.bench.programs import Load, open_load
from tests.harness import until
from tests.unit.bench_events import event

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def load_on(programs: Path, handler: Handler, *arguments: object) -> AsyncIterator[Load]:
    """A load generator before this server. All its connections have ended when the block has."""
    open_now: set[asyncio.StreamWriter] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        with contextlib.suppress(ConnectionError):  # the load generator has gone
            await handler(reader, writer)
        writer.close()
        open_now.discard(writer)

    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        async with open_load(programs, "-p", server.sockets[0].getsockname()[1], *arguments) as load:
            yield load
        await until(lambda: not open_now, within_s=20)


def answer(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("piece", [7, 100_000])
async def test_server_sent_events(programs: Path, piece: int) -> None:
    """The head and the first events in one write, or all in pieces of a few bytes."""
    requests: list[bytes] = []
    sync = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: sync\ndata: {}\n\n"
    text = sync + "".join(f"id: {number}\ndata: {event(number)}\n\n" for number in range(40))

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        for at in range(0, len(text), piece):
            writer.write(text[at : at + piece].encode())
            await writer.drain()
        await reader.read()

    where = ("-m", "stream", "-u", "/events", "-w", "event: sync", "-n", 2)
    async with load_on(programs, handler, *where) as load:
        assert (await load.line(20))["open"] == 2
        got = await load.received(40, 20)
    assert (got["events"], got["least"], got["gaps"], got["disorders"]) == (80, 40, 0, 0)
    assert all(b"Accept: text/event-stream\r\n" in each and b"Upgrade" not in each for each in requests)


@pytest.mark.parametrize(
    ("answers", "events", "gaps", "disorders", "positions"),
    [
        ([[0], [1, 2], [], [3]], 4, 0, 0, [99, 100, 102, 102, 103]),
        ([[0], [2]], 2, 1, 0, [99, 100, 102]),
        ([[0, 1], [1, 2]], 3, 0, 1, [99, 101, 102]),
    ],
    ids=["sound", "loses one", "says one twice"],
)
async def test_long_polls_ask_from_where_they_are(
    programs: Path,
    answers: Sequence[Sequence[int]],
    events: int,
    gaps: int,
    disorders: int,
    positions: Sequence[int],
) -> None:
    asked: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies = ["{}", *("[" + ",".join(map(event, each)) + "]" for each in answers)]
        for body in bodies:
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
            whole = answer(body)
            writer.write(whole)
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
        await reader.read()  # no answer to the last one: the viewer waits

    where = ("-m", "poll", "-u", "/first", "-r", "/again?after=%u", "-o", 100, "-n", 1)
    async with load_on(programs, handler, *where) as load:
        assert (await load.line(20))["open"] == 1
        got = await load.received(events, 20)
        await until(lambda: len(asked) == len(answers) + 2, within_s=20)
    assert (got["events"], got["gaps"], got["disorders"], got["closed"]) == (events, gaps, disorders, 0)
    assert asked[0] == "/first"
    assert [int(found) for each in asked[1:] for found in re.findall(r"after=(\d+)", each)] == positions


async def test_a_poll_that_is_refused_is_a_lost_connection(programs: Path) -> None:
    """Before its first answer it tries again; later it is counted as closed."""
    came: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(len(came))
        refused = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
        for reply in [refused] if len(came) == 1 else [answer("{}"), refused]:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
        await reader.read()

    async with load_on(programs, handler, "-m", "poll", "-u", "/", "-r", "/?after=%u", "-n", 1) as load:
        opened = await load.line(20)
        assert (opened["open"], opened["refused"]) == (1, 1)

        async def closed() -> bool:
            return bool((await load.report())["closed"] == 1)

        await until(closed, within_s=20)
