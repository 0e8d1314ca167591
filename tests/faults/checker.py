"""Reconciles what was told, what is stored and what each viewer saw. Pure.

A viewer must have seen exactly what the stream holds of its runs, each event once, in order. Since nothing is removed
from the stream while the kit runs, the resume table gives no reason for a `reset`: each one is a violation, unless its
reason is expected. Times are seconds of one monotonic clock that all processes of the machine share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

LATE_S: Final = 1.0
"""An event that a viewer has within this time of being told has been delayed by nothing worth mention."""
_BEFORE_S: Final = 2.0  # what was on its way when a fault came counts as its victim too


class Mark(NamedTuple):
    """An event's number: publishers count from 1 in each of their lives."""

    life: int
    n: int


class Told(NamedTuple):
    """A publisher gave an event to its handle."""

    run: str
    mark: Mark
    at: float


class Acked(NamedTuple):
    """The handle learned that it is stored."""

    run: str
    mark: Mark
    at: float


class Stored(NamedTuple):
    """An event in the stream; `mark` None for one that nobody numbered (queued, attempt, verdict)."""

    run: str
    seq: int
    mark: Mark | None


class Seen(NamedTuple):
    """An event as it reached a viewer."""

    viewer: str
    run: str
    seq: int
    mark: Mark | None
    at: float


class Reset(NamedTuple):
    """A viewer was told to forget what it had seen of a run."""

    viewer: str
    run: str
    reason: str
    at: float


class Fault(NamedTuple):
    """What the nemesis did; `healed` is when it gave in (restarted, woke, cleared), `until` when all were current.

    Between `until` and the next fault there must be more than `LATE_S`, so that what comes late has one fault only.
    """

    kind: str
    target: str
    began: float
    healed: float
    until: float


@dataclass
class History:
    """Everything that was recorded. `watching`: the runs of each viewer; `shown` is in the order of arrival."""

    watching: dict[str, frozenset[str]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    acked: list[Acked] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    shown: list[Seen | Reset] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Violation(NamedTuple):
    """Something that must not be."""

    what: str
    """"lost", "duplicated", "out of order", "phantom" or "reset"."""
    where: str
    """"stream", or the viewer's name."""
    detail: str


class Recovery(NamedTuple):
    """How long after a fault things were as before, seconds; infinite where they never were."""

    fault: Fault
    by_viewer: dict[str, float]
    """Until each viewer was current again: its runs have told something since, it has that, and nothing comes late any
    more."""
    publishing_s: float
    """Until an event that was told after the fault was acknowledged, in every run."""

    @property
    def took_s(self) -> float:
        """Until every viewer was current again."""
        return max(self.by_viewer.values(), default=0.0)


class Verdict(NamedTuple):
    """What the checker found."""

    acked: int
    stored: int
    deliveries: int
    violations: list[Violation]
    longest_wait_s: float
    """Longest time that an acknowledged event took to a viewer: it was without news that was there to be had."""
    longest_wait_of: str
    recoveries: list[Recovery]

    def count(self, what: str) -> int:
        """How many violations of this sort."""
        return sum(violation.what == what for violation in self.violations)


def check(history: History, *, may_reset: frozenset[str] = frozenset()) -> Verdict:
    """The verdict on a history.

    Args:
        may_reset: reasons of `reset` that what was done to the stream explains.
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
    """What was acknowledged is stored, once, in the order in which it was told, and nothing else is."""
    told = {(each.run, each.mark) for each in history.told}
    found: dict[tuple[str, Mark], int] = {}
    for run, events in stored.items():
        last = Mark(0, 0)
        for event in events:
            if event.mark is None:
                continue
            if (run, event.mark) not in told:
                yield Violation("phantom", "stream", f"{run} {event.seq}: {event.mark} was never told")
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
        if (acked.run, acked.mark) not in found:
            yield Violation("lost", "stream", f"{acked.run}: {acked.mark} was acknowledged and is not stored")


def _judge_viewer(
    viewer: str, run: str, stored: Sequence[Stored], shown: Sequence[Seen | Reset], may_reset: frozenset[str]
) -> Iterable[Violation]:
    """Exactly what is stored, once, in order."""
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
    """Of each numbered event, when each viewer had it first."""
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
    """The smallest of `values` that at least `q` of them do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.nan
