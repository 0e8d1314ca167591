"""Lines of output as events: many lines in one event, so that a run of a million lines stays within its limits. Pure.

An event of output is a `progress` event. Its `message` has the lines, with line feeds between them. `data.stream` says
where they come from; `data.stderr` are the numbers of the lines of standard error (from 0) where `data.stream` is
"mixed". `data.ansi` has the same lines with colours (`splitter.Line.ansi`), where there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from broker.contract.events import Event, Phase
from testcast.recording.splitter import Line

MAX_BATCH_BYTES: Final = 44 * 1024
"""Of the texts of a batch, as JSON. The largest line has less, and an event may have 60 KiB."""
MAX_BATCH_LINES: Final = 500
MAX_EVENTS: Final = 19_000
"""Of output, in one run. The broker keeps the newest 20,000 events of a run: with more the first ones would be gone."""
_PACE_S: Final = ((3_000, 0.2), (8_000, 1.0), (13_000, 5.0), (MAX_EVENTS, 60.0))
"""Up to so many events of output: seconds between two of them, while they are not full."""


class Entry(NamedTuple):
    """A line that waits to be published."""

    line: Line
    stream: str
    """`stdout`, `stderr`, or another word for where it comes from."""
    size: int
    """Bytes of its texts, as JSON."""
    time_ms: int
    """When it was read."""
    test: Any = None
    """Of a test's line, what programs read of it; goes into `data.tests`."""


def entry(line: Line, stream: str, time_ms: int, test: Any = None) -> Entry:
    """The line with its size. Its text counts a second time where another line of the batch may have colours."""
    plain = len(orjson.dumps(line.text))
    coloured = plain if line.ansi is None else len(orjson.dumps(line.ansi))
    size = plain + coloured + (0 if test is None else len(orjson.dumps(test)))
    return Entry(line, stream, size, time_ms, test)


def pace_s(events: int) -> float:
    """Seconds until the next event of output, after so many. One that is full is not waited for."""
    return next((seconds for up_to, seconds in _PACE_S if events < up_to), _PACE_S[-1][1])


def event_of(entries: Sequence[Entry], phase: Phase | None) -> Event:
    """One event of these lines, of which there is at least one. Its time is that of the first."""
    streams = {each.stream for each in entries}
    data: dict[str, Any] = {"stream": streams.pop() if len(streams) == 1 else "mixed"}
    if data["stream"] == "mixed":
        data["stderr"] = [number for number, each in enumerate(entries) if each.stream == "stderr"]
    if any(each.line.ansi is not None for each in entries):
        data["ansi"] = "\n".join(each.line.text if each.line.ansi is None else each.line.ansi for each in entries)
    if tests := [each.test for each in entries if each.test is not None]:
        data["tests"] = tests
    message = "\n".join(each.line.text for each in entries)
    return Event(type="progress", message=message, timestamp=entries[0].time_ms, phase=phase, data=data)


def gap(count: int, why: str, phase: Phase | None, now_ms: int) -> Event:
    """Says in the feed that lines are missing here."""
    lines = "1 line is" if count == 1 else f"{count:,} lines are"
    return Event(
        type="progress", message=f"{lines} missing here: {why}", timestamp=now_ms, phase=phase, data={"missing": count}
    )
