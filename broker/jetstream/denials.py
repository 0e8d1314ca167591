"""What the broker does not permit to the user of one connection."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Final

from broker.log import RateLimited

_KEPT_S: Final = 60.0
"""A publish that was denied counts for so long: the same one is tried again sooner, or was a viewer's own request."""
_SAME_LINE_S: Final = 60.0
_MAX_KINDS: Final = 100
_VARYING: Final = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"(_inbox[a-z_]*|\$js\.ack)\.[^\"]*"), r"\1.>"),
    (re.compile(r"\.[0-9a-f]{16}\b"), ".*"),  # a consumer that is made for one reading
)
_log = logging.getLogger("testcast.nats")


class Denials:
    """The kinds of denied operations: those that differ by a run, an inbox or a message only are one kind.

    A subscription is asked for once, so its denial counts until the next connection.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._lines: dict[str, RateLimited] = {}

    def __repr__(self) -> str:
        return f"<Denials {self.kinds}>"

    @property
    def kinds(self) -> list[str]:
        """What is denied at the moment, in the broker's words."""
        oldest = self._clock() - _KEPT_S
        return sorted(kind for kind, at in self._seen.items() if at >= oldest or "subscription" in kind)

    def add(self, text: str) -> None:
        """Takes in what the broker says, and logs each kind at most once a minute."""
        kind = text.lower()
        for pattern, common in _VARYING:
            kind = pattern.sub(common, kind)
        if kind not in self._seen and len(self._seen) >= _MAX_KINDS:
            stand = set(self.kinds)
            self._seen = {each: at for each, at in self._seen.items() if each in stand}
            self._lines = {each: line for each, line in self._lines.items() if each in stand}
            if len(self._seen) >= _MAX_KINDS:
                return
        self._seen[kind] = self._clock()
        line = self._lines.setdefault(kind, RateLimited(_log, per_s=_SAME_LINE_S))
        line.warning("the broker does not permit it to this user: %s", text)

    def forget_all(self) -> None:
        """The connection is another one, and the user may have been given more rights."""
        self._seen.clear()  # the lines stay limited
