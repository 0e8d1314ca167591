"""The gestures that the agent can do. Pure values; chromium/gestures.py carries them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

Box = tuple[float, float, float, float]
"""Left, top, width, height; in this file in parts of the viewport, 0 to 1."""


Keys = Literal["keys"]
Mouse = Literal["click", "drag", "move", "rightclick", "doubleclick", "wheel"]
Finger = Literal["tap", "swipe", "hold"]
Outside = Literal["resize", "blur", "focus", "hide", "show", "offline", "online"]
Kind = Keys | Mouse | Finger | Outside
"""What a gesture is: of keys or the mouse; of a finger (the mouse where the page has no touch screen); or what happens
to the page from outside. Places are its own `x, y`, and where it leads `to_x, to_y`:

`drag`, `swipe`: from the one to the other, before the first frame. `hold`: a press that is meant to be held for long.
`wheel`: at the one, by the way to the other, in viewports. `resize`: the viewport is `to_x, to_y` of its size until the
gesture ends. `blur`, `focus`, `hide`, `show`, `offline`, `online`: until another of them says otherwise.
"""
ENVIRONMENT: Final[frozenset[str]] = frozenset(get_args(Outside))
"""Those that happen to the page from outside: no game means them as its controls."""


@dataclass(frozen=True, slots=True)
class Action:
    """One gesture: keys that are held down, or a place in parts of the viewport, 0 to 1, and what is done there."""

    name: str
    kind: Kind
    keys: tuple[str, ...] = ()
    x: float = 0.5
    y: float = 0.5
    to_x: float = 0.5
    to_y: float = 0.5


@dataclass(frozen=True, slots=True)
class Group:
    """Gestures that are tried together; `title` is the group's name in the feed."""

    title: str
    actions: tuple[Action, ...]
    needs: Literal["key", "pointer"]


def key(name: str, code: str | None = None) -> Action:
    """Holds one key. `code` is Playwright's name of the key where it differs from `name`."""
    return Action(name, "keys", (code or name,))


def click(x: float, y: float, name: str = "click") -> Action:
    """Presses the pointer's main button at a place."""
    return Action(name, "click", x=x, y=y)


def wheel(x: float, y: float, down: float, name: str = "wheel") -> Action:
    """Turns the wheel at a place, `down` viewport heights downwards."""
    return Action(name, "wheel", x=x, y=y, to_x=x, to_y=y + down)


def environment(kind: Outside) -> Action:
    """What happens to the page from outside; `resize` is to half its size."""
    return Action(kind, kind)


ARROWS: Final = Group("arrow keys", tuple(map(key, ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"))), "key")
WASD: Final = Group("WASD movement", tuple(key(each, each.lower()) for each in "WASD"), "key")
SPACE: Final = Group("Space and Enter", (key("Space"), key("Enter")), "key")
_PAIRS: Final = (("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"), ("a", "d"), ("w", "s"))
OPPOSITE: Final[Mapping[str, str]] = dict(_PAIRS) | {other: one for one, other in _PAIRS}
"""A key that steers -> the one that steers the other way."""
WHOLE: Final[Box] = (0.0, 0.0, 1.0, 1.0)


def groups(box: Box) -> tuple[Group, ...]:
    """All gestures that are tried on a game that fills `box`, the likeliest first."""
    left, top, width, height = box

    def at(x: float, y: float) -> tuple[float, float]:
        return left + width * x, top + height * y

    def drag(name: str, dx: float, dy: float) -> Action:
        (x, y), (to_x, to_y) = at(0.5, 0.5), at(0.5 + dx, 0.5 + dy)
        return Action(name, "drag", x=x, y=y, to_x=to_x, to_y=to_y)

    clicks = Group(
        "clicking",
        (
            click(*at(0.5, 0.5), name="click"),
            click(*at(0.25, 0.5), name="click left"),
            click(*at(0.75, 0.5), name="click right"),
        ),
        "pointer",
    )
    x, y = at(0.75, 0.35)
    strokes = Group(
        "dragging and moving the pointer",
        (
            drag("drag left", -0.3, 0.0),
            drag("drag right", 0.3, 0.0),
            drag("drag up", 0.0, -0.3),
            drag("drag down", 0.0, 0.3),
            Action("move pointer", "move", x=x, y=y),
        ),
        "pointer",
    )
    return ARROWS, SPACE, clicks, WASD, strokes


def together(one: Action, other: Action) -> Action:
    """Two gestures with keys as one, such as running and jumping."""
    return Action(f"{one.name}+{other.name}", "keys", (*one.keys, *other.keys))


def can_join(one: Action, other: Action) -> bool:
    """Whether the two can be done together: both use keys, none twice, and none against the other."""
    keys = {*one.keys, *other.keys}
    apart = len(keys) == len(one.keys) + len(other.keys) and not any(OPPOSITE.get(key) in keys for key in keys)
    return one.kind == other.kind == "keys" and apart


def largest(boxes: Sequence[Box], viewport: tuple[int, int]) -> Box:
    """The largest box, in pixels, as parts of the viewport, clipped to it; the whole viewport if none is big.

    A canvas smaller than a twentieth of the viewport is decoration, not the game.
    """
    width, height = viewport
    best, best_area = WHOLE, 0.05
    for left, top, box_width, box_height in boxes:
        x0, y0 = max(0.0, left / width), max(0.0, top / height)
        x1, y1 = min(1.0, (left + box_width) / width), min(1.0, (top + box_height) / height)
        area = max(0.0, x1 - x0) * max(0.0, y1 - y0)
        if area > best_area:
            best, best_area = (x0, y0, x1 - x0, y1 - y0), area
    return best
