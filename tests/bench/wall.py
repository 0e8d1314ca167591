"""The wall in a real Chromium: 50 running tests with two pictures a second each, over minutes.

Chromium runs with all its processes on the second core and renders in software; edge, broker and publisher share the
first. The page is unmodified. page.js counts its frames, and what is added here counts the pictures that it has drawn.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from PIL import Image, ImageDraw, ImageFilter
from playwright.async_api import CDPSession, Page

from broker.jetstream.frame_store import FrameStore
from tests.bench import report
from tests.bench.edges import Edge
from tests.bench.host import SERVER_CORE
from tests.bench.page import edge_and_chromium, figures, memory, opened
from tests.harness import until

_RUNS: Final = 50
_PER_S: Final = 2.0
_KINDS: Final = 40
"""Different pictures."""
_SLOWEST_SHARE: Final = 0.05
_COUNT_DRAWN: Final = """
const draw = ImageBitmapRenderingContext.prototype.transferFromImageBitmap;
window.drawn = 0;
ImageBitmapRenderingContext.prototype.transferFromImageBitmap = function (bitmap) {
  if (bitmap) window.drawn++;
  return draw.call(this, bitmap);
};
"""


async def wall(_programs: Path, quick: bool, minutes: float) -> str:
    """Measures the wall on a fresh edge.

    Args:
        minutes: how long; 0 for two minutes.
    """
    os.sched_setaffinity(0, {int(SERVER_CORE)})
    total_s = 15.0 if quick else (minutes or 2) * 60
    step = min(60.0, total_s)
    pictures = [picture(kind) for kind in range(_KINDS)]
    async with edge_and_chromium() as (edge, chromium):
        ids = await edge.begin(_RUNS)
        async with opened(chromium, edge, goto=False) as shown:
            await shown.add_init_script(_COUNT_DRAWN)
            tools = await shown.context.new_cdp_session(shown)
            await shown.goto(f"{edge.process.url}/wall")
            await shown.evaluate("probe.leave()")
            await until(lambda: tiles(shown, _RUNS), within_s=60, what="a tile for every run")
            await publish(edge, ids, pictures, 5)
            await until(lambda: tiles(shown, _RUNS, "[data-picture]"), within_s=60, what="a picture in every tile")
            await shown.evaluate("probe.count()")
            rows = [["at the start", *[report.NONE] * 7, *await memory(tools), megabytes(chromium_pids())]]
            for part in range(round(total_s / step)):
                cells = await measured(edge, shown, tools, ids, pictures, step)
                name = f"minute {part + 1}" if step == 60 else f"{step:g} s"
                rows.append([name, *cells, *await memory(tools), megabytes(chromium_pids())])
                report.say(str(rows[-1]))
    head = [
        "",
        "published",
        "drawn",
        "frames/s",
        f"slowest {_SLOWEST_SHARE:.0%} of seconds",
        "longest task, ms",
        "main thread busy",
        "edge, one core",
        "JS heap, MB",
        "DOM nodes",
        "Chromium, MB",
    ]
    size = mean(len(each) for each in pictures) / 1024
    text = (
        f"{_RUNS} running tests on /wall at 1920 by 1080, {_PER_S:g} pictures a second each, of 640 by 360 and "
        f"{size:.0f} KiB. `drawn` may be fewer: one is left out when a newer one is there. Chromium: the memory of "
        "all its processes, each shared page counted once:"
    )
    return "\n".join([text, "", *report.table(head, rows)])


def picture(kind: int) -> bytes:
    """A JPEG as large as those that agents publish, with edges and a rough ground."""
    pick = random.Random(kind)
    ground = Image.effect_noise((640, 360), 40).filter(ImageFilter.GaussianBlur(2)).convert("RGB")
    draw = ImageDraw.Draw(ground)
    for _ in range(60):
        x, y, side = pick.randrange(620), pick.randrange(340), pick.randrange(8, 60)
        draw.rectangle([x, y, x + side, y + side], fill=tuple(pick.randrange(256) for _ in range(3)))
    out = io.BytesIO()
    ground.save(out, "JPEG", quality=80, optimize=True)
    return out.getvalue()


async def tiles(shown: Page, count: int, which: str = "") -> bool:
    """Whether at least `count` tiles are on the wall."""
    return bool(await shown.evaluate(f"document.querySelectorAll('.tile{which}').length") >= count)


async def measured(
    edge: Edge, shown: Page, tools: CDPSession, ids: Sequence[str], pictures: Sequence[bytes], seconds: float
) -> list[str]:
    """Measures the wall for `seconds`. Returns cells of one row."""
    await shown.evaluate("probe.long.length = 0")
    before, drawn, began = await figures(tools), await shown.evaluate("drawn"), time.monotonic()
    edge_before = cpu_s(edge.pids())
    publishing = asyncio.create_task(publish(edge, ids, pictures, seconds))
    rates, frames, at = [], await shown.evaluate("probe.frames"), time.monotonic()
    while not publishing.done():
        await asyncio.wait([publishing], timeout=1.0)
        now, count = time.monotonic(), await shown.evaluate("probe.frames")
        if now - at > 0.5:
            rates.append((count - frames) / (now - at))
        frames, at = count, now
    published = await publishing
    passed = time.monotonic() - began
    after, long = await figures(tools), await shown.evaluate("probe.long")
    slow = sorted(rates)[: max(1, round(len(rates) * _SLOWEST_SHARE))]
    return [
        f"{published:,}",
        f"{await shown.evaluate('drawn') - drawn:,}",
        report.figure(mean(rates)),
        report.figure(max(slow)),
        report.figure(max(long, default=0)),
        f"{(after['TaskDuration'] - before['TaskDuration']) / passed:.0%}",
        f"{(cpu_s(edge.pids()) - edge_before) / passed:.0%}",
    ]


async def publish(edge: Edge, ids: Sequence[str], pictures: Sequence[bytes], seconds: float) -> int:
    """Publishes pictures of the runs in turn at a steady rate. Returns how many."""
    store = FrameStore(edge.streams)
    began, total, done = time.monotonic(), round(len(ids) * _PER_S * seconds), 0
    while done < total:
        due = min(total, int((time.monotonic() - began) * len(ids) * _PER_S) + 1)
        numbers = range(done, due)
        await asyncio.gather(*(store.put(ids[n % len(ids)], pictures[(n * 7 + n // 50) % _KINDS]) for n in numbers))
        done = due
        await asyncio.sleep(max(0.001, began + done / (len(ids) * _PER_S) - time.monotonic()))
    return done


def cpu_s(pids: Sequence[int]) -> float:
    """Processor time that these processes have used, s."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def chromium_pids() -> list[int]:
    """All processes below this one that are Chromium's."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue  # it has ended
        pid, name = int(stat.parent.name), text[text.index("(") + 1 : text.rindex(")")]
        parents[pid], names[pid] = int(text.rpartition(")")[2].split()[1]), name

    def below(pid: int) -> bool:
        while pid in parents:
            if pid == os.getpid():
                return True
            pid = parents[pid]
        return False

    return [pid for pid, name in names.items() if "chrom" in name.lower() and below(pid)]


def megabytes(pids: Sequence[int]) -> str:
    """Memory of these processes, shared pages counted once, MB."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return report.figure(total * 1024 / 1e6)
