"""One look at a game in owned time: a coarse picture, its words and numbers, and whether its loop runs.

A look costs a few milliseconds. Search decides by it where something new was reached; nothing is claimed from it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.page_state import PageState
from agent_worker.games.errors import PageGone, PageHung
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.play.cells import HEIGHT, WIDTH, Raster, flat
from agent_worker.games.play.episodes import GONE, HUNG, LOST
from agent_worker.games.play.goals import Reading, over_words, plain_words, readings

_LOOK: Final = Path(__file__).with_name("look.js").read_text()


@dataclass(frozen=True, slots=True)
class Look:
    """What a game shows after a frame."""

    frame: int
    raster: Raster
    state: PageState
    numbers: Mapping[str, Reading]

    @property
    def over(self) -> frozenset[str]:
        """The phrases that say that a round has ended."""
        return over_words(self.state.words)

    @property
    def words(self) -> int:
        """Equal for equal words, whatever the numbers between them."""
        return hash(tuple(sorted(map(_number, plain_words(self.state.words)))))

    @property
    def blank(self) -> bool:
        """Whether nothing is shown, neither a picture nor a word."""
        return flat(self.raster) and not self.state.words.strip()


def _number(word: str) -> int:
    # `hash` of a text differs from process to process.
    return int.from_bytes(word.encode()[:24], "big")


async def look(stage: Stage) -> Look:
    """Looks at the game as it stands.

    Raises:
        PageHung, PageGone, TimeUp: The page does not answer.
    """
    assert stage.page is not None
    state = await stage.state()
    told = await stage.page.ask(_LOOK, "looking at it")
    raster, text = _read(told)
    return Look(stage.frame, raster, state, readings(state.words, text))


def _read(told: Any) -> tuple[Raster, str | None]:
    """What look.js answered; a page that tampers with what makes the answer shows nothing."""
    fields = told if isinstance(told, dict) else {}
    seen, text = fields.get("seen"), fields.get("told")
    try:
        raster = base64.b64decode(seen if isinstance(seen, str) else "")
    except ValueError:
        raster = b""
    fits = len(raster) == WIDTH * HEIGHT
    return raster if fits else bytes(WIDTH * HEIGHT), text if isinstance(text, str) else None


async def ended_by(page: Page, trouble: PageHung | PageGone) -> str:
    """The kind of event that has ended an episode: `HUNG`, `GONE`, or `LOST` where the page answers all the same."""
    if isinstance(trouble, PageHung):
        return HUNG
    try:
        await page.ask("1", "asking whether it lives")
    except (PageHung, PageGone):
        return GONE
    return LOST
