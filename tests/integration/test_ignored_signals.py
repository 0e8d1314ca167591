"""A signal that was ignored when a process started stays ignored, in the process and in what it starts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from broker.local.child_process import python_module
from broker.local.embedded_server import EmbeddedServer
from tests.command import left_behind, processes
from tests.harness import free_port, until

IGNORED = (signal.SIGHUP, signal.SIGINT)
Started = Callable[..., "Program"]


class Program:
    """A program of testcast in a process group of its own, as `nohup … &` starts it."""

    def __init__(self, directory: Path, module: str, *argv: str, **settings: str) -> None:
        self.log = directory / "program.log"
        self.directory = directory
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                python_module(module, *argv), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env=environment | {"TESTCAST_STATE_DIR": str(directory), "PYTHONUNBUFFERED": "1"} | settings,
                preexec_fn=lambda: [signal.signal(each, signal.SIG_IGN) for each in IGNORED],
            )  # fmt: skip

    async def says(self, words: str) -> None:
        """Waits until the output contains `words`."""
        await until(lambda: words in self.log.read_text(), within_s=60, what=words)

    def hang_up(self) -> None:
        """What the end of a terminal and Ctrl-C in the foreground send: both to every process of the group."""
        for number in IGNORED:
            os.killpg(self.process.pid, number)
            for pid in processes("TESTCAST_STATE_DIR", self.directory):
                if "nats-server" not in processes("TESTCAST_STATE_DIR", self.directory).get(pid, "nats-server"):
                    os.kill(pid, number)

    async def ends(self) -> int:
        """Sends SIGTERM and waits. Returns the exit status."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 60)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Started]:
    started: list[Program] = []

    def make(module: str, *argv: str, **settings: str) -> Program:
        started.append(Program(tmp_path, module, *argv, **settings))
        return started[-1]

    yield make
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()


@pytest.mark.parametrize(
    ("module", "argv", "ready"),
    [
        ("testcast", ["up", "--agents", "0", "--port", "{port}"], "The logs are in"),
        ("testcast", ["broker", "--port", "{port}"], "data"),
        ("testcast", ["edge", "--port", "{port}", "--nats", "nats://127.0.0.1:1"], "startup complete"),
        (
            "testcast",
            ["edge", "--port", "{port}", "--nats", "nats://127.0.0.1:1", "--workers", "2"],
            "startup complete",
        ),
    ],
    ids=lambda each: " ".join(each[:1]) if isinstance(each, list) else "",
)
async def test_a_process_outlives_what_it_was_told_to_ignore(
    module: str, argv: list[str], ready: str, start: Started, tmp_path: Path
) -> None:
    program = start(module, *(each.format(port=free_port()) for each in argv))
    await program.says(ready)
    if "--workers" in argv:
        await until(lambda: program.log.read_text().count(ready) == 2, within_s=60, what="two edges")
    before = set(processes("TESTCAST_STATE_DIR", tmp_path))
    program.hang_up()
    # SIGTERM comes after the others, so what they would have done has been done when it takes effect.
    assert before <= set(processes("TESTCAST_STATE_DIR", tmp_path))
    assert await program.ends() == 0
    log = program.log.read_text()
    assert "ended by itself" not in log and "exited unexpectedly" not in log
    assert left_behind(tmp_path) == []


async def test_an_agent_keeps_its_browser(nats_server: EmbeddedServer, start: Started, tmp_path: Path) -> None:
    agent = start("agent_worker", TESTCAST_NATS_URL=nats_server.url)
    await agent.says("takes jobs")
    before = set(processes("TESTCAST_STATE_DIR", tmp_path))
    for number in IGNORED:
        os.killpg(agent.process.pid, number)

    statuses = {pid: Path(f"/proc/{pid}/status").read_text() for pid in before}  # noqa: ASYNC240  # not a disk
    drivers = [pid for pid, each in statuses.items() if "Name:\tnode" in each]
    assert drivers
    assert agent.process.pid not in map(os.getpgid, drivers)
    assert await agent.ends() == 0
    assert "SIGHUP" not in agent.log.read_text()
