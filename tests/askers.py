"""Clients in other languages, each as one process that is asked line by line: a question and an answer of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.resume_table import Asked, Told

ROOT = Path(__file__).resolve().parents[1]
GO_CLIENT: Final = ROOT / "clients" / "go"
_NO_GO: Final = "the Go client cannot be made: go is not on PATH (make clients, where it is)"
_ANSWER_S: Final = 110.0
"""For one answer. The client's own deadline is 100 s: it then says what it waited for."""


def go_environment() -> dict[str, str]:
    """Go without a network: the module needs nothing, and no other version of Go is fetched.

    Where its cache is empty, Go compiles its own library: without C and without optimizing it takes half the time.
    """
    flags = "-buildvcs=false '-gcflags=all=-N -l'"
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": flags, "GOPROXY": "off", "GOTOOLCHAIN": "local"}


def not_made() -> str | None:
    """Why the Go client is not made on this machine; None where it is."""
    return None if shutil.which("go") else _NO_GO


def build_go(command: str, into: Path) -> Path:
    """Makes a program of the Go client. Returns its path.

    Args:
        command: its folder in the module, as `internal/asker`.
    """
    program = into / Path(command).name
    argv = ["go", "build", "-o", str(program), f"./{command}"]
    made = subprocess.run(argv, cwd=GO_CLIENT, env=go_environment(), capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return program


class Asker:
    """A process that answers each line of its input with a line. An async context manager: the process ends with it."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._argv, stdin=pipe, stdout=pipe, limit=1 << 22)
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def ask(self, **question: Any) -> dict[str, Any]:
        """Sends a question and waits for its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        async with asyncio.timeout(_ANSWER_S):
            line = await self._process.stdout.readline()
        assert line, f"{self._argv[0]} ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def follow(self, url: str, test_id: str, asked: Asked, by: str) -> Told:
        """What the client is told that follows a run by this transport."""
        after, epoch = asked.after or 0, asked.epoch or ""
        answer = await self.ask(do="follow", url=url, testId=test_id, after=after, epoch=epoch, by=by)
        assert "error" not in answer, answer
        assert answer["verdict"] == "completed" and answer["transport"] == by and not answer["retries"], answer
        return Told(answer["reset"], answer["seqs"])
