"""Files that only their owner may read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


def folder(path: Path) -> None:
    """Makes a directory that only its owner may enter. One that stands keeps its mode."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def create(path: Path, content: bytes, *, private: bool = True) -> bool:
    """Writes a file that is not there. Returns False, and changes nothing, where there is one.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    _write(beside, content, private)
    try:
        os.link(beside, path)  # of two that write at the same moment, one is first, and its file is whole
    except FileExistsError:
        return False
    finally:
        beside.unlink()
    return True


def replace(path: Path, content: bytes, *, private: bool = True) -> None:
    """Writes a file in the place of one that may be there, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    _write(beside, content, private)
    beside.replace(path)


def _write(path: Path, content: bytes, private: bool) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    mode = _PRIVATE if private else _PUBLIC
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
