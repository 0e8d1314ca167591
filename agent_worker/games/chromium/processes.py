"""The processes of one browser: what they take, and how they are ended. Reads /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from agent_worker.games.chromium.limits import Limits, Usage

LOOK_EVERY_S: Final = 0.25
"""A script fills about 1 GB in a second."""
_DISK_EVERY: Final = 4
"""One look in this many walks through the directory too."""
_PROC: Final = Path("/proc")
_KB: Final = 1024


class Process(NamedTuple):
    """A process that is meant when its number has gone to another one since: the kernel gives numbers out again."""

    pid: int
    started: int
    """In ticks since the machine started; 0 when it was gone already."""


class _Stat(NamedTuple):
    pid: int
    parent: int
    session: int
    started: int
    zombie: bool


def process(pid: int, proc: Path = _PROC) -> Process:
    """The process that has this number now."""
    found = _stat(proc / str(pid))
    return Process(pid, found.started if found else 0)


def lives(browser: Process, proc: Path = _PROC) -> bool:
    """Whether the process still runs. Known at once, while a driver hears of its death with a delay."""
    now = _stat(proc / str(browser.pid))
    return now is not None and now.started == browser.started and not now.zombie


def members(browser: Process, proc: Path = _PROC) -> list[int]:
    """The processes that `browser` started, directly or not, and those of its session; itself first while it lives."""
    every = [stat for entry in proc.iterdir() if entry.name.isdigit() and (stat := _stat(entry))]
    if any(each.pid == browser.pid and each.started != browser.started for each in every):
        return []  # a number is given out again only when nothing of its session is left
    found = {each.pid for each in every if browser.pid in (each.pid, each.session)}
    grew = True
    while grew:
        more = {each.pid for each in every if each.parent in found} - found
        found |= more
        grew = bool(more)
    alive = {each.pid for each in every if not each.zombie}
    return sorted(found & alive, key=lambda pid: (pid != browser.pid, pid))


def measure(browser: Process, directory: Path | None, proc: Path = _PROC) -> Usage:
    """What the browser's processes take now.

    Args:
        directory: where the run's files are; None: they are not counted.
    """
    memory = threads = 0
    pids = members(browser, proc)
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
            status = dict(
                line.split(":", 1) for line in (proc / str(pid) / "status").read_text("ascii", "replace").splitlines()
            )
            memory += sum(int(status.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem")) * _KB
            threads += int(status.get("Threads", "0"))
    return Usage(memory, len(pids), threads, size_of(directory) if directory else 0)


def size_of(directory: Path) -> int:
    """Bytes on the disk below `directory`; a file that has gone meanwhile counts nothing."""
    total = 0
    for root, _, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{root}/{name}").st_blocks * 512  # noqa: PTH  # many small files
    return total


def main_threads(browser: Process, proc: Path = _PROC) -> dict[int, float]:
    """Processor time in seconds that the main thread of each renderer took so far: there the scripts of pages run."""
    found = {}
    for pid in members(browser, proc):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            if b"--type=renderer" in (proc / str(pid) / "cmdline").read_bytes():
                text = (proc / str(pid) / "task" / str(pid) / "stat").read_text("ascii", "replace")
                user, system = text[text.rindex(")") + 2 :].split()[11:13]
                found[pid] = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return found


def end(browser: Process) -> None:
    """Kills the browser and all that it started. Harmless when it has ended."""
    for pid in members(browser):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


class Watch:
    """Looks at one browser four times a second, in a thread of its own, and ends it when it takes too much.

    A thread, since a busy event loop must not give a game more time.

    Args:
        browser: its first process.
        directory: where its files are.
        look: measures; replaced in tests.
    """

    def __init__(
        self,
        browser: Process,
        directory: Path,
        limits: Limits,
        look: Callable[[Process, Path | None], Usage] = measure,
    ) -> None:
        self._browser = browser
        self._directory = directory
        self._limits = limits
        self._look = look
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{browser.pid}", daemon=True)
        self.exceeded: str | None = None
        """What the game did that it was stopped for; see `Limits.exceeded`."""
        self.most = Usage()
        """The most that was seen of each."""

    def __repr__(self) -> str:
        return f"<Watch pid={self._browser.pid} exceeded={self.exceeded!r} most={self.most}>"

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Looks no more; returns at once."""
        self._stop.set()

    def _run(self) -> None:
        looks = 0
        while not self._stop.wait(LOOK_EVERY_S):
            usage = self._look(self._browser, self._directory if looks % _DISK_EVERY == 0 else None)
            looks += 1
            self.most = Usage(*map(max, self.most, usage))
            self.exceeded = self._limits.exceeded(usage)
            if self.exceeded is not None:
                end(self._browser)
                return


def _stat(entry: Path) -> _Stat | None:
    try:
        text = (entry / "stat").read_text("ascii", "replace")
    except OSError:
        return None
    # The second field is the program's name, which may contain spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(int(entry.name), int(fields[1]), int(fields[3]), int(fields[19]), fields[0] in "ZX")
