"""What a log line is about, and rate limits: bad input in a loop produces one line per interval, with a count.

`log_lines` has the formats, `log_setup` sets the log of a process up.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

ExcInfo = bool | BaseException
"""As `logging` takes it: the exception under way, or this one."""
Fields = Mapping[str, object]
"""What a line is about, by name: `run`, `request`, `viewer`, `reason`, … docs/logs.md has the list."""

EXTRA: Final = "fields"
"""The attribute of a log record with its fields."""
INSTEAD: Final = "message"
"""The field with the message of a JSON line, where the text says it in other words."""
_NOTHING: Final[Fields] = MappingProxyType({})
_MOST_KINDS: Final = 256
_bound: ContextVar[Fields] = ContextVar("log fields", default=_NOTHING)


def about(**fields: object) -> dict[str, Any]:
    """The argument `extra` of a log call: what the line is about. None is left out."""
    return {EXTRA: {name: value for name, value in fields.items() if value is not None}}


@contextlib.contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Every line that this task, and tasks that it starts, log inside the block has these fields."""
    token = _bound.set({**_bound.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _bound.reset(token)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """All fields of a record: those that are bound here, and its own."""
    own = getattr(record, EXTRA, None)
    return {**_bound.get(), **own} if isinstance(own, Mapping) else dict(_bound.get())


class RateLimited:
    """Passes one line per interval to a logger; the next line says how many were suppressed.

    Args:
        logger: receives the lines.
        per_s: the shortest time between two lines, seconds.
    """

    def __init__(self, logger: logging.Logger, per_s: float) -> None:
        self._logger = logger
        self._interval_s = per_s
        self._next = 0.0
        self._held = 0

    def __repr__(self) -> str:
        return f"<RateLimited {self._logger.name} held={self._held}>"

    def log(self, level: int, text: str, *args: object, exc_info: ExcInfo = False, fields: Fields = _NOTHING) -> None:
        """Logs the line, or counts it when the last one is too recent."""
        if not self._logger.isEnabledFor(level):
            return
        now = time.monotonic()
        if now < self._next:
            self._held += 1
            return
        held = self._held or None
        self._next = now + self._interval_s
        self._held = 0
        self._logger.log(level, text, *args, exc_info=exc_info, extra=about(**{**fields, "held": held}))

    def info(self, text: str, *args: object, fields: Fields = _NOTHING) -> None:
        """Logs at level INFO."""
        self.log(logging.INFO, text, *args, fields=fields)

    def warning(self, text: str, *args: object, exc_info: bool = False, fields: Fields = _NOTHING) -> None:
        """Logs at level WARNING."""
        self.log(logging.WARNING, text, *args, exc_info=exc_info, fields=fields)


class LimitedByKind:
    """A `RateLimited` for each kind of line, so that a flood of one kind does not hide another.

    Args:
        logger: receives the lines.
        per_s: the shortest time between two lines of one kind, seconds.
    """

    def __init__(self, logger: logging.Logger, per_s: float) -> None:
        self._logger = logger
        self._interval_s = per_s
        self._lines: dict[object, RateLimited] = {}

    def __repr__(self) -> str:
        return f"<LimitedByKind {self._logger.name} kinds={len(self._lines)}>"

    def of(self, kind: object) -> RateLimited:
        """The limit of this kind; the last one is for all kinds beyond `_MOST_KINDS`."""
        line = self._lines.get(kind)
        if line is None:
            if len(self._lines) >= _MOST_KINDS:
                kind = None
            line = self._lines.setdefault(kind, RateLimited(self._logger, self._interval_s))
        return line
