"""The commands about one run, from the outside, over NATS and through an edge."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import orjson
import pytest

from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from broker.local.embedded_server import EmbeddedServer
from testcast import list_runs
from tests.command import Command, run
from tests.conftest import MakeEdge, Stack
from tests.harness import NO_SUCH_TEST, begin, publish, store_picture, until
from tests.integration.test_cli import ended_run, way

TWO_WAYS = pytest.mark.parametrize("how", ["nats", "edge"])


async def queued_run(stack: Stack, *options: str) -> str:
    """A run that was submitted."""
    given = ("http://localhost:9/game", "--title", "Mine", "--seed", "3", "--budget", "9", "--project", "team-a")
    result = await run("submit", *given, *way(stack, "edge"), *options)
    assert result.code == 0
    return result.out.strip()


@TWO_WAYS
async def test_a_run_is_named_by_its_beginning_in_any_case(stack: Stack, stack_streams: Streams, how: str) -> None:
    test_id = await ended_run(stack_streams)

    async def is_listed() -> bool:  # the beginning of an id stands for a run that the edge knows
        return test_id in [each.test_id for each in await list_runs(stack.edge_url)]

    await until(is_listed)
    for name in (test_id.upper(), test_id[:13], test_id[:18].upper()):
        result = await run("tail", name, "--json", "--type", "complete", *way(stack, how))
        assert (result.code, orjson.loads(result.out)["testId"]) == (0, test_id)
    missing = await run("show", "00000000-0", *way(stack, how))
    assert (missing.code, missing.out) == (2, "")
    assert "no test whose id begins with 00000000-0" in missing.err


@TWO_WAYS
async def test_last_is_the_newest_and_an_ambiguous_name_lists_the_candidates(
    make_edge: MakeEdge, nats_server: EmbeddedServer, streams: Streams, how: str
) -> None:
    options = ["--edge", (await make_edge()).url] if how == "edge" else ["--nats", nats_server.url]
    assert "no runs yet" in (await run("show", "last", *options)).err
    ids = ["abc00000-0000-0000-0000-000000000001", "abc00000-0000-0000-0000-000000000002"]
    for test_id in ids:
        await publish(streams, test_id, "Running", "status", status="running", data={"title": f"Game {test_id[-1]}"})

    async def newest() -> bool:
        found = await run("show", "last", "--json", *options)
        return found.code == 0 and orjson.loads(found.out)["testId"] == ids[1]

    await until(newest, within_s=20)
    result = await run("cancel", "ABC", *options)
    assert (result.code, result.out) == (2, "")
    assert "abc is the beginning of 2 test ids:" in result.err
    assert all(re.search(rf"{test_id}  running +Game {test_id[-1]}", result.err) for test_id in ids)


async def test_list_over_nats_needs_no_edge(nats_server: EmbeddedServer, streams: Streams) -> None:
    done, going = await ended_run(streams), await begin(streams, "Going")
    options = ["--nats", nats_server.url]
    rows = [orjson.loads(line) for line in (await run("list", "--json", *options)).out.splitlines()]
    assert [(each["testId"], each["status"]) for each in rows] == [(going, "running"), (done, "completed")]
    since = [*options, "--since", "2001-01-01"]
    assert len((await run("list", "--json", "--status", "completed", *since)).out.splitlines()) == 1
    assert (await run("list", "--json", "--since", "0s", *options)).out == ""
    async with Command("list", "--watch", "--json", *options) as watching:
        await watching.line(going)
        await publish(streams, going, "Cancelled", "error", status="failed", data={"code": "cancelled"})
        await watching.line('"errorCode":"cancelled"')


@TWO_WAYS
async def test_show_has_facts_score_metrics_and_last_events(stack: Stack, stack_streams: Streams, how: str) -> None:
    test_id = await begin(stack_streams, "Star \x1b[31mHopper")
    for number in range(12):
        await publish(stack_streams, test_id, f"step {number}", phase="phase3")
    metrics = {"fps": 60, "deep": {"a": [1]}, "rubric": [{"part": "load", "score": 10, "max": 15}], "\x1b[2J": "x"}
    await publish(stack_streams, test_id, "Done", "complete", data={"score": 78, "metrics": metrics})

    async def shown() -> str | None:
        result = await run("show", test_id, "--lines", "3", *way(stack, how))
        assert (result.code, result.err) == (0, "")
        return result.out if "Score  78/100" in result.out else None  # the snapshot has followed the events

    out = await until(shown, within_s=20)
    assert out.startswith("Star Hopper\n")
    for wanted in (test_id, "http://game.example/", "3/4 Explore gameplay", "Score  78/100", "10/15", "fps", "60"):
        assert wanted in out
    assert '{"a":[1]}' in out
    assert "\x1b" not in out
    assert [number for number in range(12) if f"step {number}\n" in out] == [10, 11]
    snapshot = orjson.loads((await run("show", test_id, "--json", *way(stack, how))).out)
    assert (snapshot["testId"], snapshot["score"]) == (test_id, 78)
    assert (await run("show", NO_SUCH_TEST, *way(stack, how))).code == 2


@TWO_WAYS
async def test_cancel_ends_a_run_once_and_has_its_own_word(stack: Stack, stack_streams: Streams, how: str) -> None:
    test_id = await begin(stack_streams)
    result = await run("cancel", test_id, *way(stack, how))
    assert (result.code, result.out, result.err) == (0, f"cancelled {test_id}\n", "")
    again = await run("cancel", test_id, "--json", *way(stack, how))
    assert (again.code, again.out) == (1, "")
    assert "was cancelled already" in again.err
    tail = await run("tail", test_id, *way(stack, how))
    assert tail.code == 1
    assert re.search(r"cancelled  Cancelled$", tail.out, re.MULTILINE)
    assert re.search(r"⊘ Cancelled after \d:\d\d$", tail.out.strip())
    end = orjson.loads((await run("tail", test_id, "--json", *way(stack, how))).out.splitlines()[-1])["seq"]
    assert "⊘ Cancelled" in (await run("tail", test_id, "--after", str(end), *way(stack, how))).out
    assert (await run("cancel", NO_SUCH_TEST, *way(stack, how))).code == 2


@TWO_WAYS
async def test_rerun_submits_the_same_again(stack: Stack, stack_streams: Streams, how: str) -> None:
    first = await queued_run(stack)
    result = await run("rerun", first, *way(stack, how), TESTCAST_AGENT_ALLOW_PRIVATE="1")
    assert (result.code, result.err) == (0, "")
    jobs = [await stack_streams.last(subjects.JOBS, subjects.job(each)) for each in (first, result.out.strip())]
    assert jobs[0] is not None
    assert jobs[1] is not None
    assert jobs[0].data == jobs[1].data
    foreign = NO_SUCH_TEST[:-1] + ("2" if how == "nats" else "3")
    await publish(stack_streams, foreign, "Running", "status", status="running", data={"title": "Mine"})
    refused = await run("rerun", foreign, *way(stack, how))
    assert refused.code == 2
    assert "names no game" in refused.err


async def test_submit_names_the_page(stack: Stack) -> None:
    edge = stack.edge_url
    given = ["submit", "http://localhost:9/", "--json", "--nats", stack.nats_url]
    settings = {"TESTCAST_AGENT_ALLOW_PRIVATE": "1"}
    answers = [
        await run("submit", "http://localhost:9/", "--json", "--edge", edge),
        await run(*given, **settings, TESTCAST_EDGE_PUBLIC_URL=edge),
        await run(*given, **settings, TESTCAST_EDGE_PORT=edge.rsplit(":", 1)[1]),
    ]
    for each in (orjson.loads(answer.out) for answer in answers):
        assert each["page"] == f"{edge}/tests/{each['testId']}"


@TWO_WAYS
async def test_open_prints_the_page(stack: Stack, stack_streams: Streams, how: str, tmp_path: Path) -> None:
    test_id = await begin(stack_streams)
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!{sys.executable}\nimport sys\nopen("{opened}", "w").write(sys.argv[1])\n')
    browser.chmod(0o755)
    settings = {"BROWSER": str(browser), "TESTCAST_EDGE_PUBLIC_URL": stack.edge_url}
    result = await run("open", test_id, *way(stack, how), **settings)
    page = f"{stack.edge_url}/tests/{test_id}"
    assert (result.code, result.out) == (0, f"{page}\n")
    await until(lambda: opened.exists() and opened.read_text() == page)
    assert (await run("open", *way(stack, how), **settings)).out == f"{stack.edge_url}\n"
    assert (await run("open", NO_SUCH_TEST, *way(stack, how), **settings)).code == 2
    if how == "nats":
        elsewhere = await run("open", test_id, *way(stack, how), TESTCAST_EDGE_PUBLIC_URL="http://127.0.0.1:1")
        assert elsewhere.code == 2
        assert "no edge that shows test" in elsewhere.err


@TWO_WAYS
async def test_after_ctrl_c_it_says_how_to_go_on(stack: Stack, stack_streams: Streams, how: str) -> None:
    given = ("submit", "http://localhost:9/", "--follow", *way(stack, how))
    async with Command(*given, TESTCAST_AGENT_ALLOW_PRIVATE="1") as following:
        test_id = (await following.note("test ")).split()[1]
        await following.line("queued")
        following.signal(signal.SIGINT)
        result = await following.finish()
    assert result.code == 130
    options = " ".join(way(stack, how))
    (resume,) = re.findall(r"continue with: testcast (.*)", result.err)
    assert re.fullmatch(rf"tail {test_id} --after \d+ {options}", resume)
    assert f"end it with: testcast cancel {test_id} {options}" in result.err
    if how == "edge":
        assert f"{stack.edge_url}/tests/{test_id}" in result.err
    await run("cancel", test_id, *way(stack, how))
    assert "Cancelled" in (await run(*resume.split())).out


async def test_delete_removes_all_of_a_run_and_live_edges_drop_it(
    make_edge: MakeEdge, nats_server: EmbeddedServer, streams: Streams
) -> None:
    edge = await make_edge()
    options = ["--nats", nats_server.url]
    test_id, other = await begin(streams, "Gone soon"), await ended_run(streams)
    await store_picture(streams, test_id)
    running = await run("delete", test_id, "--yes", *options)
    assert running.code == 2
    assert f"testcast cancel {test_id}" in running.err
    await publish(streams, test_id, "Done", "complete", data={"score": 1})
    unconfirmed = await run("delete", test_id, *options)
    assert unconfirmed.code == 2
    assert "give --yes" in unconfirmed.err

    async def listed() -> set[str]:
        out = (await run("list", "--json", "--status", "completed", "--edge", edge.url)).out
        return {orjson.loads(line)["testId"] for line in out.splitlines()}

    async def both() -> bool:
        return await listed() == {test_id, other}

    async def one() -> bool:
        return await listed() == {other}

    await until(both, within_s=20)
    assert (await run("delete", test_id[:13], "--yes", *options)).out == f"deleted {test_id}\n"
    await until(one, within_s=20)
    for how in (["--edge", edge.url], options):
        assert (await run("show", test_id, *how)).code == 2
    for stream, subject in (
        (subjects.EVENTS, subjects.events(test_id)),
        (subjects.FRAMES, subjects.frames(test_id)),
    ):
        assert await streams.last(stream, subject) is None
    assert await streams.kv_get(subjects.RUNS, test_id) is None
    assert (await run("delete", test_id, "--yes", *options)).code == 2
    assert (await run("show", other, *options)).code == 0


@TWO_WAYS
async def test_one_line_an_event_whatever_came(stack: Stack, stack_streams: Streams, how: str) -> None:
    test_id = await begin(stack_streams)
    forged = '{"testId":\n"x",\r\n"type": "progress", "timestamp": 1,\n "message":\n"a\u2028{\u202e}\u0085b\x7f" }'
    await stack_streams.store(subjects.events(test_id), forged.encode())
    await publish(stack_streams, test_id, "Done", "complete")
    result = await run("tail", test_id, "--json", *way(stack, how))
    events = [orjson.loads(line) for line in result.out.splitlines()]
    assert [each["type"] for each in events] == ["status", "status", "progress", "complete"]
    assert events[2]["message"] == "a\u2028{\u202e}\u0085b\x7f"
    assert {each["testId"] for each in events} == {test_id}
    plain = (await run("tail", test_id, *way(stack, how))).out
    assert not set("\u2028\u202e\u0085\x7f") & set(plain)


async def test_a_backup_is_restored(
    make_edge: MakeEdge, nats_server: EmbeddedServer, streams: Streams, tmp_path: Path
) -> None:
    edge = await make_edge()
    options = ["--nats", nats_server.url]
    kept, going = await ended_run(streams), await begin(streams, "Going")
    number = await store_picture(streams, kept)
    await streams.kv_put(subjects.PINS, kept, b"{}")
    saved = await run("backup", str(tmp_path / "saved"), *options)
    assert (saved.code, saved.err) == (0, "")
    assert (await run("backup", str(tmp_path / "saved"), *options)).code == 2
    assert (await run("restore", str(tmp_path / "other"), "--yes", *options)).code == 2
    before = (await streams.state(subjects.EVENTS)).epoch
    late = await begin(streams, "After the backup")
    assert (await run("restore", str(tmp_path / "saved"), *options)).code == 2  # nobody has confirmed
    await edge.stop()
    restored = await run("restore", str(tmp_path / "saved"), "--yes", *options)
    assert (restored.code, restored.err) == (0, "")
    assert (await streams.state(subjects.EVENTS)).epoch != before, "no position of before is valid any more"
    await edge.start()
    async with Command("tail", going, "--edge", edge.url) as tail:
        await tail.line("Running")
        await publish(streams, going, "Done", "complete", data={"score": 5})
        assert (await tail.finish()).code == 0

    async def listed() -> bool:
        out = (await run("list", "--json", "--edge", edge.url)).out
        rows = {row["testId"]: row["status"] for row in map(orjson.loads, out.splitlines())}
        return rows == {kept: "completed", going: "completed"}

    await until(listed, within_s=40, what="the list of the restored events")
    assert (await run("show", late, *options)).code == 2
    assert await FrameStore(streams).at(kept, number) is not None, "a picture keeps its number"
    assert await streams.kv_get(subjects.PINS, kept) is not None
