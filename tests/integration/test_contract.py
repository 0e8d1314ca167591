"""The contract on a running system: what a socket says, what the broker stores, and an edge that is fuzzed."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from websockets.asyncio.client import connect

from broker.jetstream.api import Streams
from broker.local.embedded_server import EmbeddedServer
from tests.conftest import MakeEdge, Stack
from tests.contract_check import check_control
from tests.fuzz import UNLIMITED, fuzz, prepare, with_ids
from tests.harness import NO_SUCH_TEST, Reader, begin, is_event, publish, say, store_picture
from tests.schema_files import document, validator


def check_message(message: dict[str, Any]) -> None:
    """Fails unless a message of a socket is as its schema says, with no field that it does not name."""
    name = "viewer-event.schema.json" if is_event(message) else "control.schema.json"
    validator(name).validate(message)
    if not is_event(message):
        check_control(message)


async def streamed(stack: Stack, test_id: str) -> list[dict[str, Any]]:
    """Whatever a stream of server-sent events says of a run that has ended."""
    address, accept = f"{stack.edge_url}/tests/{test_id}/events", {"accept": "text/event-stream"}
    async with httpx.AsyncClient() as client:
        said = (await client.get(address, headers=accept)).text
    return [json.loads(line.removeprefix("data:")) for line in said.splitlines() if line.startswith("data:")]


async def test_whatever_a_socket_and_a_stream_say_in_a_run_is_valid(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "When?", timestamp="now")
    await publish(stack_streams, test_id, "New", "shiny", more=[1])
    await store_picture(stack_streams, test_id)
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(60), connect(stack.ws_url) as connection:
        reader = Reader(connection)

        async def until_told(kind: str, **fields: Any) -> None:
            while True:
                message = await reader.next(beats=True)
                seen.append(message)
                if message["type"] == kind and fields.items() <= message.items():
                    return

        await say(connection, {"type": "subscribe", "channel": "tests"})
        await until_told("tests", full=True)
        await say(connection, {"type": "subscribe", "channel": "frames", "testId": test_id})
        await until_told("frame", testId=test_id)
        await say(connection, {"type": "subscribe", "testId": test_id})
        await until_told("shiny", testId=test_id)
        for wrong in ({"testId": NO_SUCH_TEST}, {"testId": test_id, "after": 10**12}):
            await say(connection, {"type": "subscribe", **wrong})
            await until_told("sync" if "after" in wrong else "error", testId=wrong["testId"])
        await say(connection, {"type": "authenticate", "token": "none"})
        await until_told("authenticated")
        await say(connection, {"type": "cancel", "testId": test_id})
        await until_told("error", testId=test_id, status="failed")
        await say(connection, {"type": "cancel", "testId": test_id})
        await until_told("error", testId=test_id)
    for message in seen:
        check_message(message)
    for message in await streamed(stack, test_id):
        check_message(message)
        seen.append(message)
    assert {"goodbye", "sync", "tests", "frame", "unreadable", "error", "authenticated"} <= {
        each["type"] for each in seen if not is_event(each)
    }


def test_what_is_checked_here_can_fail() -> None:
    sync = {"type": "sync", "testId": NO_SUCH_TEST, "outcome": "live", "epoch": "e", "head": 1}
    check_message(sync)
    for wrong in (sync | {"head": "1"}, sync | {"outcome": "fine"}, {"type": "shiny"}):
        with pytest.raises(jsonschema.ValidationError):
            check_message(wrong)
    with pytest.raises(AssertionError):
        check_message(sync | {"shiny": 1})


async def test_the_broker_has_what_asyncapi_says(stack_streams: Streams) -> None:
    told = document("asyncapi.json")["x-jetstream"]
    for config in (*told["streams"], *told["buckets"]):
        standing = (await stack_streams.api(f"STREAM.INFO.{config['name']}"))["config"]
        metadata = {name: standing["metadata"][name] for name in config["metadata"]}
        wanted = {name: each for name, each in config.items() if each not in (False, 0) and name != "max_bytes"}
        assert {name: standing.get(name) for name in wanted} | {"metadata": metadata} == wanted
    for config in told["consumers"]:
        standing = (await stack_streams.api(f"CONSUMER.INFO.{config['stream']}.{config['durable_name']}"))["config"]
        wanted = {key: each for key, each in config.items() if key not in ("stream", "ack_wait")}
        assert {key: standing.get(key) for key in wanted} == wanted


async def test_the_documents_are_served_as_other_files_are(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.edge_url) as client:
        openapi = await client.get("/openapi.json")
        assert openapi.json() == document("openapi.json") and openapi.headers["content-type"] == "application/json"
        page = await client.get("/api")
        assert "openapi.json" in page.text and page.headers["content-type"] == "text/html; charset=utf-8"
        for answer in (openapi, page):
            policy = answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-cache" and policy.startswith("default-src 'none'")
            again = await client.get(answer.url.path, headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


async def test_the_rpc_says_which_verbs_a_method_takes(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.edge_url) as client:
        for verb, method, allow in (("GET", "pinTest", "POST"), ("PUT", "getTest", "GET, HEAD, POST")):
            answer = await client.request(verb, f"/rpc/{method}")
            assert (answer.status_code, answer.headers["allow"]) == (405, allow)
            assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_schemathesis_finds_no_answer_that_is_not_documented(
    nats_server: EmbeddedServer, make_edge: MakeEdge, tmp_path: Path
) -> None:
    """A few requests of each kind for each operation; `make fuzz` asks for minutes."""
    edge = await make_edge(**UNLIMITED)
    test_ids = await prepare(nats_server.url)
    openapi = with_ids(deepcopy(document("openapi.json")), test_ids)
    status, said = await asyncio.to_thread(fuzz, edge.url, openapi, 1, 1, tmp_path)
    assert status == 0, said
    assert "ERROR" not in edge.log.read_text("utf-8")
