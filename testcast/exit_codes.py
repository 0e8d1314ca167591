"""The exit statuses of the command, and the one for each error."""

from __future__ import annotations

from typing import Final

from broker.contract.errors import BadInput, BrokerUnavailable, NotFound, TestcastError
from testcast.client.errors import ConnectionLost, EdgeRefused

EXIT_COMPLETED: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_LOST: Final = 3
EXIT_NO_VERDICT: Final = 4
"""In CI: the run says nothing of the game, since it was cancelled, its agent was lost, or the time was over."""
EXIT_NOT_SHOWN: Final = EXIT_FAILED
"""Of `reproduce`: the finding did not happen; 0: it did, 3: the game could not be opened."""
EXIT_SIGNAL: Final = 128  # plus the signal's number, as shells report it


def exit_status(error: TestcastError) -> int:
    """The exit status of a command that ends with `error`: 2 wrong usage, 3 connection lost, else 1."""
    if isinstance(error, BadInput | NotFound) or (isinstance(error, EdgeRefused) and error.by_caller):
        return EXIT_USAGE
    if isinstance(error, ConnectionLost | BrokerUnavailable):
        return EXIT_LOST
    return EXIT_FAILED
