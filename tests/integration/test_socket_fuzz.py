"""Nonsense on a real edge's sockets: its log stays quiet, its memory where it was, and the next viewer is served."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

from websockets.asyncio.client import connect

from broker.jetstream.api import Streams
from tests.harness import NO_SUCH_TEST, EdgeProcess, Reader, begin, until
from tests.unit.test_socket_fuzz import UPGRADE, frame


def said(rng: random.Random, test_id: str) -> bytes:
    """A few frames, most of them sound, a few bytes of them changed."""
    subscribe = b'{"type":"subscribe","testId":"%b"}' % rng.choice([test_id, NO_SUCH_TEST, "x"]).encode()
    choices = [
        lambda: frame(subscribe),
        lambda: frame(subscribe),
        lambda: frame(b'{"type":"subscribe","channel":"tests"}'),
        lambda: frame(b'{"type":' + b"[" * 1015 + b"]" * 1015 + b"}"),
        lambda: frame(rng.randbytes(rng.randrange(126)), 9),
        lambda: frame(rng.randbytes(rng.randrange(200)), rng.randrange(16), fin=rng.random() < 0.7),
        lambda: rng.randbytes(rng.randrange(1, 200)),
        lambda: frame(b"\x0f\xa1", 8),
    ]
    data = bytearray(b"".join(rng.choice(choices)() for _ in range(rng.randrange(1, 8))))
    if rng.random() < 0.5:
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


async def talk(edge: EdgeProcess, rng: random.Random, test_id: str) -> None:
    """One connection: says it in pieces, and breaks off or waits for the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    with contextlib.suppress(OSError):  # closed by the edge at any moment: a reset, or an end of ours come too late
        writer.write(UPGRADE)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        data = said(rng, test_id)
        while data:
            size = rng.choice([1, 2, 7, 100, 5000])
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
        if rng.random() < 0.3:
            writer.transport.abort()
        elif rng.random() < 0.5:
            writer.write_eof()
            async with asyncio.timeout(30):
                while await reader.read(65536):
                    pass
    writer.close()


async def test_nonsense(streams: Streams, nats_edge: EdgeProcess) -> None:
    test_id = await begin(streams)
    rng = random.Random(4711)

    def open_files() -> int:
        return len(list(Path(f"/proc/{nats_edge.child.pid}/fd").iterdir()))

    before, lines = open_files(), len(nats_edge.log.read_text().splitlines())
    for _ in range(15):
        await asyncio.gather(*(talk(nats_edge, rng, test_id) for _ in range(20)))
    await until(lambda: open_files() <= before + 2, within_s=15, what="every connection is closed")
    log = nats_edge.log.read_text()
    # 300 connections; each kind of refusal is told once in 10 s.
    assert "Traceback" not in log and len(log.splitlines()) - lines <= 30, log[-3000:]
    async with connect(f"{nats_edge.ws_url}?testId={test_id}") as connection:
        assert len(await Reader(connection).events(2)) == 2
