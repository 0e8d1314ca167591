"""Publishing a run through an edge: for agents that have a token, and no connection to the broker.

async with HttpRun.create("http://127.0.0.1:8000", title="My game") as run:
    await run.progress("Level loaded")
    await run.complete(score=78)
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import orjson

from broker.clock import now_ms
from broker.contract import handle, ids
from broker.contract.batch import MAX_BATCH_EVENTS
from broker.contract.errors import AlreadyEnded, BadInput, TestcastError
from broker.contract.events import Event, EventType, Phase
from broker.contract.handle import DEFAULT_PHASES
from broker.identity import new_test_id
from broker.retry import Backoff, retry
from testcast.client.errors import ConnectionLost, EdgeRefused, give_up_unless_passing
from testcast.client.rpc import RpcClient
from testcast.client.token import Token

PATIENCE_S: Final = 60.0
"""How long an edge may be away while events are to be stored."""
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 8.0
"""Between two tries: `PATIENCE_S` has room for ten."""


class HttpRun:
    """A run that is published through an edge, open inside `async with`; made by `create` or `resume`.

    Every method returns when its event is stored, and tries again while the edge is away: nothing is stored twice. The
    handle notices when anybody else has written to the run: it then raises `EdgeRefused` with the code `conflict`. When
    the run was cancelled or has ended, the code is `already_ended`. Methods may be called from several tasks.

    Leaving the block with an exception ends the run as failed, and so does leaving it without a result.

    Its events are its only signs of life: a run that is silent for 25 s is shown as stalled, and after 15 minutes it is
    ended.
    """

    __test__ = False

    def __init__(
        self,
        edge: str,
        begin: Mapping[str, Any] | None,
        *,
        test_id: str = "",
        after: int = 0,
        phases: Sequence[str] = DEFAULT_PHASES,
        token: Token | None = None,
    ) -> None:
        self.test_id = test_id
        """The test id; empty until a new run is opened."""
        self.position = after
        """Sequence of the run's newest event."""
        self.ended = False
        """`complete` or `fail` was called."""
        self.phases = handle.check_phases(phases)
        """Titles of the run's phases, the first is phase 1."""
        self._begin = begin
        self._rpc = RpcClient(edge, token)
        self._phase: Phase | None = None
        self._lock = asyncio.Lock()
        self._rng = random.Random()

    def __repr__(self) -> str:
        return f"<HttpRun {self.test_id or 'new'} {self._rpc.url} position={self.position}>"

    @classmethod
    def create(
        cls,
        edge: str,
        *,
        title: str,
        game_url: str = "",
        phases: Sequence[str] = DEFAULT_PHASES,
        project: str | None = None,
        labels: Mapping[str, str] | None = None,
        token: Token | None = None,
    ) -> HttpRun:
        """A new run: opening it stores its first event, and its card appears.

        Args:
            edge: the edge's address, like "http://127.0.0.1:8000".
            title: the title that viewers see.
            game_url: address of what is tested, shown to viewers; may be empty.
            phases: titles of the run's phases, one to four.
            project: the run's project; when None, `default`, or the only one that the edge lets you use.
            labels: names and values to find the run by, such as `{"commit": "abc"}`; at most 16.
            token: as for `submit`.

        Raises:
            BadInput: `edge` is not an edge address, or there are no phases or more than four.

        Raises on opening:
            EdgeRefused, ConnectionLost: the edge refuses the run, or does not answer. A run that may have been begun
                although no answer came is not begun again: it is ended as lost.
        """
        given = {"title": title, "gameUrl": game_url or None, "project": project, "labels": dict(labels or {}) or None}
        return cls(edge, given, phases=phases, token=token)

    @classmethod
    def resume(
        cls,
        edge: str,
        test_id: str,
        *,
        after: int,
        phases: Sequence[str] = DEFAULT_PHASES,
        token: Token | None = None,
    ) -> HttpRun:
        """A run that this agent has begun before, in a process that ended: it goes on after the position `after`."""
        return cls(edge, None, test_id=ids.parse_test_id(test_id), after=after, phases=phases, token=token)

    async def __aenter__(self) -> Self:
        if self._begin is not None:
            try:
                made = await self._rpc.call("createRun", **self._begin)
            except BaseException:
                await self._rpc.__aexit__(None, None, None)
                raise
            self.test_id, self.position, self._begin = str(made["testId"]), int(made["seq"]), None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.ended:
                await self.fail(*handle.failure(error))
        except TestcastError:
            if error is None:
                raise
        finally:
            await self._rpc.__aexit__(None, None, None)

    async def phase(self, n: int, message: str | None = None) -> None:
        """The run enters its phase `n`, counted from 1; later events carry it. `message` replaces the phase's title."""
        self._phase = handle.phase_of(n, self.phases)
        await self.publish(self._event("status", message or self.phases[n - 1], status="running"))

    async def progress(self, message: str, **data: object) -> None:
        """A line in the feed; `data` goes with it, for programs."""
        await self.publish(self._event("progress", message, data=data or None))

    async def action(self, action: str, message: str | None = None) -> None:
        """The agent does something, such as "Testing WASD movement"."""
        await self.publish(self._event("progress", message or action, data={"action": action}))

    async def complete(
        self, score: float, metrics: Mapping[str, object] | None = None, message: str | None = None
    ) -> None:
        """The score, 0 to 100, and the metrics behind it. Ends the run."""
        said, data = handle.result(score, metrics, message)
        await self.publish(self._event("complete", said, data=data))

    async def fail(self, message: str, code: str = "agent_error") -> None:
        """The run ends without a score, for the reason in `message`."""
        said = message[: handle.MAX_REASON_CHARS]
        await self.publish(self._event("error", said, status="failed", data={"code": code}))

    async def publish(self, *events: Event) -> None:
        """Publishes any events as they are, in order. Only the last may end the run."""
        if any(each.terminal for each in events[:-1]):
            raise BadInput("events: only the last one may end the run")
        shapes = [orjson.loads(each.encode()) for each in events]
        async with self._lock:
            if self.ended:
                raise AlreadyEnded(f"test {self.test_id} was ended by this handle already")
            for first in range(0, len(shapes), MAX_BATCH_EVENTS):
                await self._store(shapes[first : first + MAX_BATCH_EVENTS])
            self.ended = bool(events) and events[-1].terminal

    async def screenshot(self, jpeg: bytes) -> None:
        """A picture of what is tested at this moment: a JPEG of at most 64 KiB. It belongs to the newest event."""
        shown = base64.b64encode(jpeg).decode()
        await self._rpc.call("publishFrame", testId=self.test_id, jpeg=shown, seq=self.position, timeMs=now_ms())

    def _event(
        self,
        kind: EventType,
        message: str,
        *,
        status: Any = None,
        data: object = None,
    ) -> Event:
        return Event(type=kind, status=status, message=message, timestamp=now_ms(), phase=self._phase, data=data)

    async def _store(self, shapes: list[Any]) -> None:
        """Sends a batch until it is stored: with its key, it is stored once however often it is sent.

        Raises:
            EdgeRefused: the edge refuses it.
            ConnectionLost: the edge has been away for `PATIENCE_S`.
        """
        if not self.test_id:
            raise RuntimeError("this HttpRun is not open: use it inside `async with`")
        batch = {"testId": self.test_id, "events": shapes, "key": new_test_id(), "afterSeq": self.position}
        stored = await retry(
            lambda: self._rpc.call("publishEvents", **batch),
            on=(ConnectionLost, EdgeRefused),
            within_s=PATIENCE_S,
            backoff=Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, self._rng),
            on_failure=give_up_unless_passing,
        )
        self.position = int(stored["seq"])
