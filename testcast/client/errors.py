"""What can go wrong for a viewer, beside what the broker's tree says, and what each means for the exit status."""

from __future__ import annotations

from typing import Final

from broker.contract.errors import BadInput, BrokerUnavailable, NotFound, TestcastError

EXIT_COMPLETED: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_LOST: Final = 3
EXIT_SIGNAL: Final = 128  # plus the signal's number, as a shell has it


class ConnectionLost(TestcastError):
    """The connection is gone and trying again was given up.

    Attributes:
        after: position up to which everything was delivered; where to resume. None when nothing was.
    """

    code = "connection_lost"

    def __init__(self, message: str, after: int | None = None) -> None:
        super().__init__(message)
        self.after = after


class EdgeRefused(TestcastError):
    """The edge answered with an error of its own; trying the same again will not help.

    Attributes:
        code: the edge's word for it (`PROTOCOL.md`).
        status: HTTP status or WebSocket close code.
    """

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message, code)
        self.status = status

    @property
    def by_caller(self) -> bool:
        """The request was at fault, not the edge."""
        return self.status in (400, 404, 413, 422, 4400, 4404)


def exit_status(error: TestcastError) -> int:
    """The command's exit status when it ends with `error`: 2 usage, 3 connection lost for good, else 1."""
    if isinstance(error, BadInput | NotFound) or (isinstance(error, EdgeRefused) and error.by_caller):
        return EXIT_USAGE
    if isinstance(error, ConnectionLost | BrokerUnavailable):
        return EXIT_LOST
    return EXIT_FAILED
