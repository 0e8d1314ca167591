"""What is done to a game, from its load on: gestures, each with the frame before which it begins. Pure values.

Frames count the game's own time, 60 a second. Equal inputs and an equal seed give equal frames, as far as the game is
deterministic; so a list of inputs is what saves a moment of a game, and what shows a fault again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from agent_worker.games.actions import Action

FRAMES_PER_S: Final = 60
"""Frames in a second of a game's own time."""


@dataclass(frozen=True, slots=True)
class Step:
    """One gesture: begins before frame `at`, is held for `hold` frames (at least one)."""

    at: int
    action: Action
    hold: int = 4

    @property
    def end(self) -> int:
        """The frame before which it ends."""
        return self.at + self.hold


class Edge(NamedTuple):
    """Half of a gesture: its begin or its end, before frame `at`."""

    at: int
    half: Literal["begin", "end"]
    action: Action


@dataclass(frozen=True, slots=True)
class Inputs:
    """Gestures in the order in which they begin; they may overlap."""

    steps: tuple[Step, ...] = ()

    def then(self, *steps: Step) -> Inputs:
        """These and `steps`, in order of their begin."""
        return Inputs(tuple(sorted((*self.steps, *steps), key=lambda step: step.at)))

    def before(self, frame: int) -> Inputs:
        """Those that begin before `frame` is drawn."""
        return Inputs(tuple(step for step in self.steps if step.at < frame))

    @property
    def end(self) -> int:
        """The frame before which the last gesture has ended; 0 without any."""
        return max((step.end for step in self.steps), default=0)

    def edges(self) -> list[Edge]:
        """All begins and ends, in the order in which they are done; an end comes before a begin of the same frame."""
        halves = [Edge(step.at, "begin", step.action) for step in self.steps]
        halves += [Edge(step.end, "end", step.action) for step in self.steps]
        return sorted(halves, key=lambda edge: (edge.at, edge.half == "begin"))

    def as_json(self) -> list[dict[str, object]]:
        """As `inputs` of a finding: see AGENT.md."""
        return [_step_json(step) for step in self.steps]


def read_inputs(given: Iterable[Mapping[str, Any]]) -> Inputs:
    """The inverse of `Inputs.as_json`.

    Raises:
        ValueError: One is no gesture; the message says which and why.
    """
    steps: Sequence[Step] = [_read_step(number, each) for number, each in enumerate(given)]
    return Inputs().then(*steps)


_PLACES: Final = ("x", "y", "to_x", "to_y")


def _step_json(step: Step) -> dict[str, object]:
    action = step.action
    told: dict[str, object] = {"at": step.at, "hold": step.hold, "kind": action.kind, "name": action.name}
    if action.keys:
        told["keys"] = list(action.keys)
    else:
        told |= {place: round(getattr(action, place), 4) for place in _PLACES}
    return told


def _read_step(number: int, given: Mapping[str, Any]) -> Step:
    try:
        at, hold, kind = int(given["at"]), int(given.get("hold", 4)), str(given["kind"])
        keys = tuple(str(key) for key in given.get("keys", ()))
        places = {place: float(given[place]) for place in _PLACES if place in given}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"input {number}: {error!r}") from None
    if at < 0 or hold < 1:
        raise ValueError(f"input {number}: at must be 0 or more and hold 1 or more")
    return Step(at, Action(str(given.get("name", kind)), kind, keys, **places), hold)  # type: ignore[arg-type]
