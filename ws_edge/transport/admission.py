"""Limits on sockets per node and per address, and on the rate of handshakes. Pure; `now` is passed in.

Viewers that lose their node come back all at once. Those beyond the limits are told when to come again, in one short
answer and before any work is done for them, so that the others are served quickly.
"""

from __future__ import annotations

from typing import NamedTuple


class Refused(NamedTuple):
    """Why a socket is not let in, and when to come again."""

    code: str
    message: str
    retry_after_s: int


class AdmissionStatistics(NamedTuple):
    """Sockets let in and refused, in numbers."""

    open: int
    addresses: int
    refused: int
    """Since the start."""
    max_sockets: int
    """How many may be open at the same time."""


class Admission:
    """Counts the sockets of one node.

    Args:
        max_sockets: open at the same time on this node.
        max_per_address: of them from one address; 0 for no such limit.
        handshakes_per_s: on average; twice as many at once after a quiet moment. 0 for no such limit.
    """

    def __init__(self, max_sockets: int, max_per_address: int, handshakes_per_s: float) -> None:
        self._max_sockets = max_sockets
        self._max_per_address = max_per_address
        self._rate = handshakes_per_s
        self._burst = 2 * handshakes_per_s
        self._tokens = self._burst
        self._filled_at = 0.0
        self._by_address: dict[str, int] = {}
        self.open = 0
        self.refused = 0

    def __repr__(self) -> str:
        return f"<Admission open={self.open} addresses={len(self._by_address)} refused={self.refused}>"

    def statistics(self) -> AdmissionStatistics:
        """The counts as they are now."""
        return AdmissionStatistics(self.open, len(self._by_address), self.refused, self._max_sockets)

    def enter(self, address: str, now: float, *, handshake: bool = True) -> Refused | None:
        """Lets a socket in and returns None, or says why not. Every socket that is let in has to `leave`.

        Args:
            handshake: it counts against their rate. Viewers that poll come again and again, and have a quota of theirs.
        """
        refused = self._judge(address, now, handshake)
        if refused is not None:
            self.refused += 1
            return refused
        self._tokens -= handshake
        self.open += 1
        self._by_address[address] = self._by_address.get(address, 0) + 1
        return None

    def leave(self, address: str) -> None:
        """Releases the slot of an accepted socket."""
        self.open -= 1
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]

    def _judge(self, address: str, now: float, handshake: bool) -> Refused | None:
        if self.open >= self._max_sockets:
            return Refused("node_full", f"this node has its {self._max_sockets} sockets", 5)
        if self._max_per_address and self._by_address.get(address, 0) >= self._max_per_address:
            text = f"{address} has its {self._max_per_address} sockets on this node"
            hint = "if it is a proxy, name it in TESTCAST_EDGE_TRUSTED_PROXIES"
            return Refused("address_full", f"{text}; {hint}", 30)
        if self._rate and handshake:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now
            if self._tokens < 1:
                return Refused("too_fast", "too many handshakes at once on this node", 1)
        return None
