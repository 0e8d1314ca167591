"""What each role may do on a secure broker: every operation is tried by every role on a real server.

The table says who may. It is written by hand from what the parts have to do, not from the lists of permissions.

Longer than 400 lines: one table, and the ways to try what it names.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, NotPermitted, NotThere
from broker.contract.ports import Unstored
from broker.contract.roles import Role
from broker.identity import new_test_id
from broker.jetstream import atomic
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.permissions import API_PREFIX
from tests.harness import begin, event_bytes, until
from tests.secure_broker import SecureBroker, secure_broker

EDGE, AGENT, READER, OPERATOR = Role.EDGE, Role.AGENT, Role.READER, Role.OPERATOR
NOBODY: Final[frozenset[Role]] = frozenset()
STREAMS: Final = ("EVENTS", "JOBS", "FRAMES", "KV_RUNS", "KV_PINS", "KV_ACCESS", "KV_HOOKS")


class World(NamedTuple):
    """A connection of each role, and one run."""

    broker: SecureBroker
    of: dict[Role, Connection]
    test_id: str
    """A run with one event."""


Try = Callable[[World, Role], Awaitable[bool]]
"""Tries an operation as a role. Returns whether it had its effect."""


class Operation(NamedTuple):
    """One thing that a client may try."""

    name: str
    may: Collection[Role]
    tried: Try


def may(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)


# -- ways to try ----------------------------------------------------------------------------------------------------


def asks(request: str, body: object = b"", *, ok: Callable[[Any], bool] = lambda _answer: True) -> Try:
    """A request to JetStream, under both prefixes that a user may know. An answer that is an error is no effect."""

    async def tried(world: World, role: Role) -> bool:
        nats = world.of[role]
        text = orjson.dumps(body) if body != b"" else b""
        for prefix in {nats.api_prefix, "$JS.API"}:
            try:
                reply = await nats.request(f"{prefix}.{request}", text)
            except (NotPermitted, NotThere):
                continue
            if reply.status is not None or (
                "error" not in (answer := orjson.loads(reply.data or b"{}")) and ok(answer)
            ):
                return True
        return False

    return tried


def stores(subject: str, payload: bytes = b"{}", headers: dict[str, str] | None = None) -> Try:
    """A publish that a stream acknowledges, under both prefixes that a user may know."""

    async def tried(world: World, role: Role) -> bool:
        nats = world.of[role]
        named = subject.replace("NEW", new_test_id())
        for each in {named, f"{API_PREFIX}.{named}"} if named.startswith("$KV") else {named}:
            with contextlib.suppress(NotPermitted, NotThere):
                answer = orjson.loads((await nats.request(each, payload, headers=headers)).data)
                if "error" not in answer:
                    return bool(answer["seq"])
        return False

    return tried


async def stores_together(world: World, role: Role) -> bool:
    """A batch of events of a new run."""
    test_id = new_test_id()
    batch = [(Unstored(event_bytes("x"), f"{test_id}.{number}"), dict[str, str]()) for number in range(3)]
    with contextlib.suppress(NotPermitted, NotThere):
        return bool(await atomic.store(world.of[role], subjects.events(test_id), batch, expected_last=0))
    return False


def reaches(subject: str, listener: Role) -> Try:
    """A message that another role hears."""

    async def tried(world: World, role: Role) -> bool:
        heard: list[bytes] = []
        wanted = subject.replace("RUN", world.test_id)
        subscription = await world.of[listener].subscribe(wanted, lambda message: heard.append(message.data))
        await world.of[listener].flush()
        await world.of[role].publish(wanted, b"hello")
        await world.of[role].flush()
        await world.of[listener].flush()
        await subscription.close()
        return heard == [b"hello"]

    return tried


def hears(subject: str) -> Try:
    """A subscription."""

    async def tried(world: World, role: Role) -> bool:
        nats = world.of[role]
        nats.denials.forget_all()
        subscription = await nats.subscribe(subject, lambda _message: None)
        await nats.flush()
        await subscription.close()
        return not any("subscription" in kind and f'"{subject.lower()}"' in kind for kind in _denied(nats))

    return tried


def _denied(nats: Connection) -> list[str]:
    return list(nats.denials._seen)


def smuggles(target: str, stream: str = "") -> Try:
    """A request for a stored event whose answer the broker is to send into another subject."""

    async def tried(world: World, role: Role) -> bool:
        operator, nats = world.of[OPERATOR], world.of[role]
        subject, heard = target.replace("NEW", new_test_id()), list[bytes]()
        subscription = await operator.subscribe(subject, lambda message: heard.append(message.data))
        await operator.flush()
        before = (await Streams(operator).state(stream)).last_seq if stream else 0
        for prefix in {nats.api_prefix, "$JS.API"}:
            for request in ("DIRECT.GET.EVENTS", "STREAM.MSG.GET.EVENTS", "STREAM.INFO.EVENTS"):
                await nats.publish(f"{prefix}.{request}", b'{"seq":1}', reply=subject)
        await nats.publish(f"test.{world.test_id}.events", b"{}", reply=subject)
        await nats.flush()
        await operator.request("$JS.API.DIRECT.GET.EVENTS", b'{"seq":1}')  # is answered after those before it
        await operator.flush()
        await subscription.close()
        after = (await Streams(operator).state(stream)).last_seq if stream else 0
        return bool(heard) or after > before

    return tried


async def _pulled(world: World, role: Role, consumer: str, how: bytes = b'"no_wait":true') -> str | None:
    """The reply subject of the first message that a pull brings; None when it is refused."""
    nats = world.of[role]
    nats.denials.forget_all()
    arrived: list[str] = []
    inbox = nats.inbox()
    subscription = await nats.subscribe(inbox, lambda message: arrived.append(message.reply.decode()))
    await nats.publish(f"{nats.api_prefix}.CONSUMER.MSG.NEXT.{consumer}", b'{"batch":1,%b}' % how, reply=inbox)
    await until(lambda: arrived or _denied(nats))
    await subscription.close()
    return arrived[0] if arrived else None


def deletes(stream: str, subject: str) -> Try:
    """Deletes a message that is there."""

    async def tried(world: World, role: Role) -> bool:
        seq = (await Streams(world.of[OPERATOR]).store(subject.replace("NEW", new_test_id()), b"{}")).seq
        return await asks(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})(world, role)

    return tried


def pulls(name: str) -> Try:
    """Whatever the answer is: another edge may have taken what there was."""

    async def tried(world: World, role: Role) -> bool:
        return await _pulled(world, role, name) is not None

    return tried


async def pulls_and_acknowledges(world: World, role: Role) -> bool:
    """A job that is there, from the queue and out of it."""
    operator = Streams(world.of[OPERATOR])
    await operator.api("STREAM.PURGE.JOBS", {})
    await operator.store(subjects.job(new_test_id()), b"{}")
    # It waits: the consumer may learn of the job a moment after it is stored.
    delivered = await _pulled(world, role, "JOBS.workers", b'"expires":20000000000')
    if delivered is None:
        return False
    await world.of[role].request(delivered, b"+ACK")
    return (await operator.state("JOBS")).messages == 0


def consumer(stream: str, filter_subject: str, name: str = "0123456789abcdef", **config: Any) -> Try:
    """Makes a consumer that sends to an inbox of the role's own, as the edges' views do."""

    async def tried(world: World, role: Role) -> bool:
        inbox = world.of[role].inbox()
        body = {
            "stream_name": stream,
            "action": "create",
            "config": {"name": name, "deliver_subject": inbox, "filter_subject": filter_subject}
            | {"ack_policy": "none", "inactive_threshold": 1_000_000_000, "mem_storage": True, "num_replicas": 1}
            | config,
        }
        for request in (f"{stream}.{name}.{filter_subject}", f"{stream}.{name}", stream):
            if await asks(f"CONSUMER.CREATE.{request}", body)(world, role):
                await Streams(world.of[OPERATOR]).api(f"CONSUMER.DELETE.{stream}.{name}")
                return True
        return False

    return tried


# -- the table ------------------------------------------------------------------------------------------------------

_ROLLUP: Final = {"Nats-Rollup": "all"}
_FOLDED: Final = {"Testcast-Folded": "1"}
_JOB: Final = b'{"gameUrl":"http://x","title":"x","allowPrivate":true}'

WRITES: Final = (
    Operation("an event", may(EDGE, AGENT, OPERATOR), stores("test.NEW.events", event_bytes("x"))),
    Operation("a live event", NOBODY, reaches("test.RUN.live", EDGE)),
    Operation("a sign of life", may(AGENT, OPERATOR), reaches("test.RUN.alive", EDGE)),
    Operation("a wake-up", may(EDGE, OPERATOR), reaches("test.RUN.control", AGENT)),
    Operation("a job", may(EDGE, OPERATOR), stores("jobs.test.NEW", _JOB)),
    Operation("a snapshot", may(EDGE, OPERATOR), stores("$KV.RUNS.NEW", b"{}", _FOLDED)),
    Operation("the removal of a snapshot", may(EDGE, OPERATOR), stores("$KV.RUNS.NEW", b"", {"KV-Operation": "DEL"})),
    Operation("a picture", may(EDGE, AGENT, OPERATOR), stores("test.NEW.frames", b"jpeg")),
    Operation("the notice of a picture", NOBODY, reaches("test.RUN.frame", EDGE)),
    Operation("a picture of an earlier version", may(OPERATOR), stores("$KV.SHOTS.NEW", b"jpeg")),
    Operation("a pin", may(EDGE, OPERATOR), stores("$KV.PINS.NEW")),
    Operation("what a webhook is told", may(EDGE, OPERATOR), stores("$KV.HOOKS.ci.NEW.1")),
    Operation("a share link", may(EDGE, OPERATOR), stores("$KV.ACCESS.share.NEW.x")),
    Operation("a batch of events", may(EDGE, AGENT, OPERATOR), stores_together),
    Operation("a rollup of the events", NOBODY, stores("test.NEW.events", event_bytes("x"), _ROLLUP)),
    Operation("a rollup of the snapshots", NOBODY, stores("$KV.RUNS.NEW", b"{}", _ROLLUP)),
    Operation("a rollup of the pictures", NOBODY, stores("test.NEW.frames", b"jpeg", _ROLLUP)),
    Operation("a rollup of the jobs", NOBODY, stores("jobs.test.NEW", _JOB, _ROLLUP)),
    Operation("another's answer", may(OPERATOR), reaches("_INBOX_edge.x", EDGE)),
    # A user names where the answer to a request goes. In an account of its own it goes no further. Edges and operators
    # share the account of the streams: there the server obeys.
    Operation("an answer as a snapshot", may(EDGE, OPERATOR), smuggles("$KV.RUNS.NEW", "KV_RUNS")),
    Operation("an answer as a job", may(EDGE, OPERATOR), smuggles("jobs.test.NEW", "JOBS")),
    Operation("an answer as a picture", may(EDGE, OPERATOR), smuggles("test.NEW.frames", "FRAMES")),
    Operation("an answer as the notice of a picture", may(EDGE, OPERATOR), smuggles("test.NEW.frame")),
    Operation("an answer as a live event", may(EDGE, OPERATOR), smuggles("test.NEW.live")),
    Operation("an answer as a wake-up", may(EDGE, OPERATOR), smuggles("test.NEW.control")),
)

HEARD: Final = (
    Operation("hear live events", may(EDGE, READER, OPERATOR), hears("test.*.live")),
    Operation("hear of pictures", may(EDGE, OPERATOR), hears("test.*.frame")),
    Operation("hear the pictures that publishers send", may(OPERATOR), hears("test.*.frames")),
    Operation("hear signs of life", may(EDGE, OPERATOR), hears("test.*.alive")),
    Operation("hear wake-ups", may(AGENT, OPERATOR), hears("test.*.control")),
    Operation("hear what publishers send", may(READER, OPERATOR), hears("test.*.events")),
    Operation("hear jobs", may(OPERATOR), hears("jobs.test.*")),
    Operation("hear everything", may(OPERATOR), hears(">")),
    *(
        Operation(f"hear the bucket {each}", may(OPERATOR), hears(f"$KV.{each}.>"))
        for each in ("RUNS", "PINS", "ACCESS", "HOOKS")
    ),
    *(
        Operation(f"hear answers to {each.value}s", may(each, OPERATOR), hears(f"_INBOX_{each.value}.>"))
        for each in Role
    ),
    *(Operation(f"hear {each}", may(OPERATOR), hears(each)) for each in ("_INBOX.>", "$JS.ACK.>", "$JS.>", "_R_.>")),
)

INFO: Final = dict.fromkeys(("EVENTS", "JOBS", "FRAMES"), may(*Role)) | {
    **dict.fromkeys(("KV_RUNS", "KV_PINS"), may(EDGE, READER, OPERATOR)),
    **dict.fromkeys(("KV_ACCESS", "KV_HOOKS"), may(EDGE, OPERATOR)),
}
LEADER_READS: Final = {"EVENTS": may(*Role), "JOBS": may(EDGE, AGENT, OPERATOR)} | {
    **dict.fromkeys(("KV_RUNS", "KV_PINS"), may(EDGE, READER, OPERATOR)),
    **dict.fromkeys(("FRAMES", "KV_ACCESS", "KV_HOOKS"), may(EDGE, OPERATOR)),
}
READS: Final = {"EVENTS": may(*Role), "JOBS": NOBODY, "KV_RUNS": may(EDGE, READER, OPERATOR)} | {
    "FRAMES": may(EDGE, READER, OPERATOR),
    "KV_PINS": may(EDGE, READER, OPERATOR),
    "KV_ACCESS": may(EDGE, OPERATOR),
    "KV_HOOKS": may(OPERATOR),
}  # the queue has no direct gets

ASKED: Final = (
    *(Operation(f"state of {each}", INFO[each], asks(f"STREAM.INFO.{each}")) for each in STREAMS),
    *(
        Operation(f"read {each} at its leader", LEADER_READS[each], asks(f"STREAM.MSG.GET.{each}", {"seq": 1}))
        for each in STREAMS
    ),
    *(Operation(f"read {each}", READS[each], asks(f"DIRECT.GET.{each}", {"seq": 1})) for each in STREAMS),
    Operation("list the streams", may(OPERATOR), asks("STREAM.LIST", {})),
    Operation("name the streams", may(OPERATOR), asks("STREAM.NAMES", {})),
    Operation("state of the account", may(OPERATOR), asks("INFO")),
    Operation("state of the projector", may(EDGE, READER, OPERATOR), asks("CONSUMER.INFO.EVENTS.projector")),
    Operation("state of the workers", may(*Role), asks("CONSUMER.INFO.JOBS.workers")),
    *(
        Operation(f"list the consumers of {each}", may(OPERATOR), asks(f"CONSUMER.LIST.{each}", {"offset": 0}))
        for each in STREAMS
    ),
    Operation("state of the webhooks", may(EDGE, OPERATOR), asks("CONSUMER.INFO.KV_HOOKS.webhooks")),
    Operation("pull what a webhook is told", may(EDGE, OPERATOR), pulls("KV_HOOKS.webhooks")),
    Operation("pull hints", may(EDGE, OPERATOR), pulls("EVENTS.projector")),
    Operation("pull and acknowledge a job", may(AGENT, OPERATOR), pulls_and_acknowledges),
)

CONSUMERS: Final = (
    Operation("view the snapshots", may(EDGE, OPERATOR), consumer("KV_RUNS", "$KV.RUNS.>")),
    Operation("view the events", may(EDGE, OPERATOR), consumer("EVENTS", "test.*.events")),
    Operation("view what is revoked", may(EDGE, OPERATOR), consumer("KV_ACCESS", "$KV.ACCESS.>")),
    Operation("view the pictures", may(EDGE, OPERATOR), consumer("FRAMES", "test.*.frames")),
    Operation("view the pictures of one run", may(EDGE, OPERATOR), consumer("FRAMES", "test.x.frames")),
    Operation("view whatever is in the stream of pictures", may(OPERATOR), consumer("FRAMES", ">")),
    Operation("view the pins", may(EDGE, OPERATOR), consumer("KV_PINS", "$KV.PINS.>")),
    Operation("view what webhooks are told", may(OPERATOR), consumer("KV_HOOKS", "$KV.HOOKS.>")),
    Operation("view the jobs", NOBODY, consumer("JOBS", "jobs.test.*")),  # a work queue has one reader
    Operation("view one run", may(EDGE, OPERATOR), consumer("EVENTS", "test.x.events")),
    Operation("view whatever is in the stream of events", may(OPERATOR), consumer("EVENTS", ">")),
    Operation(
        "be the projector",
        NOBODY,  # an operator would have to delete it before
        consumer("EVENTS", "test.*.events", "projector"),
    ),
)

CHANGES: Final = (
    Operation("change the projector", may(OPERATOR), asks("CONSUMER.PAUSE.EVENTS.projector", {})),
    Operation("delete a job", may(EDGE, OPERATOR), deletes("JOBS", "jobs.test.NEW")),
    Operation("delete an event", may(OPERATOR), deletes("EVENTS", "test.NEW.events")),
    Operation("delete a revision of a snapshot", NOBODY, deletes("KV_RUNS", "$KV.RUNS.NEW")),
    Operation("delete a picture", may(OPERATOR), deletes("FRAMES", "test.NEW.frames")),
    Operation("delete a revision of a pin", NOBODY, deletes("KV_PINS", "$KV.PINS.NEW")),
    Operation(
        "make another stream", may(OPERATOR), asks("STREAM.CREATE.MINE", {"name": "MINE", "subjects": ["mine.>"]})
    ),
    *(
        Operation(f"save {each}", may(OPERATOR), asks(f"STREAM.SNAPSHOT.{each}", {"deliver_subject": "nowhere"}))
        for each in STREAMS[:1]
    ),
    *(
        Operation(f"purge {each}", who, asks(f"STREAM.PURGE.{each}", {"filter": f"{prefix}.none"}))
        for each, prefix, who in (
            ("EVENTS", "test", may(EDGE, OPERATOR)),  # edges delete runs
            ("FRAMES", "test", may(EDGE, OPERATOR)),
            ("KV_RUNS", "$KV.RUNS", may(EDGE, OPERATOR)),
            ("KV_SHOTS", "$KV.SHOTS", may(EDGE, OPERATOR)),
            ("JOBS", "jobs.test", may(OPERATOR)),
            ("KV_PINS", "$KV.PINS", may(OPERATOR)),
            ("KV_ACCESS", "$KV.ACCESS", may(OPERATOR)),
            ("KV_HOOKS", "$KV.HOOKS", may(OPERATOR)),
        )
    ),
    Operation("delete the projector", may(OPERATOR), asks("CONSUMER.DELETE.EVENTS.projector")),
    Operation("delete the webhooks", may(OPERATOR), asks("CONSUMER.DELETE.KV_HOOKS.webhooks")),
    Operation("delete the workers", may(OPERATOR), asks("CONSUMER.DELETE.JOBS.workers")),
    *(Operation(f"delete {each}", may(OPERATOR), asks(f"STREAM.DELETE.{each}")) for each in STREAMS),
)


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with secure_broker(folder) as broker:
        of = {role: await broker.connect(role) for role in Role}
        operator = Streams(of[OPERATOR])
        with contextlib.suppress(BrokerRefused):  # where it is not declared with the others
            await operator.api(
                "STREAM.CREATE.KV_ACCESS",
                {"name": "KV_ACCESS", "subjects": ["$KV.ACCESS.>"], "allow_direct": True, "deny_delete": True},
            )
        await operator.api("STREAM.CREATE.KV_SHOTS", {"name": "KV_SHOTS", "subjects": ["$KV.SHOTS.>"]})
        test_id = await begin(operator)
        buckets = (f"$KV.{each}.{test_id}" for each in ("RUNS", "PINS"))
        further = ("$KV.ACCESS.x.y", "$KV.HOOKS.x", f"test.{test_id}.frames", f"jobs.test.{test_id}")
        for subject in (*buckets, *further):
            await operator.store(subject, b"{}")
        try:
            yield World(broker, of, test_id)
        finally:
            for each in of.values():
                await each.close()


async def test_each_role_may_do_what_it_has_to_and_nothing_else(tmp_path: Path) -> None:
    wrong = []
    async with world(tmp_path) as tried_in:
        for operation in (*ASKED, *WRITES, *HEARD, *CONSUMERS, *CHANGES):
            for role in (READER, AGENT, EDGE, OPERATOR):  # an operator's deletions come last
                done = await operation.tried(tried_in, role)
                if done != (role in operation.may):
                    wrong.append(f"{role.value} {'may' if done else 'may not'}: {operation.name}")
    assert not wrong, "\n".join(wrong)


def test_the_table_has_every_kind_of_operation() -> None:
    names = [each.name for each in (*ASKED, *WRITES, *HEARD, *CONSUMERS, *CHANGES)]
    assert len(names) == len(set(names)) > 80
