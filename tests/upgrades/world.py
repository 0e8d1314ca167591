"""A running installation whose parts can be exchanged for those of another version, one at a time."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import httpx

from broker.contract.errors import BrokerUnavailable
from broker.jetstream import stream_config
from broker.local.child_process import Child
from tests.faults.checker import History
from tests.faults.cluster import Cluster
from tests.faults.viewers import BEAT_S, PageViewer, TailViewer
from tests.faults.workload import Crowd, Publishers, heads
from tests.harness import EdgeProcess, until
from tests.upgrades.versions import Version

_STEPS: Final = 5
_HTTP_S: Final = 30.0


def client() -> httpx.AsyncClient:
    """A client for edges. It reads no certificates, which would take longer than what it asks for."""
    return httpx.AsyncClient(timeout=_HTTP_S, trust_env=False, verify=False)


class Size(NamedTuple):
    """The number of each part."""

    brokers: int = 1
    """1, or 3 for a cluster."""
    runs: int = 2
    events_per_s: float = 8.0
    """Rate of each run."""
    sockets: int = 6
    pollers: int = 1
    pages: int = 1
    """Pages of a run, with the code of the previous version, in a real Chromium."""
    edges_back: int = 2
    """Edges that are rolled back to the previous version at the end."""


class Edge:
    """One place behind the load balancer: an address at which edges of changing versions stand."""

    def __init__(self, url: str, directory: Path, version: Version, settings: Mapping[str, str]) -> None:
        self._nats_url = url
        self._directory = directory
        self._settings = dict(settings)
        self.version = version
        self.process = self._process({})
        self._settings["TESTCAST_EDGE_PORT"] = str(self.process.port)

    def __repr__(self) -> str:
        return f"<Edge {self.url} {self.version.name} {self.process.child!r}>"

    @property
    def url(self) -> str:
        """Its address; it stays the same."""
        return self.process.url

    def _process(self, settings: Mapping[str, str]) -> EdgeProcess:
        return EdgeProcess(self._nats_url, self._directory, **{**self._settings, **self.version.env, **settings})

    async def roll(self, version: Version) -> None:
        """SIGTERM, the end of the drain, and an edge of another version in its place.

        Raises:
            AssertionError: the edge does not end, or ends with an error, or the new one is not of that version.
        """
        assert await self.process.child.stop(30) == 0, self.process.child.last_lines(20)
        self.version = version
        self.process = self._process({})
        await self.start()

    async def start(self) -> None:
        """Starts the edge and waits until it is ready."""
        await self.process.start()
        async with client() as http:
            says = (await http.get(f"{self.url}/healthz")).json()["version"]
        assert says == self.version.name, f"{self!r} says that it is {says}"

    async def kill(self) -> None:
        """Kills the edge with -9 and waits for its end."""
        self.process.child.signal(signal.SIGKILL)
        await self.process.child.wait()

    def log(self) -> str:
        """What the edges in this place have logged."""
        return self.process.log.read_text("utf-8", "replace")


class World:
    """Brokers, two edges, publishers and viewers, all of one version at first. An async context manager."""

    def __init__(self, directory: Path, size: Size, version: Version, other: Version) -> None:
        self.size = size
        self.history = History()
        self.directory = directory
        self.cluster = Cluster(directory / "cluster", size.brokers, declares=False)
        settings = {
            "TESTCAST_EDGE_PROGRESS_INTERVAL_S": "0.25",
            "TESTCAST_EDGE_HEARTBEAT_S": str(BEAT_S),
            "TESTCAST_EDGE_DRAIN_S": "1",
            "TESTCAST_EDGE_CANARY_S": "0.5",
            "TESTCAST_NATS_REPLICAS": str(size.brokers),
        }
        self.edges = [Edge(self.cluster.url, directory, version, settings) for _ in range(2)]
        self.publishing = Publishers(self.cluster.url, directory, size.events_per_s, version.env)
        self.played: list[str] = []
        """Runs that agents have played."""
        self.crowd: Crowd
        self.page: list[PageViewer] = []
        self._first, self._other = version, other
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<World {self.cluster!r} {self.edges!r} {self.publishing!r}>"

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.cluster)
            for edge in self.edges:
                edge.process.spawn()
                self._stack.push_async_callback(edge.kill)
                await edge.process.until_ready()  # one after the other: the first one compiles the code of both
            self._stack.callback(self.publishing.kill)
            await self.publishing.begin(self.cluster.streams, self.size.runs)
            self._gather()
            self._stack.push_async_callback(self.crowd.leave)
            await self.settled()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _gather(self) -> None:
        """Starts the viewers: sockets and pollers, which move between the edges, and of each version a
        `testcast tail` that stays with one edge, and one over NATS; pages."""
        urls, runs, size = [edge.url for edge in self.edges], self.publishing.runs, self.size
        self.crowd = Crowd(self.history, runs, urls, self.cluster.url)
        self.crowd.gather(size.sockets, size.pollers, tails=0, pages=0, seed=1)
        for number, (version, source) in enumerate(
            [
                (self._first, ("--edge", urls[0])),
                (self._other, ("--edge", urls[1])),
                (self._first, ("--nats", self.cluster.url)),
            ]
        ):
            name = f"tail of {version.name} {source[0]}"
            self.crowd.start(TailViewer(name, runs[number % len(runs)], self.history, *source, **version.env))
        for number in range(size.pages):
            page = PageViewer(f"page-{number}", runs[number % len(runs)], self.history, urls[number % len(urls)])
            self.page.append(page)
            self.crowd.start(page)

    async def settled(self, within_s: float = 120.0) -> None:
        """Waits until every run has stored an event that was published from now on, and every viewer has it.

        Raises:
            AssertionError: not within `within_s`.
        """
        since, runs = time.monotonic(), self.publishing.runs
        await until(
            lambda: all(self.publishing.last_acked(run) > since for run in runs),
            within_s=within_s,
            what=f"every run publishes: {self.publishing!r}",
        )
        found = await until(self.heads, within_s=within_s, what="the leader answers") or {}
        try:
            await self.crowd.current(found, within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; behind: {self.crowd.behind(found)}; {self.crowd.complaints()}") from None

    async def heads(self) -> dict[str, int] | None:
        """The newest sequence of each run with a publisher; None while there is no leader."""
        try:
            return await heads(self.cluster.streams, self.publishing.runs)
        except BrokerUnavailable:
            return None

    async def take_over(self, run: str, version: Version) -> None:
        """Has a publisher of another version take a run over. The one before is fenced and ends."""
        before = self.publishing.current(run)
        self.publishing.env = version.env
        self.publishing.start_next(run)
        await until(lambda: self.publishing.last_acked(run) > 0, within_s=30, what=f"{version.name} takes {run} over")
        await until(lambda: before.has("fenced"), within_s=30, what=f"{before!r} is fenced")

    async def play(self, submitted_at: Edge, version: Version) -> None:
        """Submits a run at an edge, and has an agent of a version play it.

        Raises:
            AssertionError: it is not completed, by that agent, at every edge.
        """
        name = f"agent-{version.name}-{len(self.played)}"
        argv = [sys.executable, str(version.root / "tests" / "integration" / "step_agent.py"), self.cluster.url, name]
        env = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")} | dict(
            version.env
        )
        agent = Child([*argv, str(_STEPS)], self.directory / f"{name}.log", env)
        self._stack.callback(agent.signal, signal.SIGKILL)
        async with client() as http:
            job = {"gameUrl": "http://127.0.0.1:9/", "title": f"for {name}"}
            answer = await http.post(f"{submitted_at.url}/rpc/submitTest", json=job)
            assert answer.status_code == 200, answer.text
            test_id = answer.json()["testId"]
            self.played.append(test_id)
            for edge in self.edges:

                async def completed(edge: Edge = edge) -> bool:
                    shown = await http.get(f"{edge.url}/rpc/getTest", params={"testId": test_id})
                    test: dict[str, Any] = shown.json().get("test", {})
                    return (test.get("status"), test.get("worker"), test.get("score")) == ("completed", name, 100)

                await until(completed, within_s=40, what=f"{test_id} is completed by {name}, at {edge!r}")
        assert await agent.stop(30) == 0, agent.last_lines(20)

    async def configs(self) -> dict[str, dict[str, Any]]:
        """The configuration of each stream, by name, and when it was made."""
        answer = await self.cluster.streams.api("STREAM.LIST")
        return {each["config"]["name"]: {**each["config"], "created": each["created"]} for each in answer["streams"]}

    async def consumers(self) -> set[str]:
        """The durable consumers, as `stream.consumer`."""
        found = set()
        for stream in {stream for stream, _ in stream_config.consumers()}:
            for each in (await self.cluster.streams.api(f"CONSUMER.LIST.{stream}"))["consumers"]:
                if each["config"].get("durable_name"):
                    found.add(f"{stream}.{each['name']}")
        return found
