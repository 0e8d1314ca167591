"""The parts of a testcast on this machine as processes: started in order, stopped in the opposite one, none left."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from broker.config import DEFAULT_NATS_URL, redacted
from broker.contract.errors import BadInput, ServerNotStarted, TestcastError
from broker.jetstream import topology
from broker.jetstream.connection import Connection
from broker.local.child_process import Child
from broker.local.embedded_server import EmbeddedServer, port_is_free
from testcast import config
from testcast.client.errors import EXIT_SIGNAL

HOST: Final = "127.0.0.1"
DEFAULT_BROKER_PORT: Final = int(DEFAULT_NATS_URL.rsplit(":", 1)[1])
_READY_S: Final = 30.0
INSIST_S: Final = 4.0
"""What is being stopped may take this long to put things in order; then it is told again."""
_STOP_S: Final = 15.0  # longer than an edge's drain (10 s)
_MAX_STORES: Final = 16


class PartFailed(TestcastError):
    """A process of ours did not come up, or ended by itself; the message carries the end of its log."""

    code = "part_failed"


class Part(NamedTuple):
    """One process."""

    name: str
    kind: str
    """"agent", "game" or "edge"; the broker is kept by its own class."""
    child: Child


class Stack:
    """A broker, edges, agents and the demo game.

    Not safe to use from two tasks. `stop` may be called at any time, again and again; `kill` from a signal handler.

    Args:
        state_dir: where data and logs are kept.
        binary: the nats-server to run, None for the one that is found.
    """

    def __init__(self, state_dir: Path, binary: str | None = None) -> None:
        self.nats_url = ""
        self._state_dir = state_dir
        self._binary = binary
        self._server: EmbeddedServer | None = None
        self._lock: FileIO | None = None
        self.dir = state_dir
        self.parts: list[Part] = []

    def __repr__(self) -> str:
        return f"<Stack {redacted(self.nats_url)} {[each.name for each in self.parts]}>"

    async def start_broker(self, port: int | None = None, data: Path | None = None, host: str = HOST) -> str:
        """Starts a nats-server with its data where the last one left it, and declares the streams. Returns its URL.

        Args:
            port: None: 4222 if nobody has it, else any.
            data: None: a directory below the state directory that no other testcast is using.

        Raises:
            ServerNotStarted: it does not come up, or another one is using `data`.
        """
        self.dir, self._lock = _claim(self._state_dir) if data is None else (data, _lock(data))
        if self._lock is None:
            raise ServerNotStarted(f"another testcast is using {data}: stop that one, or choose another --data")
        chosen = port if port is not None else DEFAULT_BROKER_PORT if port_is_free(HOST, DEFAULT_BROKER_PORT) else 0
        self._server = EmbeddedServer(self.dir, chosen, host, self._binary)
        await self._server.start()
        self.nats_url = self._server.url
        nats = await Connection.connect(self.nats_url, name="testcast-setup")
        try:
            await topology.apply(nats)
        finally:
            await nats.close()
        return self.nats_url

    def use_broker(self, nats_url: str) -> None:
        """Uses one that runs already."""
        self.nats_url = nats_url
        self.dir = self._state_dir

    async def start_game(self) -> str:
        """Serves the demo game. Returns its address."""
        port = free_port()
        part = self._start("game", "demo-game", [*_PYTHON, "testcast", "demo-game", "--port", str(port)], {})
        url = f"http://{HOST}:{port}/"
        await self._until_answers(part, url)
        return url

    async def start_edge(self, port: int, demo_game_url: str | None = None, host: str = HOST) -> str:
        """Starts an edge and waits until it is ready. Returns its address.

        Raises:
            BadInput: the port is taken.
            PartFailed: it ended, or is not ready within 30 s.
        """
        if not port_is_free(host, port):
            raise BadInput(f"port {port} is taken by another program: choose another one with --port")
        settings = {
            "TESTCAST_NATS_URL": self.nats_url,
            "TESTCAST_EDGE_HOST": host,
            "TESTCAST_EDGE_PORT": port,
            "TESTCAST_EDGE_DEMO_GAME_URL": demo_game_url,
            "TESTCAST_AGENT_ALLOW_PRIVATE": None if demo_game_url is None else 1,
        }
        part = self._start("edge", f"edge-{port}", [*_PYTHON, "ws_edge"], settings)
        url = f"http://{host}:{port}"
        await self._until_answers(part, f"{url}/readyz")
        return url

    def start_agent(self, number: int = 1, *, allow_private: bool = False) -> None:
        """Starts an agent; it takes jobs as soon as it can."""
        settings = {
            "TESTCAST_NATS_URL": self.nats_url,
            "TESTCAST_AGENT_ALLOW_PRIVATE": 1 if allow_private else None,
        }
        self._start("agent", f"agent-{number}", [*_PYTHON, "agent_worker"], settings)

    def _start(self, kind: str, name: str, argv: Sequence[str], settings: Mapping[str, object]) -> Part:
        log = self.dir / "logs" / f"{name}.log"
        log.unlink(missing_ok=True)
        part = Part(name, kind, Child(argv, log, config.for_child(settings)))
        self.parts.append(part)
        return part

    async def _until_answers(self, part: Part, url: str) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_S
        # Nobody's proxy stands between two processes of one machine.
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            while True:
                if part.child.exit_code is not None:
                    raise PartFailed(ended(part))
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(url)).is_success:
                        return
                if asyncio.get_running_loop().time() > deadline:
                    raise PartFailed(f"{part.name} is not ready after {_READY_S:g} s; its log is {part.child.log}")
                await asyncio.sleep(0.05)

    async def first_end(self) -> Part:
        """Waits until one of the processes ends by itself, and takes it off the list."""
        while True:
            for part in self.parts:
                if part.child.exit_code is not None:
                    self.parts.remove(part)
                    return part
            if self._server is not None and self._server.child.exit_code is not None:
                return Part("broker", "broker", self._server.child)
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Stops agents, the game, edges and the broker, in this order, each kind before the next."""
        for kind in ("agent", "game", "edge"):
            await asyncio.gather(*(each.child.stop(_STOP_S) for each in self.parts if each.kind == kind))
        if self._server is not None:
            await self._server.stop()
        if self._lock is not None:
            self._lock.close()

    def kill(self) -> None:
        """Ends everything at once, with whatever it has started itself."""
        children = [each.child for each in self.parts]
        if self._server is not None:
            with contextlib.suppress(ServerNotStarted):
                children.append(self._server.child)
        for child in children:
            if child.exit_code is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)


_PYTHON: Final = (sys.executable, "-m")


def ended(part: Part) -> str:
    """What to say of a process that ended by itself."""
    code = part.child.exit_code
    said = f"the {part.name} process ended by itself (exit {code}); its log is {part.child.log}"
    if code is not None and code < 0:  # a signal's doing: its log does not know why
        return said
    return f"{said}:\n{part.child.last_lines()}"


async def run(stack: Stack, body: Callable[[], Awaitable[int]], note: Callable[[str], None]) -> int:
    """Runs `body` and then stops the stack, whatever happened. The first SIGINT, SIGTERM or SIGHUP cancels the body, a
    second one ends everything at once.

    Args:
        body: may end a cancellation with a status of its own.
        note: told that it is stopping.

    Returns:
        What `body` returned; 128 + the signal's number when a signal cancelled it.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(body())
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            stack.kill()
            os._exit(EXIT_SIGNAL + number)
        note("stopping … (again: at once)")
        insist()

    def insist() -> None:
        # Once is not always enough: before Python 3.12 asyncio.wait_for, which nats-py connects and flushes with, loses
        # a cancellation that comes in the same turn as its result.
        if not task.done():
            task.cancel()
            loop.call_later(INSIST_S, insist)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return EXIT_SIGNAL + received[0]
    finally:
        await stack.stop()
        for number in numbers:
            loop.remove_signal_handler(number)


def free_port(host: str = HOST) -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _claim(state_dir: Path) -> tuple[Path, FileIO | None]:
    """The first store below the state directory that nobody is using: runs stay from one start to the next."""
    for number in range(1, _MAX_STORES + 1):
        directory = state_dir / ("broker" if number == 1 else f"broker-{number}")
        if (lock := _lock(directory)) is not None:
            return directory, lock
    raise ServerNotStarted(f"all {_MAX_STORES} stores below {state_dir} are in use by other testcasts")


def _lock(directory: Path) -> FileIO | None:
    """A lock on a store, held as long as the file is open; None when somebody else holds it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "in-use").open("ab", buffering=0)
    except OSError as error:
        raise ServerNotStarted(f"cannot keep data in {directory}: {error.strerror} (TESTCAST_STATE_DIR)") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
