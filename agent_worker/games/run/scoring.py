"""The rubric: turns what a run has shown into 0 to 100 points, with a reason for each point that is lost. Pure.

A game has all points until something is shown against it. What could not be found out loses nothing; it is listed as
unknown. So the score depends neither on how many controls a game has, nor on how long it was played, nor on how busy
the machine was. `COSTS` says what each kind of finding takes from each part; AGENT.md, "The score", explains it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final, Literal, NamedTuple, get_args

PartName = Literal["load", "visuals", "controls", "playability", "stability"]
Severity = Literal["high", "medium", "low"]

PARTS: Final[Mapping[PartName, int]] = {
    "load": 15,
    "visuals": 15,
    "controls": 25,
    "playability": 25,
    "stability": 20,
}
"""The parts in the order in which they are shown, with the points that each has to lose."""
COSTS: Final[Mapping[str, Mapping[PartName, int]]] = {
    "noscripts": {"stability": 20, "playability": 25, "controls": 25, "visuals": 15, "load": 10},
    "blank": {"stability": 20, "playability": 25, "controls": 25, "visuals": 15},
    "crash": {"stability": 20, "playability": 20, "controls": 10},
    "freeze": {"stability": 20, "playability": 20, "controls": 12},
    "softlock": {"playability": 20, "stability": 10},
    "error": {"stability": 12, "playability": 8},
    "deadkey": {"controls": 10},
    "once": {"controls": 8},
    "asset": {"visuals": 6, "load": 4},
    "slowload": {"load": 10},
    "frames": {"visuals": 8, "playability": 4},
    "heap": {"stability": 10},
    "left": {"stability": 8, "playability": 4},
}
"""Kind of finding -> what the first one of high severity takes from each part."""
WEIGHTS: Final[Mapping[Severity, float]] = {"high": 1.0, "medium": 0.6, "low": 0.3}
FURTHER: Final = 3
"""Each further finding of a kind takes this fraction, one in `FURTHER`, of what the first takes: ten errors with one
cause are not ten times as bad."""
INCIDENT_COSTS: Final[Mapping[str, tuple[PartName, int, str]]] = {
    "pageerror": ("stability", 6, "its scripts throw errors"),
    "console": ("stability", 3, "it writes errors to the console"),
    "refused": ("stability", 1, "it asks for addresses that it may not reach"),
    "download": ("stability", 2, "it starts downloads"),
    "popup": ("stability", 2, "it opens windows"),
    "left": ("stability", 8, "it tries to leave its page"),
}
"""Kind of incident -> the part, the points and the reason; once, however often it happened.

Dialogs cost nothing, since games ask for names. Neither do requests that fail: the agent may be why they do. What the
game's own server does not have is a finding."""
_TOLD_BY: Final[Mapping[str, str]] = {
    "pageerror": "error",
    "left": "left",
    "popup": "left",
    "console": "error",
}
"""Kind of incident -> the kind of finding that says the same: the two together cost what the dearer one does."""
_NO_CONTROLS: Final[Mapping[PartName, int]] = {"controls": 25, "playability": 15}
_FEW_TRIED: Final = 3
"""Inputs without any effect that are enough where the game stands still since an error while it started."""
_NEVER_RUNS: Final = "it stands still since an error while it started, and nothing that was tried does anything"
_NO_END: Final = "the page was still loading when it was played"
_NO_END_COST: Final = 5
MAX_WHY_CHARS: Final = 160


class Fault(NamedTuple):
    """A finding, as far as the score is concerned."""

    kind: str
    severity: Severity
    why: str
    finding: str | None = None
    """The finding's id; None where there is no finding that says it."""
    from_load: bool = False
    """It shows in the first second, without any input."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run has shown, as far as the score is concerned.

    Attributes:
        faults: the findings; kinds that `COSTS` does not have cost nothing.
        incidents: kind -> how many incidents of it, such as of `page_state.Incident`.
        finished: the page had loaded before it was played.
        tried: inputs that were tried as controls.
        controls: inputs that were shown to do something.
        searched: all inputs were tried, and comparisons could tell: only then a missing control is the game's fault.
        good: what speaks for the game, by part.
        unknown: what could not be found out, by part.
    """

    faults: Sequence[Fault] = ()
    incidents: Mapping[str, int] = field(default_factory=dict)
    finished: bool = True
    tried: int = 0
    controls: int = 0
    searched: bool = False
    good: Mapping[PartName, Sequence[str]] = field(default_factory=dict)
    unknown: Mapping[PartName, Sequence[str]] = field(default_factory=dict)


class Lost(NamedTuple):
    """Points that one thing takes from one part."""

    part: PartName
    points: int
    why: str
    finding: str | None = None

    def as_json(self) -> dict[str, object]:
        """An element of `data.metrics.lost`."""
        told: dict[str, object] = {"points": self.points, "why": self.why[:MAX_WHY_CHARS], "part": self.part}
        return told if self.finding is None else told | {"finding": self.finding}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the rubric."""

    part: PartName
    score: int
    max: int
    reasons: list[str]

    def as_json(self) -> dict[str, object]:
        """The part as an element of `data.metrics.rubric`."""
        return {"part": self.part, "score": self.score, "max": self.max, "reasons": self.reasons}


def deductions(shown: Evidence) -> list[Lost]:
    """What the game loses, and why; no part loses more than it has. The gravest come first."""
    left = dict(PARTS)
    taken: list[Lost] = []
    for part, points, why, finding in _wanted(shown):
        if (taking := min(points, left[part])) > 0:
            left[part] -= taking
            taken.append(Lost(part, taking, why, finding))
    return taken


def rubric(shown: Evidence) -> list[Part]:
    """The five parts: what speaks for the game, what it lost points for, and what could not be found out."""
    lost = deductions(shown)
    parts = []
    for part, most in PARTS.items():
        mine = [each for each in lost if each.part == part]
        reasons = [f"lost {each.points}: {each.why[:MAX_WHY_CHARS]}" for each in mine]
        reasons += shown.good.get(part, ())
        reasons += [f"not found out: {each}" for each in shown.unknown.get(part, ())]
        parts.append(Part(part, most - sum(each.points for each in mine), most, reasons or ["nothing against it"]))
    return parts


def total(parts: Iterable[Part]) -> int:
    """The score, 0 to 100."""
    return sum(part.score for part in parts)


def gravest_first(faults: Iterable[Fault]) -> list[Fault]:
    """By what each takes alone; of two alike the one that was given first."""
    return sorted(faults, key=lambda fault: -sum(_cost(fault).values()))


def verdict(shown: Evidence, score: int) -> str:
    """The last line of the feed."""
    faults = [fault for fault in gravest_first(shown.faults) if _cost(fault)]
    why = faults[0].why if faults else ""
    if not faults and _without_controls(shown):
        why = "nothing that was tried does anything"
    elif not faults and not shown.controls:
        why = "nothing speaks against it, but there was no time to find a control of it: give it a longer budget"
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"Test complete! Score: {score}/100" + (f" ({why}{more})" if why else "")


def _wanted(shown: Evidence) -> list[Lost]:
    """What each thing would take if every part had enough, the gravest first."""
    by_kind = _of_faults(shown.faults)
    wanted = [lost for _, lost in by_kind]
    if _never_runs(shown):
        wanted += [Lost(part, points, _NEVER_RUNS) for part, points in COSTS["noscripts"].items()]
    if _without_controls(shown):
        why = f"none of {shown.tried} inputs does anything"
        wanted += [Lost(part, points, why) for part, points in _NO_CONTROLS.items()]
    if not shown.finished:
        wanted.append(Lost("load", _NO_END_COST, _NO_END))
    paid: Counter[tuple[str, PartName]] = Counter()
    for kind, lost in by_kind:
        paid[kind, lost.part] += lost.points
    for incident, (part, points, why) in INCIDENT_COSTS.items():
        if shown.incidents.get(incident):
            told = (_TOLD_BY.get(incident, ""), part)
            already = min(points, paid[told])
            paid[told] -= already
            wanted.append(Lost(part, points - already, why))
    return wanted


def _of_faults(faults: Iterable[Fault]) -> list[tuple[str, Lost]]:
    """The kind of each finding, and what it takes from each part."""
    wanted: list[tuple[str, Lost]] = []
    kinds: Counter[str] = Counter()
    for fault in gravest_first(faults):
        kinds[fault.kind] += 1
        for part, points in _cost(fault).items():
            taking = points if kinds[fault.kind] == 1 else ceil(points / FURTHER)
            wanted.append((fault.kind, Lost(part, taking, fault.why, fault.finding)))
    return wanted


def _cost(fault: Fault) -> dict[PartName, int]:
    weight = WEIGHTS[fault.severity] if fault.kind != "noscripts" else 1.0
    return {part: ceil(points * weight) for part, points in COSTS.get(fault.kind, {}).items()}


def _never_runs(shown: Evidence) -> bool:
    """Whether it is as if it had no scripts, although there was no time to try all inputs."""
    broken = any(each.kind == "error" and each.severity == "high" and each.from_load for each in shown.faults)
    return broken and shown.tried >= _FEW_TRIED and not shown.controls


def _without_controls(shown: Evidence) -> bool:
    return shown.searched and shown.tried > 0 and not shown.controls


assert tuple(PARTS) == get_args(PartName)
