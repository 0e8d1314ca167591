"""The publishers and viewers of a test: runs with one publisher process each, and viewers of every kind."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from broker import identity
from broker.contract import subjects
from broker.jetstream import runs as broker_runs
from broker.jetstream.api import Streams
from broker.local.child_process import Child
from tests.faults.checker import Acked, History, Mark, Stored, Told
from tests.faults.http_viewers import LongPoller, StreamViewer
from tests.faults.viewers import PageViewer, Poller, SocketViewer, TailViewer, Viewer, mark_of
from tests.harness import publish, until

_PAGE: Final = 500
_ROOT: Final = Path(__file__).parents[2]


class Publisher:
    """One publisher process of a run, from start to end. A run may have several, one after the other.

    Args:
        number: from 1 within the run; a higher one takes the run over.
        extra_env: further variables of its environment.
    """

    def __init__(
        self, url: str, run: str, number: int, events_per_s: float, directory: Path, extra_env: Mapping[str, str]
    ) -> None:
        self.run = run
        self.number = number
        self.journal = directory / f"journal-{run[:8]}-{number}"
        argv = [url, run, str(number), str(events_per_s), str(self.journal)]
        env = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")}
        env["PYTHONPATH"] = str(_ROOT)  # independent of the working directory
        env |= extra_env
        log = directory / f"publisher-{run[:8]}-{number}.log"
        self.child = Child([sys.executable, "-m", "tests.faults.publisher", *argv], log, env)
        self.killed = False
        self._facts: list[tuple[str, int, float]] = []
        self._read = 0

    def __repr__(self) -> str:
        return f"<Publisher {self.number} of {self.run[:8]} {self.child!r}>"

    def facts(self) -> list[tuple[str, int, float]]:
        """The journal so far: (fact, number of the event, time) for each complete line."""
        with suppress(FileNotFoundError), self.journal.open("rb") as journal:
            journal.seek(self._read)
            whole = journal.read().rpartition(b"\n")[0]
            self._read += len(whole) + bool(whole)
            self._facts += map(tuple, map(orjson.loads, whole.splitlines()))
        return self._facts

    def has(self, fact: str) -> bool:
        """Whether the journal has this fact."""
        return any(each[0] == fact for each in self.facts())

    async def kill(self) -> None:
        """Kills the process with -9 and waits for its end."""
        self.killed = True
        self.child.signal(signal.SIGKILL)
        await self.child.wait()


class Publishers:
    """The runs and their publisher processes. Only the last process of a run may write."""

    def __init__(self, url: str, directory: Path, events_per_s: float, env: Mapping[str, str]) -> None:
        self._url = url
        self.env = env
        """Variables of the publishers that start from now on."""
        self._directory = directory
        self._events_per_s = events_per_s
        self.by_run: dict[str, list[Publisher]] = {}

    def __repr__(self) -> str:
        return f"<Publishers {[publishers[-1] for publishers in self.by_run.values()]}>"

    @property
    def runs(self) -> list[str]:
        """Test ids of the runs."""
        return list(self.by_run)

    async def begin(self, streams: Streams, count: int) -> None:
        """Creates `count` runs and starts a publisher for each."""
        for number in range(count):
            run = identity.new_test_id()
            data = {"title": f"Run {number}", "gameUrl": "http://game.example/"}
            await publish(streams, run, "Queued", "status", status="queued", data=data)
            self.by_run[run] = []
            self.start_next(run)

    def start_next(self, run: str) -> Publisher:
        """Starts another publisher, which takes the run over."""
        publishers = self.by_run[run]
        place = (self._url, run, len(publishers) + 1)
        publishers.append(Publisher(*place, self._events_per_s, self._directory, self.env))
        return publishers[-1]

    def current(self, run: str) -> Publisher:
        """The publisher that may write."""
        return self.by_run[run][-1]

    def last_acked(self, run: str) -> float:
        """Time of the last acknowledgement of the run's newest publisher; 0.0 if its last 50 facts have none."""
        return max((at for fact, _, at in self.current(run).facts()[-50:] if fact == "acked"), default=0.0)

    async def finish(self, within_s: float = 60.0) -> list[str]:
        """Ends every run with a verdict. Returns a complaint for each publisher that ended in another way."""
        for publishers in self.by_run.values():
            for publisher in publishers:
                publisher.child.signal(signal.SIGCONT)
            publishers[-1].child.signal(signal.SIGTERM)
        complaints = []
        for publisher in self._all():
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await publisher.child.wait()
            wanted = "ended" if publisher is self.current(publisher.run) else "fenced"
            if not publisher.killed and not publisher.has(wanted):
                complaints.append(f"{publisher!r} is not {wanted}: {publisher.child.last_lines(3)}")
        return complaints

    def record(self, history: History) -> None:
        """Adds the journals of all publishers to a history."""
        for publisher in self._all():
            for fact, n, at in publisher.facts():
                if fact == "told":
                    history.told.append(Told(publisher.run, Mark(publisher.number, n), at))
                elif fact == "acked":
                    history.acked.append(Acked(publisher.run, Mark(publisher.number, n), at))

    def _all(self) -> Iterator[Publisher]:
        return itertools.chain.from_iterable(self.by_run.values())

    def kill(self) -> None:
        """Kills every publisher that still runs."""
        for publisher in self._all():
            publisher.child.signal(signal.SIGKILL)


async def record_stored(streams: Streams, runs: Sequence[str], history: History) -> None:
    """Adds the stored events of the runs to a history, up to the leader's newest event."""
    for run in runs:
        last = await streams.last(subjects.EVENTS, subjects.events(run))
        after, head = 0, 0 if last is None else last.seq
        while after < head:
            page = await streams.read(subjects.EVENTS, subjects.events(run), after, _PAGE)
            for message in page.messages:
                after = message.seq
                event = broker_runs.parse(message.data)
                if event is not None:  # what cannot be read is never shown
                    history.stored.append(Stored(run, message.seq, mark_of({"data": event.data})))


class Crowd:
    """All viewers of a test, as tasks.

    Args:
        edges: the addresses at which viewers reach the edges.
        nats_url: for `testcast tail` over NATS.
    """

    def __init__(self, history: History, runs: Sequence[str], edges: Sequence[str], nats_url: str) -> None:
        self._history = history
        self._runs = list(runs)
        self._edges = list(edges)
        self._nats_url = nats_url
        self.viewers: list[Viewer] = []
        self._tasks: dict[asyncio.Task[None], Viewer] = {}

    def __repr__(self) -> str:
        return f"<Crowd {len(self.viewers)} viewers of {len(self._runs)} runs>"

    def gather(
        self, sockets: int, pollers: int, tails: int, pages: int, seed: int, *, streams: int = 0, long_polls: int = 0
    ) -> None:
        """Starts the viewers. Every other socket and stream watches all runs; each other viewer watches one run."""
        for kind, name, count in ((SocketViewer, "socket", sockets), (StreamViewer, "stream", streams)):
            for number in range(count):
                watched = self._runs if number % 2 else [self._pick(number // 2)]
                rng = random.Random(f"{seed}-{name}-{number}")
                self.start(kind(f"{name}-{number}", watched, self._history, self._edges, rng))
        for number in range(pollers):
            self.start(Poller(f"poller-{number}", [self._pick(number)], self._history, self._edges))
        for number in range(long_polls):
            self.start(LongPoller(f"long-poll-{number}", [self._pick(number)], self._history, self._edges))
        for number in range(tails):
            edge = self._edges[number % len(self._edges)]
            source = ("--edge", edge) if number % 2 else ("--nats", self._nats_url)
            self.start(TailViewer(f"tail-{number}", self._pick(number), self._history, *source))
        for number in range(pages):
            edge = self._edges[number % len(self._edges)]
            self.start(PageViewer(f"page-{number}", self._pick(number), self._history, edge))

    def _pick(self, number: int) -> str:
        return self._runs[number % len(self._runs)]

    def start(self, viewer: Viewer) -> None:
        """Starts one more viewer."""
        self.viewers.append(viewer)
        self._tasks[asyncio.create_task(viewer.watch(), name=viewer.name)] = viewer

    def behind(self, heads: dict[str, int]) -> list[Viewer]:
        """The viewers that lack an event of one of their runs."""
        return [each for each in self.viewers if any(each.position(run) < heads[run] for run in each.runs)]

    def in_epoch(self, epoch: str) -> bool:
        """Whether every viewer has moved to this life of the stream."""
        return all(viewer.in_epoch(epoch) for viewer in self.viewers)

    def complaints(self) -> list[str]:
        """Failures of the viewers themselves: exceptions, exit status, sockets refused for good."""
        found = []
        for task, viewer in self._tasks.items():
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                found.append(f"{viewer.name} failed: {error!r}")
            if isinstance(viewer, TailViewer) and task.done() and viewer.exit_code:
                found.append(f"{viewer.name} ended with status {viewer.exit_code}")
            if isinstance(viewer, SocketViewer) and viewer.refused:
                found.append(f"{viewer.name} was refused {viewer.refused} times")
            if isinstance(viewer, PageViewer):
                found += [f"{viewer.name}: {error}" for error in viewer.errors]
        return found

    async def current(self, heads: dict[str, int], within_s: float) -> None:
        """Waits until no viewer is behind.

        Raises:
            AssertionError: not within `within_s`.
        """
        await until(lambda: not self.behind(heads), within_s=within_s, what="every viewer current")

    async def leave(self) -> None:
        """Stops all viewers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def heads(streams: Streams, runs: Sequence[str]) -> dict[str, int]:
    """The newest sequence of each run, from the leader."""
    found = {}
    for run in runs:
        last = await streams.last(subjects.EVENTS, subjects.events(run))
        found[run] = 0 if last is None else last.seq
    return found
