"""Fixtures: a broker for one test, or a stack (broker and edge) shared by the tests that do not disturb it."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from _pytest.terminal import TerminalReporter
from hypothesis import settings

from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests import fork_server
from tests.harness import EdgeProcess, PatientStreams, last_words, until

# A shell ignores SIGINT in background jobs, and `nohup` SIGHUP. Tests that send these, and commands that they start,
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


for _part in ("connect", "read", "write", "pool"):
    # A busy machine may need more than httpx's 5 s; a test that is about time names its own.
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _part, 60.0)


@functools.cache
def _certificates_of(*_named: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _certificates(
    verify: ssl.SSLContext | str | bool = True, cert: Any = None, trust_env: bool = True
) -> ssl.SSLContext:
    if verify is True and cert is None and trust_env:
        return _certificates_of(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    return httpx.create_ssl_context(verify, cert, trust_env)


# Each client would read every certificate of the machine again, of which plain HTTP uses none.
httpx._transports.default.create_ssl_context = _certificates  # type: ignore[attr-defined]

settings.register_profile("house", deadline=None)  # a busy machine takes as long as it takes
settings.load_profile("house")
EdgeProcess.forks = fork_server.POSSIBLE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the edges and the page of a test that fails have said last stands in its report."""
    report = yield
    if report.failed:
        for name, lines in last_words(item):
            report.sections.append((f"the last that {name} said", "\n".join(lines[-15:])))
    return report


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Notes what was skipped and why, for the last lines of `make test`."""
    skipped = {f"{each.nodeid}: {each.longrepr[2]}" for each in terminalreporter.stats.get("skipped", [])}
    if skipped:
        folder = config.rootpath / ".pytest_cache"
        folder.mkdir(exist_ok=True)
        with (folder / "not-run").open("a", encoding="utf-8") as notes:
            notes.writelines(f"NOT RUN: {each}\n" for each in sorted(skipped))


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a test changes in the environment ends with it, as what an option does that is parsed (`--token-file`)."""
    before = dict(os.environ)
    yield
    after = dict(os.environ)
    for name in (before.keys() | after.keys()) - {"PYTEST_CURRENT_TEST"}:
        if name not in before:
            del os.environ[name]
        elif after.get(name) != before[name]:
            os.environ[name] = before[name]


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A broker for this test alone, with the topology applied."""
    async with EmbeddedServer(tmp_path / "nats") as server:
        prepare = await Connection.connect(server.url, name="prepare")
        await topology.apply(prepare)
        await prepare.close()
        yield server


@pytest.fixture
async def nats(nats_server: EmbeddedServer) -> AsyncIterator[Connection]:
    """A connection to `nats_server`."""
    connected = await Connection.connect(nats_server.url, name="test")
    yield connected
    await connected.close()


@pytest.fixture
def streams(nats: Connection) -> Streams:
    """JetStream of `nats_server`."""
    return PatientStreams(nats)


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """`harness.until` as a fixture."""
    return until


class Stack(NamedTuple):
    """A broker and an edge that all tests of a session share. Every test uses its own test ids."""

    nats_url: str
    edge: EdgeProcess

    @property
    def edge_url(self) -> str:
        """`http://127.0.0.1:port`."""
        return self.edge.url

    @property
    def ws_url(self) -> str:
        """`ws://127.0.0.1:port/ws`."""
        return self.edge.ws_url


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The shared stack. Its progress messages are not throttled."""
    directory = tmp_path_factory.mktemp("stack")
    server = EmbeddedServer(directory / "nats")
    asyncio.run(server.start())
    edge = EdgeProcess(server.url, directory, TESTCAST_EDGE_HOSTS="edge, edge-of-the-proxy")
    try:
        asyncio.run(edge.start())
        yield Stack(server.url, edge)
    finally:
        asyncio.run(edge.stop())
        asyncio.run(server.stop())


@pytest.fixture
async def stack_streams(stack: Stack) -> AsyncIterator[Streams]:
    """JetStream of the shared stack."""
    connected = await Connection.connect(stack.nats_url, name="test")
    yield PatientStreams(connected)
    await connected.close()


MakeEdge = Callable[..., Awaitable[EdgeProcess]]


@pytest.fixture
async def make_edge(
    nats_server: EmbeddedServer, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[EdgeProcess]]]:
    """Starts edges on `nats_server` with the given settings, and stops them after the test."""
    started: list[EdgeProcess] = []

    async def make(**settings: str) -> EdgeProcess:
        edge = EdgeProcess(nats_server.url, tmp_path, **settings)
        started.append(edge)
        return await edge.start()

    yield make
    for edge in started:
        await edge.stop()


@pytest.fixture
async def nats_edge(make_edge: MakeEdge) -> EdgeProcess:
    """One edge on `nats_server`."""
    return await make_edge()
