"""When the proofs of open sockets end: they expire, or are revoked.

A socket whose proof has ended is told so, gets its events for a while longer, and is closed unless it sends another
proof. There is no timer per socket: sockets wait in buckets by second, which the hub sweeps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

K = TypeVar("K")

GRACE_S: Final = 25.0
"""How long events still flow after the end of a proof: time enough to get another one."""
NOT_AUTHENTICATED: Final = 4401
_MAX_STEPS: Final = 1000
"""Seconds that are looked at one by one. After a longer halt, or a change of the clock, all buckets are."""


class ProvedSocket(Protocol):
    """What a socket with a proof has to understand."""

    def proof_ended(self, code: str, grace_ms: int) -> None:
        """Tells the client that it has `grace_ms` for another proof. `code`: `token_expired` or `token_revoked`."""

    def share_ended(self, proof: str) -> None:
        """A share link through which it watches a run has ended."""

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake; harmless when that has begun."""


class OpenProofsStatistics(NamedTuple):
    """The proofs of one node's sockets, in numbers."""

    held: int
    in_grace: int


class _Held:
    """A socket's proof."""

    __slots__ = ("due", "in_grace", "proofs")

    def __init__(self, due: int | None, proofs: Sequence[str]) -> None:
        self.due = due
        self.proofs = proofs
        self.in_grace = False


class OpenProofs:
    """The proofs of all open sockets of a node. All calls from the loop.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._held: dict[ProvedSocket, _Held] = {}
        self._by_second: dict[int, set[ProvedSocket]] = {}
        self._by_proof: dict[str, set[ProvedSocket]] = {}
        self._swept = math.floor(now())
        self.given_up = 0
        """Sockets that were closed since the start, because no other proof has come in time."""

    def __repr__(self) -> str:
        return f"<OpenProofs held={len(self._held)}>"

    def statistics(self) -> OpenProofsStatistics:
        """The figures of this moment."""
        return OpenProofsStatistics(len(self._held), sum(each.in_grace for each in self._held.values()))

    def hold(self, socket: ProvedSocket, expires_at: float | None, proofs: Sequence[str]) -> None:
        """Watches over a socket's proof, in place of the one it had.

        Args:
            expires_at: seconds since 1970; None for never.
            proofs: the names of all whose end takes something from it (`access.proofs_of`).
        """
        self.release(socket)
        if expires_at is None and not proofs:
            return
        held = self._held[socket] = _Held(None, proofs)
        for each in proofs:
            self._by_proof.setdefault(each, set()).add(socket)
        if expires_at is not None:
            self._due_at(socket, held, expires_at)

    def release(self, socket: ProvedSocket) -> None:
        """The socket is gone; harmless when nothing is held."""
        held = self._held.pop(socket, None)
        if held is None:
            return
        self._take_out(self._by_second, held.due, socket)
        for each in held.proofs:
            self._take_out(self._by_proof, each, socket)

    def end(self, proof: str) -> None:
        """A proof was revoked, or a share link has ended."""
        for socket in tuple(self._by_proof.get(proof, ())):
            if proof.startswith("share."):
                socket.share_ended(proof)
            elif not self._held[socket].in_grace:
                self._begin_grace(socket, self._held[socket], "token_revoked")

    def sweep(self) -> None:
        """Begins the grace of proofs that have expired, and closes sockets whose grace is over."""
        second = math.floor(self.now())
        if second == self._swept:
            return
        if 0 < second - self._swept <= _MAX_STEPS:
            due = [each for each in range(self._swept + 1, second + 1) if each in self._by_second]
        else:
            due = sorted(each for each in self._by_second if each <= second)
        self._swept = second
        for each in due:
            for socket in self._by_second.pop(each):
                held = self._held.get(socket)
                if held is None:
                    continue
                held.due = None
                if held.in_grace:
                    self.given_up += 1
                    socket.close(NOT_AUTHENTICATED, "no other proof of who this is has come in time")
                else:
                    self._begin_grace(socket, held, "token_expired")

    def _begin_grace(self, socket: ProvedSocket, held: _Held, code: str) -> None:
        self._take_out(self._by_second, held.due, socket)
        held.in_grace = True
        self._due_at(socket, held, self.now() + GRACE_S)
        socket.proof_ended(code, int(GRACE_S * 1000))

    def _due_at(self, socket: ProvedSocket, held: _Held, when: float) -> None:
        held.due = max(math.ceil(when), self._swept + 1)
        self._by_second.setdefault(held.due, set()).add(socket)

    @staticmethod
    def _take_out(index: dict[K, set[ProvedSocket]], key: K | None, socket: ProvedSocket) -> None:
        if key is None or key not in index:
            return
        index[key].discard(socket)
        if not index[key]:
            del index[key]
