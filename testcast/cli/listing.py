"""Lists the newest runs, once or as they change, over NATS or through an edge."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from broker.clock import now_ms
from broker.contract.snapshot import Snapshot
from broker.jetstream.connection import Connection
from broker.jetstream.snapshot_store import SnapshotChange, SnapshotStore
from testcast.cli.lines import duration, phase_number
from testcast.cli.terminal import Terminal
from testcast.cli.text import printable
from testcast.client.errors import ConnectionLost
from testcast.client.rpc import RpcClient

_FIRST_LIST_TIMEOUT_S: Final = 10.0
_POLL_EVERY_S: Final = 1.0
_REDRAW_EVERY_S: Final = 0.5
_STYLES: Final = {"queued": "bright_black", "running": "bold blue", "completed": "green", "failed": "red"}
_HEADER: Final = f"{'STATUS':9}  {'PHASE':5}  {'SCORE':>5}  {'TIME':>7}  {'TEST ID':36}  TITLE"

Runs = list[Snapshot]
"""Snapshots, the newest run first."""


def choose(runs: Iterable[Snapshot], status: str | None, limit: int) -> Runs:
    """The newest `limit` runs with this status (None: any), the newest first."""
    wanted = [each for each in runs if status is None or each.status == status]
    return sorted(wanted, key=lambda each: (each.created_at, each.test_id), reverse=True)[:limit]


def row(run: Snapshot, now: int) -> Text:
    """A run as a line, in the columns of the header.

    Args:
        now: the current time, milliseconds since 1970.
    """
    status = "stalled" if run.stalled else run.status
    style = "yellow" if run.stalled else _STYLES[run.status]
    phase = phase_number(run.phase)
    score = "" if run.score is None else f"{run.score:g}"
    taken = duration((run.finished_at or now) - (run.started_at or run.created_at))
    return Text.assemble(
        (f"{status:9}", style),
        f"  {f'{phase}/4' if phase else '':5}  {score:>5}  {taken:>7}  ",
        (run.test_id, "bright_black"),
        "  ",
        printable(run.title),
        (f"  {printable(run.message)}", "bright_black"),
    )


def changed(before: Sequence[Snapshot], after: Sequence[Snapshot]) -> Runs:
    """The runs of `after` that are new or different from those in `before`, the oldest first."""
    previous = {each.test_id: each for each in before}
    return [each for each in reversed(after) if previous.get(each.test_id) != each]


class Source(Protocol):
    """Where the runs come from: NATS or an edge."""

    @property
    def stale(self) -> str:
        """Why the newest list may be out of date; empty when it is current."""

    def __aiter__(self) -> AsyncIterator[Iterable[Snapshot]]:
        """Yields the runs at once, and again when they have changed.

        Raises:
            ConnectionLost: there is no first list. Later failures only make the list stale.
        """


class NatsSource:
    """The snapshots of all runs, from the bucket that the edges maintain."""

    def __init__(self, nats: Connection) -> None:
        self._nats = nats
        self._runs: dict[str, Snapshot] = {}
        self._changed = asyncio.Event()
        self._first_list_read = asyncio.Event()

    @property
    def stale(self) -> str:
        """See `Source.stale`."""
        return "" if self._nats.connected else "the broker is unavailable"

    async def __aiter__(self) -> AsyncIterator[Iterable[Snapshot]]:
        watch = SnapshotStore(self._nats).watch(self._on_snapshot, self._first_list_read.set, self._runs.clear)
        following = asyncio.create_task(watch.run())
        try:
            try:
                async with asyncio.timeout(_FIRST_LIST_TIMEOUT_S):
                    await self._first_list_read.wait()
            except TimeoutError:
                raise ConnectionLost(
                    f"the broker at {self._nats.address} holds no runs yet: start an edge that uses it"
                ) from None
            while True:
                self._changed.clear()
                yield self._runs.values()
                await self._changed.wait()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _on_snapshot(self, change: SnapshotChange) -> None:
        if change.snapshot is not None:
            self._runs[change.test_id] = change.snapshot
        elif change.kind == "removed":
            self._runs.pop(change.test_id, None)
        self._changed.set()


class EdgeSource:
    """The newest runs as an edge lists them. The edge is asked every second."""

    def __init__(self, rpc: RpcClient, status: str | None, limit: int) -> None:
        self.stale = ""
        """See `Source.stale`."""
        self._rpc = rpc
        self._status = status
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[Iterable[Snapshot]]:
        etag, first = None, True
        while True:
            try:
                answer, etag = await self._rpc.list_tests(self._limit, self._status, etag)
                self.stale = "the edge has lost its broker" if answer and answer.get("stale") else ""
                if answer is not None:
                    yield [msgspec.convert(each, Snapshot) for each in answer["tests"]]
                first = False
            except ConnectionLost as error:
                if first:
                    raise
                self.stale = error.message
            await asyncio.sleep(_POLL_EVERY_S)


async def once(source: Source, select: Callable[[Iterable[Snapshot]], Runs]) -> Runs:
    """The runs as they are now."""
    async with contextlib.aclosing(aiter(source)) as lists:  # type: ignore[type-var]  # both are generators
        return select(await anext(lists))


def show(terminal: Terminal, runs: Runs, *, json: bool) -> None:
    """Prints the runs, the newest first."""
    if json:
        for each in runs:
            terminal.raw(each.encode())
        return
    if not runs:
        terminal.note("no matching runs; `testcast submit URL` starts one")
        return
    terminal.say(_HEADER, "bold")
    for each in runs:
        terminal.say(_cut(terminal, row(each, now_ms())))


async def watch(
    source: Source,
    select: Callable[[Iterable[Snapshot]], Runs],
    terminal: Terminal,
    *,
    json: bool,
) -> None:
    """Shows the list as it changes: on a terminal in place, else one line for each run that has changed."""
    if json or not terminal.out.is_terminal:
        before: Runs = []
        async for runs in source:
            after = select(runs)
            for each in changed(before, after):
                terminal.raw(each.encode()) if json else terminal.say(row(each, now_ms()))
            before = after
        return
    shown: Runs = []

    async def keep() -> None:
        nonlocal shown
        async for runs in source:
            shown = select(runs)

    keeping = asyncio.create_task(keep())
    try:
        with Live(console=terminal.out, auto_refresh=False, transient=False) as live:
            while not keeping.done():
                live.update(_table(terminal, shown, source.stale), refresh=True)
                await asyncio.wait({keeping}, timeout=_REDRAW_EVERY_S)
        keeping.result()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def _table(terminal: Terminal, runs: Runs, stale: str) -> RenderableType:
    room = max(1, terminal.out.height - 3)
    rows = [_cut(terminal, row(each, now_ms())) for each in runs[:room]] or [Text("no runs yet", style="bright_black")]
    if stale:
        rows.append(_cut(terminal, Text(f"{stale}; the list may be out of date", style="yellow")))
    return Group(_cut(terminal, Text(_HEADER, style="bold")), *rows)


def _cut(terminal: Terminal, text: Text) -> Text:
    """Cuts a line to the width of the terminal; in a pipe, nothing is cut."""
    if terminal.out.is_terminal:
        text.truncate(terminal.out.width, overflow="ellipsis")
        text.no_wrap = True
    return text
