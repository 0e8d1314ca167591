"""Counts the messages of runs that are no events, until they are told. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from broker.contract import events as messages
from broker.contract.errors import MalformedEvent
from testcast.client.events import Unreadable

_MAX_REASONS = 20


class Tally:
    """What was passed over since the last time."""

    def __init__(self) -> None:
        self._reasons: dict[str, Counter[str]] = {}
        self._newest: dict[str, int] = {}

    def note(self, test_id: str, seq: int, data: bytes) -> None:
        """Counts a message unless it is an event, of a known type or not."""
        try:
            messages.check(data)
        except MalformedEvent as error:
            self._reasons.setdefault(test_id, Counter())[error.reason] += 1
            self._newest[test_id] = seq

    def take(self) -> list[Unreadable]:
        """What was counted, by run. The count starts again."""
        counted, self._reasons = self._reasons, {}
        return [
            Unreadable(test_id, self._newest[test_id], reasons.total(), dict(reasons))
            for test_id, reasons in counted.items()
        ]


def from_answer(test_id: str, told: Any) -> Unreadable | None:
    """What an edge tells, in a message or in a page of events; None when it has another form."""
    if not isinstance(told, Mapping):
        return None
    seq, count, reasons = told.get("seq"), told.get("count"), told.get("reasons")
    if not isinstance(seq, int) or not isinstance(count, int) or count < 1:
        return None
    given = reasons.items() if isinstance(reasons, Mapping) else ()
    counted = {name: number for name, number in given if isinstance(number, int)}
    return Unreadable(test_id, seq, count, dict(list(counted.items())[:_MAX_REASONS]))
