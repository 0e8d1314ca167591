"""An agent without a browser, as a process of its own: plays a run in steps, so that tests can end it in between.

    python step_agent.py NATS_URL NAME STEPS [stubborn] [phases]

A stubborn one does not stop when it is told to. With phases, the steps are in the third.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from agent_worker.games.handle import GameJob, RunHandle, read_job
from agent_worker.main import stop_on_signals
from agent_worker.work.worker import Worker
from broker import tracing
from broker.jetstream.connection import Connection


async def main(url: str, name: str, steps: int, stubborn: bool) -> None:
    async def player(run: RunHandle, job: GameJob) -> None:
        if "phases" in sys.argv:
            await run.phase(3)
        for step in range(steps):
            await run.progress(f"{name} step {step}")
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                if not stubborn:
                    raise
        await run.complete(100, {})

    tracing.start("agent")
    stop = asyncio.Event()
    stop_on_signals(stop)
    nats = await Connection.connect(url, name=name)
    await Worker(nats, player, read_job=read_job, name=name, concurrency=2).run(stop)
    await nats.close()
    tracing.stop()


logging.basicConfig(level=logging.INFO)
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "stubborn" in sys.argv))
