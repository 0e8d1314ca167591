"""What a page tells of itself, as values. Pure; probe.js is where the facts come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happened to the page without being asked for.

    `kind` is `console`, `pageerror`, `request`, `refused`, `dialog`, `download`, `popup`, `left` or `crash`.
    """

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """How the page's document came in. `finished` is false when parts of it were still loading at the end."""

    url: str
    status: int
    finished: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What a page says of itself, over all its frames. Positions are viewport pixels.

    Attributes:
        frames: How often a next animation frame was asked for since the page began.
        listens: Kinds of input events somebody listens to.
        words: What is written on the page, and what was lately drawn on its canvases.
        canvases: Left, top, width and height of the visible ones.
        buttons: Text and middle of what can be clicked.
        scroll: How far the page is scrolled.
    """

    frames: int = 0
    listens: frozenset[str] = frozenset()
    words: str = ""
    canvases: tuple[tuple[float, float, float, float], ...] = ()
    buttons: tuple[tuple[str, float, float], ...] = ()
    scroll: tuple[float, float] = (0.0, 0.0)

    @property
    def hears_keys(self) -> bool:
        """Whether anybody listens to the keyboard."""
        return any(kind.startswith("key") for kind in self.listens)


def merged(told: Sequence[dict[str, Any]]) -> Facts:
    """One Facts from what the frames' probes say, the main frame's first; empty when none spoke."""
    if not told:
        return Facts()
    main = told[0]
    return Facts(
        frames=sum(each["frames"] for each in told),
        listens=frozenset(kind for each in told for kind in each["listens"]),
        words="\n".join(each["words"] for each in told),
        # Positions inside other frames are theirs, not the viewport's: their canvases count, their buttons cannot.
        canvases=tuple((box[0], box[1], box[2], box[3]) for each in told for box in each["canvases"]),
        buttons=tuple((each["text"], each["x"], each["y"]) for each in main["buttons"]),
        scroll=(main["scroll"][0], main["scroll"][1]),
    )
