"""What a page reports of itself, as values. Pure; probe.js collects it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from operator import add
from typing import Any, Final, NamedTuple

REJECTION: Final = "Unhandled rejection: "
"""Begins the detail of a `pageerror` that a promise was rejected with, and that nobody has caught."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that the agent did not ask for happened to the page.

    `kind` is `console`, `pageerror`, `request`, `refused`, `dialog`, `download`, `popup`, `left` or `crash`.
    """

    kind: str
    detail: str
    stack: str = field(default="", compare=False)
    """Of an error: where it was thrown, at most 2000 characters; the place in a script where there is no stack."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """How the page's document loaded. `finished` is false when parts of it were still loading at the end."""

    url: str
    status: int
    finished: bool
    seconds: float


class Field(NamedTuple):
    """Something to fill in or choose from, with the middle of where it stands in the main frame."""

    kind: str
    """`text`, `checkbox`, `radio`, `range`, …; `select`, `textarea`."""
    name: str
    """What it is called on the page: its label, placeholder, name or id."""
    value: str
    checked: bool
    options: tuple[str, ...]
    x: float
    y: float


class Loading(NamedTuple):
    """One load of the game, which came to its end.

    Attributes:
        seconds: Until the page's `load` event.
        idle: The part of the processors' time that was unused meanwhile, 0 to 1; None: not known.
    """

    seconds: float
    idle: float | None


@dataclass(frozen=True, slots=True)
class PageState:
    """What a page reports of itself, over all its frames. Positions are viewport pixels.

    Attributes:
        frames: Calls of requestAnimationFrame since the page began.
        listens: Kinds of input events that have a listener.
        words: The page's text, and the text that was drawn last on its canvases.
        keys: Lines of the page's text that name keys by `<kbd>` elements, with their tags.
        canvases: Left, top, width and height of the visible ones.
        buttons: Text and middle of each element that can be clicked.
        scroll: How far the page is scrolled.
        fields: What can be filled in or chosen from.
        dialogs: Texts of the dialogs that it has opened, oldest first.
    """

    frames: int = 0
    listens: frozenset[str] = frozenset()
    words: str = ""
    keys: str = ""
    canvases: tuple[tuple[float, float, float, float], ...] = ()
    buttons: tuple[tuple[str, float, float], ...] = ()
    scroll: tuple[float, float] = (0.0, 0.0)
    fields: tuple[Field, ...] = ()
    dialogs: tuple[str, ...] = ()

    @property
    def hears_keys(self) -> bool:
        """Whether keyboard events have a listener."""
        return any(kind.startswith("key") for kind in self.listens)

    @property
    def hears_pointer(self) -> bool:
        """Whether events of the mouse or of fingers have a listener, as those of links and buttons have."""
        return any(kind.startswith(("mouse", "pointer", "touch", "click")) for kind in self.listens)


@dataclass(frozen=True, slots=True)
class Loop:
    """What a page waits for: nothing of it ever comes where all are 0, unless it is given an input."""

    timers: int = 0
    frames: int = 0
    """Callbacks of animation frames."""
    tasks: int = 0
    """Messages to itself."""
    animations: int = 0

    @property
    def stopped(self) -> bool:
        """Nothing is awaited."""
        return not (self.timers or self.frames or self.tasks or self.animations)


@dataclass(frozen=True, slots=True)
class Clock:
    """What the clock of a page in owned time tells.

    Attributes:
        loop: What it waits for.
        dropped: Frames that were left out since the callbacks before took too long, in the page's own time.
        uncontrolled: What the page has used that does not follow its time; sorted.
        used: What of the clock the page has used; sorted.
        text: What its `render_game_to_text()` returns; None where it has none.
        advances: It has an `advanceTime(ms)`.
        gave_up: Kinds of loads of which one never came; sorted.
        stopped: Presses of keys that a handler of the page has kept from those after it.
    """

    loop: Loop = Loop()
    dropped: int = 0
    uncontrolled: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    text: str | None = None
    advances: bool = False
    gave_up: tuple[str, ...] = ()
    stopped: int = 0

    def beside(self, other: Clock) -> Clock:
        """Both: the clock of a page, and that of a frame of another origin in it."""
        loop = Loop(*map(add, astuple(self.loop), astuple(other.loop)))
        foreign = "frame of another origin"
        return Clock(
            loop,
            self.dropped + other.dropped,
            tuple(sorted({*self.uncontrolled, *other.uncontrolled, foreign})),
            tuple(sorted({*self.used, *other.used})),
            self.text if self.text is not None else other.text,
            self.advances or other.advances,
            tuple(sorted({*self.gave_up, *other.gave_up})),
            self.stopped + other.stopped,
        )


_MAX_NAMES = 40
_MAX_TEXT = 20_000


def read_clock(told: Any) -> Clock:
    """The clock's state from what a page answered: of any shape and size, since a page may tamper with its answers."""
    fields = told if isinstance(told, dict) else {}
    loop = fields.get("loop")
    counts = loop if isinstance(loop, dict) else {}
    text = fields.get("text")
    return Clock(
        Loop(*(_count(counts.get(name)) for name in ("timers", "frames", "tasks", "animations"))),
        _count(fields.get("dropped")),
        _names(fields.get("uncontrolled")),
        _names(fields.get("used")),
        text[:_MAX_TEXT] if isinstance(text, str) else None,
        fields.get("advances") is True,
        _names(fields.get("gaveUp")),
        _count(fields.get("stopped")),
    )


def _count(told: Any) -> int:
    return max(0, told) if isinstance(told, int) else 0


def _names(told: Any) -> tuple[str, ...]:
    given = told[:_MAX_NAMES] if isinstance(told, list) else []
    return tuple(sorted({str(name)[:80] for name in given}))


def _field(told: list[Any]) -> Field:
    kind, name, value, checked, options, x, y = told
    return Field(kind, name, value, checked, tuple(options), x, y)


def merged(reports: Sequence[dict[str, Any]]) -> PageState:
    """One state from the reports of the frames' probes, the main frame's first; empty when there is none."""
    if not reports:
        return PageState()
    main = reports[0]
    return PageState(
        frames=sum(each["frames"] for each in reports),
        listens=frozenset(kind for each in reports for kind in each["listens"]),
        words="\n".join(each["words"] for each in reports),
        keys="\n".join(each["keys"] for each in reports if each["keys"]),
        # Positions in other frames are relative to them: their canvases still count, their buttons cannot be clicked.
        canvases=tuple((box[0], box[1], box[2], box[3]) for each in reports for box in each["canvases"]),
        buttons=tuple((each["text"], each["x"], each["y"]) for each in main["buttons"]),
        scroll=(main["scroll"][0], main["scroll"][1]),
        fields=tuple(map(_field, main["fields"])),
    )
