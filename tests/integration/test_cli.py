"""The command from the outside, with a real broker and real edges.

Longer than 400 lines: many small tests that share the helpers at the top.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import socket
import struct
import sys
import termios
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from broker.contract import ids, subjects
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.embedded_server import EmbeddedServer
from tests.command import Command, left_behind, processes, run
from tests.conftest import MakeEdge, Stack
from tests.harness import NO_SUCH_TEST, answers, begin, free_port, publish, until

TIME = re.compile(r"^\d\d:\d\d:\d\d", re.MULTILINE)


async def ended_run(streams: Streams, *, completed: bool = True) -> str:
    """A run with something of everything."""
    run = await begin(streams, "Star Hopper")
    await publish(streams, run, "Opening", "status", status="running", phase="phase1")
    await publish(streams, run, "Script error", phase="phase1", data={"kind": "pageerror", "detail": "x is null"})
    await publish(streams, run, "Testing WASD movement", phase="phase2", data={"action": "WASD"})
    if completed:
        rubric = [{"part": "load", "score": 15, "max": 15, "reasons": []}, {"part": "controls", "score": 5, "max": 25}]
        data = {"score": 78, "metrics": {"rubric": rubric}}
        await publish(streams, run, "Test complete!", "complete", data=data, phase="phase4")
    else:
        await publish(streams, run, "The game did not answer", "error", status="failed", data={"code": "x"})
    return run


COMPLETED = """\
HH:MM:SS  queued     Queued
                     http://game.example/
HH:MM:SS  running    Running
── Phase 1/4 · Load and validate
HH:MM:SS  phase      Opening
HH:MM:SS  pageerror  Script error
                     x is null
── Phase 2/4 · Discover controls
HH:MM:SS  action     Testing WASD movement
── Phase 4/4 · Evaluate and score
HH:MM:SS  completed  Test complete!

Score  78/100
  load      ████████████████████  15/15
  controls  ████░░░░░░░░░░░░░░░░  5/25
✓ Completed in 0:00
"""


def way(stack: Stack, how: str) -> list[str]:
    """Options for each way to the events."""
    return ["--nats", stack.nats_url] if how == "nats" else ["--edge", stack.edge_url]


@pytest.mark.parametrize("how", ["nats", "edge"])
async def test_tail_shows_a_run_by_phase_and_its_verdict_is_the_exit_status(
    stack: Stack, stack_streams: Streams, how: str
) -> None:
    result = await run("tail", await ended_run(stack_streams), *way(stack, how))
    assert (result.code, result.err) == (0, "")
    assert re.sub(r"in \d:\d\d", "in 0:00", TIME.sub("HH:MM:SS", result.out)) == COMPLETED
    failed = await run("tail", await ended_run(stack_streams, completed=False), *way(stack, how))
    assert failed.code == 1
    assert re.search(r"✗ Failed in 0:\d\d: The game did not answer$", failed.out.strip())


async def test_both_ways_give_the_same_json(stack: Stack, stack_streams: Streams) -> None:
    test_id = await ended_run(stack_streams)
    given = [await run("tail", test_id, "--json", *way(stack, how)) for how in ("nats", "edge")]
    assert given[0].out == given[1].out
    events = [orjson.loads(line) for line in given[0].out.splitlines()]
    assert [each["type"] for each in events] == ["status", "status", "status", "progress", "progress", "complete"]
    assert {each["testId"] for each in events} == {test_id}


@pytest.mark.parametrize("how", ["nats", "edge"])
async def test_types_and_positions_choose(stack: Stack, stack_streams: Streams, how: str) -> None:
    test_id = await ended_run(stack_streams)
    whole = [orjson.loads(each) for each in (await run("tail", test_id, "--json", *way(stack, how))).out.splitlines()]
    chosen = await run("tail", test_id, "--json", "--type", "complete", "--type", "progress", *way(stack, how))
    assert [orjson.loads(each)["seq"] for each in chosen.out.splitlines()] == [each["seq"] for each in whole[3:]]
    after = await run("tail", test_id, "--json", "--after", str(whole[4]["seq"]), *way(stack, how))
    assert [orjson.loads(each)["seq"] for each in after.out.splitlines()] == [whole[5]["seq"]]
    beyond = await run("tail", test_id, "--json", "--after", str(whole[5]["seq"]), *way(stack, how))
    assert (beyond.code, beyond.out) == (0, "")
    ahead = await run("tail", test_id, "--json", "--after", str(whole[5]["seq"] + 10**6), *way(stack, how))
    first, *rest = [orjson.loads(each) for each in ahead.out.splitlines()]
    assert (first["type"], first["reason"], rest) == ("reset", "ahead", whole)


async def test_a_page_of_the_dashboard_is_a_target(stack: Stack, stack_streams: Streams) -> None:
    result = await run("tail", f"{stack.edge_url}/tests/{await ended_run(stack_streams)}")
    assert result.code == 0
    assert "✓ Completed" in result.out


@pytest.mark.parametrize("how", ["nats", "edge"])
async def test_a_live_tail_ends_with_the_run(stack: Stack, stack_streams: Streams, how: str) -> None:
    test_id = await begin(stack_streams)
    async with Command("tail", test_id, *way(stack, how)) as tail:
        await tail.line("Running")
        await publish(stack_streams, test_id, "step one")
        await tail.line("step one")
        await publish(stack_streams, test_id, "The end", "error", status="failed")
        result = await tail.finish()
    assert result.code == 1
    assert "The end" in result.out


async def test_tail_all_tells_runs_apart_and_plays_back_from_a_position(
    nats_server: EmbeddedServer, streams: Streams
) -> None:
    first = await begin(streams)
    async with Command("tail", "--after", "1", "--nats", nats_server.url) as tail:
        assert first[:8] in await tail.line("Running")
        second = await begin(streams)
        await publish(streams, second, "Going", phase="phase2")
        await publish(streams, second, "Done", "complete")
        assert second[:8] in await tail.line("Queued")
        assert f"  {second[:8]}  2/4  progress   Going" in await tail.line("Going")
        await tail.line("Done")
        tail.signal(signal.SIGINT)
        assert (await tail.finish()).code == 130


async def test_a_broker_that_dies_is_waited_for_and_nothing_is_lost(nats_server: EmbeddedServer) -> None:
    nats = await Connection.connect(nats_server.url, name="test")
    streams = Streams(nats)
    test_id = await begin(streams)
    async with Command("tail", test_id, "--nats", nats_server.url) as tail:
        await tail.line("Running")
        nats_server.child.signal(signal.SIGKILL)
        await nats_server.child.wait()
        assert "the broker is unavailable, waiting (0 s)" in await tail.note("unavailable")
        await nats_server.start()
        await until(lambda: answers(nats), within_s=30)
        for message in ("one", "two"):
            await publish(streams, test_id, message)
        await publish(streams, test_id, "Done", "complete")
        result = await tail.finish()
    await nats.close()
    assert result.code == 0
    assert re.findall(r"one|two|Done", result.out) == ["one", "two", "Done"]
    assert "reconnected after" in result.err


async def test_a_broker_that_stays_away_is_given_up_with_the_position(nats_server: EmbeddedServer) -> None:
    nats = await Connection.connect(nats_server.url, name="test")
    test_id = await begin(Streams(nats))
    await nats.close()
    async with Command("tail", test_id, "--timeout", "1", "--nats", nats_server.url) as tail:
        await tail.line("Running")
        await nats_server.stop()
        result = await tail.finish()
    assert result.code == 3
    assert f"testcast tail {test_id} --after 2" in result.err


async def test_a_replaced_broker_is_a_reset_and_not_a_silence(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "first") as server:
        nats = await Connection.connect(server.url, name="test")
        await topology.apply(nats)
        await begin(Streams(nats))
        async with (
            Command("tail", "all", "--after", "1", "--json", "--nats", server.url) as every,
            Command("tail", await begin(Streams(nats)), "--nats", server.url) as one,
        ):
            await every.line("running")
            await one.line("Running")
            await server.stop()
            async with EmbeddedServer(tmp_path / "second", server.port):
                await until(lambda: answers(nats), within_s=30)
                await topology.apply(nats)
                test_id = await begin(Streams(nats))
                reset = orjson.loads(await every.line("reset"))
                assert (reset["type"], reset["reason"]) == ("reset", "epoch")
                assert test_id in await every.line("queued")
                result = await one.finish()
        await nats.close()
    assert result.code == 3
    assert "its history is gone" in result.err


@pytest.mark.parametrize("how", ["nats", "edge"])
async def test_list_shows_the_newest_first(
    make_edge: MakeEdge, nats_server: EmbeddedServer, streams: Streams, how: str
) -> None:
    edge = await make_edge()
    older, newer = await ended_run(streams), await begin(streams, "Tile Storm")
    options = ["--nats", nats_server.url] if how == "nats" else ["--edge", edge.url]

    async def listed() -> list[dict[str, Any]]:
        result = await run("list", "--json", *options)
        return [orjson.loads(each) for each in result.out.splitlines()]

    async def both() -> list[dict[str, Any]]:
        found = await listed()
        return found if [each["status"] for each in found] == ["running", "completed"] else []

    rows = await until(both, what="both runs folded")
    assert [each["testId"] for each in rows] == [newer, older]
    plain = (await run("list", *options)).out.splitlines()
    assert plain[0].split() == ["STATUS", "PHASE", "SCORE", "TIME", "WHEN", "TEST", "ID", "TITLE"]
    assert plain[2].startswith("completed  4/4       78     0:0")
    assert plain[2].index(older) == plain[1].index(newer) == plain[0].index("TEST ID")
    assert [line.split()[0] for line in (await run("list", "--status", "running", *options)).out.splitlines()[1:]] == [
        "running"
    ]
    async with Command("list", "--watch", "--json", *options) as watching:
        await watching.line(newer)
        await publish(streams, newer, "Done", "complete", data={"score": 5})
        change = orjson.loads(await watching.line('"score":5'))
        assert (change["testId"], change["status"]) == (newer, "completed")
        watching.signal(signal.SIGINT)
        assert (await watching.finish()).code == 130


@pytest.mark.parametrize("how", ["nats", "edge"])
async def test_submit_prints_the_id_and_nothing_else(stack: Stack, stack_streams: Streams, how: str) -> None:
    options = [*way(stack, how), "--title", "Mine", "--seed", "3", "--budget", "9", "--project", "team-a"]
    result = await run("submit", "localhost:9/game", *options, TESTCAST_AGENT_ALLOW_PRIVATE="1")
    assert (result.code, result.err) == (0, "")
    test_id = ids.parse_test_id(result.out.strip())
    job = await stack_streams.last(subjects.JOBS, subjects.job(test_id))
    assert job is not None
    wanted = {"gameUrl": "http://localhost:9/game", "title": "Mine", "seed": 3, "budgetSeconds": 9.0}
    wanted |= {"project": "team-a", "allowPrivate": True}
    assert orjson.loads(job.data) == wanted


async def test_submit_can_follow(stack: Stack, stack_streams: Streams) -> None:
    options = ["--follow", *way(stack, "edge")]
    async with Command("submit", "http://localhost:9/", *options) as command:
        test_id = (await command.note("test ")).split()[1]
        await command.line("queued")
        await publish(stack_streams, test_id, "Cancelled", "error", status="failed")
        assert (await command.finish()).code == 1


@pytest.mark.parametrize("how", ["nats", "edge"])
async def test_an_unknown_run_is_2(stack: Stack, how: str) -> None:
    result = await run("tail", NO_SUCH_TEST, *way(stack, how))
    assert (result.code, result.out) == (2, "")
    assert f"there is no test {NO_SUCH_TEST}" in result.err


@pytest.mark.parametrize(
    "argv",
    [
        ["tail", "--nats", "nats://127.0.0.1:1"],
        ["tail", "--edge", "http://127.0.0.1:1"],
        ["list", "--edge", "http://127.0.0.1:1"],
        ["submit", "http://game.invalid/", "--edge", "http://127.0.0.1:1"],
    ],
)
async def test_nobody_there_is_3(argv: list[str]) -> None:
    result = await run(*argv)
    assert (result.code, result.out) == (3, "")
    assert "answers at" in result.err


async def test_a_broker_without_streams_is_3_and_says_so(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        result = await run("tail", "--timeout", "0.2", "--nats", server.url)
    assert result.code == 3
    assert "holds no runs yet" in result.err


async def test_a_closed_pipe_is_quiet(stack: Stack, stack_streams: Streams) -> None:
    test_id = await ended_run(stack_streams)
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "testcast", "tail", test_id, "--nats", stack.nats_url),
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    _, err = await process.communicate()
    assert (process.returncode, err) == (128 + signal.SIGPIPE, b"")


async def on_a_terminal(*argv: str, columns: int = 60) -> str:
    """What a command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    settings = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "testcast", *argv),
        stdin=theirs, stdout=theirs, stderr=theirs, env=settings | {"TERM": "xterm-256color"}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    written = b""

    def read() -> bool:
        nonlocal written
        try:
            written += os.read(ours, 65536)
        except OSError:
            return True  # the other side is closed
        return False

    while not await asyncio.to_thread(read):
        pass
    os.close(ours)
    await process.wait()
    return written.decode()


async def test_a_terminal_has_colours_and_a_hanging_indent(stack: Stack, stack_streams: Streams) -> None:
    test_id = await begin(stack_streams)
    await publish(stack_streams, test_id, "word " * 30)
    await publish(stack_streams, test_id, "evil \x1b[2J\x07", "complete", data={"score": 9})
    written = await on_a_terminal("tail", test_id, "--nats", stack.nats_url)
    assert "\x1b[1;32m" in written  # bold green: completed
    assert "\x1b[2J" not in written
    assert "\x07" not in written
    plain = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", written).replace("\r", "")
    assert max(map(len, plain.splitlines())) <= 60
    wrapped = [line for line in plain.splitlines() if "word" in line]
    assert len(wrapped) > 2
    assert {line.index("word") for line in wrapped} == {21}


async def test_edge_becomes_the_edge(nats_server: EmbeddedServer, tmp_path: Path) -> None:
    port = free_port()
    argv = ["edge", "--port", str(port), "--nats", nats_server.url]
    async with Command(*argv, TESTCAST_STATE_DIR=str(tmp_path)) as edge, httpx.AsyncClient() as http:

        async def ready() -> bool:
            try:
                return (await http.get(f"http://127.0.0.1:{port}/readyz")).is_success
            except httpx.TransportError:
                return False

        await until(ready, within_s=20)
        assert [each.split()[1:] for each in left_behind(tmp_path)] == [["-P", "-m", "ws_edge"]]
        edge.signal(signal.SIGTERM)
        assert (await edge.finish()).code == 0


async def test_agent_passes_its_options_on() -> None:
    result = await run("agent", "--concurrency", "0")
    assert result.code == 2
    assert "TESTCAST_AGENT_CONCURRENCY" in result.err


async def test_broker_serves_until_it_is_told_to_stop_and_has_its_data_again(tmp_path: Path) -> None:
    port, state = free_port(), {"TESTCAST_STATE_DIR": str(tmp_path)}
    async with Command("broker", "--port", str(port), **state) as broker:
        assert (await broker.line("data")).endswith("/broker")
        nats = await Connection.connect(f"nats://127.0.0.1:{port}", name="test")
        test_id = await begin(Streams(nats))
        await nats.close()
        broker.signal(signal.SIGINT)
        assert (await broker.finish()).code == 0
    async with Command("broker", "--port", str(port), **state) as broker:
        await broker.line("data")
        async with Command("tail", test_id, "--nats", f"nats://127.0.0.1:{port}") as tail:
            await tail.line("Running")
        broker.signal(signal.SIGTERM)
        assert (await broker.finish()).code == 0
    assert left_behind(tmp_path) == []


async def test_two_brokers_share_neither_port_nor_data(tmp_path: Path) -> None:
    port, state = free_port(), {"TESTCAST_STATE_DIR": str(tmp_path)}
    async with Command("broker", "--port", str(port), **state) as first:
        await first.line("data")
        same_port = await run("broker", "--port", str(port), **state)
        assert (same_port.code, f"port {port} is taken" in same_port.err) == (1, True)
        same_data = await run("broker", "--port", str(free_port()), "--data", str(tmp_path / "broker"), **state)
        assert (same_data.code, "another testcast is using" in same_data.err) == (1, True)
        async with Command("broker", "--port", str(free_port()), **state) as second:
            assert (await second.line("data")).endswith("/broker-2")
            second.signal(signal.SIGTERM)
            assert (await second.finish()).code == 0
        first.signal(signal.SIGTERM)
        assert (await first.finish()).code == 0


async def test_up_starts_edges_side_by_side_and_outlives_one_of_them(tmp_path: Path) -> None:
    first = consecutive_ports()
    settings = {"TESTCAST_STATE_DIR": str(tmp_path), "TESTCAST_AGENT_ALLOW_PRIVATE": "1"}
    async with Command("up", "--edges", "2", "--agents", "0", "--port", str(first), **settings) as up:
        await up.line("broker")
        await up.line(f":{first}/")
        await up.line(f":{first + 1}/")
        taken = await run("up", "--port", str(first), **settings)
        assert (taken.code, f"port {first} is taken" in taken.err, "--port" in taken.err) == (2, True, True)
        os.kill(next(iter(processes("TESTCAST_EDGE_PORT", first))), signal.SIGKILL)
        await up.note(f"edge-{first}")
        submitted = await run("submit", "http://localhost:9/", "--edge", f"http://127.0.0.1:{first + 1}")
        assert ids.parse_test_id(submitted.out.strip())
        up.signal(signal.SIGTERM)
        assert (await up.finish()).code == 0
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("option", ["--host", ""])
async def test_up_listens_where_it_is_told_to(tmp_path: Path, option: str) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):  # another program, at another address
        settings = {"TESTCAST_STATE_DIR": str(tmp_path), "TESTCAST_EDGE_PORT": str(port)}
        options = [option, "127.0.0.2"] if option else []
        settings |= {"TESTCAST_EDGE_HOST": "127.0.0.3" if option else "127.0.0.2"}
        async with Command("up", "--agents", "0", *options, **settings) as up:
            await up.line(f"http://127.0.0.2:{port}/")
            listed = await run("list", "--edge", f"http://127.0.0.2:{port}")
            assert listed.code == 0
            up.signal(signal.SIGTERM)
            assert (await up.finish()).code == 0
    assert left_behind(tmp_path) == []


def consecutive_ports() -> int:
    """The first of two free ports in a row."""
    while True:
        port = free_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port


async def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    result = await run("doctor", TESTCAST_STATE_DIR=str(tmp_path), TESTCAST_EDGE_PORT="many")
    assert result.code == 1
    assert re.search(r"✗ settings +TESTCAST_EDGE_PORT: 'many' is not a number\n +→ ", result.out)
    assert re.search(r"✓ nats-server", result.out)
