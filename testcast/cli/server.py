"""What a command connects to, and where the page of a run is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from broker.config import BrokerConfig, redacted
from broker.contract.errors import TestcastError
from broker.jetstream.connection import Connection
from testcast import config
from testcast.client.address import edge_url, page_url
from testcast.client.rpc import RpcClient

_CONNECT_TIMEOUT_S: Final = 3.0
_PAGE_TIMEOUT_S: Final = 3.0
"""An edge of the same machine answers in milliseconds."""


class Server(NamedTuple):
    """What a command connects to: exactly one of the two is set."""

    edge: str | None
    """The edge's address."""
    broker: BrokerConfig | None
    named_broker: str | None = None
    """The option `--nats` as it was given."""

    @property
    def options(self) -> str:
        """What a further command needs in addition to reach the same server, with a space before it; may be empty."""
        if self.edge is not None:
            return f" --edge {edge_url(self.edge)}"
        return "" if self.named_broker is None else f" --nats {redacted(self.named_broker)}"


@asynccontextmanager
async def connection(server: Server) -> AsyncIterator[Connection]:
    """A connection to the broker.

    Raises:
        BrokerUnavailable: nothing answers there.
    """
    assert server.broker is not None
    nats = await Connection.connect(
        server.broker.nats_url, name="testcast-cli", timeout_s=_CONNECT_TIMEOUT_S, settings=server.broker.login
    )
    try:
        yield nats
    finally:
        await nats.close()


async def page_of(test_id: str, server: Server, timeout_s: float = _PAGE_TIMEOUT_S) -> str | None:
    """The address of a run's page; None when no edge is known that has it.

    Over NATS the edge is the one at `config.local_edge()`, if it answers in time and knows the run.
    """
    if server.edge is not None:
        return page_url(edge_url(server.edge), test_id)
    edge = config.local_edge()
    with contextlib.suppress(TestcastError, TimeoutError):
        async with asyncio.timeout(timeout_s), RpcClient(edge) as rpc:
            await rpc.call("getTest", testId=test_id)
            return page_url(rpc.url, test_id)
    return None
