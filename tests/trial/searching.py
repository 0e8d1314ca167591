"""What search reaches beside random play, in as many frames, on the demo game and on games of the trial.

`python -m tests.trial.searching demo 2048 --frames 6000`. Random play chooses gestures in the same way, goes on until a
round is over and then begins the next; it never returns to an earlier moment.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from agent_worker.games.actions import Action, click, key
from agent_worker.games.chromium.browser import Browser
from agent_worker.games.chromium.egress_proxy import judge_any
from agent_worker.games.chromium.pages import Pages
from agent_worker.games.controls.starting import get_in
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.play import search
from agent_worker.games.play.cells import Raster, signature
from agent_worker.games.play.look import Look
from agent_worker.games.play.seat import Seeded
from agent_worker.games.play.underway import Under
from tests.games.playing import Written, game_server
from tests.trial.__main__ import CACHE
from tests.trial.catalogue import games
from tests.trial.served import serving, site


class Known(NamedTuple):
    """A control, or a situation."""

    name: str
    action: Action
    hold: int = 8


class At(NamedTuple):
    """A moment to play from."""

    name: str
    inputs: Inputs
    frame: int


class Counted(search.Search):
    """A search that ends after a number of frames and counts what it sees, by one measure for both ways to play."""

    most = 0
    seen: set[int]
    first: Raster | None = None

    def _late(self) -> bool:
        return self.stage.played - self.played >= self.most

    async def _advance(self, under: Under, until: int) -> None:
        await super()._advance(under, until)
        last: Look | None = self.last
        if last is not None:
            self.first = self.first or last.raster
            self.seen.add(signature(last.raster, self.first, 16, 9))


class Wandering(Counted):
    """Random play."""

    def _begin(self) -> Under:
        going = self.going
        if going and not going.ended:
            return Under("explore", going.inputs, going.frame, going.frame, going.since)
        inputs, frame = self._root(0)
        return Under("explore", inputs, frame, frame, frame)


@contextmanager
def address(name: str, cache: Path) -> Iterator[str]:
    """Serves a game."""
    if name == "demo":
        with game_server() as server:
            yield f"{server.url}/index.html"
    else:
        with serving(site(games([name])[0], "unchanged", cache)) as url:
            yield url


async def moments(stage: Stage, name: str) -> list[At]:
    """Where to play from."""
    if name == "demo":
        return [At("playing", Inputs((Step(10, key("Space")),)), 60)]
    found = await get_in(stage, Written(), asyncio.get_running_loop().time() + 120)
    return [At(each.name, each.inputs, each.frame) for each in found.moments if each.name.startswith("play")]


def gestures(name: str) -> list[Known]:
    """The keys that a game documents, and a click."""
    keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Space"]
    if name != "demo":
        named = [each for control in games([name])[0].controls for each in control.gestures]
        keys = [each for each in keys if each in named] + [each for each in "WASD" if each in named]
    actions = [key(each, each.lower() if len(each) == 1 else None) for each in keys]
    return [Known(each.name, each) for each in actions] or [Known("click", click(0.5, 0.5))]


async def compare(pages: Pages, name: str, frames: int, seed: int, cache: Path) -> None:
    """Plays a game both ways and prints a row for each."""
    with address(name, cache) as url:
        until_s = asyncio.get_running_loop().time() + 3600
        stage = Stage(pages, GameJob("searching", url, 60.0, seed), deadline=until_s, measure_code=True)
        places = await moments(stage, name)
        for kind in (Counted, Wandering):
            stage = Stage(pages, GameJob("searching", url, 60.0, seed), deadline=until_s, measure_code=True)
            rng, written = random.Random(seed), Written()
            playing = kind(stage, gestures(name), places, rng, written.progress, Seeded(rng), until_s, search.EPISODE)
            playing.most, playing.seen = frames, set()
            began = time.monotonic()
            await playing.play(None)
            took = time.monotonic() - began
            found = playing.found()
            best = "-" if found.best is None else f"{found.best.value} ({found.best.name})"
            code = "-" if found.code is None else f"{found.code.used / max(1, found.code.total):.1%}"
            print(
                f"| {name} | {'search' if kind is Counted else 'random'} | {found.frames} | {took:.0f} "
                f"| {len(playing.seen)} | {len(playing.seen) / took:.1f} | {code} | {len(playing.code.functions)} "
                f"| {best} | {found.returns} | {len(found.overs)} |",
                flush=True,
            )


async def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("games", nargs="*", default=["demo"])
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--cache", type=Path, default=CACHE)
    given = parser.parse_args()
    print("| game | play | frames | s | pictures | a second | code | functions | best | returns | rounds |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    async with Browser(judge=judge_any, allow_root=True, ahead=False) as browser:
        for name in given.games:
            async with browser.pages() as pages:
                await compare(pages, name, given.frames, given.seed, given.cache)


if __name__ == "__main__":
    asyncio.run(main())
