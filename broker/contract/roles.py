"""The roles of the broker's users, and the shape of what a role may do. Pure.

What each role may do in NATS's words is in `broker/jetstream/permissions.py`.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Role(Enum):
    """Whose login a user of the broker is."""

    EDGE = "edge"
    AGENT = "agent"
    READER = "reader"
    """Reads runs and changes nothing: `testcast list`, `testcast tail`."""
    OPERATOR = "operator"
    """Declares, changes, saves and deletes."""

    @property
    def inbox_prefix(self) -> str:
        """What the subjects begin with on which the role receives answers. No other role may hear them."""
        return f"_INBOX_{self.value}"


class Rights(NamedTuple):
    """What one role may do."""

    publish: tuple[str, ...]
    """Subjects that it may publish on; everything else is refused."""
    never_publish: tuple[str, ...]
    """Subjects that it may not publish on, whatever `publish` says."""
    subscribe: tuple[str, ...]
    """Subjects that it may subscribe to; everything else is refused."""
    account: str
    """The account that its user belongs to."""
    requests: tuple[tuple[str, str, bool], ...] = ()
    """What an account that holds no streams takes from the one that does: (subject there, subject here, whether several
    answers may come)."""
    hears: tuple[str, ...] = ()
    """Subjects of the other account whose messages are heard in this one."""
    api_prefix: str = ""
    """What requests to JetStream begin with in its account; empty: the usual."""
