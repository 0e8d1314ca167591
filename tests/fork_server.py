"""Starts a Python module as a process by forking one that has imported it already: that takes a tenth of the time.

What the module does is as in `python -m`: arguments, environment, directory, output, signals and exit status are its
own. Only its command line, as the system shows it, is that of the server that it was forked from.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import os
import pickle
import runpy
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from broker.local.child_process import Child

_HTTP: Final = ("anyio._backends._asyncio", "certifi", "h11", "httpcore", "httpx")
_PRELOADED: Final[Mapping[str, Sequence[str]]] = {
    "ws_edge": (
        *("ws_edge.main", "broker.metrics.endpoint", "encodings.idna", "uvicorn.lifespan.on", "uvicorn.loops.uvloop"),
        *_HTTP,
    ),
    "testcast": (
        *("testcast.cli.main", "testcast.cli.follow", "testcast.cli.listing", "testcast.cli.details"),
        *("testcast.client.rpc", "testcast.client.watch", "broker.jetstream.client", "broker.tracing", "joserfc.jwt"),
        *_HTTP,
    ),
}
"""Module that can be started -> what its server imports: what every start needs, also what it imports later."""
POSSIBLE: Final = sys.platform == "linux" and not any(name.startswith("COVERAGE_PROCESS") for name in os.environ)
"""Forked processes are not measured by coverage."""
_SERVER_ENV: Final = {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
_LARGEST: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1


class _Start(NamedTuple):
    """What to start."""

    argv: list[str]
    env: dict[str, str]
    directory: str


class _Process:
    """A process forked by the server, with what `Child` uses of `subprocess.Popen`."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._status: int | None = status
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self._status is not None:
            with contextlib.suppress(BlockingIOError):
                told = os.read(self._status, 16)
                os.close(self._status)
                self._status, self._exit_code = None, int(told or -signal.SIGKILL)
        return self._exit_code

    def send_signal(self, number: int) -> None:
        """Sends a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def __del__(self) -> None:
        if self._status is not None:
            os.close(self._status)


class ForkServer:
    """The process that has imported a module. It ends with this process, and what it has started with it."""

    def __init__(self, module: str) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        env = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")}
        argv = [sys.executable, "-m", "tests.fork_server", module, str(theirs.fileno())]
        self._child = Child(argv, None, env | _SERVER_ENV, [theirs.fileno()])
        theirs.close()
        atexit.register(self._close)

    def _close(self) -> None:
        self._ours.close()
        deadline = time.monotonic() + 5
        while self._child.exit_code is None and time.monotonic() < deadline:
            time.sleep(0.01)  # what it has used counts as used by this process

    def start(self, argv: Sequence[str], env: Mapping[str, str], files: Sequence[int], directory: Path) -> _Process:
        """Starts the module.

        Args:
            argv: its arguments.
            env: the whole environment.
            files: its standard input, output and error.
            directory: its current directory.
        """
        status, told = os.pipe()
        os.set_blocking(status, False)
        message = pickle.dumps(_Start(list(argv), dict(env), str(directory)))
        assert len(message) < _LARGEST
        socket.send_fds(self._ours, [message], [*files, told])
        os.close(told)
        answer = self._ours.recv(16)
        assert answer, "the server that forks has ended"
        return _Process(int(answer), status)


_servers: dict[str, ForkServer] = {}


def server_of(module: str) -> ForkServer:
    """The server of a module in this process, started when first wanted."""
    if module not in _servers:
        _servers[module] = ForkServer(module)
    return _servers[module]


class ForkedChild(Child):
    """A `Child` that runs a module, forked."""

    def __init__(self, module: str, log: Path, env: Mapping[str, str]) -> None:
        self.argv = [sys.executable, "-m", module]
        self.log = log
        with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            files = [nothing.fileno(), output.fileno(), output.fileno()]
            self._process: Any = server_of(module).start([], env, files, Path.cwd())


class ForkedCommand:
    """A forked process whose output is read, with what tests use of `asyncio.subprocess.Process`."""

    def __init__(self) -> None:
        self._transports: list[asyncio.ReadTransport] = []
        self._process: _Process
        self.stdout: asyncio.StreamReader
        self.stderr: asyncio.StreamReader

    @classmethod
    async def start(cls, module: str, argv: Sequence[str], env: Mapping[str, str], limit: int) -> ForkedCommand:
        """Starts a module. `limit`: of the bytes of a line."""
        started = cls()
        started.stdout, out = await started._pipe(limit)
        started.stderr, err = await started._pipe(limit)
        nothing = os.open(os.devnull, os.O_RDONLY)
        started._process = server_of(module).start(argv, env, [nothing, out, err], Path.cwd())
        for each in (nothing, out, err):
            os.close(each)
        return started

    async def _pipe(self, limit: int) -> tuple[asyncio.StreamReader, int]:
        reading, writing = os.pipe()
        reader = asyncio.StreamReader(limit)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        self._transports.append(transport)
        return reader, writing

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; the negative number of the signal that ended it."""
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        """Sends a signal. Harmless when the process has ended."""
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Waits until the process has ended. Returns the exit code."""
        while (code := self.returncode) is None:
            await asyncio.sleep(0.01)
        return code

    async def communicate(self) -> tuple[bytes, bytes]:
        """Reads the output to its end and waits. Returns standard output and standard error."""
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err

    def close(self) -> None:
        """Ends reading."""
        for each in self._transports:
            each.close()


class _Server:
    """The other side, in the server's process."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._ended, self._woken = socket.socketpair()
        """Readable when a process has ended; and where the interpreter says so."""
        self._running: dict[int, int] = {}
        """Process -> where its exit status is told."""

    def serve(self) -> _Start:
        """Forks for each request. Returns in the forked process only."""
        self._woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._asked, self._ended], [], [])
            if self._ended in ready:
                self._ended.recv(_LARGEST)
                self._tell()
            if self._asked in ready:
                message, files, _, _ = socket.recv_fds(self._asked, _LARGEST, 4)
                if not message:
                    os._exit(0)
                if (pid := os.fork()) == 0:
                    start: _Start = pickle.loads(message)
                    self._become(start, files)
                    return start
                self._running[pid] = files[3]
                for each in files[:3]:
                    os.close(each)

    def _tell(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                told = self._running.pop(ended[0])
                with contextlib.suppress(BrokenPipeError):
                    os.write(told, str(os.waitstatus_to_exitcode(ended[1])).encode())
                os.close(told)

    def _become(self, start: _Start, files: Sequence[int]) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        os.setsid()
        for number, each in enumerate(files[:3]):
            os.dup2(each, number)
        sys.stdout, sys.stderr = _unbuffered(sys.stdout, 1), _unbuffered(sys.stderr, 2)
        for each in {*files, *self._running.values()}:
            os.close(each)
        os.environ.clear()
        os.environ.update(start.env)
        os.chdir(start.directory)
        self._asked.send(str(os.getpid()).encode())
        for ours in (self._asked, self._ended, self._woken):
            ours.close()


def _unbuffered(like: TextIO, number: int) -> TextIO:
    """A stream like the interpreter's own. That one remembers whether its first file could be rewound."""
    file = os.fdopen(number, "wb", 0, closefd=False)
    return io.TextIOWrapper(file, like.encoding, like.errors, write_through=True)


def _main(module: str, asked: int) -> None:
    for each in _PRELOADED[module]:
        importlib.import_module(each)
    gc.collect()
    gc.freeze()  # else the collector of a forked process would copy all of it
    start = _Server(socket.socket(fileno=asked)).serve()
    sys.argv = [module, *start.argv]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
