"""Files with secrets and keys: read once, whole, and of a bounded size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from broker.contract.errors import InvalidSetting
from ws_edge.access.settings import MAX_SECRET_BYTES, Secret

_LINE_END: Final = b"\r\n"


def read_secret(name: str, path: Path) -> Secret:
    """Reads a secret file. A line end after text does not belong to the secret.

    Args:
        name: the variable that names the file.

    Raises:
        InvalidSetting: it cannot be read; the message names the variable.
    """
    content = read_file(name, path, MAX_SECRET_BYTES + len(_LINE_END) + 1)
    text = content.rstrip(_LINE_END)
    return Secret(text if text.isascii() and all(31 < each < 127 for each in text) else content)


def read_file(name: str, path: Path, at_most: int) -> bytes:
    """Reads the first `at_most` bytes of a regular file.

    Raises:
        InvalidSetting: there is none, or it cannot be read; the message names the variable.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait for its writer. It changes nothing about a regular file.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidSetting(f"{name}: {path} is not a regular file")
            content = b""
            while len(content) < at_most and (piece := os.read(descriptor, at_most - len(content))):
                content += piece
            return content
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InvalidSetting(f"{name}: {path} cannot be read: {error.strerror}") from None


def readable_by_others(path: Path) -> bool:
    """Whether users other than the owner may read or change the file."""
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o066)
    except OSError:
        return False
