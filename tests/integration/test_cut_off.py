"""A leader that has lost its peers and does not know that it leads no more: what it says may end in no `reset`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from broker import identity
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable
from broker.jetstream.api import Stored, Streams
from broker.jetstream.connection import Connection
from tests.faults.cluster import BrokerNode, Cluster
from tests.faults.link import CLEAR, Weather
from tests.harness import EdgeProcess, begin, until

_FAR_AHEAD = 1_000


_TRIES = 3
"""A leader that has lost its peers steps down after 10 s; on a busy machine that may be before it was asked."""


class Alone(NamedTuple):
    """An edge at a leader without followers."""

    leader: BrokerNode
    edge: EdgeProcess
    streams: Streams
    test_id: str
    head: Stored


async def _believes(streams: Streams, leader: BrokerNode) -> bool:
    """It still calls itself the leader, though it has heard of nobody for more than 3 s."""
    try:
        cluster = (await streams.api(f"STREAM.INFO.{subjects.EVENTS}", timeout_s=1))["cluster"]
    except BrokerUnavailable:
        return False
    return cluster.get("leader") == leader.name and all(each["active"] > 3_100_000_000 for each in cluster["replicas"])


async def _left_alone(cluster: Cluster, directory: Path, stack: AsyncExitStack) -> Alone:
    """Cuts a leader off, and returns while it still believes that it leads."""
    for left in reversed(range(_TRIES)):
        await cluster.whole()
        leader = await cluster.leader()
        edge = EdgeProcess(leader.url, directory, TESTCAST_NATS_REPLICAS="3")
        nats = await Connection.connect(leader.url, name="test")
        stack.push_async_callback(nats.close)
        stack.push_async_callback(edge.stop)
        streams = Streams(nats)
        await edge.start()
        test_id = await begin(cluster.streams)
        head = await streams.last_confirmed(subjects.EVENTS, subjects.events(test_id))
        assert head is not None
        leader.set_peers(Weather(cut=True))
        try:
            await until(lambda: _believes(streams, leader), within_s=9, what="a leader that was left alone")  # noqa: B023
        except AssertionError:
            if not left:
                raise
            leader.set_peers(CLEAR)
        else:
            return Alone(leader, edge, streams, test_id, head)
    raise AssertionError("unreachable")


@pytest.mark.timeout(180)
async def test_a_leader_without_followers_is_not_believed(tmp_path: Path) -> None:
    async with (
        Cluster(tmp_path / "cluster") as cluster,
        httpx.AsyncClient(timeout=20, trust_env=False) as http,
        AsyncExitStack() as stack,
    ):
        leader, edge, streams, test_id, head = await _left_alone(cluster, tmp_path, stack)
        ahead = {"testId": test_id, "after": head.seq + _FAR_AHEAD}
        assert await streams.last(subjects.EVENTS, subjects.events(test_id)) == head  # what it knows
        with pytest.raises(BrokerUnavailable):
            await streams.state(subjects.EVENTS)
        with pytest.raises(BrokerUnavailable):
            await streams.last_confirmed(subjects.EVENTS, subjects.events(test_id))
        answer = await http.post(f"{edge.url}/rpc/getEvents", json=ahead)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broker_unavailable")
        unknown = {"testId": identity.new_test_id()}
        assert (await http.post(f"{edge.url}/rpc/getEvents", json=unknown)).status_code == 503

        leader.set_peers(CLEAR)
        await cluster.whole()
        answer = await _judged(http, edge.url, ahead)
        assert (answer.json()["outcome"], answer.json()["reason"]) == ("reset", "ahead")
        assert (await _judged(http, edge.url, unknown)).status_code == 404


async def _judged(http: httpx.AsyncClient, url: str, question: dict[str, Any]) -> httpx.Response:
    """The answer to `getEvents` once the cluster vouches for one: a leader may change again after the cut."""
    answers: list[httpx.Response] = []

    async def judged() -> bool:
        answers.append(await http.post(f"{url}/rpc/getEvents", json=question))
        return answers[-1].status_code != 503

    await until(judged, within_s=30)
    return answers[-1]
