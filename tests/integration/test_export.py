"""Exports of a run: the command over NATS and through an edge, and the edge's route with what it refuses."""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import httpx
import orjson
import pytest
from PIL import Image

from broker import identity
from broker.contract import subjects
from broker.contract.errors import BadInput, NotFound
from broker.export.assets import assets
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from broker.local.embedded_server import EmbeddedServer
from testcast import config, list_runs
from testcast.cli import export as exports
from testcast.cli.export import STDOUT, ExportRequest
from testcast.cli.server import Server
from testcast.cli.terminal import Terminal
from testcast.client.errors import ConnectionLost, EdgeRefused
from testcast.client.rpc import Download, RpcClient
from tests.command import run
from tests.conftest import MakeEdge, Stack
from tests.exporting import HOSTILE, Story, told
from tests.harness import NO_SUCH_TEST, EdgeProcess, free_port, publish, until
from tests.in_process import ByProject, Edge, a_client
from ws_edge.api import export as route

TWO_WAYS = pytest.mark.parametrize("how", ["nats", "edge"])
MANY: Final = 240
"""Pictures that no buffer between an edge and a client holds: 18 MB."""


def server(stack: Stack, how: str) -> Server:
    return Server(stack.edge_url, None) if how == "edge" else Server(None, config.broker(stack.nats_url))


def files_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


async def exported(stack: Stack, how: str, story: Story, form: str, to: Path, *stretch: int) -> bytes:
    """What the command writes."""
    first, last = stretch or (None, None)
    request = ExportRequest(form, to, first, last)
    assert await exports.export(story.test_id, request, server(stack, how), Terminal()) == 0
    return await asyncio.to_thread(to.read_bytes)


# ── the command ──


@TWO_WAYS
async def test_json_holds_what_was_published(stack: Stack, stack_streams: Streams, tmp_path: Path, how: str) -> None:
    story = await told(stack_streams)
    document = orjson.loads(await exported(stack, how, story, "json", tmp_path / "run.json"))
    assert document["head"] == story.head
    messages = {event["seq"]: event["message"] for event in document["events"]}
    assert all(messages[moment.seq] == moment.message for moment in story.moments)
    frames = [
        (each["number"], each["seq"], each["timeMs"], base64.b64decode(each["jpeg"])) for each in document["frames"]
    ]
    assert frames == [(each.frame.number, each.seq, each.time_ms, each.jpeg) for each in story.moments]
    snapshot = document["snapshot"]
    assert (snapshot["score"], snapshot["labels"], document["ended"]) == (61, {"commit": "abc"}, True)
    assert (document["eventsGone"], document["framesGone"]) == (False, False)


@TWO_WAYS
async def test_a_stretch_has_its_events_and_the_picture_before_it(
    stack: Stack, stack_streams: Streams, tmp_path: Path, how: str
) -> None:
    story = await told(stack_streams)
    first, last = story.moments[2].seq, story.moments[3].seq
    document = orjson.loads(await exported(stack, how, story, "json", tmp_path / "run.json", first, last))
    assert [event["seq"] for event in document["events"]] == [first, last]
    assert [each["number"] for each in document["frames"]] == [each.frame.number for each in story.moments[1:4]]
    assert (document["from"], document["to"]) == (first, last)
    assert document["snapshot"]["score"] == 61


@TWO_WAYS
@pytest.mark.parametrize("form", ["html", "junit", "gif", "webp"])
async def test_the_other_formats_are_files_of_their_kind(
    stack: Stack, stack_streams: Streams, tmp_path: Path, how: str, form: str
) -> None:
    story = await told(stack_streams)
    content = await exported(stack, how, story, form, tmp_path / "run")
    if form == "html":
        assert content.startswith(b"<!doctype html>") and content.endswith(b"</html>\n")
        assert assets().style in content
        assert stack.edge_url.encode() not in content and str(stack.edge.port).encode() not in content
    elif form == "junit":
        assert ElementTree.fromstring(content).get("failures") == "1"
    else:
        with Image.open(io.BytesIO(content)) as read:
            assert (getattr(read, "n_frames", 0), read.format) == (5, form.upper())


@TWO_WAYS
async def test_a_run_that_goes_on_is_exported_as_of_now(
    stack: Stack, stack_streams: Streams, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    story = await told(stack_streams, ended=False)
    document = orjson.loads(await exported(stack, how, story, "json", tmp_path / "run.json"))
    assert (document["ended"], document["snapshot"]["status"]) == (False, "running")
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'run.json'}\n"
    assert "has not ended" in said.err


async def test_early_pictures_that_have_gone_are_said(
    nats_server: EmbeddedServer, streams: Streams, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = await told(streams)
    limits = (await streams.api(f"STREAM.INFO.{subjects.FRAMES}"))["config"] | {"max_msgs_per_subject": 3}
    await streams.api(f"STREAM.UPDATE.{subjects.FRAMES}", limits)
    request, where = ExportRequest("json", tmp_path / "run.json"), Server(None, config.broker(nats_server.url))
    assert await exports.export(story.test_id, request, where, Terminal()) == 0
    document = orjson.loads((tmp_path / "run.json").read_bytes())
    assert document["framesGone"]
    assert [each["number"] for each in document["frames"]] == [each.frame.number for each in story.moments[2:]]
    assert "may have had earlier pictures, which are no longer kept" in capsys.readouterr().err


async def test_events_that_are_none_are_counted(stack: Stack, stack_streams: Streams, tmp_path: Path) -> None:
    story = await told(stack_streams, ended=False)
    await stack_streams.store(subjects.events(story.test_id), b"no event")
    await FrameStore(stack_streams).put(story.test_id, b"\xff\xd8\xff no picture", seq=1)
    document = orjson.loads(await exported(stack, "nats", story, "json", tmp_path / "run.json"))
    assert document["unreadable"] == {"count": 1, "reasons": {"it is not JSON": 1}}


@TWO_WAYS
async def test_what_cannot_be_exported_is_refused_and_leaves_no_file(
    stack: Stack, stack_streams: Streams, tmp_path: Path, how: str
) -> None:
    story = await told(stack_streams)
    where = server(stack, how)
    for test_id, request, error in (
        (NO_SUCH_TEST, ExportRequest("html", tmp_path / "a"), NotFound),
        (story.test_id, ExportRequest("html", tmp_path / "a", 9, 3), BadInput),
        (story.test_id, ExportRequest("html", tmp_path / "a", story.head + 1), (BadInput, EdgeRefused)),
        (story.test_id, ExportRequest("html", tmp_path / "missing" / "a"), BadInput),
        (story.test_id, ExportRequest("html", tmp_path), BadInput),
    ):
        with pytest.raises(error):
            await exports.export(test_id, request, where, Terminal())
    assert files_in(tmp_path) == []


async def test_an_animation_of_a_run_without_pictures_is_refused(
    stack: Stack, stack_streams: Streams, tmp_path: Path
) -> None:
    test_id = identity.new_test_id()
    await publish(stack_streams, test_id, "Running", "status", status="running")
    for form in ("gif", "webp"):
        with pytest.raises(BadInput, match="no pictures"):
            await exports.export(test_id, ExportRequest(form, tmp_path / "a"), server(stack, "nats"), Terminal())
    assert files_in(tmp_path) == []


async def test_a_full_disk_leaves_no_half_file(
    stack: Stack, stack_streams: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = await told(stack_streams)

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(descriptor: int, _mode: str) -> Full:
        os.close(descriptor)
        return Full()

    monkeypatch.setattr("testcast.cli.new_file.os.fdopen", full)
    with pytest.raises(OSError, match="No space"):
        await exported(stack, "nats", story, "html", tmp_path / "run.html")
    assert files_in(tmp_path) == []


async def test_the_command_line_reads_its_options(stack: Stack, stack_streams: Streams, tmp_path: Path) -> None:
    story = await told(stack_streams)

    async def is_listed() -> bool:  # the beginning of an id stands for a run that the edge knows
        return story.test_id in [each.test_id for each in await list_runs(stack.edge_url)]

    await until(is_listed)
    to = str(tmp_path / "report.xml")
    made = await run("export", story.test_id[:18], "-o", to, "--edge", stack.edge_url)
    assert (made.code, made.out, made.err) == (0, f"{to}\n", "")
    assert ElementTree.fromstring((tmp_path / "report.xml").read_bytes()).tag == "testsuites"
    again = await run("export", story.test_id, "-o", to, "--nats", stack.nats_url)
    assert (again.code, again.out) == (2, "")
    assert "--force" in again.err
    both = await run("export", story.test_id, "--json", "--gif")
    assert (both.code, "only one" in both.err) == (2, True)


async def test_standard_output_takes_the_file(
    stack: Stack, stack_streams: Streams, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    story = await told(stack_streams)
    request = ExportRequest("json", STDOUT)
    assert await exports.export(story.test_id, request, server(stack, "nats"), Terminal()) == 0
    assert orjson.loads(capfdbinary.readouterr().out)["head"] == story.head


async def test_an_answer_that_was_cut_off_is_no_file() -> None:
    async def pieces(*given: bytes) -> AsyncIterator[bytes]:
        for each in given:
            yield each

    for whole in (b"<html>", b"</html>\n"), (b"<x></ht", b"ml>"):
        assert [each async for each in exports._whole(Download({}, pieces(*whole)), "html")] == list(whole)
    with pytest.raises(ConnectionLost, match="export the run again"):
        [each async for each in exports._whole(Download({}, pieces(b"<html>", b"</ht")), "html")]


async def test_an_edge_that_goes_away_in_the_middle_is_an_error() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        writer.close()

    port = free_port()
    async with (
        await asyncio.start_server(cut, "127.0.0.1", port),
        RpcClient(f"http://127.0.0.1:{port}") as rpc,
        rpc.download("/x", {}) as answer,
    ):
        with pytest.raises(ConnectionLost, match="cut the answer off"):
            [each async for each in answer.pieces]


# ── the route ──


def address(edge: EdgeProcess, test_id: str) -> str:
    return f"{edge.url}/tests/{test_id}/export"


async def test_the_answer_is_a_download_that_is_nothing_of_the_edges(stack: Stack, stack_streams: Streams) -> None:
    story = await told(stack_streams, title=f'../"{HOSTILE}\r\nx: y')
    async with httpx.AsyncClient() as http:
        for form, kind, ending in (
            ("html", "text/html", "html"),
            ("json", "application/json", "json"),
            ("junit", "application/xml", "xml"),
        ):
            answer = await http.get(address(stack.edge, story.test_id), params={"format": form})
            assert answer.status_code == 200
            assert answer.headers["content-type"].partition(";")[0] == kind
            name = answer.headers["content-disposition"]
            assert name.startswith('attachment; filename="testcast-script-') and name.endswith(f'.{ending}"')
            assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
        head = await http.head(address(stack.edge, story.test_id))
        assert (head.status_code, head.content) == (200, b"")


async def test_bad_questions_get_clear_answers(stack: Stack, stack_streams: Streams) -> None:
    story = await told(stack_streams, ended=False)
    async with httpx.AsyncClient() as http:
        for test_id, params, status, code in (
            (NO_SUCH_TEST, {}, 404, "not_found"),
            ("not-an-id", {}, 400, "invalid_test_id"),
            (story.test_id, {"format": "pdf"}, 400, "invalid_params"),
            (story.test_id, {"from": "9", "to": "3"}, 400, "invalid_params"),
            (story.test_id, {"from": "x"}, 400, "invalid_params"),
            (story.test_id, {"to": "0"}, 400, "invalid_params"),
            (story.test_id, {"from": str(2**60)}, 400, "invalid_params"),
            (story.test_id, {"from": str(story.head + 1)}, 400, "invalid_params"),
            (story.test_id, {"frm": "1"}, 400, "invalid_params"),
        ):
            answer = await http.get(address(stack.edge, test_id), params=params)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), params
            assert "content-disposition" not in answer.headers
        assert (await http.post(address(stack.edge, story.test_id))).status_code == 405


async def test_a_foreign_run_is_like_none_and_an_edge_that_drains_begins_no_export(
    nats_server: EmbeddedServer, streams: Streams
) -> None:
    story = await told(streams, project="a")
    edge = await Edge(nats_server.url).start()
    try:
        edge.node.access = ByProject(edge.node)
        await until(lambda: edge.node.snapshot(story.test_id))
        answers = {}
        for name in ("ann", "bob", "nobody"):
            async with a_client(edge, name) as client:
                answers[name] = await client.get(f"/tests/{story.test_id}/export?format=json")
                missing = await client.get(f"/tests/{NO_SUCH_TEST}/export?format=json")
                if name == "bob":
                    same = answers[name].text.replace(story.test_id, NO_SUCH_TEST)
                    assert (missing.status_code, missing.text) == (404, same)
        assert answers["ann"].json()["head"] == story.head
        assert {name: each.status_code for name, each in answers.items()} == {"ann": 200, "bob": 404, "nobody": 401}
        edge.node.draining = True
        async with a_client(edge, "ann") as client:
            late = await client.get(f"/tests/{story.test_id}/export?format=json")
        assert (late.status_code, late.json()["error"]["code"]) == (503, "busy")
    finally:
        await edge.stop()


def at(own_address: str) -> httpx.AsyncClient:
    """A client with another address of this machine."""
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address=own_address))


async def test_places_are_few_and_are_given_back(make_edge: MakeEdge, streams: Streams) -> None:
    """Clients that do not read hold the places: each address two, and one more is told when to come again. A place is
    free again when its client leaves, and when the edge has cut it off."""
    story = await told(streams)
    store, large, last = FrameStore(streams), story.moments[0].jpeg + bytes(56_000), story.moments[-1]
    for _ in range(MANY):
        await store.put(story.test_id, large, seq=last.seq, time_ms=last.time_ms)
    patient, strict = await make_edge(TESTCAST_EDGE_ANSWER_S="600"), await make_edge(TESTCAST_EDGE_ANSWER_S="1")
    async with at("127.0.0.2") as one, at("127.0.0.3") as other, httpx.AsyncClient() as further:

        async def held_by(edge: EdgeProcess, *clients: httpx.AsyncClient) -> list[httpx.Response]:
            asked = [(http, http.build_request("GET", address(edge, story.test_id))) for http in clients]
            return [await http.send(each, stream=True) for http, each in asked]

        async def serves(edge: EdgeProcess) -> bool:
            return (await further.get(address(edge, story.test_id), params={"format": "junit"})).status_code == 200

        held = await held_by(patient, one, one)
        crowd = await one.get(address(patient, story.test_id))
        assert (crowd.status_code, crowd.json()["error"]["code"]) == (429, "too_many_requests")
        assert int(crowd.headers["retry-after"]) > 0
        held += await held_by(patient, other, other)
        assert [each.status_code for each in held] == [200] * route._AT_ONCE
        answer = await further.get(address(patient, story.test_id))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) > 0
        for each in held:
            await each.aclose()
        await until(lambda: serves(patient), within_s=30)
        whole = await further.get(address(patient, story.test_id))
        assert whole.text.count('class="testcast-frame"') == MANY + len(story.moments)

        held = await held_by(strict, one, one, other, other)
        await until(lambda: serves(strict), within_s=60)
        ends = await asyncio.gather(*(each.aread() for each in held), return_exceptions=True)
        cut = [each for each in ends if isinstance(each, httpx.TransportError)]
        assert cut, "who takes nothing for so long is cut off, and sees that the answer is not whole"
