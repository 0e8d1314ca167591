"""The way out to one viewer: straight to the kernel where nothing waits, else through the transport's queue."""

from __future__ import annotations

import asyncio
import contextlib
import os

from ws_edge.fanout.session import Session


class SocketWriter:
    """The writing half of a viewer's socket.

    The transport's own queue, with its bookkeeping, costs half as much again as the system call. So it is passed by,
    for as long as nothing waits in it and the kernel takes all that it is given.
    """

    __slots__ = ("descriptor", "fd", "sessions", "transport", "unsent")

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        """What the viewer follows, by test id."""
        self.unsent = b""
        """The answer to the upgrade, while it waits for company."""
        self.descriptor = -1
        """The transport's, where frames may go to the kernel past it; it is closed after `connection_lost`."""
        self.fd = -1
        """The same while nothing waits in the transport, else -1."""

    def write(self, frames: bytes) -> None:
        """Sends frames, behind the answer to the upgrade if that has not gone out yet."""
        if self.unsent:
            frames, self.unsent = self.unsent + frames, b""
        rest = memoryview(frames)
        if self.fd >= 0:
            with contextlib.suppress(OSError):  # full, or gone: the transport waits, or finds the same error
                rest = rest[os.write(self.fd, rest) :]
        if rest:
            self.queue(rest)

    def queue(self, rest: memoryview) -> None:
        """Sends what the kernel did not take, once it does."""
        self.go_straight(-1)
        self.transport.write(rest)

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        """Writes a frame, unless more than `high_water_bytes` wait to be sent: then nothing happens, and False."""
        waiting = self.transport.get_write_buffer_size()
        if waiting > high_water_bytes:
            return False
        if not waiting:
            self.go_straight(self.descriptor)
        self.write(frame)
        return True

    def go_straight(self, fd: int) -> None:
        """From now on frames may go to `fd`; -1: through the transport."""
        if fd != self.fd:
            self.fd = fd
            for session in self.sessions.values():
                session.straight(fd)
