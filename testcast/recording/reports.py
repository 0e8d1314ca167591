"""Reports of pytest as lines and events. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal, NamedTuple

from broker.contract.events import Event, Phase
from testcast.recording.batches import Entry, entry
from testcast.recording.splitter import Line, Splitter

Outcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]
STREAM: Final = "tests"
"""What `data.stream` says of the lines of tests."""
MAX_FAILURE_CHARS: Final = 4000
"""As much of a failure's text as the dashboard shows."""
MAX_FAILURES: Final = 2_000
"""Failures with their texts, in one run: each is an event. Further ones are lines only."""
MAX_REASON_CHARS: Final = 200
_COLOURS: Final[dict[Outcome, str]] = {
    "passed": "32",
    "failed": "1;31",
    "error": "1;31",
    "skipped": "33",
    "xfailed": "33",
    "xpassed": "33",
}


class Result(NamedTuple):
    """How one test, or one part of it, ended."""

    nodeid: str
    outcome: Outcome
    duration_s: float
    text: str = ""
    """Of a failure: how it is shown; of a skip: the reason."""


class Tally:
    """Counts the tests of a session. A test that passes and then fails to clean up is a pass and an error, as pytest
    counts."""

    def __init__(self) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.expected = 0
        """Tests that were collected; 0: not known."""

    def __repr__(self) -> str:
        return f"<Tally {self.words() or 'nothing'} of {self.expected}>"

    def note(self, outcome: Outcome) -> None:
        """Counts one."""
        self.counts[outcome] += 1

    @property
    def bad(self) -> int:
        """Failures and errors."""
        return self.counts["failed"] + self.counts["error"]

    @property
    def score(self) -> float | None:
        """The share of tests that passed, in percent; skipped ones do not count. None: there were none."""
        good = self.counts["passed"] + self.counts["xfailed"] + self.counts["xpassed"]
        return round(100 * good / (good + self.bad), 2) if good + self.bad else None

    def words(self) -> str:
        """Such as "3 failed, 120 passed"."""
        order: tuple[Outcome, ...] = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")
        named = {"error": "error" if self.counts["error"] == 1 else "errors"}
        return ", ".join(f"{self.counts[each]:,} {named.get(each, each)}" for each in order if self.counts[each])

    def metrics(self, took_s: float) -> dict[str, Any]:
        """For the last event of the run."""
        shown = [each for each in _COLOURS if self.counts[each] or each in ("passed", "failed")]
        known = {str(each): self.counts[each] for each in shown}
        return {"tests": sum(self.counts.values()), **known, "seconds": round(took_s, 1)}


def line_of(result: Result, now_ms: int) -> Entry:
    """The line of a test: its outcome, what it is, how long it took, and of one that was skipped the reason."""
    word = result.outcome.upper()
    reason = f" ({_one_line(result.text)})" if result.outcome in ("skipped", "xfailed") and result.text else ""
    what = f"{_one_line(result.nodeid)}{reason}  {result.duration_s:.2f} s\n"
    (rest,) = Splitter().feed(what.encode())
    text = f"{word:7} {rest.text}"
    ansi = f"\x1b[{_COLOURS[result.outcome]}m{word}\x1b[m{text[len(word) :]}"
    test = [_utf8(result.nodeid)[:MAX_FAILURE_CHARS], result.outcome, round(result.duration_s, 4)]
    return entry(Line(text, ansi), STREAM, now_ms, test)


def failure_event(result: Result, phase: Phase | None, now_ms: int) -> Event:
    """The event of a failure, with its text: a problem of the run."""
    detail = _utf8(result.text)
    if len(detail) > MAX_FAILURE_CHARS:  # the end says what was wrong
        detail = "…" + detail[1 - MAX_FAILURE_CHARS :]
    data = {
        "kind": "test",
        "detail": detail,
        "nodeid": _utf8(result.nodeid)[:MAX_FAILURE_CHARS],
        "outcome": result.outcome,
        "durationS": round(result.duration_s, 4),
    }
    said = f"{result.outcome.upper()} {_one_line(result.nodeid)}"
    return Event(type="progress", message=said, timestamp=now_ms, phase=phase, data=data)


def _utf8(text: str) -> str:
    """A lone surrogate, which a parameter of a test may contain, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _one_line(text: str) -> str:
    text = " ".join(_utf8(text).split())
    return text if len(text) <= MAX_REASON_CHARS * 2 else text[: MAX_REASON_CHARS * 2 - 1] + "…"
