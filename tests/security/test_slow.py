"""Clients that are slow on purpose. They wait at the same time, so that all take as long as the slowest."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fair_clock import fair_time
from tests.security.attacks import Table, as_test
from tests.security.system import System, Visitor
from tests.security.test_frames import frame

ATTACKS: Final[Table[System]] = Table()
_GIVES_UP_S: Final = 60.0
"""A deadline of an edge is at most 30 s; one that has none would hold for ever."""
Slow = Callable[[System, Visitor], Awaitable[None]]
_SLOW: Final[dict[str, Slow]] = {}


def slow(sentence: str, answer: str = "closed by a deadline") -> Callable[[Slow], Slow]:
    """Adds an attack to those that wait together."""

    def add(act: Slow) -> Slow:
        _SLOW[sentence] = act

        async def judged(system: System) -> None:
            for name, error in (await _all(system)).items():
                if name == sentence and error is not None:
                    raise error

        ATTACKS.add(f"slow: {sentence}", answer, judged)
        return act

    return add


_results: dict[int, dict[str, BaseException | None]] = {}


async def _all(system: System) -> dict[str, BaseException | None]:
    """What became of each: None where the edge ended it. They run once per system."""
    if id(system) not in _results:

        async def one(act: Slow) -> None:
            async with system.visitor(system.ann()) as visitor, asyncio.timeout(_GIVES_UP_S):
                await act(system, visitor)

        found = await asyncio.gather(*map(one, _SLOW.values()), return_exceptions=True)
        _results[id(system)] = dict(zip(_SLOW, found, strict=True))
    return _results[id(system)]


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            received += chunk
    return received


async def _drip(visitor: Visitor, at_once: bytes, bit_by_bit: bytes, *, framed: bool = False) -> None:
    """Sends one byte every half second until the edge closes."""
    async with visitor.upgraded() if framed else visitor.stream() as (reader, writer):
        writer.write(at_once)
        closed = asyncio.create_task(_until_closed(reader))
        for number in range(int(_GIVES_UP_S * 2)):
            with contextlib.suppress(ConnectionError):
                writer.write(bit_by_bit[number : number + 1] or b"a")
                await writer.drain()
            done, _ = await asyncio.wait([closed], timeout=0.5)
            if done:
                return
        closed.cancel()
        raise AssertionError("it is still open")


async def _silent(visitor: Visitor, sent: bytes, *, framed: bool = False) -> None:
    async with visitor.upgraded() if framed else visitor.stream() as (reader, writer):
        writer.write(sent)
        await _until_closed(reader)


@slow("a connection that sends nothing")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, b"")


@slow("half a request line")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, b"GET /rpc/li")


@slow("a head without its end")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, visitor.head("/rpc/listTests")[:-2])


@slow("an upgrade without its end")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, visitor.upgrade()[:-2])


@slow("a head of a byte every half second")
async def _(_system: System, visitor: Visitor) -> None:
    await _drip(visitor, b"", visitor.head("/rpc/listTests"))


@slow("an endless header of a byte every half second")
async def _(_system: System, visitor: Visitor) -> None:
    await _drip(visitor, visitor.head("/rpc/listTests")[:-2] + b"X-A: ", b"")


@slow("a second request on the same connection that never ends")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, visitor.head("/healthz") + b"GET /rpc/")


@slow("half a body")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, _post(visitor, "Content-Length: 100") + b'{"a":')


@slow("a body of a byte every half second")
async def _(_system: System, visitor: Visitor) -> None:
    await _drip(visitor, _post(visitor, "Content-Length: 10000") + b'{"query":"', b"")


@slow("a chunked body that never ends")
async def _(_system: System, visitor: Visitor) -> None:
    await _drip(visitor, _post(visitor, "Transfer-Encoding: chunked") + b"ffff\r\n", b"")


@slow("half a frame")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, frame(1, b"x" * 100)[:20], framed=True)


@slow("a frame of a byte every half second")
async def _(_system: System, visitor: Visitor) -> None:
    await _drip(visitor, frame(1, b"x" * 1000)[:10], b"", framed=True)


@slow("a message whose pieces never end")
async def _(_system: System, visitor: Visitor) -> None:
    await _drip(visitor, frame(1, b"x", fin=False), b"", framed=True)


@slow("a connection that is kept open after an answer")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, visitor.head("/healthz"))


@slow("a close frame whose answer is not read, and the connection kept")
async def _(_system: System, visitor: Visitor) -> None:
    await _silent(visitor, frame(8, b"\x03\xe8"), framed=True)


@slow("20 answers of getEvents that nobody reads", "closed by a deadline; memory is given back")
async def _(system: System, visitor: Visitor) -> None:
    head = visitor.head(f"/rpc/getEvents?testId={system.alpha.test_id}") * 400
    opened: list[socket.socket] = []
    try:
        for _number in range(20):
            each = socket.socket()
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            each.bind((visitor.address, 0))
            each.setblocking(False)
            opened.append(each)
            await asyncio.get_running_loop().sock_connect(each, ("127.0.0.1", system.edge.port))
            with contextlib.suppress(BlockingIOError, ConnectionError):
                each.send(head)
        ports = {each.getsockname()[1] for each in opened}
        deadline = fair_time() + _GIVES_UP_S
        while _established(system, ports):
            assert fair_time() < deadline, "the edge still holds them"
            await asyncio.sleep(0.2)
    finally:
        for each in opened:
            each.close()


@slow("a socket whose token expires and is not renewed", "error token_expired, then 4401 after the grace")
async def _(system: System, _visitor: Visitor) -> None:
    skew_s = 30
    for left_s in (3, 20):  # a machine that halts may need more to open the socket
        async with system.visitor(system.ann(exp=int(time.time()) - skew_s + left_s)) as ann:
            refused = await ann.refusal(f"?testId={system.alpha.test_id}", within_s=_GIVES_UP_S)
        if refused.code == 4401 and "token_expired" in refused.text:
            return
    raise AssertionError(refused)


def _post(visitor: Visitor, *lines: str) -> bytes:
    more = (f"Origin: {visitor.origin}", "Content-Type: application/json", *lines)
    return visitor.head("/rpc/listTests", *more, method="POST")


def _established(system: System, ports: set[int]) -> int:
    """How many connections from these ports the edge's process has open."""
    pid = system.edge.child.pid
    inodes: set[str] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(entry.readlink()).removeprefix("socket:[").rstrip("]"))
    found = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields: list[Any] = line.split()
        if int(fields[1].rsplit(":")[-1], 16) == system.edge.port and int(fields[2].rsplit(":")[-1], 16) in ports:
            found += fields[9] in inodes
    return found


@pytest.mark.timeout(200)
async def test_the_edge_serves_while_they_wait(system: System) -> None:
    waiting = asyncio.create_task(_all(system))
    async with system.visitor(system.ann()) as ann:
        for _number in range(20):
            assert (await ann.query("listTests")).status_code == 200
    results = await waiting
    assert len(results) == len(_SLOW)


test_attack = as_test(ATTACKS)
