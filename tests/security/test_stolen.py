"""The credentials of a worker, and of a reader, in the hands of an attacker: on a broker with a user for each role."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect

from broker import identity
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable, TestcastError
from broker.contract.roles import Role
from broker.jetstream import write_check
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from tests.harness import EdgeProcess, Reader, begin, event_bytes, publish, until
from tests.secure_broker import SecureBroker, secure_broker
from tests.security.attacks import Attack, Table
from tests.security.system import DEADLINE_S

STREAMS: Final = ("EVENTS", "JOBS", "FRAMES", "KV_RUNS", "KV_PINS", "KV_ACCESS", "KV_HOOKS")
STOLEN: Final = (Role.AGENT, Role.READER)
_FAR: Final = 2**62


class World(NamedTuple):
    """A secure broker, an edge on it with the edge's role, and a run."""

    broker: SecureBroker
    edge: EdgeProcess
    test_id: str

    @contextlib.asynccontextmanager
    async def login(self, role: Role) -> AsyncIterator[Connection]:
        """A connection with the credentials of a role."""
        nats = await self.broker.connect(role)
        try:
            yield nats
        finally:
            await nats.close()

    async def facts(self) -> dict[str, Any]:
        """What the streams hold and how they are set, as the operator sees it."""
        async with self.login(Role.OPERATOR) as nats:
            found: dict[str, Any] = {}
            for stream in STREAMS:
                info = await Streams(nats).api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
                state = info["state"]
                kept = {name: state.get(name) for name in ("messages", "first_seq", "last_seq")}
                if stream == "KV_RUNS":  # the edge writes there all the time
                    kept = {"keys": sorted(set(state.get("subjects", {})) - {f"$KV.RUNS.{write_check.KEY}"})}
                found[stream] = info["config"], kept
            for consumer in ("EVENTS.projector", "JOBS.workers"):
                info = await Streams(nats).api(f"CONSUMER.INFO.{consumer}")
                found[consumer] = info["config"], info.get("paused", False)
            return found


ATTACKS: Final[Table[World]] = Table()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Started once for this file."""
    directory = tmp_path_factory.mktemp("stolen")
    stack = contextlib.AsyncExitStack()
    edges: list[EdgeProcess] = []

    async def start() -> World:
        broker = await stack.enter_async_context(secure_broker(directory))
        edge = EdgeProcess(broker.server.url, directory, **broker.settings(Role.EDGE))
        edges.append(edge)
        await edge.start()
        nats = await broker.connect(Role.AGENT)
        test_id = await begin(Streams(nats))
        await nats.close()
        return World(broker, edge, test_id)

    async def stop() -> None:
        for edge in edges:
            await edge.stop()
        await stack.aclose()

    with asyncio.Runner() as runner:
        try:
            yield runner.run(start())
        finally:
            runner.run(stop())


async def tried(nats: Connection, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Asks on a subject, under both prefixes that a user may know. The answers; empty where nobody gives one."""
    answers = b""
    for prefix in {"$JS.API", nats.api_prefix}:
        named = subject.replace("$JS.API", prefix, 1)
        if subject.startswith("$KV") and prefix != "$JS.API":
            named = f"{prefix}.{subject}"
        with contextlib.suppress(TestcastError, TimeoutError):
            reply = await nats.request(named, payload, headers=dict(headers) if headers else None, timeout_s=1.0)
            answers += bytes(reply.data)
    return answers


def was_refused(answer: bytes) -> bool:
    """Whether an answer of JetStream is an error, or there was none."""
    return not answer or b'"error"' in answer


# -- what is written ------------------------------------------------------------------------------------------------


@ATTACKS.attack("stolen: live events with a sequence far ahead", "no viewer hears them, and real ones still arrive")
async def _(world: World) -> None:
    async with connect(f"{world.edge.ws_url}?testId={world.test_id}") as socket:
        reader = Reader(socket)
        assert (await reader.next(DEADLINE_S))["type"] == "sync"
        for role in Role:
            async with world.login(role) as nats:
                for seq in (_FAR, 2**53, 3):
                    headers = {"Nats-Stream": "EVENTS", "Nats-Subject": subjects.events(world.test_id)}
                    headers |= {"Nats-Sequence": str(seq), "Nats-Last-Sequence": "1"}
                    with contextlib.suppress(TestcastError, TimeoutError):
                        live = f"test.{world.test_id}.live"
                        await nats.request(live, event_bytes("forged"), headers=headers, timeout_s=0.2)
        async with world.login(Role.AGENT) as nats:
            await publish(Streams(nats), world.test_id, "real")
        heard: list[str] = []
        while "real" not in heard:
            heard += [str(event["message"]) for event in await reader.events(1, DEADLINE_S)]
        assert "forged" not in heard


def _writes(what: str, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> None:
    @ATTACKS.attack(f"stolen: {what}", "refused, and nothing is stored")
    async def _(world: World) -> None:
        named = subject.replace("<run>", world.test_id).replace("<new>", identity.new_test_id())
        before = await world.facts()
        for role in STOLEN:
            async with world.login(role) as nats:
                assert was_refused(await tried(nats, named, payload, headers)), role
                await nats.flush()
        assert await world.facts() == before


_SNAPSHOT: Final = b'{"testId":"x","title":"forged","status":"completed","score":100,"seq":9}'
_JOB: Final = b'{"gameUrl":"http://169.254.169.254/","title":"x","allowPrivate":true}'
for _what, _subject, _payload, _headers in (
    ("a forged snapshot", "$KV.RUNS.<run>", _SNAPSHOT, {"Testcast-Folded": "1"}),
    ("a snapshot that is taken away", "$KV.RUNS.<run>", b"", {"KV-Operation": "DEL"}),
    ("a purge of a snapshot", "$KV.RUNS.<run>", b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}),
    ("a share link of one's own", "$KV.ACCESS.share.<run>.x", b"{}", None),
    ("a revocation that is taken back", "$KV.ACCESS.revoked.x", b"", {"KV-Operation": "DEL"}),
    ("a job past every check of addresses", "jobs.test.<new>", _JOB, None),
    ("a rollup of the events", "test.<new>.events", event_bytes("x"), {"Nats-Rollup": "all"}),
    ("a rollup of one run", "test.<run>.events", event_bytes("x"), {"Nats-Rollup": "sub"}),
    ("a rollup of the pictures", "test.<run>.frames", b"x", {"Nats-Rollup": "all"}),
    ("a pin", "$KV.PINS.<run>", b"{}", None),
    ("an end that a webhook is told", "$KV.HOOKS.ci.<run>.1", b"{}", None),
    (
        "a schedule that publishes elsewhere later",
        "test.<new>.events",
        event_bytes("x"),
        {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "$KV.RUNS.x"},
    ),
    ("an event that deletes itself", "test.<new>.events", event_bytes("x"), {"Nats-TTL": "1s"}),
    ("a batch over several subjects", "test.<new>.events", b"{}", {"Nats-Batch-Id": "a", "Nats-Batch-Sequence": "1"}),
):
    _writes(_what, _subject, _payload, _headers)


# -- what is managed --------------------------------------------------------------------------------------------------


def _manages(what: str, requests: tuple[tuple[str, dict[str, Any]], ...], roles: tuple[Role, ...]) -> None:
    @ATTACKS.attack(f"stolen: {what}", "refused for workers, readers and edges; streams and settings stay")
    async def _(world: World) -> None:
        before = await world.facts()
        for role in roles:
            async with world.login(role) as nats:
                answers = await asyncio.gather(
                    *(tried(nats, f"$JS.API.{request}", orjson.dumps(body)) for request, body in requests)
                )
                for (request, _body), answer in zip(requests, answers, strict=True):
                    assert was_refused(answer), (role, request, answer[:200])
        assert await world.facts() == before


_ALL: Final = (Role.AGENT, Role.READER, Role.EDGE)
_manages("purge streams", tuple((f"STREAM.PURGE.{each}", {}) for each in STREAMS), (Role.AGENT, Role.READER))
_manages(
    "purge what edges delete no runs from",
    tuple((f"STREAM.PURGE.{each}", {}) for each in ("JOBS", "KV_PINS", "KV_ACCESS", "KV_HOOKS")),
    (Role.EDGE,),
)
_manages("delete streams", tuple((f"STREAM.DELETE.{each}", {}) for each in STREAMS), _ALL)
_manages(
    "change streams",
    tuple((f"STREAM.UPDATE.{each}", {"name": each, "max_msgs": 1, "allow_rollup_hdrs": True}) for each in STREAMS),
    _ALL,
)
_manages(
    "make streams that take over subjects",
    (
        ("STREAM.CREATE.MINE", {"name": "MINE", "subjects": ["mine.>"]}),
        ("STREAM.CREATE.COPY", {"name": "COPY", "sources": [{"name": "KV_ACCESS"}]}),
        ("STREAM.CREATE.MIRROR", {"name": "MIRROR", "mirror": {"name": "EVENTS"}}),
    ),
    _ALL,
)
_manages(
    "save and restore streams",
    tuple((f"STREAM.SNAPSHOT.{each}", {"deliver_subject": "x"}) for each in STREAMS)
    + tuple((f"STREAM.RESTORE.{each}", {}) for each in STREAMS),
    _ALL,
)
_manages(
    "stop the consumers that others need",
    (
        ("CONSUMER.DELETE.EVENTS.projector", {}),
        ("CONSUMER.DELETE.JOBS.workers", {}),
        ("CONSUMER.PAUSE.EVENTS.projector", {"pause_until": "2099-01-01T00:00:00Z"}),
        ("CONSUMER.PAUSE.JOBS.workers", {"pause_until": "2099-01-01T00:00:00Z"}),
        ("STREAM.LEADER.STEPDOWN.EVENTS", {}),
        ("SERVER.REMOVE", {"peer": "x"}),
        ("ACCOUNT.PURGE.TESTCAST", {}),
    ),
    _ALL,
)
_manages(
    "delete single messages",
    tuple((f"STREAM.MSG.DELETE.{each}", {"seq": 1}) for each in STREAMS),
    (Role.AGENT, Role.READER),
)


# -- what is read -----------------------------------------------------------------------------------------------------


@ATTACKS.attack("stolen: read the bucket of revocations and share links", "refused by every way to read")
async def _(world: World) -> None:
    async with world.login(Role.OPERATOR) as nats:
        await Streams(nats).kv_put("ACCESS", "share.x.y", b"hash-of-a-secret")
    requests: tuple[tuple[str, dict[str, Any]], ...] = (
        ("STREAM.INFO.KV_ACCESS", {"subjects_filter": ">"}),
        ("STREAM.MSG.GET.KV_ACCESS", {"seq": 1}),
        ("DIRECT.GET.KV_ACCESS", {"seq": 1}),
        ("DIRECT.GET.KV_ACCESS.$KV.ACCESS.share.x.y", {}),
        ("DIRECT.GET.KV_ACCESS", {"multi_last": ["$KV.ACCESS.>"]}),
        ("CONSUMER.CREATE.KV_ACCESS", {"stream_name": "KV_ACCESS", "config": {"ack_policy": "none"}}),
        ("CONSUMER.CREATE.KV_ACCESS.x", {"stream_name": "KV_ACCESS", "config": {"name": "x", "ack_policy": "none"}}),
    )
    for role in STOLEN:
        async with world.login(role) as nats:
            for request, body in requests:
                answer = await tried(nats, f"$JS.API.{request}", orjson.dumps(body))
                assert was_refused(answer) and b"hash-of-a-secret" not in answer, (role, request)


async def overheard(world: World, role: Role, wanted: Iterable[str]) -> list[str]:
    """The subjects that a role hears while an edge asks the broker for a run, but for its own."""
    heard: list[str] = []
    async with world.login(role) as nats:
        for subject in wanted:
            with contextlib.suppress(TestcastError):
                await nats.subscribe(subject, lambda message: heard.append(str(message.subject)))
        await nats.flush()
        async with httpx.AsyncClient(base_url=world.edge.url) as client:
            for method in ("getEvents", "getShot", "getTest"):
                await client.get(f"/rpc/{method}", params={"testId": world.test_id})
        await nats.flush()
    return [each for each in heard if not each.startswith((role.inbox_prefix, f"test.{world.test_id}."))]


@ATTACKS.attack("stolen: listen to the inboxes of others and to the broker's own subjects", "nothing is heard")
async def _(world: World) -> None:
    inboxes = ("_INBOX.>", "_INBOX_edge.>", "_INBOX_operator.>", "_R_.>")
    for role in STOLEN:
        assert await overheard(world, role, (*inboxes, ">", "*.>", "$JS.>", "$KV.>", "$SYS.>", "jobs.>")) == [], role


@ATTACKS.attack("stolen: have the broker answer into a bucket, the queue or a live subject", "it arrives nowhere")
async def _(world: World) -> None:
    before = await world.facts()
    heard: list[str] = []
    async with world.login(Role.OPERATOR) as operator:
        for subject in ("test.*.live", "test.*.control"):
            await operator.subscribe(subject, lambda message: heard.append(str(message.subject)))
        await operator.flush()
        for role in STOLEN:
            async with world.login(role) as nats:
                for target in (
                    f"$KV.RUNS.{world.test_id}",
                    "jobs.test.x",
                    "$KV.ACCESS.x",
                    "test.x.live",
                    "test.x.control",
                ):
                    for prefix in {nats.api_prefix, "$JS.API"}:
                        with contextlib.suppress(TestcastError):
                            await nats.publish(f"{prefix}.DIRECT.GET.EVENTS", b'{"seq":1}', reply=target)
                await nats.flush()
        await operator.flush()
    assert heard == []
    assert await world.facts() == before


# -- nobody -----------------------------------------------------------------------------------------------------------


@ATTACKS.attack("stolen: no credentials, wrong ones, no TLS", "no connection")
async def _(world: World) -> None:
    port = world.broker.server.port
    login = world.broker.access.login(Role.AGENT)
    for url, settings in (
        (f"tls://127.0.0.1:{port}", login._replace(nkey=None)),
        (f"tls://edge:edge@127.0.0.1:{port}", login._replace(nkey=None)),
        (f"nats://127.0.0.1:{port}", login._replace(nkey=None, ca=None)),
    ):
        with pytest.raises(TestcastError):
            await Connection.connect(url, name="thief", timeout_s=1.0, settings=settings)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":true}\r\nSUB > 1\r\nPING\r\n')
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionError):
            received = await reader.read()
            assert b"\nPONG" not in received and b"\nMSG " not in received, received
    writer.close()


@ATTACKS.attack("stolen: a server with another certificate in the broker's place", "no credentials are shown to it")
async def _(world: World) -> None:
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"x","version":"2.12.0","tls_required":false,"nonce":"abc","max_payload":1}\r\n'
        )
        with contextlib.suppress(ConnectionError):
            received.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        with pytest.raises((BrokerUnavailable, TestcastError, ssl.SSLError)):
            await Connection.connect(url, name="edge", timeout_s=2.0, settings=world.broker.access.login(Role.EDGE))
    assert not any(b"CONNECT {" in each or b'"sig"' in each for each in received), received


def test_files_of_secrets_are_for_their_owner_only(world: World) -> None:
    for path in world.broker.access.directory.rglob("*"):
        if path.name in ("nkey",) or path.suffix == ".key":
            assert Path(path).stat().st_mode & 0o077 == 0, path


@ATTACKS.cases()
async def test_attack(world: World, attack: Attack[World]) -> None:
    await attack.act(world)


async def test_the_run_is_still_there(world: World) -> None:
    async with httpx.AsyncClient(base_url=world.edge.url) as client:
        await until(lambda: _is_running(client, world.test_id))


async def _is_running(client: httpx.AsyncClient, test_id: str) -> bool:
    answer = await client.get("/rpc/getTest", params={"testId": test_id})
    return answer.status_code == 200 and answer.json()["test"]["status"] == "running"
