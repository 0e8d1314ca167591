"""Benchmarks of the edge alone: many runs, a rush of viewers, polls, growth, many sockets.

Each function measures on a fresh broker and edge, and returns its part of BENCHMARKS.md as Markdown.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import httpx
import orjson

from broker.contract import subjects
from broker.jetstream.parser import Message
from broker.local.child_process import Child
from tests.bench import report
from tests.bench.compare import Workload, measure, running
from tests.bench.edges import Edge, FourEdges, TwoEdges
from tests.bench.host import SERVER_CORE, cpu_s, on_cores, open_sockets, pss_kb
from tests.bench.programs import Figures, open_load, polls, pour
from tests.bench.programs import Load as LoadGenerator
from tests.bench.report import NONE
from tests.harness import free_port, until
from ws_edge.fanout.replay import PAGE

_TOPICS = 1_000
_PAST = 1_000
"""Events that the run has before the viewers join."""


async def topics(programs: Path, quick: bool) -> str:
    """Many runs with a few viewers each, at increasing event rates until p99 exceeds 1 s."""
    viewers_each = 10
    rates = (1_000, 4_000) if quick else (1_000, 2_000, 4_000, 6_000, 8_000, 12_000, 16_000)
    seconds = 2 if quick else 5
    rows = []
    async with running(Edge, programs) as edge:
        assert isinstance(edge, Edge)
        ids = await edge.begin(_TOPICS)
        listed = edge.directory / "topics"
        listed.write_text("\n".join(ids) + "\n")
        where = ["-p", edge.port, "-u", "/ws?testId=%s", "-l", listed, "-w", '"sync"']
        async with open_load(programs, *where, "-n", _TOPICS * viewers_each) as crowd:
            await crowd.line(within_s=120)
            had = gaps = 0
            for rate in rates:
                events = rate * seconds
                before = cpu_s(edge.pids())
                into = ["-m", "jetstream", "-p", edge.broker.port, "-u", "test.%s.events", "-l", listed]
                sent = await pour(programs, *into, "-n", events, "-r", rate, "-o", had, "-f", 4096)
                had += events // _TOPICS
                got = await crowd.received(had, within_s=30)
                used = cpu_s(edge.pids()) - before
                gaps += got["gaps"] + got["disorders"]
                lost = (had - got["least"]) or gaps
                report.say(
                    f"{rate}/s: p99 {got['p99_ms']:.1f} ms, lost {lost}, latest publish {sent['latest_ms']:.0f} ms"
                )
                rows.append(
                    [
                        f"{rate:,}",
                        f"{rate * viewers_each:,}",
                        report.figure(got["p50_ms"]),
                        report.figure(got["p99_ms"]),
                        str(lost),
                        f"{used / got['span_s'] * 100:.0f} %",
                        report.figure(used / events * 1e6),
                    ]
                )
                if got["p99_ms"] > 1_000:
                    break
    head = ["events/s", "deliveries/s", "p50, ms", "p99, ms", "lost, twice or out of order", "CPU", "µs an event"]
    text = f"{_TOPICS:,} runs with {viewers_each} viewers each; events are spread evenly over the runs:"
    return "\n".join([text, "", *report.table(head, rows)])


async def join(programs: Path, quick: bool) -> str:
    """All viewers open the same long run at the same time."""
    viewers, rows = 1_000, []
    for _ in range(1 if quick else 3):
        async with running(Edge, programs) as edge:
            assert isinstance(edge, Edge)
            await pour(programs, *edge.publisher(), "-n", _PAST)
            reads = 0

            def on_read(asked: Message) -> None:
                nonlocal reads
                reads += orjson.loads(asked.data)["batch"] == PAGE  # other batch sizes: the leader check, the projector

            # A core subscription also receives the requests to the stream's API.
            await edge.nats.subscribe(f"$JS.API.DIRECT.GET.{subjects.EVENTS}", on_read)
            await edge.nats.flush()
            before = cpu_s(edge.pids())
            async with open_load(programs, *edge.viewers(), "-n", viewers, "-i", viewers) as crowd:
                opened = await crowd.line(within_s=60)
                got = await crowd.received(_PAST, within_s=30)
                used = cpu_s(edge.pids()) - before
            late = got["least"] < _PAST or got["gaps"] or got["disorders"]
            rows.append((opened["open_s"], got["since_start_s"], reads, used / viewers * 1e6, bool(late)))
            report.say(
                f"open {opened['open_s']:.2f} s, all current {got['since_start_s']:.2f} s, {reads} reads of EVENTS"
            )
    opened_s, current_s, read, each = (median(row[column] for row in rows) for column in range(4))
    mark = " !" if any(row[4] for row in rows) else ""
    head = ["all open, s", "all current, s", "reads of the stream for them", "edge's CPU a viewer, µs"]
    cells = [report.figure(opened_s), report.figure(current_s) + mark, f"{read:.0f}", report.figure(each)]
    text = f"{viewers:,} viewers connect at once to a run with {_PAST:,} past events of 180 bytes:"
    return "\n".join([text, "", *report.table(head, [cells])])


async def growth(programs: Path, quick: bool) -> str:
    """From 1 to 10,000 viewers, on one process and on two."""
    sizes = (1, 100, 10_000) if quick else (1, 10, 100, 1_000, 10_000)
    rows = []
    for kind in (Edge, TwoEdges):
        for size in sizes:
            cell = await measure(kind, Workload(size, 100 if size <= 1_000 else 4, seconds=2 if quick else 4), programs)
            report.say(f"{kind.name}, {size}: {cell.delivery_us:.2f} µs a delivery, {cell.memory_mb:.0f} MB")
            rows.append(
                [
                    str(kind.workers),
                    f"{size:,}",
                    "100" if size <= 1_000 else "4",
                    report.figure(cell.event_us),
                    report.figure(cell.delivery_us, cell.whole),
                    report.figure(cell.p99_ms),
                    report.figure(cell.memory_mb),
                    report.figure(cell.kb) if size >= 1_000 else NONE,
                ]
            )
    head = [
        "processes",
        "viewers",
        "events/s",
        "CPU an event, µs",
        "a delivery, µs",
        "p99, ms",
        "memory, MB",
        "KB a viewer",
    ]
    return "\n".join(["One run; CPU and memory are summed over all processes:", "", *report.table(head, rows)])


async def opening(programs: Path, quick: bool) -> str:
    """10,000 viewers open their connections to one process as fast as it accepts them."""
    cells = [await measure(Edge, Workload(10_000, 4, seconds=1), programs) for _ in range(1 if quick else 3)]
    for cell in cells:
        report.say(f"opened in {cell.open_s:.2f} s, {cell.handshake_us:.0f} µs each, refused {cell.refused}")
    head = ["opened and subscribed, s", "CPU each, µs", "KB each", "refused with 503, and come back"]
    row = [
        median(cell.open_s for cell in cells),
        median(cell.handshake_us for cell in cells),
        median(c.kb for c in cells),
    ]
    line = [*map(report.figure, row), f"{median(cell.refused for cell in cells):.0f}"]
    return "\n".join(
        ["10,000 viewers open one run, 200 handshakes in flight at a time:", "", *report.table(head, [line])]
    )


async def polling(programs: Path, quick: bool) -> str:
    """An unchanged list (304), compared with a minimal ASGI application on the same uvicorn."""
    seconds, rounds = (1, 1) if quick else (3, 3)
    ours: list[tuple[Figures, float]] = []
    bare: list[tuple[Figures, float]] = []
    for _ in range(rounds):
        async with running(Edge, programs) as edge:
            assert isinstance(edge, Edge)
            await edge.begin(50)
            target = "/rpc/listTests?limit=50"
            etag = await _stable_etag(f"{edge.process.url}{target}", 50)
            ours.append(await _poll(programs, edge.pids(), "-p", edge.port, "-u", target, "-t", etag, "-d", seconds))
            argv = [sys.executable, "-m", "uvicorn", "tests.bench.plain_app:hello", "--port", str(port := free_port())]
            argv += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
            child = Child(on_cores(SERVER_CORE, argv), edge.directory / "hello.log")
            try:
                await until(partial(_answers, port), within_s=20)
                bare.append(await _poll(programs, [child.pid], "-p", port, "-d", seconds))
            finally:
                await child.stop(1)
    rows = []
    for name, runs in (("`listTests`, 304", ours), ("bare ASGI hello", bare)):
        rows.append(
            [
                name,
                f"{median(run['per_s'] for run, _ in runs):,.0f}",
                report.figure(median(used / run["answers"] * 1e6 for run, used in runs)),
                report.figure(median(run["p99_ms"] for run, _ in runs)),
            ]
        )
    answers, unchanged = (sum(run[key] for run, _ in ours) for key in ("answers", "unchanged"))
    ratio = median(a["per_s"] / b["per_s"] for (a, _), (b, _) in zip(ours, bare, strict=True))
    note = (
        f"The ratio of the rates is {report.figure(ratio)} (wanted: 0.8 or more). "
        f"Answers other than 304: {answers - unchanged}."
    )
    report.say(note)
    text = "32 connections with one request at a time on each; the list of 50 runs does not change:"
    return "\n".join([text, "", *report.table(["", "answers/s", "CPU, µs", "p99, ms"], rows), "", note])


async def _poll(programs: Path, pids: Sequence[int], *arguments: object) -> tuple[Figures, float]:
    before = cpu_s(pids)
    got = await polls(programs, *arguments)
    return got, cpu_s(pids) - before


async def _stable_etag(url: str, runs: int) -> str:
    """The list's ETag, once it has all runs and has not changed for a second."""
    async with httpx.AsyncClient() as client:
        etag, same = "", 0
        async with asyncio.timeout(20):
            while same < 10:
                answer = await client.get(url)
                listed = len(answer.json().get("tests", [])) if answer.status_code == 200 else 0
                same = same + 1 if listed >= runs and answer.headers["etag"] == etag else 0
                etag = answer.headers.get("etag", "")
                await asyncio.sleep(0.1)
    return etag


async def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
    return False


async def open_crowds(
    stack: contextlib.AsyncExitStack, programs: Path, edge: Edge, total: int, crowds: int, in_flight: int
) -> tuple[list[LoadGenerator], list[Figures]]:
    """Opens sockets by several load generators, each from an address of its own: an address has 28,000 ports, a process
    may open 20,000 files. Returns the generators, and what each said when its sockets were open.

    Args:
        in_flight: handshakes of each generator at the same time.
    """
    loads = [
        await stack.enter_async_context(
            open_load(programs, *edge.viewers(), "-n", total // crowds, "-b", 2 + index, "-i", in_flight)
        )
        for index in range(crowds)
    ]
    return loads, list(await asyncio.gather(*(load.line(within_s=180) for load in loads)))


async def sockets(programs: Path, quick: bool, minutes: float) -> str:
    """50,000 open sockets on four processes, held for `minutes` of heartbeats."""
    total, crowds = (8_000, 2) if quick else (50_000, 4)
    async with running(FourEdges, programs) as edge, contextlib.AsyncExitStack() as stack:
        assert isinstance(edge, FourEdges)
        before_mb = pss_kb(edge.pids()) / 1024
        loads, opened = await open_crowds(stack, programs, edge, total, crowds, in_flight=200)
        open_s, count = max(each["open_s"] for each in opened), sum(each["open"] for each in opened)
        report.say(f"{count} open in {open_s:.1f} s; refused and retried: {sum(each['refused'] for each in opened)}")
        shares = sorted(open_sockets(pid) for pid in edge.pids())
        first = await _one_event(programs, edge, loads, 0)
        rows = [["at once", *first]]
        if minutes:
            await asyncio.sleep(minutes * 60)
            rows.append([f"after {minutes:g} minutes", *await _one_event(programs, edge, loads, 1)])
        after_mb = pss_kb(edge.pids()) / 1024
    head = ["", "still open", "one event reached all in, ms", "half of them in, ms", "without it"]
    text = (
        f"{total:,} sockets of one run on {edge.workers} processes. All are open after {open_s:.1f} s. The processes "
        f"use {before_mb:.0f} MB before and {after_mb:.0f} MB with the sockets: "
        f"{(after_mb - before_mb) * 1024 / total:.1f} KB per socket. "
        f"Each process has {shares[0]:,} to {shares[-1]:,} of them."
    )
    return "\n".join([text, "", *report.table(head, rows)])


async def _one_event(programs: Path, edge: Edge, loads: Sequence[LoadGenerator], had: int) -> list[str]:
    """Publishes one event. Returns the cells: open sockets, ms until all and half of them have it, who lacks it."""
    await pour(programs, *edge.publisher(), "-n", 1, "-o", had)
    got = await asyncio.gather(*(load.received(had + 1, 30) for load in loads))
    slowest, middle = max(each["max_ms"] for each in got), max(each["p50_ms"] for each in got)
    still, missing = sum(each["open"] for each in got), sum(each["least"] <= had for each in got)
    report.say(f"{still} open, one event reached all in {slowest:.0f} ms; load generators without it: {missing}")
    return [f"{still:,}", report.figure(slowest), report.figure(middle), "none" if not missing else "some !"]
