"""The RPC on a real edge: every method, and every error it can answer with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import orjson
import pytest

from agent_worker.games.handle import read_job
from broker import identity
from broker.contract import subjects
from broker.jetstream.api import Streams
from tests.conftest import MakeEdge, Stack
from tests.harness import NO_SUCH_TEST, begin, publish, store_picture, until


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.edge_url) as connected:
        yield connected


async def call(client: httpx.AsyncClient, method: str, **params: Any) -> Any:
    answer = await client.post(f"/rpc/{method}", json=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(client: httpx.AsyncClient, test_id: str, status: str) -> dict[str, Any]:
    """The run in the list, once it has that status there."""

    async def look() -> dict[str, Any] | None:
        tests = (await call(client, "listTests", limit=200))["tests"]
        return next((run for run in tests if run["testId"] == test_id and run["status"] == status), None)

    return await until(look)


async def test_submit_queues_a_run_and_cancel_ends_it(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    submitted = await call(
        client, "submitTest", gameUrl="http://127.0.0.1:9/g/", title="Mine", budgetSeconds=30, seed=7
    )
    test_id = submitted["testId"]
    (first,) = (await call(client, "getEvents", testId=test_id))["events"]
    assert (first["type"], first["status"]) == ("status", "queued")
    assert first["data"] == {"gameUrl": "http://127.0.0.1:9/g/", "title": "Mine", "budgetSeconds": 30, "seed": 7}
    job = await stack_streams.last(subjects.JOBS, subjects.job(test_id))
    assert job is not None and orjson.loads(job.data) == first["data"] | {"allowPrivate": True}
    run = await listed(client, test_id, "queued")
    assert (run["title"], run["gameUrl"], run["attempt"]) == ("Mine", "http://127.0.0.1:9/g/", 0)

    assert await call(client, "cancelTest", testId=test_id) == {"testId": test_id, "status": "failed"}
    again = await client.post("/rpc/cancelTest", json={"testId": test_id})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_ended")
    assert (await listed(client, test_id, "failed"))["error"] == "Cancelled"
    assert await stack_streams.last(subjects.JOBS, subjects.job(test_id)) is None


async def test_an_agent_that_only_publishes_json_gets_a_card(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    test_id = identity.new_test_id()
    await publish(stack_streams, test_id, "Hello from Lua")
    run = await listed(client, test_id, "running")
    assert (run["message"], run["title"]) == ("Hello from Lua", f"Test {test_id[:8]}")
    await publish(stack_streams, test_id, "Done", "complete", data={"score": 61})
    assert (await listed(client, test_id, "completed"))["score"] == 61


async def test_get_events_pages_through_a_run(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    stored = [(await publish(stack_streams, test_id, f"{number}")).seq for number in range(25)]
    first = await call(client, "getEvents", testId=test_id, limit=10)
    assert (first["outcome"], first["more"], len(first["events"])) == ("live", True, 10)
    assert first["snapshot"]["testId"] == test_id
    after, seen = first["head"], [event["seq"] for event in first["events"]]
    while True:
        page = await call(client, "getEvents", testId=test_id, after=after, epoch=first["epoch"], limit=10)
        assert page["outcome"] == "recovered" and "snapshot" not in page
        seen += [event["seq"] for event in page["events"]]
        after = page["head"]
        if not page["more"]:
            break
    assert seen[2:] == stored and after == stored[-1]
    assert (await call(client, "getEvents", testId=test_id, after=after, epoch=first["epoch"]))["events"] == []
    ahead = await call(client, "getEvents", testId=test_id, after=after + 10**6, epoch=first["epoch"])
    assert (ahead["outcome"], ahead["reason"], len(ahead["events"])) == ("reset", "ahead", 27)
    other = await call(client, "getEvents", testId=test_id, after=after, epoch="other")
    assert (other["outcome"], other["reason"]) == ("reset", "epoch")


async def test_malformed_events_move_the_position_of_a_poll(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    ack = await stack_streams.store(subjects.events(test_id), b"nonsense")
    answer = await call(client, "getEvents", testId=test_id)
    assert (len(answer["events"]), answer["head"], answer["more"]) == (2, ack.seq, False)
    assert answer["unreadable"] == {"seq": ack.seq, "count": 1, "reasons": {"it is not JSON": 1}}
    later = await call(client, "getEvents", testId=test_id, after=ack.seq, epoch=answer["epoch"])
    assert "unreadable" not in later


async def test_the_list_in_pages_by_status_and_with_304(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    made = [await begin(stack_streams, f"list {number}") for number in range(5)]
    for test_id in made:
        await listed(client, test_id, "running")
    seen: list[str] = []

    async def paged() -> bool:
        """Whether no run of another test has begun or ended meanwhile."""
        asked = {"limit": "2", "status": "running"}
        counts = set()
        seen.clear()
        while True:
            page = (await client.get("/rpc/listTests", params=asked)).json()
            assert len(page["tests"]) <= 2 and {run["status"] for run in page["tests"]} <= {"running"}
            seen.extend(run["testId"] for run in page["tests"])
            counts.add(page["counts"]["running"])
            if "nextCursor" not in page:
                return counts == {len(seen)}
            asked["cursor"] = page["nextCursor"]

    await until(paged, within_s=20, what="the pages hold as many runs as are counted")
    assert len(seen) == len(set(seen))
    assert [each for each in seen if each in made] == made[::-1], "newest first"

    odd = await begin(stack_streams, "Ünlike the ÖTHERS")
    await listed(client, odd, "running")
    for query in ("ünlike the öth", odd.upper()[:13], "unning"):
        found = (await client.get("/rpc/listTests", params={"query": query, "status": "running"})).json()
        assert odd in [run["testId"] for run in found["tests"]], query
        assert sum(found["counts"].values()) > len(made), "of all runs there are"
    found = (await client.get("/rpc/listTests", params={"query": "list ", "limit": 2})).json()
    rest = {"query": "list ", "limit": 200, "cursor": found["nextCursor"]}
    found["tests"] += (await client.get("/rpc/listTests", params=rest)).json()["tests"]
    assert set(made) <= {run["testId"] for run in found["tests"]}
    assert odd not in {run["testId"] for run in found["tests"]}

    answer = await client.get("/rpc/listTests")
    same = await client.get("/rpc/listTests", headers={"if-none-match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    other = await client.get("/rpc/listTests?limit=3", headers={"if-none-match": answer.headers["etag"]})
    assert other.status_code == 200
    await publish(stack_streams, made[0], "changed")

    async def changed() -> bool:
        return (
            await client.get("/rpc/listTests", headers={"if-none-match": answer.headers["etag"]})
        ).status_code == 200

    await until(changed)


async def test_connect_to_test_names_the_socket(
    stack: Stack, client: httpx.AsyncClient, stack_streams: Streams
) -> None:
    test_id = await begin(stack_streams)
    answer = await call(client, "connectToTest", testId=test_id)
    assert answer["url"] == f"{stack.ws_url}?testId={test_id}"
    assert (answer["snapshot"]["title"], answer["head"], bool(answer["epoch"])) == ("A game", 0 + answer["head"], True)
    secure = await client.get(f"/rpc/connectToTest?testId={test_id}", headers={"x-forwarded-proto": "https"})
    assert secure.json()["url"].startswith("wss://")


async def test_the_newest_picture(client: httpx.AsyncClient, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    none = await client.get(f"/rpc/getShot?testId={test_id}")
    assert (none.status_code, none.content) == (204, b"")
    await store_picture(stack_streams, test_id, b"\xff\xd8\xff jpeg")

    async def there() -> httpx.Response | None:
        answer = await client.get(f"/rpc/getShot?testId={test_id}")
        return answer if answer.status_code == 200 else None

    answer = await until(there)
    assert (answer.content, answer.headers["content-type"]) == (b"\xff\xd8\xff jpeg", "image/jpeg")
    etag = answer.headers["etag"]
    for tags in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        same = await client.get(f"/rpc/getShot?testId={test_id}", headers={"if-none-match": tags})
        assert (same.status_code, same.content) == (304, b"")


async def test_head_page_files_and_health(client: httpx.AsyncClient) -> None:
    assert "<html" in (await client.get("/")).text
    assert "<html" in (await client.get(f"/tests/{NO_SUCH_TEST}")).text
    assert (await client.get("/tests/bad")).status_code == 404
    assert (
        (await client.get("/view/main.js"))
        .headers["content-type"]
        .startswith(("text/javascript", "application/javascript"))
    )
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).json()["ready"] is True
    for path in ("/../pyproject.toml", "/%2e%2e/pyproject.toml", "/nothing.js"):
        assert (await client.get(path)).status_code == 404


WRONG = [
    ("nope", {}, 404, "unknown_method"),
    ("getTest", {}, 400, "invalid_params"),
    ("getTest", {"testId": "bad"}, 400, "invalid_test_id"),
    ("getTest", {"testId": NO_SUCH_TEST.upper()}, 400, "invalid_test_id"),
    ("getTest", {"testId": 7}, 400, "invalid_params"),
    ("getTest", {"testId": NO_SUCH_TEST}, 404, "not_found"),
    ("getTest", {"testId": NO_SUCH_TEST, "more": 1}, 400, "invalid_params"),
    ("getEvents", {"testId": NO_SUCH_TEST}, 404, "not_found"),
    ("getEvents", {"testId": NO_SUCH_TEST, "after": "x"}, 400, "invalid_params"),
    ("getEvents", {"testId": NO_SUCH_TEST, "after": -1}, 400, "invalid_params"),
    ("getEvents", {"testId": NO_SUCH_TEST, "limit": 1001}, 400, "invalid_params"),
    ("connectToTest", {"testId": NO_SUCH_TEST}, 404, "not_found"),
    ("cancelTest", {"testId": NO_SUCH_TEST}, 404, "not_found"),
    ("listTests", {"limit": 0}, 400, "invalid_params"),
    ("listTests", {"status": "odd"}, 400, "invalid_params"),
    ("listTests", {"cursor": "odd"}, 400, "invalid_cursor"),
    ("submitTest", {}, 400, "invalid_params"),
    ("submitTest", {"gameUrl": 7}, 400, "invalid_params"),
    ("submitTest", {"gameUrl": "ftp://x/"}, 400, "url_refused"),
    ("submitTest", {"gameUrl": "no address"}, 400, "invalid_url"),
    ("submitTest", {"gameUrl": "http://x/" + "a" * 3000}, 400, "invalid_url"),
    ("submitTest", {"gameUrl": "http://127.0.0.1/", "budgetSeconds": 4}, 400, "bad_input"),
    ("submitTest", {"gameUrl": "http://127.0.0.1/", "budgetSeconds": "60"}, 400, "invalid_params"),
    ("submitTest", {"gameUrl": "http://127.0.0.1/", "seed": -1}, 400, "bad_input"),
    ("submitTest", {"gameUrl": "http://127.0.0.1/", "title": ""}, 400, "bad_input"),
    ("submitTest", {"gameUrl": "http://127.0.0.1/", "title": "x" * 201}, 400, "bad_input"),
]


@pytest.mark.parametrize(("method", "params", "status", "code"), WRONG)
async def test_wrong_calls(
    client: httpx.AsyncClient, method: str, params: dict[str, Any], status: int, code: str
) -> None:
    answer = await client.post(f"/rpc/{method}", json=params)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"nonsense", 400, "malformed_body"),
        (b"[]", 400, "malformed_body"),
        (b'"x"', 400, "malformed_body"),
        (b'{"testId":"\xff"}', 400, "malformed_body"),
        (b"[" * 3000, 400, "malformed_body"),
        (b" " * 17_000, 413, "too_large"),
        (b'{"testId":"' + b"x" * 17_000, 413, "too_large"),
    ],
)
async def test_wrong_bodies(client: httpx.AsyncClient, body: bytes, status: int, code: str) -> None:
    answer = await client.post("/rpc/getTest", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_what_changes_something_wants_post_and_our_own_pages(client: httpx.AsyncClient) -> None:
    for method in ("submitTest", "cancelTest"):
        answer = await client.get(f"/rpc/{method}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    put = await client.put("/rpc/submitTest", json={})
    assert (put.status_code, put.json()["error"]["code"]) == (405, "method_not_allowed")
    foreign = await client.post(
        "/rpc/submitTest", json={"gameUrl": "http://127.0.0.1/"}, headers={"origin": "https://evil.example"}
    )
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize("name", ["TESTCAST_ALLOW_PRIVATE", "TESTCAST_AGENT_ALLOW_PRIVATE"])
async def test_one_setting_of_the_edge_decides_on_local_games(make_edge: MakeEdge, streams: Streams, name: str) -> None:
    edge = await make_edge(**{"TESTCAST_AGENT_ALLOW_PRIVATE": "", name: "1"})
    async with httpx.AsyncClient(base_url=edge.url, trust_env=False) as http:
        assert (await call(http, "getConfig"))["allowPrivate"] is True
        test_id = (await call(http, "submitTest", gameUrl="http://localhost:3000"))["testId"]
    job = await streams.last(subjects.JOBS, subjects.job(test_id))
    assert job is not None and read_job(test_id, job.data).allow_private


async def test_private_addresses_are_refused_unless_allowed(make_edge: MakeEdge) -> None:
    edge = await make_edge(TESTCAST_AGENT_ALLOW_PRIVATE="0")
    async with httpx.AsyncClient(base_url=edge.url) as client:
        for host in ("127.0.0.1", "localhost", "10.1.2.3", "169.254.169.254", "[::1]", "2130706433", "0x7f.1"):
            answer = await client.post("/rpc/submitTest", json={"gameUrl": f"http://{host}/"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "url_refused"), host


async def test_a_full_queue_is_an_error_and_ends_the_run(streams: Streams, make_edge: MakeEdge) -> None:
    edge = await make_edge()
    config = (await streams.api(f"STREAM.INFO.{subjects.JOBS}"))["config"]
    await streams.api(f"STREAM.UPDATE.{subjects.JOBS}", config | {"max_msgs": 1})
    async with httpx.AsyncClient(base_url=edge.url) as client:
        await call(client, "submitTest", gameUrl="http://127.0.0.1:9/")
        answer = await client.post("/rpc/submitTest", json={"gameUrl": "http://127.0.0.1:9/"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_full")
        assert answer.headers["retry-after"]

        async def failed() -> int:
            return int((await call(client, "listTests"))["counts"]["failed"])

        assert await until(failed) == 1


async def test_polls_are_answered_again_only_while_nothing_has_changed(streams: Streams, make_edge: MakeEdge) -> None:
    """What the response cache answers is what the application would answer now."""
    edge = await make_edge()
    test_id = await begin(streams)
    async with httpx.AsyncClient(base_url=edge.url) as http:

        async def knows(text: str) -> bool:
            return text in (await http.get("/rpc/listTests?limit=200")).text

        await until(partial(knows, test_id))
        asked: list[tuple[str, dict[str, Any]]] = [("listTests", {"limit": 200}), ("getTest", {"testId": test_id})]
        for number, (method, params) in enumerate(asked):
            etag = await until(partial(polled, http, method, params, edge.url), within_s=60)
            await publish(streams, test_id, f"News {number}")
            await until(partial(knows, f"News {number}"), within_s=30)
            news = await http.get(f"/rpc/{method}", params=params, headers={"if-none-match": etag})
            assert news.status_code == 200
            assert f"News {number}" in news.text
        assert (await http.get("/rpc/listTests?limit=x")).status_code == 400


async def polled(http: httpx.AsyncClient, method: str, params: dict[str, Any], origin: str) -> str | None:
    """Asks the same in many ways. Returns the ETag of all answers, None when the answer changed meanwhile.

    Requests with an origin pass by the response cache and are answered by the application.
    """

    async def ask(**headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await http.get(f"/rpc/{method}", params=params, headers=named)

    first = await ask()
    etag = first.headers["etag"]
    cached, posted = await ask(), await http.post(f"/rpc/{method}", json=params)
    same = [etag, f"W/{etag}", f'"other", W/"more", {etag}', "*"]
    others = ['"other"', etag.strip('"'), f"{etag} junk"]
    unchanged = [await ask(if_none_match=tags) for tags in same]
    unchanged += [await ask(if_none_match=tags, origin=origin) for tags in same]
    whole = [cached, posted, *[await ask(if_none_match=tags) for tags in others], await ask(origin=origin)]
    if (await ask()).headers["etag"] != etag:
        return None
    assert [(answer.status_code, answer.content) for answer in unchanged] == [(304, b"")] * len(unchanged)
    assert {answer.status_code for answer in whole} == {200}
    assert {answer.content for answer in whole} == {first.content}
    assert {answer.headers["etag"] for answer in (*unchanged, *whole)} == {etag}
    assert {answer.headers["content-type"] for answer in whole} == {"application/json"}
    return str(etag)
