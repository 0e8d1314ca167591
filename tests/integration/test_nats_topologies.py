"""NATS as people have it: a cluster, a leaf node and a domain, operator and credentials, an account with imports.

In each a whole line works: an agent publishes, an edge shows it, a viewer resumes, the list has the snapshot.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import nkeys
import pytest
from websockets.asyncio.client import connect

from agent_worker.publish.run import TestRun
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable
from broker.contract.roles import Role
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.jetstream.permissions import rights
from broker.jetstream.pull_consumer import PullConsumer, ack
from tests.harness import EdgeProcess, Reader, free_port, until
from tests.nats_servers import certificates, connected, credentials_file, jwt, seed, serving

JETSTREAM = 'jetstream: {store_dir: "STORE"}\n'


async def whole_line(agent: Connection, edge: EdgeProcess) -> None:
    """An agent's run through the broker and an edge: seen, resumed, listed. Another is queued, taken and cancelled."""
    async with httpx.AsyncClient(base_url=edge.url, timeout=30, trust_env=False) as http:
        async with TestRun.create(JetStreamLog(agent), title="Mine") as run:
            await run.progress("One")
            async with connect(f"{edge.ws_url}?testId={run.test_id}") as socket:
                reader = Reader(socket)
                sync = await reader.control("sync", 30)
                first = [await reader.events(1, 30) for _ in range(3)]
                assert first[-1][0]["message"] == "One", first
            await run.progress("Two")
            await run.screenshot(b"\xff\xd8\xff jpeg")
            position = f"after={first[-1][0]['seq']}&epoch={sync['epoch']}"
            async with connect(f"{edge.ws_url}?testId={run.test_id}&{position}") as socket:
                reader = Reader(socket)
                assert (await reader.control("sync", 30))["outcome"] == "recovered"
            async with connect(f"{edge.ws_url}?testId={run.test_id}&{position}") as socket:
                reader = Reader(socket)
                assert [each["message"] for each in await reader.events(1, 30)] == ["Two"]
                await run.progress("Live")
                assert [each["message"] for each in await reader.events(1, 30)] == ["Live"]
            await run.complete(score=1)

        await until(partial(is_listed, http, run.test_id, "completed"), within_s=30)

        async def has_picture() -> bool:
            return (await http.get("/rpc/getShot", params={"testId": run.test_id})).status_code == 200

        await until(has_picture, within_s=30)
        await taken_and_cancelled(agent, http)

        async def is_well() -> bool:
            return bool((await http.get("/readyz")).json()["degraded"] == [])

        await until(is_well, within_s=30)


async def is_listed(http: httpx.AsyncClient, test_id: str, status: str) -> bool:
    listed = (await http.get("/rpc/listTests")).json()
    found = {each["testId"]: each["status"] for each in listed["tests"]}
    return "stale" not in listed and found.get(test_id) == status


async def taken_and_cancelled(agent: Connection, http: httpx.AsyncClient) -> None:
    """A run is queued at an edge, its job taken by an agent, and the agent woken up when it is cancelled."""
    queued = (await http.post("/rpc/submitTest", json={"gameUrl": "http://127.0.0.1:9/"})).json()["testId"]
    jobs = PullConsumer(agent, subjects.JOBS, subjects.WORKERS)
    [job] = await until(partial(jobs.pull, 1, expires_s=5), within_s=30)
    assert job.subject == subjects.job(queued)
    woken: list[str] = []
    hearing = await agent.subscribe(subjects.control("*"), lambda message: woken.append(message.subject.decode()))
    await agent.flush()
    assert (await http.post("/rpc/cancelTest", json={"testId": queued})).status_code == 200
    await until(lambda: subjects.control(queued) in woken, within_s=30, what="the agent is woken up")
    await hearing.close()
    await ack(Streams(agent), job)
    await jobs.close()
    await until(partial(is_listed, http, queued, "failed"), within_s=30)


# ── a cluster with certificates on both sides, keys, and a dead server in the address ──


def cluster_node(number: int, ports: list[int], certs: Path, public: str) -> str:
    files = f'cert_file: "{certs}/server.pem", key_file: "{certs}/server.key", ca_file: "{certs}/ca.pem"'
    routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in ports)
    return (
        f"{JETSTREAM}server_name: n{number}\n"
        f"cluster: {{name: c, host: 127.0.0.1, port: {ports[number]}, routes: [{routes}]}}\n"
        f"tls: {{{files}, verify: true}}\n"
        f"authorization: {{users: [{{nkey: {public}}}]}}\n"
    )


async def test_a_cluster_with_client_certificates_and_a_dead_server_in_the_address(tmp_path: Path) -> None:
    certs, mine = tmp_path / "certs", seed(nkeys.PREFIX_BYTE_USER)
    certificates(certs)
    (tmp_path / "seed").write_bytes(mine)
    public = nkeys.from_seed(bytearray(mine)).public_key.decode()
    own = {"ca": certs / "ca.pem", "certificate": certs / "both.pem", "nkey": tmp_path / "seed"}
    ports = [free_port() for _ in range(3)]
    async with AsyncExitStack() as running:
        nodes = [
            await running.enter_async_context(serving(tmp_path / f"n{n}", cluster_node(n, ports, certs, public)))
            for n in range(3)
        ]
        url = ",".join([f"tls://127.0.0.1:{free_port()}", *(node.url(scheme="tls") for node in nodes[:2])])
        agent = await connected(url, **own)
        running.push_async_callback(agent.close)
        await topology.apply(agent, replicas=3, timeout_s=60)
        edge = EdgeProcess(
            url,
            tmp_path,
            TESTCAST_NATS_CA=str(own["ca"]),
            TESTCAST_NATS_CERT=str(own["certificate"]),
            TESTCAST_NATS_NKEY=str(own["nkey"]),
            TESTCAST_NATS_REPLICAS="3",
        )
        edge.spawn()
        running.push_async_callback(edge.stop)
        await edge.until_ready()
        await whole_line(agent, edge)


# ── a leaf node ──


async def test_an_edge_at_a_leaf_node_with_jetstream_of_its_own(tmp_path: Path) -> None:
    """The streams are in the hub's domain. The edge names it; an agent at the hub need not."""
    port = free_port()
    listens = f"leafnodes: {{host: 127.0.0.1, port: {port}, authorization: {{user: leaf, password: l}}}}"
    hub = f'server_name: hub\njetstream: {{domain: hub, store_dir: "STORE"}}\n{listens}'
    remote = f'leafnodes: {{remotes: [{{url: "nats-leaf://leaf:l@127.0.0.1:{port}"}}]}}'
    leaf = f'server_name: leaf\njetstream: {{domain: leaf, store_dir: "STORE"}}\n{remote}'
    async with (
        serving(tmp_path / "hub", hub) as centre,
        serving(tmp_path / "leaf", leaf) as outpost,
        AsyncExitStack() as running,
    ):
        agent = await connected(centre.url())
        running.push_async_callback(agent.close)
        await topology.apply(agent)
        edge = EdgeProcess(outpost.url(), tmp_path, TESTCAST_NATS_JS_DOMAIN="hub")
        edge.spawn()
        running.push_async_callback(edge.stop)
        await edge.until_ready()
        await whole_line(agent, edge)
        there = await connected(outpost.url(), domain="hub")
        running.push_async_callback(there.close)
        await whole_line(there, edge)
        local = await connected(outpost.url())
        running.push_async_callback(local.close)
        assert (await Streams(local).api("STREAM.NAMES"))["streams"] in (None, []), "nothing was made at the leaf"


# ── an operator, accounts and users as tokens, from a resolver that keeps them in a directory ──


async def test_credentials_of_a_user_with_few_rights_and_a_resolver(tmp_path: Path) -> None:
    kinds = (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT)
    operator, system, account = (nkeys.from_seed(bytearray(seed(kind))) for kind in kinds)
    names = {each: each.public_key.decode() for each in (operator, system, account)}
    unlimited = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
    storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    resolved = tmp_path / "accounts"
    resolved.mkdir()
    for each, limits in ((system, unlimited), (account, unlimited | storage)):
        token = jwt(operator, names[each], "account", limits=limits | {"wildcards": True})
        (resolved / f"{names[each]}.jwt").write_text(token)
    few = rights(Role.EDGE)
    allowed = {"pub": {"allow": few.publish, "deny": few.never_publish}, "sub": {"allow": few.subscribe}}
    for name, claims in (("edge", allowed), ("agent", {})):
        mine = seed(nkeys.PREFIX_BYTE_USER)
        public = nkeys.from_seed(bytearray(mine)).public_key.decode()
        token = jwt(account, public, "user", subs=-1, data=-1, payload=-1, **claims)
        (tmp_path / f"{name}.creds").write_text(credentials_file(token, mine))
    text = (
        f"{JETSTREAM}operator: {jwt(operator, names[operator], 'operator', system_account=names[system])}\n"
        f'system_account: {names[system]}\nresolver: {{type: full, dir: "{resolved}"}}\n'
    )
    async with serving(tmp_path / "nats", text) as server, AsyncExitStack() as running:
        agent = await connected(server.url(), credentials=tmp_path / "agent.creds")
        running.push_async_callback(agent.close)
        await topology.apply(agent)
        edge = EdgeProcess(
            server.url(),
            tmp_path,
            TESTCAST_NATS_CREDS=str(tmp_path / "edge.creds"),
            TESTCAST_NATS_INBOX_PREFIX=Role.EDGE.inbox_prefix,
            TESTCAST_NATS_MANAGE_STREAMS="0",
        )
        edge.spawn()
        running.push_async_callback(edge.stop)
        await edge.until_ready()
        await whole_line(agent, edge)
        assert "does not permit" not in edge.log.read_text()


# ── an account that imports ──

IMPORTS = """
accounts: {
  HOLDS: {
    jetstream: enabled
    users: [{user: holds, password: h}]
    exports: [
      {service: "$JS.API.>", response: stream}
      {service: "$KV.>"}
      {service: "$JS.ACK.>"}
      {service: "test.*.events"}
      {service: "jobs.test.*"}
      {service: "test.*.control"}
      {stream: "test.*.live"}
      {stream: "test.*.alive"}
      {stream: "_INBOX_far.>"}
    ]
  }
  FAR: {
    users: [{user: far, password: f}]
    imports: [
      {service: {account: HOLDS, subject: "$JS.API.>"}, to: "there.API.>"}
      {service: {account: HOLDS, subject: "$KV.>"}, to: "there.API.$KV.>"}
      {service: {account: HOLDS, subject: "$JS.ACK.>"}}
      {service: {account: HOLDS, subject: "test.*.events"}}
      {service: {account: HOLDS, subject: "jobs.test.*"}}
      {service: {account: HOLDS, subject: "test.*.control"}}
      {stream: {account: HOLDS, subject: "test.*.live"}}
      {stream: {account: HOLDS, subject: "test.*.alive"}}
      {stream: {account: HOLDS, subject: "_INBOX_far.>"}}
    ]
  }
  NONE: {users: [{user: none, password: n}]}
}
"""


async def test_an_edge_in_an_account_that_imports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The prefix of its API is its own, its inbox comes back as a stream. What is not imported is named."""
    async with serving(tmp_path / "nats", JETSTREAM + IMPORTS) as server, AsyncExitStack() as running:
        agent = await connected(server.url("holds:h"))
        running.push_async_callback(agent.close)
        await topology.apply(agent)
        edge = EdgeProcess(
            server.url("far:f"),
            tmp_path,
            TESTCAST_NATS_JS_API_PREFIX="there.API",
            TESTCAST_NATS_INBOX_PREFIX="_INBOX_far",
        )
        edge.spawn()
        running.push_async_callback(edge.stop)
        await edge.until_ready()
        await whole_line(agent, edge)
        there = await connected(server.url("far:f"), api_prefix="there.API")
        running.push_async_callback(there.close)
        alive: list[str] = []
        await there.subscribe(subjects.ALL_ALIVE, lambda message: alive.append(message.subject.decode()))
        await there.flush()
        await agent.publish("test.x.alive", b"")
        await until(lambda: alive == ["test.x.alive"])

        current: list[bool] = []
        lost: list[bool] = []
        events = [lambda: current.append(True), lambda: None, lambda: lost.append(True)]
        deaf = OrderedConsumer(there, "KV_ACCESS", "$KV.ACCESS.>", lambda _entry: None, *events)
        following = asyncio.create_task(deaf.run())
        await until(lambda: "has to import the stream _INBOX.> as well" in caplog.text, within_s=30)
        await until(lambda: len(lost) >= 2, within_s=30)
        following.cancel()
        assert len(current) <= 1, "what delivers nothing is not said to be current again"

        none = await connected(server.url("none:n"))
        running.push_async_callback(none.close)
        with pytest.raises(BrokerUnavailable, match=r"not enabled for account.*TESTCAST_NATS_JS_API_PREFIX"):
            await topology.apply(none, timeout_s=0.5)
