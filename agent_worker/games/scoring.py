"""The rubric: turns the findings of a run into 0 to 100 points, with the reasons. Pure.

| part        | max | what earns it                                                              |
| ----------- | --- | -------------------------------------------------------------------------- |
| load        |  15 | the page is there soon (5), shows something soon (5), starts without errors (5) |
| visuals     |  15 | something is painted (6), with some detail (4), and it moves (5)           |
| controls    |  25 | 1, 2, 3, 4 or more gestures that visibly do something: 12, 18, 22, 25      |
| playability |  25 | many scenes (10), playing to the end (5), a rising score (5), a next round (5) |
| stability   |  20 | minus what broke: a hang or lost page all, a freeze 15, script errors 6 to 14, the rest 1 to 4 |

Where the agent could not find out, a part gets about half of its points and the reason says so. A game that breaks
loses points in several parts: its controls no longer have an effect, and it cannot be played any further.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

MAX_PROBLEMS: Final = 20
MAX_PROBLEM_CHARS: Final = 160
"""With `MAX_PROBLEMS` at most a tenth of the metrics that a reader takes."""


@dataclass(slots=True)
class Findings:
    """What a run has seen so far. Times in seconds, changes in parts of the picture."""

    load_s: float = 0.0
    load_finished: bool = True
    painted_after_s: float | None = None
    """None while the picture is one flat colour."""
    start_trouble: Counter[str] = field(default_factory=Counter)
    """Incidents by kind before the first gesture."""
    grey_levels: int = 0
    canvases: int = 0
    moves_alone: bool = False
    restless: bool = False
    tried: list[str] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    """Gestures for which there was no time, or for which the page has no listener."""
    controls: dict[str, float] = field(default_factory=dict)
    """Gestures that change the picture, with the part of it that changed."""
    scrolls: list[str] = field(default_factory=list)
    """Gestures that only scroll the page."""
    actions: int = 0
    scenes: int = 0
    first_score: int | None = None
    best_score: int | None = None
    game_overs: int = 0
    restarts: int = 0
    played_s: float = 0.0
    stuck: str | None = None
    """Why playing ended early, where the game is not certainly at fault."""
    freezes: int = 0
    freeze_note: str | None = None
    hung: str | None = None
    gone: str | None = None
    exceeded: str | None = None
    """For which limit the game was stopped; `gone` says the same then."""
    incidents: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    told: list[tuple[str, str]] = field(default_factory=list)
    """Kind and detail of the incidents, each once, in order."""
    last_error: str | None = None

    @property
    def blank(self) -> bool:
        """Whether nothing was ever painted."""
        return self.painted_after_s is None

    @property
    def broke(self) -> str | None:
        """What broke the game, or None."""
        return self.hung or self.gone or self.freeze_note


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the rubric."""

    part: str
    score: int
    max: int
    reasons: list[str]

    def as_json(self) -> dict[str, object]:
        """The part as an element of `data.metrics.rubric`."""
        return {"part": self.part, "score": self.score, "max": self.max, "reasons": self.reasons}


def rubric(found: Findings) -> list[Part]:
    """The five parts, in the order of the table above."""
    return [_load(found), _visuals(found), _controls(found), _playability(found), _stability(found)]


def total(parts: list[Part]) -> int:
    """The score, 0 to 100."""
    return sum(part.score for part in parts)


def unknowns(found: Findings) -> list[str]:
    """What the agent could not find out."""
    missing = ["whether it sounds right", "whether it is fun"]
    if found.best_score is None:
        missing.append("the score: none could be read")
    if not found.game_overs:
        missing.append("the end of a round: none was recognised")
    if found.restless and not found.broke:
        missing.append("controls whose effect drowns in the picture's own movement")
    if found.untried:
        missing.append(f"what these do: {', '.join(found.untried)}")
    if found.stuck:
        missing.append(found.stuck)
    return missing


def controls_line(found: Findings) -> str:
    """The result of the search for controls, for the feed."""
    line = f"{len(found.controls)} of {len(found.tried)} gestures work: {', '.join(found.controls)}"
    if not found.controls:
        line = f"None of {len(found.tried)} gestures visibly does anything"
        if found.restless:
            line += ": the picture moves too much by itself to tell"
    return line + (f"; no time to try {len(found.untried)} more" if found.untried else "")


def verdict(found: Findings, score: int) -> str:
    """The last line of the feed."""
    why = None
    if found.exceeded:
        why = found.exceeded
    elif found.blank:
        why = "nothing was ever painted"
    elif found.hung:
        why = "the page hung"
    elif found.gone:
        why = "the page was lost"
    elif found.freezes:
        why = "the game froze"
        if found.incidents["pageerror"]:
            why = "a script error stopped the game"
    elif found.incidents["pageerror"]:
        why = "its scripts throw errors"
    elif not found.controls and not found.restless and not found.untried:
        why = "no control was found"
    return f"Test complete! Score: {score}/100" + (f" ({why})" if why else "")


def metrics(found: Findings, parts: list[Part]) -> dict[str, object]:
    """What `complete` carries as `data.metrics`. Times in ms, changes in parts of the picture."""
    return {
        "rubric": [part.as_json() for part in parts],
        "controls": [{"control": name, "change": change} for name, change in found.controls.items()],
        "tried": found.tried,
        "untried": found.untried,
        "unknown": unknowns(found),
        "loadMs": round(found.load_s * 1000),
        "firstPictureMs": None if found.painted_after_s is None else round(found.painted_after_s * 1000),
        "actions": found.actions,
        "scenes": found.scenes,
        "bestScore": found.best_score,
        "gameOvers": found.game_overs,
        "restarts": found.restarts,
        "freezes": found.freezes + bool(found.hung),
        "incidents": dict(found.incidents),
        "problems": problems(found),
    }


def problems(found: Findings) -> list[dict[str, str]]:
    """What was wrong, each once, the gravest first: for the comparison of runs, which does not read their events."""
    broke = [("blank", "Nothing was painted")] if found.blank else []
    if found.hung or found.freeze_note:
        broke.append(("freeze", found.hung or "the picture froze"))
    if found.exceeded:
        broke.append(("limit", found.exceeded))
    all_found = [*broke, *found.told][:MAX_PROBLEMS]
    return [{"kind": kind, "detail": detail[:MAX_PROBLEM_CHARS]} for kind, detail in all_found]


def _load(found: Findings) -> Part:
    reasons = []
    if found.load_finished:
        score = _steps(found.load_s, ((2, 5), (5, 4), (10, 2)), 1)
        reasons.append(f"loaded in {found.load_s:.1f} s")
    else:
        score = 0
        reasons.append(f"still loading after {found.load_s:.1f} s")
    if found.painted_after_s is None:
        reasons.append("never showed anything")
    else:
        score += _steps(found.painted_after_s - found.load_s, ((1, 5), (3, 4), (8, 2)), 1)
        reasons.append(f"first picture after {found.painted_after_s:.1f} s")
    errors = found.start_trouble["pageerror"] + found.start_trouble["console"]
    requests = found.start_trouble["request"] + found.start_trouble["refused"]
    score += max(0, 5 - 2 * errors - requests)
    if errors:
        reasons.append(_count(errors, "error") + " while starting")
    if requests:
        reasons.append(_count(requests, "request") + " failed while starting")
    return Part("load", score, 15, reasons)


def _visuals(found: Findings) -> Part:
    if found.blank:
        what = "the canvas stays empty" if found.canvases else "the page stays empty"
        return Part("visuals", 0, 15, [what])
    score, reasons = 6, ["something is painted"]
    score += _steps(-found.grey_levels, ((-6, 4), (-3, 2)), 1)
    if found.grey_levels < 3:
        reasons.append("with hardly any detail")
    if found.broke:
        reasons.append("the picture stopped for good")
    elif found.moves_alone or found.controls:
        score += 5
        reasons.append("moves by itself" if found.moves_alone else "moves when played")
    else:
        reasons.append("never moved")
    return Part("visuals", score, 15, reasons)


def _controls(found: Findings) -> Part:
    number = len(found.controls)
    if found.blank:
        return Part("controls", 0, 25, ["nothing to see, so nothing to control"])
    if not number:
        if found.restless:
            return Part("controls", 10, 25, ["could not tell: the picture moves too much by itself"])
        if len(found.untried) > len(found.tried):
            reason = f"could not tell: there was time for {len(found.tried)} gestures, and none of them worked"
            return Part("controls", 5 if found.broke else 10, 25, [reason])
        return Part("controls", 0, 25, [f"none of {len(found.tried)} gestures changed the picture"])
    score = {1: 12, 2: 18, 3: 22}.get(number, 25)
    reasons = [f"{number} of {len(found.tried)} gestures work: {', '.join(found.controls)}"]
    if found.scrolls:
        reasons.append(f"only scrolls the page: {', '.join(found.scrolls)}")
    if found.broke:
        score //= 2
        reasons.append("until the game stopped answering")
    return Part("controls", score, 25, reasons)


def _playability(found: Findings) -> Part:
    if found.blank:
        return Part("playability", 0, 25, ["nothing to play"])
    reasons = [f"{_count(found.scenes, 'scene')} in {_count(found.actions, 'action')}"]
    score = min(10, found.scenes - 1) if found.scenes else 0
    if found.broke:
        return Part("playability", min(4, score // 2), 25, [*reasons, found.broke])
    if found.stuck:
        score += 1
        reasons.append(found.stuck)
    else:
        score += 5
        reasons.append(f"played for {found.played_s:.0f} s to the end of the time")
    if found.best_score is None:
        score += 2
        reasons.append("no score could be read")
    elif found.best_score > (found.first_score or 0):
        score += 5
        reasons.append(f"the score rises (to {found.best_score})")
    else:
        score += 2
        reasons.append(f"the score stayed at {found.best_score}")
    if found.restarts:
        score += 5
        reasons.append(f"{_count(found.game_overs, 'round')} ended and began again")
    elif found.game_overs:
        reasons.append("a round ended and no way to the next was found")
    else:
        score += 3
        reasons.append("no end of a round was recognised")
    if not found.controls and not found.restless and len(found.untried) <= len(found.tried):
        score = min(score, 5)
        reasons.append("nothing that was done made a difference")
    if found.incidents["pageerror"]:
        score = min(score, 12)
        reasons.append("its scripts threw errors")
    return Part("playability", score, 25, reasons)


def _stability(found: Findings) -> Part:
    if found.blank:
        reasons = ["nothing ran for long enough to tell"]
        if found.last_error:
            reasons.append(f"script error: {found.last_error}")
        return Part("stability", 0 if found.last_error or found.broke else 4, 20, reasons)
    score, reasons = 20, []
    if found.hung or found.gone:
        score = 0
        reasons.append(found.hung or found.gone or "")
    if found.freezes:
        score -= 15
        reasons.append(f"froze {found.freezes} times" if found.freezes > 1 else "froze")
    if errors := found.different["pageerror"]:
        score -= min(14, 4 + 2 * errors)
        reasons.append(f"{_count(found.incidents['pageerror'], 'script error')}, the last: {found.last_error}")
    for kind, name, most in (
        ("console", "console error", 4),
        ("request", "failed request", 3),
        ("refused", "refused request", 1),
        ("dialog", "dialog", 2),
        ("download", "download", 2),
        ("popup", "opened window", 2),
        ("left", "attempt", 4),
    ):
        if number := found.incidents[kind]:
            score -= min(most, found.different[kind] or 1) if kind != "left" else most
            reasons.append(_count(number, name) + (" to leave the page" if kind == "left" else ""))
    return Part("stability", max(0, score), 20, reasons or ["no errors, no freeze"])


def _steps(value: float, steps: tuple[tuple[float, int], ...], rest: int) -> int:
    return next((points for limit, points in steps if value <= limit), rest)


def _count(number: int, name: str) -> str:
    return f"{number} {name}" + ("" if number == 1 else "s")
