"""Several edge processes on one port, and frames that are written directly to the kernel."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import cast

import pytest
import uvloop

from broker.contract.errors import InvalidSetting
from broker.jetstream.api import Streams
from tests.conftest import Stack
from tests.harness import EdgeProcess, begin, until
from ws_edge.fanout import one_call
from ws_edge.fanout.session import LiveSessions, Owner, Session
from ws_edge.transport.listener import listen
from ws_edge.transport.socket_writer import SocketWriter
from ws_edge.transport.websocket import ViewerSocket

HIGH_WATER = 64 * 1024


def upgrade(test_id: str) -> bytes:
    return (
        f"GET /ws?testId={test_id} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def open_sockets(pid: int) -> int:
    links = (str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink())
    return sum(link.startswith("socket:") for link in links)


async def test_connections_are_spread_evenly_and_a_dead_process_is_replaced(
    stack: Stack, stack_streams: Streams, tmp_path: Path
) -> None:
    edge = EdgeProcess(stack.nats_url, tmp_path, TESTCAST_EDGE_WORKERS="3")
    await edge.start()
    supervisor = edge.child.pid
    test_id = await begin(stack_streams)
    try:
        pool = await until(lambda: found if len(found := children(supervisor)) == 3 else None, within_s=20)
        before = {pid: open_sockets(pid) for pid in pool}
        opened = []
        for _ in range(150):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(upgrade(test_id))
            opened.append((reader, writer))
        for reader, _writer in opened:
            async with asyncio.timeout(20):
                assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        shares = [open_sockets(pid) - before[pid] for pid in pool]
        assert sum(shares) >= 145
        assert min(shares) >= 25, shares  # 50 each, give or take; one in a million is below
        os.kill(pool[0], signal.SIGKILL)
        await until(lambda: len(children(supervisor)) == 3 and pool[0] not in children(supervisor), within_s=20)
        for _ in range(20):  # some of them wait in the queue of the one that is not up yet
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(upgrade(test_id))
            async with asyncio.timeout(20):
                assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            writer.close()
        for _reader, writer in opened:
            writer.close()
    finally:
        assert await edge.stop() == 0  # while sockets vanish that it is about to say goodbye to


def test_a_port_that_is_taken_is_refused_by_name() -> None:
    [taken] = listen("127.0.0.1", 0)
    with taken, pytest.raises(InvalidSetting, match="TESTCAST_EDGE_PORT"):
        listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("io_uring", [True, False])
def test_what_the_kernel_does_not_take_follows_in_order(monkeypatch: pytest.MonkeyPatch, io_uring: bool) -> None:
    """A real transport and a peer that reads late: frames directly to the kernel and through the transport."""
    monkeypatch.setattr(one_call, "FEW", 0)

    async def play() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 1024)
        theirs.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        viewer = ViewerSocket.__new__(ViewerSocket)
        SocketWriter.__init__(viewer)
        viewer.transport = transport
        viewer.open_direct()
        live = LiveSessions(one_call.way_to_write(io_uring))
        session = viewer.sessions[""] = Session(cast(Owner, None), viewer, None)
        live.add(session)
        frames = [bytes([number]) * 5000 for number in range(100)]
        taken = 0
        while taken < len(frames) and live.offer(frames[taken], HIGH_WATER) == []:
            assert viewer.fd >= 0 or taken > 0, "the first is written directly to the kernel"
            taken += 1
        assert 10 < taken < len(frames), "the first go to the kernel, the next wait, then it is full"
        waiting = transport.get_write_buffer_size()
        assert HIGH_WATER < waiting <= HIGH_WATER + 5000
        assert live.offer(b"too much", HIGH_WATER) == [session]
        assert viewer.fd == live.fds[0] == -1, "nothing may overtake what waits"
        assert transport.get_write_buffer_size() == waiting, "what is refused leaves nothing behind"
        expected = b"".join(frames[:taken])
        got = b""
        async with asyncio.timeout(30):
            while len(got) < len(expected):
                got += await loop.sock_recv(theirs, 1 << 16)
        assert got == expected
        viewer.write(b"by the ")
        assert live.offer(b"transport, ", HIGH_WATER) == []
        assert live.offer(b"again", HIGH_WATER) == []
        async with asyncio.timeout(30):
            assert await loop.sock_recv(theirs, 100) == b"by the transport, again"
        theirs.close()
        while not transport.is_closing():
            live.offer(b"nobody there", HIGH_WATER)  # raises nothing, and finds out
            await asyncio.sleep(0)

    uvloop.run(play())
