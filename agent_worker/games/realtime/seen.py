"""What a run in real time has seen, and what the judge makes of it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Seen:
    """What a run in real time has seen so far. Times in seconds, changes in parts of the picture."""

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


def unknowns(found: Seen) -> list[str]:
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


def controls_line(found: Seen) -> str:
    """The result of the search for controls, for the feed."""
    line = f"{len(found.controls)} of {len(found.tried)} gestures work: {', '.join(found.controls)}"
    if not found.controls:
        line = f"None of {len(found.tried)} gestures visibly does anything"
        if found.restless:
            line += ": the picture moves too much by itself to tell"
    return line + (f"; no time to try {len(found.untried)} more" if found.untried else "")
