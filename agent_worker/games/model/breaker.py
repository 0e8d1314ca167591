"""Whether an endpoint is worth a call: not for a while after several failures in a row. Pure; `now_s` is an argument.

| state   | `may_call`                      | success | failure                         | abandoned       |
| ------- | ------------------------------- | ------- | ------------------------------- | --------------- |
| closed  | yes                             | closed  | open, after `FAILURES` in a row | closed          |
| open    | no; yes and trying after a rest | closed  | open, for a new rest            | open            |
| trying  | no: one call tries it           | closed  | open, for a new rest            | open, no rest   |
"""

from __future__ import annotations

from typing import Final, Literal

FAILURES: Final = 3
"""Calls that fail in a row before it opens."""
REST_S: Final = 60.0
LONG_REST_S: Final = 600.0
"""After a refusal that another call does not change, such as a wrong key."""

State = Literal["closed", "open", "trying"]


class Breaker:
    """The state of one endpoint, for all runs of a worker."""

    __slots__ = ("_failures", "_until_s", "state")

    def __init__(self) -> None:
        self.state: State = "closed"
        self._failures = 0
        self._until_s = 0.0

    def __repr__(self) -> str:
        return f"<Breaker {self.state} failures={self._failures}>"

    def may_call(self, now_s: float) -> bool:
        """Whether to call now. After a yes exactly one of the other methods is called."""
        if not self.would_call(now_s):
            return False
        if self.state == "open":
            self.state = "trying"
        return True

    def would_call(self, now_s: float) -> bool:
        """What `may_call` would say. It changes nothing."""
        return self.state == "closed" or (self.state == "open" and now_s >= self._until_s)

    def succeeded(self) -> None:
        """The call brought an answer of use."""
        self.state, self._failures = "closed", 0

    def failed(self, now_s: float, lasting: bool = False) -> None:
        """The call brought none. `lasting`: nor will the next ones."""
        self._failures += 1
        if self.state != "closed" or lasting or self._failures >= FAILURES:
            self.state = "open"
            self._until_s = now_s + (LONG_REST_S if lasting else REST_S)

    def abandoned(self, now_s: float) -> None:
        """Nobody has waited for the call: it says nothing of the endpoint."""
        if self.state == "trying":
            self.state, self._until_s = "open", now_s
