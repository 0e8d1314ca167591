"""Where a game's browser runs: a directory and a user of its own, and which walls this machine lets stand around it.

Root never runs a game. A worker that is root gives each browser a user id that nothing else has; elsewhere the browser
runs as the worker's user. Chromium's sandbox and a network namespace are used wherever the kernel allows them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pwd
import random
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from agent_worker.games.chromium.limits import Limits
from agent_worker.games.errors import BrowserMissing

_PREFIX: Final = "testcast-agent-"
_FIRST_USER, _LAST_USER = 61184, 65519
"""The range that systemd keeps for users that exist only while a program runs."""
_NEEDED: Final = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 7
"""CAP_CHOWN, CAP_KILL, CAP_SETGID, CAP_SETUID, as bits of /proc/self/status."""
_PR_SET_DUMPABLE: Final = 4
_START_S: Final = 20.0
_LAUNCHER: Final = Path(__file__).with_name("launcher.py")


class Walls(NamedTuple):
    """What stands between a game and the machine, apart from the egress proxy and the limits."""

    own_user: bool = True
    """The browser is not the worker's user."""
    sandbox: bool = True
    """Chromium's own: its renderers have no files, no network and few system calls."""
    own_network: bool = True
    """A network namespace that nothing leaves but through the proxy."""

    def describe(self) -> str:
        """The walls that stand, and those that do not."""
        words = ("a user of its own", "Chromium's sandbox", "a network of its own")
        standing = [word for word, stands in zip(words, self, strict=True) if stands]
        missing = [word for word, stands in zip(words, self, strict=True) if not stands]
        return (", ".join(standing) or "none") + (f"; without {', '.join(missing)}" if missing else "")

    def attempts(self) -> list[Walls]:
        """These walls and weaker ones, the strongest first. Only what needs the kernel's permission is given up."""
        pairs = [(True, True), (True, False), (False, True), (False, False)]
        found = [
            self._replace(sandbox=self.sandbox and one, own_network=self.own_network and two) for one, two in pairs
        ]
        return list(dict.fromkeys(found))


def may_change_user(status: Path = Path("/proc/self/status")) -> bool:
    """Whether this process is root and may give the browser another user."""
    if os.geteuid() != 0:
        return False
    with contextlib.suppress(OSError, ValueError):
        found = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
        return int(found.split()[1], 16) & _NEEDED == _NEEDED
    return False


def open_to_others(path: Path) -> bool:
    """Whether a user without any rights may read `path` and everything on the way to it."""
    real = path.resolve()
    with contextlib.suppress(OSError):
        return all(each.stat().st_mode & 0o001 for each in (real, *real.parents)) and bool(real.stat().st_mode & 0o004)
    return False


def deny_looks_from_outside() -> None:
    """Keeps other processes of this user, a browser among them, from this one's memory, environment and files."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class Place:
    """A directory for one browser, with a user of its own if need be; gone after `remove`.

    Args:
        parent: where it is made.
        own_user: give it a user that nothing else has.
    """

    def __init__(self, parent: Path, own_user: bool) -> None:
        self.path = Path(tempfile.mkdtemp(dir=parent, prefix="run-"))
        """Home, temporary files and profile of the browser."""
        self.uid = _free_user() if own_user else None
        self._channel = socket.socket(socket.AF_UNIX)
        self._channel.bind(str(self.path / "channel"))
        self._channel.listen(1)
        self._channel.settimeout(_START_S)
        (self.path / "tmp").mkdir()
        if self.uid is not None:
            for each in (self.path, self.path / "tmp"):
                os.chown(each, self.uid, self.uid)

    def __repr__(self) -> str:
        return f"<Place {self.path} uid={self.uid}>"

    def program(self, chromium: str, walls: Walls, limits: Limits) -> str:
        """Writes the program that a driver starts as if it were Chromium. Returns its path."""
        wanted = {
            "run": str(self.path),
            "uid": self.uid,
            "network": walls.own_network,
            "limits": limits.of_the_kernel(self.uid is not None),
        }
        command = shlex.join([sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(wanted), chromium])
        program = self.path / "start"
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
        return str(program)

    def environment(self, given: Mapping[str, str]) -> dict[str, str | float | bool]:
        """The whole environment of the browser: `given`, and the places that are its own."""
        home = str(self.path)
        return {**given, "HOME": home, "TMPDIR": f"{home}/tmp", "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}

    def receive(self) -> tuple[int, socket.socket | None]:
        """Waits until the launcher has done its part. Blocks.

        Returns:
            The browser's process, and the socket that listens inside its network; None when it has none of its own.

        Raises:
            OSError: it says nothing, within 20 s.
        """
        connection, _ = self._channel.accept()
        with connection:
            connection.settimeout(_START_S)
            told, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        if not told:
            raise OSError("the browser's launcher ended without a word")
        listening = [socket.socket(fileno=each) for each in descriptors]
        return int(json.loads(told)["pid"]), listening[0] if listening else None

    def remove(self) -> None:
        """Deletes the directory. Blocks for as long as the disk takes."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)  # wakes who waits in `receive`
        self._channel.close()
        shutil.rmtree(self.path, ignore_errors=True)


class Workshop:
    """One worker's directory, for the places of its browsers. Made by the constructor, gone after `close`.

    Directories of workers that were killed are removed when the next one starts: a lock tells them apart.

    Args:
        parent: where it is made; None: where temporary files go.
    """

    def __init__(self, parent: Path | None = None) -> None:
        above = parent or Path(tempfile.gettempdir())
        _remove_abandoned(above)
        self.path = Path(tempfile.mkdtemp(dir=above, prefix=_PREFIX))
        self.path.chmod(0o711)
        new = self.path / "lock.new"
        self._lock = os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        new.rename(self.path / "lock")  # never seen unlocked

    def __repr__(self) -> str:
        return f"<Workshop {self.path}>"

    def close(self) -> None:
        """Deletes the directory and all that is left in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def wanted_walls(chromium: str, workshop: Workshop, allow_root: bool) -> Walls:
    """The walls to try for.

    Raises:
        BrowserMissing: this is root, games would run as root, and `TESTCAST_AGENT_ALLOW_ROOT` does not allow that.
    """
    if os.geteuid() != 0:
        return Walls(own_user=False)
    reason = ""
    if not may_change_user():
        reason = "it may not start programs as another user here (capabilities CHOWN, KILL, SETGID, SETUID)"
    elif not open_to_others(Path(chromium)):
        reason = f"no other user can run {chromium}"
    elif not all(each.stat().st_mode & 0o001 for each in (workshop.path, *workshop.path.resolve().parents)):
        reason = f"no other user can reach {workshop.path}"
    if not reason:
        return Walls()
    if allow_root:
        return Walls(own_user=False, sandbox=False)
    raise BrowserMissing(
        f"The agent is root, and {reason}, so that games would run as root. Start the agent as another user, or set "
        "TESTCAST_AGENT_ALLOW_ROOT=1 if every game is your own."
    )


def _free_user() -> int:
    while True:
        uid = random.randint(_FIRST_USER, _LAST_USER)
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid


def _remove_abandoned(above: Path) -> None:
    for each in above.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if each.is_symlink() or each.stat().st_uid != os.geteuid():
                continue
            lock = os.open(each / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(each, ignore_errors=True)
            finally:
                os.close(lock)
