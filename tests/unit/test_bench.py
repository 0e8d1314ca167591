"""The benchmark's own instruments: a load generator that miscounts would make every figure wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.bench import report
from tests.bench.programs import Load, open_load, pour
from tests.harness import free_port, until
from tests.unit.bench_events import FIRST, event

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def crowd(programs: Path, handler: Handler, *arguments: object, viewers: int = 1) -> AsyncIterator[Load]:
    """A load generator before a server of the `websockets` package, once all its connections are open."""
    async with serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_load(programs, "-p", port, "-n", viewers, *arguments) as load:
            assert (await load.line(30))["open"] == viewers
            yield load


async def figures(programs: Path, messages: Sequence[str | Sequence[str]], expected: int) -> dict[str, Any]:
    """What is counted when one viewer is sent these; a sequence of pieces goes as one fragmented message.

    Nothing is sent before the generator has printed that its viewer is open: latencies are counted from its last line.
    """
    opened = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await opened.wait()
        for message in messages:
            await connection.send(message)
        await connection.wait_closed()

    async with crowd(programs, handler) as load:
        opened.set()
        return await load.received(expected, 20)


async def test_counts_events_one_to_a_frame_and_joined(programs: Path) -> None:
    single = [event(number) for number in range(5)]
    joined = "[" + ",".join(event(number) for number in range(5, 300)) + "]"  # 30 KB: a 16-bit length
    large = "[" + ",".join(event(number) for number in range(300, 3000)) + "]"  # 280 KB: 64 bits, more than a read
    got = await figures(programs, [*single, joined, large, event(3000)], 3001)
    assert (got["events"], got["least"], got["gaps"], got["disorders"]) == (3001, 3001, 0, 0)


async def test_counts_events_of_changing_length(programs: Path) -> None:
    """The guess at the next record's place is wrong each time."""
    texts = ["[" + ",".join(event(i, pad=(i * 7919) % 90) for i in range(at, at + 50)) + "]" for at in (0, 50, 100)]
    got = await figures(programs, texts, 150)
    assert (got["events"], got["gaps"], got["disorders"]) == (150, 0, 0)


async def test_record_cut_by_fragments(programs: Path) -> None:
    """Wherever a fragment ends, the record that it cuts is counted once."""
    text = event(0, pad=0)
    cuts = [[event(n, pad=0)[:cut], event(n, pad=0)[cut:]] for n, cut in enumerate(range(1, len(text)))]
    small = [event(len(cuts), pad=0)[at : at + 3] for at in range(0, len(text), 3)]
    got = await figures(programs, [*cuts, small], len(cuts) + 1)
    assert (got["events"], got["gaps"], got["disorders"]) == (len(cuts) + 1, 0, 0)


@pytest.mark.parametrize(
    ("numbers", "events", "gaps", "disorders"),
    [
        ([0, 1, 3, 4], 4, 1, 0),
        ([2, 3], 2, 2, 0),
        ([0, 1, 1, 2], 3, 0, 1),
        ([0, 2, 1, 3], 3, 1, 1),
    ],
    ids=["lost", "first ones lost", "twice", "swapped"],
)
@pytest.mark.parametrize("together", [False, True], ids=["frames", "joined"])
async def test_detects(
    programs: Path, numbers: list[int], events: int, gaps: int, disorders: int, together: bool
) -> None:
    texts = [event(number) for number in numbers]
    got = await figures(programs, ["[" + ",".join(texts) + "]"] if together else texts, events)
    assert (got["events"], got["gaps"], got["disorders"]) == (events, gaps, disorders)


async def test_latency_is_the_age_of_the_record(programs: Path) -> None:
    """An event grows older until it is read: by some time that is less than the test has taken."""
    began = time.monotonic()
    got = await figures(programs, [event(0, 10.0), event(1, 10.0), event(2, 30.0)], 3)
    took_ms = 1000 * (time.monotonic() - began)
    bucket = 0.04  # a median is known within its bucket of the histogram, 1/32 wide
    assert 10_000 * (1 - bucket) <= got["p50_ms"] <= (10_000 + took_ms) * (1 + bucket)
    assert 30_000 * (1 - bucket) <= got["max_ms"] <= (30_000 + took_ms) * (1 + bucket)
    assert got["samples"] == 3


async def test_open_means_greeted_and_pings_are_answered(programs: Path) -> None:
    """A connection counts once it has what it asked for, here in two pieces; a held one stays alive by its pongs."""
    heard: list[str | bytes] = []

    async def handler(connection: ServerConnection) -> None:
        heard.append(await connection.recv())
        await (await connection.ping(b"still there?"))
        await connection.send(["hel", "lo"])
        await connection.send(event(0))
        await connection.wait_closed()

    async with crowd(programs, handler, "-s", "SUB a\\r\\n", "-w", "hello", viewers=3) as load:
        assert (await load.received(1, 20))["least"] == 1
    assert heard == ["SUB a\r\n"] * 3


@pytest.mark.parametrize(("forgets", "lost"), [(None, 0), (7, 1)], ids=["sound", "loses one"])
async def test_who_is_cut_comes_back_to_its_position(programs: Path, forgets: int | None, lost: int) -> None:
    """Each of three viewers is cut many times; a server that leaves an event out is found out."""
    stored: list[int] = []
    asked: list[int] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        sent = int(connection.request.path.partition("after=")[2] or 99) - 99
        asked.append(sent)
        await connection.send("hello")
        closed = asyncio.ensure_future(connection.wait_closed())
        while not closed.done():
            for number in stored[sent:]:
                sent += 1
                if number != forgets:
                    await connection.send(event(number))
            await asyncio.wait([closed], timeout=0.01)

    where = ("-w", "hello", "-r", "/?after=%u", "-o", 100)
    async with crowd(programs, handler, *where, viewers=3) as load:
        load.tell("jitter 0.1 0.02")
        for number in range(20):
            stored.append(number)
            seen = len(asked)
            await until(lambda: len(asked) > seen + 2, within_s=20)  # noqa: B023  it is called in this turn
        load.tell("calm")
        got = await load.received(20 - lost, 20)

        async def all_back() -> bool:  # who was cut behind its last event may have been away
            return bool((await load.received(0, 20))["open"] == 3)

        await until(all_back, within_s=20)
    assert (got["events"], got["least"], got["gaps"]) == (3 * (20 - lost), 20 - lost, 3 * lost)
    assert got["disorders"] == 0 and got["cuts"] > 40
    assert got["resumed"] > 0 and got["replay_max_ms"] > 0
    assert len(set(asked)) > 1, "they come back to where they were"


async def test_the_longest_silence_of_each_viewer(programs: Path) -> None:
    """One of two viewers waits for its second event: that is the longest silence on the next line, and of the run."""
    pause_s, bucket = 0.3, 0.04
    go_on, last = asyncio.Event(), asyncio.Event()
    turns = iter(range(2))

    async def handler(connection: ServerConnection) -> None:
        waits = next(turns) == 0
        await connection.send(event(0))
        if waits:
            await go_on.wait()
        await connection.send(event(1))
        await last.wait()
        await connection.send(event(2))
        await connection.wait_closed()

    began = time.monotonic()
    async with crowd(programs, handler, viewers=2) as load:
        first = await load.received(1, 20)
        at = time.monotonic()
        await until(lambda: time.monotonic() > at + pause_s)
        go_on.set()
        second = await load.received(2, 20)
        last.set()
        third = await load.received(3, 20)
        took_ms = 1000 * (time.monotonic() - began)
    assert first["longest_max_ms"] <= took_ms
    assert 1000 * pause_s <= second["silence_max_ms"] <= took_ms
    assert second["longest_max_ms"] >= second["silence_max_ms"]
    assert second["silence_p99_ms"] >= 1000 * pause_s * (1 - bucket), "over two viewers, p99 is the longer one"
    assert third["longest_max_ms"] >= second["longest_max_ms"]


@pytest.mark.parametrize("pieces", [1, 4], ids=["whole", "split"])
async def test_who_is_told_goodbye_comes_back_elsewhere_when_asked(programs: Path, pieces: int) -> None:
    """It answers the close, waits as long as it was asked to, and goes where the load balancer sends it."""
    asked_ms = 1300  # longer than the wait of one that was told nothing
    goodbye = f'{{"type":"goodbye","retryAfterMs":{asked_ms},"reason":"this node is going away"}}'
    size = -(-len(goodbye) // pieces)
    leave, closed, codes, came = asyncio.Event(), [0.0], [0], [0.0]

    async def first(connection: ServerConnection) -> None:
        await connection.send(event(0))
        await leave.wait()
        await connection.send([goodbye[at : at + size] for at in range(0, len(goodbye), size)])
        closed[0] = time.monotonic()
        await connection.close(1012, "this node is going away")
        codes[0] = connection.protocol.close_rcvd.code if connection.protocol.close_rcvd else 0

    async def second(connection: ServerConnection) -> None:
        came[0] = time.monotonic()
        await connection.send("[" + event(1) + "," + event(2) + "]")
        await connection.wait_closed()

    async with (
        serve(second, "127.0.0.1", 0, compression=None, ping_interval=None) as other,
        crowd(programs, first, "-r", "/?after=%u", "-o", 100) as load,
    ):
        await load.received(1, 20)
        load.tell("return")
        load.tell(f"servers {other.sockets[0].getsockname()[1]}")
        assert (await load.back(20))["absent"] == 0
        told_at = time.time()
        leave.set()
        await until(lambda: came[0])
        got = await load.received(3, 20)
        back = await load.back(20)
    assert codes == [1012]
    assert came[0] - closed[0] >= asked_ms / 1000
    assert (got["events"], got["closed"], got["disorders"], got["gaps"]) == (3, 1, 0, 0)
    assert (back["absent"], back["resumed"]) == (0, 1)
    assert told_at + asked_ms / 1000 <= back["current_at"] <= time.time()
    assert got["longest_max_ms"] >= asked_ms and got["away_max_ms"] >= asked_ms


async def test_who_is_cut_off_comes_back_after_a_moment(programs: Path) -> None:
    """Without a goodbye it waits as the page does: 0.8 to 1 s. `back` waits for the last that was lost."""
    cut, times = asyncio.Event(), [0.0, 0.0]
    turns = iter(range(2))

    async def handler(connection: ServerConnection) -> None:
        turn = next(turns)
        times[turn] = time.monotonic()
        if turn == 0:
            await cut.wait()
            times[0] = time.monotonic()
            connection.transport.abort()
        await connection.wait_closed()

    async with crowd(programs, handler) as load:
        load.tell("return")
        assert (await load.back(20))["open"] == 1
        cut.set()
        await until(lambda: times[1])
        got = await load.back(20)
    assert (got["absent"], got["open"], got["resumed"]) == (0, 1, 1)
    assert got["away_max_ms"] >= 800
    assert times[1] - times[0] >= 0.8


async def test_refused_viewers_come_back(programs: Path) -> None:
    answers = iter([503, 503])

    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(
        handler,
        "127.0.0.1",
        0,
        compression=None,
        process_request=lambda connection, _: connection.respond(503, "later") if next(answers, 0) else None,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_load(programs, "-p", port, "-n", 2) as load:
            opened = await load.line(30)
    assert (opened["open"], opened["refused"]) == (2, 2)


async def test_a_viewer_that_got_less_is_told(programs: Path) -> None:
    """`least` is what the poorest viewer had, and waiting ends at its deadline."""
    turns = iter(range(2))

    async def handler(connection: ServerConnection) -> None:
        for number in range(2 + next(turns)):
            await connection.send(event(number))
        await connection.wait_closed()

    async with crowd(programs, handler, viewers=2) as load:
        assert (await load.received(2, 20))["least"] == 2

        async def all_five() -> dict[str, Any] | None:
            got = await load.received(3, 0.1)
            return got if got["events"] == 5 else None

        assert (await until(all_five))["least"] == 2


async def test_pour_and_floor_and_load_agree(programs: Path) -> None:
    """The three programs with each other: every line becomes one frame for every viewer."""
    port = free_port()
    floor = await asyncio.create_subprocess_exec(programs / "floor", str(port))
    try:
        async with open_load(programs, "-p", port, "-n", 20) as load:
            await load.line(30)
            sent = await pour(programs, "-m", "lines", "-p", port, "-n", 500, "-z", 180)
            got = await load.received(500, 30)
    finally:
        floor.kill()
        await floor.wait()
    assert sent["sent"] == 500
    assert (got["events"], got["least"], got["gaps"], got["disorders"]) == (10_000, 500, 0, 0)
    assert got["bytes"] == 10_000 * (180 + 4)


async def test_pace(programs: Path) -> None:
    """A line each 2 ms for 0.4 s; the events are JSON of the size asked for, and say when they were due."""
    taken: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set_result([line async for line in reader])
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        sent = await pour(programs, "-m", "lines", "-p", port, "-n", 200, "-r", 500, "-z", 150)
        lines = await asyncio.wait_for(taken, 30)
    events = [json.loads(line) for line in lines[1:]]
    assert lines[0] == b"PUBLISH\n"
    assert {len(line) for line in lines[1:]} == {151}
    assert [each["data"]["n"] for each in events] == list(range(FIRST, FIRST + 200))
    assert events[-1]["data"]["ns"] - events[0]["data"]["ns"] == pytest.approx(199 * 2e6, rel=1e-6)
    assert sent["span_s"] >= 0.39


def test_a_part_of_the_page_is_replaced_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench:a -->\nold\n<!-- /bench:a -->\nafter\n<!-- bench:b -->\n<!-- /bench:b -->\n")
    report.write("a", "| new |", "command", page)
    text = page.read_text()
    assert "| new |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n<!-- bench:b -->\n<!-- /bench:b -->\n")
    with pytest.raises(SystemExit, match="no place for c"):
        report.write("c", "", "command", page)


@pytest.mark.parametrize(
    ("value", "text"), [(0.104, "0.10"), (2.96, "2.96"), (12.34, "12.3"), (1234.5, "1,234")], ids=str
)
def test_figures(value: float, text: str) -> None:
    assert report.figure(value) == text
    assert report.figure(value, whole=False) == f"{text} !"
