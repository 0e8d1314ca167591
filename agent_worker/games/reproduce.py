"""Plays a finding again: `python -m agent_worker.games.reproduce`, one request as JSON on standard input.

The command `testcast reproduce` writes the request and reads what is printed, one JSON object a line: `{"playing": …}`
before each time, and at the end `{"shown", "tried", "frame", "detail", "stack"}`, or `{"error"}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from agent_worker import config
from agent_worker.games.actions import ARROWS, SPACE, click
from agent_worker.games.chromium.browser import Browser, Walls
from agent_worker.games.chromium.confinement import deny_looks_from_outside
from agent_worker.games.chromium.egress_proxy import JudgeNamed, judge_any, judge_public
from agent_worker.games.chromium.limits import Limits
from agent_worker.games.chromium.pages import Pages, Wanted
from agent_worker.games.errors import AgentError, LoadFailed, PageGone, PageHung
from agent_worker.games.findings.finding import Candidate, Moment, Sighting
from agent_worker.games.findings.proofs import proof_of
from agent_worker.games.findings.replay_request import Replay, read_replay
from agent_worker.games.findings.sightings import in_incidents
from agent_worker.games.handle import GameJob
from agent_worker.games.inputs import FRAMES_PER_S, Inputs
from agent_worker.games.owned_time.stage import Stage
from agent_worker.games.owned_time.trace import Happened, Trace
from agent_worker.games.screen import Screen
from broker.contract.errors import BadInput, TestcastError
from broker.contract.url_policy import check_game_url

MAX_TIMES: Final = 100
PATIENCE_S: Final = 600.0
"""For one time: a page that hangs is given up much sooner."""
_USUAL: Final = (*ARROWS.actions, *SPACE.actions, click(0.5, 0.5))
_IN_REAL_TIME: Final = ("error", "asset", "left", "crash", "freeze")


class Request(NamedTuple):
    """What to play."""

    url: str
    replay: Replay
    times: int = 1
    headed: bool = False
    speed: float | None = None
    """Seconds of the game in a second; None: as fast as it goes."""
    allow_private: bool = False
    allowed_hosts: frozenset[str] = frozenset()


def read_request(given: Mapping[str, Any]) -> Request:
    """Reads a request.

    Raises:
        BadInput: The finding cannot be played. GameUrlRefused: its address may not be opened.
    """
    return Request(
        check_game_url(given["url"]),
        read_replay(given["finding"]),
        max(1, min(int(given.get("times", 1)), MAX_TIMES)),
        given.get("headed") is True,
        given.get("speed"),
        given.get("allowPrivate") is True,
        frozenset(given.get("allowedHosts", ())),
    )


class PacedStage(Stage):
    """A stage whose frames take as long as a person needs to watch them."""

    def __init__(self, pages: Pages, job: GameJob, *, deadline: float, screen: Screen, speed: float) -> None:
        super().__init__(pages, job, deadline=deadline, screen=screen)
        self._frame_s = 1 / (FRAMES_PER_S * speed)

    async def play(self, inputs: Inputs, until: int, watch_from: int | None = None, every: int = 1) -> Trace:
        """See `Stage`."""
        clock = asyncio.get_running_loop().time
        trace = await super().play(inputs, min(self.frame, until), watch_from, every)
        due = clock()
        while self.frame < until:
            more = await super().play(inputs, self.frame + 1, watch_from, every)
            trace = Trace(trace.samples + more.samples, trace.happened + more.happened)
            due += self._frame_s
            await asyncio.sleep(max(0.0, due - clock()))
        return trace


async def reproduce(request: Request, browser: Browser, tell: Any = lambda _: None) -> tuple[int, Sighting | None]:
    """Plays it `request.times` times. Returns how often it has shown, and what was seen last.

    Raises:
        BadInput: It cannot be played again.
        LoadFailed, BrowserMissing, PageGone: see errors.py.
    """
    shown, last = 0, None
    judge = judge_any if request.allow_private else JudgeNamed(request.allowed_hosts)
    for time in range(1, request.times + 1):
        tell({"playing": time})
        async with browser.pages(judge) as pages:
            played = _in_real_time if request.replay.real else _in_owned_time
            sighting = await played(request, pages)
        if sighting is not None:
            shown, last = shown + 1, sighting
    return shown, last


async def _in_owned_time(request: Request, pages: Pages) -> Sighting | None:
    replay = request.replay
    job = GameJob("00000000-0000-0000-0000-000000000000", request.url, PATIENCE_S, replay.seed)
    deadline = asyncio.get_running_loop().time() + PATIENCE_S / min(1.0, request.speed or 1.0)
    if request.speed is None:
        stage = Stage(pages, job, deadline=deadline, screen=replay.screen)
    else:
        stage = PacedStage(pages, job, deadline=deadline, screen=replay.screen, speed=request.speed)
    proof = proof_of(candidate_of(replay), stage)
    if proof is None:
        raise BadInput(f"a finding of the kind {replay.kind} was measured: it cannot be played again")
    try:
        return await proof.full(replay.inputs, replay.until)
    except (PageHung, PageGone):
        if stage.page is None or not await stage.page.browser_lives():
            raise
        return None


def candidate_of(replay: Replay) -> Candidate:
    """What proofs.py needs to show it again."""
    steps = replay.inputs.steps
    controls = tuple(dict.fromkeys((*(step.action for step in steps), *_USUAL)))
    found = Candidate(
        replay.kind, replay.title, replay.inputs, replay.until, replay.signature, controls=controls, real=replay.real
    )
    if replay.kind not in ("deadkey", "once") or not steps:
        return found
    last = max(steps, key=lambda step: step.at)
    before = Inputs(tuple(step for step in steps if step != last))
    return replace(found, action=last.action, moments=(Moment(before, last.at),))


async def _in_real_time(request: Request, pages: Pages) -> Sighting | None:
    """Plays the inputs by the clock on the wall: it may not happen each time."""
    replay, clock = request.replay, asyncio.get_running_loop().time
    if replay.kind not in _IN_REAL_TIME:
        raise BadInput(f"a finding of the kind {replay.kind} was measured in real time: it cannot be played again")
    page = await pages.fresh(Wanted(screen=replay.screen))
    page.deadline = clock() + PATIENCE_S
    began = clock()
    try:
        await page.open(request.url, 15.0)
        began = clock()
        for edge in replay.inputs.edges():
            await asyncio.sleep(max(0.0, began + edge.at / FRAMES_PER_S - clock()))
            await (page.begin(edge.action) if edge.half == "begin" else page.end(edge.action))
        await asyncio.sleep(max(1.0, began + replay.until / FRAMES_PER_S - clock()))
        await page.state()
    except PageHung as hung:
        await page.break_script()
        return Sighting(_frame(clock() - began), str(hung)) if replay.kind == "freeze" else None
    except PageGone as gone:
        if not await page.browser_lives():
            raise
        return Sighting(_frame(clock() - began), str(gone)) if replay.kind == "crash" else None
    seen = [Happened(_frame(clock() - began), each) for each in page.incidents()]
    return in_incidents(seen, replay.kind, replay.signature)


def _frame(seconds: float) -> int:
    return round(seconds * FRAMES_PER_S)


async def _main(given: Mapping[str, Any]) -> dict[str, object]:
    request, settings = read_request(given), config.load()
    environment, walls = dict(settings.browser_environment), Walls()
    if request.headed:
        screen = config.screen()
        if not screen:
            raise BadInput("--headed needs a screen: neither DISPLAY nor WAYLAND_DISPLAY is set")
        environment |= screen
        walls = Walls(own_user=False, own_network=False)  # a screen is let in by user and by socket
    async with Browser(
        settings.chromium,
        judge_public,
        limits=Limits(settings.memory_mb, settings.processes, settings.disk_mb),
        allow_root=settings.allow_root,
        environment=environment,
        walls=walls,
        ahead=False,
        headed=request.headed,
    ) as browser:
        shown, last = await reproduce(request, browser, _print)
    told: dict[str, object] = {"shown": shown, "tried": request.times}
    return told | ({} if last is None else {"frame": last.frame, "detail": last.detail, "stack": last.stack})


def _print(told: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Reads a request, plays it and prints what came of it. The exit status is 0 wherever something was printed."""
    given = json.load(sys.stdin)
    config.forget_secrets()
    deny_looks_from_outside()
    try:
        _print(asyncio.run(_main(given)))
    except LoadFailed as failed:
        _print({"error": failed.message, "lost": True})
    except (TestcastError, AgentError) as error:
        _print({"error": str(error)})
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
