"""Who asks, and what there is to ask for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

from broker.contract.errors import TestcastError


class Action(Enum):
    """What a request wants to do."""

    LIST = "list"
    """See which runs there are, and the settings of the installation."""
    WATCH = "watch"
    """See one run: its snapshot, events and picture."""
    SUBMIT = "submit"
    CANCEL = "cancel"
    PUBLISH = "publish"
    DELETE = "delete"
    ADMIN = "admin"


ALL_ACTIONS: Final = frozenset(Action)


class Principal(NamedTuple):
    """Who asks, and what they may do."""

    subject: str
    """A name for logs; never a secret."""
    projects: frozenset[str] | None = None
    """The projects whose runs exist for this principal. None: all."""
    actions: frozenset[Action] = ALL_ACTIONS
    """What it may do in those projects."""
    shared_runs: frozenset[str] = frozenset()
    """Test ids of runs that it may watch by share links, whatever their project. Nothing else may be done with them."""
    expires_at: float | None = None
    """When its proof expires, seconds since 1970. None: it does not."""
    token_id: str | None = None
    """The id by which its token can be revoked. None: it has no token."""
    session_id: str | None = None
    """The id by which its browser session ends when the user signs out. None: it came with no session."""
    share_ids: frozenset[str] = frozenset()
    """The share links behind `shared_runs`, as `<test id>.<share id>`."""

    def with_shares(self, share_ids: Iterable[str]) -> Principal:
        """The same with these share links alone."""
        kept = frozenset(share_ids)
        return self._replace(share_ids=kept, shared_runs=frozenset(each.partition(".")[0] for each in kept))


ANONYMOUS: Final = Principal("anonymous")
"""Everyone, on an edge without authentication."""


class NotAuthenticated(TestcastError):
    """The request has no valid proof of who sends it, and needs one. A proof that is wrong is never left aside."""

    code = "unauthenticated"


class AccessDenied(TestcastError):
    """The principal may not do this."""

    code = "forbidden"


class Undecided(Exception):
    """What is known in memory does not suffice to answer: the asynchronous form of the same question does."""
