"""What is tried on a game to find its controls, the likeliest first. Pure.

A control has one name for each key or gesture: `ArrowLeft`, `A`, `Space`, `click`, `click "Start"`, `drag left`,
`move pointer`. Two clicks at different places of a canvas are one control.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal

from agent_worker.games.actions import Action, Box, click, key, largest
from agent_worker.games.chromium.page_state import PageState

ARROWS: Final = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
USUAL: Final = (*ARROWS, "Space", "Enter", *"WASD")
"""Keys that games are played with, tried on each."""
RARER: Final = (
    *("Escape", *"PMNRHJKLZXCVBFGQEIOTUY", *"1234567890", "Shift", "Control", "Tab", "Backspace"),
    *("F1", "F2", "F3", "F4"),
)
"""Keys that some games know, tried many in one run."""
NO_KEY: Final = key("F9")
"""A key that no game means: what it does, any key does."""
RARELY_ALONE: Final = frozenset({"Tab", "Backspace", "F1", "F2", "F3", "F4"})
"""Keys that libraries name and games hardly mean: tried among others."""
MODIFIERS: Final = ("Shift", "Control", "Space", *"ZXCJK")
"""Keys that may do something only together with another one."""
MAX_KNOWN: Final = 24
"""A script that names more keys is a library with a table of them, and says nothing of the game."""
_CODES: Final = {
    8: "Backspace",
    9: "Tab",
    13: "Enter",
    16: "Shift",
    17: "Control",
    27: "Escape",
    32: "Space",
    37: "ArrowLeft",
    38: "ArrowUp",
    39: "ArrowRight",
    40: "ArrowDown",
    188: ",",
    190: ".",
    219: "[",
    221: "]",
    **{code: chr(code) for code in (*range(48, 58), *range(65, 91))},
    **{96 + digit: str(digit) for digit in range(10)},
    **{112 + number: f"F{number + 1}" for number in range(4)},
}
"""`KeyboardEvent.keyCode` -> a control's name."""
_WORDS: Final = {
    "spacebar": "Space",
    "space": "Space",
    " ": "Space",
    "enter": "Enter",
    "return": "Enter",
    "tab": "Tab",
    "escape": "Escape",
    "esc": "Escape",
    "backspace": "Backspace",
    "comma": ",",
    "period": ".",
    "shift": "Shift",
    "shiftleft": "Shift",
    "shiftright": "Shift",
    "ctrl": "Control",
    "control": "Control",
    "controlleft": "Control",
    "controlright": "Control",
    "bracketleft": "[",
    "bracketright": "]",
    **{f"arrow{way}": f"Arrow{way.capitalize()}" for way in ("left", "right", "up", "down")},
}
"""A key's name in scripts, in lower case -> a control's name."""

_NAMED: Final = re.compile(
    r"""["'`](Arrow(?:Left|Right|Up|Down)|Key[A-Z]|(?:Digit|Numpad)\d|Space(?:bar)?|Enter|Escape|Esc|Tab|Backspace|"""
    r"""(?:Shift|Control)(?:Left|Right)?|Bracket(?:Left|Right)|Comma|Period|F[1-4])["'`]"""
)
_FIELD: Final = re.compile(r"[{,\s](Arrow(?:Left|Right|Up|Down)|Key[A-Z]|Digit\d|Space|Enter|Escape|ShiftLeft)\s*:")
_COMPARED: Final = re.compile(
    r"""(?:\bkey|\bcode|\.key|\.code|to(?:Lower|Upper)Case\(\)|case)\s*(?:===?|\s)\s*["'`]([A-Za-z0-9 ,.\[\]])["'`]"""
)
_INDEXED: Final = re.compile(
    r"""\b(?:keys?|pressed|down|held|input|keyboard|KEYS?)\w*(?:\[["'`]([a-z0-9 ])["'`]\]|\.([wasdpnrmzxcqef])\b)"""
)
_TABLE: Final = re.compile(r"""[{,]\s*["'`]?([a-z0-9 ])["'`]?\s*:\s*["'`]?\w""")
_NUMBERED: Final = re.compile(
    r"(?:keyCode|which|charCode|\bcode|\bkey)\)?\s*={2,3}\s*(\d{1,3})\b|\b(\d{1,3})\s*={2,3}\s*\w+\.(?:keyCode|which)"
)
_CASES: Final = re.compile(r"\bcase\s+(\d{1,3})\s*:")
_MAPPED: Final = re.compile(r"(?:[{,]|^)\s*(\d{2,3})\s*:", re.MULTILINE)
"""An entry of a table by key codes, as `37: "left"`."""
_PHASER: Final = re.compile(
    r"""KeyCodes?\.([A-Z]+)\b|["'`]key(?:down|up)-([A-Za-z]+)["'`]|addKeys?\(\s*["'`]([A-Za-z, ]+)["'`]"""
)
_CURSORS: Final = re.compile(r"\bcreateCursorKeys\s*\(\s*\)")


def action_of(control: str) -> Action:
    """The gesture of a key's control. Letters are pressed without Shift."""
    return key(control, control.lower() if len(control) == 1 else control)


def known_keys(sources: Iterable[str]) -> tuple[str, ...]:
    """The keys that a page's scripts name, the most often named first. A script that names very many says nothing."""
    total: Counter[str] = Counter()
    for source in sources:
        named = _named_in(source)
        if len(named) <= MAX_KNOWN:
            total += named
    return tuple(name for name, _ in total.most_common())


def _named_in(source: str) -> Counter[str]:
    named: Counter[str] = Counter()
    for match in (
        *_NAMED.finditer(source),
        *_FIELD.finditer(source),
        *_COMPARED.finditer(source),
        *_INDEXED.finditer(source),
    ):
        named[_control(next(filter(None, match.groups())))] += 1
    for match in _NUMBERED.finditer(source):
        named[_CODES.get(int(match[1] or match[2]), "")] += 1
    if re.search(r"\b(?:keyCode|which)\b", source):
        for match in (*_CASES.finditer(source), *_MAPPED.finditer(source)):
            named[_CODES.get(int(match[1]), "")] += 1
    for match in _PHASER.finditer(source):
        for name in re.split(r"[, ]+", match[1] or match[2] or match[3]):
            named[_control(name)] += 1
    if _CURSORS.search(source):
        named.update((*ARROWS, "Space", "Shift"))
    del named[""]
    return named


def _control(name: str) -> str:
    """A control's name for a key as scripts name it; empty for what is none."""
    short = re.sub(r"^(?:Key|Digit|Numpad)(?=[A-Z0-9]$)", "", name)
    if short.lower() in _WORDS:
        return _WORDS[short.lower()]
    if short.upper() in ("LEFT", "RIGHT", "UP", "DOWN"):
        return f"Arrow{short.capitalize()}"
    return short.upper() if re.fullmatch(r"[A-Za-z0-9]|F[1-4]|[,.\[\]]", short) else ""


def keys(promised: Sequence[str], known: Sequence[str]) -> tuple[list[Action], list[Action]]:
    """All keys that are tried: the likely ones, best first, and those that only few games know.

    Args:
        promised: Controls that the page's text names.
        known: Those that its scripts name.
    """
    likely = dict.fromkeys((*promised, *(each for each in USUAL if each in known), *known))
    if not known:
        likely |= dict.fromkeys(USUAL)
    rest = dict.fromkeys(each for each in (*USUAL, *RARER) if each not in likely)
    return [action_of(each) for each in likely], [action_of(each) for each in rest]


# -- the pointer --------------------------------------------------------------------------------------------------

_GRID: Final = ((0.5, 0.5), (0.3, 0.5), (0.7, 0.5), (0.5, 0.3), (0.5, 0.75), (0.2, 0.2), (0.8, 0.8))
_ENDS: Final = re.compile(r"\b(quit|exit|github|source|twitter|about|credits|privacy|terms|download|share)\b", re.I)


def buttons(state: PageState, viewport: tuple[int, int]) -> list[Action]:
    """Clicks on what the page offers for clicking, without what leads away from the game. One for each text."""
    width, height = viewport
    found = {
        text: click(x / width, y / height, f'click "{text[:24]}"')
        for text, x, y in reversed(state.buttons)
        if not _ENDS.search(text)
    }
    return list(reversed(found.values()))


def clicks(
    state: PageState, viewport: tuple[int, int], spots: Sequence[tuple[float, float]] = (), *, finger: bool = False
) -> list[Action]:
    """Clicks on a grid over the game, its middle first, or taps of a finger: all of them one control.

    Args:
        spots: Places that are more promising, in parts of the viewport.
    """
    left, top, width, height = box_of(state, viewport)
    made = Action("tap", "tap") if finger else click(0.5, 0.5)
    places = [*spots, *((left + width * x, top + height * y) for x, y in _GRID)]
    return [replace(made, x=x, y=y) for x, y in places[: len(_GRID)]]


def strokes(
    state: PageState, viewport: tuple[int, int], spots: Sequence[tuple[float, float]] = (), *, finger: bool = False
) -> list[Action]:
    """Drags over the game, or swipes of a finger, in four directions; from the first of `spots`, else its middle."""
    left, top, width, height = box_of(state, viewport)
    x, y = spots[0] if spots else (left + width / 2, top + height / 2)
    ways = {"left": (-0.3, 0.0), "right": (0.3, 0.0), "up": (0.0, -0.3), "down": (0.0, 0.3)}
    kind: Literal["swipe", "drag"] = "swipe" if finger else "drag"
    return [
        Action(f"{kind} {way}", kind, x=x, y=y, to_x=_within(x + width * dx), to_y=_within(y + height * dy))
        for way, (dx, dy) in ways.items()
    ]


def _within(part: float) -> float:
    return min(0.99, max(0.01, part))


def moves(state: PageState, viewport: tuple[int, int]) -> list[Action]:
    """The pointer at places of the game, without its button."""
    left, top, width, height = box_of(state, viewport)
    return [
        Action("move pointer", "move", x=left + width * x, y=top + height * y) for x, y in ((0.75, 0.35), (0.3, 0.6))
    ]


def rarer_gestures(
    state: PageState, viewport: tuple[int, int], spots: Sequence[tuple[float, float]] = ()
) -> list[Action]:
    """What few games mean: at the first of `spots`, else in the middle of the game."""
    left, top, width, height = box_of(state, viewport)
    x, y = spots[0] if spots else (left + width / 2, top + height / 2)
    return [
        Action("wheel", "wheel", x=x, y=y, to_x=x, to_y=y + 0.3),
        Action("right click", "rightclick", x=x, y=y),
        Action("double click", "doubleclick", x=x, y=y),
    ]


def long_press(place: Action) -> Action:
    """The button or a finger where a click or a tap would be, held for longer."""
    return Action("long press", "hold", x=place.x, y=place.y)


def box_of(state: PageState, viewport: tuple[int, int]) -> Box:
    """The game's place in parts of the viewport: its largest canvas, or all of it."""
    return largest(state.canvases, viewport)


def typed(letter: str) -> Action:
    """A letter as it is typed into a field."""
    return Action(f"type {letter}", "keys", (letter,))
