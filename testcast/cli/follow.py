"""Shows a run, or all runs, on the terminal, and returns the exit status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime
from typing import Protocol

from broker.contract.snapshot import CANCELLED
from broker.export.findings import Told, report_of
from testcast.cli import lines, report_lines
from testcast.cli.lines import Line
from testcast.cli.moments import duration
from testcast.cli.terminal import Terminal
from testcast.cli.text import printable
from testcast.client.backoff import POLL_EVERY_S
from testcast.client.errors import ConnectionLost
from testcast.client.events import Event, Item, State, Unreadable, Verdict
from testcast.exit_codes import EXIT_COMPLETED, EXIT_FAILED, EXIT_LOST


class Source(Protocol):
    """Where the items come from: a `Tail` over NATS or a `Watch` through an edge."""

    test_id: str | None

    @property
    def verdict(self) -> Verdict | None:
        """How the run ended, None before that."""

    @property
    def cancelled(self) -> bool:
        """A person has ended the run, as far as that is known without its last event."""

    def __aiter__(self) -> AsyncIterator[Item]: ...


class Follow:
    """Prints the items of a source.

    Args:
        terminal: where to print.
        test_id: the run, None for all.
        json: print one JSON object per line, as viewers receive them.
        types: the event types to show; empty: all.
        options: what a further command needs to reach the same server, for the note that says how to resume.
        on_item: called with each item before it is shown.
    """

    def __init__(
        self,
        terminal: Terminal,
        test_id: str | None,
        *,
        json: bool = False,
        types: Collection[str] = (),
        options: str = "",
        on_item: Callable[[Item], None] = lambda _item: None,
    ) -> None:
        self._on_item = on_item
        self._options = options
        self._terminal = terminal
        self._all = test_id is None
        self._json = json
        self._types = frozenset(types)
        self._formatter = lines.Formatter(headings=test_id is not None, today=datetime.now().astimezone().date())
        self._started_ms: int | None = None
        self._end: Event | None = None
        self._told = Told()
        self._told_lost = False
        self._told_refused = False

    async def run(self, source: Source) -> int:
        """Follows until the run ends.

        Returns:
            0 completed, 1 failed, 3 the connection was lost.
        """
        try:
            async for item in source:
                self._on_item(item)
                self._show(item)
        except ConnectionLost as error:
            self._terminal.error(error.message)
            if error.after is not None and source.test_id is not None:
                self._terminal.note(f"resume with: testcast tail {source.test_id} --after {error.after}{self._options}")
            return EXIT_LOST
        if source.verdict is None:
            self._terminal.error("the events ended without a verdict")
            return EXIT_LOST
        if not self._json:
            self._summary(source.verdict, source.cancelled)
        return EXIT_COMPLETED if source.verdict == "completed" else EXIT_FAILED

    def on_state(self, state: State) -> None:
        """Shows that the connection was lost or is back; the `on_state` of a source."""
        if state.kind == "live":
            if self._told_lost:
                self._terminal.note(f"reconnected after {state.waited_s:.0f} s", style="green")
            self._told_lost = False
            return
        if state.kind == "polling" and state.refused:
            if not self._told_refused:
                self._told_refused = True
                self._terminal.note(f"{state.detail}: polling every {POLL_EVERY_S:g} s instead")
            return
        attempt = f", attempt {state.attempt} in {state.retry_in_s:.0f} s" if state.attempt else ""
        doing = "polling" if state.kind == "polling" else f"waiting ({state.waited_s:.0f} s)"
        text = f"{state.detail}, {doing}{attempt}"
        if not self._told_lost:
            self._told_lost = True
            if not self._terminal.err.is_terminal:
                self._terminal.note(text)
        self._terminal.transient(text)

    def on_unreadable(self, told: Unreadable) -> None:
        """Says that messages of the run were passed over; the `on_unreadable` of a source."""
        text = lines.unreadable_text(told)
        if self._json:
            self._terminal.note(text)
        else:
            self._terminal.line(Line("system", text, "skipped", test_id=told.test_id), with_run=self._all)

    def _show(self, item: Item) -> None:
        if isinstance(item, Event):
            self._remember(item)
            if self._types and item.type not in self._types:
                return
        else:
            self._started_ms = self._end = None
            self._told = Told()
        if self._json:
            self._terminal.raw(item.raw)
            return
        for line in self._formatter.lines(item):
            self._terminal.line(line, with_run=self._all)

    def _remember(self, event: Event) -> None:
        if event.status == "running" and self._started_ms is None:
            self._started_ms = event.timestamp
        if event.ends is not None and self._end is None:
            self._end = event
        if not self._all:
            self._told.note(event.seq, event.published)

    def _summary(self, verdict: Verdict, cancelled: bool) -> None:
        end = self._end
        took = ""
        if end is not None and self._started_ms is not None:
            took = f" in {duration(end.timestamp - self._started_ms)}"
        if verdict == "completed":
            score = None if end is None else lines.score_of(end)
            parts = [] if end is None else lines.rubric(end.data)
            self._terminal.verdict("completed", f"Completed{took}", score, parts, self._report(end))
        elif cancelled if end is None else end.field("code") == CANCELLED:
            self._terminal.verdict("cancelled", f"Cancelled{took.replace(' in ', ' after ')}", None, [])
        else:
            why = "" if end is None else f": {lines.shorten(printable(end.message))}"
            self._terminal.verdict("failed", f"Failed{took}{why}", None, [])

    def _report(self, end: Event | None) -> list[report_lines.Row]:
        if end is None:
            return []
        report = report_of(end.field("metrics"), self._told)
        return list(report_lines.rows(report, end.test_id, self._options))
