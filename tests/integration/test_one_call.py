"""A frame to many sockets by one system call: real sockets in every state, real edges, and kernels that refuse it."""

from __future__ import annotations

import asyncio
import select
import socket
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.jetstream.api import Streams
from tests.conftest import MakeEdge
from tests.harness import begin, event_log, publish, until
from tests.integration.test_edges_on_one_port import upgrade
from tests.model import FrameReader
from ws_edge.fanout import one_call
from ws_edge.fanout.one_call import REQUESTS, OneCall, Unwritten, WriteAll, one_by_one, way_to_write

ROOM = 4096
"""Bytes that a small socket is asked to hold; the kernel doubles them."""


@pytest.fixture(scope="module")
def way() -> OneCall:
    found = way_to_write(io_uring=True)
    if not isinstance(found, OneCall):
        pytest.skip("this kernel has no io_uring, or does not allow it")
    return found


@pytest.fixture
def no_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_call, "FEW", 0)


class Peer:
    """A pair of connected sockets: ours is written to, theirs reads when told to."""

    def __init__(self, stack: ExitStack, listener: socket.socket, *, small: bool) -> None:
        self.theirs = stack.enter_context(socket.socket())
        if small:
            self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self.theirs.connect(listener.getsockname())
        self.ours = stack.enter_context(listener.accept()[0])
        if small:
            self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        self.ours.setblocking(False)
        self.fd = self.ours.fileno()
        self.expected = b""

    def leave(self) -> None:
        """Theirs is closed by a reset, and ours has it."""
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.theirs.close()
        poller = select.poll()
        poller.register(self.fd, 0)
        assert poller.poll(10_000), "no reset within 10 s"

    def whole(self) -> bytes:
        """All that has been written to it."""
        got = b""
        self.theirs.settimeout(10)
        while len(got) < len(self.expected):
            piece = self.theirs.recv(1 << 16)
            assert piece, "ended early"
            got += piece
        return got


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        yield listening


def note(peers: list[Peer], fds: array[int], frame: bytes, unwritten: Unwritten) -> None:
    """Adds what each has got; who did not get all is not written to any more, as behind a transport that waits."""
    taken = dict(unwritten)
    assert len(taken) == len(unwritten), "each is told of once"
    for place, peer in enumerate(peers):
        if fds[place] >= 0:
            sent = taken.get(place, len(frame))
            assert 0 <= sent <= len(frame)
            peer.expected += frame[:sent]
        else:
            assert taken[place] == 0
        if place in taken:
            fds[place] = -1


STATES = st.lists(st.sampled_from(["reads", "small", "gone", "waits"]), min_size=1, max_size=40)
FRAMES = st.lists(st.integers(1, 20_000), min_size=1, max_size=12)


@given(states=STATES, sizes=FRAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_said_to_be_written_is(
    way: OneCall, listener: socket.socket, no_few: None, states: list[str], sizes: list[int]
) -> None:
    """Whatever the kernel takes of a frame, and whoever has gone: the bytes that it has taken are there, in order."""
    with ExitStack() as stack:
        peers = [Peer(stack, listener, small=state == "small") for state in states]
        fds = array("i", [-1 if state == "waits" else peer.fd for state, peer in zip(states, peers, strict=True)])
        for state, peer in zip(states, peers, strict=True):
            if state == "gone":
                peer.leave()
        for number, size in enumerate(sizes):
            frame = bytes([number]) * size
            note(peers, fds, frame, way(fds, frame))
        for state, peer in zip(states, peers, strict=True):
            if state != "gone":
                assert peer.whole() == peer.expected
        assert all(fd >= 0 for state, fd in zip(states, fds, strict=True) if state == "reads") or sum(sizes) > 100_000
        assert all(fd < 0 for state, fd in zip(states, fds, strict=True) if state == "gone")


def test_a_full_group_and_the_end_of_the_ring(way: OneCall, listener: socket.socket) -> None:
    """Groups of changing size, so that requests lie across the end of the ring; each socket gets its bytes in order."""
    with ExitStack() as stack:
        peers = [Peer(stack, listener, small=False) for _ in range(REQUESTS)]
        for number, count in enumerate([REQUESTS, 100, 500, 17, REQUESTS, 499, 300, 16, REQUESTS - 1]):
            frame = bytes([number]) * (number + 1)
            assert list(way(array("i", [peer.fd for peer in peers[:count]]), frame)) == []
            for peer in peers[:count]:
                peer.expected += frame
        assert [peer.whole() for peer in peers] == [peer.expected for peer in peers]


def test_part_of_a_frame_is_counted(way: OneCall, listener: socket.socket, no_few: None) -> None:
    """A frame larger than all buffers leaves a part, and a socket that is full gets nothing."""
    with ExitStack() as stack:
        peer = Peer(stack, listener, small=True)
        sent, number = 1, 0
        while sent:
            frame = bytes([number]) * 60_000
            [(place, sent)] = way(array("i", [peer.fd]), frame)
            assert place == 0 and sent < len(frame)
            assert sent or number, "the first one leaves a part"
            peer.expected += frame[:sent]
            number += 1
        assert peer.whole() == peer.expected


def test_requests_that_the_kernel_has_no_memory_for_are_made_one_by_one(
    way: OneCall, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = way._syscall

    def poor(number: int, fd: int, count: int, *rest: object) -> int:
        return -1 if most < 0 else int(real(number, fd, min(count, most), *rest))

    with ExitStack() as stack:
        peers = [Peer(stack, listener, small=False) for _ in range(30)]
        fds = array("i", [peer.fd for peer in peers])
        for most in (20, 0, -1, 30, 7, 30):
            with monkeypatch.context() as patch:
                patch.setattr(way, "_syscall", poor)
                assert list(way(fds, bytes([most % 256]) * 10)) == []
            for peer in peers:
                peer.expected += bytes([most % 256]) * 10
        assert [peer.whole() for peer in peers] == [peer.expected for peer in peers]


@pytest.mark.parametrize("raises", ["before", "after"])
def test_what_was_raised_in_a_call_harms_no_later_one(
    way: OneCall, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, raises: str
) -> None:
    """No frame goes to a socket that it is not for, and none is said to be lost that is there."""
    real = way._syscall

    def interrupted(*arguments: object) -> int:
        if raises == "after":
            real(*arguments)
        raise KeyboardInterrupt

    with ExitStack() as stack:
        peers = [Peer(stack, listener, small=False) for _ in range(60)]
        fds = array("i", [peer.fd for peer in peers])
        fds[3] = -1
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(way, "_syscall", interrupted)
            way(fds[:40], b"first")
        assert list(way(fds[40:], b"second")) == []
        assert list(way(fds[:40], b"third")) == [(3, 0)]
        for place, peer in enumerate(peers):
            first = b"first" if raises == "after" and place < 40 else b""
            peer.expected = b"" if place == 3 else first + (b"third" if place < 40 else b"second")
        assert [peer.whole() for peer in peers] == [peer.expected for peer in peers]
        for peer in peers:
            peer.theirs.setblocking(False)
            with pytest.raises(BlockingIOError):
                peer.theirs.recv(1)


def test_a_kernel_that_takes_nothing_is_not_asked_for_ever(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = way_to_write(io_uring=True)
    if not isinstance(own, OneCall):
        pytest.skip("this kernel has no io_uring, or does not allow it")
    asked: list[int] = []

    def refuses(number: int, *_rest: object) -> int:
        asked.append(number)
        return -1

    monkeypatch.setattr(own, "_syscall", refuses)
    with ExitStack() as stack:
        peers = [Peer(stack, listener, small=False) for _ in range(20)]
        for _ in range(30):
            assert list(own(array("i", [peer.fd for peer in peers]), b"frame ")) == []
        for peer in peers:
            peer.expected = b"frame " * 30
            assert peer.whole() == peer.expected
    assert len(asked) == one_call.MOST_FAILURES
    assert [record.levelname for record in caplog.records if "no more requests" in record.message] == ["WARNING"]


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (lambda told: (told[0], []), "a part counts as a whole frame"),
        (lambda told: (told[0], [(place, 0) for place, _ in told[1]]), "a part counts as nothing"),
    ],
    ids=["whole", "nothing"],
)
def test_a_kernel_that_says_what_is_not_so_is_not_used(
    way: OneCall,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lie: Callable[[tuple[int, list[tuple[int, int]]]], tuple[int, list[tuple[int, int]]]],
    why: str,
) -> None:
    real = OneCall._write
    monkeypatch.setattr(OneCall, "_write", lambda self, fds, frame: lie(real(self, fds, frame)))
    assert way_to_write(io_uring=True) is one_by_one, why
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("count", [one_call.FEW - 1, REQUESTS + 1])
def test_too_few_and_too_many_are_written_to_all_the_same(way: OneCall, listener: socket.socket, count: int) -> None:
    with ExitStack() as stack:
        peers = [Peer(stack, listener, small=False) for _ in range(count)]
        fds = array("i", [peer.fd for peer in peers])
        for frame in (b"short", b"l" * (one_call.MOST_BYTES + 1)):
            assert list(way(fds, frame)) == []
            for peer in peers:
                peer.expected += frame
                assert peer.whole() == peer.expected
                peer.expected = b""


REFUSED = """
import ctypes, logging, struct, sys
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
# A filter as container engines have it: io_uring_setup is not permitted, everything else is.
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
program = b"".join(struct.pack("<HBBI", *each) for each in [
    (LOAD, 0, 0, 0), (EQUAL, 0, 1, 425), (RETURN, 0, 0, 0x00050001), (RETURN, 0, 0, 0x7FFF0000)])
memory = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("<H6xQ", 4, ctypes.addressof(memory)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
from ws_edge.fanout.one_call import one_by_one, way_to_write
assert way_to_write(io_uring=True) is one_by_one
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux'")
def test_where_it_is_refused_each_is_written_to_by_itself() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "a system call for each viewer: no io_uring here (Operation not permitted)" in done.stdout


def test_it_can_be_switched_off() -> None:
    chosen: WriteAll = way_to_write(io_uring=False)
    assert chosen is one_by_one


class Viewer:
    """A socket of a run that reads when told to."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.seqs: list[int] = []
        self.left = False
        self._frames = FrameReader(self._on_message)
        self._reading: asyncio.Task[None] | None = None

    def _on_message(self, message: dict[str, Any]) -> None:
        if "seq" in message:
            self.seqs.append(message["seq"])

    def read_on(self) -> None:
        self._reading = self._reading or asyncio.create_task(self._read())

    async def _read(self) -> None:
        loop, data = asyncio.get_running_loop(), b""
        while b"\r\n\r\n" not in data:
            data += await loop.sock_recv(self.raw, 1 << 16)
        data = data.partition(b"\r\n\r\n")[2]
        while True:
            self._frames.feed(data)
            data = await loop.sock_recv(self.raw, 1 << 16)
            assert data, "ended early"

    def has(self, last: int) -> bool:
        """Whether it has this event.

        Raises:
            Exception: why it reads no more.
        """
        if self._reading is not None and self._reading.done():
            self._reading.result()
        return bool(self.seqs) and self.seqs[-1] >= last

    def leave(self) -> None:
        """Closes it by a reset; harmless when that was done."""
        if self.left:
            return
        self.left = True
        if self._reading is not None:
            self._reading.cancel()
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.raw.close()


@pytest.mark.parametrize("io_uring", ["1", "0"])
async def test_a_crowd_of_which_some_do_not_read_and_some_vanish(
    streams: Streams, make_edge: MakeEdge, io_uring: str
) -> None:
    """Forty viewers of one run, each event once and in order for whoever stays: those that read late included."""
    edge = await make_edge(TESTCAST_EDGE_IO_URING=io_uring, TESTCAST_EDGE_HIGH_WATER_BYTES="8192")
    assert ("(io_uring)" in edge.log.read_text()) is (io_uring == "1" and isinstance(way_to_write(True), OneCall))
    test_id = await begin(streams)
    loop = asyncio.get_running_loop()
    viewers: list[Viewer] = []
    with ExitStack() as stack:
        for number in range(40):
            raw = socket.socket()
            viewers.append(Viewer(raw))
            stack.callback(viewers[-1].leave)
            if number % 4 == 1:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
            raw.setblocking(False)
            await loop.sock_connect(raw, ("127.0.0.1", edge.port))
            await loop.sock_sendall(raw, upgrade(test_id))
            if number % 4 != 1:
                viewers[-1].read_on()
        await until(lambda: all(viewer.has(1) for n, viewer in enumerate(viewers) if n % 4 != 1), within_s=20)
        for number in range(300):
            await publish(streams, test_id, f"event {number} {'x' * 400}", "error")
            if number == 150:
                for viewer in viewers[3::8]:
                    viewer.leave()
        last = await event_log(streams).last(test_id)
        staying = [viewer for viewer in viewers if not viewer.left]
        for viewer in staying:
            viewer.read_on()
        await until(lambda: all(viewer.has(last) for viewer in staying), within_s=30)
        for viewer in staying:
            assert viewer.seqs == list(range(viewer.seqs[0], last + 1))
