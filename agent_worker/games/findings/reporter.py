"""From what may be wrong to what is told: each fault once, minimised, shown again five times, with its pictures.

What did not show again each time is told as seen once, apart from the findings.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Final

from agent_worker.games.chromium import pictures
from agent_worker.games.chromium.page_state import Incident
from agent_worker.games.errors import LoadFailed, PageGone, PageHung, TimeUp
from agent_worker.games.findings.finding import (
    MAX_FINDINGS,
    STANDSTILLS,
    TIMES,
    Candidate,
    Finding,
    Kind,
    Sighting,
    finding,
    line,
    with_inputs,
)
from agent_worker.games.findings.minimise import Minimal, minimise
from agent_worker.games.findings.proofs import HOLD, WATCH, Play, Proof, proof_of
from agent_worker.games.findings.sightings import signatures_of
from agent_worker.games.findings.standstill import SOON, runs_on
from agent_worker.games.handle import RunHandle
from agent_worker.games.inputs import Inputs, Step
from agent_worker.games.owned_time.stage import Stage

_ORDER: Final[tuple[Kind, ...]] = (
    *("crash", "noscripts", "error", "asset", "left", "deadkey", "once"),
    *("blank", "freeze", "softlock", "heap", "frames", "slowload"),
)
"""What costs little time first; an error before the standstill that it explains."""
_FOLLOWING: Final = frozenset({"Enter", "Tab", "NumpadEnter"})
"""Keys with which links are followed."""
MAX_SIGHTINGS: Final = 3
"""Sightings of one fault that are tried, where none shows again: they may have other inputs."""
_SHARE: Final = 0.4
"""Part of a candidate's time that looking for shorter inputs may take; the rest is for showing it again."""


class Reporter:
    """What is said to be wrong with one game. Not for two tasks at once.

    Args:
        stage: The game; where it stands afterwards is not said.
        run: Gets an event for each finding, with its pictures as the event's moment.
        seed: That of the run, which belongs to the inputs.
        times: How often each is shown before it is told.

    Attributes:
        findings: Those that were told, in order.
        seen_once: What did not show again, or for which no time was left.
        refused: A standstill was suspected, and there was no time to try it at all: neither told nor seen once.
    """

    def __init__(self, stage: Stage, run: RunHandle, seed: int, *, times: int = TIMES) -> None:
        self._stage = stage
        self._run = run
        self._seed = seed
        self._times = times
        self._clock = asyncio.get_running_loop().time
        self._told: set[tuple[str, str]] = set()
        self._failed: Counter[tuple[str, str]] = Counter()
        self._noted: set[tuple[str, str]] = set()
        """Of what was told as seen once."""
        self._refuted: set[Hashable] = set()
        """Sightings that did not show again: the same inputs show the same."""
        self._full_s = self._quick_s = 0.0
        """How long the last play of a proof took, and the last one that only tells shorter inputs apart."""
        self.findings: list[Finding] = []
        self.seen_once: list[Finding] = []
        self.refused = False

    def __repr__(self) -> str:
        return f"<Reporter findings={len(self.findings)} seen_once={len(self.seen_once)}>"

    def is_new(self, candidate: Candidate) -> bool:
        """Whether this fault was not told yet, and another sighting of it would be tried."""
        return candidate.key not in self._told and self._failed[candidate.key] < MAX_SIGHTINGS

    def as_json(self) -> dict[str, object]:
        """`findings` and `seenOnce` of `data.metrics`."""
        told = {"findings": self.findings, "seenOnce": self.seen_once}
        return {name: [each.as_json(stack=False) for each in listed] for name, listed in told.items()}

    async def consider(self, candidates: Iterable[Candidate], until_s: float, last_s: float = 0.0) -> None:
        """Minimises each candidate that is new, shows it again, and tells it.

        Args:
            until_s: On the event loop's clock. What there is no time for is told as seen once.
            last_s: What has shown again by then may be shown further until this time, where it is later: nothing is
                worth more than to finish that.

        Raises:
            PageGone: The browser has died.
        """
        left = sorted(dict.fromkeys(candidates), key=lambda each: (_ORDER.index(each.kind), each.until))
        while left and len(self.findings) < MAX_FINDINGS:
            candidate = left.pop(0)
            given_up = self._failed[candidate.key] >= MAX_SIGHTINGS
            if given_up or candidate.key in self._told or _sighting(candidate) in self._refuted:
                continue
            others = len({each.key for each in left} - self._told - {candidate.key})
            share_s = max(0.0, until_s - self._clock()) / (others + 1)
            try:
                await self._consider(candidate, self._clock() + share_s * _SHARE, until_s, max(until_s, last_s))
            except TimeUp:
                await self._once(candidate, (1, 1), tried=False)
            except LoadFailed as failed:
                await self._once(replace(candidate, detail=f"{candidate.detail} ({failed.message})"), (1, 2))

    async def _consider(self, candidate: Candidate, shorter_until_s: float, until_s: float, last_s: float) -> None:
        proof = proof_of(candidate, self._stage)
        if candidate.kind == "deadkey" and candidate.action is not None and candidate.moments:
            inputs, frame = candidate.moments[0].inputs, candidate.moments[0].frame
            pressed = inputs.then(Step(frame, candidate.action, HOLD))
            candidate = with_inputs(candidate, pressed, frame + HOLD + WATCH)
        if proof is None:
            seen = candidate.measured or (1, 1)
            sure = seen[0] == seen[1] and (seen[1] >= 2 or candidate.real) and await self._measured_again(candidate)
            await (self._tell(candidate, candidate.until, seen) if sure else self._once(candidate, seen))
            return
        if self._clock() + self._quick_s > until_s:
            await self._once(candidate, (1, 1), tried=False)
            return
        if self._clock() + self._stage.needs_s(proof.frames) > until_s:
            self.refused = True  # begun, it would use up the time of all others, and show nothing
            return
        sighted = candidate
        narrowed = (candidate, None) if proof.narrow is None else await self._narrowed(candidate, proof)
        if narrowed is None:
            return
        candidate, first = narrowed
        minimal = await self._minimal(candidate, proof, shorter_until_s, until_s)
        if minimal is None:
            self._refuted.add(_sighting(sighted))
            await self._once(candidate, (1, 2))
            return
        least = with_inputs(candidate, minimal.inputs, minimal.until)
        if _as_meant(least):
            self._told.add(candidate.key)
            return
        shown, sighting = await self._again(least, proof, last_s, first if least.inputs == candidate.inputs else None)
        if sighting is None and shown[0] < shown[1] and minimal.inputs != candidate.inputs:
            least = candidate  # what tells shorter inputs apart was too quick
            shown, sighting = await self._again(least, proof, last_s)
        if sighting is None:
            if shown[0] < shown[1]:
                self._refuted.add(_sighting(sighted))
            await self._once(least, (shown[0] + 1, shown[1] + 1))
            return
        if self._explained(proof.errors()):
            self._told.add(candidate.key)
            return
        await self._tell(_as_shown(least, sighting, proof), sighting.frame, shown)

    async def _measured_again(self, candidate: Candidate) -> bool:
        """Whether a measurement gives the same once more, where it can be made in the game's own time."""
        if candidate.kind != "heap" or candidate.real:
            return True
        again = proof_of(replace(candidate, measured=None), self._stage)
        return again is not None and await self._fully(again, candidate.inputs, candidate.until) is not None

    async def _narrowed(self, candidate: Candidate, proof: Proof) -> tuple[Candidate, Sighting] | None:
        """The candidate with the inputs up to its cause, and how it has shown then; None: it has not shown again, or a
        finding explains it."""
        assert proof.narrow is not None
        began = await proof.narrow(candidate.inputs, candidate.until)
        if began is not None and self._explained(proof.errors()):
            self._told.add(candidate.key)
            return None
        # Whether it is a fault at all is asked before any time goes into shorter inputs.
        sighting = None if began is None else await self._fully(proof, began, candidate.until)
        if began is None or sighting is None:
            self._refuted.add(_sighting(candidate))
            if candidate.kind in STANDSTILLS:  # something did change the game, or it had come to an end
                self._failed[candidate.key] += 1
            else:
                await self._once(candidate, (1, 2))
            return None
        return replace(candidate, inputs=began), sighting

    async def _minimal(
        self, candidate: Candidate, proof: Proof, shorter_until_s: float, until_s: float
    ) -> Minimal | None:
        """The least that shows it. Ends early enough for showing it again, which is worth more than short inputs."""

        def expired() -> bool:
            last_s = min(shorter_until_s, until_s - self._full_s - TIMES * self._quick_s)
            return self._clock() + self._quick_s > last_s

        async def frame_of(inputs: Inputs, until: int) -> int | None:
            sighting = await self._quickly(proof, inputs, until)
            return None if sighting is None else sighting.frame

        if not proof.minimises or expired():
            return Minimal(candidate.inputs, candidate.until, 0, not proof.minimises)
        return await minimise(
            candidate.inputs,
            candidate.until,
            frame_of,
            tries=proof.tries,
            expired=expired,
        )

    async def _again(
        self, candidate: Candidate, proof: Proof, until_s: float, first: Sighting | None = None
    ) -> tuple[tuple[int, int], Sighting | None]:
        """Plays it `times` times, as long as it shows: how often it did, of how many, and what was seen first.

        Args:
            first: What was seen of it once already, with the same inputs.
        """
        for time in range(1 if first else 0, self._times):
            if self._clock() + (self._quick_s if time else self._full_s) > until_s:
                return (time, time), None
            play = self._quickly if time else self._fully
            sighting = await play(proof, candidate.inputs, candidate.until)
            if sighting is None:
                return (time, time + 1), None
            first = first or sighting
        return (self._times, self._times), first

    async def _fully(self, proof: Proof, inputs: Inputs, until: int) -> Sighting | None:
        began_s = self._clock()
        sighting = await self._played(proof.full, inputs, until)
        self._full_s = self._clock() - began_s
        return sighting

    async def _quickly(self, proof: Proof, inputs: Inputs, until: int) -> Sighting | None:
        began_s = self._clock()
        sighting = await self._played(proof.quick, inputs, until)
        self._quick_s = self._clock() - began_s
        return sighting

    async def _played(self, play: Play, inputs: Inputs, until: int) -> Sighting | None:
        try:
            return await play(inputs, until)
        except PageHung:
            if self._stage.page is not None:
                await self._stage.page.break_script()
            return None
        except PageGone:
            if self._stage.page is None or not await self._stage.page.browser_lives():
                raise
            return None

    def _explained(self, errors: set[str]) -> bool:
        """A game that stands still since an error that was told is one fault, not two."""
        return any(("error", each) in self._told for each in errors)

    # -- telling --------------------------------------------------------------------------------------------

    async def _tell(self, candidate: Candidate, frame: int, seen: tuple[int, int]) -> None:
        self._told.add(candidate.key)
        if candidate.kind == "error":  # who has seen it without its stack has seen the same
            thrown = Incident("pageerror", candidate.detail, candidate.stack)
            self._told |= {("error", each) for each in signatures_of(thrown)}
        self.seen_once = [each for each in self.seen_once if each.key != candidate.key]
        candidate, picture = await self._with_evidence(candidate, frame)
        told = finding(f"f{len(self.findings) + 1}", candidate, self._seed, frame, seen, self._stage.screen)
        self.findings.append(told)
        await self._run.evidence(line(told), picture, kind="finding", finding=told.as_json())

    async def _once(self, candidate: Candidate, seen: tuple[int, int], *, tried: bool = True) -> None:
        self._failed[candidate.key] += tried
        if _as_meant(candidate):
            return
        if candidate.key in self._noted or len(self.seen_once) == MAX_FINDINGS:
            return
        self._noted.add(candidate.key)
        told = finding(f"s{len(self._noted)}", candidate, self._seed, candidate.until, seen, self._stage.screen)
        self.seen_once.append(told)
        await self._run.progress(f"Seen once: {told.title}", kind="seenonce", finding=told.as_json())

    async def _with_evidence(self, candidate: Candidate, frame: int) -> tuple[Candidate, bytes | None]:
        """The candidate with what else is to be seen of it, and before | after."""
        if candidate.real:
            return candidate, None
        try:
            before, after, stands = await self._pictures(candidate, frame)
        except (TimeUp, PageHung, PageGone, LoadFailed, OSError):
            return candidate, None
        if stands:
            said = f"{candidate.detail}. After it the game stands still." if candidate.detail else "It stands still."
            candidate = replace(candidate, severity="high", detail=said)
        return candidate, pictures.side_by_side(before, after)

    async def _pictures(self, candidate: Candidate, frame: int) -> tuple[bytes, bytes, bool]:
        """Without the last input and with it, a moment after it has shown; else earlier and then.

        The third: the page ran before an error, and has nothing left to run after it.
        """
        stage, inputs = self._stage, candidate.inputs
        without = Inputs(inputs.steps[:-1]) if inputs.steps else inputs
        seen_at = frame + SOON // 2
        await stage.open()
        await stage.play(without, seen_at if inputs.steps else max(0, frame - SOON))
        before, ran = await stage.picture(), await runs_on(stage)
        await stage.open()
        try:
            await stage.play(inputs, seen_at)
            after = await stage.picture()
            stands = candidate.kind == "error" and ran and not await runs_on(stage)
        except (PageHung, PageGone):
            return before, before, False
        return before, after, stands


def _sighting(candidate: Candidate) -> Hashable:
    """Equal for sightings of one fault in one way, whatever else is known by then."""
    return candidate.key, candidate.inputs, candidate.until, candidate.moments


def _as_meant(candidate: Candidate) -> bool:
    """Whether a page that leaves does what somebody has asked of it: a link that was clicked leads elsewhere."""
    if candidate.kind != "left":
        return False
    return any(step.action.kind != "keys" or _FOLLOWING & set(step.action.keys) for step in candidate.inputs.steps)


def _as_shown(candidate: Candidate, sighting: Sighting, proof: Proof) -> Candidate:
    """The candidate with what was seen of it when it showed again."""
    if sighting.kind is not None:
        candidate = replace(candidate, kind=sighting.kind, title=STANDSTILLS[sighting.kind])
    return replace(
        candidate,
        until=max(1, sighting.frame) if proof.minimises else candidate.until,
        detail=sighting.detail or candidate.detail,
        stack=sighting.stack or candidate.stack,
    )
