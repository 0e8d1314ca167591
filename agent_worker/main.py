"""The game tester as a process: puts connection, browser and worker together, and shuts them down in order."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from agent_worker.config import AgentConfig, forget_secrets, load, warnings
from agent_worker.games.chromium.browser import Browser, Walls
from agent_worker.games.chromium.confinement import deny_looks_from_outside
from agent_worker.games.chromium.egress_proxy import judge_any, judge_public
from agent_worker.games.chromium.limits import Limits
from agent_worker.games.errors import BrowserMissing, PageGone
from agent_worker.games.handle import GameJob, RunHandle, read_job
from agent_worker.games.model.endpoint import Endpoint
from agent_worker.games.player import play
from agent_worker.metrics import AgentMetrics
from agent_worker.work.outcome import TryAgain
from agent_worker.work.worker import Worker
from broker import config as broker_config
from broker import log_setup, tracing
from broker.config import MetricsSettings
from broker.contract.errors import InvalidSetting, TestcastError
from broker.jetstream.connection import Connection
from broker.local.listening import host_port
from broker.local.signals import ShieldingLoop, not_ignored
from broker.login import NatsSettings
from broker.metrics.endpoint import MetricsEndpoint, listening_socket, page_of
from broker.retry import retry
from broker.version import VERSION

_CONNECT_S: Final = 2.0
"""One try. A stop signal takes effect between two tries."""

_log = logging.getLogger("testcast.worker")

T = TypeVar("T")


class _Stopped(Exception):
    """The process was told to stop before the broker answered."""


async def serve(
    nats_url: str,
    config: AgentConfig,
    stop: asyncio.Event,
    login: NatsSettings | None = None,
    metrics: AgentMetrics | None = None,
) -> None:
    """Works until `stop` is set, then hands its runs on. Waits for the broker without a time limit.

    Args:
        login: how to log in to the broker; None: as the environment says.
        metrics: learns of the parts as they are made.

    Raises:
        BrowserMissing: Chromium could not be started.
        InvalidSetting: `nats_url` is not an address.
    """
    metrics = metrics or AgentMetrics(config.concurrency)
    try:
        nats = await _until_stopped(
            stop,
            lambda: Connection.connect(nats_url, name=f"agent-{config.name}", timeout_s=_CONNECT_S, settings=login),
        )
    except _Stopped:
        return
    metrics.connection = nats
    try:
        await _work(nats, config, stop, metrics)
    except _Stopped:
        return
    finally:
        await nats.close()
    _log.info("worker %s has ended", config.name)


async def _work(nats: Connection, config: AgentConfig, stop: asyncio.Event, metrics: AgentMetrics) -> None:
    judge = judge_any if config.allow_private else judge_public
    limits = Limits(config.memory_mb, config.processes, config.disk_mb)
    environment = config.browser_environment
    async with (
        _model(config) as model,
        Browser(
            config.chromium, judge, limits=limits, allow_root=config.allow_root, environment=environment
        ) as browser,
    ):
        metrics.browser = browser
        _tell_walls(browser.walls)

        async def player(run: RunHandle, job: GameJob) -> None:
            if config.allow_private is False:
                job = replace(job, allow_private=False, allowed_hosts=job.allowed_hosts & config.allowed_hosts)
            try:
                await play(run, browser, job, model)
            except BrowserMissing as error:
                raise TryAgain(str(error)) from error
            except PageGone as error:  # the browser was this game's own
                raise TryAgain(str(error), suspect=True) from error

        worker = Worker(nats, player, read_job=read_job, name=config.name, concurrency=config.concurrency)
        metrics.worker = worker
        place = (config.name, nats.address, config.concurrency)
        _log.info("testcast %s: worker %s takes jobs from %s, %d at a time", VERSION, *place)
        await worker.run(stop)


def _model(config: AgentConfig) -> AbstractAsyncContextManager[Endpoint | None]:
    """The model that chooses gestures, if one is set."""
    if config.model is None:
        return nullcontext()
    _log.info("the model %s chooses gestures, with at most %d calls a run", config.model.name, config.model.calls)
    return Endpoint(config.model)


def _tell_walls(walls: Walls) -> None:
    """Says in the log what stands between games and this machine."""
    _log.info("each game has a browser of its own, behind: %s", walls.describe())
    if not walls.sandbox:
        _log.warning(
            "Chromium's sandbox cannot be used here: the kernel or the container's engine allows no user namespaces. "
            "A game that breaks out of Chromium has the rights of %s",
            "a user that nothing else runs as" if walls.own_user else "this process",
        )


async def _until_stopped(stop: asyncio.Event, attempt: Callable[[], Awaitable[T]]) -> T:
    """Tries until the broker answers.

    Raises:
        _Stopped: `stop` was set first.
    """

    def unless_stopped(error: Exception) -> None:
        if stop.is_set():
            raise _Stopped from error
        _log.warning("%s; trying again", error)

    return await retry(attempt, on_failure=unless_stopped)


def stop_on_signals(stop: asyncio.Event) -> None:
    """The first SIGTERM or SIGINT sets `stop`; the second ends the process at once. An ignored one stays ignored."""
    loop = asyncio.get_running_loop()
    handled = not_ignored((signal.SIGTERM, signal.SIGINT))

    def on_signal() -> None:
        stop.set()
        for number in handled:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in handled:
        loop.add_signal_handler(number, on_signal)


@asynccontextmanager
async def serving(metrics: AgentMetrics, settings: MetricsSettings, path: Path | None) -> AsyncIterator[None]:
    """Serves the metrics, `/healthz` and `/readyz`, where anything is to be served.

    Args:
        path: of a Unix socket, instead of the port in `settings`.

    Raises:
        InvalidSetting: the port cannot be listened on.
    """
    if path is None and not settings.port:
        yield
        return
    where = path or listening_socket(settings.host, settings.port)
    checks = {"/healthz": metrics.amiss, "/readyz": metrics.not_ready}
    endpoint = MetricsEndpoint(page_of(metrics.collect), checks)
    await endpoint.start(where)
    try:
        if path is None:
            _log.info("metrics at http://%s/metrics", host_port(settings.host, settings.port))
        yield
    finally:
        await endpoint.stop()


def main() -> int:
    """`python -m agent_worker`: settings from the environment, exit status 0 after an orderly end.

    `--metrics-socket PATH` is for a parent that shows the metrics of its children.
    """
    parser = argparse.ArgumentParser(prog="agent_worker")
    parser.add_argument("--metrics-socket", type=Path, help=argparse.SUPPRESS)
    path = parser.parse_args().metrics_socket
    try:
        log_setup.configure("agent")
    except InvalidSetting as error:
        log_setup.fatal("testcast agent", error)
        return 2
    for each in broker_config.unknown():
        _log.warning("%s", each)

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        settings, login, config = broker_config.load(), broker_config.nats(), load()
        for each in warnings():
            _log.warning("%s", each)
        metrics, where = AgentMetrics(config.concurrency), broker_config.metrics()
        log_setup.always(worker=config.name)
        tracing.start("agent")
        # Processes that are started from here on, browsers among them, have no way to learn of the broker.
        forget_secrets()
        deny_looks_from_outside()
        async with serving(metrics, where, path):
            await serve(settings.nats_url, config, stop, login, metrics)

    try:
        with asyncio.Runner(loop_factory=ShieldingLoop) as runner:
            runner.run(run())
            tracing.stop()
    except (TestcastError, BrowserMissing) as error:
        log_setup.fatal("testcast agent", error)
        return 2
    return 0
