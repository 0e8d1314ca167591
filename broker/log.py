"""Rate-limited logging: bad input in a loop produces one line per interval, with a count."""

from __future__ import annotations

import logging
import time

ExcInfo = bool | BaseException
"""As `logging` takes it: the exception under way, or this one."""


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

    def log(self, level: int, text: str, *args: object, exc_info: ExcInfo = False) -> None:
        """Logs the line, or counts it when the last one is too recent."""
        now = time.monotonic()
        if now < self._next:
            self._held += 1
            return
        if self._held:
            text += f" ({self._held} similar lines not shown)"
        self._next = now + self._interval_s
        self._held = 0
        self._logger.log(level, text, *args, exc_info=exc_info)

    def info(self, text: str, *args: object) -> None:
        """Logs at level INFO."""
        self.log(logging.INFO, text, *args)

    def warning(self, text: str, *args: object, exc_info: bool = False) -> None:
        """Logs at level WARNING."""
        self.log(logging.WARNING, text, *args, exc_info=exc_info)
