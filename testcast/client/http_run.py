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
from broker.contract import ids
from broker.contract.batch import MAX_BATCH_EVENTS
from broker.contract.errors import AlreadyEnded, BadInput, TestcastError
from broker.contract.events import PHASES, Event, EventType, Phase
from broker.identity import new_test_id
from testcast.client.backoff import delay_s
from testcast.client.errors import ConnectionLost, EdgeRefused
from testcast.client.rpc import RpcClient
from testcast.client.token import Token

DEFAULT_PHASES: Final = ("Loading", "Discovering controls", "Exploring gameplay", "Evaluating")
PATIENCE_S: Final = 60.0
"""How long an edge may be away while events are to be stored."""
_LATER: Final = ("too_many_requests", "storage_full", "busy")
"""Refusals that are worth another attempt."""
_MAX_REASON_CHARS: Final = 1_000


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
        if isinstance(phases, str) or not 1 <= len(phases) <= len(PHASES) or not all(each.strip() for each in phases):
            raise BadInput(f"phases: expected 1 to {len(PHASES)} titles, got {phases!r}")
        self.test_id = test_id
        """The test id; empty until a new run is opened."""
        self.position = after
        """Sequence of the run's newest event."""
        self.ended = False
        """`complete` or `fail` was called."""
        self.phases = tuple(phases)
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
                await self._fail_at_exit(error)
        except TestcastError:
            if error is None:
                raise
        finally:
            await self._rpc.__aexit__(None, None, None)

    async def _fail_at_exit(self, error: BaseException | None) -> None:
        if error is None:
            await self.fail("The agent ended without a result", "no_result")
        elif isinstance(error, Exception):
            reason = error.public_message if isinstance(error, TestcastError) else str(error)
            await self.fail(f"The agent failed: {reason or type(error).__name__}", "agent_error")
        else:
            await self.fail("The agent was interrupted", "interrupted")

    async def phase(self, n: int, message: str | None = None) -> None:
        """The run enters its phase `n`, counted from 1; later events carry it. `message` replaces the phase's title."""
        if not isinstance(n, int) or not 1 <= n <= len(self.phases):
            raise BadInput(f"phase: expected 1 to {len(self.phases)}, got {n!r}")
        self._phase = PHASES[n - 1]
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
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 100:
            raise BadInput(f"score: expected 0 to 100, got {score!r}")
        data = {"score": score, "metrics": dict(metrics or {})}
        await self.publish(self._event("complete", message or f"Test complete! Score {score:g}/100", data=data))

    async def fail(self, message: str, code: str = "agent_error") -> None:
        """The run ends without a score, for the reason in `message`."""
        await self.publish(self._event("error", message[:_MAX_REASON_CHARS], status="failed", data={"code": code}))

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
        key, after, failures = new_test_id(), self.position, 0
        given_up = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                stored = await self._rpc.call(
                    "publishEvents", testId=self.test_id, events=shapes, key=key, afterSeq=after
                )
                self.position = int(stored["seq"])
                return
            except (ConnectionLost, EdgeRefused) as error:
                later = isinstance(error, ConnectionLost) or error.code in _LATER
                if not later or asyncio.get_running_loop().time() >= given_up:
                    raise
                failures += 1
            await asyncio.sleep(delay_s(failures, self._rng.random()))
