"""Limits on connections that are no sockets: those of HTTP, and those that have sent nothing yet. Pure.

A node that is full closes the connection that has rested longest and lets the new one in, and so does an address that
has its number of them: a client that asks for something at once is served, however many others hold connections open
and say nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from ws_edge.transport.admission import Refused

_RETRY_S: Final = 5


class Connection(Protocol):
    """What is counted."""

    def make_room(self) -> None:
        """Ends it at once."""


class ConnectionsStatistics(NamedTuple):
    """The connections of one node that are no sockets."""

    open: int
    resting: int
    """Of them, those that have no request under way."""
    addresses: int
    refused: int
    """Since the start."""
    closed_for_room: int
    """Since the start."""


class Connections:
    """Counts the connections of one node.

    Args:
        max_open: at the same time, on this node.
        max_per_address: of them from one address; 0 for no such limit.
        max_files: connections of every kind, sockets among them: what the limit of open files leaves room for.
    """

    def __init__(self, max_open: int, max_per_address: int, max_files: int) -> None:
        self._max_open = max_open
        self._max_per_address = max_per_address
        self._max_files = max_files
        self._open: dict[Connection, str] = {}
        self._resting: dict[Connection, None] = {}
        """In the order in which they began to rest."""
        self._addresses: dict[str, _Address] = {}
        self._refused = 0
        self._closed = 0

    def __repr__(self) -> str:
        return f"<Connections open={len(self._open)} resting={len(self._resting)} refused={self._refused}>"

    def statistics(self) -> ConnectionsStatistics:
        """The figures of this moment."""
        counts = (len(self._open), len(self._resting), len(self._addresses))
        return ConnectionsStatistics(*counts, self._refused, self._closed)

    def enter(self, connection: Connection, address: str, others: int) -> Refused | None:
        """Lets a connection in, or says why not. Each that is let in has to `leave`.

        Args:
            address: where it comes from; empty for one that counts against no address, like a trusted proxy's.
            others: all connections of the process, sockets among them.
        """
        known = self._addresses.get(address)
        if known is not None and self._max_per_address and known.open >= self._max_per_address:
            text = f"{address} has its {self._max_per_address} connections to this node"
            hint = "if it is a proxy, name it in TESTCAST_EDGE_TRUSTED_PROXIES"
            if not self._make_room(known.resting):
                return Refused("address_full", f"{text}; {hint}", _RETRY_S)
        elif (len(self._open) >= self._max_open or others >= self._max_files) and not self._make_room(self._resting):
            return Refused("node_full", "this node has as many connections as it can serve", _RETRY_S)
        self._open[connection] = address
        self._resting[connection] = None
        if address:
            known = self._addresses.get(address)  # it has gone if its only connection made room
            if known is None:
                known = self._addresses[address] = _Address()
            known.open += 1
            known.resting[connection] = None
        return None

    def hand_over(self, before: Connection, after: Connection) -> None:
        """A connection is another object from now on."""
        address = self._open.pop(before, None)
        if address is not None:
            self._end_rest(before, address)
            self._open[after] = address
            self.rests(after)

    def works(self, connection: Connection) -> None:
        """A request of it is under way: it is not closed to make room."""
        self._end_rest(connection, self._open.get(connection, ""))

    def rests(self, connection: Connection) -> None:
        """It has no request under way."""
        address = self._open.get(connection)
        if address is not None:
            self._resting[connection] = None
            if address:
                self._addresses[address].resting[connection] = None

    def leave(self, connection: Connection) -> None:
        """It is closed, or a socket from now on. Harmless for one that has left."""
        address = self._open.pop(connection, None)
        if address is None:
            return
        self._resting.pop(connection, None)
        known = self._addresses.get(address)
        if known is not None:
            known.resting.pop(connection, None)
            known.open -= 1
            if not known.open:
                del self._addresses[address]

    def _end_rest(self, connection: Connection, address: str) -> None:
        self._resting.pop(connection, None)
        if address:
            self._addresses[address].resting.pop(connection, None)

    def _make_room(self, resting: dict[Connection, None]) -> bool:
        """Closes the connection that has rested longest. False: there is none, and somebody is refused."""
        oldest = next(iter(resting), None)
        if oldest is None:
            self._refused += 1
            return False
        self._closed += 1
        self.leave(oldest)
        oldest.make_room()
        return True


class _Address:
    """The connections from one address."""

    __slots__ = ("open", "resting")

    def __init__(self) -> None:
        self.open = 0
        self.resting: dict[Connection, None] = {}
        """In the order in which they began to rest."""
