"""Webhooks on real edges: a receiver that fails, hangs and redirects; two edges, one message; a killed edge."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from broker.contract import subjects
from broker.identity import new_test_id
from broker.jetstream.api import Streams
from tests.conftest import MakeEdge
from tests.harness import begin, publish, until
from tests.unit.test_webhooks import SECRET

DOCS = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"


class Arrived(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """An HTTP server that answers as it is told, by path; None: not at all."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.answers: dict[str, list[str | None]] = {}
        """What is answered next by path; the last one stays."""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines if each)}
            body = await reader.readexactly(int(headers["content-length"]))
            path = first.split()[1]
            self.arrived.append(Arrived(path, headers, body))
            answers = self.answers.get(path, ["200 OK"])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if answer is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    def of(self, path: str) -> list[Arrived]:
        return [each for each in self.arrived if each.path == path]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


def settings(folder: Path, receiver: Receiver, *names: str, **others: dict[str, Any]) -> dict[str, str]:
    """A file with a webhook for each name, at a path of that name; retried at once."""
    (folder / "secret").write_text(SECRET)
    common = {"secret_file": "secret", "allow_private": True, "retry_s": [0.2] * 5 + [5] * 15}
    url = f"http://localhost:{receiver.port}"
    hooks = [{"name": each, "url": f"{url}/{each}"} | common | others.get(each, {}) for each in (*names, *others)]
    (folder / "webhooks.json").write_bytes(orjson.dumps({"webhooks": hooks}))
    return {"TESTCAST_WEBHOOKS": str(folder / "webhooks.json"), "TESTCAST_EDGE_PUBLIC_URL": "https://tests.example"}


async def until_known(streams: Streams, *names: str) -> None:
    """Waits until the edges have met the webhooks: they are told of what ends from then on."""
    for name in names:
        await until(partial(streams.kv_get, subjects.HOOKS, name), within_s=60)


async def ended(streams: Streams, title: str = "Star Hopper") -> str:
    test_id = await begin(streams, title)
    await publish(streams, test_id, "Done", "complete", data={"score": 78})
    return test_id


def documented_check() -> Callable[[str, dict[str, str], bytes], bool]:
    """The consumer's example of the page."""
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["verified"]  # type: ignore[no-any-return]


async def state_of(streams: Streams, name: str, test_id: str) -> str | None:
    info = await streams.api("STREAM.INFO.KV_HOOKS", {"subjects_filter": f"$KV.HOOKS.{name}.{test_id}.*"})
    for subject in info["state"].get("subjects") or {}:
        entry = await streams.last("KV_HOOKS", subject)
        return None if entry is None else str(orjson.loads(entry.data)["state"])
    return None


async def test_an_end_is_told_once_signed_and_again_after_failures(
    make_edge: MakeEdge, streams: Streams, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = {
        "/ci": ["500 Oh", f"302 Found\r\nlocation: http://127.0.0.1:{receiver.port}/inside", "200 OK"],
        "/gone": ["410 Gone"],
        "/hangs": [None],
    }
    given = settings(
        tmp_path, receiver, "ci", "gone", "hangs", chat={"format": "slack"}, private={"allow_private": False}
    )
    early = await ended(streams, "Before")
    edge = await make_edge(**given)
    other = await make_edge(**given)
    await until_known(streams, "ci", "gone", "hangs", "chat", "private")
    test_id = await ended(streams)
    await until(lambda: len(receiver.of("/ci")) >= 3, within_s=60)
    first, *again = receiver.of("/ci")
    assert {each.headers["webhook-id"] for each in again} == {first.headers["webhook-id"]}
    check = documented_check()
    for each in receiver.arrived:
        assert check(SECRET, each.headers, each.body)
        assert not check(SECRET, each.headers, each.body + b" ")
    told = orjson.loads(first.body)
    assert (told["type"], told["data"]["testId"], told["data"]["score"]) == ("run.completed", test_id, 78)
    assert told["data"]["page"] == f"https://tests.example/tests/{test_id}"
    for name, state in (("ci", "delivered"), ("chat", "delivered"), ("gone", "given up")):
        await until(partial(_is, streams, name, test_id, state), within_s=60)
    assert "blocks" in orjson.loads(receiver.of("/chat")[0].body)
    assert [len(receiver.of(path)) for path in ("/ci", "/chat", "/gone", "/private", "/inside")] == [3, 1, 1, 0, 0]
    assert not any(early.encode() in each.body for each in receiver.arrived)  # nobody was to be told of it
    gone = new_test_id()  # a run that was deleted meanwhile, and a webhook that no edge here knows
    for name in ("other", "chat"):
        await streams.kv_update(subjects.HOOKS, f"{name}.{gone}.1", b'{"state":"waiting"}', 0)
    await until(partial(_is, streams, "chat", gone, "gone"), within_s=60)
    assert await state_of(streams, "other", gone) == "waiting"
    await streams.api("STREAM.DELETE.KV_HOOKS")
    later = await ended(streams, "After")
    await until(lambda: any(later.encode() in each.body for each in receiver.of("/ci")), within_s=60)
    assert len(receiver.of("/chat")) <= 2
    logs = edge.log.read_text() + other.log.read_text()
    assert "redirects are not followed" in logs or "answered 500" in logs
    assert "a private address, and `allow_private` is not set" in logs
    assert SECRET not in logs and f":{receiver.port}/" not in logs


async def _is(streams: Streams, name: str, test_id: str, state: str) -> bool:
    return await state_of(streams, name, test_id) == state


async def test_an_edge_that_is_killed_in_between_leaves_it_to_another(
    make_edge: MakeEdge, streams: Streams, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = {"/ci": [None]}
    given = settings(tmp_path, receiver, "ci")
    config: dict[str, Any] = (await streams.api("CONSUMER.INFO.KV_HOOKS.webhooks"))["config"] | {"ack_wait": 2 * 10**9}
    body = {"stream_name": "KV_HOOKS", "config": config, "action": "update"}
    await streams.api("CONSUMER.CREATE.KV_HOOKS.webhooks", body)
    edge = await make_edge(**given)
    await until_known(streams, "ci")
    test_id = await ended(streams)
    await until(lambda: receiver.of("/ci"), within_s=60)
    edge.child.signal(signal.SIGKILL)
    await edge.child.wait()
    receiver.answers = {"/ci": ["200 OK"]}
    assert await state_of(streams, "ci", test_id) == "waiting"
    await make_edge(**given)
    await until(lambda: _is(streams, "ci", test_id, "delivered"), within_s=60)
    assert {each.headers["webhook-id"] for each in receiver.of("/ci")} == {receiver.arrived[0].headers["webhook-id"]}
