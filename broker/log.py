"""Logging that cannot be made to flood: whoever sends bad input in a loop gets one line a while, with a count."""

from __future__ import annotations

import logging
import time


class RateLimited:
    """A logger that lets one line through per interval and then says how many it held back.

    Args:
        logger: where the lines go.
        per_s: the shortest time between two lines, seconds.
    """

    def __init__(self, logger: logging.Logger, per_s: float) -> None:
        self._logger = logger
        self._interval_s = per_s
        self._next = 0.0
        self._held = 0

    def log(self, level: int, text: str, *args: object, exc_info: bool = False) -> None:
        """Logs, or counts when the last line is too recent."""
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
        """At level INFO."""
        self.log(logging.INFO, text, *args)

    def warning(self, text: str, *args: object, exc_info: bool = False) -> None:
        """At level WARNING."""
        self.log(logging.WARNING, text, *args, exc_info=exc_info)
