"""Two teams on one installation: by no door does one learn anything of the other's runs; and publishing over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

import httpx
import msgspec
import orjson
import pytest

from agent_worker.games.handle import read_job
from broker import identity
from broker.contract import subjects
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.api import Streams
from broker.jetstream.requeue import requeue
from broker.local.embedded_server import EmbeddedServer
from tests.harness import NO_SUCH_TEST, event_log, publish, store_picture, until
from tests.in_process import ByProject, Edge, a_client, an_event, has_ended
from ws_edge.access import audit
from ws_edge.api.methods import METHODS

TITLE: Final = "the secret title"


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


def without_ids(answer: httpx.Response, *test_ids: str) -> tuple[int, str, list[tuple[str, str]]]:
    text = answer.text
    for test_id in test_ids:
        text = text.replace(test_id, "<id>")
    assert answer.headers["x-request-id"], "every answer has one of its own"
    headers = sorted((name, value) for name, value in answer.headers.items() if name != "x-request-id")
    return answer.status_code, text, headers


def _sample(field: Any) -> Any:
    if field.encode_name == "events":
        return [an_event("x")]
    return 60 if "int" in str(field.type) or "float" in str(field.type) else "x"


def params_of(name: str, test_id: str) -> dict[str, Any]:
    """Parameters that the method takes: the run's id, and what else it requires."""
    given: dict[str, Any] = {"testId": test_id}
    for field in msgspec.structs.fields(METHODS[name].params):
        if field.required and field.encode_name != "testId":
            given[field.encode_name] = _sample(field)
    return given


async def every_way(client: httpx.AsyncClient, name: str, test_id: str, headers: dict[str, str]) -> list[Any]:
    """The answers of a method to every way of asking about a run, without its id."""
    said = [client.post(f"/rpc/{name}", json=params_of(name, test_id))]
    if METHODS[name].reads:
        query = {"testId": test_id}
        said += [client.get(f"/rpc/{name}", params=query, headers=each) for each in ({}, headers)]
        said += [client.head(f"/rpc/{name}", params=query)]
    return [without_ids(each, test_id) for each in await asyncio.gather(*said)]


ABOUT_A_RUN: Final = [
    name for name, each in METHODS.items() if each.action is not None and "test_id" in each.params.__struct_fields__
]


async def test_a_foreign_run_answers_like_a_missing_one_by_every_method(edge: Edge, streams: Streams) -> None:
    theirs, nobodys = await begin_in(streams, "a"), await begin_in(streams, "Not A Name")
    await store_picture(streams, theirs, b"\xff\xd8\xff picture")
    for test_id in (theirs, nobodys):
        await known(edge, test_id)
    before = await event_log(streams).last(theirs)
    async with a_client(edge, "bob") as bob, a_client(edge, "ann") as ann, a_client(edge, "eve") as eve:
        for name in ABOUT_A_RUN:
            reads = METHODS[name].reads
            if reads:
                seen = await ann.get(f"/rpc/{name}", params={"testId": theirs})
                assert seen.status_code != 404
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
        ids: list[str] = []
        for name, more in (("submitTest", {"gameUrl": "http://127.0.0.1:9/"}), ("createRun", {"title": "mine"})):
            made = (await here.post(f"/rpc/{name}", json={**more, "project": "a"})).json()
            for method in ("getTest", "getEvents", "connectToTest"):
                seen = await there.get(f"/rpc/{method}", params={"testId": made["testId"]})
                assert seen.status_code == 200, seen.text
                assert (await bob.get(f"/rpc/{method}", params={"testId": made["testId"]})).status_code == 404
            assert (await known(second, made["testId"])).project == "a"
            ids.append(made["testId"])
        submitted = ids[0]
        for _ in range(2):  # the second time queued again, after its job was lost
            job = await streams.last(subjects.JOBS, subjects.job(submitted))
            assert job is not None and orjson.loads(job.data)["project"] == "a"
            assert read_job(submitted, job.data).run_data["project"] == "a", "also where the worker begins the run"
            await runs.drop_job(streams, submitted)
            assert await requeue(event_log(streams), submitted)


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
        for name in [name for name, method in METHODS.items() if method.action is not None]:
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
