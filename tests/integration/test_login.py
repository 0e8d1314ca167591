"""Logging in to a broker: passwords, keys, certificates, another JetStream domain, users who may not do everything."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx
import nkeys
import pytest

from agent_worker.publish.run import TestRun
from broker import config
from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, InvalidSetting, LoginRefused
from broker.contract.events import Event
from broker.identity import new_test_id
from broker.jetstream import runs, topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.frame_store import FrameStore
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.jetstream.pull_consumer import PullConsumer, ack
from tests.harness import EdgeProcess, answers, begin, free_port, store_picture, until
from tests.nats_servers import certificates, connected, credentials_file, jwt, seed, serving

SECRET = "p@ss/w:rd"
ENCODED = "p%40ss%2Fw%3Ard"


async def store_and_read(nats: Connection) -> None:
    """Everything that testcast does with JetStream, once."""
    await topology.apply(nats)
    streams, test_id = Streams(nats), await begin(Streams(nats))
    await store_picture(streams, test_id, b"\xff\xd8\xff jpeg")
    assert await FrameStore(streams).newest(test_id) is not None
    await streams.kv_update(subjects.RUNS, test_id, b"{}", 0)
    seen: list[int] = []
    watch = OrderedConsumer(
        nats, "KV_RUNS", "$KV.RUNS.>", lambda entry: seen.append(entry.seq), lambda: None, lambda: None
    )
    watching = asyncio.create_task(watch.run())
    await until(lambda: len(seen) >= 1)
    watching.cancel()
    await streams.store(subjects.job(test_id), b"{}")
    jobs = PullConsumer(nats, subjects.JOBS, subjects.WORKERS)
    [job] = await jobs.pull(1, expires_s=5)
    await ack(streams, job)
    await jobs.close()
    assert (await runs.read(JetStreamLog(nats), test_id)).snapshot is not None


USERS = f'jetstream: {{store_dir: "STORE"}}\nauthorization: {{users: [{{user: "a@b", password: "{SECRET}"}}]}}'


async def test_a_password_may_be_percent_encoded_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    async with serving(tmp_path, USERS) as server:
        right, wrong = server.url(f"a%40b:{ENCODED}"), server.url("a%40b:no")
        nats = await connected(right)
        await store_and_read(nats)
        await nats.close()
        for url in (wrong, server.url("t0ken"), server.url()):
            with pytest.raises(LoginRefused, match="refuses this user, password") as refused:
                await connected(url)
            assert "a@b" not in str(refused.value) and "t0ken" not in str(refused.value)
        several = await connected(f"nats://127.0.0.1:1,{right}")
        await several.close()
        with pytest.raises(LoginRefused):
            await Connection.connect(f"nats://127.0.0.1:1,{wrong}", name="test", timeout_s=3)


async def test_a_password_that_is_changed_and_changed_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """nats-py would close such a connection for good."""
    async with serving(tmp_path, USERS) as server:
        nats = await connected(server.url(f"a%40b:{ENCODED}"))
        server.write(USERS.replace(SECRET, "another"))
        server.child.signal(signal.SIGHUP)
        await until(lambda: not nats.connected)
        await until(lambda: "refuses this user" in caplog.text)
        server.write(USERS)
        server.child.signal(signal.SIGHUP)
        await until(lambda: answers(nats), within_s=30)
        await nats.flush()
        await nats.close()


FEW_RIGHTS = """
jetstream: {store_dir: "STORE"}
authorization: {users: [
  {user: boss, password: b}
  {user: few, password: f, permissions: {publish: {deny: [
    "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.CONSUMER.CREATE.EVENTS.>",
    "$JS.API.CONSUMER.CREATE.JOBS.>", "$JS.API.STREAM.DELETE.>"
  ]}}}
]}
"""


async def test_a_user_who_may_not_create_streams_runs_an_edge_on_those_that_stand(tmp_path: Path) -> None:
    async with serving(tmp_path / "nats", FEW_RIGHTS) as server:
        nats = await connected(server.url("few:f"))
        with pytest.raises(BrokerRefused, match=r"EVENTS: this user may not publish on \$JS.API.STREAM.CREATE.EVENTS"):
            await topology.apply(nats)
        first = Event(type="status", status="queued", message="Queued", timestamp=now_ms())
        with pytest.raises(BrokerUnavailable, match="has an edge or"):
            async with TestRun(server.url("few:f"), new_test_id(), worker=None, first=first, patience_s=0.3):
                pytest.fail("opened")
        edge = EdgeProcess(server.url("few:f"), tmp_path)
        edge.spawn()
        try:
            await until(lambda: edge.log.exists() and "STREAM.CREATE.EVENTS" in edge.log.read_text(), within_s=20)
            boss = await connected(server.url("boss:b"))
            await topology.apply(boss)
            await edge.until_ready()
            await topology.apply(nats)
            test_id = await begin(Streams(boss))

            async def is_folded() -> bool:
                return await Streams(boss).kv_get(subjects.RUNS, test_id) is not None

            await until(is_folded)
            async with httpx.AsyncClient(base_url=edge.url, trust_env=False) as http:

                async def is_listed() -> bool:
                    found = (await http.get("/rpc/listTests")).json()
                    return "stale" not in found and [run["testId"] for run in found["tests"]] == [test_id]

                await until(is_listed, what="the list is compared with the events without a consumer of its own")
                reasons = (await http.get("/readyz")).json()["degraded"]
            assert [each.split(":")[0] for each in reasons] == [
                "the broker denies this server's user a part of what it needs"
            ]
            await boss.close()
        finally:
            await edge.stop()
        await nats.close()


TLS = """
jetstream: {store_dir: "STORE"}
tls: {cert_file: "CERTS/server.pem", key_file: "CERTS/server.key", ca_file: "CERTS/ca.pem", verify: true}
"""


async def test_certificates_of_ones_own(tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    certificates(certs)
    own = {"ca": certs / "ca.pem", "certificate": certs / "client.pem", "key": certs / "client.key"}
    async with serving(tmp_path / "nats", TLS.replace("CERTS", str(certs))) as server:
        for scheme, settings in (("tls", own), ("nats", {"ca": own["ca"], "certificate": certs / "both.pem"})):
            nats = await connected(server.url(scheme=scheme), **settings)
            await store_and_read(nats)
            await nats.close()
        with pytest.raises(LoginRefused, match=r"certificate is not trusted.*TESTCAST_NATS_CA"):
            await connected(server.url(scheme="tls"), certificate=certs / "both.pem")
        with pytest.raises(LoginRefused, match=r"does it want a client certificate|TLS handshake"):
            await connected(server.url(scheme="tls"), ca=own["ca"])


async def test_nothing_is_said_in_the_clear_where_tls_was_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path, USERS) as server:
        with pytest.raises(LoginRefused, match="offers no TLS"):
            await connected(server.url(f"a%40b:{ENCODED}", scheme="tls"))


async def test_an_nkey(tmp_path: Path) -> None:
    mine = seed(nkeys.PREFIX_BYTE_USER)
    (tmp_path / "seed").write_bytes(mine + b"\n")
    public = nkeys.from_seed(bytearray(mine)).public_key.decode()
    users = f'jetstream: {{store_dir: "STORE"}}\nauthorization: {{users: [{{nkey: {public}}}]}}'
    async with serving(tmp_path / "nats", users) as server:
        nats = await connected(server.url(), nkey=tmp_path / "seed")
        await store_and_read(nats)
        await nats.close()
        (tmp_path / "other").write_bytes(seed(nkeys.PREFIX_BYTE_USER))
        with pytest.raises(LoginRefused):
            await connected(server.url(), nkey=tmp_path / "other")


async def test_a_credentials_file(tmp_path: Path) -> None:
    kinds = (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
    seeds = [seed(kind) for kind in kinds]
    operator, system, account, user = (nkeys.from_seed(bytearray(each)) for each in seeds)
    names = [each.public_key.decode() for each in (operator, system, account, user)]
    unlimited = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
    storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    accounts = {
        names[1]: jwt(operator, names[1], "account", limits=unlimited | {"wildcards": True}),
        names[2]: jwt(operator, names[2], "account", limits=unlimited | storage | {"wildcards": True}),
    }
    token = jwt(account, names[3], "user", subs=-1, data=-1, payload=-1)
    credentials = tmp_path / "user.creds"
    credentials.write_text(credentials_file(token, seeds[3]))
    text = (
        f'jetstream: {{store_dir: "STORE"}}\noperator: {jwt(operator, names[0], "operator", system_account=names[1])}\n'
        f"resolver: MEMORY\nresolver_preload: {{{', '.join(f'{name}: {each}' for name, each in accounts.items())}}}"
    )
    async with serving(tmp_path / "nats", text) as server:
        nats = await connected(server.url(), credentials=credentials)
        await store_and_read(nats)
        await nats.close()


async def test_a_leaf_node_and_the_domain_behind_it(tmp_path: Path) -> None:
    """Buckets are written under the prefix of the domain's API."""
    port = free_port()
    listens = f"leafnodes: {{host: 127.0.0.1, port: {port}}}"
    hub = f'server_name: hub\njetstream: {{domain: hub, store_dir: "STORE"}}\n{listens}'
    leaf = f'server_name: leaf\nleafnodes: {{remotes: [{{url: "nats-leaf://127.0.0.1:{port}"}}]}}'
    async with serving(tmp_path / "hub", hub), serving(tmp_path / "leaf", leaf) as server:
        nats = await connected(server.url(), domain=config.nats({"TESTCAST_NATS_JS_DOMAIN": "hub"}).domain)
        await store_and_read(nats)
        await nats.close()
        edge = EdgeProcess(server.url(), tmp_path, TESTCAST_NATS_JS_API_PREFIX="$JS.hub.API")
        await edge.start()
        await edge.stop()


FILES = ("TESTCAST_NATS_CA", "TESTCAST_NATS_CERT", "TESTCAST_NATS_CREDS", "TESTCAST_NATS_NKEY")


@pytest.mark.parametrize("variable", FILES)
def test_a_file_that_cannot_be_used_is_named_at_the_start(variable: str, tmp_path: Path) -> None:
    nonsense = tmp_path / "file"
    nonsense.write_bytes(b"SUTHISISNOTASEED\n")
    for given in (str(tmp_path / "missing"), str(tmp_path), str(nonsense)):
        with pytest.raises(InvalidSetting, match=f"^{variable}: .*{given}") as refused:
            config.load({variable: given})
        assert "SUTHIS" not in str(refused.value), "what is in a file may be secret"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"TESTCAST_NATS_URL": "ws://broker:8080"}, "TESTCAST_NATS_URL: 'ws://broker:8080': testcast does not speak"),
        ({"TESTCAST_NATS_URL": "nats://a:1,wss://u:s3cr3t@b"}, "TESTCAST_NATS_URL: 'wss://b': testcast does not speak"),
        ({"TESTCAST_NATS_KEY": __file__}, "TESTCAST_NATS_KEY: it needs TESTCAST_NATS_CERT"),
        ({"TESTCAST_NATS_CREDS": __file__, "TESTCAST_NATS_NKEY": __file__}, "TESTCAST_NATS_NKEY: a credentials file"),
        ({"TESTCAST_NATS_JS_DOMAIN": "a.b"}, "TESTCAST_NATS_JS_DOMAIN: 'a.b'"),
        ({"TESTCAST_NATS_JS_API_PREFIX": "a b"}, "TESTCAST_NATS_JS_API_PREFIX: 'a b'"),
        ({"TESTCAST_NATS_JS_DOMAIN": "a", "TESTCAST_NATS_JS_API_PREFIX": "b"}, "TESTCAST_NATS_JS_API_PREFIX: TESTCAST"),
        ({"TESTCAST_NATS_REPLICAS": "2.5"}, "TESTCAST_NATS_REPLICAS: 2.5 is not a whole number"),
        ({"TESTCAST_EVENTS_MAX_BYTES": "1GiB"}, "TESTCAST_EVENTS_MAX_BYTES: '1GiB' is not a number"),
        ({"TESTCAST_EVENTS_MAX_AGE_S": "-1"}, "TESTCAST_EVENTS_MAX_AGE_S: -1 is not between"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        config.load(environ)
    assert str(refused.value).startswith(named) and "s3cr3t" not in str(refused.value)


def test_a_prefix_is_taken_as_nats_tools_write_it() -> None:
    for given in ("$JS.hub.API", "$JS.hub.API.", "$JS.hub.API.>"):
        assert config.nats({"TESTCAST_NATS_JS_API_PREFIX": given}).api_prefix == "$JS.hub.API"


async def test_a_websocket_address_is_refused_by_a_connection_too() -> None:
    with pytest.raises(InvalidSetting, match="does not speak WebSocket"):
        await connected("ws://127.0.0.1:1")


async def test_a_server_without_jetstream_is_named(tmp_path: Path) -> None:
    async with serving(tmp_path, "") as server:
        nats = await connected(server.url())
        with pytest.raises(BrokerUnavailable, match=r"JetStream"):
            await topology.apply(nats, timeout_s=0.5)
        await nats.close()
