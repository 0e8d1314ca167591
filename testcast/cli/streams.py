"""The streams that the command is started with: missing ones, other encodings, arguments in another encoding."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from broker.contract.errors import BadInput


def prepare_streams() -> None:
    """Makes standard output and standard error usable, however the command was started.

    A closed one (`testcast list >&-`) leads to nowhere from now on: otherwise the next file or socket would get its
    number. What an encoding cannot say becomes a replacement character, so that no text ends the command.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number, which is this one
    sys.stdout = _writable(sys.stdout, 1)
    sys.stderr = _writable(sys.stderr, 2)


def _writable(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return os.fdopen(number, "w", encoding="utf-8", errors="replace", closefd=False)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream


def discard_output() -> None:
    """Sends standard output to nowhere, after an error of writing: the interpreter's last flush would fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def as_text(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of the command line, read as UTF-8 where the locale's encoding could not read them.

    Raises:
        BadInput: one is not UTF-8 either.
    """
    try:
        return [each if _is_text(each) else os.fsencode(each).decode() for each in arguments]
    except UnicodeError:
        raise BadInput("an argument is not UTF-8 text") from None


def _is_text(text: str) -> bool:
    """Whether the text has no surrogates, which stand for bytes that could not be decoded."""
    return not any("\ud800" <= each <= "\udfff" for each in text)
