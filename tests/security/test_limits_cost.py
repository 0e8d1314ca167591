"""What a stranger may cost: memory, files and other people's time have limits, whatever is sent and however slowly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from broker.jetstream.api import Streams
from tests.conftest import Stack
from tests.harness import NO_SUCH_TEST, EdgeProcess, Reader, begin, publish, say, until

MAX_GROWTH_KB = 64 * 1024


def memory_kb(edge: EdgeProcess) -> int:
    """What the edge holds in memory now."""
    status = Path(f"/proc/{edge.child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


async def send_all(port: int, data: bytes) -> bytes:
    """Sends as much as the edge takes, and returns the beginning of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            with contextlib.suppress(ConnectionError):
                return await reader.read(300)
            return b""
    finally:
        writer.close()


async def still_serves(edge: EdgeProcess) -> None:
    async with httpx.AsyncClient(base_url=edge.url, timeout=20) as client:
        assert (await client.get("/healthz")).status_code == 200
    async with connect(edge.ws_url) as viewer:
        await say(viewer, {"type": "subscribe", "channel": "tests"})
        await Reader(viewer).control("tests")


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    + "A" * 22
    + "==\r\n"
)


async def test_heads_and_addresses_have_a_size(stack: Stack) -> None:
    many = "".join(f"X-{number}: {'v' * 20}\r\n" for number in range(5000))
    ids = "&".join([f"testId={NO_SUCH_TEST}"] * 100_000)
    before = memory_kb(stack.edge)
    for _ in range(5):
        for line, fields, expected in (
            ("GET /", many, b" 431 "),
            ("GET /ws", UPGRADE + many, b" 431 "),
            (f"GET /ws?{ids}", UPGRADE, b" 414 "),
            (f"GET /rpc/getTest?{ids}", "", b" 414 "),
            ("GET /", f"X: {'v' * 4_000_000}\r\n", b" 431 "),
        ):
            answer = await send_all(stack.edge.port, f"{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
            assert expected in answer.partition(b"\r\n")[0], (line[:30], answer)
    assert memory_kb(stack.edge) - before < MAX_GROWTH_KB
    await still_serves(stack.edge)


async def test_an_address_names_so_many_tests(stack: Stack) -> None:
    async with connect(f"{stack.ws_url}?{'&'.join([f'testId={NO_SUCH_TEST}'] * 64)}"):
        pass
    for query in ("&".join([f"testId={NO_SUCH_TEST}"] * 65), "&".join([f"test%49d={NO_SUCH_TEST}"] * 65)):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{stack.ws_url}?{query}"):
                pass
        assert refused.value.response.status_code == 400
        assert b"too_many_tests" in bytes(refused.value.response.body or b"")


# -- answers that are not taken -------------------------------------------------------------------------------------


MakeStackEdge = Callable[..., Awaitable[EdgeProcess]]


@pytest.fixture
async def stack_edge(stack: Stack, tmp_path: Path) -> AsyncIterator[MakeStackEdge]:
    """Starts edges with the given settings on the broker of the shared stack."""
    started: list[EdgeProcess] = []

    async def make(**settings: str) -> EdgeProcess:
        started.append(EdgeProcess(stack.nats_url, tmp_path, **settings))
        return await started[-1].start()

    yield make
    for edge in started:
        await edge.stop()


async def a_long_run(streams: Streams, events: int = 14) -> str:
    test_id = await begin(streams)
    for _ in range(events):
        await publish(streams, test_id, "x" * 1000, data={"filler": "y" * 48_000})
    return test_id


def greedy_socket(port: int, window_bytes: int = 4096) -> socket.socket:
    """A connection whose receiver takes next to nothing."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
    taken.connect(("127.0.0.1", port))
    return taken


async def test_answers_that_are_not_taken_hold_little_memory_and_end(
    stack_streams: Streams, stack_edge: MakeStackEdge
) -> None:
    edge = await stack_edge(TESTCAST_EDGE_ANSWER_S="6", TESTCAST_EDGE_MAX_UNREAD_BYTES=str(8 << 20))
    test_id = await a_long_run(stack_streams)
    sent = f"GET /rpc/getEvents?testId={test_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with httpx.AsyncClient(base_url=edge.url, timeout=20) as client:
        whole = await client.get("/rpc/getEvents", params={"testId": test_id})
        assert len(whole.content) > 500_000
        before = memory_kb(edge)
        greedy = [greedy_socket(edge.port) for _ in range(60)]
        try:
            for each in greedy:
                each.sendall(sent * 3)
            asked = await client.get("/rpc/getEvents", params={"testId": test_id}, headers={"X": "y"})
            assert len(asked.content) > 500_000, "another client is served"
            await until(lambda: not connections_of(edge, greedy), within_s=60, what="they were closed")
            assert memory_kb(edge) - before < MAX_GROWTH_KB
        finally:
            for each in greedy:
                each.close()
    assert "did not take its answer" in edge.log.read_text()
    await still_serves(edge)


def connections_of(edge: EdgeProcess, sockets: list[socket.socket]) -> int:
    """How many of them the edge still holds."""
    ports = {f"{each.getsockname()[1]:04X}" for each in sockets}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = f":{edge.port:04X}"
    held = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(own) and line[2].partition(":")[2] in ports}
    return len(held & files_of(edge))


def files_of(edge: EdgeProcess) -> set[str]:
    """What the edge has open."""
    found = set[str]()
    for each in Path(f"/proc/{edge.child.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(each.readlink()))
    return found


async def test_a_client_that_reads_slowly_gets_its_answer(stack_streams: Streams, stack_edge: MakeStackEdge) -> None:
    edge = await stack_edge(TESTCAST_EDGE_ANSWER_S="5")
    test_id = await a_long_run(stack_streams)
    slow = greedy_socket(edge.port, 32_768)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    fields = "Host: localhost\r\nConnection: close\r\n"
    await loop.sock_sendall(slow, f"GET /rpc/getEvents?testId={test_id} HTTP/1.1\r\n{fields}\r\n".encode())
    received = b""
    async with asyncio.timeout(120):
        while chunk := await loop.sock_recv(slow, 16_384):
            received += chunk
            await asyncio.sleep(0.02)
    slow.close()
    body = received.partition(b"\r\n\r\n")[2]
    assert len(body) > 500_000 and len(orjson.loads(body)["events"]) > 10


# -- connections and files ------------------------------------------------------------------------------------------


async def test_connections_that_say_nothing_make_room_for_others(stack_edge: MakeStackEdge) -> None:
    edge = await stack_edge(TESTCAST_EDGE_MAX_CONNECTIONS="20")
    async with AsyncExitStack() as held:
        for number in range(60):
            _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            held.callback(writer.close)
            writer.write(
                (b"", b"GET / HTTP/1.1\r\nX: ", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")[number % 3]
            )
            await writer.drain()
        await still_serves(edge)


HALF_A_REQUEST = (
    b"POST /rpc/listTests HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
)
"""It is under way until the rest of its body has come."""


async def test_an_address_has_so_many_connections(stack_edge: MakeStackEdge) -> None:
    edge = await stack_edge(TESTCAST_EDGE_MAX_CONNECTIONS_PER_ADDRESS="5")
    held: list[socket.socket] = []

    async def are_all() -> bool:
        """Five at work. One that the edge has not read yet makes room for the sixth, which then is not refused."""
        held[:] = [socket.create_connection(("127.0.0.1", edge.port)) for _ in range(5)]
        for each in held:
            each.sendall(HALF_A_REQUEST)
        if await refused_at(edge.port, None):
            return True
        for each in held:
            each.close()
        return False

    await until(are_all, within_s=20, what="the address has its number")
    assert not await refused_at(edge.port, "127.0.0.2"), "another address has its own"
    held.pop().close()
    await until(lambda: is_served_at(edge.port), within_s=20, what="one that left made room")
    for each in held:
        each.close()


async def refused_at(port: int, source: str | None) -> bool:
    """Whether a connection from this address is refused for its number."""
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=local)
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read(4096)
        writer.close()
        return b" 503 " in answer and b"address_full" in answer
    return True


async def is_served_at(port: int) -> bool:
    return not await refused_at(port, None)


async def test_few_files_lock_nobody_out(stack: Stack, tmp_path: Path) -> None:
    edge = EdgeProcess(stack.nats_url, tmp_path)
    edge.files = 260
    edge.spawn()
    try:
        await edge.until_ready()
        async with AsyncExitStack() as held:
            for number in range(400):
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
                    held.callback(writer.close)
                    writer.write((b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")[number % 2])
            await still_serves(edge)
            assert len(files_of(edge)) < 260
            viewers = 0
            with contextlib.suppress(InvalidStatus, OSError):
                while viewers < 400:
                    await held.enter_async_context(connect(edge.ws_url))
                    viewers += 1
            assert 30 < viewers <= 80, "no address takes more than half"
            async with httpx.AsyncClient(base_url=edge.url, timeout=20) as client:
                assert (await client.get("/readyz")).status_code == 200
                assert (await client.get("/rpc/listTests")).status_code == 200
        assert "Traceback" not in edge.log.read_text()
    finally:
        await edge.stop()


# -- floods ---------------------------------------------------------------------------------------------------------


async def test_calls_beyond_the_quota_are_told_when_to_come_again(stack_edge: MakeStackEdge) -> None:
    rates = ("SUBMITS", "CANCELS", "LISTS", "READS", "PUBLISHES", "SIGN_INS")
    edge = await stack_edge(
        **{f"TESTCAST_EDGE_{name}_PER_S": "0.05" for name in rates}, TESTCAST_EDGE_TRUSTED_PROXIES="127.0.0.0/8"
    )
    asked: list[tuple[str, dict[str, Any]]] = [
        ("submitTest", {"gameUrl": "http://game.example/"}),
        ("cancelTest", {"testId": NO_SUCH_TEST}),
        ("listTests", {}),
        ("getEvents", {"testId": NO_SUCH_TEST}),
    ]
    async with httpx.AsyncClient(base_url=edge.url, timeout=20) as client:
        for method, params in asked:
            for address in ("1.1.1.1", "2001:db8::1"):
                forwarded = {"x-forwarded-for": address}
                answers = [await client.post(f"/rpc/{method}", json=params, headers=forwarded) for _ in range(10)]
                refused = [each for each in answers if each.status_code == 429]
                assert len(refused) >= 4, (method, [each.status_code for each in answers])
                assert refused[0].json()["error"]["code"] == "too_many_requests"
                assert 1 <= int(refused[0].headers["retry-after"]) <= 20
            same = await client.post(f"/rpc/{method}", json=params, headers={"x-forwarded-for": "2001:db8::ffff"})
            other = await client.post(f"/rpc/{method}", json=params, headers={"x-forwarded-for": "2001:db8:0:1::"})
            assert (same.status_code == 429, other.status_code == 429) == (True, False), method
        addresses = (f"3.3.3.{number}" for number in range(256))

        async def mostly_served() -> bool:  # other tests change the list; while it is stale nothing is kept
            forwarded = {"x-forwarded-for": next(addresses)}
            polled = [await client.get("/rpc/listTests", headers=forwarded) for _ in range(50)]
            return sum(each.status_code == 200 for each in polled) >= 10

        await until(mostly_served, what="answers of the cache, which do not count: without it there are two")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "cancel", "testId": NO_SUCH_TEST},
        {"type": "subscribe", "testId": NO_SUCH_TEST},
        {"type": "unsubscribe", "testId": NO_SUCH_TEST},
        {"type": "subscribe", "channel": "tests"},
        None,
    ],
    ids=["cancels", "subscribes", "unsubscribes", "lists", "pings"],
)
async def test_a_flood_on_one_socket_ends_it(stack: Stack, message: dict[str, str] | None) -> None:
    frame = masked(0x89, b"") if message is None else masked(0x81, orjson.dumps(message))
    before = memory_kb(stack.edge)
    async with connect(stack.ws_url) as flood:
        with contextlib.suppress(ConnectionClosed, ConnectionError):
            for _ in range(30):
                flood.transport.write(frame * 1000)
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await flood.recv()
        assert flood.close_code in (4429, 1006), "cut off, or closed"
    assert memory_kb(stack.edge) - before < MAX_GROWTH_KB
    await still_serves(stack.edge)


def masked(first: int, data: bytes) -> bytes:
    size = bytes((0x80 | len(data),)) if len(data) < 126 else bytes((0x80 | 126,)) + len(data).to_bytes(2, "big")
    return bytes((first,)) + size + b"\0\0\0\0" + data


async def test_pieces_of_messages_count(stack: Stack) -> None:
    async with connect(stack.ws_url) as flood:
        flood.transport.write(masked(0x01, b"") + masked(0x00, b"") * 20_000)
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await flood.recv()
        assert flood.close_code in (4429, 1006)


async def test_a_page_with_a_hundred_cards_meets_no_limit(stack: Stack, stack_streams: Streams) -> None:
    """It subscribes to all of them, and does so again and again as cards come and go."""
    test_ids = [await begin(stack_streams) for _ in range(20)]
    async with connect(stack.ws_url, max_queue=None) as page:
        for _ in range(20):
            for test_id in test_ids:
                await say(page, {"type": "subscribe", "testId": test_id})
                await say(page, {"type": "unsubscribe", "testId": test_id})
        await say(page, {"type": "subscribe", "testId": test_ids[0]})
        reader = Reader(page)
        while True:
            message = await reader.next()
            assert message["type"] != "error", message
            if message["type"] == "sync" and message["testId"] == test_ids[0]:
                break


async def test_nothing_is_compressed(stack: Stack) -> None:
    async with connect(stack.ws_url, compression="deflate") as viewer:
        assert viewer.protocol.extensions == []
        viewer.transport.write(masked(0xC1, b"\x01\x02\x03"))  # RSV1: compressed
        with pytest.raises(ConnectionClosed):
            await viewer.recv()
        assert viewer.close_code == 1002
    for size, pieces in ((1 << 20, 1), (9000, 3)):
        async with connect(stack.ws_url) as viewer:
            data = b"x" * size
            parts = [large(0x01 if n == 0 else 0x80 if n == pieces - 1 else 0x00, data) for n in range(pieces)]
            viewer.transport.write(b"".join(parts) if pieces > 1 else large(0x81, data))
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await viewer.recv()
            assert viewer.close_code == 1009


def large(first: int, data: bytes) -> bytes:
    return bytes((first, 0x80 | 127)) + len(data).to_bytes(8, "big") + b"\0\0\0\0" + data
