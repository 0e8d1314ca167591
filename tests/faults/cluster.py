"""Three nats-server processes that can be killed, stopped, cut off from each other, and restarted.

Each pair of nodes is connected through a `Link`, so a node can be cut off from its peers while its clients still reach
it. Ports and stores stay the same across a restart.
"""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self

from broker.contract import subjects
from broker.contract.errors import TestcastError
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.child_process import Child
from broker.local.embedded_server import find_binary
from tests.faults.link import CLEAR, Link, Weather
from tests.harness import free_port, until

_NOWHERE: Final = "127.0.0.1:1"
_ALONE: Final = """\
server_name: {name}
listen: 127.0.0.1:{port}
max_payload: 512KB
jetstream {{ store_dir: "{store}", sync_interval: always }}
"""
_TOGETHER: Final = """\
server_name: {name}
listen: 127.0.0.1:{port}
max_payload: 512KB
jetstream {{ store_dir: "{store}" }}
cluster {{
  name: testcast-faults
  listen: 127.0.0.1:{route_port}
  advertise: "{nowhere}"  # peers connect only through the links below
  no_advertise: true      # clients do not learn other addresses
  pool_size: 1
  connect_retries: 1000000
  routes: [{route}]
}}
"""


class BrokerNode:
    """One nats-server of the cluster."""

    def __init__(self, name: str, directory: Path, stores: Path) -> None:
        self.name = name
        self.port = free_port()
        self.route_port = free_port()
        self.log = directory / f"{name}.log"
        self.config = directory / f"{name}.conf"
        self.store = stores / name
        self.links: list[Link] = []
        """The links to its peers."""
        self.child: Child | None = None

    def __repr__(self) -> str:
        return f"<BrokerNode {self.name} :{self.port} {self.child!r}>"

    @property
    def url(self) -> str:
        """`nats://127.0.0.1:port`."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts or restarts the server on the same port and store."""
        self.child = Child([find_binary(), "-c", str(self.config)], self.log)

    async def kill(self) -> None:
        """Kills the server with -9 and waits for its end."""
        assert self.child is not None
        self.child.signal(signal.SIGKILL)
        await self.child.wait()

    def signal(self, number: int) -> None:
        """Sends a signal: SIGSTOP or SIGCONT."""
        assert self.child is not None
        self.child.signal(number)

    def set_peers(self, weather: Weather) -> None:
        """Sets the weather of its links to the other nodes. Its clients are not affected."""
        for link in self.links:
            link.weather = weather


class Cluster:
    """The nodes, with the topology applied at one replica per node. An async context manager.

    Args:
        directory: for configurations, logs and, without `stores`, what the nodes store.
        size: 3, or 1 for a broker without a cluster.
        declares: False: no stream is made.
    """

    def __init__(self, directory: Path, size: int = 3, *, declares: bool = True, stores: Path | None = None) -> None:
        assert size in (1, 3), f"a ring of {size} nodes does not connect all pairs"
        directory.mkdir(parents=True, exist_ok=True)
        self.nodes = [BrokerNode(f"n{number}", directory, stores or directory) for number in range(size)]
        self.nats: Connection
        self.streams: Streams
        self._declares = declares
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Cluster {self.nodes!r}>"

    @property
    def url(self) -> str:
        """The addresses of all nodes, comma-separated."""
        return ",".join(node.url for node in self.nodes)

    def node(self, name: str) -> BrokerNode:
        """The node with this name."""
        return next(node for node in self.nodes if node.name == name)

    async def __aenter__(self) -> Self:
        try:
            await self._configure()
            for node in self.nodes:
                node.start()
            self.nats = await Connection.connect(self.url, name="fault-kit", timeout_s=20)
            self._stack.push_async_callback(self.nats.close)
            self.streams = Streams(self.nats)
            if self._declares:
                await topology.apply(self.nats, replicas=len(self.nodes), timeout_s=60)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _configure(self) -> None:
        for node, peer in zip(
            self.nodes, self.nodes[1:] + self.nodes[:1], strict=True
        ):  # with three nodes, a ring connects all pairs
            config, route = _ALONE, ""
            if peer is not node:
                link = await self._stack.enter_async_context(Link(peer.route_port))
                config, route = _TOGETHER, f'"nats://127.0.0.1:{link.port}"'
                node.links.append(link)
                peer.links.append(link)
            names = {"name": node.name, "port": node.port, "store": node.store, "nowhere": _NOWHERE, "route": route}
            node.config.write_text(config.format(route_port=node.route_port, **names))

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes:
            node.set_peers(CLEAR)
            if node.child is not None:
                node.signal(signal.SIGCONT)
                await node.kill()
        await self._stack.aclose()

    async def leader(self, stream: str = subjects.EVENTS) -> BrokerNode:
        """The node that leads a stream. Waits for an election if there is none."""
        if len(self.nodes) == 1:
            return self.nodes[0]

        async def ask() -> str | None:
            try:
                info = await self.streams.api(f"STREAM.INFO.{stream}", timeout_s=1.0)
            except TestcastError:
                return None
            leader: str | None = info["cluster"].get("leader")
            return leader

        return self.node(await until(ask, within_s=30, what=f"a leader of {stream}") or "")

    async def whole(self, within_s: float = 60.0) -> None:
        """Waits until every stream has a leader and all replicas are current.

        Raises:
            AssertionError: not within `within_s`.
        """
        names = [config["name"] for config in topology.streams(len(self.nodes))]

        async def current() -> bool:
            try:
                infos = [await self.streams.api(f"STREAM.INFO.{name}", timeout_s=1.0) for name in names]
            except TestcastError:
                return False
            groups = [info.get("cluster", {}) for info in infos]
            return len(self.nodes) == 1 or all(
                group.get("leader") and all(peer["current"] for peer in group.get("replicas", ())) for group in groups
            )

        await until(current, within_s=within_s, what="every replica of every stream current")
