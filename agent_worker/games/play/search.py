"""Playing a game by seeded search: from where it stands, or from an earlier moment that is returned to by replay.

Equal seeds, games and policies give equal episodes: nothing is decided by the wall clock, which only says how many
episodes there are. cells.py holds the moments that were reached, rounds.py brings a game back that is over.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Final

from agent_worker.games.actions import ARROWS, SPACE, Action, click
from agent_worker.games.chromium.inspection import Coverage
from agent_worker.games.errors import PageGone, PageHung, TimeUp
from agent_worker.games.inputs import FRAMES_PER_S, Inputs, Step
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.play import goals
from agent_worker.games.play.cells import Archive, Entry, changed
from agent_worker.games.play.episodes import (
    OVER,
    RESTARTED,
    SCORE,
    STILL,
    STUCK,
    Code,
    Control,
    Episode,
    Explored,
    GameOver,
    Situation,
    Tell,
)
from agent_worker.games.play.look import Look, ended_by, look
from agent_worker.games.play.rounds import end_of_round
from agent_worker.games.play.seat import Choice, Done, Option, Policy, Seeded, View
from agent_worker.games.play.underway import TAP, Line, Pace, Tally, Under, Watch

After = Callable[[Episode], Awaitable[None]]
EPISODE: Final = 5 * FRAMES_PER_S
"""Frames of an episode."""
_ALONE: Final = 3 * FRAMES_PER_S
"""Frames for which the game is first left alone, to know what happens without input."""
_DEEPEST: Final = 30 * FRAMES_PER_S
"""Frames beyond which no moment is returned to: replaying more takes longer than an episode."""
_LONGEST: Final = 180 * FRAMES_PER_S
"""Frames after which a game that goes well is left all the same."""
_GO_ON: Final = 0.75
"""How often an episode begins where the last one ended, if that has brought something to its end."""
_GO_ON_ALL_THE_SAME: Final = 0.15
_BARREN: Final = 8
"""Gestures in a row without anything new, after which an episode ends before its time."""
_HARDLY: Final = 0.002
"""The part of the picture, 5 of its points, below which it is the same scene."""
_MAX_TRIED: Final = 2
"""Ends of rounds with an experiment; it costs two replays."""
_MANY_STILL: Final = 8
"""Looks in a row without any change, after which a restart is tried."""
_LINE_S: Final = 2.5
"""Seconds of real time between two lines in the feed."""
_ROOT: Final = 0.1
"""How often an episode begins at a situation that was given."""
_REPEAT: Final = 0.35
"""How often the last gesture is repeated and held for long: single steps lead nowhere in a large game."""
_LONG_HOLDS: Final = (12, 24, 45)
_TAPS: Final = 0.1
"""How often a gesture is done three times in quick succession."""
_WAIT: Final = 0.06
"""How often nothing is done for a moment."""
_DONE_KEPT: Final = 8
_GOAL: Final = "Reach what was not reached before: new pictures, a higher score, a longer life."


async def explore(
    stage: Stage,
    controls: Sequence[Control],
    situations: Sequence[Situation],
    seed: int,
    told: Tell,
    policy: Policy,
    until_s: float,
    *,
    frames: int = EPISODE,
    most: int | None = None,
    after: After | None = None,
) -> Explored:
    """Plays episodes until `until_s`.

    Args:
        controls: Those that were found; without any, the usual keys and clicks are tried.
        situations: Moments from which to play, the most promising first; without any, from the load on.
        told: Gets a line for the feed from time to time.
        policy: Chooses each gesture.
        until_s: On the event loop's clock. An episode that is under way then is cut.
        frames: Of each episode; one that ends a round goes on into the next.
        most: Episodes after which it ends in any case.
        after: Called with each episode; may use the stage.

    Raises:
        LoadFailed, PageGone: The game could not be opened again.
    """
    search = Search(stage, controls, situations, random.Random(seed), told, policy, until_s, frames)
    with suppress(TimeUp):
        await search.play(most, after)
    return search.found()


class Search:
    """One search in progress."""

    def __init__(
        self,
        stage: Stage,
        controls: Sequence[Control],
        situations: Sequence[Situation],
        rng: random.Random,
        told: Tell,
        policy: Policy,
        until_s: float,
        frames: int,
    ) -> None:
        self.stage, self.rng, self.told, self.policy = stage, rng, told, policy
        self.until_s, self.frames = until_s, frames
        playing = [each for each in situations if each.name.startswith("play")]
        self.situations = playing or list(situations)
        self.clock = asyncio.get_running_loop().time
        self.usual = Seeded(rng)
        known = [(each.action, getattr(each, "change", None)) for each in controls]
        common = [(each, None) for each in (*ARROWS.actions, *SPACE.actions, click(0.5, 0.5))]
        self.tallies = {action: Tally(change) for action, change in known or common}
        self.archive = Archive()
        self.scores = goals.Scoreboard()
        self.episodes: list[Episode] = []
        self.overs: list[GameOver] = []
        self.done: deque[Done] = deque(maxlen=_DONE_KEPT)
        self.under: Under | None = None
        self.going: Under | None = None
        """The last episode, from whose end the next one may go on."""
        self.entry: Entry | None = None
        """The moment that was returned to last."""
        self.last: Look | None = None
        self.over_at_start: frozenset[str] = frozenset()
        self.restart: Action | None = None
        self.pace = Pace()
        self.code = Coverage()
        self.returns = self.lasted = self.tried = 0
        self.watch = Watch()
        self.played = stage.played
        self.line = Line(self.clock())

    def found(self) -> Explored:
        """What came of it so far."""
        best, frames = self.scores.best, self.stage.played - self.played
        code = Code(self.code.used, self.code.total) if self.code.known else None
        return Explored(
            episodes=tuple(self.episodes),
            cells=len(self.archive),
            frames=frames,
            returns=self.returns,
            best=best,
            overs=tuple(self.overs),
            restart=self.restart,
            code=code,
            lasted=self.lasted,
        )

    # -- episodes -----------------------------------------------------------------------------------------

    async def play(self, most: int | None, after: After | None = None) -> None:
        """Episodes until the time is up."""
        await self._guarded(self._left_alone())
        if after is not None:
            await after(self.episodes[-1])
        while not self._late() and (most is None or len(self.episodes) < most):
            await self._guarded(self._explored())
            await self._code_reached()
            await self._tell()
            if after is not None:
                await after(self.episodes[-1])

    async def _code_reached(self) -> None:
        """Asks which of the game's functions have run. An episode in which one ran for the first time has paid."""
        if not self.stage.measure_code:
            return
        with suppress(PageHung, PageGone):
            before, self.code = self.code, await self.stage.coverage()
            if before.functions and self.code.functions - before.functions:
                self._paid()

    def _paid(self) -> None:
        """The last episode has led to what was not reached before: more of this."""
        if self.going is not None:
            self.going.better, self.going.barren = True, 0
        if self.entry is not None:
            self.entry.fruitless = 0

    def _late(self) -> bool:
        return self.clock() >= self.until_s

    async def _guarded(self, playing: Coroutine[None, None, None]) -> None:
        """Plays one episode, and keeps it however it ends."""
        try:
            await playing
        except TimeUp:
            self._keep(cut=True)
            raise
        except (PageHung, PageGone) as trouble:
            page = self.stage.page
            if self.under is None or page is None or not await page.browser_lives():
                raise
            self.under.inputs, self.under.frame = self.stage.ended_by()
            self.under.note(await ended_by(page, trouble), str(trouble))
            self.under.ended = True
            self._keep(cut=False)
            await page.break_script()
            await self.stage.open()
        else:
            self._keep(cut=self._late())

    def _keep(self, cut: bool) -> None:
        under, self.under = self.under, None
        if under is not None:
            self.lasted = max(self.lasted, under.frame - under.since)
            self.episodes.append(under.episode(cut))
            self.going = under

    async def _left_alone(self) -> None:
        """The first episode: nothing is done, so that what happens by itself is known."""
        inputs, frame = self._root(0)
        under = self.under = Under("alone", inputs, 0, frame, frame)
        await self._advance(under, frame)
        self.over_at_start = self.last.over if self.last else frozenset()
        rasters = []
        while under.frame < frame + _ALONE and not self._late():
            await self._advance(under, under.frame + 12)
            rasters += [self.last.raster] if self.last else []
        if rasters:
            self.archive.leave_out(rasters)
        self.scores.alone = under.loose
        under.ended = True  # playing begins where the situation does

    def _root(self, number: int) -> tuple[Inputs, int]:
        """One of the moments that were given to play from."""
        if not self.situations:
            return Inputs(), 1
        situation = self.situations[number]
        return situation.inputs, max(1, situation.frame)

    async def _explored(self) -> None:
        under = self.under = self._begin()
        await self._advance(under, under.frame)
        while under.frame < under.begun + self.frames and not under.ended and not self._late():
            await self._gesture(under)
            if under.barren >= _BARREN and not (under.still and self._may_revive()):
                return

    def _begin(self) -> Under:
        """Where the next episode begins: where the last one ended, or at a moment that is returned to."""
        going = self.going
        if going and not going.ended and going.frame < _LONGEST:
            chance = _GO_ON if (going.new or going.better) and going.barren < _BARREN else _GO_ON_ALL_THE_SAME
            if self.rng.random() < chance:
                return Under("explore", going.inputs, going.frame, going.frame, going.since)
        self.returns += 1
        entry = None if len(self.episodes) < 2 or self.rng.random() < _ROOT else self.archive.choose(self.rng, _DEEPEST)
        if entry is not None:
            self.entry = entry
            return Under("explore", entry.inputs, entry.frame, entry.frame, entry.since)
        number = 0 if len(self.episodes) < 2 else self.rng.randrange(max(1, len(self.situations)))
        inputs, frame = self._root(number)
        return Under("explore", inputs, frame, frame, frame)

    # -- gestures -----------------------------------------------------------------------------------------

    async def _gesture(self, under: Under) -> None:
        looks = self.policy.looks
        choice = await self._choose(under, looks)
        steps, until = self._steps(choice, under.frame, as_chosen=looks)
        self.pace.held(steps, until - under.frame)
        under.inputs = under.inputs.then(*steps)
        before, new, better = self.last, under.new, under.better
        await self._advance(under, until)
        assert before is not None and self.last is not None
        change = changed(before.raster, self.last.raster)
        gained = under.new > new or (under.better and not better)
        # Where even the scene stays as it is, there is less to hope for.
        under.barren = 0 if gained else under.barren + (2 if change < _HARDLY else 1)
        self.pace.gained(under.new - new)
        if gained and self.entry is not None:
            self.entry.fruitless = 0
        if choice.action is not None:
            self.done.append(Done(choice.action, choice.hold, change, gained))
            self.line.names.setdefault(choice.action.name)
            self._learn(choice.action, 1.0 if gained else min(0.5, 5 * change))
        await self._consider(under, self.last)

    async def _choose(self, under: Under, looks: bool) -> Choice:
        """The next gesture; without an action: nothing is done for a moment."""
        if not looks and self.done and self.rng.random() < _REPEAT:
            return Choice(self.done[-1].action, self.rng.choice(_LONG_HOLDS))
        if not looks and self.rng.random() < _WAIT:
            return Choice(None, 12)
        options = tuple(Option(each, tally.change, tally.tries, tally.gain) for each, tally in self.tallies.items())
        last = self.last
        view = View(
            _GOAL,
            options,
            frame=under.frame,
            picture=await self.stage.picture() if looks else b"",
            words=last.state.words if last else "",
            score=self.scores.counts(last.numbers) if last else None,
            done=tuple(self.done),
            left_s=max(0.0, self.until_s - self.clock()),
        )
        choice = await self.policy.choose(view)
        return choice if choice.action is not None else await self.usual.choose(view)

    def _steps(self, choice: Choice, at: int, *, as_chosen: bool) -> tuple[list[Step], int]:
        """The choice as inputs, and the frame after which the game is looked at. `as_chosen`: without taps."""
        action, hold = choice.action, max(1, choice.hold)
        if action is None:
            return [], at + hold
        if not as_chosen and hold > TAP and self.rng.random() >= self.pace.long_pays():
            hold = TAP  # a step for each press, however long: holding it takes time and brings no more
        if not as_chosen and action.kind in ("keys", "click") and self.rng.random() < _TAPS:
            return [Step(at + 6 * number, action, 3) for number in range(3)], at + 18
        return [Step(at, action, hold)], at + hold + self.rng.choice((1, 1, 4))

    def _learn(self, action: Action, gain: float) -> None:
        for each, tally in self.tallies.items():
            if each == action or each.name in action.name.split("+"):
                tally.tries += 1
                tally.gain += gain

    # -- what came of it ----------------------------------------------------------------------------------

    async def _advance(self, under: Under, until: int) -> None:
        """Plays on to a frame, and looks at the game."""
        under.frame = until
        trace = await self.stage.play(under.inputs, until)
        under.add(trace.happened)
        before, now = self.last, await look(self.stage)
        self.last = now
        best = self.scores.best
        score = self.scores.see(now.numbers, under.loose, under.inputs, until)
        under.better = under.better or self.scores.best != best is not None
        if not now.over - self.over_at_start:
            fresh = self.archive.see(now.raster, score, now.words, under.inputs, until, under.since)
            under.new += fresh
            self.line.new += fresh
        if before is None or before.frame >= until:
            return
        if score is not None and score != self.scores.counts(before.numbers):
            under.note(SCORE, str(score))
        self.watch.compare(under, before, now)

    async def _consider(self, under: Under, now: Look) -> None:
        """Brings the game back if the round has ended, or if it stands still whatever is done."""
        over = now.over - self.over_at_start
        still = self.watch.moved and under.still >= _MANY_STILL
        if not over and not still:
            return
        under.note(OVER if over else STILL, ", ".join(sorted(over)))
        self.lasted = max(self.lasted, now.frame - under.since)
        if not self._may_revive():
            under.ended = True  # nothing brought it back before: that costs more than a return
            return
        tried = self.tried < _MAX_TRIED and now.frame <= _DEEPEST
        self.tried += tried
        ending = await end_of_round(self.stage, under.inputs, now, list(self.tallies), self.restart, tried=tried)
        under.inputs, under.frame, under.still, under.barren = ending.inputs, ending.frame, 0, 0
        under.add(ending.happened)
        if over or (ending.back and ending.over.ignored):
            self.overs.append(ending.over)
        if not ending.back:
            under.note(STUCK)
            under.ended = True
            return
        under.since, under.loose = under.frame, []
        if ending.over.restart is not None:
            self.restart = ending.over.restart if over else self.restart
            under.note(RESTARTED, ending.over.restart.name)
        await self._advance(under, under.frame)

    def _may_revive(self) -> bool:
        """Whether it is worth trying to bring the game back where it stands."""
        return self.restart is not None or self.tried < _MAX_TRIED

    async def _tell(self) -> None:
        """A line for the feed, if the last one was some time ago."""
        line = self.line
        if not line.names or (self.clock() - line.at < _LINE_S and not self._late()):
            return
        self.line = Line(self.clock())
        best = self.scores.best
        await self.told(line.text(len(self.archive), None if best is None else best.value), step="play")
