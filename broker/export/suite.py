"""The tests of a session that a run shows, as an export lists them. Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from broker.contract.events import Event

MAX_TESTS: Final = 50_000
"""As many as a report can hold that other programs still read."""
FAILED: Final = "tests_failed"
"""`data.code` of a run whose tests say all that is wrong with it."""


class Case(NamedTuple):
    """A test, and how it ended."""

    nodeid: str
    outcome: str
    """As pytest has it: `passed`, `failed`, `error`, `skipped`, `xfailed`, `xpassed`."""
    seconds: float
    detail: str = ""
    """Of a failure: its text."""


class Suite:
    """Collects the tests of a run from its events, in order."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.more = 0
        """How many further ones are not kept."""

    def __repr__(self) -> str:
        return f"<Suite {len(self.cases)} more={self.more}>"

    def note(self, event: Event) -> bool:
        """Adds the tests that an event reports, without those of another form. Returns whether there were some."""
        if event.type != "progress":
            return False
        if event.field("kind") == "test":
            given = [event.field("nodeid"), event.field("outcome"), event.field("durationS")]
            detail = event.field("detail")
            return self._add(given, detail if isinstance(detail, str) else "")
        tests = event.field("tests")
        return isinstance(tests, list) and [self._add(each) for each in tests].count(True) > 0

    def _add(self, given: Any, detail: str = "") -> bool:
        if not isinstance(given, list) or len(given) != 3:
            return False
        nodeid, outcome, seconds = given
        if not isinstance(nodeid, str) or not isinstance(outcome, str) or not isinstance(seconds, int | float):
            return False
        if len(self.cases) < MAX_TESTS:
            self.cases.append(Case(nodeid, outcome, max(0.0, float(seconds)), detail))
        else:
            self.more += 1
        return True
