"""Controls that were found, and how they are told."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_worker.games.actions import Action
from agent_worker.games.chromium import pictures
from agent_worker.games.controls.promised import Promise
from agent_worker.games.owned_time.effects import Effect, Moment
from agent_worker.games.owned_time.experiments import Broken, Determinism
from agent_worker.games.wording import doing, percent


@dataclass(slots=True)
class Control:
    """One key or gesture that does something.

    Attributes:
        name: `ArrowLeft`, `A`, `click`, `drag left`, `any key`.
        action, hold: What shows it, and for how many frames.
        effect: What it did where that was seen best; holds the pictures before and after.
        shown, tried: In how many runs it did something, of those that were made where it has an effect.
        situations: Where it does something.
        promised: The page's text names it.
    """

    name: str
    action: Action
    hold: int
    effect: Effect
    shown: int = 1
    tried: int = 1
    situations: list[str] = field(default_factory=list)
    promised: bool = False

    @property
    def change(self) -> float:
        """Part of the picture that it changed, 0 to 1."""
        return self.effect.change

    @property
    def delay(self) -> int | None:
        """Frames between its begin and the first difference; None where not each frame was compared."""
        return self.effect.first - self.effect.step.at if self.effect.within == 1 else None

    def as_json(self) -> dict[str, object]:
        """As in `data.metrics.controls`: see AGENT.md."""
        return {
            "control": self.name,
            "change": round(self.change, 4),
            "seen": [self.shown, self.tried],
            "situations": list(self.situations),
            "promised": self.promised,
        }


@dataclass(frozen=True, slots=True)
class Dead:
    """A key that the page's text promises and that did nothing wherever it was tried.

    Attributes:
        promise: What the text says.
        tries: Where, and for how many frames, it was pressed in a run of its own.
        others: Controls that did something at those moments.
        kept_away: A handler of the page keeps it from the game, and it does something where that is left out.
    """

    promise: Promise
    tries: tuple[tuple[Moment, int], ...]
    others: tuple[str, ...]
    kept_away: bool = False


@dataclass(slots=True)
class Controls:
    """What the search has found.

    Attributes:
        found: By name, in the order in which they were found.
        tried: Names of all that was tried, and in which situations.
        untried: Names of what no time was left for.
        dead: Promised keys that do nothing.
        doubtful: Keys that do nothing, of several that are promised by one name and of which others do something. Many
            games say "arrow keys" and mean two or three of them, so that this is no fault by itself.
        broken: What hung the page or ended it.
        determinism: Of the moments that were used.
    """

    found: dict[str, Control] = field(default_factory=dict)
    tried: dict[str, list[str]] = field(default_factory=dict)
    untried: list[str] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    doubtful: list[Promise] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    determinism: Determinism = field(default_factory=Determinism)


def evidence(effect: Effect) -> bytes | None:
    """The pictures without and with a gesture, side by side; None where nothing could be seen."""
    return pictures.side_by_side(effect.before, effect.after) if effect.before and effect.after else None


def told_data(control: Control) -> dict[str, object]:
    """`data` of the event that tells a control."""
    return control.as_json() | {"firstFrame": control.effect.first}


def line(control: Control) -> str:
    """A control's line in the feed."""
    times = f"{control.shown} of {control.tried} times"
    if not control.effect.seen:
        return f"{doing(control.action)} is heard and not seen ({times})"
    return f"{doing(control.action)} moves the picture ({percent(control.change)} changed, {times})"
