"""Writes a file whole or not at all: it appears under its name when everything is in it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from broker.contract.errors import BadInput

_MODE: Final = 0o666
"""Less what the umask takes away, as for any file that a program writes."""


def check_new(path: Path, *, force: bool) -> None:
    """Returns if a file of this name can be made.

    Raises:
        BadInput: there is one already, or no directory to put it into.
    """
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise BadInput(f"{path} is no file that can be written")
    if not path.parent.is_dir():
        raise BadInput(f"there is no directory {path.parent}")
    if path.exists() and not force:
        raise BadInput(f"{path} exists already: name another file with -o, or give --force to replace it")


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file to write into. It gets its name when the block has ended without an error; otherwise nothing is left.

    Args:
        force: replace a file that has the name already.

    Raises:
        BadInput: as `check_new`, or the directory cannot be written.
        OSError: of writing: the disk is full.
    """
    check_new(path, force=force)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except PermissionError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        check_new(path, force=force)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
