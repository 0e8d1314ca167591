"""The parts of the local stack: the lock on a data directory, waiting for a process, and what is said of its exit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from broker.contract.errors import InvalidSetting, ServerNotStarted
from broker.local.child_process import Child
from broker.local.listening import host_port, reachable
from testcast import config
from testcast.local import data_directory
from testcast.local.foreground import run
from testcast.local.stack import Part, PartFailed, Stack, exit_message, free_port, until_it_answers

SpawnPart = Callable[[str], Part]


@pytest.fixture
async def spawn(tmp_path: Path) -> AsyncIterator[SpawnPart]:
    """Starts a Python program as a part of a stack."""
    started: list[Child] = []

    def start(program: str) -> Part:
        started.append(Child([sys.executable, "-c", program], tmp_path / "part.log"))
        return Part("edge-1", "edge", started[-1])

    yield start
    for child in started:
        await child.stop(0.1)


def test_each_testcast_has_a_data_directory_of_its_own_and_the_next_one_has_it_again(tmp_path: Path) -> None:
    first, second = data_directory.first_free(tmp_path), data_directory.first_free(tmp_path)
    assert (first.path, second.path) == (tmp_path / "broker", tmp_path / "broker-2")
    first.close()
    again = data_directory.first_free(tmp_path)
    assert again.path == first.path
    again.close()
    second.close()


def test_a_named_data_directory_that_is_in_use_is_refused(tmp_path: Path) -> None:
    held = data_directory.named(tmp_path / "mine")
    with pytest.raises(ServerNotStarted, match="another testcast is using"):
        data_directory.named(tmp_path / "mine")
    held.close()
    data_directory.named(tmp_path / "mine").close()


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerNotStarted, match="TESTCAST_STATE_DIR"):
        data_directory.first_free(tmp_path / "file")


@pytest.fixture
def answers() -> Iterator[str]:
    """The address of a server that answers 503 twice, and then 204."""
    statuses = [204, 503, 503]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop())
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_process_is_ready_with_its_first_success(spawn: SpawnPart, answers: str) -> None:
    await until_it_answers(spawn("import time; time.sleep(60)"), answers)


async def test_a_process_that_exits_is_not_waited_for(spawn: SpawnPart) -> None:
    with pytest.raises(PartFailed, match=r"exited unexpectedly \(status 3\)(?s:.*)no such setting"):
        await until_it_answers(
            spawn("import sys; print('no such setting'); sys.exit(3)"), f"http://127.0.0.1:{free_port()}/"
        )


async def test_a_process_that_does_not_answer_is_given_up(spawn: SpawnPart) -> None:
    with pytest.raises(PartFailed, match=r"not ready after 0 s; see .*part\.log"):
        await until_it_answers(spawn("import time; time.sleep(60)"), f"http://127.0.0.1:{free_port()}/", 0)


async def test_a_killed_process_is_reported_without_its_log(spawn: SpawnPart) -> None:
    part = spawn("import time; time.sleep(60)")
    part.child.signal(signal.SIGKILL)
    await part.child.wait()
    assert exit_message(part) == f"the edge-1 process exited unexpectedly (status -9); see {part.child.log}"


async def test_a_stack_counts_what_runs_and_finds_what_exits(spawn: SpawnPart, tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.parts += [spawn("import time; time.sleep(60)"), spawn("import time; time.sleep(60)")]
    assert stack.statistics() == (0, 0, 2, 0)
    dying = stack.parts[1]
    dying.child.signal(signal.SIGKILL)
    assert await stack.first_exit() is dying
    assert stack.statistics().edges == len(stack.parts) == 1
    stack.kill()
    assert await stack.first_exit() is not dying
    assert stack.parts == []


async def test_a_signal_cancels_the_body_and_is_the_exit_status(tmp_path: Path) -> None:
    told: list[str] = []

    async def body() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        return 0

    assert await run(Stack(tmp_path), body, lambda: told.append("stopping")) == 128 + signal.SIGTERM
    assert told == ["stopping"]


async def test_a_body_may_have_an_exit_status_of_its_own_when_it_is_stopped(tmp_path: Path) -> None:
    async def body() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 7
        return 0

    assert await run(Stack(tmp_path), body, lambda: None) == 7


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("edge.example", "http://edge.example:80"),
    ],
)
def test_an_address_that_reaches_what_listens_there(host: str, url: str) -> None:
    assert f"http://{host_port(reachable(host), 80)}" == url


def test_where_edges_listen() -> None:
    environ = {"TESTCAST_EDGE_HOST": "0.0.0.0", "TESTCAST_EDGE_PORT": "8080"}
    assert config.edge_address(environ=environ) == ("0.0.0.0", 8080)
    assert config.edge_address("::1", 9, environ) == config.edge_address("[::1]", 9, environ) == ("::1", 9)
    assert config.edge_address(environ={"TESTCAST_EDGE_HOST": "", "TESTCAST_EDGE_PORT": ""}) == ("127.0.0.1", 8000)
    with pytest.raises(InvalidSetting, match="TESTCAST_EDGE_PORT"):
        config.edge_address(environ={"TESTCAST_EDGE_PORT": "many"})


async def test_a_signal_stops_the_stack_although_its_terminal_is_gone(tmp_path: Path) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # tells the error of `gone`
    stack = Stack(tmp_path)

    def gone() -> None:
        raise OSError("the terminal is gone")

    async def body() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.Event().wait()
        return 0

    assert await asyncio.wait_for(run(stack, body, gone), 30) == 128 + signal.SIGHUP
