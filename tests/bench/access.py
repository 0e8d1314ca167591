"""What authentication costs: two edges on one broker, one open and one with tokens, measured in turns."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from statistics import median
from typing import Final

from broker.contract import subjects
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.bench import report
from tests.bench.host import cpu_s
from tests.harness import EdgeProcess, begin, event_bytes, until
from tests.security.mint import Keys

_VIEWERS: Final = 200
_EVENTS: Final = 200
"""One at a time, each at its own flush: the most expensive way to deliver."""
_HANDSHAKES: Final = 500
_AT_ONCE: Final = 50
_TARGET_US: Final = 60
_NO_LIMITS: Final = {"TESTCAST_EDGE_MAX_SOCKETS_PER_ADDRESS": "0", "TESTCAST_EDGE_HANDSHAKES_PER_S": "0"}
_LAST: Final = b'"last of a round"'

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _open(edge: EdgeProcess, query: str, token: str | None) -> Opened:
    """A socket of plain bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1 << 20)
    proof = f"Authorization: Bearer {token}\r\n" if token else ""
    writer.write(
        f"GET /ws{query} HTTP/1.1\r\nHost: 127.0.0.1:{edge.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{proof}\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    return reader, writer


async def _opened(edge: EdgeProcess, count: int, query: str, tokens: Iterable[str | None]) -> list[Opened]:
    """Several, some at a time."""
    given, found = iter(tokens), list[Opened]()
    for start in range(0, count, _AT_ONCE):
        some = range(start, min(count, start + _AT_ONCE))
        found += await asyncio.gather(*(_open(edge, query, next(given)) for _ in some))
    return found


def _descriptors(edge: EdgeProcess) -> int:
    return len(list(Path(f"/proc/{edge.child.pid}/fd").iterdir()))


async def _close(edge: EdgeProcess, opened: list[Opened]) -> None:
    """Ends them, and waits until the edge has let go of them: that is no part of the next measurement."""
    left = _descriptors(edge) - len(opened)
    for _reader, writer in opened:
        writer.transport.abort()
    await until(lambda: _descriptors(edge) <= left, within_s=60)


async def _delivery_us(streams: Streams, edge: EdgeProcess, test_id: str, opened: list[Opened]) -> float:
    """The edge's processor time for an event to one viewer, µs."""
    pids = [edge.child.pid]
    before = cpu_s(pids)
    for number in range(_EVENTS):
        text = "last of a round" if number == _EVENTS - 1 else f"event {number}"
        await streams.store(subjects.events(test_id), event_bytes(text))
    await asyncio.gather(*(reader.readuntil(_LAST) for reader, _ in opened))
    return (cpu_s(pids) - before) * 1e6 / (_EVENTS * len(opened))


async def _handshake_us(edge: EdgeProcess, tokens: Iterable[str | None]) -> float:
    """The edge's processor time for opening a socket, µs."""
    before = cpu_s([edge.child.pid])
    opened = await _opened(edge, _HANDSHAKES, "", tokens)
    spent = cpu_s([edge.child.pid]) - before
    await _close(edge, opened)
    return spent * 1e6 / _HANDSHAKES


@contextlib.asynccontextmanager
async def _running(keys: Keys) -> AsyncIterator[tuple[Streams, EdgeProcess, EdgeProcess]]:
    """A broker, an open edge and one with tokens."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with EmbeddedServer(folder / "nats") as server:
            nats = await Connection.connect(server.url, name="bench")
            await topology.apply(nats)
            openly = EdgeProcess(server.url, folder, TESTCAST_EDGE_PROJECTOR="0", **_NO_LIMITS)
            tokens = EdgeProcess(server.url, folder, TESTCAST_EDGE_PROJECTOR="0", **_NO_LIMITS, **keys.write(folder))
            try:
                yield Streams(nats), await openly.start(), await tokens.start()
            finally:
                await nats.close()
                for edge in (openly, tokens):
                    await edge.stop()


async def _deliveries(streams: Streams, edges: tuple[EdgeProcess, EdgeProcess], token: str, rounds: int) -> list[float]:
    """Medians for the open edge and the one with tokens. They take turns; the other one has no viewers then."""
    found: list[list[float]] = [[], []]
    test_id = await begin(streams)
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            tokens = [token if which else None] * _VIEWERS
            opened = await _opened(edges[which], _VIEWERS, f"?testId={test_id}", tokens)
            await streams.store(subjects.events(test_id), event_bytes("last of a round"))
            await asyncio.gather(*(reader.readuntil(_LAST) for reader, _ in opened))
            found[which].append(await _delivery_us(streams, edges[which], test_id, opened))
            await _close(edges[which], opened)
    return [median(each) for each in found]


async def access(_programs: Path, quick: bool) -> str:
    """A delivery and a handshake, without authentication, with a token that is remembered, and with new ones."""
    rounds = 3 if quick else 11
    keys = Keys.make()
    token = keys.good(projects="*")
    async with _running(keys) as (streams, openly, guarded):
        delivery = await _deliveries(streams, (openly, guarded), token, rounds)
        report.say(f"delivery: {delivery[0]:.2f} µs without, {delivery[1]:.2f} µs with tokens")
        found: list[list[float]] = [[], [], []]
        for _number in range(rounds):
            found[0].append(await _handshake_us(openly, [None] * _HANDSHAKES))
            found[1].append(await _handshake_us(guarded, [token] * _HANDSHAKES))
            new = [keys.good(projects="*") for _ in range(_HANDSHAKES)]
            found[2].append(await _handshake_us(guarded, new))
        plain, remembered, first = (median(each) for each in found)
    report.say(f"handshake: {plain:.0f} µs without, {remembered:.0f} µs remembered, {first:.0f} µs new token")
    rows = [
        ["a delivery", *map(report.figure, delivery), report.figure(delivery[1] - delivery[0])],
        ["a handshake, token seen before", *map(report.figure, (plain, remembered, remembered - plain))],
        ["a handshake, new token (EdDSA)", *map(report.figure, (plain, first, first - plain))],
    ]
    text = (
        f"Processor time of an edge, medians of {rounds} rounds in turns; {_VIEWERS} viewers, events one at a time. "
        f"Targets: nothing for a delivery, {_TARGET_US} µs for a handshake with a known key."
    )
    head = ["", "without, µs", "with tokens, µs", "difference, µs"]
    return "\n".join([text, "", *report.table(head, rows)])
