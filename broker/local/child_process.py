"""Child processes that end with their parent: the embedded broker, and edges and agents started by a command."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

_PR_SET_PDEATHSIG: Final = 1


def python_module(name: str, *argv: str) -> list[str]:
    """Returns the command that runs a module in a Python of its own.

    -P: without it the current directory is the first place where Python looks for modules, and a file there
    would hide the module of its name.
    """
    return [sys.executable, "-P", "-m", name, *argv]


class Child:
    """One child process, started by the constructor in a session of its own.

    A Ctrl-C on the terminal therefore reaches only the parent, which stops its children in the right order. On Linux
    the kernel terminates the child when the parent dies.

    Args:
        argv: the command.
        log: the file its output is appended to; None: the parent's output.
        env: the whole environment; None: the parent's.
        pass_fds: open file descriptors that it inherits.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path | None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv = list(argv)
        self.log = log
        with _opened(log) as output:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                env=None if env is None else dict(env),
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def __repr__(self) -> str:
        return f"<Child {Path(self.argv[0]).name} pid={self.pid} exit={self.exit_code}>"

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; the negative number of the signal that ended it."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Sends a signal. Harmless when the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.exit_code is None:
                self._process.send_signal(number)

    async def stop(self, timeout_s: float = 10.0) -> int:
        """Sends SIGTERM, and SIGKILL to its process group after `timeout_s`. Returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                return await self.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            return await self.wait()

    async def wait(self) -> int:
        """Waits until the process has ended. Returns the exit code."""
        while (code := self.exit_code) is None:
            await asyncio.sleep(0.02)
        return code

    def last_lines(self, count: int = 8) -> str:
        """Returns the last lines of its log, for an error message; "" without a log."""
        if self.log is None:
            return ""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-count:])
        return ""


def _opened(log: Path | None) -> contextlib.AbstractContextManager[BinaryIO | None]:
    if log is None:
        return contextlib.nullcontext()
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
