"""What a page offers for beginning a game: prompts, buttons, fields for a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from agent_worker.games.actions import Action, click, key
from agent_worker.games.chromium.page_state import PageState
from agent_worker.games.controls import candidates
from agent_worker.games.controls.promised import promised
from agent_worker.games.policy import without_marks

PLAYER: Final = "Player"
"""What is typed where a page asks for a name."""
LOADING: Final = re.compile(r"\b(?:loading|please wait|wird geladen|chargement|cargando|caricamento|загрузка)\b", re.I)
_BEGIN: Final = re.compile(
    r"\b(?:start|play|begin|new game|tap|click|go|continue|easy|normal|single[ -]?player|1 player|level 1|spielen"
    r"|jouer|jugar|giocare|jogar|играть|ok|next|skip|enter|join|submit)\b|开始|開始|スタート|시작",
    re.I,
)
_RESTART: Final = re.compile(
    r"\b(?:again|restart|retry|new game|replay|continue|start|play|resume|reset)\b|重新|再来|もう一度|다시", re.I
)
_PROMPT: Final = re.compile(
    r"\b(?:(?:press|hit|tap|click|push|touch)\b.{0,40}\b(?:start|begin|play|continue)\b"
    r"|(?:click|tap|touch) (?:any|here|the screen|to)\b|any key\b|(?:space|enter) to (?:start|begin|play|continue)\b)",
    re.I,
)
_POINTED: Final = re.compile(r"\b(?:click|tap|touch)\b", re.I)
_ITEM: Final = re.compile(
    r"\W*(?:(?:re)?start(?: game)?|(?:new|start|play)(?: a| the)? game|play(?: now)?|begin|continue|"
    r"single[ -]?player)\W*",
    re.I,
)
_CONSENT: Final = re.compile(
    r"^(?:accept|agree|i agree|allow|ok(?:ay)?\b|got it|yes\b|i am (?:over|at least)|"
    r"close\b|dismiss|\u00d7|\u2715|no,? thanks)",
    re.I,
)


_TURN: Final = re.compile(
    r"\b(?:rotate|turn|flip) (?:your |the )?(?:device|phone|screen|tablet|mobile)\b|\bin portrait\b"
    r"|\bportrait (?:mode|orientation|only)\b",
    re.I,
)


def asked(state: PageState) -> frozenset[str]:
    """What a page asks for before it goes on: its prompts, and the names of its buttons that begin or accept."""
    lines = {line.strip() for line in without_marks(state.words).split("\n")}
    prompts = {line for line in lines if _PROMPT.search(line) or _ITEM.fullmatch(line)}
    return frozenset(prompts | {text for text, _, _ in state.buttons if _BEGIN.search(text) or _CONSENT.search(text)})


def prompted(state: PageState) -> frozenset[str]:
    """The gestures that its prompts name: `Enter` of "Press Enter to start", `click` of "Click to play"."""
    asks = [match[0].lower() for match in _PROMPT.finditer(without_marks(state.words))]
    named = [each for each in promised(state.words) if each.when == "title" or _PROMPT.search(each.quote)]
    keys = {each.key for each in named if not each.group}
    clicks = {name for each in asks if _POINTED.search(each) for name in ("click", "tap")}
    any_key = {name for each in asks if "any key" in each for name in ("Space", "Enter")}
    return frozenset(keys | clicks | any_key)


def starters(state: PageState, viewport: tuple[int, int]) -> list[Action]:
    """What may begin a game: what the page names first, then what games usually wait for."""
    named = [promise for promise in promised(state.words) if promise.when in ("title", "over", "", "sometimes")]
    keys = [candidates.action_of(promise.key) for promise in named if not promise.group]
    usual = [key("Space"), key("Enter"), *candidates.clicks(state, viewport, finger=for_fingers(state))[:1]]
    letters = [candidates.action_of(each) for each in ("N", "S", "P", "R")]
    offered = [*_offered(state, _CONSENT, viewport), *_offered(state, _BEGIN, viewport)]
    return _each_once([*offered, *keys, *usual, *letters, *candidates.buttons(state, viewport)])


def restarters(state: PageState, begun_by: Sequence[Action], viewport: tuple[int, int]) -> list[Action]:
    """What may bring a round back."""
    named = [promise for promise in promised(state.words) if promise.when in ("title", "over", "")]
    keys = [candidates.action_of(promise.key) for promise in named if not promise.group]
    usual = [key("Space"), key("Enter"), *candidates.clicks(state, viewport, finger=for_fingers(state))[:1]]
    usual.append(candidates.action_of("R"))
    return _each_once([*keys, *_offered(state, _RESTART, viewport), *reversed(begun_by), *usual])


def _offered(state: PageState, wanted: re.Pattern[str], viewport: tuple[int, int]) -> list[Action]:
    every = candidates.buttons(state, viewport)
    return [each for each in every if wanted.search(each.name.removeprefix('click "').removesuffix('"'))]


def _each_once(actions: Iterable[Action]) -> list[Action]:
    found: dict[str, Action] = {}
    for action in actions:
        found.setdefault(action.name, action)
    return list(found.values())


def fields(state: PageState, viewport: tuple[int, int]) -> list[Action]:
    """Clicks into the empty fields for text that a page shows."""
    width, height = viewport
    empty = [each for each in state.fields if each.kind in ("text", "search", "textarea") and not each.value]
    return [click(each.x / width, each.y / height, "type a name") for each in empty]


def asks_to_turn(state: PageState) -> bool:
    """Whether a page asks for its screen to be turned."""
    return _TURN.search(state.words) is not None


def for_fingers(state: PageState) -> bool:
    """Whether a page listens to a touch screen and to nothing else."""
    touched = any(kind.startswith("touch") for kind in state.listens)
    return touched and not any(kind.startswith(("mouse", "pointer", "key", "click")) for kind in state.listens)
