"""The problems of a game and the parts of its score, as an export lists them. Pure.

The dashboard finds them in the same way (`dashboard_ui/view/problems.js`, `coerce.js`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeGuard

from broker.contract.events import Event

MAX_PROBLEMS: Final = 100
"""Different ones that are kept: a game may put a number into each of its errors."""
_MAX_PARTS: Final = 50
_MAX_REASONS: Final = 20
_NAMES: Final = {
    "console": "Console error",
    "pageerror": "Script error",
    "request": "Failed request",
    "refused": "Refused request",
    "freeze": "Freeze",
    "crash": "Crash",
    "blank": "Blank picture",
    "test": "Failed test",
    "error": "Script error",
    "softlock": "Soft lock",
    "deadkey": "Dead control",
    "once": "Works only once",
    "asset": "Missing file",
    "slowload": "Slow load",
    "frames": "Dropped frames",
    "heap": "Growing heap",
    "left": "Leaves the page",
    "noscripts": "Never starts",
}

SEEN_ONCE: Final = "seenonce"
"""`data.kind` of what an agent has seen and could not show again."""


def kind_name(kind: Any) -> str:
    """The name of a kind of problem or finding, for a person."""
    return _NAMES.get(kind, "Problem") if isinstance(kind, str) else "Problem"


class Problem(NamedTuple):
    """A problem and how often it occurred."""

    name: str
    text: str
    times: int
    time_ms: int
    """When it occurred first, by the publisher's clock."""
    seq: int
    """Of the event that reported it first."""


class Part(NamedTuple):
    """A part of the score with its reasons."""

    name: str
    score: float
    max: float
    reasons: tuple[str, ...]


class Problems:
    """Collects the problems of a run from its events, in order."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Problem] = {}
        self.more = 0
        """How many further ones are not kept."""

    def __repr__(self) -> str:
        return f"<Problems {len(self._found)} more={self.more}>"

    @property
    def found(self) -> list[Problem]:
        """Those that were found, in the order of their first occurrence."""
        return list(self._found.values())

    def note(self, seq: int, event: Event) -> None:
        """Adds the problem that an event reports, if it reports one. The event that ends a run reports none."""
        if not event.known or event.end is not None:
            return
        kind = event.field("kind") if event.type == "progress" else None
        if event.type != "error" and (not kind or kind == SEEN_ONCE):
            return
        detail = event.field("detail")
        is_detailed = isinstance(detail, str) and detail.strip() and kind != "test"
        text = " ".join((detail if is_detailed else event.message).split())
        name = "Error" if event.type == "error" else kind_name(kind)
        known = self._found.get((name, text))
        if known is not None:
            self._found[name, text] = Problem(known.name, known.text, known.times + 1, known.time_ms, known.seq)
        elif len(self._found) < MAX_PROBLEMS:
            self._found[name, text] = Problem(name, text, 1, event.timestamp, seq)
        else:
            self.more += 1


def parts_of(metrics: Any) -> list[Part]:
    """The parts of the score in a run's metrics; those of another form are left out."""
    given = metrics.get("rubric") if isinstance(metrics, dict) else None
    parts = []
    for each in given[:_MAX_PARTS] if isinstance(given, list) else []:
        if not isinstance(each, dict):
            continue
        name, score, most, reasons = each.get("part"), each.get("score"), each.get("max"), each.get("reasons")
        if isinstance(name, str) and _is_number(score) and _is_number(most) and most > 0:
            said = reasons[:_MAX_REASONS] if isinstance(reasons, list) else []
            parts.append(Part(name, score, most, tuple(reason for reason in said if isinstance(reason, str))))
    return parts


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
