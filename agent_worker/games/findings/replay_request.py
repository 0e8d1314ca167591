"""Reading a finding of whoever has told it, to play it again. Pure. Anybody may publish one: every value is checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from agent_worker.games import actions
from agent_worker.games.actions import Action
from agent_worker.games.findings.finding import NOTHING, Kind
from agent_worker.games.inputs import FRAMES_PER_S, Inputs, Step
from agent_worker.games.screen import DESKTOP, Screen
from broker.contract.errors import BadInput

MAX_STEPS: Final = 2000
"""Ten minutes of an input every third of a second. Nobody waits for more."""
MAX_FRAMES: Final = 20 * 60 * FRAMES_PER_S
MAX_SEED: Final = 2**53
_MAX_KEYS: Final = 8
_MAX_TEXT: Final = 500
_KEY: Final = re.compile(
    r"[!-~]|Key[A-Z]|Digit\d|Numpad\d|F\d{1,2}|Arrow(?:Left|Right|Up|Down)|Space|Enter|Escape|Tab|Backspace|Delete|"
    r"Insert|Home|End|Page(?:Up|Down)|(?:Shift|Control|Alt|Meta)(?:Left|Right)?|Minus|Equal|Comma|Period|Slash|"
    r"Semicolon|Quote|Bracket(?:Left|Right)|Backquote|Backslash",
    re.ASCII,
)
_KINDS: Final = frozenset(get_args(Kind))
_GESTURES: Final = frozenset(
    kind for group in (actions.Keys, actions.Mouse, actions.Finger, actions.Outside) for kind in get_args(group)
)


@dataclass(frozen=True, slots=True)
class Replay:
    """A finding, as far as playing it again needs it."""

    kind: Kind
    title: str
    seed: int
    until: int
    inputs: Inputs = NOTHING
    signature: str = ""
    real: bool = False
    screen: Screen = DESKTOP


def read_replay(given: object) -> Replay:
    """Reads what stands in `data.finding`.

    Raises:
        BadInput: It is no finding that can be played; the message says why.
    """
    told = _mapping(given, "the finding")
    kind = told.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadInput(f"the finding's kind is {_shown(kind)}, which this version does not know")
    listed = told.get("inputs", [])
    if not isinstance(listed, list):
        raise BadInput("the finding's inputs are no list")
    if len(listed) > MAX_STEPS:
        raise BadInput(f"the finding has {len(listed)} inputs; at most {MAX_STEPS} are played")
    steps = [_step(number, each) for number, each in enumerate(listed, 1)]
    until = _whole(told.get("until", 0), "until", 0, MAX_FRAMES)
    return Replay(
        kind,  # type: ignore[arg-type]
        _text(told.get("title", "")),
        _whole(told.get("seed", 0), "seed", 0, MAX_SEED),
        until,
        Inputs().then(*steps),
        _text(told.get("signature", "")),
        told.get("real") is True,
        Screen(touch=told.get("touch") is True, portrait=told.get("portrait") is True),
    )


def _step(number: int, given: object) -> Step:
    what = f"input {number}"
    told = _mapping(given, what)
    kind = told.get("kind")
    if not isinstance(kind, str) or kind not in _GESTURES:
        raise BadInput(f"{what}: its kind is {_shown(kind)}, which this version does not know")
    keys = told.get("keys", [])
    if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
        raise BadInput(f"{what}: keys are a list of at most {_MAX_KEYS}")
    for each in keys:
        if not isinstance(each, str) or not _KEY.fullmatch(each):
            raise BadInput(f"{what}: {_shown(each)} is no key")
    at = _whole(told.get("at"), f"{what}: at", 0, MAX_FRAMES)
    hold = _whole(told.get("hold", 4), f"{what}: hold", 1, MAX_FRAMES)
    x, y = (_place(told.get(name, 0.5), f"{what}: {name}") for name in ("x", "y"))
    to_x, to_y = (_place(told.get(name, 0.5), f"{what}: {name}") for name in ("to_x", "to_y"))
    name = _text(told.get("name")) or "+".join(keys) or kind
    return Step(at, Action(name, kind, tuple(keys), x, y, to_x, to_y), hold)  # type: ignore[arg-type]


def _mapping(given: object, what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise BadInput(f"{what} is no object")
    return given


def _whole(given: object, what: str, least: int, most: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        raise BadInput(f"the finding's {what} is {_shown(given)}: expected a whole number from {least} to {most}")
    return given


def _place(given: object, what: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given) or abs(given) > 2:
        raise BadInput(f"{what} is {_shown(given)}: expected a part of the page, 0 to 1")
    return float(given)


def _text(given: object) -> str:
    return given[:_MAX_TEXT] if isinstance(given, str) else ""


def _shown(given: object) -> str:
    return ascii(given)[:60]
