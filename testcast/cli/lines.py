"""Formats events as lines of text: one line per event, and a heading where a phase begins. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, Final, Literal, NamedTuple, TypeGuard

from broker.contract.snapshot import CANCELLED
from broker.export.problems import SEEN_ONCE
from testcast.cli.moments import at, clock
from testcast.cli.text import plain, printable, shown_colours
from testcast.client.events import Event, Item, Reset, Unreadable

PHASES: Final = ("Load and validate", "Discover controls", "Explore gameplay", "Evaluate and score")
MAX_TEXT_CHARS: Final = 2000
"""Longest text of a line. An event may carry 60 KiB."""
MAX_OUTPUT_LINES: Final = 1000
"""Of one event. A program's output has at most 500 in each; an event has room for 30,000."""

Kind = Literal[
    "day",
    "phase",
    "queued",
    "running",
    "progress",
    "output",
    "stderr",
    "action",
    "problem",
    "error",
    "completed",
    "failed",
    "cancelled",
    "system",
]


class Line(NamedTuple):
    """One line, without colours."""

    kind: Kind
    """Selects the colours."""
    text: str
    label: str = ""
    """A word for the kind, at most 9 characters."""
    time: str = ""
    """HH:MM:SS, local time."""
    phase: int = 0
    """1 to 4; 0 for none."""
    test_id: str | None = None
    ansi: str = ""
    """The text with the colours of the program that has written it, and no other control characters; may be empty."""
    detail: str = ""
    """What the game reported, or its address, unless the text contains it."""


class Formatter:
    """Turns items into lines. It remembers the phase of each run, because a heading comes only when the phase changes.

    Args:
        headings: print a heading at each phase. Without headings (several runs at once) each line names its phase.
        today: the current day. A line with the date precedes the events of another day.
    """

    def __init__(self, *, headings: bool, today: date) -> None:
        self._headings = headings
        self._day = today
        self._phases: dict[str, int] = {}

    def lines(self, item: Item) -> list[Line]:
        """The lines of one item, in order."""
        if isinstance(item, Reset):
            if item.test_id is None:
                self._phases.clear()
            else:
                self._phases.pop(item.test_id, None)
            return [Line("system", reset_text(item), "reset", test_id=item.test_id)]
        phase = phase_number(item.phase) or self._phases.get(item.test_id, 0)
        lines = []
        moment = at(item.timestamp)
        if moment is not None and moment.date() != self._day:
            self._day = moment.date()
            lines.append(Line("day", f"{moment:%A} {moment.day} {moment:%B %Y}"))
        if phase != self._phases.get(item.test_id, 0):
            self._phases[item.test_id] = phase
            if self._headings:
                lines.append(Line("phase", _heading(item, phase), phase=phase))
        if item.ends is not None:
            self._phases.pop(item.test_id, None)
        if isinstance(item.field("stream"), str):
            return [*lines, *_output(item, phase)]
        kind, label = _kind(item)
        text, detail = printable(item.message), ""
        detail = shorten(_detail(item, text))
        lines.append(Line(kind, shorten(text), label, clock(item.timestamp), phase, item.test_id, detail=detail))
        return lines


def _heading(event: Event, phase: int) -> str:
    titles = event.field("phases")
    if isinstance(titles, list) and len(titles) >= phase and isinstance(titles[phase - 1], str):
        return f"Phase {phase} · {shorten(printable(titles[phase - 1]))}"
    return f"Phase {phase}/4 · {PHASES[phase - 1]}"


def _output(event: Event, phase: int) -> Iterator[Line]:
    """The lines of a program's output, of which an event has many."""
    stream, stderr, ansi = event.field("stream"), event.field("stderr"), event.field("ansi")
    coloured = ansi.split("\n") if isinstance(ansi, str) else []
    errors = {each for each in stderr if isinstance(each, int)} if isinstance(stderr, list) else set()
    texts = event.message.split("\n", MAX_OUTPUT_LINES)
    more = texts.pop().count("\n") + 1 if len(texts) > MAX_OUTPUT_LINES else 0
    for number, text in enumerate(texts):
        is_error = stream == "stderr" or number in errors
        kind: Kind = "stderr" if is_error else "output"
        label = "stderr" if is_error else "" if stream in ("stdout", "mixed") else printable(stream)[:9]
        colours = shown_colours(coloured[number]) if number < len(coloured) and len(text) <= MAX_TEXT_CHARS else ""
        yield Line(kind, shorten(plain(text)), label, clock(event.timestamp), phase, event.test_id, colours)
    if more:
        yield Line("system", f"{more:,} more lines in this event", test_id=event.test_id)


def _kind(event: Event) -> tuple[Kind, str]:
    if event.ends == "failed":
        return ("cancelled", "cancelled") if event.field("code") == CANCELLED else ("failed", "failed")
    if event.ends == "completed":
        return "completed", "completed"
    if event.type == "error":
        return "error", "error"
    if event.status == "running" and event.phase is not None and not event.field("attempt"):
        return "progress", "phase"  # the first line of a phase, below the heading
    if event.status in ("queued", "running"):
        return event.status, event.status
    if isinstance(kind := event.field("kind"), str) and kind:
        return "progress" if kind == SEEN_ONCE else "problem", printable(kind)[:9]
    if isinstance(event.field("control"), str):
        return "action", "control"
    return ("action", "action") if event.field("action") else ("progress", "progress")


def _detail(event: Event, text: str) -> str:
    detail = event.field("detail") if event.field("kind") else None
    if detail is None and isinstance(finding := event.field("finding"), dict):
        detail = finding.get("detail")
    if event.status == "queued":
        detail = event.field("gameUrl")
    shown = printable(detail) if isinstance(detail, str) else ""
    return "" if shown in text else shown


class Part(NamedTuple):
    """One part of a score."""

    part: str
    score: float
    max: float


def rubric(data: Any) -> list[Part]:
    """The parts of the score in the data of a `complete` event; empty when the data has no valid ones."""
    metrics = data.get("metrics") if isinstance(data, dict) else None
    given = metrics.get("rubric") if isinstance(metrics, dict) else None
    parts = []
    for each in given if isinstance(given, list) else []:
        if not isinstance(each, dict):
            continue
        part, score, most = each.get("part"), each.get("score"), each.get("max")
        if isinstance(part, str) and is_number(score) and is_number(most) and most > 0:
            parts.append(Part(printable(part), score, most))
    return parts


def score_of(event: Event) -> float | None:
    """The score of a `complete` event, 0 to 100; None when the event has no valid one."""
    score = event.field("score")
    return score if is_number(score) and 0 <= score <= 100 else None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of JSON is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def bar(share: float, width: int = 20) -> str:
    """A bar of `width` cells, filled by `share` (0 to 1)."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "█" * filled + "░" * (width - filled)


def reset_text(reset: Reset) -> str:
    """The text of a reset."""
    return {
        "expired": "gap: events before this line are no longer stored; continuing with the oldest stored event",
        "ahead": "gap: the position is after the newest stored event; starting again from the first event",
        "epoch": "gap: the broker's history was replaced; starting again from the first event",
    }[reset.reason]


def unreadable_text(told: Unreadable) -> str:
    """What is said of messages that are no events."""
    what = "1 event" if told.count == 1 else f"{told.count:,} events"
    reasons = [
        printable(reason) if told.count == count else f"{printable(reason)} ({count:,})"
        for reason, count in sorted(told.reasons.items(), key=lambda each: -each[1])
    ]
    why = f": {'; '.join(reasons)}" if reasons else ""
    return shorten(f"{what} of this agent could not be read{why}")


def phase_number(phase: str | None) -> int:
    """1 to 4 for "phase1" to "phase4", 0 for None."""
    return int(phase[-1]) if phase else 0


def shorten(text: str) -> str:
    """`text`, or its beginning and its length when it is longer than `MAX_TEXT_CHARS`."""
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]} … ({len(text):,} characters)"
