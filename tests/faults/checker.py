"""Compares what was published, what is stored and what each viewer saw. Pure.

A viewer must have seen exactly the stored events of its runs, each event once, in order. Nothing is removed from the
stream while the kit runs, so the resume table gives no reason for a `reset`: every reset is a violation unless its
reason is expected. Times are seconds of the monotonic clock, which all processes of the machine share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

LATE_S: Final = 1.0
"""An event that a viewer has within this time of its publication is not late."""
_BEFORE_S: Final = 2.0  # events published this long before a fault may be delayed by it


class Mark(NamedTuple):
    """The number of an event: the publisher process of its run (`life`, from 1), and `n`, from 1 in each process."""

    life: int
    n: int


class Told(NamedTuple):
    """A publisher passed an event to its `TestRun`. The event may still be lost if the publisher dies."""

    run: str
    mark: Mark
    at: float


class Acked(NamedTuple):
    """The publisher's `TestRun` learned that the event is stored."""

    run: str
    mark: Mark
    at: float


class Stored(NamedTuple):
    """An event in the stream. `mark` is None for an event without a number (queued, attempt, verdict)."""

    run: str
    seq: int
    mark: Mark | None


class Seen(NamedTuple):
    """An event that a viewer received."""

    viewer: str
    run: str
    seq: int
    mark: Mark | None
    at: float


class Reset(NamedTuple):
    """A viewer received `reset` for a run and discarded what it had seen."""

    viewer: str
    run: str
    reason: str
    at: float


class Fault(NamedTuple):
    """A fault of the nemesis: `healed` is when it was undone, `until` when every viewer was current again.

    More than `LATE_S` must pass between `until` and the next fault, so that a late event belongs to one fault only.
    """

    kind: str
    target: str
    began: float
    healed: float
    until: float


@dataclass
class History:
    """Everything that was recorded. `watching` has the runs of each viewer; `shown` is in order of arrival."""

    watching: dict[str, frozenset[str]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    acked: list[Acked] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    shown: list[Seen | Reset] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    restarted: bool = False
    """The stream was deleted and made again: it need not hold what was acknowledged before its first event."""

    def restart(self) -> None:
        """Every viewer was told `reset` for a new stream. What each saw before that belongs to the old one."""
        kept: list[Seen | Reset] = []
        done: set[tuple[str, str]] = set()
        for item in reversed(self.shown):
            if (item.viewer, item.run) in done:
                continue
            if isinstance(item, Reset) and item.reason == "epoch":
                done.add((item.viewer, item.run))
            else:
                kept.append(item)
        self.shown = kept[::-1]
        self.faults.clear()
        self.restarted = True


class Violation(NamedTuple):
    """One violation of what must hold."""

    what: str
    """"lost", "duplicated", "out of order", "phantom" or "reset"."""
    where: str
    """"stream", or the viewer's name."""
    detail: str


class Recovery(NamedTuple):
    """Recovery times after a fault, in seconds; infinite if there was no recovery."""

    fault: Fault
    by_viewer: dict[str, float]
    """Time until each viewer was current again: it has a newer event of each of its runs, and no event is late."""
    publishing_s: float
    """Time until every run had an acknowledgement for an event published after the fault began."""

    @property
    def took_s(self) -> float:
        """Time until every viewer was current again."""
        return max(self.by_viewer.values(), default=0.0)


class Verdict(NamedTuple):
    """The result of a check."""

    acked: int
    stored: int
    deliveries: int
    violations: list[Violation]
    longest_wait_s: float
    """Longest time between the acknowledgement of an event and its arrival at a viewer."""
    longest_wait_of: str
    """The viewer that waited that long."""
    recoveries: list[Recovery]

    def count(self, what: str) -> int:
        """Number of violations of this kind."""
        return sum(violation.what == what for violation in self.violations)


def check(history: History, *, may_reset: frozenset[str] = frozenset()) -> Verdict:
    """Checks a history.

    Args:
        may_reset: the reasons of `reset` that are expected.
    """
    stored: dict[str, list[Stored]] = defaultdict(list)
    for event in sorted(history.stored, key=lambda each: each.seq):
        stored[event.run].append(event)
    shown: dict[tuple[str, str], list[Seen | Reset]] = defaultdict(list)
    for item in history.shown:
        shown[item.viewer, item.run].append(item)
    violations = list(_judge_stream(history, stored))
    for viewer, runs in history.watching.items():
        for run in sorted(runs):
            violations += _judge_viewer(viewer, run, stored[run], shown[viewer, run], may_reset)
    wait_s, of = _longest_wait(history)
    deliveries = sum(isinstance(item, Seen) for item in history.shown)
    recoveries = [_recovery(history, fault) for fault in history.faults]
    return Verdict(len(history.acked), len(history.stored), deliveries, violations, wait_s, of, recoveries)


def _judge_stream(history: History, stored: dict[str, list[Stored]]) -> Iterable[Violation]:
    """Checks that acknowledged events are stored, and that stored events were published, once and in this order."""
    told = {(each.run, each.mark) for each in history.told}
    found: dict[tuple[str, Mark], int] = {}
    first_of: dict[str, Mark] = {}
    for run, events in stored.items():
        last = Mark(0, 0)
        for event in events:
            if event.mark is None:
                continue
            if history.restarted and last == Mark(0, 0):
                first_of[run] = event.mark
                last = event.mark._replace(n=event.mark.n - 1)
            if (run, event.mark) not in told:
                yield Violation("phantom", "stream", f"{run} {event.seq}: {event.mark} was never published")
            if (run, event.mark) in found:
                first = found[run, event.mark]
                yield Violation("duplicated", "stream", f"{run} {event.seq}: {event.mark} is at {first} already")
                continue
            found[run, event.mark] = event.seq
            follows = event.mark == Mark(last.life, last.n + 1) or (event.mark.life > last.life and event.mark.n == 1)
            if event.mark < last:
                yield Violation("out of order", "stream", f"{run} {event.seq}: {event.mark} behind {last}")
            elif not follows:
                yield Violation("lost", "stream", f"{run} {event.seq}: {event.mark} follows on {last}")
            last = max(last, event.mark)
    for acked in history.acked:
        if (acked.run, acked.mark) not in found and acked.mark >= first_of.get(acked.run, Mark(0, 0)):
            yield Violation("lost", "stream", f"{acked.run}: {acked.mark} was acknowledged and is not stored")


def _judge_viewer(
    viewer: str, run: str, stored: Sequence[Stored], shown: Sequence[Seen | Reset], may_reset: frozenset[str]
) -> Iterable[Violation]:
    """Checks that the viewer saw exactly the stored events, each once, in order."""
    marks = {event.seq: event.mark for event in stored}
    seen: set[int] = set()
    newest = 0
    for item in shown:
        if isinstance(item, Reset):
            if item.reason not in may_reset:
                yield Violation("reset", viewer, f"{run}: reset {item.reason} at {newest} without a reason")
            seen, newest = set(), 0
        elif item.seq not in marks or marks[item.seq] != item.mark:
            yield Violation("phantom", viewer, f"{run} {item.seq}: saw {item.mark}, stored {marks.get(item.seq)}")
        elif item.seq in seen:
            yield Violation("duplicated", viewer, f"{run} {item.seq}: {item.mark} again, at {newest}")
        else:
            if item.seq < newest:
                yield Violation("out of order", viewer, f"{run} {item.seq}: {item.mark} behind {newest}")
            seen.add(item.seq)
            newest = max(newest, item.seq)
    for event in stored:
        if event.seq not in seen:
            yield Violation("lost", viewer, f"{run} {event.seq}: {event.mark} was never seen")


def _first_seen(history: History) -> dict[tuple[str, Mark], dict[str, float]]:
    """For each numbered event, the time at which each viewer first had it."""
    arrivals: dict[tuple[str, Mark], dict[str, float]] = defaultdict(dict)
    for item in history.shown:
        if isinstance(item, Seen) and item.mark is not None:
            arrivals[item.run, item.mark].setdefault(item.viewer, item.at)
    return arrivals


def _longest_wait(history: History) -> tuple[float, str]:
    acked = {(each.run, each.mark): each.at for each in history.acked}
    longest = (0.0, "")
    for key, by_viewer in _first_seen(history).items():
        if key in acked:
            for viewer, at in by_viewer.items():
                longest = max(longest, (at - acked[key], viewer))
    return longest


def _recovery(history: History, fault: Fault) -> Recovery:
    arrivals, acks = _first_seen(history), {(each.run, each.mark): each.at for each in history.acked}
    acked = [each for each in history.told if (each.run, each.mark) in acks]
    first: dict[str, Told] = {}
    for told in sorted(acked, key=lambda each: each.at):
        if fault.began <= told.at < fault.until:
            first.setdefault(told.run, told)
    concerned = [each for each in acked if fault.began - _BEFORE_S <= each.at < fault.until]
    by_viewer: dict[str, float] = {}
    for viewer, runs in history.watching.items():
        current_at = fault.began if runs <= first.keys() else math.inf
        for told in concerned:
            at = arrivals.get((told.run, told.mark), {}).get(viewer, math.inf) if told.run in runs else 0.0
            if at > fault.began and (first.get(told.run) is told or at - told.at > LATE_S):
                current_at = max(current_at, at)
        by_viewer[viewer] = current_at - fault.began
    runs_watched = frozenset().union(*history.watching.values())
    publishing = [acks[first[run].run, first[run].mark] if run in first else math.inf for run in runs_watched]
    return Recovery(fault, by_viewer, max(publishing, default=fault.began) - fault.began)


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest of `values` that at least the share `q` of them does not exceed; NaN if `values` is empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.nan
