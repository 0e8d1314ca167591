"""A stretch of play at true speed: frames a second, long tasks, and the time from an input to the picture it changes.

What is measured depends on the machine. So it is measured beside it whether the machine had processor time to spare:
where it had none, the figures say nothing about the game and are left out. A finding needs more: that the page's own
scripts take, in processor time, longer for a frame than a frame may last. A busy machine does not make that true.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from agent_worker.games.actions import Action
from agent_worker.games.chromium.page import Page
from agent_worker.games.chromium.pages import Pages, Wanted
from agent_worker.games.screen import Screen

_METER: Final = Path(__file__).with_name("meter.js").read_text()
IDLE_SHARE: Final = 0.08
"""With less of the processors' time unused, what was slow may have waited for others."""
SLOW_FPS: Final = 40.0
"""Below this a person sees that frames are dropped."""
SLOW_SCRIPT_MS: Final = 25.0
"""Processor time that scripts take for a frame, from which on no machine of today's kind makes 60 of them a second."""
_STAT: Final = Path("/proc/stat")
_PRESS_S: Final = 0.12
_PAUSE_S: Final = 0.1
_SHOW_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Processors:
    """Ticks of all processors since the machine started."""

    idle: int
    all: int

    def idle_share(self, since: Processors) -> float | None:
        """The part of the time since then that no process used, 0 to 1; None: no time has passed."""
        passed = self.all - since.all
        return (self.idle - since.idle) / passed if passed > 0 else None


def processors(stat: Path = _STAT) -> Processors | None:
    """Reads them; None where the system does not tell."""
    try:
        fields = [int(each) for each in stat.read_text("ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return Processors(fields[3] + fields[4], sum(fields)) if len(fields) >= 5 else None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was measured at true speed. Milliseconds; None: not measured.

    Attributes:
        seconds: How long it was played.
        load_ms: From the request of the page to its `load` event.
        picture_ms: To the first picture with something on it.
        fps: Frames a second that the page's main thread was ready for.
        long_tasks_ms: What tasks of more than 50 ms took together.
        input_ms: From an input to the frame that shows it, the median over all inputs.
        script_ms: Processor time of the page's scripts for one frame.
        busy: Why the figures that depend on the machine are missing; empty: they are not.
    """

    seconds: float
    load_ms: int | None = None
    picture_ms: int | None = None
    fps: float | None = None
    long_tasks_ms: int | None = None
    input_ms: int | None = None
    script_ms: float | None = None
    busy: str = ""

    @property
    def drops_frames(self) -> bool:
        """Whether the game itself is the reason that there are too few frames."""
        slow = self.fps is not None and self.fps < SLOW_FPS
        return slow and self.script_ms is not None and self.script_ms >= SLOW_SCRIPT_MS

    def line(self) -> str:
        """What was measured, for the feed."""
        if self.busy:
            return f"At true speed for {self.seconds:.1f} s: {self.busy}"
        known = [
            *([] if self.fps is None else [f"{self.fps:.0f} frames a second"]),
            *([] if self.long_tasks_ms is None else [f"{self.long_tasks_ms} ms in long tasks"]),
            *([] if self.input_ms is None else [f"{self.input_ms} ms from an input to its picture"]),
        ]
        return f"At true speed for {self.seconds:.1f} s: {', '.join(known) or 'nothing could be measured'}"


BUSY: Final = "frames and delays could not be measured, since the machine was busy"


def read(told: dict[str, Any], frames_to_effect: int | None, idle: float | None, script_s: float | None) -> Stretch:
    """Makes figures of what meter.js tells.

    Args:
        frames_to_effect: In which frame after an input its effect shows; 1 is the next; None: that is not known.
        idle: The part of the processors' time that was unused; None: not known.
        script_s: Processor time that the page's scripts took, seconds.
    """
    span_ms = max(1.0, float(told["now"]) - float(told["since"]))
    frames: list[float] = told["frames"]
    waits: list[float] = []
    if frames_to_effect is not None:
        shown = ((at, number + frames_to_effect - 1) for at, number in told["inputs"])
        waits = [frames[number] - at for at, number in shown if number < len(frames)]
    calm = idle is not None and idle >= IDLE_SHARE
    return Stretch(
        span_ms / 1000,
        load_ms=round(told["loaded"]) or None,
        picture_ms=None if told["painted"] is None else round(told["painted"]),
        fps=round(len(frames) * 1000 / span_ms, 1) if calm else None,
        long_tasks_ms=round(sum(each[1] for each in told["long"])) if calm else None,
        input_ms=round(median(waits)) if calm and waits else None,
        script_ms=round(script_s * 1000 / len(frames), 2) if script_s is not None and frames else None,
        busy="" if calm else BUSY,
    )


async def true_speed(
    pages: Pages,
    url: str,
    screen: Screen,
    leading_in: Sequence[Action],
    playing: Sequence[Action],
    *,
    seconds: float,
    load_s: float,
    deadline: float,
    frames_to_effect: int | None,
    show: Callable[[bytes | None], Awaitable[None]],
) -> tuple[Stretch, Page]:
    """Opens the game without owning its time and plays it for a while. Returns the page too, for its incidents.

    Args:
        screen: What it is shown on.
        leading_in: What gets into the game.
        playing: What is pressed then, in turn; empty: the game is only watched.
        frames_to_effect: After how many frames an input shows; None: not known.
        show: Gets the newest picture of the page, twice a second.
        deadline: On the event loop's clock; no call waits for longer.

    Raises:
        LoadFailed, PageHung, PageGone, TimeUp: see errors.py.
    """
    page = await pages.fresh(Wanted((_METER,), screen=screen))
    page.deadline = deadline
    await page.open(url, load_s)
    await asyncio.sleep(0.5)
    for action in leading_in:
        await _press(page, action)
    loaded = await _told(page)
    told = await _measured(page, playing, seconds, show)
    told.update({name: loaded[name] for name in ("loaded", "painted")})
    return read(told, frames_to_effect, told["idle"], told["script_s"]), page


async def _measured(
    page: Page, playing: Sequence[Action], seconds: float, show: Callable[[bytes | None], Awaitable[None]]
) -> dict[str, Any]:
    """What meter.js tells of a few seconds of play, and what the machine and the scripts took of them."""
    clock = asyncio.get_running_loop().time
    before, script_before, until = processors(), await _script_s(page), clock() + seconds
    turn, shown = 0, clock()
    while clock() < until:
        if playing:
            await _press(page, playing[turn % len(playing)])
            turn += 1
        else:
            await asyncio.sleep(_PRESS_S)
        if clock() >= shown + _SHOW_EVERY_S:
            shown = clock()
            await show(page.newest)
    told, after, script_after = await _told(page), processors(), await _script_s(page)
    idle = after.idle_share(before) if before and after else None
    return told | {"idle": idle, "script_s": script_after - script_before}


async def _script_s(page: Page) -> float:
    """Processor time that the page's scripts have taken since it was first asked for, seconds."""
    await page.devtools("Performance.enable", {"timeDomain": "threadTicks"}, "measuring its scripts")
    told = await page.devtools("Performance.getMetrics", {}, "measuring its scripts")
    return next((float(each["value"]) for each in told["metrics"] if each["name"] == "ScriptDuration"), 0.0)


async def _press(page: Page, action: Action) -> None:
    await page.begin(action)
    await asyncio.sleep(_PRESS_S)
    await page.end(action)
    await asyncio.sleep(_PAUSE_S)


async def _told(page: Page) -> dict[str, Any]:
    told: dict[str, Any] = await page.ask("__testcastMeter()", "reading its frames")
    return told
