"""An agent without a browser, as a process of its own, that shows the metrics of an agent.

    python agent.py NATS_URL METRICS_PORT

What it plays is the title of the run: `fails`; `floods`, which publishes 900 events as soon as the broker is away;
`waits`, until it is cancelled; any other completes after a second.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from functools import partial
from typing import Final

from PIL import Image

from agent_worker.games.chromium.browser import Browser
from agent_worker.games.handle import GameJob, RunHandle, read_job
from agent_worker.main import serving, stop_on_signals
from agent_worker.metrics import AgentMetrics
from agent_worker.work.worker import Worker
from broker.config import MetricsSettings
from broker.jetstream.connection import Connection

_SLOTS: Final = 8


def picture() -> bytes:
    """A JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "green").save(buffer, "JPEG")
    return buffer.getvalue()


async def play(nats: Connection, run: RunHandle, job: GameJob) -> None:
    """Plays as the title says."""
    await run.phase(1)
    await run.screenshot(picture())
    if job.title == "fails":
        await run.fail("the game does not load", "not_loaded")
        return
    if job.title == "floods":
        while nats.connected:
            await asyncio.sleep(0.05)
        for number in range(900):
            await run.progress(f"event {number}")
    while job.title in ("floods", "waits"):
        await run.progress("waiting")
        await asyncio.sleep(1)
    await run.phase(2)
    await asyncio.sleep(1)
    await run.complete(80, {})


async def main(url: str, port: int) -> None:
    """Works until a signal."""
    metrics = AgentMetrics(_SLOTS)
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with serving(metrics, MetricsSettings(port=port), None):
        nats = await Connection.connect(url, name="agent")
        metrics.connection, metrics.browser = nats, Browser()  # a browser that is not started has figures too
        player = partial(play, nats)
        metrics.worker = Worker(nats, player, read_job=read_job, name="agent", concurrency=_SLOTS)
        await metrics.worker.run(stop)
        await nats.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
