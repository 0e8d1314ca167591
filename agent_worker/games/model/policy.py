"""The model in the seat for one run: it chooses while its budget lasts, and the search chooses in its place.

The model takes at most half of the time: after an answer that took a while, the search chooses alone for as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, NamedTuple

from agent_worker.games.model.budget import Budget
from agent_worker.games.model.endpoint import RESTS, Endpoint, ModelTrouble
from agent_worker.games.model.prompt import one_line
from agent_worker.games.play.seat import Choice, Policy, View

LEAST_S: Final = 1.0
"""With less time left no model is asked: hardly one sees a picture and answers in it."""
MAX_NAME_CHARS: Final = 60
"""Of a gesture's name in the feed, which a page may have written."""

Tell = Callable[[str], Awaitable[None]]
"""Writes a line into the run's feed."""


class ModelStatistics(NamedTuple):
    """What the model has done in a run."""

    name: str
    choices: int
    """Gestures that it chose and that were allowed."""
    fallbacks: int
    """Times that it was asked and the search had to choose."""
    input_tokens: int
    output_tokens: int
    reason: str | None
    """Why the search had to choose: what became of the last call that failed, or else why none was made. None: each
    call brought a choice, or none was due."""

    def as_json(self) -> dict[str, object]:
        """As `metrics.model` of a run's verdict."""
        told: dict[str, object] = {"name": self.name, "choices": self.choices, "fallbacks": self.fallbacks}
        told |= {"inputTokens": self.input_tokens, "outputTokens": self.output_tokens}
        return told | ({"reason": self.reason} if self.reason else {})


class ModelPolicy:
    """The model as a policy that makes no choice where it cannot. See `Policy`."""

    def __init__(self, endpoint: Endpoint) -> None:
        settings = endpoint.settings
        self._endpoint = endpoint
        self._budget = Budget(settings.calls, settings.tokens)
        self._choices = 0
        self._fallbacks = 0
        self._reason: str | None = None

    def __repr__(self) -> str:
        return f"<ModelPolicy {self._endpoint.settings.name} choices={self._choices} {self._budget!r}>"

    @property
    def name(self) -> str:
        """What the endpoint calls the model."""
        return self._endpoint.settings.name

    @property
    def looks(self) -> bool:
        """See `Policy`."""
        return self.away is None

    @property
    def away(self) -> str | None:
        """Why it is not to be asked now, in words; None: it is."""
        return self._budget.spent or (RESTS if self._endpoint.rests else None)

    async def choose(self, view: View) -> Choice:
        """One of the view's options, or no action and why."""
        try:
            choice = await self._endpoint.ask(view, self._budget)
        except ModelTrouble as trouble:
            return self.passed_over(str(trouble), asked=trouble.asked)
        if choice.action is None:
            return self.passed_over("it made no choice", asked=True)
        self._choices += 1
        return choice

    def passed_over(self, why: str, *, asked: bool) -> Choice:
        """Notes why the search has to choose, and returns that as a choice. `asked`: a call was made for it."""
        self._fallbacks += asked
        if asked or self._reason is None:
            self._reason = why
        return Choice(None, reason=why)

    def statistics(self) -> ModelStatistics:
        """A copy of what was counted so far."""
        tokens = (self._budget.input_tokens, self._budget.output_tokens)
        return ModelStatistics(self.name, self._choices, self._fallbacks, *tokens, self._reason)


class Seat:
    """The model, and the search where the model makes no choice. It is a `Policy` that always makes one if `own` does.

    Args:
        model: chooses where it can.
        own: chooses otherwise: the search's own policy.
        tell: is told once that a model plays, and once that the search has had to take its place.
        clock: seconds of real time; None: the event loop's.
    """

    def __init__(self, model: ModelPolicy, own: Policy, tell: Tell, clock: Callable[[], float] | None = None) -> None:
        self.model = model
        self._own = own
        self._tell = tell
        self._told: set[str] = set()
        self._clock = clock or asyncio.get_running_loop().time
        self._alone_until_s = 0.0

    def __repr__(self) -> str:
        return f"<Seat {self.model!r} else {self._own!r}>"

    @property
    def looks(self) -> bool:
        """See `Policy`."""
        return self._clock() >= self._alone_until_s and self.model.looks

    async def choose(self, view: View) -> Choice:
        """See `Policy`."""
        if (away := self.model.away) is not None:
            choice = self.model.passed_over(away, asked=False)
        elif self._clock() < self._alone_until_s or view.left_s < LEAST_S or not view.picture:
            return await self._own.choose(view)
        else:
            choice = await self._asked(view)
        if choice.action is not None:
            return choice
        await self._once(f"The search chooses in place of the model {self.model.name}: {choice.reason}")
        return await self._own.choose(view)

    async def _asked(self, view: View) -> Choice:
        await self._once(f"The model {self.model.name} is asked for gestures; the search chooses in between")
        began_s = self._clock()
        choice = await self.model.choose(replace(view, left_s=view.left_s / 2))
        now_s = self._clock()
        self._alone_until_s = now_s + (now_s - began_s)
        if choice.action is not None:
            because = f": “{choice.reason}”" if choice.reason else ""
            shown = one_line(choice.action.name, MAX_NAME_CHARS)
            await self._tell(f"The model chose {shown} for {choice.hold} frames{because}")
        return choice

    async def _once(self, line: str) -> None:
        """Tells the first line of those that begin alike: reasons change from call to call."""
        kind = line.partition(self.model.name)[0]
        if kind not in self._told:
            self._told.add(kind)
            await self._tell(line)
