"""The writing half of a viewer's socket: directly to the kernel where nothing waits, otherwise through the transport.

The transport's own queue, with its bookkeeping, costs half as much again as the system call. It is passed by for as
long as nothing waits in it and the kernel takes everything it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from ws_edge.fanout.session import Session


class SocketWriter:
    """Writes to one socket, and owns its descriptor.

    It alone decides when `fd` may be written to directly, and tells the viewer's sessions, which hold copies of it.
    """

    __slots__ = ("_descriptor", "fd", "sessions", "transport", "unsent")

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        """What the viewer follows, by test id."""
        self.unsent = b""
        """The answer to the upgrade, while it waits for the first frames: both leave in one write."""
        self.fd = -1
        """The transport's descriptor while nothing waits in the transport, otherwise -1."""
        self._descriptor = -1

    def open_direct(self) -> None:
        """From now on frames may go to the kernel past the transport, unless it uses TLS or is no socket at all."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None and self.transport.get_extra_info("sslcontext") is None:
            self._descriptor = int(raw.fileno())
            if not self.transport.get_write_buffer_size():
                self._set_fd(self._descriptor)

    def close_direct(self) -> None:
        """The transport closes its descriptor; the number may soon be another file's."""
        self._set_fd(-1)
        self._descriptor = -1

    def waiting(self) -> int:
        """Bytes that wait in the transport."""
        return self.transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Sends frames, behind the answer to the upgrade if that has not gone out yet."""
        if self.unsent:
            data, self.unsent = self.unsent + data, b""
        rest = memoryview(data)
        if self.fd >= 0:
            with contextlib.suppress(OSError):  # full, or gone: the transport waits, or finds the same error
                rest = rest[os.write(self.fd, rest) :]
        if rest:
            self.queue(rest)

    def queue(self, rest: memoryview) -> None:
        """Sends what a direct write did not take, once the kernel does."""
        self._set_fd(-1)
        self.transport.write(rest)

    def offer(self, frame: bytes, high_water_bytes: int) -> bool:
        """Writes a frame, unless more than `high_water_bytes` wait to be sent: then nothing happens, and it returns
        False."""
        waiting = self.transport.get_write_buffer_size()
        if waiting > high_water_bytes:
            return False
        if not waiting:
            self._set_fd(self._descriptor)
        self.write(frame)
        return True

    def _set_fd(self, fd: int) -> None:
        if fd != self.fd:
            self.fd = fd
            for session in self.sessions.values():
                session.set_fd(fd)
