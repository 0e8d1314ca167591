"""What an RPC method is made of: its parameters, the action it asks for, its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, NamedTuple

import msgspec
from starlette.requests import Request

from ws_edge.access import Action, Principal
from ws_edge.node import Node


class Params(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Base of all parameters. An unknown parameter is an error, so that a misspelt one does not go unnoticed."""

    lists: ClassVar[tuple[str, ...]] = ()
    """Parameters, by their names in a query, that may stand there several times."""


class RunParams(Params):
    """Parameters of a method about one run."""

    test_id: str  # checked by the dispatch before the method is called
    """A UUID in canonical lower case."""


class NoParams(Params):
    """Methods without parameters."""


class Answer(NamedTuple):
    """What a method returns."""

    body: bytes
    """Empty: 204."""
    etag: str | None = None
    """None where the answer must not be kept."""
    media_type: str = "application/json"
    is_current: Callable[[], bool] | None = None
    """Whether the same request would get the same answer now. None: the response cache does not keep it."""
    made: str | None = None
    """Test id of the run that the call has made, for the audit log."""
    about: str = ""
    """The id of the token or link that the call is about, for the audit log."""
    cookies: tuple[str, ...] = ()
    """A `Set-Cookie` each."""
    cache_control: str = "no-cache"


class Method(NamedTuple):
    """One RPC method."""

    action: Action | None
    """What the caller must be allowed to do; about the run that the parameters name, where they are `RunParams`.
    None: anybody may call it, and nobody was identified."""
    params: type[Params]
    call: Callable[[Node, Request, Any], Awaitable[Answer]]
    reads: bool
    """It changes nothing, and may be called with GET."""
    max_body_bytes: int = 16 * 1024


def principal_of(request: Request) -> Principal:
    """Who calls. The dispatch has identified them, unless the method is public."""
    principal: Principal = request.state.principal
    return principal
