"""Lists the newest runs, once or as they change, over NATS or through an edge."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from broker.clock import now_ms
from broker.contract.errors import BrokerUnavailable, TestcastError
from broker.contract.labels import has_labels
from broker.contract.snapshot import ListStatus, Snapshot
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pin_store import Pin, PinStore
from testcast.cli.moments import clock
from testcast.cli.rows import header, layout_for, row
from testcast.cli.terminal import Terminal
from testcast.cli.text import printable
from testcast.client.errors import ConnectionLost
from testcast.client.known_runs import Behind, KnownRuns
from testcast.client.rpc import RpcClient

MAX_LISTED: Final = 200
"""The most runs that an edge lists at a time."""
_POLL_EVERY_S: Final = 1.0
_REDRAW_EVERY_S: Final = 0.5

Runs = list[Snapshot]
"""Snapshots, the newest run first."""


class Selection(NamedTuple):
    """Which runs are shown."""

    status: ListStatus | None = None
    """None: any."""
    limit: int | None = None
    since_ms: int = 0
    """Only runs that were submitted then or later, ms since 1970."""
    labels: Mapping[str, str] = MappingProxyType({})
    """Only runs that have all of these."""

    def choose(self, runs: Iterable[Snapshot]) -> Runs:
        """The newest runs that fit, the newest first."""
        fitting = [each for each in runs if self._fits(each)]
        return sorted(fitting, key=lambda each: (each.created_at, each.test_id), reverse=True)[: self.limit]

    def _fits(self, run: Snapshot) -> bool:
        if self.labels and not has_labels(run.labels, self.labels.items()):
            return False
        return run.created_at >= self.since_ms and self.status in (None, run.list_status)


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
    """The runs that the broker has, whether an edge runs or not."""

    def __init__(self, nats: Connection) -> None:
        self._nats = nats
        self.stale = ""
        """See `Source.stale`."""

    async def __aiter__(self) -> AsyncIterator[Iterable[Snapshot]]:
        known = KnownRuns(JetStreamLog(self._nats), self._nats.address)
        pins, pinned = PinStore(self._nats), dict[str, Pin]()
        first = True
        try:
            while True:
                try:
                    await known.refresh()
                    self.stale = _behind(known.behind)
                    first = False
                except (BrokerUnavailable, ConnectionLost) as error:
                    if first:
                        raise
                    self.stale = error.message
                with contextlib.suppress(TestcastError):  # an older broker has no pins, or shows this user none
                    pinned = await pins.all()
                yield [
                    msgspec.structs.replace(each, pinned=True) if each.test_id in pinned else each
                    for each in known.snapshots()
                ]
                await asyncio.sleep(_POLL_EVERY_S)
        finally:
            await known.close()


def _behind(behind: Behind | None) -> str:
    if behind is None:
        return ""
    since = f" since {clock(behind.since_ms)}" if behind.since_ms else ""
    return f"no edge folds the events, and there are too many to read them all here: some runs are old{since}"


class EdgeSource:
    """The newest runs as an edge lists them. The edge is asked every second."""

    def __init__(self, rpc: RpcClient, selection: Selection) -> None:
        self.stale = ""
        """See `Source.stale`."""
        self._rpc = rpc
        self._status = selection.status
        self._labels = selection.labels
        self._limit = selection.limit or MAX_LISTED

    async def __aiter__(self) -> AsyncIterator[Iterable[Snapshot]]:
        etag, first = None, True
        while True:
            try:
                answer, etag = await self._rpc.list_tests(self._limit, self._status, etag, self._labels)
                if answer is not None:
                    self.stale = stale_reason(answer)
                    yield [msgspec.convert(each, Snapshot) for each in answer["tests"]]
                first = False
            except ConnectionLost as error:
                if first:
                    raise
                self.stale = error.message
            await asyncio.sleep(_POLL_EVERY_S)


def stale_reason(answer: Mapping[str, Any]) -> str:
    """Why the list in an answer of `listTests` may be out of date; empty when it is current."""
    degraded = answer.get("degraded")
    reasons = [printable(each) for each in degraded if isinstance(each, str)] if isinstance(degraded, list) else []
    if answer.get("stale"):
        age_ms = answer.get("ageMs")
        seconds = age_ms // 1000 if isinstance(age_ms, int) else 0
        since = f" {seconds} s ago" if seconds else ""
        return "; ".join(reasons) or f"the edge has lost its broker{since}"
    return "; ".join(reasons)


async def show(source: Source, selection: Selection, terminal: Terminal, *, json: bool) -> None:
    """Prints the runs as they are now, the newest first."""
    async with contextlib.aclosing(aiter(source)) as lists:  # type: ignore[type-var]  # both are generators
        runs = selection.choose(await anext(lists))
    if json:
        for each in runs:
            terminal.raw(each.encode())
    elif runs:
        _print(terminal, runs)
    if source.stale:
        terminal.note(f"{source.stale}; the list may be out of date", style="yellow")
    if not runs and not json:
        terminal.note("no matching runs; `testcast submit URL` starts one")


def _print(terminal: Terminal, runs: Runs) -> None:
    layout = layout_for(terminal.width)
    terminal.say(_cut(terminal, Text(header(layout), style="bold")))
    for each in runs:
        for line in row(each, now_ms(), layout):
            terminal.say(_cut(terminal, line))


async def watch(source: Source, selection: Selection, terminal: Terminal, *, json: bool) -> None:
    """Shows the list as it changes: on a terminal in place, else one line for each run that has changed."""
    if json or not terminal.out.is_terminal:
        before: Runs = []
        async for runs in source:
            after = selection.choose(runs)
            for each in changed(before, after):
                terminal.raw(each.encode()) if json else terminal.say(row(each, now_ms())[0])
            before = after
        return
    shown: Runs = []

    async def keep() -> None:
        nonlocal shown
        async for runs in source:
            shown = selection.choose(runs)

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
    layout = layout_for(terminal.width)
    room = max(1, (terminal.out.height - 3) // (2 if layout.below else 1))
    rows = [_cut(terminal, line) for each in runs[:room] for line in row(each, now_ms(), layout)]
    if not rows:
        rows = [Text("no runs yet", style="bright_black")]
    if stale:
        rows.append(_cut(terminal, Text(f"{stale}; the list may be out of date", style="yellow")))
    return Group(_cut(terminal, Text(header(layout), style="bold")), *rows)


def _cut(terminal: Terminal, text: Text) -> Text:
    """Cuts a line to the width of the terminal; in a pipe, nothing is cut."""
    if terminal.width is not None:
        text.truncate(terminal.width, overflow="ellipsis")
        text.no_wrap = True
    return text
