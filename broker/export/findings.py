"""What an agent reports of a game, as exports and commands read it: findings, controls, lost points. Pure.

Whatever an agent has put in their places, every field that is read here has its type. The dashboard reads the same
(`dashboard_ui/view/report/read.js`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from broker.contract.events import Event
from broker.export.problems import SEEN_ONCE, Problem, kind_name

FRAMES_PER_S: Final = 60
"""Frames in a second of a game's own time."""
MAX_LISTED: Final = 50
"""Findings, controls and lost points that are read of a run."""
MAX_INPUTS: Final = 100
SEVERITIES: Final = ("high", "medium", "low")
_MAX_ID_CHARS: Final = 40
_MAX_TITLE_CHARS: Final = 160
_MAX_DETAIL_CHARS: Final = 400
_MAX_STACK_CHARS: Final = 2000
_MAX_NAME_CHARS: Final = 80
_MAX_KEYS: Final = 8
_MAX_NUMBER: Final = 1e12
"""What is larger is neither a time in ms nor a number of bytes."""
_TAP_FRAMES: Final = 12
"""A key that is held for longer is told to be held."""
_WORD: Final = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
"""A finding's id that a shell takes as it is."""


class Gesture(NamedTuple):
    """Something that is done to a game."""

    at: float
    """The frame of the game's own time before which it begins."""
    hold: float
    """Frames."""
    kind: str
    name: str
    keys: tuple[str, ...]
    places: tuple[tuple[float, float], ...]
    """Where the pointer is, and where it goes to; in parts of the picture, 0 to 1."""


class Finding(NamedTuple):
    """Something that is wrong with a game, and how it is shown again."""

    id: str
    """Names it within its run; may be empty."""
    name: str
    """Of its kind, for a person."""
    severity: str
    """One of `SEVERITIES`."""
    title: str
    detail: str
    stack: str
    at_ms: float | None
    """In the game's own time."""
    seen: tuple[float, float] | None
    """How often it was shown, and tried."""
    inputs: tuple[Gesture, ...]
    more_inputs: int
    """How many further ones are not in `inputs`."""
    until: float | None
    """The frame at which it has shown."""
    real: bool
    """It was found in real time: frames do not replay it."""
    seq: int = 0
    """Of the event that told it; 0: not known."""
    once: bool = False
    """Its event says that it was seen once."""

    @property
    def key(self) -> tuple[str, str]:
        """What names it within its run."""
        return (self.id, "") if self.id else (self.name, self.title)


class Control(NamedTuple):
    """A control with its evidence."""

    name: str
    change: float | None
    """The part of the picture that it changed, 0 to 1."""
    seen: tuple[float, float]
    situations: tuple[str, ...]
    promised: bool
    """The page names it in its text."""


class Lost(NamedTuple):
    """Points that a run has lost by one thing."""

    points: float
    why: str
    finding: str
    """The id of the finding that cost them; may be empty."""
    parts: tuple[str, ...]
    """Of the score."""


class Report(NamedTuple):
    """All that an agent reports of a game; the worst findings first."""

    findings: list[Finding]
    once: list[Finding]
    """What did not show each time."""
    controls: list[Control]
    """Empty also where an agent gives no evidence."""
    lost: list[Lost]


class Told:
    """Collects the findings of a run from its events, in order. A new attempt begins again."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def __repr__(self) -> str:
        return f"<Told {len(self._found)}>"

    def note(self, seq: int, event: Event) -> bool:
        """Takes the finding that an event tells. Returns whether it tells one."""
        attempt = event.field("attempt") if event.type == "status" else None
        if isinstance(attempt, int) and attempt > 1:
            self._found.clear()
        found = finding_of(event.field("finding")) if event.type == "progress" else None
        if found is None:
            return False
        if len(self._found) < 2 * MAX_LISTED:
            once = _is_once(event.field("kind"), found.seen)
            self._found[found.key] = found._replace(seq=seq, once=once)
        return True

    @property
    def found(self) -> dict[tuple[str, str], Finding]:
        """Those that were told, by what names them."""
        return dict(self._found)


def report_of(metrics: Any, told: Told | None = None) -> Report:
    """The report in a run's metrics, with what only its events tell."""
    given = metrics if isinstance(metrics, dict) else {}
    by_event = told.found if told is not None else {}
    listed = [each for each in map(finding_of, _list(given.get("findings"))) if each is not None]
    once = [each for each in map(finding_of, _list(given.get("seenOnce"))) if each is not None]
    known = {each.key for each in (*listed, *once)}
    for finding in by_event.values():
        if finding.key not in known:
            (once if finding.once else listed).append(finding)
    controls = [each for each in map(_control, _list(given.get("controls"))) if each is not None]
    return Report(_in_order(listed, by_event), _in_order(once, by_event), controls, _lost(_list(given.get("lost"))))


def beside(problems: Iterable[Problem], report: Report) -> list[Problem]:
    """The problems that no finding says already: a request that failed is the reason why a file is missing."""
    told = [text for each in (*report.findings, *report.once) for text in (each.title, each.detail)]
    return [each for each in problems if not any(each.text in text for text in told)]


def shown_in(metrics: Any) -> set[str]:
    """The names of the metrics that `report_of` reads: lists that need not be told again."""
    given = metrics if isinstance(metrics, dict) else {}
    names = {name for name in ("findings", "seenOnce", "lost") if isinstance(given.get(name), list)}
    return names | ({"controls"} if report_of(given).controls else set())


def finding_of(value: Any) -> Finding | None:
    """A finding of an agent; None: it has no title, which is all that a reader needs of it."""
    given = value if isinstance(value, dict) else {}
    title = _text(given.get("title"), _MAX_TITLE_CHARS)
    if not title:
        return None
    severity, frame, inputs = given.get("severity"), _number(given.get("frame")), given.get("inputs")
    at_ms = _number(given.get("atMs"))
    return Finding(
        id=_text(given.get("id"), _MAX_ID_CHARS),
        name=kind_name(given.get("kind")),
        severity=severity if severity in SEVERITIES else "medium",
        title=title,
        detail=_text(given.get("detail"), _MAX_DETAIL_CHARS),
        stack=_lines(given.get("stack"), _MAX_STACK_CHARS),
        at_ms=at_ms if at_ms is not None or frame is None else frame * 1000 / FRAMES_PER_S,
        seen=_seen(given.get("seen")),
        inputs=_gestures(inputs),
        more_inputs=max(0, len(inputs) - MAX_INPUTS) if isinstance(inputs, list) else 0,
        until=_number(given.get("until")),
        real=given.get("real") is True,
    )


def command_of(test_id: str, finding: Finding) -> str:
    """The command that plays a finding again; empty where its id is none that a shell takes as it is."""
    return f"testcast reproduce {test_id} {finding.id}" if _WORD.fullmatch(finding.id) else ""


def again(finding: Finding) -> list[str]:
    """What shows a finding again, a line for each gesture."""
    lines = [gesture_words(each) for each in finding.inputs]
    if finding.more_inputs:
        lines.append(f"and {finding.more_inputs:,} more")
    if finding.until is not None:
        shows = "it shows by" if finding.inputs else "do nothing: it shows by"
        lines.append(f"{shows} {frame_time(finding.until)}")
    return lines


def facts(finding: Finding) -> list[str]:
    """How severe a finding is, what kind it is of, how often and when it was seen."""
    said = [f"{finding.severity} severity"]
    if finding.name != kind_name(None):
        said.append(finding.name.lower())
    if finding.seen is not None:
        shown, tried = finding.seen
        said.append("once" if tried == 1 else f"{shown:g} of {tried:g} times")
    if finding.at_ms:
        said.append(f"after {_time(finding.at_ms)}" if finding.real else f"{_time(finding.at_ms)} into the game")
    return [*said, *(["in real time"] if finding.real else [])]


def gesture_words(gesture: Gesture) -> str:
    """A gesture as a person reads it: `0.50 s: ArrowUp + ArrowLeft, held 2.83 s`."""
    if gesture.keys:
        what = " + ".join(gesture.keys)
    elif gesture.places:
        places = [f"{_share(x)}, {_share(y)}" for x, y in gesture.places]
        what = f"{gesture.kind} at {places[0]}" if len(places) == 1 else f"{gesture.kind} from {' to '.join(places)}"
    else:
        what = gesture.name or gesture.kind
    held = f", held {frame_time(gesture.hold)}" if gesture.hold > _TAP_FRAMES else ""
    return f"{frame_time(gesture.at)}: {what}{held}"


def frame_time(frames: float) -> str:
    """Frames of a game's own time as `0.20 s`, `12.4 s` or `1:05 min`."""
    return _time(frames * 1000 / FRAMES_PER_S)


def _time(ms: float) -> str:
    seconds = ms / 1000
    if seconds >= 60:
        return f"{int(seconds // 60)}:{int(seconds % 60):02} min"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def _share(part: float) -> str:
    return f"{part:.0%}".replace("%", " %")


def _in_order(findings: Iterable[Finding], by_event: dict[tuple[str, str], Finding]) -> list[Finding]:
    whole = []
    for each in findings:
        event = by_event.get(each.key)
        whole.append(each if event is None else each._replace(stack=each.stack or event.stack, seq=event.seq))
    return sorted(whole[:MAX_LISTED], key=lambda each: SEVERITIES.index(each.severity))


def _control(value: Any) -> Control | None:
    given = value if isinstance(value, dict) else {}
    name, seen = _text(given.get("control"), _MAX_NAME_CHARS), _seen(given.get("seen"))
    if not name or seen is None:
        return None
    situations = tuple(_text(each, _MAX_NAME_CHARS) for each in _list(given.get("situations")))
    promised = given.get("promised") is True
    return Control(name, _number(given.get("change")), seen, tuple(filter(None, situations)), promised)


def _lost(values: Iterable[Any]) -> list[Lost]:
    """The lost points, most first; what one thing has cost in several parts of the score stands together."""
    found: dict[tuple[str, str], Lost] = {}
    for each in values:
        given = each if isinstance(each, dict) else {}
        points, why = _number(given.get("points")), _text(given.get("why"), _MAX_DETAIL_CHARS)
        finding, part = _text(given.get("finding"), _MAX_ID_CHARS), _text(given.get("part"), _MAX_NAME_CHARS)
        if not points or not why:
            continue
        known = found.get((finding, why), Lost(0, why, finding, ()))
        parts = known.parts if not part or part in known.parts else (*known.parts, part)
        found[finding, why] = known._replace(points=known.points + points, parts=parts)
    return sorted(found.values(), key=lambda each: -each.points)


def _is_once(kind: Any, seen: tuple[float, float] | None) -> bool:
    """Whether it was seen once: as the agent says; else what did not show each time, or was tried once."""
    if kind in ("finding", SEEN_ONCE):
        return bool(kind == SEEN_ONCE)
    return seen is not None and seen[0] < max(2, seen[1])


def _gestures(value: Any) -> tuple[Gesture, ...]:
    read = []
    for each in value[:MAX_INPUTS] if isinstance(value, list) else []:
        given = each if isinstance(each, dict) else {}
        at, hold, kind = _number(given.get("at")), _number(given.get("hold")), _text(given.get("kind"), _MAX_NAME_CHARS)
        if at is None or not kind:
            continue
        keys = tuple(filter(None, (_text(key, _MAX_NAME_CHARS) for key in _list(given.get("keys")))))[:_MAX_KEYS]
        name = _text(given.get("name"), _MAX_NAME_CHARS)
        read.append(Gesture(at, hold or 0, kind, name, keys, _places(kind, given)))
    return tuple(sorted(read, key=lambda gesture: gesture.at))


def _places(kind: str, given: dict[str, Any]) -> tuple[tuple[float, float], ...]:
    names = (("x", "y"), ("to_x", "to_y")) if kind == "drag" else (("x", "y"),)
    found = []
    for across, down in names:
        x, y = _number(given.get(across)), _number(given.get(down))
        if x is None or y is None:
            break
        found.append((min(1.0, x), min(1.0, y)))
    return tuple(found)


def _seen(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) < 2:
        return None
    shown, tried = _number(value[0]), _number(value[1])
    return None if shown is None or tried is None or shown > tried else (shown, tried)


def _list(value: Any) -> Sequence[Any]:
    return value[:MAX_LISTED] if isinstance(value, list) else ()


def _number(value: Any) -> float | None:
    """A number from 0 up."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= _MAX_NUMBER else None


def _text(value: Any, most: int) -> str:
    """A text on one line."""
    return " ".join(value.split())[:most] if isinstance(value, str) else ""


def _lines(value: Any, most: int) -> str:
    return value.strip()[:most] if isinstance(value, str) else ""
