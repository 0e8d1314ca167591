"""The recorder of a run's page in a real Chromium: from a click to the painted picture, and dragging over a long run.

Cores as in page.py. recorder.js runs in the measured page, whose clock it uses.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import orjson
from PIL import Image
from playwright.async_api import Browser, Page

from broker import identity
from broker.clock import now_ms
from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from tests.bench import report
from tests.bench.host import SERVER_CORE
from tests.bench.page import edge_and_chromium, opened
from tests.harness import until

_PROBE: Final = Path(__file__).with_name("recorder.js")
_LENGTH_MS: Final = 800_000
_MOST: Final = 'Number(document.querySelector(".track")?.getAttribute("aria-valuemax"))'


class Drag(NamedTuple):
    """What a drag of the handle cost the page's main thread."""

    moves: int
    cpu_ms: float
    longest_ms: float
    """CPU time of one task."""
    frames_per_s: float
    """On this machine, with all that ran beside it."""


async def recorder(_programs: Path, quick: bool) -> str:
    """Measures clicks, steps and a drag on a run of 20,000 events and 1,500 pictures."""
    os.sched_setaffinity(0, {int(SERVER_CORE)})
    events, frames = 20_000, 1_500
    async with edge_and_chromium() as (edge, chromium):
        test_id = await long_run(edge.streams, events, frames)
        async with opened(chromium, edge, goto=False) as shown:
            await shown.goto(f"{edge.process.url}/tests/{test_id}")
            await until(lambda: _has(shown, events + frames - 1), within_s=120, what="all moments")
            await shown.evaluate(_PROBE.read_text())
            clicks = await clicked(shown, 30 if quick else 200)
            steps = await stepped(shown, 100 if quick else 500)
            drag = await dragged(chromium, shown, 60 if quick else 240)
    rows = [
        [name, str(len(ms)), *(report.figure(ms[int(len(ms) * share)]) for share in (0.5, 0.9)), report.figure(ms[-1])]
        for name, ms in (("click anywhere on the time line", clicks), ("arrow key", steps))
    ]
    text = f"A run of {events:,} events and {frames:,} pictures. Time from the input to the painted picture, ms:"
    return "\n".join(
        [
            text,
            "",
            *report.table(["", "pictures", "p50", "p90", "longest"], rows),
            "",
            f"Dragging the handle takes {drag.cpu_ms / drag.moves:.1f} ms of CPU time for each of {drag.moves} moves "
            f"(longest task {drag.longest_ms:.0f} ms); {drag.frames_per_s:.0f} frames/s were drawn.",
        ]
    )


async def _has(shown: Page, moments: int) -> bool:
    return bool(await shown.evaluate(_MOST) >= moments)


async def long_run(streams: Streams, events: int, frames: int) -> str:
    """Publishes an ended run. Pictures are 640 by 360 pixels and about 32 KB. Returns its id."""
    test_id, started = identity.new_test_id(), now_ms() - _LENGTH_MS
    about = {"title": "A long run", "gameUrl": "http://game.example/"}
    told: list[dict[str, Any]] = [
        {"type": "status", "status": "queued", "message": "Queued", "data": about},
        {"type": "status", "status": "running", "message": "Running", "data": {"attempt": 1}},
    ]
    for n in range(events - 3):
        data = {"kind": "console", "detail": f"error {n % 5}"} if n % 500 == 0 else {"action": "keys"}
        told.append({"type": "progress", "message": f"step {n}", "phase": f"phase{1 + n * 4 // events}", "data": data})
    told.append({"type": "complete", "message": "Done", "phase": "phase4", "data": {"score": 78}})
    for first in range(0, events, 100):
        batch = [
            orjson.dumps(event | {"timestamp": started + (first + n) * _LENGTH_MS // events})
            for n, event in enumerate(told[first : first + 100])
        ]
        await asyncio.gather(*(streams.store(subjects.events(test_id), each) for each in batch))
    store, pictures = FrameStore(streams), [noise(n) for n in range(20)]
    for first in range(0, frames, 50):
        ages = [(n, started + 200 + n * _LENGTH_MS // frames) for n in range(first, min(frames, first + 50))]
        await asyncio.gather(*(store.put(test_id, pictures[n % 20], time_ms=at) for n, at in ages))
    return test_id


def noise(number: int) -> bytes:
    """A JPEG that compresses as badly as a busy game."""
    out = io.BytesIO()
    Image.effect_noise((640, 360), 40 + number).convert("RGB").save(out, "JPEG", quality=18)
    return out.getvalue()


async def clicked(shown: Page, times: int) -> list[float]:
    """Clicks on random places, whose pictures are not loaded. Returns the times in ms, ascending."""
    box, pick = await _track(shown), random.Random(7)
    await shown.evaluate("waits.length = 0")
    for _ in range(times):
        await shown.mouse.click(box["x"] + 4 + pick.random() * (box["width"] - 20), box["y"] + box["height"] / 2)
        await asyncio.sleep(0.3)
    return sorted(await shown.evaluate("waits"))


async def stepped(shown: Page, times: int) -> list[float]:
    """Goes on by arrow keys from the middle of the run: every thirteenth moment or so has another picture."""
    box = await _track(shown)
    await shown.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await asyncio.sleep(1)
    await shown.evaluate("waits.length = 0")
    for _ in range(times):
        await shown.keyboard.press("ArrowRight")
        await asyncio.sleep(0.03)
    return sorted(await shown.evaluate("waits")) or [0.0]


async def dragged(chromium: Browser, shown: Page, moves: int) -> Drag:
    """Drags the handle to and fro, as fast as the page follows."""
    box = await _track(shown)
    y = box["y"] + box["height"] / 2
    await shown.mouse.move(box["x"] + 10, y)
    await shown.mouse.down()
    await chromium.start_tracing(page=shown, categories=["toplevel"])
    await shown.evaluate("window.began = performance.now(); probe.frames = 0; probe.count()")
    for n in range(moves):
        x = n * 7 % (2 * int(box["width"] - 20))
        await shown.mouse.move(box["x"] + 10 + min(x, 2 * (box["width"] - 20) - x), y)
    rate = float(await shown.evaluate("1000 * probe.frames / (performance.now() - began)"))
    trace = orjson.loads(await chromium.stop_tracing())["traceEvents"]
    await shown.mouse.up()
    mains = {(e["pid"], e["tid"]) for e in trace if e["name"] == "thread_name" and "RendererMain" in e["args"]["name"]}
    tasks = [
        e["tdur"] / 1000 for e in trace if "tdur" in e and (e["pid"], e["tid"]) in mains and "RunTask" in e["name"]
    ]
    report.say(f"drag: {len(tasks)} tasks, median {median(tasks):.2f} ms")
    return Drag(moves, sum(tasks), max(tasks), rate)


async def _track(shown: Page) -> Any:
    await shown.locator(".track").scroll_into_view_if_needed()
    return await shown.locator(".track").bounding_box()
