"""Two teams on one installation: by no door does one learn anything of the other's runs; and publishing over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import httpx
import orjson
import pytest

from broker import identity
from broker.contract import subjects
from broker.contract.events import MAX_EVENT_BYTES
from broker.contract.ports import Ack
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.jetstream.scan import pages
from broker.local.embedded_server import EmbeddedServer
from tests.harness import NO_SUCH_TEST, event_log, publish, until
from tests.in_process import Edge, a_client
from ws_edge.access import Action, Header, NotAuthenticated, Principal, audit
from ws_edge.access.projects import ProjectAccess
from ws_edge.api.methods import METHODS
from ws_edge.node import Node

ALL: Final = frozenset(Action)
PEOPLE: Final = {
    "ann": Principal("ann", frozenset({"a"}), ALL),
    "bob": Principal("bob", frozenset({"b"}), ALL),
    "amy": Principal("amy", frozenset({"a"}), frozenset({Action.LIST, Action.WATCH})),
    "eve": Principal("eve", frozenset(), ALL),
    "root": Principal("root", None, ALL),
    "both": Principal("both", frozenset({"a", "b"}), ALL),
}
TITLE: Final = "the secret title"


class ByProject:
    """The header names the caller; what they may do is by project."""

    def __init__(self, node: Node) -> None:
        self._projects = ProjectAccess(node.catalogue.snapshot, node.project_of)
        self.authorize = self._projects.authorize
        self.authorize_later = self._projects.authorize_later

    def identify(self, header: Header) -> Principal:
        found = PEOPLE.get(header("x-name") or "")
        if found is None:
            raise NotAuthenticated("who are you?")
        return found

    async def identify_later(self, header: Header) -> Principal:
        return self.identify(header)


@pytest.fixture
async def make_protected(nats_server: EmbeddedServer) -> AsyncIterator[Callable[[], Awaitable[Edge]]]:
    started: list[Edge] = []

    async def make() -> Edge:
        edge = await Edge(nats_server.url).start()
        started.append(edge)
        edge.node.access = ByProject(edge.node)
        return edge

    yield make
    for edge in started:
        await edge.stop()


@pytest.fixture
async def edge(make_protected: Callable[[], Awaitable[Edge]]) -> Edge:
    return await make_protected()


async def begin_in(streams: Streams, project: str | None, title: str = TITLE, status: str = "running") -> str:
    """A run as an agent in any language begins it."""
    test_id = identity.new_test_id()
    data = {"title": title, "gameUrl": "http://game.example/"} | ({} if project is None else {"project": project})
    await publish(streams, test_id, title, "status", status=status, data=data)
    return test_id


async def known(edge: Edge, test_id: str) -> Snapshot:
    return await until(lambda: edge.node.snapshot(test_id))


def has_ended(edge: Edge, test_id: str) -> bool:
    found = edge.node.snapshot(test_id)
    return found is not None and found.ended


def without_ids(answer: httpx.Response, *test_ids: str) -> tuple[int, str, list[tuple[str, str]]]:
    text = answer.text
    for test_id in test_ids:
        text = text.replace(test_id, "<id>")
    return answer.status_code, text, sorted(answer.headers.items())


def params_of(name: str, test_id: str) -> dict[str, Any]:
    return {"testId": test_id} | ({"events": [an_event("x")], "key": "k"} if name == "publishEvents" else {})


def an_event(message: str, **fields: Any) -> dict[str, Any]:
    return {"type": "progress", "message": message, "timestamp": 1} | fields


async def every_way(client: httpx.AsyncClient, name: str, test_id: str, headers: dict[str, str]) -> list[Any]:
    """The answers of a method to every way of asking about a run, without its id."""
    said = [client.post(f"/rpc/{name}", json=params_of(name, test_id))]
    if METHODS[name].reads:
        query = {"testId": test_id}
        said += [client.get(f"/rpc/{name}", params=query, headers=each) for each in ({}, headers)]
        said += [client.head(f"/rpc/{name}", params=query)]
    return [without_ids(each, test_id) for each in await asyncio.gather(*said)]


ABOUT_A_RUN: Final = [name for name, each in METHODS.items() if "test_id" in each.params.__struct_fields__]


async def test_a_foreign_run_answers_like_a_missing_one_by_every_method(edge: Edge, streams: Streams) -> None:
    theirs, nobodys = await begin_in(streams, "a"), await begin_in(streams, "Not A Name")
    await streams.kv_put(subjects.SHOTS, theirs, b"\xff\xd8 picture")
    for test_id in (theirs, nobodys):
        await known(edge, test_id)
    before = await event_log(streams).last(theirs)
    async with a_client(edge, "bob") as bob, a_client(edge, "ann") as ann, a_client(edge, "eve") as eve:
        for name in ABOUT_A_RUN:
            reads = METHODS[name].reads
            if reads:
                seen = await ann.get(f"/rpc/{name}", params={"testId": theirs})
                assert seen.status_code == 200
                etag = {"if-none-match": seen.headers.get("etag", "*")}
            for who in (bob, eve):
                headers = etag if reads else {}
                asked = [every_way(who, name, each, headers) for each in (theirs, nobodys, NO_SUCH_TEST)]
                answers = await asyncio.gather(*asked)
                assert answers[0] == answers[1] == answers[2], name
                assert {status for status, *_ in answers[0]} == {404}
    assert await event_log(streams).last(theirs) == before, "nothing was stored"


async def test_they_are_alike_while_the_broker_is_away(
    edge: Edge, streams: Streams, nats_server: EmbeddedServer
) -> None:
    theirs = await begin_in(streams, "a")
    await known(edge, theirs)
    await nats_server.stop()
    await until(lambda: not edge.node.nats.connected)
    async with a_client(edge, "bob") as bob, a_client(edge, "ann") as ann:
        foreign, missing = [
            without_ids(await bob.get("/rpc/getTest", params={"testId": test_id}), test_id)
            for test_id in (theirs, NO_SUCH_TEST)
        ]
        assert foreign == missing and foreign[0] == 503
        assert (await ann.get("/rpc/getTest", params={"testId": theirs})).status_code == 200


async def test_the_list_and_its_etag_tell_nothing_of_other_projects(edge: Edge, streams: Streams) -> None:
    ours = await begin_in(streams, "b", "ours")
    await known(edge, ours)
    questions: list[dict[str, Any]] = [{}, {"query": "secret"}, {"status": "queued"}, {"limit": 1}, {"query": "game"}]

    async def ask(client: httpx.AsyncClient) -> list[Any]:
        answers = [await client.get("/rpc/listTests", params=each) for each in questions]
        return [(answer.headers["etag"], answer.json()) for answer in answers]

    async with a_client(edge, "bob") as bob, a_client(edge, "eve") as eve, a_client(edge, "root") as root:
        before, nothing = await ask(bob), await ask(eve)
        assert [run["testId"] for run in before[0][1]["tests"]] == [ours]
        assert nothing[0][1]["tests"] == [] and set(nothing[0][1]["counts"].values()) == {0}
        theirs = [await begin_in(streams, project, status="queued") for project in ("a", None, "Not A Name")]
        for test_id in theirs:
            await known(edge, test_id)
        for test_id in theirs[1:]:
            await publish(streams, test_id, "done", "complete", data={"score": 1})
            await until(partial(has_ended, edge, test_id))
        assert await ask(bob) == before and await ask(eve) == nothing
        again = await bob.get("/rpc/listTests", headers={"if-none-match": before[0][0]})
        assert again.status_code == 304
        everything = (await root.get("/rpc/listTests")).json()
        assert {run["testId"] for run in everything["tests"]} == {ours, *theirs}
        projects = {run["testId"]: run.get("project") for run in everything["tests"]}
        assert [projects[test_id] for test_id in (ours, *theirs)] == ["b", "a", None, ""]
        place = (await root.get("/rpc/getTest", params={"testId": theirs[0]})).json()["test"]["queuePlace"]
        assert place == 1
        cursor = f"{edge.node.snapshot(theirs[0]).created_at}.{theirs[0]}"  # type: ignore[union-attr]
        page = (await bob.get("/rpc/listTests", params={"cursor": cursor})).json()
        assert {run["testId"] for run in page["tests"]} <= {ours}
        for wrong in ("²", "5" * 5000 + f".{ours}", f"-1.{ours}", f"1 .{ours}"):
            refused = await bob.get("/rpc/listTests", params={"cursor": wrong})
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_cursor")


async def test_a_run_is_seen_at_once_on_every_edge_by_who_has_made_it(
    make_protected: Callable[[], Awaitable[Edge]], streams: Streams
) -> None:
    first, second = await make_protected(), await make_protected()
    async with a_client(first, "both") as here, a_client(second, "both") as there, a_client(second, "bob") as bob:
        refused = await here.post("/rpc/submitTest", json={"gameUrl": "http://127.0.0.1:9/"})
        assert refused.status_code == 400 and "a, b" in refused.json()["error"]["message"]
        denied = await here.post("/rpc/submitTest", json={"gameUrl": "http://127.0.0.1:9/", "project": "c"})
        assert denied.status_code == 403
        for name, more in (("submitTest", {"gameUrl": "http://127.0.0.1:9/"}), ("createRun", {"title": "mine"})):
            made = (await here.post(f"/rpc/{name}", json={**more, "project": "a"})).json()
            for method in ("getTest", "getEvents", "connectToTest"):
                seen = await there.get(f"/rpc/{method}", params={"testId": made["testId"]})
                assert seen.status_code == 200, seen.text
                assert (await bob.get(f"/rpc/{method}", params={"testId": made["testId"]})).status_code == 404
            assert (await known(second, made["testId"])).project == "a"
        job = await streams.last(
            subjects.JOBS, subjects.job((await here.get("/rpc/listTests")).json()["tests"][-1]["testId"])
        )
        assert job is not None and orjson.loads(job.data)["project"] == "a"


async def test_what_one_may_not_do_with_ones_own_runs_is_said(edge: Edge, streams: Streams) -> None:
    ours = await begin_in(streams, "a")
    await known(edge, ours)
    async with a_client(edge, "amy") as amy, a_client(edge, "nobody") as nobody:
        assert (await amy.get("/rpc/getTest", params={"testId": ours})).status_code == 200
        for name in ("cancelTest", "publishEvents"):
            refused = await amy.post(f"/rpc/{name}", json=params_of(name, ours))
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        for name in ("submitTest", "createRun"):
            body = {"gameUrl": "http://127.0.0.1:9/"}
            assert (await amy.post(f"/rpc/{name}", json=body)).status_code == 403
        for name in METHODS:
            refused = await nobody.post(f"/rpc/{name}", json=params_of(name, ours))
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthenticated")
            assert refused.headers["www-authenticate"] == "Bearer"


async def test_refusals_and_acts_are_written_down(
    edge: Edge, streams: Streams, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_refusals", {})  # lines of one kind are rate-limited
    caplog.set_level(logging.INFO, "testcast.audit")
    theirs = await begin_in(streams, "a")
    async with a_client(edge, "bob") as bob, a_client(edge, "nobody") as nobody:
        await bob.get("/rpc/getTest", params={"testId": theirs})
        await nobody.get("/rpc/listTests")
        made = (await bob.post("/rpc/createRun", json={})).json()["testId"]
        await bob.post("/rpc/cancelTest", json={"testId": made})
        await bob.post("/rpc/cancelTest", json={"testId": made})  # it has ended: nothing is changed
    lines = [record.getMessage() for record in caplog.records if record.name == "testcast.audit"]
    assert len(lines) == 4
    assert f'outcome="refused" action="watch" subject="bob" run="{theirs}"' in lines[0] and "not_found" in lines[0]
    assert 'outcome="refused" action="list"' in lines[1] and "unauthenticated" in lines[1]
    assert f'outcome="done" action="publish" subject="bob" run="{made}"' in lines[2] and "createRun" in lines[2]
    assert f'outcome="done" action="cancel" subject="bob" run="{made}"' in lines[3]
    assert all('address="' in line for line in lines)


async def test_the_project_of_a_run_whose_beginning_is_gone_is_not_guessed(streams: Streams) -> None:
    log = event_log(streams)
    first, second = [orjson.dumps(an_event(each)) for each in ("first", "second")]
    named = orjson.dumps(
        {"type": "status", "status": "running", "data": {"project": "a"}} | an_event("x", type="status")
    )
    for payloads, expected in (((first, second), ""), ((first, named), "a"), ((second,), "default")):
        test_id, head = identity.new_test_id(), 0
        for payload in payloads:
            ack = await log.append(test_id, payload, expected_last=head, writer="1.w")
            beginning, head = head, ack.seq
        if beginning:
            await streams.delete(subjects.EVENTS, beginning)
        assert await runs.project_of(log, test_id) == expected
        snapshot = (await runs.read(log, test_id)).snapshot
        assert snapshot is not None and snapshot.project == expected
    assert await runs.project_of(log, NO_SUCH_TEST) is None
    stranger = identity.new_test_id()
    for raw in (b"no event", b'{"type":"shiny","data":{"project":"b"}}'):
        await log.append(stranger, raw)
        assert await runs.project_of(log, stranger) == ""
    await log.append(stranger, named)
    assert await runs.project_of(log, stranger) == "a"


async def test_a_forged_snapshot_moves_no_run_into_another_project(edge: Edge, streams: Streams) -> None:
    theirs = await begin_in(streams, "a")
    snapshot = await known(edge, theirs)
    forged = orjson.loads(snapshot.encode()) | {"project": "b", "createdAt": 1, "seq": snapshot.seq + 1}
    await streams.kv_put(subjects.RUNS, theirs, orjson.dumps(forged))
    unknown = identity.new_test_id()
    await streams.kv_put(subjects.RUNS, unknown, orjson.dumps(forged | {"testId": unknown}))
    async with a_client(edge, "bob") as bob:

        async def settled() -> bool:
            assert (await bob.get("/rpc/getTest", params={"testId": theirs})).status_code == 404
            assert (await bob.get("/rpc/listTests")).json()["tests"] == []
            found = edge.node.catalogue.stored(theirs)
            return found is not None and found[0].seq == snapshot.seq and found[0].project == "a"

        await until(settled)


# -- publishing over HTTP ------------------------------------------------------------------------------------------


async def stored_messages(streams: Streams, test_id: str) -> list[str]:
    log = event_log(streams)
    last = await log.last(test_id)
    return [orjson.loads(each.data)["message"] async for page in pages(log, test_id, 0, last) for each in page.events]


async def call(client: httpx.AsyncClient, name: str, **params: Any) -> httpx.Response:
    return await client.post(f"/rpc/{name}", json=params)


async def test_an_agent_without_a_connection_to_the_broker_plays_a_run(edge: Edge, streams: Streams) -> None:
    async with a_client(edge, "ann") as ann:
        made = (await call(ann, "createRun", title="mine", gameUrl="http://game.example/")).json()
        test_id, head = made["testId"], made["seq"]
        assert made["epoch"] == (await edge.node.log.heads()).epoch
        batch = [an_event("one", phase="phase1"), an_event("two")]
        first = (await call(ann, "publishEvents", testId=test_id, events=batch, afterSeq=head, key="k1")).json()
        assert first["stored"] == 2
        for after in (head, first["seq"], None):
            again = await call(ann, "publishEvents", testId=test_id, events=batch, afterSeq=after, key="k1")
            assert again.json() == first
        conflict = await call(ann, "publishEvents", testId=test_id, events=batch, afterSeq=head, key="k2")
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "conflict")
        assert conflict.json()["error"]["details"] == {"head": first["seq"]}
        other = await call(ann, "publishEvents", testId=test_id, events=batch[1:], afterSeq=head, key="k1")
        assert (other.status_code, other.json()["error"]["code"]) == (409, "key_reused")
        life = await call(ann, "publishEvents", testId=test_id, events=[], key="alive")
        assert life.json() == {"seq": first["seq"], "stored": 0}
        end = [an_event("done", type="complete", data={"score": 80, "project": "b"})]
        last = await call(ann, "publishEvents", testId=test_id, events=end, key="k3")
        await until(partial(has_ended, edge, test_id))
        assert (await call(ann, "publishEvents", testId=test_id, events=end, key="k3")).json() == last.json()
        late = await call(ann, "publishEvents", testId=test_id, events=batch, key="k4")
        assert (late.status_code, late.json()["error"]["code"]) == (409, "already_ended")
    snapshot = edge.node.snapshot(test_id)
    assert snapshot is not None
    assert (snapshot.project, snapshot.title, snapshot.status, snapshot.score) == ("a", "mine", "completed", 80)
    assert await stored_messages(streams, test_id) == ["Started", "one", "two", "done"]


async def test_what_is_wrong_with_a_batch_is_named_and_nothing_is_stored(edge: Edge, streams: Streams) -> None:
    async with a_client(edge, "ann") as ann:
        test_id = (await call(ann, "createRun")).json()["testId"]
        large = [an_event("x" * 60_000) for _ in range(17)]
        wrong: list[tuple[Mapping[str, Any], int, str, str]] = [
            ({"events": [an_event("a"), {"type": "progress"}], "key": "k"}, 400, "malformed_event", "events[1]: "),
            ({"events": [an_event("x" * MAX_EVENT_BYTES)], "key": "k"}, 413, "too_large", "events[0]: "),
            ({"events": large * 2, "key": "k"}, 413, "too_large", "the body is longer than 1048576"),
            ({"events": [an_event("a")] * 101, "key": "k"}, 400, "invalid_params", ""),
            ({"events": [an_event("a")], "key": "a.b"}, 400, "bad_input", "key: "),
            ({"events": [an_event("a")]}, 400, "invalid_params", ""),
            ({"events": [an_event("a")], "key": "k", "afterSeq": -1}, 400, "invalid_params", ""),
            ({"events": "no", "key": "k"}, 400, "invalid_params", ""),
        ]
        for body, status, code, message in wrong:
            refused = await call(ann, "publishEvents", testId=test_id, **body)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (status, code), error
            assert error["message"].startswith(message)
        assert (await call(ann, "publishEvents", testId=test_id, events=large[:16], key="k")).status_code == 200
        assert (await call(ann, "createRun", gameUrl="javascript:alert(1)")).status_code == 400
        assert (await call(ann, "createRun", title=" ")).status_code == 400
        missing = await call(ann, "publishEvents", testId=NO_SUCH_TEST, events=[an_event("a")], key="k")
        assert missing.status_code == 404
    async with a_client(edge, "root") as root:
        missing = await call(root, "publishEvents", testId=NO_SUCH_TEST, events=[an_event("a")], key="k")
        assert missing.status_code == 404
    assert len(await stored_messages(streams, test_id)) == 17
    assert await event_log(streams).last(NO_SUCH_TEST) == 0


@pytest.mark.parametrize("killed", ["client", "broker"])
async def test_a_batch_that_was_cut_off_is_continued_with_its_key(
    edge: Edge, streams: Streams, nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    batch = [an_event(f"event {number}") for number in range(6)]
    append, count = edge.node.log.append, 0
    cut = asyncio.Event()
    restart: list[asyncio.Task[None]] = []

    async def again() -> None:
        await nats_server.stop()
        await nats_server.start()

    async def cutting(*args: Any, **options: Any) -> Ack:
        nonlocal count
        count += 1
        if killed == "broker" and count == 3:
            restart.append(asyncio.create_task(again()))
        ack = await append(*args, **options)
        if killed == "client" and count == 3:
            cut.set()
            await asyncio.Event().wait()
        return ack

    async with a_client(edge, "ann") as ann:
        made = (await call(ann, "createRun")).json()
        monkeypatch.setattr(edge.node.log, "append", cutting)
        body = {"testId": made["testId"], "events": batch, "afterSeq": made["seq"], "key": "cut"}
        if killed == "client":
            request = asyncio.create_task(call(ann, "publishEvents", **body))
            await cut.wait()
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)

        async def sent() -> dict[str, Any] | None:
            answer = await call(ann, "publishEvents", **body)
            assert answer.status_code in (200, 503), answer.text
            return answer.json() if answer.status_code == 200 else None

        answer = await until(sent, within_s=60)
        await asyncio.gather(*restart)
        assert answer["stored"] == 6 and await until(sent, within_s=60) == answer
    messages = await until(lambda: stored_messages(streams, made["testId"]), within_s=30)
    assert messages == ["Started", *(each["message"] for each in batch)]
