"""The Python API towards an edge: `submit` and `watch` (and the RPC under them).

test_id = await submit("http://127.0.0.1:8000", "https://my-game.example/")
async for event in watch("http://127.0.0.1:8000", test_id):
    print(event)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Final

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from broker.contract.ids import parse_test_id
from testcast.cli.targets import edge_url, is_local
from testcast.client.backoff import MAX_ATTEMPTS, POLL_AFTER_FAILURES, POLL_EVERY_S, SILENCE_S, delay_s
from testcast.client.errors import ConnectionLost, EdgeRefused
from testcast.client.events import Item, State, Verdict
from testcast.client.viewer import Viewer, refused

_OPEN_TIMEOUT_S: Final = 8.0
_RPC_TIMEOUT_S: Final = 10.0
_PAGE: Final = 500
_NOT_NOW: Final = ("broker_unavailable", "broker_refused", "not_ready")
_MAX_FRAME_BYTES: Final = 64 << 20  # a replay's page of events of 60 KiB each, joined


class Edge:
    """The RPC of an edge. An async context manager; keeps one HTTP connection open.

    Args:
        url: like "http://127.0.0.1:8000".

    Raises:
        BadInput: `url` is no address of an edge.
    """

    def __init__(self, url: str) -> None:
        self.url = edge_url(url)
        self._http = httpx.AsyncClient(timeout=_RPC_TIMEOUT_S, trust_env=not is_local(self.url))

    async def __aenter__(self) -> Edge:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One RPC; parameters that are None are left out.

        Raises:
            NotFound, EdgeRefused: the edge says no, and why.
            ConnectionLost: nothing answers there, or what answers is at its end for the moment (5xx).
        """
        given = {name: value for name, value in params.items() if value is not None}
        try:
            answer = await self._http.post(f"{self.url}/rpc/{method}", json=given)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise ConnectionLost(f"no edge answers at {self.url}: {why}") from None
        return _read(answer, self.url, given.get("testId"))

    async def listed(
        self, limit: int, status: str | None, etag: str | None
    ) -> tuple[dict[str, Any] | None, str | None]:
        """The newest runs and the answer's ETag; None for the runs when they are as they were at `etag`."""
        params: dict[str, str | int] = {"limit": limit} | ({} if status is None else {"status": status})
        headers = {} if etag is None else {"If-None-Match": etag}
        try:
            answer = await self._http.get(f"{self.url}/rpc/listTests", params=params, headers=headers)
        except httpx.HTTPError as error:
            raise ConnectionLost(f"no edge answers at {self.url}: {error or type(error).__name__}") from None
        if answer.status_code == 304:
            return None, etag
        return _read(answer, self.url, None), answer.headers.get("etag")


def _read(answer: httpx.Response, url: str, test_id: str | None) -> dict[str, Any]:
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        body = None
    if answer.is_success and isinstance(body, dict):
        return body
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        if answer.status_code in (502, 503, 504):  # a proxy's word
            raise ConnectionLost(f"no edge answers at {url}: HTTP {answer.status_code}")
        raise EdgeRefused(f"what answers at {url} is no edge (HTTP {answer.status_code})", "bad_answer", 0)
    code, message = str(error.get("code", "error")), str(error.get("message", "refused"))
    if code in _NOT_NOW:
        raise ConnectionLost(f"the edge at {url} cannot answer now: {message}")
    raise refused(code, message, answer.status_code, test_id)


async def submit(
    edge: str,
    game_url: str,
    *,
    title: str | None = None,
    budget_seconds: float | None = None,
    seed: int | None = None,
) -> str:
    """Submits a game to be tested.

    Args:
        edge: the edge's address, like "http://127.0.0.1:8000".
        game_url: the game's, http or https.
        title: shown to viewers; the game's address when None.
        budget_seconds: how long the agent may play, 5 to 600; 60 when None.
        seed: what the agent's choices follow from; drawn when None.

    Returns:
        The test id, for `watch`.

    Raises:
        EdgeRefused: the edge does not take it; `code` and the message say why.
        ConnectionLost: nothing answers at `edge`.
    """
    async with Edge(edge) as rpc:
        answer = await rpc.call("submitTest", gameUrl=game_url, title=title, budgetSeconds=budget_seconds, seed=seed)
    return str(answer["testId"])


def watch(
    edge: str,
    test_id: str | None = None,
    *,
    after: int | None = None,
    epoch: str | None = None,
    on_state: Callable[[State], None] = lambda _state: None,
) -> Watch:
    """Follows a run through an edge, whatever happens to the connection: `async for item in watch(edge, test_id)`.

    Items are `Event`s, each once and in order, and now and then a `Reset`: what came before does not join on to what
    follows. The iteration ends with the run; then `Watch.verdict` says how.

    Args:
        edge: the edge's address, like "http://127.0.0.1:8000".
        test_id: the run; None for all that go on now or are submitted later (then it never ends).
        after: a position (an event's `seq`) to go on after; None: from the first event.
        epoch: the life of the stream that `after` belongs to (`Watch.epoch`); None: the current one.
        on_state: told when the connection comes and goes; called on the loop, must not block.

    Raises:
        BadInput: an address or id that is none.
        NotFound, EdgeRefused: from the iteration: the edge has no such run, or does not let us.
        ConnectionLost: from the iteration: 10 attempts in a row failed, and polling too.
    """
    return Watch(edge, test_id, after=after, epoch=epoch, on_state=on_state)


class Watch:
    """See `watch`."""

    def __init__(
        self,
        edge: str,
        test_id: str | None,
        *,
        after: int | None = None,
        epoch: str | None = None,
        on_state: Callable[[State], None] = lambda _state: None,
        timeout_s: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.edge = edge_url(edge)
        self.test_id = None if test_id is None else parse_test_id(test_id)
        self._viewer = Viewer(self.test_id, after, epoch)
        self._on_state = on_state
        self._timeout_s = timeout_s
        self._rng = rng or random.Random()
        self._failures = 0
        self._heard = 0.0
        self._away = False
        self._polls_work = False
        """The newest poll was answered: sockets may be out of reach here, the edge is not."""
        self._retry_after_s: float | None = None

    def __repr__(self) -> str:
        return f"<Watch {self.edge} {self.test_id or 'all'} position={self.position} failures={self._failures}>"

    @property
    def verdict(self) -> Verdict | None:
        """How the run ended; None before, and for all runs."""
        return self._viewer.verdict

    @property
    def position(self) -> int:
        """Stream sequence up to which everything was handed out; resume with it as `after`. 0 for all runs."""
        return self._viewer.position

    @property
    def epoch(self) -> str | None:
        """The life of the stream that `position` belongs to; None before the edge named it, and for all runs."""
        return None if self.test_id is None else self._viewer.runs[self.test_id].epoch

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._items()

    async def _items(self) -> AsyncIterator[Item]:
        self._heard = _now()
        async with Edge(self.edge) as rpc:
            while not self._viewer.done:
                why = "the edge closed the connection"
                try:
                    async with self._socket() as socket:
                        async for item in self._listen(socket):
                            yield item
                except ConnectionClosed as error:
                    why = self._judge(error)
                except (OSError, InvalidHandshake, TimeoutError) as error:
                    why = _words(error)
                if not self._viewer.done:
                    async for item in self._between(rpc, why):
                        yield item

    def _socket(self) -> connect:
        address = self.edge.replace("http", "ws", 1) + "/ws"
        # No pings of ours: the edge beats, and a frame of any kind is what counts as life.
        return connect(
            address,
            open_timeout=_OPEN_TIMEOUT_S,
            ping_interval=None,
            close_timeout=1,
            compression=None,
            max_size=_MAX_FRAME_BYTES,
            proxy=None if is_local(self.edge) else True,
            user_agent_header="testcast",
        )

    async def _listen(self, socket: ClientConnection) -> AsyncIterator[Item]:
        for message in self._viewer.hello():
            await socket.send(message.decode())
        while not self._viewer.done:
            async with asyncio.timeout(SILENCE_S):
                frame = await socket.recv()
            taken = self._viewer.take(frame)
            if taken.delivered:
                self._failures = 0
                self._delivered()
            self._retry_after_s = taken.retry_after_s if taken.retry_after_s is not None else self._retry_after_s
            for item in taken.items:
                yield item
            for message in taken.send:
                await socket.send(message.decode())

    def _judge(self, error: ConnectionClosed) -> str:
        """Why the socket was closed.

        Raises:
            NotFound, EdgeRefused: for a 44xx: the same would happen again.
        """
        close = error.rcvd
        if close is not None and 4400 <= close.code < 4500:
            code = "not_found" if close.code == 4404 else "refused"
            raise refused(code, close.reason or f"the edge refused ({close.code})", close.code, self.test_id)
        if close is not None and close.code == 1012:
            return "the edge is restarting"
        return "the connection broke" if close is None else f"the edge closed the connection ({close.code})"

    async def _between(self, rpc: Edge, why: str) -> AsyncIterator[Item]:
        """The time between two sockets: waiting, and from the second failure on polling.

        Raises:
            ConnectionLost: this was the last attempt.
        """
        self._away = True
        asked, self._retry_after_s = self._retry_after_s, None
        if asked is None:
            self._failures += 1
        silent_s = _now() - self._heard
        spent = self._timeout_s is not None and silent_s >= self._timeout_s
        if spent or (self._failures > MAX_ATTEMPTS and not self._polls_work):
            raise ConnectionLost(
                f"lost the edge at {self.edge}: {why} ({self._failures} attempts, nothing for {silent_s:.0f} s)",
                self.position or None,
            )
        due = _now() + (delay_s(self._failures, self._rng.random()) if asked is None else asked)
        next_poll = _now()
        while (left_s := due - _now()) > 0 and not self._viewer.done:
            polling = self._failures >= POLL_AFTER_FAILURES
            if polling and _now() >= next_poll:
                next_poll = _now() + POLL_EVERY_S
                self._polls_work = False
                with contextlib.suppress(ConnectionLost):
                    async for item in self._poll(rpc):
                        yield item
                    self._polls_work = True
                    self._heard = _now()
            kind: Any = "polling" if polling and self._polls_work else "waiting"
            self._on_state(State(kind, why, _now() - self._heard, self._failures, left_s))
            await asyncio.sleep(max(0.0, min(1.0, due - _now())))

    async def _poll(self, rpc: Edge) -> AsyncIterator[Item]:
        """Everything new, over HTTP."""
        if self.test_id is None:
            self._viewer.take_list(await rpc.call("listTests", limit=100))
        for test_id in self._viewer.behind():
            more = True
            while more:
                answer = await rpc.call("getEvents", testId=test_id, limit=_PAGE, **self._viewer.resume(test_id))
                more = bool(answer.get("more")) and bool(answer.get("events"))
                for item in self._viewer.take_page(test_id, answer).items:
                    yield item

    def _delivered(self) -> None:
        waited_s = _now() - self._heard
        self._heard = _now()
        self._polls_work = False
        if self._away:
            self._away = False
            self._on_state(State("live", waited_s=waited_s))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _words(error: Exception) -> str:
    """Why an attempt failed.

    Raises:
        EdgeRefused: for an answer that will be the same next time.
    """
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if 400 <= status < 500 and status not in (408, 425, 429):
            raise EdgeRefused(f"the edge refuses the socket (HTTP {status})", "refused", status)
        return f"the edge answers HTTP {status}"
    if isinstance(error, InvalidURI):
        raise EdgeRefused(f"no address of a socket: {error}", "bad_address", 400)
    if isinstance(error, TimeoutError):
        return "the edge has gone quiet"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return str(error) or type(error).__name__
