"""The dashboard in a real Chromium: latency to the painted card, a busy page over minutes, the first load.

Chromium runs with all its processes on the second core and renders in software. Edge, broker, publisher and this
program share the first core. The page is unmodified; page.js runs beside it and uses the clock of the same machine.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import gc
import itertools
import os
import random
import shlex
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, Final, NamedTuple

import orjson
from playwright.async_api import Browser, CDPSession, Page, async_playwright

from agent_worker.games.chromium.browser import find_chromium
from broker.contract import subjects
from tests.bench import report
from tests.bench.compare import running
from tests.bench.edges import Edge
from tests.bench.host import MEASURING_CORE, SERVER_CORE
from tests.harness import until

_PROBE: Final = Path(__file__).with_name("page.js")
_WORDS: Final = ("Testing WASD movement", "Clicking the play button", "The score went up", "Jumped over an obstacle")
_TAKEN: Final = """[...document.querySelectorAll(".toggle .count")]
  .reduce((sum, count) => sum + Number(count.textContent.replace(/\\D/g, "")), 0)"""
_MORE: Final = 'document.querySelector(".more button").click()'
_TICK_S: Final = 0.01
_SLOWEST_SHARE: Final = 0.05
"""The table shows the frame rate that this share of all seconds does not exceed."""


class Published(NamedTuple):
    """One published event."""

    test_id: str
    text: str
    at: float
    """Time right before it was written, ms since 1970."""


async def page(_programs: Path, quick: bool, minutes: float) -> str:
    """Measures all three, each on a fresh edge.

    Args:
        minutes: how long the busy page is measured; 0 for one minute.
    """
    os.sched_setaffinity(0, {int(SERVER_CORE)})
    loads = await first_load(3 if quick else 10)
    paints = await painting(5 if quick else 30)
    busy = await busy_page(0.25 if quick else minutes or 1)
    return "\n\n".join([paints, busy, loads])


# -- latency to the painted card -----------------------------------------------------------------------------------


async def painting(seconds: float, runs: int = 20, per_s: float = 5.0) -> str:
    """Latency of every event of some running tests whose cards are all on the screen."""
    async with edge_and_chromium() as (edge, chromium):
        ids = await edge.begin(runs)
        async with opened(chromium, edge, height=1600) as shown:
            await until(lambda: cards(shown, runs), what="a card for every run")
            await publish(edge, ids, runs * per_s, 2)  # warms up the page's code
            await shown.evaluate("probe.paints.length = 0")
            published = await publish(edge, ids, runs * per_s, seconds, quiet=True)
            last = published[-1]
            await until(lambda: painted(shown, last), what="the last event painted")
            ways = waits(published, await shown.evaluate("probe.paints"))
    rows = [[name, f"{len(ms):,}", *map(report.figure, spread(ms))] for name, ms in ways.items()]
    report.say(f"painted: {rows}")
    text = (
        f"Time from just before an event is published to the painted card, ms. {runs} running tests with {per_s:g} "
        f"events a second each, for {seconds:g} s:"
    )
    return "\n".join([text, "", *report.table(["", "events", "p50", "p99", "longest"], rows)])


def waits(published: Iterable[Published], paints: Iterable[Sequence[Any]]) -> dict[str, list[float]]:
    """Latency of each event, ms. If a newer event replaced it within a frame, the newer event's paint counts."""
    order: dict[str, list[Published]] = defaultdict(list)
    for event in published:
        order[event.test_id].append(event)
    places = {(event.test_id, event.text): n for events in order.values() for n, event in enumerate(events)}
    seen: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for test_id, text, drawn, later in paints:
        if (test_id, text) in places and later:
            seen[test_id].append((places[test_id, text], drawn, later))
    found: dict[str, list[float]] = {"drawn by the page's own thread": [], "a frame later": []}
    for test_id, events in order.items():
        numbers = [number for number, _, _ in seen[test_id]]
        for number, event in enumerate(events):
            _, drawn, later = seen[test_id][bisect.bisect_left(numbers, number)]
            for ms, at in zip(found.values(), (drawn, later), strict=True):
                ms.append(at - event.at)
    return found


async def painted(shown: Page, event: Published) -> bool:
    """Whether the page has painted this event."""
    return bool(
        await shown.evaluate(
            "([id, text]) => probe.paints.some((p) => p[0] === id && p[1] === text && p[3])", event[:2]
        )
    )


# -- a busy page ---------------------------------------------------------------------------------------------------


async def cards_in_thousands(_programs: Path, quick: bool) -> str:
    """How many cards a page can have."""
    os.sched_setaffinity(0, {int(SERVER_CORE)})
    return await busy_page(0.2 if quick else 1, runs=300 if quick else 2_000)


async def busy_page(minutes: float, runs: int = 500, per_s: float = 1_000) -> str:
    """Cards whose runs all receive events."""
    step = min(60.0, minutes * 60)
    rows = []
    async with edge_and_chromium() as (edge, chromium):
        ids = await edge.begin(runs)
        async with opened(chromium, edge) as shown:
            tools = await shown.context.new_cdp_session(shown)
            await shown.evaluate("probe.leave()")
            await all_cards(shown, runs)
            await publish(edge, ids, per_s, 5)
            await shown.evaluate("probe.count()")
            rows.append(["at the start", *[report.NONE] * 6, *await memory(tools)])
            for part in range(round(minutes * 60 / step)):
                rows.append(
                    [
                        f"minute {part + 1}" if step == 60 else f"{step:g} s",
                        *await busy_part(edge, shown, tools, ids, per_s, step),
                        *await memory(tools),
                    ]
                )
                report.say(str(rows[-1]))
    head = [
        "",
        "events taken",
        "frames/s",
        f"slowest {_SLOWEST_SHARE:.0%} of seconds",
        "longest task, ms",
        "over 50 / 100 ms",
        "main thread busy",
        "JS heap, MB",
        "DOM nodes",
    ]
    text = (
        f"{runs:,} cards of running tests, {per_s:,.0f} events a second in total. "
        "The page follows 100 of the runs event by event:"
    )
    return "\n".join([text, "", *report.table(head, rows)])


async def busy_part(
    edge: Edge, shown: Page, tools: CDPSession, ids: Sequence[str], per_s: float, seconds: float
) -> list[str]:
    """Measures the busy page for `seconds`. Returns the cells of one row."""
    await shown.evaluate("probe.long.length = 0")
    before, had, began = await figures(tools), await shown.evaluate(_TAKEN), time.monotonic()
    publishing = asyncio.create_task(publish(edge, ids, per_s, seconds, quiet=True))
    rates, frames, at = [], await shown.evaluate("probe.frames"), time.monotonic()
    while not publishing.done():
        await asyncio.wait([publishing], timeout=1.0)
        now, count = time.monotonic(), await shown.evaluate("probe.frames")
        if now - at > 0.5:
            rates.append((count - frames) / (now - at))
        frames, at = count, now
    await publishing
    after, passed = await figures(tools), time.monotonic() - began
    long = await shown.evaluate("probe.long")
    parts = {name: (after[name] - before[name]) / passed for name in after if name.endswith("Duration")}
    report.say("busy: " + ", ".join(f"{name} {share:.1%}" for name, share in parts.items() if share > 0.001))
    slow = sorted(rates)[: max(1, round(len(rates) * _SLOWEST_SHARE))]
    return [
        f"{await shown.evaluate(_TAKEN) - had:,}",
        report.figure(mean(rates)),
        report.figure(max(slow)),
        report.figure(max(long, default=0)),
        f"{len(long)} / {sum(ms > 100 for ms in long)}",
        f"{parts['TaskDuration']:.0%}",
    ]


async def all_cards(shown: Page, runs: int) -> None:
    """Loads the list page by page until all cards are shown."""
    for count in itertools.count(100, 100):
        await until(lambda count=count: cards(shown, min(count, runs)), within_s=20, what="a page of cards")  # type: ignore[misc]
        if count >= runs:
            return
        await shown.evaluate(_MORE)  # to find a button by its role takes seconds among thousands of cards


async def memory(tools: CDPSession) -> list[str]:
    """Two cells: JS heap after a garbage collection, MB, and the number of DOM nodes."""
    for _ in range(2):  # the second one collects what the first has released from the page's tables
        await tools.send("HeapProfiler.collectGarbage")
    used = await tools.send("Runtime.getHeapUsage")
    nodes = (await tools.send("Memory.getDOMCounters"))["nodes"]
    return [report.figure(used["usedSize"] / 1e6), f"{nodes:,}"]


async def figures(tools: CDPSession) -> dict[str, float]:
    """Chromium's performance metrics of the page; durations in seconds."""
    await tools.send("Performance.enable", {"timeDomain": "timeTicks"})
    metrics = (await tools.send("Performance.getMetrics"))["metrics"]
    return {each["name"]: each["value"] for each in metrics}


# -- the first load ------------------------------------------------------------------------------------------------


async def first_load(times: int, runs: int = 100) -> str:
    """First load of the page with `runs` runs and an empty cache."""
    firsts, hundredths, sizes = [], [], []
    async with edge_and_chromium() as (edge, chromium):
        await edge.begin(runs)
        for _ in range(times):
            async with opened(chromium, edge, goto=False) as shown:
                tools = await shown.context.new_cdp_session(shown)
                await tools.send("Network.enable")
                sizes.append(0.0)
                tools.on("Network.loadingFinished", lambda done: sizes.append(sizes.pop() + done["encodedDataLength"]))
                await shown.goto(edge.process.url)
                await until(lambda: shown.evaluate("probe.hundredth"), within_s=20, what="a hundred cards")
                firsts.append(await shown.evaluate("probe.first"))
                hundredths.append(await shown.evaluate("probe.hundredth"))
    report.say(f"load: first {firsts}, hundredth {hundredths}, bytes {sizes}")
    rows = [
        ["first card painted, ms", report.figure(median(firsts)), report.figure(max(firsts))],
        ["all 100 in the page, ms", report.figure(median(hundredths)), report.figure(max(hundredths))],
        [
            "transferred over HTTP, KB (1,024 bytes)",
            report.figure(median(sizes) / 1024),
            report.figure(max(sizes) / 1024),
        ],
    ]
    text = f"First load with {runs} running tests and an empty cache, from the start of the navigation, {times} times:"
    return "\n".join([text, "", *report.table(["", "median", "most"], rows)])


# -- shared parts --------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def edge_and_chromium() -> AsyncIterator[tuple[Edge, Browser]]:
    """A fresh broker and edge on this program's core, and a fresh Chromium on the other core."""
    async with running(Edge, Path()) as edge, async_playwright() as driver:
        assert isinstance(edge, Edge)
        pinned = edge.directory / "chromium"
        program = shlex.quote(find_chromium() or driver.chromium.executable_path)
        pinned.write_text(f'#!/bin/sh\nexec taskset -c {MEASURING_CORE} {program} "$@"\n')
        pinned.chmod(0o755)
        flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        chromium = await driver.chromium.launch(executable_path=pinned, args=flags)
        try:
            yield edge, chromium
        finally:
            await chromium.close()


@contextlib.asynccontextmanager
async def opened(chromium: Browser, edge: Edge, *, height: int = 1080, goto: bool = True) -> AsyncIterator[Page]:
    """The list in a fresh browser context, with animations enabled.

    Raises:
        SystemExit: the page raised an error.
    """
    context = await chromium.new_context(viewport={"width": 1920, "height": height})
    await context.add_init_script(path=_PROBE)
    shown = await context.new_page()
    errors: list[str] = []
    shown.on("pageerror", lambda error: errors.append(str(error)))
    if goto:
        await shown.goto(edge.process.url)
    yield shown
    await context.close()
    if errors:
        raise SystemExit(f"bench: the page raised an error: {errors[0]}")


async def cards(shown: Page, count: int) -> bool:
    """Whether at least `count` cards are shown."""
    return bool(await shown.evaluate("document.querySelectorAll('article.card:not([hidden])').length") >= count)


async def publish(
    edge: Edge, ids: Sequence[str], per_s: float, seconds: float, *, quiet: bool = False
) -> list[Published]:
    """Publishes progress of the runs in turn at a steady rate. Each event is stamped right before it is written.

    Args:
        quiet: disables Python's garbage collection, whose pauses would count as latency of the page.
    """
    published: list[Any] = []
    pick = random.Random(7)
    if quiet:
        gc.collect()
        gc.disable()
    try:
        began, total = time.monotonic(), round(per_s * seconds)
        while len(published) < total:
            due = min(total, int((time.monotonic() - began) * per_s) + 1)
            for n in range(len(published), due):
                test_id, text = ids[n % len(ids)], f"{pick.choice(_WORDS)}, step {n}"
                at = time.time_ns() / 1e6
                event = {"type": "progress", "phase": f"phase{1 + n // len(ids) % 400 // 100}", "message": text}
                await edge.nats.publish(subjects.events(test_id), orjson.dumps(event | {"timestamp": int(at)}))
                published.append(Published(test_id, text, at))
            await asyncio.sleep(max(0.001, min(_TICK_S, began + len(published) / per_s - time.monotonic())))
    finally:
        gc.enable()
    return published


def spread(ms: Sequence[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum."""
    ordered = sorted(ms)
    return median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], ordered[-1]
