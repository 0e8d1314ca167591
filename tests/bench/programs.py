"""Runs the C programs: load generator, publisher and poller. The head of each C file describes its arguments."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""One JSON line that a program printed."""


class Load:
    """A running load generator. Use `open_load` to start one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self, within_s: float) -> Figures:
        """The next line that it prints.

        Raises:
            SystemExit: no line within `within_s`, or the program ended.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise SystemExit(f"bench: load generator not done after {within_s:g} s: {await self._state()}") from None
        if not line:
            raise SystemExit(f"bench: the load generator ended with status {await self._process.wait()}")
        return dict(json.loads(line))

    async def _state(self) -> str:
        assert self._process.stdout is not None
        self.tell("report")
        with contextlib.suppress(TimeoutError):
            return (await asyncio.wait_for(self._process.stdout.readline(), 5)).decode()
        return "the load generator does not answer"

    def tell(self, command: str) -> None:
        """Gives it a command that it does not answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())

    async def report(self) -> Figures:
        """What it has counted by now; latencies begin anew."""
        self.tell("report")
        return await self.line(30)

    async def received(self, events: int, within_s: float) -> Figures:
        """Waits until each viewer has had `events` events since the start, at most `within_s`. Returns its report."""
        self.tell(f"await {events} {within_s}")
        return await self.line(within_s + 30)

    async def back(self, within_s: float) -> Figures:
        """Waits until each connection that was lost is back and has all that it missed. Returns its report.

        `absent` of the report is not 0 if that took longer than `within_s`.
        """
        self.tell(f"back {within_s}")
        return await self.line(within_s + 30)


@contextlib.asynccontextmanager
async def open_load(programs: Path, *arguments: object) -> AsyncIterator[Load]:
    """Starts a load generator, which opens its connections; its first `line` reports that all are open.

    The connections are closed when the block ends.
    """
    process = await _start(programs / "load", arguments)
    try:
        yield Load(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def pour(programs: Path, *arguments: object, within_s: float = 120.0) -> Figures:
    """Publishes events with `pour`. Returns its report when every event is acknowledged."""
    return await _finished(programs / "pour", arguments, within_s)


async def polls(programs: Path, *arguments: object, within_s: float = 60.0) -> Figures:
    """Polls with `polls` for the given time. Returns its report."""
    return await _finished(programs / "polls", arguments, within_s)


async def _start(program: Path, arguments: Sequence[object]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(program, *map(str, arguments), stdin=pipe, stdout=pipe)


async def _finished(program: Path, arguments: Sequence[object], within_s: float) -> Figures:
    process = await _start(program, arguments)
    try:
        async with asyncio.timeout(within_s):
            output, _ = await process.communicate()
    except TimeoutError:
        raise SystemExit(f"bench: {program.name} is not done after {within_s:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise SystemExit(f"bench: {program.name} ended with status {process.returncode}")
    return dict(json.loads(output))
