"""One run in full: what `show` reads and prints."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import orjson
from rich.text import Text

from broker.clock import now_ms
from broker.contract import projects
from broker.contract.errors import NotFound
from broker.contract.labels import as_texts
from broker.contract.snapshot import Snapshot, fold
from broker.export import findings as reports
from broker.jetstream import runs
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.scan import pages
from testcast.cli import lines, report_lines
from testcast.cli.moments import ago, duration, full
from testcast.cli.rows import status_word
from testcast.cli.server import Server, connection
from testcast.cli.terminal import Terminal
from testcast.cli.text import printable
from testcast.client.events import Event, from_edge, from_stored
from testcast.client.rpc import RpcClient

_PAGE_EVENTS = 1000
_MAX_VALUE_CHARS = 200


class Details(NamedTuple):
    """What is known of a run."""

    snapshot: Snapshot
    first: Event | None
    """The oldest event that is stored."""
    last: list[Event]
    """The newest events, in order."""
    told: reports.Told | None = None
    """What they say of findings; None: they were not read."""


async def over_nats(log: JetStreamLog, test_id: str, last_lines: int) -> Details:
    """Reads a run's events.

    Raises:
        NotFound: nothing is stored under this id.
    """
    head = await log.last(test_id) or await log.last(test_id, confirmed=True)
    snapshot, first, last, told = None, None, deque[Event](maxlen=last_lines), reports.Told()
    async with aclosing(pages(log, test_id, 0, head)) as found:
        async for page in found:
            for stored in page.events:
                snapshot = fold(snapshot, test_id, stored.seq, runs.parse(stored.data), stored.stored_ms)
                event = from_stored(test_id, stored.seq, stored.data)
                if event is not None:
                    first = first or event
                    last.append(event)
                    told.note(event.seq, event.published)
    if snapshot is None:
        raise NotFound(test_id)
    return Details(snapshot, first, list(last), told)


async def over_edge(rpc: RpcClient, test_id: str, last_lines: int) -> Details:
    """Asks an edge for a run and its events.

    Raises:
        NotFound: the edge knows no such run.
        EdgeRefused, ConnectionLost: as `RpcClient.call`.
    """
    snapshot = msgspec.convert((await rpc.call("getTest", testId=test_id))["test"], Snapshot)
    first, last, told = None, deque[Event](maxlen=last_lines), reports.Told()
    position: dict[str, Any] = {}
    more = True
    while more:
        answer = await rpc.call("getEvents", testId=test_id, limit=_PAGE_EVENTS, **position)
        for each in answer["events"]:
            event = from_edge(orjson.dumps(each))
            if event is not None:
                first = first or event
                last.append(event)
                told.note(event.seq, event.published)
        more = bool(answer.get("more")) and answer["head"] != position.get("after")
        more = more and not (first is not None and not last_lines)
        position = {"after": answer["head"], "epoch": answer["epoch"]}
    return Details(snapshot, first, list(last), told)


async def details_of(test_id: str, server: Server, last_lines: int) -> Details:
    """Reads a run where the server has it.

    Raises:
        NotFound: there is no such run.
    """
    if server.edge is not None:
        async with RpcClient(server.edge) as rpc:
            return await over_edge(rpc, test_id, last_lines)
    async with connection(server) as nats:
        return await over_nats(JetStreamLog(nats), test_id, last_lines)


def show_details(terminal: Terminal, details: Details, page: str | None, options: str = "") -> None:
    """Prints a run.

    Args:
        options: what a further command needs to reach the same server.
    """
    run = details.snapshot
    terminal.say(printable(run.title), "bold")
    facts = [(name, value) for name, value in _facts(details, page, now_ms()) if value]
    _table(terminal, facts)
    metrics = run.metrics if isinstance(run.metrics, dict) else {}
    parts = lines.rubric({"metrics": metrics})
    if run.score is not None or parts:
        terminal.say()
        terminal.score(run.score, parts)
    report = reports.report_of(metrics, details.told)
    terminal.report(report_lines.rows(report, run.test_id, options))
    elsewhere = {"rubric", *reports.shown_in(metrics)}
    shown = [("controls", report_lines.controls_text(report.controls))] if report.controls else []
    shown += [(printable(name), _value(value)) for name, value in metrics.items() if name not in elsewhere]
    if shown:
        terminal.say()
        terminal.say("Metrics", "bold")
        _table(terminal, shown)
    _show_last(terminal, details.last)


def _project(name: str) -> str:
    if name == projects.DEFAULT:
        return ""
    return name or "none: the run's first event names no valid one"


def _facts(details: Details, page: str | None, now: int) -> Iterable[tuple[str, str]]:
    run, first = details.snapshot, details.first
    yield "Status", _status(run)
    yield "Test id", run.test_id
    yield "Page", page or ""
    yield "Game", printable(run.game_url)
    yield (
        "Project",
        _project(run.project),
    )
    yield "Labels", printable(", ".join(as_texts(run.labels or {})))
    yield "Phase", _phase(run)
    yield "Submitted", f"{full(run.created_at)} ({ago(run.created_at, now)})"
    if run.started_at:
        yield "Started", full(run.started_at)
        yield ("Took" if run.finished_at else "So far"), duration((run.finished_at or now) - run.started_at)
    yield "Agent", printable(run.worker or "") + (f", attempt {run.attempt}" if run.attempt > 1 else "")
    if first is not None:
        budget, seed = first.field("budgetSeconds"), first.field("seed")
        yield "Budget", f"{_value(budget)} s" if isinstance(budget, int | float) else ""
        yield "Seed", _value(seed) if isinstance(seed, int) else ""


def _status(run: Snapshot) -> str:
    word = status_word(run)
    if word == "failed" and run.error:
        code = f" ({printable(run.error_code)})" if run.error_code else ""
        return f"failed: {lines.shorten(printable(run.error))}{code}"
    if run.status == "queued" and run.no_agent:
        return "queued; no agent is running"
    if run.status == "queued" and run.queue_place:
        return f"queued, place {run.queue_place}"
    return "stalled: no sign of life from its agent" if run.stalled else word


def _value(value: Any) -> str:
    """A value of strangers in one line."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    shown = printable(text)
    return shown if len(shown) <= _MAX_VALUE_CHARS else f"{shown[:_MAX_VALUE_CHARS]}…"


def _table(terminal: Terminal, rows: list[tuple[str, str]]) -> None:
    width = min(24, max(len(name) for name, _ in rows))
    for name, value in rows:
        front = Text(f"  {name:{width}}  ", style="bright_black")
        if " " in value:
            terminal.indented(front, Text(value))
        else:  # an id or an address stays in one piece, to be copied
            terminal.say(front + Text(value))


def _show_last(terminal: Terminal, events: list[Event]) -> None:
    if not events:
        return
    terminal.say()
    terminal.say("Last events", "bold")
    formatter = lines.Formatter(headings=False, today=datetime.now().astimezone().date())
    for event in events:
        for line in formatter.lines(event):
            terminal.line(line)


def _phase(run: Snapshot) -> str:
    if run.phase is None:
        return ""
    number = int(run.phase[-1])
    if run.phases is not None:
        return f"{number} {printable(run.phases[number - 1])}" if number <= len(run.phases) else str(number)
    return f"{number}/4 {lines.PHASES[number - 1]}"
