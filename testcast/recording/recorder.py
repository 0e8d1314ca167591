"""Publishes what a program does, from a thread of its own. The program never waits for the network.

`put` may be called from any thread and is quick. `finish` publishes the end of the run, and waits for what is not
stored yet as long as that goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from broker.clock import now_ms
from broker.contract.errors import BadInput, Fenced, TestcastError
from broker.contract.events import Event, Phase
from testcast.recording.batches import MAX_EVENTS, Entry, event_of, gap, pace_s
from testcast.recording.sinks import Sink
from testcast.recording.waiting import Gap, Waiting

END_PATIENCE_S: Final = 10.0
"""For the next event to be stored, when the program has ended: as long as a cluster takes to elect a leader."""
RECORDER_THREAD: Final = "testcast-recorder"
_LET_GO_S: Final = 5.0
_TICK_S: Final = 0.1
_QUIET_WAIT_S: Final = 1.0
_MAX_REMEMBERED: Final = 2_000
"""Batches whose numbers of lines are remembered until they are stored: more than a run keeps pending."""

_log = logging.getLogger("testcast.run")


class Recorded(NamedTuple):
    """What became of a run."""

    test_id: str | None
    """None: there never was a run."""
    complete: bool
    """The run's last event is stored, and so are those before it."""
    lines: int
    """Lines that were put in."""
    missing: int
    """Lines of these that are not stored."""
    over: TestcastError | None
    """The run was cancelled, or another has taken it over."""
    error: str
    """Why something is not stored; empty when all is."""


class Recorder:
    """One run, from `start` to `finish`.

    Args:
        sink: where the events go.
        redacted: what an event or a line is without the secrets in it.
        on_open: called with the test id when the run exists, in the recorder's thread.
        on_over: called when somebody has ended the run or taken it over, in the recorder's thread: the program stops.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        redacted: Callable[[Entry | Event], Entry | Event] = lambda item: item,
        on_open: Callable[[str], None] = lambda _test_id: None,
        on_over: Callable[[TestcastError], None] = lambda _error: None,
    ) -> None:
        self._sink, self._on_open, self._on_over = sink, on_open, on_over
        self._waiting, self._redacted = Waiting(), redacted
        self._phase: Phase | None = None
        self._end: Event | None = None
        self._closing = threading.Event()
        self._wake: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=RECORDER_THREAD, daemon=True)
        self._put: deque[int] = deque(maxlen=_MAX_REMEMBERED)
        """Lines of the newest events that the sink has taken."""
        self._events = self._lines = self._unfit = 0
        self._complete = False
        self._over: TestcastError | None = None
        self._error = ""
        """Why nothing more can be published."""
        self._note = ""
        """Why some lines were left out."""

    def __repr__(self) -> str:
        return f"<Recorder {self._sink!r} {self._waiting!r} events={self._events}>"

    @property
    def test_id(self) -> str | None:
        """The run; None while there is none yet."""
        return self._sink.test_id

    @property
    def over(self) -> TestcastError | None:
        """The run was cancelled, or another has taken it over; None: neither."""
        return self._over

    def start(self) -> None:
        """Begins to look for the broker or edge, and makes the run."""
        self._thread.start()

    def put(self, items: Sequence[Entry | Event]) -> None:
        """Lines and events, to be published in this order. Events must not end the run."""
        self._lines += sum(isinstance(each, Entry) for each in items)
        self._waiting.put([self._redacted(each) for each in items])

    def finish(
        self,
        end: Event,
        *,
        patience_s: float = END_PATIENCE_S,
        on_wait: Callable[[], None] = lambda: None,
        hurry: Callable[[], bool] = bool,
    ) -> Recorded:
        """Publishes the run's last event, and waits until all is stored.

        Args:
            patience_s: how long to wait while nothing more is stored.
            on_wait: called once if that takes longer than a second.
            hurry: whether to give up at once; asked ten times a second.
        """
        without = self._redacted(end)
        assert isinstance(without, Event)
        self._end = without
        self._closing.set()
        self._waiting.close()
        self._awake()
        began = time.monotonic()
        stands, since = self._standing(), began
        while self._thread.is_alive() and not hurry():
            self._thread.join(_TICK_S)
            if time.monotonic() - began > _QUIET_WAIT_S:
                on_wait()
                began = float("inf")
            if (now := self._standing()) != stands:
                stands, since = now, time.monotonic()
            elif time.monotonic() - since > patience_s:
                break
        missing = self._missing()
        self._give_up()
        if self._complete:
            missing = self._waiting.dropped + self._unfit
        error = self._error or ("" if self._complete else self._sink.trouble or "nothing answers") or self._note
        return Recorded(self._sink.test_id, self._complete, self._lines, missing, self._over, error)

    def _standing(self) -> tuple[int, int, int]:
        return self._events, self._sink.pending, len(self._waiting)

    def _missing(self) -> int:
        pending = min(self._sink.pending, len(self._put))
        unstored = sum(list(self._put)[len(self._put) - pending :]) if pending else 0
        return min(self._lines, len(self._waiting) + self._waiting.dropped + unstored + self._unfit)

    def _awake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    def _give_up(self) -> None:
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                if self._loop is not None and self._task is not None:
                    self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(_LET_GO_S)

    # -- in the recorder's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except asyncio.CancelledError:
            pass
        except Exception as error:
            _log.exception("the recorder failed")
            self._error = self._error or f"the recorder failed: {error!r}"
            self._waiting.discard()

    async def _work(self) -> None:
        self._wake = asyncio.Event()
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        watch: asyncio.Task[None] | None = None
        try:
            await self._sink.open()
            assert self._sink.test_id is not None
            self._on_open(self._sink.test_id)
            watch = asyncio.create_task(self._watch())
            await self._publish()
            assert self._end is not None
            await self._sink.end(self._end)
            self._complete = True
        except TestcastError as error:
            self._stop(error)
        finally:
            if watch is not None:
                watch.cancel()
            with contextlib.suppress(TestcastError):
                await self._sink.close()

    async def _watch(self) -> None:
        self._stop(await self._sink.wait_over())

    def _stop(self, error: TestcastError) -> None:
        """Nothing more can be published."""
        if self._error:
            return
        self._error = error.public_message if self._sink.test_id is None else error.message
        self._waiting.discard()
        if isinstance(error, Fenced):  # a token that has expired, for example, is no reason to stop the program
            self._over = error
            self._on_over(error)

    async def _publish(self) -> None:
        """Publishes what waits until `finish` is called and nothing waits any more."""
        while not self._error:
            taken = self._waiting.take()
            if taken is None and self._closing.is_set():
                return
            if taken is not None:
                await self._pass_on(taken)
                if self._waiting.is_full_batch:
                    continue
            if not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pace_s(self._events)):
                        await self._wake.wait()

    async def _pass_on(self, taken: list[Entry] | Event | Gap) -> None:
        lines = len(taken) if isinstance(taken, list) else 0
        if isinstance(taken, Gap):
            event = gap(taken.lines, "they came faster than they could be stored", self._phase, now_ms())
        elif isinstance(taken, Event):
            self._phase = taken.phase or self._phase
            event = taken if taken.phase is not None else _in_phase(taken, self._phase)
        elif self._events + self._sink.signs >= MAX_EVENTS:
            self._unfit += lines
            self._note = f"the run has {MAX_EVENTS:,} events of output, and more would push out its first ones"
            return
        else:
            event = event_of(taken, self._phase)
        self._events += 1
        try:
            self._put.append(lines)
            await self._sink.put(event)
        except TestcastError as error:
            self._put.pop()
            self._unfit += lines
            if not isinstance(error, BadInput):  # else it is this event alone
                raise
            self._note = error.message


def _in_phase(event: Event, phase: Phase | None) -> Event:
    return event if phase is None else msgspec.structs.replace(event, phase=phase)
