"""The broker's data directory. A lock makes sure that one testcast at a time uses it."""

from __future__ import annotations

import fcntl
from io import FileIO
from pathlib import Path
from typing import Final

from broker.contract.errors import ServerNotStarted

_MAX_DIRECTORIES: Final = 16


class DataDirectory:
    """A directory that this process has locked. The lock ends with `close`, and with the process.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: Path, lock: FileIO) -> None:
        self.path = path
        self._lock = lock

    def __repr__(self) -> str:
        return f"<DataDirectory {self.path}{' closed' if self._lock.closed else ''}>"

    def close(self) -> None:
        """Releases the lock."""
        self._lock.close()


def first_free(state_dir: Path) -> DataDirectory:
    """Locks the first data directory below `state_dir` that is not in use, so that runs are kept between starts.

    Raises:
        ServerNotStarted: all of them are in use, or they cannot be written.
    """
    for number in range(1, _MAX_DIRECTORIES + 1):
        path = state_dir / ("broker" if number == 1 else f"broker-{number}")
        if (lock := _lock(path)) is not None:
            return DataDirectory(path, lock)
    raise ServerNotStarted(f"all {_MAX_DIRECTORIES} data directories below {state_dir} are in use by other testcasts")


def named(path: Path) -> DataDirectory:
    """Locks the data directory `path`.

    Raises:
        ServerNotStarted: it is in use, or it cannot be written.
    """
    lock = _lock(path)
    if lock is None:
        raise ServerNotStarted(f"another testcast is using {path}: stop that one, or choose another --data")
    return DataDirectory(path, lock)


def _lock(path: Path) -> FileIO | None:
    """A lock that is held as long as the file is open; None when another process holds it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "in-use").open("ab", buffering=0)
    except OSError as error:
        raise ServerNotStarted(
            f"cannot write data to {path}: {error.strerror} (TESTCAST_STATE_DIR, or --data)"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except OSError as error:
        lock.close()
        raise ServerNotStarted(f"cannot lock {path}: {error.strerror} (TESTCAST_STATE_DIR, or --data)") from None
    return lock
