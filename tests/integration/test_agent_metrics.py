"""The metrics of an agent: its parts count what they do, and the process serves it and says whether it is well."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from agent_worker.games.chromium.browser import Browser
from agent_worker.games.handle import GameJob, RunHandle, read_job
from agent_worker.metrics import AgentMetrics
from agent_worker.work.worker import OUTCOMES, Worker
from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.child_process import Child
from broker.metrics.endpoint import page_of
from tests.harness import event_log, free_port, until

ROOT = Path(__file__).parents[2]
JOB = runs.make_job("https://game.example/", "Game", 5, 7)
NAMES = (
    *("slots", "runs", "leases", "leases_lost_total", "jobs_total", "attempts_total", "runs_ended_total"),
    *("run_seconds", "phase_seconds", "outbox_events", "outbox_bytes", "events_stored_total", "store_seconds"),
    *("frames_total", "heartbeats_total", "heartbeat_failures_total", "browser_launches_total", "egress_connections"),
    *("egress_refused_total", "broker_connected", "broker_reconnects_total"),
)


async def figures(metrics: AgentMetrics) -> dict[str, float]:
    """Name without its prefix, and the labels' values -> value."""
    page = (await page_of(metrics.collect)()).decode()
    return {
        ".".join([each.name.removeprefix("testcast_agent_"), *each.labels.values()]): each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
    }


async def test_what_the_parts_count_is_on_the_page(nats: Connection, streams: Streams) -> None:
    pictured = asyncio.Event()

    async def plays(run: RunHandle, job: GameJob) -> None:
        await run.phase(1)
        await run.phase(2)
        await run.screenshot(b"no picture")
        if pictured.is_set():
            await run.fail("it does not load", "not_loaded")
            return
        pictured.set()
        await run.complete(80, {})

    metrics = AgentMetrics(2)
    assert metrics.not_ready() == ["the broker is away"]
    metrics.connection, metrics.browser = nats, Browser()
    assert metrics.not_ready() == ["it is starting"]
    metrics.worker = worker = Worker(nats, plays, read_job=read_job, name="w", concurrency=2)
    assert metrics.not_ready() == ["it has not begun to take jobs"]
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    await until(lambda: not metrics.not_ready(), within_s=20, what="it takes jobs")
    for _ in range(2):
        await runs.submit(event_log(streams), JOB)
    await until(lambda: sum(worker.statistics().ends.values()) == 2, within_s=20, what="both runs have ended")
    await until(lambda: worker.statistics().leases == 0, within_s=20, what="both jobs are answered")
    stop.set()
    await asyncio.wait_for(task, 20)
    assert metrics.not_ready() == ["it takes no more jobs"]
    found = await figures(metrics)
    plain = {name.split(".")[0].removesuffix("_count") for name in found}
    assert set(NAMES) <= plain
    assert {f"runs_ended_total.{each}" for each in OUTCOMES} <= set(found)
    assert {name: found[name] for name in EXPECTED} == EXPECTED


EXPECTED = {
    "slots": 2,
    "jobs_total": 2,
    "attempts_total.first": 2,
    "runs_ended_total.completed": 1,
    "runs_ended_total.failed": 1,
    "run_seconds_count": 2,
    "phase_seconds_count.phase1": 2,
    "phase_seconds_count.phase2": 2,
    "phase_seconds_count.phase3": 0,
    "events_stored_total": 8,
    "store_seconds_count": 6,  # the first event of an attempt is stored before the outbox opens
    "frames_total.refused": 2,
    "outbox_events": 0,
    "broker_connected": 1,
    "leases_lost_total": 0,
}


async def test_the_process_answers_while_its_broker_is_away(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TESTCAST_METRICS_PORT": str(port),
        "TESTCAST_NATS_URL": "nats://127.0.0.1:1",
    }
    child = Child([sys.executable, "-m", "agent_worker"], tmp_path / "agent.log", env=environ)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:

            async def answers() -> bool:
                try:
                    return (await http.get("/healthz")).status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

            await until(answers, within_s=60, what="the port is open")
            ready, page = await http.get("/readyz"), await http.get("/metrics")
        assert (ready.status_code, ready.text) == (503, "the broker is away\n")
        assert "testcast_agent_broker_connected 0.0" in page.text
        assert 'testcast_build_info{part="agent"' in page.text
        assert "process_cpu_seconds_total" in page.text
        child.signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 20) == 0
    finally:
        await child.stop(5)
