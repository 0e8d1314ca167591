"""The load generator, the publisher and the poller, as Python sees them. What each does stands in its C file's head."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""One JSON line of a program."""


class Load:
    """Many viewers. Use `open_load`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self, within_s: float) -> Figures:
        """The next line it prints.

        Raises:
            SystemExit: not within that time, or it has ended.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise SystemExit(f"bench: not done after {within_s:g} s: {await self._state()}") from None
        if not line:
            raise SystemExit(f"bench: the load generator has ended ({await self._process.wait()})")
        return dict(json.loads(line))

    async def _state(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"report\n")
        with contextlib.suppress(TimeoutError):
            return (await asyncio.wait_for(self._process.stdout.readline(), 5)).decode()
        return "the load generator is mute"

    async def received(self, events: int, within_s: float) -> Figures:
        """Waits until each viewer has had so many events since the start, at most so long."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"await {events} {within_s}\n".encode())
        return await self.line(within_s + 30)


@contextlib.asynccontextmanager
async def open_load(programs: Path, *arguments: object) -> AsyncIterator[Load]:
    """A load generator that is opening its connections; `line` tells when it has. They end with the block."""
    process = await _start(programs / "load", arguments)
    try:
        yield Load(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def pour(programs: Path, *arguments: object, within_s: float = 120.0) -> Figures:
    """Publishes; returns when all is answered."""
    return await _finished(programs / "pour", arguments, within_s)


async def polls(programs: Path, *arguments: object, within_s: float = 60.0) -> Figures:
    """Asks over and over."""
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
        raise SystemExit(f"bench: {program.name} has failed ({process.returncode})")
    return dict(json.loads(output))
