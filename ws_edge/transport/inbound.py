"""What sockets say, taken in at a pace that leaves time for everybody else.

What a page says is carried out at once: a few hundred messages when it connects, and a few a minute from then on. What
is beyond that waits, and nothing more is read from such a socket meanwhile: the kernel holds its client back. Those
that wait are served in turn by address, a little at each tick, so that a client with much to say is slower and no other
one is. Nothing is refused here: `quotas` does that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from ws_edge.transport.quotas import Quotas, Talker

_AT_ONCE_BYTES: Final = 512
"""Parsed in one go: at most 85 of the smallest frames."""
_TICK_S: Final = 0.02
_SLICES_A_TICK: Final = 8
"""4 KiB a tick are about 2,000 subscribes a second, which take a fifth of this process's time."""


class InboundStatistics(NamedTuple):
    """Sockets that have said more than is taken in at once, at this moment."""

    waiting: int
    waiting_bytes: int


class Speaker(Talker, Protocol):
    """A socket that says something."""

    transport: asyncio.Transport

    @property
    def address(self) -> str:
        """What it counts as against the limits."""

    @property
    def is_held_back(self) -> bool:
        """It does not take its answers, so that nothing of what it says is read."""


class _Waiting(NamedTuple):
    rest: bytearray
    read: Callable[[bytes], None]


class Inbound:
    """What the sockets of one node have said and what was not carried out yet."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._waiting: dict[str, dict[Speaker, _Waiting]] = {}
        """By address: both in the order of their turns."""
        self._tick: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        statistics = self.statistics()
        return f"<Inbound waiting={statistics.waiting} bytes={statistics.waiting_bytes}>"

    def statistics(self) -> InboundStatistics:
        """The figures of this moment."""
        rests = [len(each.rest) for sockets in self._waiting.values() for each in sockets.values()]
        return InboundStatistics(len(rests), sum(rests))

    def take(self, socket: Speaker, data: bytes, read: Callable[[bytes], None]) -> None:
        """Carries out what has come on a socket, now or later.

        Args:
            read: reads bytes of frames; what it is given is in order and complete.
        """
        waiting = self._waiting.get(socket.address, {}).get(socket)
        if waiting is not None:
            waiting.rest.extend(data)
            socket.transport.pause_reading()
            return
        if len(data) <= _AT_ONCE_BYTES and not self._quotas.is_busy(socket):
            read(data)
            return
        start = 0
        while start < len(data) and not socket.transport.is_closing():
            if self._quotas.is_busy(socket):
                self._wait(socket, _Waiting(bytearray(data[start:]), read))
                return
            read(data[start : start + _AT_ONCE_BYTES])
            start += _AT_ONCE_BYTES

    def holds(self, socket: Speaker) -> bool:
        """Whether something that it has said waits here. Reading goes on when that was carried out, and not before."""
        return socket in self._waiting.get(socket.address, ())

    def forget(self, socket: Speaker) -> None:
        """The socket is closed."""
        sockets = self._waiting.get(socket.address)
        if sockets is not None and sockets.pop(socket, None) is not None and not sockets:
            del self._waiting[socket.address]

    def _wait(self, socket: Speaker, waiting: _Waiting) -> None:
        socket.transport.pause_reading()
        self._waiting.setdefault(socket.address, {})[socket] = waiting
        self._arm()

    def _arm(self) -> None:
        if self._tick is None and self._waiting:
            self._tick = asyncio.get_running_loop().call_later(_TICK_S, self._serve)

    def _serve(self) -> None:
        """One tick: a slice of the next socket of the next address, a few times."""
        self._tick = None
        try:
            for _ in range(_SLICES_A_TICK):
                if not self._serve_one():
                    return
        finally:
            self._arm()

    def _serve_one(self) -> bool:
        """Returns whether there was something to do."""
        for address in list(self._waiting):
            sockets = self._waiting.pop(address)
            self._waiting[address] = sockets  # it is the last one in turn now
            socket = next((each for each in sockets if not each.is_held_back), None)
            if socket is not None:
                waiting = sockets.pop(socket)
                sockets[socket] = waiting
                self._serve_socket(socket, waiting)
                return True
        return False

    def _serve_socket(self, socket: Speaker, waiting: _Waiting) -> None:
        piece = bytes(waiting.rest[:_AT_ONCE_BYTES])
        del waiting.rest[:_AT_ONCE_BYTES]
        if not waiting.rest:
            self.forget(socket)
        if socket.transport.is_closing():
            self.forget(socket)
            return
        waiting.read(piece)
        if not waiting.rest and not socket.is_held_back and not socket.transport.is_closing():
            socket.transport.resume_reading()
