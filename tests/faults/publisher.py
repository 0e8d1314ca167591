"""A publisher process that the nemesis kills and stops. It publishes numbered events with `TestRun`.

    python -m tests.faults.publisher NATS_URL TEST_ID LIFE EVENTS_PER_S JOURNAL

LIFE is the number of this process among the publishers of the run. The journal has one line per fact: `told` is written
before an event is published, `acked` after its acknowledgement. Lines go directly to the kernel, so kill -9 loses none.
SIGTERM ends the run with a verdict.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

import orjson

from agent_worker.main import stop_on_signals
from agent_worker.publish.run import TestRun
from broker.clock import now_ms
from broker.contract.errors import BrokerUnavailable, Fenced
from broker.contract.events import Event

_TICK_S = 0.005
_URGENT_EVERY = 25


class Journal:
    """Appends facts to a file, unbuffered."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, fact: str, n: int = 0) -> None:
        """Writes one line: the fact, the event's number, the monotonic time."""
        os.write(self._file, orjson.dumps([fact, n, time.monotonic()]) + b"\n")


async def publish(
    url: str, test_id: str, life: int, events_per_s: float, journal: Journal, stop: asyncio.Event
) -> None:
    """Publishes events until `stop` is set, and then the verdict. Returns early when fenced."""
    while True:
        run = TestRun.join(url, test_id, worker=f"publisher-{life}")
        try:
            await run.__aenter__()
            break
        except BrokerUnavailable as error:
            logging.warning("cannot join yet: %s", error)
    journal.write("joined")
    before = run.statistics().stored
    acked = 0

    def note_acked() -> None:
        nonlocal acked
        while acked < run.statistics().stored - before:
            acked += 1
            journal.write("acked", acked)

    try:
        n, due = 0, time.monotonic()
        while not stop.is_set():
            note_acked()
            if time.monotonic() >= due:
                n, due = n + 1, max(due, time.monotonic() - 1) + 1 / events_per_s
                data = {"life": life, "n": n}
                journal.write("told", n)
                await run.publish(_event(n, data))
            await asyncio.sleep(_TICK_S)
        await run.flush()
        note_acked()
        await run.complete(100)
        await run.__aexit__(None, None, None)
        journal.write("ended")
    except Fenced as fenced:
        note_acked()
        journal.write("fenced")
        logging.info("fenced: %s", fenced)


def _event(n: int, data: dict[str, int]) -> Event:
    """A progress event, or at every 25th number a status event, which must not overtake the others."""
    if n % _URGENT_EVERY:
        return Event(type="progress", message=f"event {data['life']}.{n}", timestamp=now_ms(), data=data)
    return Event(type="status", status="running", message=f"event {data['life']}.{n}", timestamp=now_ms(), data=data)


async def main() -> None:
    """Runs the command line."""
    url, test_id, life, events_per_s, journal = sys.argv[1:]
    stop = asyncio.Event()
    stop_on_signals(stop)
    await publish(url, test_id, int(life), float(events_per_s), Journal(Path(journal)), stop)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(main())
