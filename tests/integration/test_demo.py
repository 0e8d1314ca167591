"""The demo from the outside: everything comes up, a game is played, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest

from tests.command import Command, left_behind, processes, run
from tests.harness import free_port, until

pytestmark = pytest.mark.timeout(240)


def broker_at(port: int) -> str:
    """The name of the broker that listens on a port, as it introduces itself; empty: nothing does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rb") as said:
            info = said.readline()
    except OSError:
        return ""
    return str(orjson.loads(info.removeprefix(b"INFO "))["server_id"]) if info.startswith(b"INFO ") else ""


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Demo:
    """A demo on ports and a state directory of its own."""

    def __init__(self, tmp_path: Path, *argv: str) -> None:
        self.state_dir = tmp_path / "state"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.ports = [self.port]
        self.broker = ("", 0)
        argv = ("demo", "--port", str(self.port), "--budget", "20", "--seed", "7", *argv)
        self.command = Command(*argv, TESTCAST_STATE_DIR=str(self.state_dir))

    async def comes_up(self) -> None:
        """Waits for the page's address, taking note of every port on the way."""
        for part in ("broker", "game", "edge"):
            line = await self.command.line(part)
            found = re.search(r":(\d+)/?$", line)
            assert found is not None, line
            if part == "broker":  # its port is the usual one where that is free: another test's may follow there
                self.broker = broker_at(int(found[1])), int(found[1])
                assert self.broker[0]
            else:
                self.ports.append(int(found[1]))
        assert self.url in await self.command.line("Watch it live")

    async def is_gone(self) -> None:
        """No process and no port is left."""
        # Chromium's helpers end when they see that it has.
        await until(lambda: not left_behind(self.state_dir), what=f"gone: {left_behind(self.state_dir)}")
        assert self.broker == ("", 0) or broker_at(self.broker[1]) != self.broker[0]
        # A process that was killed loses its environment, by which it was found, before its sockets.
        await until(lambda: not any(map(is_served, self.ports)), what=f"no port served: {self.ports}")


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


async def test_once_ends_with_the_runs_verdict(tmp_path: Path, http: httpx.AsyncClient) -> None:
    demo = Demo(tmp_path, "--once")
    async with demo.command:
        await demo.comes_up()
        page = await http.get(demo.url)
        assert page.status_code == 200
        assert "<html" in page.text
        offered = (await http.get(f"{demo.url}rpc/getConfig")).json()["demoGameUrl"]
        assert (await http.get(offered)).status_code == 200
        for heading in ("Phase 1/4", "Phase 2/4", "Phase 3/4", "Phase 4/4"):
            await demo.command.line(heading, within_s=60)
        result = await demo.command.finish(within_s=60)
    assert result.code == 0, result
    assert re.search(r"^Score +\d+/100$", result.out, re.MULTILINE)
    assert "✓ Completed in 0:" in result.out
    assert result.err == ""
    await demo.is_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_can_be_stopped_while_the_agent_plays(
    tmp_path: Path, http: httpx.AsyncClient, number: signal.Signals
) -> None:
    demo = Demo(tmp_path)
    async with demo.command:
        await demo.comes_up()
        await demo.command.line("Phase 1/4")
        demo.command.signal(number)
        result = await demo.command.finish()
    assert result.code == 128 + number
    assert "stopping" in result.err
    await demo.is_gone()


async def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    async with demo.command:
        await demo.comes_up()
        await demo.command.line("Phase 1/4")
        demo.command.signal(signal.SIGINT)
        await demo.command.note("stopping")
        demo.command.signal(signal.SIGINT)
        assert (await demo.command.finish(within_s=12)).code == 130
    await demo.is_gone()


async def test_it_stays_after_the_run_and_shows_it_again_next_time(tmp_path: Path, http: httpx.AsyncClient) -> None:
    first = Demo(tmp_path)
    async with first.command:
        await first.comes_up()
        await first.command.line("Press Ctrl-C to stop everything", within_s=60)
        listed = (await http.get(f"{first.url}rpc/listTests")).json()["tests"]
        assert [each["title"] for each in listed] == ["Demo game"]
        first.command.signal(signal.SIGINT)
        assert (await first.command.finish()).code == 0
    await first.is_gone()
    second = Demo(tmp_path)
    async with second.command:
        await second.comes_up()
        listed = (await http.get(f"{second.url}rpc/listTests")).json()["tests"]
        assert len(listed) >= 1
        second.command.signal(signal.SIGINT)
        await second.command.finish()
    await second.is_gone()


async def test_a_game_that_does_not_answer_fails_the_run(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--once", "--game", f"localhost:{free_port()}")
    async with demo.command:
        await demo.comes_up()
        result = await demo.command.finish(within_s=60)
    assert result.code == 1
    assert "✗ Failed" in result.out
    await demo.is_gone()


async def test_a_part_that_dies_ends_the_demo_with_its_name(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    async with demo.command:
        await demo.comes_up()
        await demo.command.line("Phase 1/4")
        os.kill(next(iter(processes("TESTCAST_EDGE_PORT", demo.port))), signal.SIGKILL)
        result = await demo.command.finish()
    assert result.code == 1
    assert f"the edge-{demo.port} process exited unexpectedly (status -9)" in result.err
    await demo.is_gone()


async def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = await run("demo", "--port", str(port), TESTCAST_STATE_DIR=str(tmp_path / "state"))
    assert (result.code, result.out) == (2, "")
    assert f"port {port} is taken by another program: choose another one with --port" in result.err
    assert not (tmp_path / "state").exists()
