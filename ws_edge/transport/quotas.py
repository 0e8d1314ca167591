"""How often one client may ask for something: by socket, by address and by principal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from ws_edge.access import Principal
from ws_edge.limits import BURST_S, Limits
from ws_edge.transport.buckets import Buckets, TooManyRequests, taken

Kind = Literal["submits", "cancels", "publishes", "lists", "reads", "pictures", "sign-ins"]

TOO_MANY: Final = 4429
_LISTS_BURST_S: Final = 20.0
"""Lists and reads cost this process's time, which is everybody's: less of them at once."""
_PATIENCE: Final = 100
"""Messages beyond the limit on one socket, before it is closed."""
_END_OF_PATIENCE: Final = 1000
"""And before it is closed without waiting for the client's own close frame."""
_AT_ONCE: Final = 256
"""Messages of one socket that are carried out at once; what is beyond waits for its turn (`inbound`)."""
_AT_ONCE_AN_ADDRESS: Final = 10_000
_AN_ADDRESS_PER_S: Final = 1_000.0
"""The same for all sockets of one address, at once and from then on: a hundred pages with a hundred cards each."""
_TURN_S: Final = 10.0
"""How long a call waits for its turn to read events."""


class Talker(Protocol):
    """A socket that messages come on."""

    closing_since: float
    """When the closing handshake began, loop time; 0 while the socket is open."""

    @property
    def address(self) -> str:
        """What it counts as against the limits."""

    def send_error(self, code: str, message: str, test_id: str | None = None) -> None:
        """Tells the client what is wrong; the socket stays open."""

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake."""

    def abort(self) -> None:
        """Ends the connection at once."""


class QuotaStatistics(NamedTuple):
    """Calls and messages refused since the start, and the keys that are remembered."""

    refused: int
    keys: int
    reading: int
    """Calls that read events at this moment."""
    by_quota: dict[str, int]
    """Refused since the start: calls of each kind, messages of sockets, turns to read events."""
    given_up: int
    """Sockets that were closed since the start because they went on."""


def own_subject(principal: Principal) -> str | None:
    """The name that a principal's calls count against; None for what everybody is.

    Whoever came without a token has a name that others have too: all readers of share links have one.
    """
    return None if principal.expires_at is None else principal.subject


class Quotas:
    """The quotas of one node.

    Args:
        limits: the settings.
        max_subscriptions: what a socket may subscribe to: it may do so at once, twice.
    """

    def __init__(self, limits: Limits, max_subscriptions: int) -> None:
        rates: dict[Kind, tuple[float, float]] = {
            "submits": (limits.submits_per_s, BURST_S),
            "cancels": (limits.cancels_per_s, BURST_S),
            "publishes": (limits.publishes_per_s, BURST_S),
            "lists": (limits.lists_per_s, _LISTS_BURST_S),
            "reads": (limits.reads_per_s, _LISTS_BURST_S),
            "pictures": (limits.reads_per_s, _LISTS_BURST_S),  # one a second for each run on a screen
            "sign-ins": (limits.sign_ins_per_s, BURST_S),
        }
        self._buckets = {kind: Buckets(rate, rate * burst_s) for kind, (rate, burst_s) in rates.items()}
        self._messages_per_s = limits.messages_per_s
        self._burst = 2 * max_subscriptions + limits.messages_per_s
        self._sockets: WeakKeyDictionary[Talker, _Talk] = WeakKeyDictionary()
        self._addresses = Buckets(_AN_ADDRESS_PER_S, _AT_ONCE_AN_ADDRESS)
        self._turns = Turns(limits.max_reads_at_once)
        self._refused_messages = 0
        self._given_up = 0

    def __repr__(self) -> str:
        return f"<Quotas {' '.join(f'{kind}={buckets!r}' for kind, buckets in self._buckets.items())}>"

    def statistics(self) -> QuotaStatistics:
        """The figures of this moment."""
        each = {kind: buckets.statistics() for kind, buckets in self._buckets.items()}
        by_quota: dict[str, int] = {kind: one.refused for kind, one in each.items()}
        by_quota |= {"messages": self._refused_messages, "turns": self._turns.refused}
        keys = sum(one.keys for one in each.values())
        return QuotaStatistics(sum(by_quota.values()), keys, self._turns.taken, by_quota, self._given_up)

    def take(self, kind: Kind, address: str, subject: str | None = None) -> None:
        """Counts a call against its address, and against its principal where it has one of its own.

        Args:
            address: as `forwarded.limited_address` returns it.
            subject: the principal's; None for everybody who has not signed in.

        Raises:
            TooManyRequests: with when to try again.
        """
        now, buckets = asyncio.get_running_loop().time(), self._buckets[kind]
        wait_s = buckets.take(f"at {address}", now)
        if not wait_s and subject is not None:
            wait_s = buckets.take(f"by {subject[:200]}", now)
        if wait_s:
            raise TooManyRequests(kind, wait_s)

    def may_talk(self, socket: Talker) -> bool:
        """Counts one message or control frame of a socket. False: it is too many, and has to be ignored.

        A client is told so once a second, and its socket is closed with 4429 when it goes on.
        """
        if not self._messages_per_s:
            return True
        now = asyncio.get_running_loop().time()
        talk = self._sockets.get(socket)
        if talk is None:
            talk = self._sockets[socket] = _Talk()
        talk.is_crowded = bool(self._addresses.take(socket.address, now))
        talk.full_at, wait_s = taken(talk.full_at, now, self._messages_per_s, self._burst)
        if not wait_s:
            return True
        self._refused_messages += 1
        talk.refused += 1
        error = TooManyRequests("messages on this socket", wait_s)
        if talk.refused == _PATIENCE + 1:
            self._given_up += 1
        if talk.refused > _END_OF_PATIENCE:
            socket.abort()
        elif talk.refused > _PATIENCE:
            socket.close(TOO_MANY, error.message)
        elif now >= talk.told_at + 1 and not socket.closing_since:
            talk.told_at = now
            socket.send_error(error.code, error.message)
        return False

    def is_busy(self, socket: Talker) -> bool:
        """Whether this socket, or its address, has said more lately than is carried out at once."""
        talk = self._sockets.get(socket)
        if talk is None:
            return False
        if talk.is_crowded:
            return True
        return (talk.full_at - asyncio.get_running_loop().time()) * self._messages_per_s > _AT_ONCE

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """While the block runs it holds one of the node's places for reading events.

        Raises:
            TooManyRequests: no place was free in time.
        """
        await self._turns.take(address)
        try:
            yield
        finally:
            self._turns.give_back(address)


class _Talk:
    """What is known of the messages on one socket."""

    __slots__ = ("full_at", "is_crowded", "refused", "told_at")

    def __init__(self) -> None:
        self.full_at = 0.0
        self.is_crowded = False
        """The sockets of its address have said too much lately, all together."""
        self.refused = 0
        self.told_at = float("-inf")


class Turns:
    """Places for calls that hold much memory. An address takes at most half of them, so that another is served too."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._each = max(1, places // 2)
        self._by_address: dict[str, int] = {}
        self._waiting: dict[asyncio.Future[None], str] = {}
        """In the order in which they came."""
        self.taken = 0
        self.refused = 0
        """Since the start."""

    def __repr__(self) -> str:
        return f"<Turns taken={self.taken} of {self._places} waiting={len(self._waiting)}>"

    async def take(self, address: str) -> None:
        """Waits for a place.

        Raises:
            TooManyRequests: none was free in time.
        """
        if self._is_free(address):
            self._enter(address)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = address
        try:
            async with asyncio.timeout(_TURN_S):
                await turn
        except BaseException as error:
            if self._waiting.pop(turn, None) is None:
                self.give_back(address)  # its turn came in the same moment
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise TooManyRequests("calls that read events", 1) from None
            raise

    def give_back(self, address: str) -> None:
        """Frees a place, for the first of those waiting that may have it."""
        self.taken -= 1
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]
        for turn, of in self._waiting.items():
            if self._is_free(of):
                del self._waiting[turn]
                self._enter(of)
                turn.set_result(None)
                return

    def _is_free(self, address: str) -> bool:
        return self.taken < self._places and self._by_address.get(address, 0) < self._each

    def _enter(self, address: str) -> None:
        self.taken += 1
        self._by_address[address] = self._by_address.get(address, 0) + 1
