"""The steps after the likely controls are known: inputs in great number, true speed, memory, using twice, playing on;
whether it stands still, how much code runs, what was too slow before, rarer inputs, rough handling."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from agent_worker.games.controls.discovery import ControlSearch
from agent_worker.games.controls.starting import Situations
from agent_worker.games.findings import detectors, heap
from agent_worker.games.findings.only_once import only_once
from agent_worker.games.inputs import FRAMES_PER_S
from agent_worker.games.model.policy import ModelPolicy, Seat
from agent_worker.games.play.episodes import Episode, Explored
from agent_worker.games.play.search import explore
from agent_worker.games.play.seat import Policy, Seeded
from agent_worker.games.play.stress import MANY, Stress, applicable, stress
from agent_worker.games.realtime.stretch import true_speed
from agent_worker.games.run import gathering, suspicions
from agent_worker.games.run.course import FOR_FINDINGS, Course

LEAST_PLAY: Final = 0.1
"""Part of a run that is played on, however long the controls have taken."""
MOST_FOR_MANY: Final = 0.12
"""Part of a run that inputs in great number may take before anything else is played."""
FOR_MANY: Final = 0.4
"""Part of the time that is left then in which what they have shown is shown again."""
MOST_FOR_HEAP: Final = 0.12
"""Part of a run that measuring the memory may take before playing; where more is needed, it comes afterwards."""
MOST_FOR_TWICE: Final = 0.35
"""Part of the time that is then left until playing ends in which the controls are used again, or `LEAST_FOR_TWICE`."""
LEAST_FOR_TWICE: Final = 0.08
"""Part of a run. A control for which that is not enough is used again after playing."""
MORE_FOR_TWICE: Final = 0.15
"""Part of a run that may be added where a control has done nothing the second time, so that it can be shown."""
MOST_FOR_CODE: Final = 10 * FRAMES_PER_S
"""Frames that are played to measure the code that runs: measuring makes a game three times as slow."""


class Further:
    """The steps of one run from there on.

    Args:
        model: Chooses gestures; None: the search alone does.
    """

    def __init__(
        self, course: Course, situations: Situations, search: ControlSearch, model: ModelPolicy | None
    ) -> None:
        self.course, self.situations, self.search, self.model = course, situations, search, model
        self.stage, self.live, self.plan, self.summary = course.stage, course.live, course.plan, course.summary
        self.controls = search.result()
        self.playing = [each for each in self.controls.found.values() if "playing" in each.situations]
        self.measured = False
        """Whether its memory grows is known."""
        self.to_use_again = detectors.uses(suspicions.working(self.controls, situations))
        """Controls of which it is not known yet whether they work more than once."""
        self.stresses = applicable(self.stage)
        """Those that were not tried yet."""

    async def all(self) -> None:
        """One after another; each ends when its time is over, or when the page is lost in it."""
        course, budget_s = self.course, self.plan.findings_by
        await course.guarded(self.stress(MANY, course.clock() + MOST_FOR_MANY * budget_s, FOR_MANY))
        await course.guarded(self.at_true_speed())
        heap_s = MOST_FOR_HEAP * budget_s
        if self.situations.playing and self.stage.needs_s(self.situations.playing[0].frame + heap.FRAMES) < heap_s:
            await course.guarded(self.measure_heap(course.clock() + heap_s))
        left_s = course.at(self.plan.explore_by) - course.clock()
        twice_s = max(MOST_FOR_TWICE * left_s, LEAST_FOR_TWICE * budget_s)
        until_s = course.clock() + twice_s
        await course.guarded(self.use_twice(until_s, until_s + MORE_FOR_TWICE * budget_s))
        explored = await course.guarded(self.explore())
        if explored is not None:
            gathering.of_explored(self.summary, explored)
            await course.consider(suspicions.of_episodes(explored.episodes, self.controls))
            await course.guarded(self.stand_still(explored))
            await course.guarded(self.measure_code(explored))
        if not self.measured:
            await course.guarded(self.measure_heap(course.at(self.plan.rest_by)))
        await course.guarded(self.use_twice(course.at(self.plan.rest_by)))
        await course.guarded(self.rarer_inputs())
        await course.guarded(self.stress(self.stresses, course.at(self.plan.stress_by)))
        self.live.doing = ""
        self.say_what_is_unknown()

    def say_what_is_unknown(self) -> None:
        """What no time was left for, where the steps themselves do not say it."""
        if not self.measured:
            why = "it plays too slowly here to find out in time" if self.situations.playing else "it was not played"
            self.summary.miss("stability", f"whether its memory grows: {why}")
        if self.to_use_again:
            names = gathering.named(use.action.name for use in self.to_use_again)
            self.summary.miss("controls", f"whether these work more than once, for want of time: {names}")
        if self.summary.coverage is None:
            self.summary.miss("playability", "how much of its code runs")
        if self.stresses:
            names = gathering.named(each.name for each in self.stresses)
            self.summary.miss("stability", f"what these do to it, for want of time: {names}")

    async def at_true_speed(self) -> None:
        """Plays for a few seconds without owning the game's time."""
        if not self.plan.real_s or self.course.clock() + self.plan.real_s > self.course.at(self.plan.real_by):
            self.summary.miss("visuals", "how smoothly it runs at true speed: no time was left for it")
            return
        self.live.doing = "Playing at true speed"
        delays = [control.delay for control in self.playing if control.delay is not None]
        self.stage.page = None
        found, page = await true_speed(
            self.course.pages,
            self.course.job.game_url,
            self.stage.screen,
            self.situations.begun_by,
            [control.action for control in self.playing],
            seconds=self.plan.real_s,
            load_s=self.plan.load_s,
            deadline=self.course.started + self.plan.end_s,
            frames_to_effect=max(1, min(delays)) if delays else None,
            show=self.live.show_picture,
        )
        await self.stage.note(page.incidents())
        gathering.of_stretch(self.summary, found)
        await self.live.progress(found.line(), step="true speed")
        if found.drops_frames:
            await self.course.consider([gathering.frames(found)])

    async def measure_heap(self, until_s: float) -> None:
        """Sees whether the game's memory grows while it is played."""
        if not self.situations.playing:
            return
        self.live.doing = "Measuring its memory"
        moment = self.situations.playing[0]
        gestures = [control.action for control in self.playing]
        self.measured = True  # also where it hangs meanwhile, which is told
        found = await heap.measure(self.stage, moment.inputs, moment.frame, gestures, until_s)
        if found is None:
            self.measured = False
            return
        gathering.of_heap(self.summary, found)
        if found.leaks:
            await self.course.consider([gathering.leak(found)])

    async def use_twice(self, until_s: float, last_s: float = 0.0) -> None:
        """Looks for controls that work only once."""
        self.live.doing = "Using the controls again"
        await self.course.consider(await only_once(self.stage, self.to_use_again, until_s, last_s))

    async def rarer_inputs(self) -> None:
        """Tries what the game hardly means."""
        self.live.doing = "Trying what is hardly meant"
        await self.search.rest(self.course.at(self.plan.rest_by))
        await self.course.searched(self.search)

    async def stand_still(self, explored: Explored) -> None:
        """Looks whether anything still changes the game where playing has ended."""
        self.live.doing = "Seeing whether it still reacts"
        known = [control.action for control in self.controls.found.values()]
        until = self.course.at(self.plan.standing_by)
        await self.course.consider(await detectors.standing(self.stage, suspicions.ends(explored), known, until))

    async def measure_code(self, explored: Explored) -> None:
        """Plays what has reached the most again, to see how much of the code that runs."""
        stage = self.stage
        self.summary.uncontrolled = list(await stage.uncontrolled())
        short = [each for each in explored.episodes if each.until <= MOST_FOR_CODE]
        best = max(short, key=lambda each: (each.new, -each.until), default=None)
        if best is None or self.course.clock() > self.course.at(self.plan.rest_by):
            return
        self.live.doing = "Measuring how much of its code runs"
        stage.measure_code, stage.page = True, None
        try:
            await stage.play(best.inputs, best.until)
            found = await stage.coverage()
        finally:
            stage.measure_code, stage.page = False, None
        self.summary.coverage = {"used": found.used, "total": found.total}

    async def explore(self) -> Explored:
        """Plays on by seeded search."""
        self.live.doing = "Playing"
        chooser: Policy = Seeded(random.Random(self.course.job.seed))
        if self.model is not None:
            chooser = Seat(self.model, chooser, self.live.progress)
        return await explore(
            self.stage,
            list(self.controls.found.values()),
            self.situations.moments,
            self.course.job.seed,
            self.live.progress,
            chooser,
            max(self.course.at(self.plan.explore_by), self.course.clock() + LEAST_PLAY * self.plan.findings_by),
            after=self.see_again,
        )

    async def see_again(self, episode: Episode) -> None:
        """Shows again at once what may be wrong in an episode and was not suspected before: nothing is worth more."""
        found = suspicions.of_episodes([episode], self.controls)
        if any(map(self.course.reporter.is_new, (*found, *self.stage.suspects))):
            await self.course.consider(found)

    async def stress(self, stresses: Sequence[Stress], until_s: float, share: float = FOR_FINDINGS) -> None:
        """Treats the game roughly. What the agent causes by it is neither counted nor told."""
        self.live.doing = "Treating it roughly"
        self.stage.quiet = True
        try:
            found = list(self.controls.found.values())
            moments = self.situations.moments
            episodes = await stress(self.stage, found, moments, self.live.progress, until_s, stresses)
        finally:
            self.stage.quiet = False
        suspects = suspicions.of_stress(episodes, self.controls, self.course.job.game_url)
        tried = {episode.name for episode in episodes}
        self.stresses = [each for each in self.stresses if each.name not in tried]
        await self.course.consider(suspects, share)
