"""Who may do what: the questions that every entry point asks before it answers.

Every RPC method, socket verb, stream and page names the action it asks for. `OpenAccess` allows everything, which suits
an edge on loopback.
"""

from __future__ import annotations

from ws_edge.access.access import Access, Header, OpenAccess
from ws_edge.access.authorize import Run, authorize
from ws_edge.access.principal import (
    ALL_ACTIONS,
    ANONYMOUS,
    AccessDenied,
    Action,
    NotAuthenticated,
    Principal,
    Undecided,
)

__all__ = [
    "ALL_ACTIONS",
    "ANONYMOUS",
    "Access",
    "AccessDenied",
    "Action",
    "Header",
    "NotAuthenticated",
    "OpenAccess",
    "Principal",
    "Run",
    "Undecided",
    "authorize",
]
