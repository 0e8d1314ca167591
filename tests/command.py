"""Runs the `testcast` command as a process: its output lines, its exit status, and the processes that it leaves.

`started` does so with any other program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from tests import fork_server


def inherited() -> dict[str, str]:
    """The environment without settings of testcast: those of whoever runs the tests are none of a test's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")}


class Result(NamedTuple):
    """Exit status and remaining output of a command."""

    code: int
    out: str
    err: str


class Command:
    """`python -m testcast …` in a session of its own. An async context manager that kills the session at the end.

    Args:
        argv: arguments of the command.
        settings: environment variables in addition to the inherited ones, without inherited `TESTCAST_…`.
    """

    def __init__(self, *argv: str, **settings: str) -> None:
        self.argv = argv
        self._env = inherited() | {"PYTHONUNBUFFERED": "1", "COLUMNS": "100"} | settings
        self.process: asyncio.subprocess.Process | fork_server.ForkedCommand
        self._lines: list[str] = []

    async def __aenter__(self) -> Command:
        pipe = asyncio.subprocess.PIPE
        if fork_server.POSSIBLE:
            self.process = await fork_server.ForkedCommand.start("testcast", self.argv, self._env, 1 << 22)
            return self
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "testcast", *self.argv, stdout=pipe, stderr=pipe, env=self._env,
            start_new_session=True, limit=1 << 22,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()
        if isinstance(self.process, fork_server.ForkedCommand):
            self.process.close()

    async def line(self, wanted: str = "", *, within_s: float = 30.0) -> str:
        """The next line of standard output that contains `wanted`.

        Raises:
            AssertionError: no such line within `within_s`, or before the end of the process.
        """
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                while raw := await self.process.stdout.readline():
                    self._lines.append(raw.decode())
                    if wanted in self._lines[-1]:
                        return self._lines[-1].rstrip("\n")
        except TimeoutError:
            raise AssertionError(f"no line with {wanted!r} within {within_s:g} s; so far: {self._lines}") from None
        raise AssertionError(f"no line with {wanted!r}: {await self.finish()}")

    async def note(self, wanted: str = "", *, within_s: float = 30.0) -> str:
        """The next line of standard error that contains `wanted`.

        Raises:
            AssertionError: no such line within `within_s`, or before the end of the process.
        """
        assert self.process.stderr is not None
        seen = []
        try:
            async with asyncio.timeout(within_s):
                while raw := await self.process.stderr.readline():
                    seen.append(raw.decode())
                    if wanted in seen[-1]:
                        return seen[-1].rstrip("\n")
        except TimeoutError:
            raise AssertionError(f"no note with {wanted!r} within {within_s:g} s; so far: {seen}") from None
        raise AssertionError(f"no note with {wanted!r} before its end: {seen}")

    def signal(self, number: int) -> None:
        """Sends a signal to the process itself, not to its children."""
        self.process.send_signal(number)

    async def finish(self, *, within_s: float = 30.0) -> Result:
        """Waits for the end of the process. The result has the output that was not read before."""
        async with asyncio.timeout(within_s):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Result(self.process.returncode, out.decode(), err.decode())


async def run(*argv: str, **settings: str) -> Result:
    """Runs a command and waits for its end."""
    async with Command(*argv, **settings) as command:
        return await command.finish()


@contextlib.asynccontextmanager
async def started(*argv: str | Path, **how: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Any program, in a session of its own, which is killed at the end: a test that fails leaves nothing that runs.

    Args:
        argv: the program and its arguments.
        how: see `asyncio.create_subprocess_exec`.
    """
    process = await asyncio.create_subprocess_exec(*map(str, argv), start_new_session=True, **how)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def processes(variable: str, value: object) -> dict[int, str]:
    """Process ids and command lines of the processes whose environment has this variable with this value.

    A process inherits its parent's environment, so this finds the processes that a command started, directly or not.
    """
    marker = f"{variable}={value}".encode()
    found = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (each / "environ").read_bytes().split(b"\0"):
                found[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # ended, or not readable
    return {pid: argv for pid, argv in found.items() if argv}  # a zombie has no command line


def left_behind(state_dir: Path) -> list[str]:
    """Command lines of all running processes that were started with this state directory."""
    return list(processes("TESTCAST_STATE_DIR", state_dir).values())
