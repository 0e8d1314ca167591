"""Following runs through an edge, over a WebSocket and, while there is none, by polling.

async for event in watch("http://127.0.0.1:8000", test_id):
    print(event)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)
from websockets.frames import Close

from broker.config import given as variables
from broker.contract.ids import read_test_id
from testcast.client.address import edge_url
from testcast.client.backoff import MAX_ATTEMPTS, POLL_AFTER_FAILURES, POLL_EVERY_S, SILENCE_S, delay_s
from testcast.client.errors import ConnectionLost, EdgeRefused, refused
from testcast.client.events import Item, Reset, State, Unreadable, Verdict
from testcast.client.proxies import VARIABLES, proxy_for
from testcast.client.rpc import RpcClient, unauthenticated
from testcast.client.token import QUIET, Credentials, Token
from testcast.client.viewer import Effects, Viewer

_OPEN_TIMEOUT_S: Final = 8.0
_PAGE_EVENTS: Final = 500
_LISTED_RUNS: Final = 100
_TICK_S: Final = 1.0
"""How often `on_state` is called while there is no connection."""
_MAX_FRAME_BYTES: Final = 64 << 20
"""An edge joins a page of a replay in one message: up to 500 events of up to 60 KiB each."""
_RESTARTING: Final = 1012
_NOT_AUTHENTICATED: Final = 4401
_TRY_SOCKET_EVERY_S: Final = 30.0
"""While something between here and the edge refuses WebSockets. The dashboard does the same."""


def watch(
    edge: str,
    test_id: str | None = None,
    *,
    after: int | None = None,
    epoch: str | None = None,
    on_state: Callable[[State], None] = lambda _state: None,
    on_unreadable: Callable[[Unreadable], None] = lambda _told: None,
    token: Token | None = None,
) -> Watch:
    """Follows a run through an edge, across lost connections: `async for item in watch(edge, test_id)`.

    The items are `Event`s, each once and in order. A `Reset` comes where events are missing: what was delivered before
    it does not join on to what follows. The iteration ends with the run; `Watch.verdict` then says how.

    Args:
        edge: the edge's address, like "http://127.0.0.1:8000".
        test_id: the run; None for all that are running now or submitted later (then the iteration never ends).
        after: the position (an event's `seq`) to resume after; None: from the first event.
        epoch: the epoch that `after` belongs to (`Watch.epoch`); None: the current one.
        on_state: called when the connection is lost and when it is back; runs on the loop and must not block.
        on_unreadable: called when messages of the run that are no events were passed over; as `on_state`.
        token: says who watches: a token, or a function that returns one, which is asked again before it expires and
            when the edge refuses it; None: from the file that `TESTCAST_TOKEN_FILE` names, if it names one.

    Raises:
        BadInput: `edge` is not an edge address, `test_id` is not a test id, or a proxy variable has no usable value.
        NotFound, EdgeRefused: from the iteration: the edge has no such run, or refuses the connection.
        ConnectionLost: from the iteration: 10 attempts in a row failed, and polling too.
    """
    callbacks: dict[str, Any] = {"on_state": on_state, "on_unreadable": on_unreadable}
    return Watch(edge, test_id, after=after, epoch=epoch, token=token, **callbacks)


class WatchStatistics(NamedTuple):
    """A watch in numbers, since it was made."""

    position: int
    """As `Watch.position`."""
    events: int
    """Events delivered."""
    resets: int
    """Resets delivered."""
    connections: int
    """Sockets on which something was delivered."""
    polls: int
    """Polls that were answered."""
    failures: int
    """Failed attempts in a row; 0 while connected."""


class Watch:
    """An iterable over the items of a run; see `watch`. Iterate over it once.

    Args:
        timeout_s: raise `ConnectionLost` when nothing came for this long, seconds; None: after 10 attempts.
        rng: spreads the delays between attempts.
    """

    def __init__(
        self,
        edge: str,
        test_id: str | None,
        *,
        after: int | None = None,
        epoch: str | None = None,
        on_state: Callable[[State], None] = lambda _state: None,
        on_unreadable: Callable[[Unreadable], None] = lambda _told: None,
        token: Token | None = None,
        timeout_s: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.edge = edge_url(edge)
        self.test_id = None if test_id is None else read_test_id(test_id)
        self._credentials = Credentials(self.edge, token)
        self._proxy = proxy_for(self.edge, variables(VARIABLES))
        self._viewer = Viewer(self.test_id, after, epoch)
        self._on_state = on_state
        self._on_unreadable = on_unreadable
        self._timeout_s = timeout_s
        self._rng = rng or random.Random()
        self._failures = 0
        self._last_message_at = 0.0
        """When something was last delivered, by the loop's clock."""
        self._connected = False
        """Something was delivered on the current socket."""
        self._told_lost = False
        """`on_state` was told that there is no connection, and not yet that there is one again."""
        self._polls_work = False
        """The newest poll was answered: the edge can be reached, though no socket can be opened."""
        self._socket_refused = False
        """The newest attempt ended with a refused upgrade."""
        self._retry_after_s: float | None = None
        self._events = self._resets = self._connections = self._polls = 0

    def __repr__(self) -> str:
        state = "connected" if self._connected else f"failures={self._failures}"
        return f"<Watch {self.edge} {self.test_id or 'all'} position={self.position} {state}>"

    def statistics(self) -> WatchStatistics:
        """The watch in numbers."""
        return WatchStatistics(
            self.position, self._events, self._resets, self._connections, self._polls, self._failures
        )

    @property
    def verdict(self) -> Verdict | None:
        """How the run ended; None before that, and for all runs."""
        return self._viewer.verdict

    @property
    def cancelled(self) -> bool:
        """A person has ended the run, as far as its snapshot was read; its end event says so too."""
        return self._viewer.cancelled

    @property
    def position(self) -> int:
        """Stream sequence up to which everything was delivered; resume with it as `after`. 0 for all runs."""
        return self._viewer.position

    @property
    def epoch(self) -> str | None:
        """The epoch that `position` belongs to; None until the edge has named it, and for all runs."""
        return None if self.test_id is None else self._viewer.runs[self.test_id].epoch

    async def __aiter__(self) -> AsyncIterator[Item]:
        self._last_message_at = _now()
        async with RpcClient(self.edge, self._credentials) as rpc:
            while not self._viewer.done:
                why, self._socket_refused = "the edge closed the connection", False
                try:
                    async with self._socket() as socket:
                        async for item in self._listen(socket):
                            yield self._counted(item)
                except ConnectionClosed as error:
                    why = self._another_token(error) or closed_reason(error.rcvd, self.test_id)
                except (OSError, InvalidHandshake, InvalidURI, InvalidProxy, TimeoutError) as error:
                    why = self._another_token(error) or failure_reason(error)
                    self._socket_refused = refuses_sockets(error) and not wants_proof(error)
                self._connected = False
                if not self._viewer.done:
                    async for item in self._until_next_attempt(rpc, why):
                        yield self._counted(item)

    def _another_token(self, error: Exception) -> str:
        """Looks for another token where the edge has refused this one. Empty: it has not.

        Raises:
            EdgeRefused: there is no other one.
        """
        if not wants_proof(error):
            return ""
        if self._credentials.renew():
            return "the token is refused, and there is another one"
        if isinstance(error, InvalidStatus):
            raise unauthenticated(bytes(error.response.body or b""), self._credentials)
        assert isinstance(error, ConnectionClosed) and error.rcvd is not None, "so `wants_proof` says"
        raise EdgeRefused(f"{error.rcvd.reason}; {self._credentials.advice()}", "unauthenticated", _NOT_AUTHENTICATED)

    def _counted(self, item: Item) -> Item:
        if isinstance(item, Reset):
            self._resets += 1
        else:
            self._events += 1
        return item

    def _socket(self) -> connect:
        address = self.edge.replace("http", "ws", 1) + "/ws"
        # No pings: the edge sends heartbeats, and any message shows that the connection works.
        return (_Connect if self._credentials.given else connect)(
            address,
            additional_headers=self._credentials.headers(),
            logger=QUIET,
            open_timeout=_OPEN_TIMEOUT_S,
            ping_interval=None,
            close_timeout=1,
            compression=None,
            max_size=_MAX_FRAME_BYTES,
            proxy=None if self._proxy is None else self._proxy.url,
            user_agent_header="testcast",
        )

    async def _listen(self, socket: ClientConnection) -> AsyncIterator[Item]:
        for message in self._viewer.opening():
            await socket.send(message.decode())
        while not self._viewer.done:
            async with asyncio.timeout(SILENCE_S):
                frame = await socket.recv()
            effects = self._viewer.receive(frame)
            self._note(effects)
            if (self._credentials.ends_soon or effects.renew) and self._credentials.renewed_early():
                await socket.send(orjson.dumps({"type": "authenticate", "token": self._credentials.current()}).decode())
            for item in effects.items:
                yield item
            for told in effects.unreadable:
                self._on_unreadable(told)
            for message in effects.send:
                await socket.send(message.decode())

    def _note(self, effects: Effects) -> None:
        """Takes from a socket's message what it says about the connection."""
        if effects.retry_after_s is not None:
            self._retry_after_s = effects.retry_after_s
        if not effects.delivered:
            return
        waited_s, self._last_message_at = _now() - self._last_message_at, _now()
        self._failures = 0
        self._polls_work = False
        self._connections += not self._connected
        self._connected = True
        if self._told_lost:
            self._told_lost = False
            self._on_state(State("live", waited_s=waited_s))

    async def _until_next_attempt(self, rpc: RpcClient, why: str) -> AsyncIterator[Item]:
        """Waits until the next attempt is due. From the second failure on, or a refused socket, it polls meanwhile.

        Raises:
            ConnectionLost: there is no next attempt.
        """
        self._told_lost = True
        asked, self._retry_after_s = self._retry_after_s, None
        if asked is None:
            self._failures += 1
        self._give_up_if_due(why)
        delay = delay_s(self._failures, self._rng.random()) if asked is None else asked
        due = _now() + (_TRY_SOCKET_EVERY_S if self._socket_refused else delay)
        polls = self._failures >= POLL_AFTER_FAILURES or self._socket_refused
        next_poll = _now()
        while (left_s := due - _now()) > 0 and not self._viewer.done:
            if polls and _now() >= next_poll:
                next_poll = _now() + POLL_EVERY_S
                self._polls_work = False
                with contextlib.suppress(ConnectionLost):
                    async for item in self._poll(rpc):
                        yield item
                    self._polls_work = True
                    self._polls += 1
                    self._last_message_at = _now()
            kind: Any = "polling" if polls and self._polls_work else "waiting"
            waited_s = _now() - self._last_message_at
            self._on_state(State(kind, why, waited_s, self._failures, left_s, self._socket_refused))
            await asyncio.sleep(max(0.0, min(_TICK_S, due - _now())))

    def _give_up_if_due(self, why: str) -> None:
        silent_s = _now() - self._last_message_at
        spent = self._timeout_s is not None and silent_s >= self._timeout_s
        if spent or (self._failures > MAX_ATTEMPTS and not self._polls_work):
            raise ConnectionLost(
                f"lost the connection to the edge at {self.edge}: {why} "
                f"({self._failures} attempts, nothing received for {silent_s:.0f} s)",
                self.position or None,
            )

    async def _poll(self, rpc: RpcClient) -> AsyncIterator[Item]:
        """Fetches everything new over HTTP."""
        if self.test_id is None:
            self._viewer.receive_list(await rpc.call("listTests", limit=_LISTED_RUNS))
        for test_id in self._viewer.runs_to_poll():
            more = True
            while more:
                answer = await rpc.call("getEvents", testId=test_id, limit=_PAGE_EVENTS, **self._viewer.resume(test_id))
                more = bool(answer.get("more")) and bool(answer.get("events"))
                effects = self._viewer.receive_page(test_id, answer)
                for item in effects.items:
                    yield item
                for told in effects.unreadable:
                    self._on_unreadable(told)


class _Connect(connect):
    """A connection attempt that follows no redirect: a token is for the edge's own address."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Keeps the redirect an error."""
        return exc


def _now() -> float:
    return asyncio.get_running_loop().time()


def closed_reason(close: Close | None, test_id: str | None) -> str:
    """Says why the socket was closed.

    Args:
        close: the edge's close frame; None when the connection ended without one.
        test_id: the run that was followed.

    Raises:
        NotFound, EdgeRefused: the code is a 44xx, which the next attempt would get as well.
    """
    if close is None:
        return "the connection broke"
    if 4400 <= close.code < 4500:
        code = "not_found" if close.code == 4404 else "refused"
        raise refused(code, close.reason or f"the edge refused the connection ({close.code})", close.code, test_id)
    return "the edge is restarting" if close.code == _RESTARTING else f"the edge closed the connection ({close.code})"


def refuses_sockets(error: Exception) -> bool:
    """Whether the edge, or a proxy before it, answered a WebSocket request as if it were another one.

    The same request gets the same answer. Statuses that say "not now" are not among them.
    """
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return status < 500 and status not in (408, 425, 429)
    return isinstance(error, InvalidHandshake) and not isinstance(error, InvalidProxy | InvalidURI | InvalidMessage)


def wants_proof(error: Exception) -> bool:
    """Whether the edge refused the token, or ended the connection when the token ended."""
    if isinstance(error, InvalidStatus):
        return error.response.status_code == HTTPStatus.UNAUTHORIZED
    return isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == _NOT_AUTHENTICATED


def failure_reason(error: Exception) -> str:
    """Says why an attempt failed.

    Raises:
        EdgeRefused: the next attempt would fail the same way.
    """
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return (
            f"WebSockets are refused (HTTP {status})" if refuses_sockets(error) else f"the edge answers HTTP {status}"
        )
    if isinstance(error, InvalidURI | InvalidProxy):  # of a redirect
        raise EdgeRefused(f"cannot open a WebSocket: {error}", "bad_address", 400)
    if isinstance(error, TimeoutError):
        return "the edge does not respond"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(error) or type(error).__name__
