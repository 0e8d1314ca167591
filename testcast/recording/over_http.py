"""A recorded run through an edge: `createRun` and `publishEvents`, for who has a token and no connection to the broker.

Each event names the newest one of the run that is known (`afterSeq`). When somebody else has written after it, what was
written decides as it does over NATS: the end of the run or another attempt stops this one.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import Any, Final

import msgspec
import orjson

from agent_worker.publish.run import default_worker
from broker.clock import now_ms
from broker.contract.errors import BadInput, Fenced, NotFound, TestcastError
from broker.contract.events import Event
from broker.retry import Backoff, retry
from testcast.client.errors import ConnectionLost, EdgeRefused, give_up_unless_passing
from testcast.client.events import from_edge
from testcast.client.rpc import RpcClient
from testcast.recording.sinks import About

LOOK_S: Final = 2.0
"""Between two looks whether the run was cancelled."""
QUIET_S: Final = 10.0
"""Without an event for so long, an empty one is a sign of life. After 25 s the run would be marked stalled."""
ALIVE: Final = "alive"
"""Type of that event. Readers pass over types that they do not know."""


class OverHttp:
    """The `Sink` that publishes through an edge.

    Args:
        edge: the edge's address. The token is the one that `TESTCAST_TOKEN_FILE` names.
        worker: who publishes, as viewers see it; None: host and process id.

    Raises:
        BadInput: the address, the token or a proxy variable cannot be used.
    """

    def __init__(self, edge: str, about: About, *, worker: str | None = None) -> None:
        self.test_id: str | None = None
        self.trouble, self.signs = "", 0
        self.pending = 0
        self._rpc = RpcClient(edge)
        self._about, self._worker = about, worker or default_worker()
        self._head, self._epoch = 0, ""
        self._nonce, self._count = secrets.token_hex(6), 0
        self._turn = asyncio.Lock()
        self._last_s = 0.0
        self._over: TestcastError | None = None
        self._is_over = asyncio.Event()
        self._ended = False
        self._keeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<OverHttp {self._rpc.url} {self.test_id} head={self._head}>"

    async def open(self) -> None:
        """See `Sink.open`."""
        about = self._about
        made = await self._insist(
            "createRun", title=about.title, project=about.project, labels=dict(about.labels) or None
        )
        self._head, self._epoch = int(made["seq"]), str(made["epoch"])
        self.test_id = str(made["testId"])
        titles = {"phases": list(about.phases)} if about.phases else {}
        data = {**titles, "attempt": 1, "worker": self._worker}
        started = f"Started by {self._worker}"
        await self.put(Event(type="status", status="running", message=started, timestamp=now_ms(), data=data))
        self._keeping = asyncio.create_task(self._keep())

    async def put(self, event: Event) -> None:
        """See `Sink.put`."""
        async with self._turn:
            await self._put(event)

    async def end(self, event: Event) -> None:
        """See `Sink.end`."""
        async with self._turn:
            await self._put(event)
            self._ended = True

    async def wait_over(self) -> TestcastError:
        """See `Sink.wait_over`."""
        await self._is_over.wait()
        assert self._over is not None
        return self._over

    async def close(self) -> None:
        """See `Sink.close`."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._rpc.__aexit__(None, None, None)

    async def _put(self, event: Event) -> None:
        if self._over is not None:
            raise self._over
        self._count += 1
        self.pending = 1
        given, key = msgspec.to_builtins(event), f"{self._nonce}-{self._count}"
        while True:
            try:
                answer = await self._insist(
                    "publishEvents", testId=self.test_id, events=[given], key=key, afterSeq=self._head
                )
                break
            except BadInput:  # this event, and not the run
                self.pending = 0
                raise
            except EdgeRefused as refused:
                if refused.code == "too_large":
                    self.pending = 0
                    raise BadInput(refused.message) from None
                if refused.code not in ("conflict", "already_ended"):
                    raise self._end(refused) from None
                await self._look()
                if refused.code == "already_ended":  # by an event that is gone already
                    raise self._end(refused) from None
            except TestcastError as error:
                raise self._end(error) from None
        self._head, self._last_s = int(answer["seq"]), asyncio.get_running_loop().time()
        self.pending = 0

    async def _look(self) -> None:
        """Reads what others have written after the head.

        Raises:
            Fenced: the run has ended, or another attempt at it has begun.
        """
        more = True
        while more:
            page = await self._insist("getEvents", testId=self.test_id, after=self._head, epoch=self._epoch, limit=200)
            for event in filter(None, map(from_edge, map(orjson.dumps, page["events"]))):
                if event.ends is not None:
                    raise self._end(Fenced(f"the run has ended: {event.message}", "ended"))
                if event.type == "status" and event.field("attempt") not in (None, 1):
                    raise self._end(Fenced("another worker has taken the run over", "attempt"))
            self._head = max(self._head, int(page["head"]))
            more = bool(page.get("more"))

    async def _keep(self) -> None:
        """Gives signs of life, and looks whether the run was cancelled."""
        clock = asyncio.get_running_loop().time
        while self._over is None and not self._ended:
            await asyncio.sleep(LOOK_S)
            try:
                snapshot = (await self._rpc.call("getTest", testId=self.test_id))["test"]
                if snapshot["status"] in ("completed", "failed") and not self._ended:
                    self._end(Fenced(f"the run has ended: {snapshot.get('message')}", "ended"))
                elif clock() - self._last_s > QUIET_S and not self._turn.locked():
                    await self.put(Event(type=ALIVE, message="", timestamp=now_ms()))
                    self.signs += 1
            except NotFound as gone:
                self._end(gone)
            except TestcastError:
                continue  # the edge is away: whoever publishes waits for it

    async def _insist(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method again and again while nothing answers, or the edge asks to come back later."""

        def wait(error: Exception) -> None:
            give_up_unless_passing(error)
            self.trouble = str(error)

        answer = await retry(
            lambda: self._rpc.call(method, **params),
            on=(ConnectionLost, EdgeRefused),
            backoff=Backoff(rng=random.Random()),
            on_failure=wait,
        )
        self.trouble = ""
        return answer

    def _end(self, error: TestcastError) -> TestcastError:
        self.pending = 0
        if self._over is None and not self._ended:
            self._over = error
            self._is_over.set()
        return error
