"""A worker as a process: connection, browser and worker put together, and ended in good order."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from agent_worker.config import AgentConfig, load
from agent_worker.errors import BrowserMissing, PageGone
from agent_worker.games.browser import Browser
from agent_worker.games.egress_proxy import judge_any, judge_public
from agent_worker.games.handle import GameJob, RunHandle
from agent_worker.games.player import play
from agent_worker.work.worker import TryAgain, Worker
from broker import config as broker_config
from broker.contract.errors import BrokerUnavailable, TestcastError
from broker.jetstream import topology
from broker.jetstream.connection import Connection

_log = logging.getLogger("testcast.worker")


async def serve(nats_url: str, config: AgentConfig, stop: asyncio.Event) -> None:
    """Works until `stop` is set. Waits for the broker as long as it takes; hands its runs on at the end.

    Raises:
        BrowserMissing: no Chromium could be started.
        InvalidSetting: `nats_url` is no address.
    """
    nats = await _connect(nats_url, config.name, stop)
    if nats is None:
        return
    try:
        await _prepare(nats, stop)
        async with Browser(config.chromium, judge_any if config.allow_private else judge_public) as browser:

            async def player(run: RunHandle, job: GameJob) -> None:
                try:
                    await play(run, browser, job)
                except (BrowserMissing, PageGone) as error:  # no page came to be: not the game's fault
                    raise TryAgain(str(error)) from error

            worker = Worker(nats, player, name=config.name, concurrency=config.concurrency)
            _log.info("worker %s takes jobs from %s, %d at a time", config.name, nats.address, config.concurrency)
            await worker.run(stop)
    finally:
        await nats.close()
    _log.info("worker %s has ended", config.name)


async def _connect(nats_url: str, name: str, stop: asyncio.Event) -> Connection | None:
    while not stop.is_set():
        try:
            return await Connection.connect(nats_url, name=f"agent-{name}", timeout_s=2.0)
        except BrokerUnavailable as error:
            _log.warning("%s; trying again", error)
    return None


async def _prepare(nats: Connection, stop: asyncio.Event) -> None:
    replicas = broker_config.load().replicas
    while not stop.is_set():
        try:
            await topology.apply(nats, replicas=replicas, timeout_s=5.0)
            return
        except BrokerUnavailable as error:
            _log.warning("%s; trying again", error)


def stop_on_signals(stop: asyncio.Event) -> None:
    """The first SIGTERM or SIGINT sets `stop`; the second ends the process at once."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def main() -> int:
    """`python -m agent_worker`: settings from the environment, exit status 0 after an orderly end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await serve(broker_config.load().nats_url, load(), stop)

    try:
        asyncio.run(run())
    except (TestcastError, BrowserMissing) as error:
        print(f"testcast agent: {error}", file=sys.stderr)  # noqa: T201  # a person reads it
        return 2
    return 0
