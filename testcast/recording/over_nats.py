"""A recorded run over NATS: a `TestRun`, with its heartbeat and its fencing."""

from __future__ import annotations

from typing import Final

from agent_worker.publish.run import TestRun
from broker.contract import projects
from broker.contract.errors import BrokerUnavailable, LoginRefused, TestcastError
from broker.contract.events import Event
from broker.contract.handle import DEFAULT_PHASES
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.standing import OF_A_PUBLISHER
from broker.jetstream.topology import Topology
from broker.login import NatsSettings
from broker.retry import Backoff, pause
from testcast.recording.sinks import About

_CONNECT_TIMEOUT_S: Final = 5.0


class OverNats:
    """The `Sink` that publishes to the broker.

    Args:
        url: the broker's address.
        login: how to log in; None: from the environment.
        worker: who publishes, as viewers see it; None: host and process id.
    """

    def __init__(self, url: str, about: About, *, login: NatsSettings | None = None, worker: str | None = None) -> None:
        self.test_id: str | None = None
        self.trouble, self.signs = "", 0
        self._url, self._about, self._login, self._worker = url, about, login, worker
        self._connection: Connection | None = None
        self._run: TestRun | None = None

    def __repr__(self) -> str:
        return f"<OverNats {self._run!r}>"

    async def open(self) -> None:
        """See `Sink.open`."""
        backoff = Backoff()
        while self._connection is None:
            try:
                self._connection = await Connection.connect(
                    self._url, name="testcast-run", timeout_s=_CONNECT_TIMEOUT_S, settings=self._login
                )
            except LoginRefused:
                raise
            except BrokerUnavailable as error:
                self.trouble = error.message
                await pause(backoff.next())
        self.trouble = f"the broker at {self._connection.address} stores nothing"
        Topology(self._connection, uses=OF_A_PUBLISHER)  # the connection declares what it misses
        run = TestRun.create(
            JetStreamLog(self._connection),
            title=self._about.title,
            worker=self._worker,
            phases=self._about.phases or DEFAULT_PHASES,
            project=self._about.project or projects.DEFAULT,
            labels=self._about.labels,
            patience_s=None,
        )
        self._run = await run.__aenter__()
        self.test_id = run.test_id

    async def put(self, event: Event) -> None:
        """See `Sink.put`."""
        await self._opened.publish(event)

    @property
    def pending(self) -> int:
        """See `Sink.pending`."""
        return 0 if self._run is None else self._run.statistics().pending

    async def end(self, event: Event) -> None:
        """See `Sink.end`."""
        await self._opened.publish(event)
        await self._opened.flush()

    async def wait_over(self) -> TestcastError:
        """See `Sink.wait_over`."""
        await self._opened.wait_over()
        assert self._opened.over is not None
        return self._opened.over

    async def close(self) -> None:
        """See `Sink.close`."""
        if self._run is not None:
            self._run.leave()
            await self._run.__aexit__(None, None, None)
        if self._connection is not None:
            await self._connection.close()

    @property
    def _opened(self) -> TestRun:
        assert self._run is not None, "open() comes first"
        return self._run
