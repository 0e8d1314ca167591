"""The errors of a client, beside those of the broker's contract."""

from __future__ import annotations

from typing import Final

from broker.contract.errors import NotFound, TestcastError

_PASSING_STATUSES: Final = (408, 425, 429, 500, 502, 503, 504)
"""The same request may succeed later: too early, too often, or the edge cannot at the moment."""


class ConnectionLost(TestcastError):
    """The edge or the broker does not answer, and the client has stopped trying.

    Attributes:
        after: position up to which everything was delivered; resume after it. None when nothing was delivered.
    """

    code = "connection_lost"

    def __init__(self, message: str, after: int | None = None) -> None:
        super().__init__(message)
        self.after = after


class EdgeRefused(TestcastError):
    """The edge answered with an error. The same request fails again, unless it is `passing`.

    Attributes:
        code: the error code of the edge (`broker/PROTOCOL.md`).
        status: HTTP status or WebSocket close code; 0 when the server is not an edge.
    """

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message, code)
        self.status = status

    @property
    def by_caller(self) -> bool:
        """Whether the request is at fault, not the edge."""
        return self.status in (400, 404, 413, 422, 4400, 4404)

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _PASSING_STATUSES


def give_up_unless_passing(error: Exception) -> None:
    """Raises a refusal that another try does not cure; for `broker.retry.retry`."""
    if isinstance(error, EdgeRefused) and not error.passing:
        raise error


def refused(code: str, message: str, status: int, test_id: str | None = None) -> TestcastError:
    """Returns the error for an edge's refusal: `NotFound` for an unknown run, else `EdgeRefused`."""
    return NotFound(test_id) if code == "not_found" and test_id is not None else EdgeRefused(message, code, status)
