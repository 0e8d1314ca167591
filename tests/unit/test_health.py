"""`/healthz` and `/readyz` in every state of a node, at the viewers' port and at that of the metrics."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from broker.jetstream.connection import Connection
from tests.harness import free_port
from tests.rpc_stand_ins import Edge
from ws_edge.config import EdgeConfig
from ws_edge.metrics.served import served
from ws_edge.node import Node


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Never started; its broker is away."""
    made = Node(Connection.dial(f"nats://127.0.0.1:{free_port()}", name="test"), EdgeConfig(canary_s=0), 1)
    yield made
    await made.stop()


STATES = {
    "not filled": (False, "the list of tests is not filled yet"),
    "the broker is away": (True, ""),
    "draining": (False, "it is going away: its viewers are sent to other edges"),
    "a part has failed": (False, "it has failed in part, and starts that again: projector"),
    "revocations unread": (False, "revocations and share links have not been read yet"),
}


def bring_about(node: Node, state: str) -> None:
    if state != "not filled":
        node.catalogue.filled.set()
    if state == "draining":
        node.draining = True
    if state == "a part has failed":
        node.failed.add("projector")
    if state == "revocations unread":
        node.config = node.config._replace(access=node.config.access._replace(keys="keys.json"))
        assert node.config.access.enabled and not node.records.filled


@pytest.mark.parametrize("state", STATES)
async def test_an_edge_lives_in_every_state_and_says_why_it_is_not_ready(node: Node, state: str) -> None:
    ready, why = STATES[state]
    edge = Edge(node, EdgeConfig())  # which has read what was revoked
    node.records.filled = False
    bring_about(node, state)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://edge.example") as client:
        alive, answer = await client.get("/healthz"), await client.get("/readyz")
    assert (alive.status_code, alive.json()["ok"]) == (200, True), "restarting it would cure nothing"
    assert (answer.status_code, answer.json()["ready"]) == ((200, True) if ready else (503, False))
    assert node.why_not_ready == ([] if ready else [why])


async def test_the_port_of_the_metrics_says_the_same(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with served(node, listening), httpx.AsyncClient(timeout=30, trust_env=False) as client:
            assert (await client.get(f"{url}/healthz")).status_code == 200
            answer = await client.get(f"{url}/readyz")
            assert (answer.status_code, answer.text) == (503, "the list of tests is not filled yet\n")
            node.catalogue.filled.set()
            assert (await client.get(f"{url}/readyz")).status_code == 200
            assert "testcast_edge_ready 1.0" in (await client.get(f"{url}/metrics")).text
            assert (await client.get(f"{url}/rpc/listTests")).status_code == 404, "nothing else is served there"
