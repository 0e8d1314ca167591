"""The Python API without asyncio: the same names as `testcast`, each of which waits until it is done.

    from testcast.sync import TestRun, list_runs, submit, watch

    with TestRun.create("nats://127.0.0.1:4222", title="My game") as run:
        run.progress("Level loaded")
        run.complete(score=78)

One event loop in a thread of its own does the work, for all threads of the process. Inside a coroutine use `testcast`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from agent_worker.publish import run as publishing
from broker.contract import projects
from broker.contract.errors import TestcastError
from broker.contract.events import Event as PublishedEvent
from broker.contract.handle import DEFAULT_PHASES
from broker.contract.snapshot import ListStatus, Snapshot
from testcast.client import broker_watch, rpc
from testcast.client import http_run as over_http
from testcast.client import watch as watching
from testcast.client.events import Item, State, Unreadable, Verdict
from testcast.client.token import Token

__all__ = ["HttpRun", "TestRun", "Watch", "cancel_run", "get_run", "list_runs", "submit", "tail", "watch"]

T = TypeVar("T")


class _Loop:
    """An event loop in a thread. It starts when it is first used, and again in a process that was forked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine and returns its result. What interrupts the waiting, like Ctrl-C, cancels it."""
        loop = self._started()
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("testcast.sync cannot be used in a callback of its own: it would wait for itself")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="testcast", daemon=True)
                self._thread.start()
            return self._loop


_loop: Final = _Loop()


class TestRun:
    """A run, open inside `with`; made by `create` or `join`. It behaves as `testcast.TestRun` does."""

    __test__ = False  # the name begins with "Test": pytest would try to collect it

    def __init__(self, run: publishing.TestRun) -> None:
        self._run = run

    def __repr__(self) -> str:
        return f"<sync {self._run!r}>"

    @classmethod
    def create(
        cls,
        broker: str,
        *,
        title: str,
        game_url: str = "",
        worker: str | None = None,
        phases: Sequence[str] = DEFAULT_PHASES,
        project: str = projects.DEFAULT,
        labels: Mapping[str, str] | None = None,
    ) -> TestRun:
        """A new run; see `testcast.TestRun.create`."""
        options: dict[str, Any] = {"worker": worker, "phases": phases, "project": project, "labels": labels}
        return cls(publishing.TestRun.create(broker, title=title, game_url=game_url, **options))

    @classmethod
    def join(
        cls,
        broker: str,
        test_id: str,
        *,
        worker: str | None = None,
        phases: Sequence[str] = DEFAULT_PHASES,
    ) -> TestRun:
        """The next attempt at a run that exists; see `testcast.TestRun.join`."""
        return cls(publishing.TestRun.join(broker, test_id, worker=worker, phases=phases))

    def __enter__(self) -> Self:
        _loop.run(self._run.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _loop.run(self._run.__aexit__(kind, error, trace))

    @property
    def test_id(self) -> str:
        """The test id."""
        return self._run.test_id

    @property
    def attempt(self) -> int:
        """Which try at the run this is, from 1; 0 until opened."""
        return self._run.attempt

    @property
    def ended(self) -> bool:
        """`complete`, `fail` or `hand_on` was called."""
        return self._run.ended

    @property
    def over(self) -> TestcastError | None:
        """Why nothing more can be written, for example because somebody cancelled the run; None while it can."""
        return self._run.over

    def phase(self, n: int, message: str | None = None) -> None:
        """The run enters its phase `n`, counted from 1."""
        _loop.run(self._run.phase(n, message))

    def progress(self, message: str, **data: object) -> None:
        """A line in the feed; `data` goes with it, for programs."""
        _loop.run(self._run.progress(message, **data))

    def action(self, action: str, message: str | None = None) -> None:
        """The agent does something, such as "Testing WASD movement"."""
        _loop.run(self._run.action(action, message))

    def complete(self, score: float, metrics: Mapping[str, object] | None = None, message: str | None = None) -> None:
        """The score, 0 to 100, and the metrics behind it. Ends the run; returns when it is stored."""
        _loop.run(self._run.complete(score, metrics, message))

    def fail(self, message: str, code: str = "agent_error") -> None:
        """The run ends without a score, for the reason in `message`. Returns when it is stored."""
        _loop.run(self._run.fail(message, code))

    def hand_on(self, message: str = "Handed on: this worker is shutting down") -> None:
        """Gives the run back: the next attempt continues it."""
        _loop.run(self._run.hand_on(message))

    def publish(self, event: PublishedEvent) -> None:
        """Publishes any event as it is."""
        _loop.run(self._run.publish(event))

    def screenshot(self, jpeg: bytes) -> None:
        """A picture of what is tested at this moment: a JPEG of at most 64 KiB. At most two a second are stored."""
        _loop.run(self._run.screenshot(jpeg))

    def evidence(self, message: str, jpeg: bytes | None, **data: object) -> None:
        """A line in the feed with a picture of its own, which belongs to it for good."""
        _loop.run(self._run.evidence(message, jpeg, **data))

    def flush(self) -> None:
        """Waits until everything published so far is stored."""
        _loop.run(self._run.flush())


class HttpRun:
    """A run that is published through an edge, open inside `with`. It behaves as `testcast.HttpRun` does."""

    __test__ = False

    def __init__(self, run: over_http.HttpRun) -> None:
        self._run = run

    def __repr__(self) -> str:
        return f"<sync {self._run!r}>"

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
        """A new run; see `testcast.HttpRun.create`."""
        options: dict[str, Any] = {"phases": phases, "project": project, "labels": labels, "token": token}
        return cls(over_http.HttpRun.create(edge, title=title, game_url=game_url, **options))

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
        """A run that was begun before; see `testcast.HttpRun.resume`."""
        return cls(over_http.HttpRun.resume(edge, test_id, after=after, phases=phases, token=token))

    def __enter__(self) -> Self:
        _loop.run(self._run.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _loop.run(self._run.__aexit__(kind, error, trace))

    @property
    def test_id(self) -> str:
        """The test id; empty until a new run is opened."""
        return self._run.test_id

    @property
    def position(self) -> int:
        """Sequence of the run's newest event."""
        return self._run.position

    @property
    def ended(self) -> bool:
        """`complete` or `fail` was called."""
        return self._run.ended

    def phase(self, n: int, message: str | None = None) -> None:
        """The run enters its phase `n`, counted from 1."""
        _loop.run(self._run.phase(n, message))

    def progress(self, message: str, **data: object) -> None:
        """A line in the feed; `data` goes with it, for programs."""
        _loop.run(self._run.progress(message, **data))

    def action(self, action: str, message: str | None = None) -> None:
        """The agent does something, such as "Testing WASD movement"."""
        _loop.run(self._run.action(action, message))

    def complete(self, score: float, metrics: Mapping[str, object] | None = None, message: str | None = None) -> None:
        """The score, 0 to 100, and the metrics behind it. Ends the run."""
        _loop.run(self._run.complete(score, metrics, message))

    def fail(self, message: str, code: str = "agent_error") -> None:
        """The run ends without a score, for the reason in `message`."""
        _loop.run(self._run.fail(message, code))

    def publish(self, *events: PublishedEvent) -> None:
        """Publishes any events as they are, in order. Only the last may end the run."""
        _loop.run(self._run.publish(*events))

    def screenshot(self, jpeg: bytes) -> None:
        """A picture of what is tested at this moment: a JPEG of at most 64 KiB."""
        _loop.run(self._run.screenshot(jpeg))


class Watch:
    """An iterator over the items of a run; see `watch`. Leaving the `with` block, or `close`, ends it early."""

    def __init__(self, source: watching.Watch | broker_watch.BrokerWatch) -> None:
        self._source = source
        self._items: Any = None

    def __repr__(self) -> str:
        return f"<sync {self._source!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._items is None:
            self._items = aiter(self._source)
        try:
            item: Item = _loop.run(anext(self._items))
        except StopAsyncIteration:
            raise StopIteration from None
        return item

    def close(self) -> None:
        """Ends the iteration and closes the connection."""
        if self._items is not None:
            with suppress(StopAsyncIteration):
                _loop.run(self._items.aclose())

    @property
    def verdict(self) -> Verdict | None:
        """How the run ended; None before that, and for all runs."""
        return self._source.verdict

    @property
    def position(self) -> int:
        """Stream sequence up to which everything was delivered; resume with it as `after`."""
        return self._source.position

    @property
    def epoch(self) -> str | None:
        """The epoch that `position` belongs to; None over NATS, and until it is known."""
        return self._source.epoch if isinstance(self._source, watching.Watch) else None


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
    """Follows a run through an edge: `for item in watch(edge, test_id)`. See `testcast.watch`.

    The callbacks run in the thread of the event loop.
    """
    callbacks: dict[str, Any] = {"on_state": on_state, "on_unreadable": on_unreadable}
    return Watch(watching.watch(edge, test_id, after=after, epoch=epoch, token=token, **callbacks))


def tail(
    broker: str,
    test_id: str | None = None,
    *,
    after: int | None = None,
    on_state: Callable[[State], None] = lambda _state: None,
    on_unreadable: Callable[[Unreadable], None] = lambda _told: None,
) -> Watch:
    """Follows a run over NATS: `for item in tail(broker, test_id)`. See `testcast.tail`.

    The callbacks run in the thread of the event loop.
    """
    return Watch(broker_watch.tail(broker, test_id, after=after, on_state=on_state, on_unreadable=on_unreadable))


def submit(
    edge: str,
    game_url: str,
    *,
    title: str | None = None,
    budget_seconds: float | None = None,
    seed: int | None = None,
    project: str | None = None,
    labels: Mapping[str, str] | None = None,
    token: Token | None = None,
) -> str:
    """Submits a game to be tested and returns the test id. See `testcast.submit`."""
    options: dict[str, Any] = {"title": title, "budget_seconds": budget_seconds, "seed": seed, "project": project}
    return _loop.run(rpc.submit(edge, game_url, **options, labels=labels, token=token))


def list_runs(
    edge: str,
    *,
    status: ListStatus | None = None,
    game_url: str | None = None,
    labels: Mapping[str, str] | None = None,
    limit: int = 50,
    token: Token | None = None,
) -> list[Snapshot]:
    """The newest runs, the newest first. See `testcast.list_runs`."""
    wanted: dict[str, Any] = {"status": status, "game_url": game_url, "labels": labels}
    return _loop.run(rpc.list_runs(edge, **wanted, limit=limit, token=token))


def get_run(edge: str, test_id: str, *, token: Token | None = None) -> Snapshot:
    """What an edge knows of a run. See `testcast.get_run`."""
    return _loop.run(rpc.get_run(edge, test_id, token=token))


def cancel_run(edge: str, test_id: str, *, token: Token | None = None) -> None:
    """Ends a run as cancelled. See `testcast.cancel_run`."""
    _loop.run(rpc.cancel_run(edge, test_id, token=token))
