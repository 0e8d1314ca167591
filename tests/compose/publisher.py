"""Runs in an agent's container: publishes a run of numbered events until the file that it is given appears.

It prints the test id, and in the end how many events it has published. Standard library and testcast only.
"""

from __future__ import annotations

import asyncio
import os
import sys

from testcast import TestRun

EVERY_S = 0.1


async def publish(stop: str) -> None:
    """One event every tenth of a second."""
    async with TestRun.create(os.environ["TESTCAST_NATS_URL"], title="Numbered") as run:
        print(run.test_id, flush=True)
        number = 0
        while not os.path.exists(stop):  # noqa: ASYNC240, PTH110
            number += 1
            await run.phase(3, f"number {number}")  # a status, which edges send at once
            await asyncio.sleep(EVERY_S)
        await run.complete(score=100)
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1]))
